//! `anteroom key`: the keys that wrap the data keys of recordings and of sealed fields.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;
use signaling::SignalingConfig;
use signaling::clock::Clock;
use signaling::db::Db;
use signaling::phi::rewrap;
use vault::keys::KeysKind;
use vault::{KeysConfig, LocalKeys};
use wire::settings;

use crate::Error;

/// What `anteroom key` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Add a fresh key to the key file. From now on it wraps what is new; a running server wraps anew what the older ones wrapped.
    Rotate {
        /// The settings file of `anteroom serve`.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Print how many data keys each wrapping key still wraps. One that wraps none can be put away.
    Status {
        /// The settings file of `anteroom serve`.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
}

/// Does it, and prints JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (Action::Rotate { settings: file } | Action::Status { settings: file }) = &options.action;
    let config = SignalingConfig::load(file.as_deref(), settings::env)?;
    let path = config.key_dir.join("recordings.key");
    let keys = KeysConfig::load(file.as_deref(), settings::env)?;
    let answer = match options.action {
        Action::Rotate { .. } if keys.kind == KeysKind::Kms => {
            return Err(
                "the wrapping key is in KMS: name the new one as `kms_key` and this one in `kms_older`, and restart"
                    .into(),
            );
        }
        Action::Rotate { .. } => json!({ "current": LocalKeys::rotate(&path)? }),
        Action::Status { .. } => {
            let current = keys.open(&path)?.current();
            let db = Db::connect(&config, Clock::system()).await?;
            let counted = rewrap::count(&db).await;
            db.close().await;
            let wraps: serde_json::Map<_, _> = counted?.into_iter().map(|(id, count)| (id, json!(count))).collect();
            json!({ "current": current, "wraps": wraps })
        }
    };
    writeln!(std::io::stdout().lock(), "{answer:#}")?;
    Ok(())
}
