//! `anteroom chime-key`: access keys for applications that speak the Chime API.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use signaling::SignalingConfig;
use signaling::auth::keys::Keys;
use signaling::chime::keys as access;
use signaling::clock::Clock;
use signaling::db::Db;
use signaling::ids::OrgId;
use wire::{Redacted, settings};

use crate::Error;
use crate::dev::keys::{self, Development};

/// What `anteroom chime-key` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Make a key and print it: the secret is shown this once.
    Create(Place),
    /// Print all keys, without their secrets.
    List(Place),
    /// Refuse a key from now on.
    Revoke {
        /// The access key id.
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose keys, and where they are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The data directory of `anteroom dev`, which has to be running.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The settings file of `anteroom serve`.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    settings: Option<PathBuf>,
    /// The organisation; under `anteroom dev` the demo practice, unless told otherwise.
    #[arg(long, value_name = "ID")]
    org: Option<OrgId>,
}

/// Where `anteroom dev` keeps its data unless told otherwise.
const DATA_DIR: &str = ".anteroom";

impl Place {
    /// Opens the database of `anteroom dev` where there is one, of the settings otherwise.
    pub(crate) async fn open(self) -> Result<(Db, Keys, OrgId), Error> {
        let is_named = self.data_dir.is_some();
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let development = if self.settings.is_none() { Development::find(&data_dir)? } else { None };
        let Some(development) = development else {
            if is_named {
                return Err(format!("{} is no data directory of `anteroom dev`", data_dir.display()).into());
            }
            let config = SignalingConfig::load(self.settings.as_deref(), settings::env)?;
            let org = self.org.ok_or("say whose keys are meant: --org with the id that `anteroom init` printed")?;
            let keys = Keys::read(&config.key_dir)?;
            return Ok((Db::connect(&config, Clock::system()).await?, keys, org));
        };
        let away = |error: &dyn std::fmt::Display| {
            format!("the database in {} does not answer: is `anteroom dev` running? ({error})", data_dir.display())
        };
        let url = std::fs::read_to_string(data_dir.join("database.url")).map_err(|error| away(&error))?;
        let config =
            SignalingConfig { database_url: Redacted::new(url), database_connections: 1, ..SignalingConfig::default() };
        let db = Db::connect(&config, Clock::system()).await.map_err(|error| away(&error))?;
        Ok((db, Keys::read(&keys::folder(&data_dir)?)?, self.org.unwrap_or(development.organization)))
    }
}

/// Does it, and prints JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (Action::Create(place) | Action::List(place) | Action::Revoke { place, .. }) = &options.action;
    let (db, keys, org) = place.clone().open().await?;
    let answer = act(&options.action, &db, &keys, org).await;
    db.close().await;
    writeln!(std::io::stdout().lock(), "{:#}", answer?)?;
    Ok(())
}

async fn act(action: &Action, db: &Db, keys: &Keys, org: OrgId) -> Result<Value, Error> {
    let answer = match action {
        Action::Create(_) => {
            let made = access::create(db, keys, org).await.map_err(in_words)?;
            json!({
                "accessKeyId": made.access_key_id,
                "secretAccessKey": made.secret_access_key.reveal(),
                "organization": org,
            })
        }
        Action::List(_) => json!(access::list(db, org).await?),
        Action::Revoke { id, .. } => json!(access::revoke(db, org, id).await.map_err(in_words)?),
    };
    Ok(answer)
}

/// A refusal in the words meant for people.
pub(crate) fn in_words(error: signaling::Error) -> Error {
    match error {
        signaling::Error::Refused(problem) => problem.detail.into(),
        other => other.into(),
    }
}
