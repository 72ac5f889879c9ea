//! `anteroom dev`: all roles in one process, a private database, keys and demo people under one data directory.

mod account;
pub(crate) mod keys;
mod people;
pub(crate) mod postgres;

use std::fs::{DirBuilder, File, TryLockError};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keys::Development;
use postgres::Postgres;
use recorder::RecorderConfig;
use sfu::SfuConfig;
use signaling::audit::anchoring::Anchoring;
use signaling::audit::config::AuditConfig;
use signaling::audit::spool::Spool;
use signaling::auth::keys::Keys;
use signaling::config::Profile;
use signaling::db::Db;
use signaling::identity::config::IdentityConfig;
use signaling::notice::config::{EmailKind, NoticeConfig, SmsKind};
use signaling::phi::PhiConfig;
use signaling::recording::Vault;
use signaling::{SignalingConfig, Stop};
use vault::{Buckets, LocalKeys, StoreConfig, StoreKind};
use wire::{Redacted, settings};

use crate::Error;
use crate::metrics::ProcessConfig;
use crate::roles::{self, Roles};

/// What `dev` takes from the environment as `serve` does: a TURN relay, the bounds of the Chime face, and webhooks.
const NAMED: &[&str] = &[
    "turn_urls",
    "turn_secret",
    "turn_secret_file",
    "turn_ttl",
    "chime_relay",
    "chime_silence",
    "chime_longest",
    "chime_meetings",
    "join_lease",
    "chime_rate",
    "chime_burst",
    "chime_buckets",
    "chime_region",
    "webhook_networks",
    "webhook_retry",
    "webhook_give_up",
    "webhook_kept",
    "chime_pipelines",
];

/// How long requests under way may take after a stop: everything together ends within 5 s.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What variables can say to `anteroom dev` beside its options.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DevSettings {
    /// As in `serve`, but visits do not hold up whoever stops a server that they are trying.
    #[serde(with = "humantime_serde")]
    drain_limit: Duration,
}

impl DevSettings {
    fn load() -> Result<Self, Error> {
        Ok(settings::load("signaling", &["drain_limit"], None, settings::env)?)
    }
}

/// What `anteroom dev` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the database, the keys and the recordings are kept.
    #[arg(long, default_value = ".anteroom", value_name = "DIR")]
    data_dir: PathBuf,
    /// Where browsers find the pages. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    http: SocketAddr,
    /// The UDP port for sound and picture. 0 takes a free one.
    #[arg(long, default_value_t = 0, value_name = "N")]
    media_port: u16,
    /// Do not wait for the disk: faster, but a power cut may lose data. For tests.
    #[arg(long)]
    no_fsync: bool,
}

/// Runs until told to stop.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let stop = crate::stop::on_signal()?;
    // Said at once, in words, rather than after the database has started.
    drop(TcpListener::bind(options.http).map_err(|error| {
        format!(
            "cannot serve pages on {}: {error}. Is `anteroom dev` running already? Otherwise choose another --http",
            options.http
        )
    })?);
    let data_dir = DataDir::open(&options.data_dir)?;
    let mut postgres = Postgres::start(data_dir.path(), !options.no_fsync).await?;
    let result = serve(&options, data_dir.path(), &mut postgres, stop).await;
    // Last, after everything that writes to it.
    postgres.stop().await;
    result
}

/// As in `serve`; what no variable says goes to the page `/dev/outbox`.
fn notices() -> Result<NoticeConfig, Error> {
    let named = NoticeConfig::load(None, settings::env)?;
    let outbox = NoticeConfig::outbox();
    let sms = if named.sms == SmsKind::None { outbox.sms } else { named.sms };
    let email = if named.email == EmailKind::None { outbox.email } else { named.email };
    Ok(NoticeConfig { sms, email, ..named })
}

async fn serve(options: &Options, data_dir: &Path, postgres: &mut Postgres, stop: Stop) -> Result<(), Error> {
    let development = Development::find_or_create(data_dir)?;
    let signing = keys::signing(data_dir)?;
    Db::migrate(&Redacted::new(postgres.owner_url())).await?;
    postgres.grant_roles().await?;
    // For `anteroom serve` beside it, as `make bench` does. No secret: the socket's folder is the lock.
    std::fs::write(data_dir.join("database.url"), postgres.app_url())?;
    let named: SignalingConfig = settings::load("signaling", NAMED, None, settings::env)?;
    let signaling = SignalingConfig {
        profile: Profile::Development,
        http: options.http,
        database_url: Redacted::new(postgres.app_url()),
        key_dir: keys::folder(data_dir)?,
        stop_grace: STOP_GRACE,
        drain_limit: DevSettings::load()?.drain_limit,
        notices: notices()?,
        identity: IdentityConfig::load(None, settings::env)?,
        demo: Some(people::demo(development.organization)),
        phi: PhiConfig::load(None, settings::env)?,
        ..named
    };
    let signaling = with_audit(signaling, &signing, data_dir)?;
    let code = people::seed(&signaling, &signing, development.organization).await?;
    let sfu = SfuConfig { media_udp_port: options.media_port, announce_loopback: true, ..SfuConfig::default() };
    let recorder = RecorderConfig {
        database_url: Redacted::new(postgres.app_url()),
        spool: data_dir.join("spool"),
        ..RecorderConfig::default()
    };
    let store = match StoreConfig::load(None, settings::env)? {
        named if named.kind == StoreKind::S3 => named,
        _ => StoreConfig::in_folder(data_dir.join("recordings")),
    };
    let vault = Vault {
        store: vault::store::open(&store).await?,
        keys: Arc::new(LocalKeys::open_or_create(&keys::folder(data_dir)?.join("recordings.key"))?),
    };
    let named = vault::store::load_buckets(&store, None, settings::env)?;
    let buckets = match named.kind {
        StoreKind::S3 => named,
        // Beside everything else of this directory.
        StoreKind::Folder => StoreConfig::in_folder(data_dir.join("buckets")),
    };
    let buckets = Buckets::open(&buckets).await?;
    let process = ProcessConfig::load(None)?;
    let roles = Roles { signaling, keys: signing, sfu, recorder, vault, buckets, process };
    let on_ready = |address: SocketAddr| {
        welcome(address, &code);
        crate::serve::announce(address);
    };
    tokio::select! {
        ended = roles::run(roles, on_ready, stop) => ended,
        () = postgres.ended() => Err("PostgreSQL ended by itself".into()),
    }
}

fn with_audit(config: SignalingConfig, signing: &Keys, data_dir: &Path) -> Result<SignalingConfig, Error> {
    let audit = audit_settings(data_dir)?;
    let anchoring = Some(Anchoring::open(&audit, &config.key_dir)?);
    let spool = Some(Spool::open(&audit.spool, audit.spool_bytes, signing)?);
    Ok(SignalingConfig { audit, anchoring, spool, ..config })
}

/// Anchors and the spool lie beside everything else of this directory.
pub(crate) fn audit_settings(data_dir: &Path) -> Result<AuditConfig, Error> {
    let named = AuditConfig::load(None, settings::env)?;
    Ok(AuditConfig { anchor_folder: data_dir.join("anchors"), spool: data_dir.join("audit-spool"), ..named })
}

/// Tells the person at the terminal where to click. Not a log line: the link is for them alone.
fn welcome(address: SocketAddr, code: &Redacted<String>) {
    let (port, code) = (address.port(), code.reveal());
    eprintln!("\n  The clinician's desk   http://localhost:{port}/desk   (sign in as Dr. Maria Alvarez)");
    eprintln!("  A patient's link       http://localhost:{port}/j/{code}   (works once, for 30 minutes)");
    eprintln!("\n  Open them in two browser windows. Stop with Ctrl-C.\n");
}

/// The data directory, held by this process alone. The lock goes with the process, however it ends.
#[derive(Debug)]
struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    fn open(path: &Path) -> Result<Self, Error> {
        let told = |error: std::io::Error| format!("cannot use the data directory {}: {error}", path.display());
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(told)?;
        }
        let path = path.canonicalize().map_err(told)?;
        let lock = File::create(path.join("lock")).map_err(told)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "another `anteroom dev` uses the data directory {}: stop it first, or give this one another --data-dir",
                path.display()
            )
            .into()),
            Err(TryLockError::Error(error)) => Err(told(error).into()),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        assert!(DataDir::open(dir.path()).unwrap_err().to_string().contains("another `anteroom dev`"));
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }
}
