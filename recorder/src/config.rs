//! What an operator may set about the recorder.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vault::Buckets;
use wire::Redacted;
use wire::settings::{self, SettingsError};

use crate::metrics::Metrics;

/// Settings of the recorder role: table `[recorder]` of the settings file, or `ANTEROOM_DATABASE_URL`, `ANTEROOM_RECORDER_SPOOL`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderConfig {
    /// PostgreSQL, as a login that is a member of `anteroom_recorder`.
    pub database_url: Redacted<String>,
    /// Journals and sealed files until they are stored. Give it a durable disk: what is here and not yet stored exists nowhere else.
    /// 1.1 GB for each hour of a two-party visit in 720p.
    pub spool: PathBuf,
    /// Where deliveries go; whoever starts the role opens them. Without them no delivery can be made.
    #[serde(skip)]
    pub buckets: Option<Buckets>,
    /// What the role counts; whoever starts it keeps a clone to show.
    #[serde(skip)]
    pub metrics: Metrics,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self {
            database_url: Redacted::default(),
            spool: PathBuf::from("spool"),
            buckets: None,
            metrics: Metrics::default(),
        }
    }
}

impl RecorderConfig {
    /// The names of all fields, for the environment.
    pub const FIELDS: &'static [&'static str] = &["database_url", "spool"];

    /// Reads table `recorder` of the file, then the environment.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        settings::load("recorder", Self::FIELDS, file, env)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// With the sentence for the operator.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.database_url.reveal().is_empty() {
            return Err(SettingsError::Invalid("`database_url` of the recorder is missing".to_owned()));
        }
        if self.spool.as_os_str().is_empty() {
            return Err(SettingsError::Invalid("`spool` of the recorder is missing".to_owned()));
        }
        Ok(())
    }
}
