//! What an operator may set about sealed fields.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use wire::settings;

use crate::error::Error;

/// Settings of sealed fields: table `phi` of the settings file, or `ANTEROOM_PHI_<FIELD>`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PhiConfig {
    /// How long one data key of an organisation seals new values; it opens old ones for ever. Default `30days`.
    #[serde(with = "humantime_serde")]
    pub key_lifetime: Duration,
    /// How long an opened data key stays in memory; so long a key that was switched off in the key service still works. Default `5m`.
    #[serde(with = "humantime_serde")]
    pub key_cached: Duration,
    /// How often data keys that an older key wrapped are looked for and wrapped anew. Default `1h`.
    #[serde(with = "humantime_serde")]
    pub rewrap_every: Duration,
}

impl Default for PhiConfig {
    fn default() -> Self {
        Self {
            key_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            key_cached: Duration::from_secs(5 * 60),
            rewrap_every: Duration::from_secs(60 * 60),
        }
    }
}

impl PhiConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &["key_lifetime", "key_cached", "rewrap_every"];

    /// Defaults, then the file, then the environment.
    ///
    /// # Errors
    /// When a value does not fit its field.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let env = |name: &str| name.starts_with("ANTEROOM_PHI_").then(|| env(name)).flatten();
        let config: Self =
            settings::load("phi", Self::FIELDS, file, env).map_err(|e| Error::Settings(e.to_string()))?;
        if config.key_lifetime.is_zero() || config.rewrap_every.is_zero() {
            return Err(Error::Settings(
                "`key_lifetime` and `rewrap_every` of `phi` must be more than nothing".to_owned(),
            ));
        }
        Ok(config)
    }
}
