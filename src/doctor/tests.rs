use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use test_postgres::TestDatabase;
use time::OffsetDateTime;
use wire::Redacted;

use super::*;

/// What the finding of this name says is wrong.
fn trouble_of<'a>(findings: &'a [Finding], what: &str) -> Option<&'a str> {
    let found = findings.iter().find(|finding| finding.what.contains(what));
    found.unwrap_or_else(|| panic!("{what} was not looked at: {findings:?}")).trouble()
}

fn options() -> Options {
    Options {
        settings: None,
        data_dir: PathBuf::from(".anteroom"),
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        turn_config: None,
        turn: None,
    }
}

#[test]
fn a_taken_address_is_named_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { data_dir: dir.path().join("new"), http: taken.local_addr().unwrap(), ..options() };
    let findings = look_here(&options);
    assert!(trouble_of(&findings, "address").unwrap().contains("--http"));
    assert!(trouble_of(&findings, "data directory").is_none());
    assert!(!dir.path().join("new").exists());
}

fn with_database(url: &str) -> SignalingConfig {
    SignalingConfig { database_url: Redacted::new(url.to_owned()), ..SignalingConfig::default() }
}

#[tokio::test]
async fn a_database_that_is_right_has_no_trouble_and_each_wrong_one_is_named() {
    let database = TestDatabase::fresh().await;
    let good = SignalingConfig {
        migration_url: Some(Redacted::new(database.owner_url.clone())),
        ..with_database(&database.app_url)
    };
    let findings = database::look(&good).await;
    assert!(findings.iter().all(|finding| finding.trouble().is_none()), "{findings:?}");

    let superuser = database::look(&with_database(&database.owner_url)).await;
    assert!(trouble_of(&superuser, "rights").unwrap().contains("superuser"), "{superuser:?}");

    let absent = database::look(&with_database(&database.app_url.replace(&database.name, "not_there"))).await;
    assert!(trouble_of(&absent, "answers").unwrap().contains("CREATE DATABASE not_there"), "{absent:?}");

    let stranger = database::look(&with_database(&database.app_url.replace("anteroom_app", "nobody_known"))).await;
    assert!(trouble_of(&stranger, "answers").unwrap().contains("does not let nobody_known in"), "{stranger:?}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = database::look(&with_database(&format!("postgres://app:canary-password@{nobody}/x"))).await;
    let said = trouble_of(&away, "answers").unwrap();
    assert!(said.contains("is PostgreSQL running") && !said.contains("canary"), "{said}");

    // A migration that this program has and the database has not.
    let mut owner = database.owner().await;
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&mut owner)
        .await
        .unwrap();
    let behind = database::look(&good).await;
    assert!(trouble_of(&behind, "tables").unwrap().contains("1 migrations are due"), "{behind:?}");
    sqlx::query("DROP TABLE _sqlx_migrations").execute(&mut owner).await.unwrap();
    let empty = database::look(&good).await;
    assert!(trouble_of(&empty, "tables").unwrap().contains("anteroom init"), "{empty:?}");
}

#[test]
fn h_23_a_database_on_another_machine_without_tls_is_named() {
    // Only the link is judged; nothing has to answer there.
    let url = Redacted::new("postgres://app@db.example.org/x".to_owned());
    let protection = signaling::db::link::protection(&url, "database_url").unwrap();
    assert_eq!(protection, signaling::db::link::Protection::Nothing);
    let settings = SignalingConfig::default();
    let recorder = RecorderConfig { database_url: url, ..RecorderConfig::default() };
    let refused = crate::serve::demand_protection(&settings, &recorder, &[]).unwrap_err().to_string();
    assert!(refused.contains("sslmode=verify-full"), "{refused}");
    let local = RecorderConfig {
        database_url: Redacted::new("postgres://app@localhost/x".to_owned()),
        ..RecorderConfig::default()
    };
    for (endpoint, is_good) in [
        ("", true),
        ("https://s3.example.org", true),
        ("http://127.0.0.1:8333", true),
        ("http://s3.example.org", false),
    ] {
        let store = StoreConfig { endpoint: endpoint.to_owned(), ..StoreConfig::default() };
        assert_eq!(crate::serve::demand_protection(&settings, &local, &[&store]).is_ok(), is_good, "{endpoint}");
    }
}

#[test]
fn clocks_that_disagree_are_named() {
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let at = |seconds| now + time::Duration::seconds(seconds);
    assert!(database::apart(now, at(1), at(2)).is_none(), "the question itself took two seconds");
    assert!(database::apart(now, at(-5), at(0)).unwrap().contains("5.0 s apart"));
    assert!(database::apart(now, at(90), at(1)).unwrap().contains("89.0 s apart"));
    assert!(clock::judge("no\n").trouble().unwrap().contains("set-ntp"));
    assert!(clock::judge("yes\n").trouble().is_none());
}

#[tokio::test]
async fn a_store_is_written_read_and_cleared_or_its_trouble_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = StoreConfig::in_folder(dir.path().join("recordings"));
    let findings = store::look(&good).await;
    assert!(trouble_of(&findings, "store").is_none(), "{findings:?}");
    let left: Vec<_> = std::fs::read_dir(&good.folder).unwrap().flatten().filter(|e| e.path().is_file()).collect();
    assert!(left.is_empty(), "nothing stays behind: {left:?}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let blocked = store::look(&StoreConfig::in_folder(dir.path().join("file"))).await;
    assert!(trouble_of(&blocked, "store").unwrap().contains("file"), "{blocked:?}");
    let away = StoreConfig {
        kind: vault::StoreKind::S3,
        bucket: "recordings".to_owned(),
        endpoint: "http://127.0.0.1:1".to_owned(),
        access_key_id: "id".to_owned(),
        secret_access_key: Redacted::new("canary-secret".to_owned()),
        ..StoreConfig::default()
    };
    let findings = store::look(&away).await;
    let said = trouble_of(&findings, "store").unwrap();
    assert!(said.contains("endpoint") && !said.contains("canary"), "{said}");
}

#[test]
fn keys_that_are_missing_broken_or_open_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = files::look_at_keys(dir.path(), &KeysConfig::default());
    assert!(trouble_of(&missing, "tokens").unwrap().contains("anteroom init"), "{missing:?}");
    assert!(trouble_of(&missing, "for recordings").unwrap().contains("recordings.key"), "{missing:?}");
    Keys::read_or_create(dir.path()).unwrap();
    vault::LocalKeys::open_or_create(&dir.path().join("recordings.key")).unwrap();
    let good = files::look_at_keys(dir.path(), &KeysConfig::default());
    assert!(good.iter().all(|finding| finding.trouble().is_none()), "{good:?}");
    let signing = dir.path().join("signing.pem");
    std::fs::set_permissions(&signing, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = files::look_at_keys(dir.path(), &KeysConfig::default());
    let said = trouble_of(&open, "nobody else").unwrap();
    assert!(said.contains("chmod 600") && said.contains("signing.pem") && !said.contains("lookup"), "{said}");
    std::fs::write(&signing, "no key").unwrap();
    assert!(trouble_of(&files::look_at_keys(dir.path(), &KeysConfig::default()), "tokens").is_some());
}

#[test]
fn a_spool_without_room_few_files_and_an_old_backup_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(files::little_room(6 << 30).is_none());
    assert!(files::little_room(700_000_000).unwrap().contains("700 MB are free"));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let blocked = files::look_at_spool(&dir.path().join("file"));
    assert!(trouble_of(&blocked, "written").is_some(), "{blocked:?}");
    assert!(files::look_at_folder("a folder", &dir.path().join("file")).trouble().is_some());
    assert!(files::look_at_folder("a folder", dir.path()).trouble().is_none());
    assert!(files::few_files(1024, 16_896).unwrap().contains("LimitNOFILE"));
    assert!(files::few_files(32_768, 16_896).is_none());
    assert!(files::look_at_backup(None).is_none());
    let stamp = dir.path().join("stamp");
    assert!(files::look_at_backup(Some(&stamp)).unwrap().trouble().unwrap().contains("touch"));
    let file = std::fs::File::create(&stamp).unwrap();
    assert!(files::look_at_backup(Some(&stamp)).unwrap().trouble().is_none());
    file.set_modified(file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(30 * 3600))
        .unwrap();
    assert!(files::look_at_backup(Some(&stamp)).unwrap().trouble().unwrap().contains("30 hours"));
}

#[test]
fn media_ports_that_are_taken_are_named() {
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = SfuConfig { media_udp_port: port, media_tcp: false, ..SfuConfig::default() };
    let findings = network::look_at_media(&config, false);
    assert!(trouble_of(&findings, "UDP").unwrap().contains(&format!("UDP port {port} is taken")), "{findings:?}");
    let running = network::look_at_media(&config, true);
    assert!(trouble_of(&running, "UDP").is_none(), "the server itself holds it");
    // The second shard's port counts as well.
    let range = SfuConfig { media_udp_port: port - 1, shards: 2, media_tcp: false, ..SfuConfig::default() };
    assert!(trouble_of(&network::look_at_media(&range, false), "UDP").is_some());
    let foreign = network::look_at_pages(SocketAddr::from(([192, 0, 2, 1], 8080)));
    assert!(foreign.1.trouble().unwrap().contains("no such address"), "{foreign:?}");
}

#[tokio::test]
async fn a_public_address_that_leads_elsewhere_and_a_relay_that_is_away_are_named() {
    let keys = Keys::ephemeral().unwrap();
    let other = Keys::ephemeral().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let set = other.jwks();
    let service =
        axum::Router::new().route("/.well-known/jwks.json", axum::routing::get(async move || axum::Json(set.clone())));
    tokio::spawn(async move { axum::serve(listener, service).await });
    let config = SignalingConfig { public_url: Some(url), ..SignalingConfig::default() };
    let ours = network::look_at_public_address(&config, Some(&other), true).await.unwrap();
    assert!(ours.trouble().is_none(), "{ours:?}");
    let theirs = network::look_at_public_address(&config, Some(&keys), true).await.unwrap();
    assert!(theirs.trouble().unwrap().contains("another server"), "{theirs:?}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = SignalingConfig { public_url: Some(format!("http://{nobody}")), ..SignalingConfig::default() };
    let away = network::look_at_public_address(&config, Some(&keys), true).await.unwrap();
    assert!(away.trouble().unwrap().contains("cannot be reached"), "{away:?}");
    let relays = [format!("turn:{nobody}?transport=tcp"), format!("turn:{nobody}?transport=udp"), "turn".to_owned()];
    let findings = network::look_at_relays(&relays).await;
    assert!(findings.len() == 3 && findings.iter().all(|finding| finding.trouble().is_some()), "{findings:?}");
}

#[test]
fn a_certificate_that_browsers_refuse_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    let own = KeyPair::generate().unwrap();
    let write = |name: &str, years: (i32, i32), copies: usize| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let pem = params.self_signed(&own).unwrap().pem();
        std::fs::write(&chain, pem.repeat(copies)).unwrap();
        std::fs::write(&key, own.serialize_pem()).unwrap();
    };
    let now = date_time_ymd(2026, 12, 1);
    let said = |host: &str| tls::trouble(&chain, &key, host, now).unwrap_or_default();
    assert!(said("visits.test").contains("chain.pem"), "it is not there");
    write("visits.test", (2026, 2028), 2);
    assert_eq!(said("visits.test"), "");
    assert!(said("other.test").contains("not for other.test"));
    write("visits.test", (2026, 2028), 1);
    assert!(said("visits.test").contains("fullchain.pem"));
    write("visits.test", (2020, 2021), 2);
    assert!(said("visits.test").contains("expired"));
    write("visits.test", (2027, 2028), 2);
    assert!(said("visits.test").contains("not good yet"));
    let mut soon = CertificateParams::new(vec!["visits.test".to_owned()]).unwrap();
    (soon.not_before, soon.not_after) = (date_time_ymd(2026, 9, 1), date_time_ymd(2026, 12, 8));
    std::fs::write(&chain, soon.self_signed(&own).unwrap().pem().repeat(2)).unwrap();
    assert!(said("visits.test").contains("7 days"));
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(said("visits.test").contains("does not belong"));
    assert_eq!(tls::host_of("https://visits.test:8443/"), "visits.test");
    assert_eq!(tls::host_of("https://visits.test"), "visits.test");
}
