//! `anteroom init`: what `anteroom serve` needs once: tables, keys, and a practice.

use std::io::Write as _;
use std::path::PathBuf;

use signaling::SignalingConfig;
use signaling::audit::signer::LocalSigner;
use signaling::auth::keys::Keys;
use signaling::clock::Clock;
use signaling::db::Db;
use signaling::ids::OrgId;
use signaling::organization::{self, Organization};
use vault::LocalKeys;
use wire::settings;

use crate::Error;

/// What `anteroom init` may be told; the database and the key folder come from the settings, see docs/operations.md.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The practice's name, as patients know it.
    #[arg(long)]
    name: String,
    /// Where patients call when something does not work.
    #[arg(long)]
    phone: String,
    /// The settings file of `anteroom serve`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Migrates where `migration_url` is set, makes the keys that are missing, and makes one practice, whose id it prints.
/// Keys that are there stay as they are; each call makes another practice.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let config = SignalingConfig::load(options.settings.as_deref(), settings::env)?;
    if let Some(owner) = &config.migration_url {
        Db::migrate(owner).await?;
        Db::grant_roles(owner, &config.database_url).await?;
    }
    Keys::read_or_create(&config.key_dir)?;
    LocalKeys::open_or_create(&config.key_dir.join("recordings.key"))?;
    LocalSigner::read_or_create(&config.key_dir)?;
    let db = Db::connect(&config, Clock::system()).await?;
    let practice = Organization { id: OrgId::random(), name: options.name, phone: options.phone };
    let made = organization::create(&db, &practice).await;
    db.close().await;
    made?;
    writeln!(std::io::stdout().lock(), "{}", practice.id)?;
    Ok(())
}
