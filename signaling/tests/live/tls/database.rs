//! The link to the database, encrypted: a real PostgreSQL with a certificate, over TCP.

use signaling::clock::Clock;
use signaling::config::SignalingConfig;
use signaling::db::Db;
use sqlx::{Connection, Row};
use test_postgres::EncryptedCluster;
use wire::Redacted;

use super::Authority;

#[tokio::test]
async fn h_23_the_database_is_reached_by_tls_and_only_if_it_is_the_right_one() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (chain, key) = authority.sign(&["localhost"]);
    let cluster = EncryptedCluster::start(&chain, &key).await;
    let folder = tempfile::tempdir().unwrap();
    let root_of = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (root_of("right.pem", &authority), root_of("wrong.pem", &other));
    let url = |user: &str, root: &str| {
        Redacted::new(format!("{}?sslmode=verify-full&sslrootcert={root}", cluster.url(user, "postgres")))
    };
    Db::migrate(&url("postgres", &right)).await.unwrap();
    Db::grant_roles(&url("postgres", &right), &url("anteroom_app", &right)).await.unwrap();
    let open = async |database_url| {
        let config = SignalingConfig { database_url, database_connections: 1, ..SignalingConfig::default() };
        Db::connect(&config, Clock::system()).await
    };
    let db = open(url("anteroom_app", &right)).await.unwrap();
    // Asked as the superuser: what others speak is not for the server to see.
    let mut owner = sqlx::PgConnection::connect(url("postgres", &right).reveal()).await.unwrap();
    let sql = "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'anteroom_app'";
    let row = sqlx::query(sql).fetch_one(&mut owner).await.unwrap();
    assert!(row.get::<bool, _>(0));
    assert!(["TLSv1.2", "TLSv1.3"].contains(&row.get::<&str, _>(1)));
    db.close().await;
    let error = open(url("anteroom_app", &wrong)).await.unwrap_err().to_string();
    assert!(error.contains("invalid data"), "{error}");
    // Without TLS this server lets nobody in.
    let plain = Redacted::new(format!("{}?sslmode=disable", cluster.url("anteroom_app", "postgres")));
    assert!(open(plain).await.is_err());
}
