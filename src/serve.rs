//! `anteroom serve`: all roles in one process, with a database and keys that somebody else looks after.

use std::io::Write as _;
use std::path::PathBuf;

use recorder::RecorderConfig;
use sfu::SfuConfig;
use signaling::SignalingConfig;
use signaling::audit::anchoring::Anchoring;
use signaling::auth::keys::Keys;
use signaling::recording::Vault;
use vault::{Buckets, KeysConfig, StoreConfig};
use wire::settings;

use crate::Error;
use crate::metrics::ProcessConfig;
use crate::roles::{self, Roles};

/// What `anteroom serve` may be told; the rest are settings, see docs/operations.md.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// A TOML file with the tables of docs/operations.md. Variables named ANTEROOM_... override it.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Runs until told to stop.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let stop = crate::stop::on_signal()?;
    let file = options.settings.as_deref();
    let mut signaling = SignalingConfig::load(file, settings::env)?;
    signaling.anchoring = Some(Anchoring::open(&signaling.audit, &signaling.key_dir)?);
    let keys = Keys::read(&signaling.key_dir)?;
    let sfu: SfuConfig = settings::load("sfu", SfuConfig::FIELDS, file, settings::env)?;
    let recorder = RecorderConfig::load(file, settings::env)?;
    let store = StoreConfig::load(file, settings::env)?;
    let buckets = Buckets::open(&vault::store::load_buckets(&store, file, settings::env)?).await?;
    let vault = Vault {
        store: vault::store::open(&store).await?,
        keys: KeysConfig::load(file, settings::env)?.open(&signaling.key_dir.join("recordings.key"))?,
    };
    let process = ProcessConfig::load(file)?;
    let roles = Roles { signaling, keys, sfu, recorder, vault, buckets, process };
    roles::run(roles, announce, stop).await
}

/// Tells whoever started us, on standard output, that visits can be held.
pub(crate) fn announce(address: std::net::SocketAddr) {
    // Nobody may be reading: a service manager that does not care.
    let _ = writeln!(std::io::stdout().lock(), "ready http://{address}");
}
