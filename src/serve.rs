//! `anteroom serve`: all roles in one process, with a database and keys that somebody else looks after.

use std::io::Write as _;
use std::path::PathBuf;

use recorder::RecorderConfig;
use sfu::SfuConfig;
use signaling::SignalingConfig;
use signaling::audit::anchoring::Anchoring;
use signaling::audit::spool::Spool;
use signaling::auth::keys::Keys;
use signaling::config::{Profile, is_loopback_name};
use signaling::db::link;
use signaling::recording::Vault;
use signaling::telemetry::export::TracingConfig;
use vault::{Buckets, KeysConfig, StoreConfig};
use wire::settings;

use crate::Error;
use crate::metrics::ProcessConfig;
use crate::roles::{self, Roles};
use crate::telemetry::Format;

/// What `anteroom serve` may be told; the rest are settings, see docs/operations.md.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// A TOML file with the tables that docs/operations.md lists. Variables named ANTEROOM_... override it.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Runs until told to stop, with logs for a collector, and traces if there is one for them.
pub(crate) fn start(options: Options) -> Result<(), Error> {
    let tracing = TracingConfig::load(options.settings.as_deref(), settings::env)?;
    crate::traced(Format::Json, &tracing, run(options))
}

/// Runs until told to stop.
async fn run(options: Options) -> Result<(), Error> {
    let stop = crate::stop::on_signal()?;
    let file = options.settings.as_deref();
    let mut signaling = SignalingConfig::load(file, settings::env)?;
    signaling.anchoring = Some(Anchoring::open(&signaling.audit, &signaling.key_dir)?);
    let keys = Keys::open_as(&signaling.signing, &signaling.key_dir).await?;
    signaling.spool = Some(Spool::open(&signaling.audit.spool, signaling.audit.spool_bytes, &keys)?);
    let sfu: SfuConfig = settings::load("sfu", SfuConfig::FIELDS, file, settings::env)?;
    let recorder = RecorderConfig::load(file, settings::env)?;
    let store = StoreConfig::load(file, settings::env)?;
    let buckets = vault::store::load_buckets(&store, file, settings::env)?;
    demand_protection(&signaling, &recorder, &[&store, &buckets])?;
    let buckets = Buckets::open(&buckets).await?;
    let vault = Vault {
        store: vault::store::open(&store).await?,
        keys: KeysConfig::load(file, settings::env)?.open(&signaling.key_dir.join("recordings.key"))?,
    };
    let process = ProcessConfig::load(file)?;
    let roles = Roles { signaling, keys, sfu, recorder, vault, buckets, process };
    roles::run(roles, announce, stop).await
}

/// In the production profile nothing leaves this machine unencrypted: not to the database of the recorder, not to a store. Signaling's own
/// links are its settings' affair.
pub(crate) fn demand_protection(
    signaling: &SignalingConfig,
    recorder: &RecorderConfig,
    stores: &[&StoreConfig],
) -> Result<(), Error> {
    if signaling.profile != Profile::Production {
        return Ok(());
    }
    link::demand_protection(&recorder.database_url, "database_url of the recorder")?;
    for store in stores {
        let is_local = |rest: &str| is_loopback_name(rest.split('/').next().unwrap_or_default());
        if store.endpoint.strip_prefix("http://").is_some_and(|rest| !is_local(rest)) {
            return Err(format!(
                "`endpoint` {} of a store is not encrypted: it must begin with https://, except on this machine",
                store.endpoint
            )
            .into());
        }
    }
    Ok(())
}

/// Tells whoever started us, on standard output, that visits can be held.
pub(crate) fn announce(address: std::net::SocketAddr) {
    // Nobody may be reading: a service manager that does not care.
    let _ = writeln!(std::io::stdout().lock(), "ready http://{address}");
}
