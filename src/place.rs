//! Where the commands that look after an organisation find its database and keys: beside `anteroom dev`, or by the settings of `serve`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use signaling::SignalingConfig;
use signaling::audit::anchoring::Anchoring;
use signaling::auth::keys::Keys;
use signaling::clock::Clock;
use signaling::db::Db;
use signaling::ids::OrgId;
use wire::{Redacted, settings};

use crate::Error;
use crate::dev::keys::{self, Development};

/// Whose records, and where they are kept.
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
    /// Does something there, and prints its answer as JSON on standard output.
    pub(crate) async fn ask(
        self,
        act: impl AsyncFnOnce(&Db, &Keys, OrgId) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        let (db, keys, org) = self.open().await?;
        let answer = act(&db, &keys, org).await;
        db.close().await;
        writeln!(std::io::stdout().lock(), "{:#}", answer?)?;
        Ok(())
    }

    async fn open(self) -> Result<(Db, Keys, OrgId), Error> {
        let (db, config, org) = self.open_all().await?;
        let org = org.ok_or("say whose keys are meant: --org with the id that `anteroom init` printed")?;
        Ok((db, Keys::open_as(&config.signing, &config.key_dir).await?, org))
    }

    /// Opens the database and what `anteroom audit` needs beside it. Without an organisation all are meant.
    pub(crate) async fn open_audit(self) -> Result<(Db, Anchoring, Option<OrgId>), Error> {
        let (db, config, org) = self.open_all().await?;
        Ok((db, Anchoring::open(&config.audit, &config.key_dir)?, org))
    }

    /// Opens the database of `anteroom dev` where there is one, of the settings otherwise.
    async fn open_all(self) -> Result<(Db, SignalingConfig, Option<OrgId>), Error> {
        let is_named = self.data_dir.is_some();
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let development = if self.settings.is_none() { Development::find(&data_dir)? } else { None };
        let Some(development) = development else {
            if is_named {
                return Err(format!("{} is no data directory of `anteroom dev`", data_dir.display()).into());
            }
            let config = SignalingConfig::load(self.settings.as_deref(), settings::env)?;
            return Ok((Db::connect(&config, Clock::system()).await?, config, self.org));
        };
        let away = |error: &dyn std::fmt::Display| {
            format!("the database in {} does not answer: is `anteroom dev` running? ({error})", data_dir.display())
        };
        let url = std::fs::read_to_string(data_dir.join("database.url")).map_err(|error| away(&error))?;
        let config = SignalingConfig {
            database_url: Redacted::new(url),
            database_connections: 1,
            key_dir: keys::folder(&data_dir)?,
            audit: crate::dev::audit_settings(&data_dir)?,
            ..SignalingConfig::default()
        };
        let db = Db::connect(&config, Clock::system()).await.map_err(|error| away(&error))?;
        Ok((db, config, Some(self.org.unwrap_or(development.organization))))
    }
}

/// A refusal in the words meant for people.
pub(crate) fn in_words(error: signaling::Error) -> Error {
    match error {
        signaling::Error::Refused(problem) => problem.detail.into(),
        other => other.into(),
    }
}
