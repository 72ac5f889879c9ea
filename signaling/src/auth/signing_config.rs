//! Settings of the signing key: table `[signing]` of the file, variables `ANTEROOM_SIGNING_<FIELD>`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use signing::KmsConfig;
use wire::{Redacted, settings};

use crate::error::Error;

/// Where join links and tokens are signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningConfig {
    /// A key of AWS KMS (`ECC_NIST_P256`) by its id, ARN or alias. Default none: the file `signing.pem` of `key_dir`.
    pub kms_key: Option<String>,
    /// Its region. Default `us-east-1`.
    pub region: String,
    /// Another address of the service than the region's own. Default none.
    pub endpoint: Option<String>,
    /// The id of the access key that may use it.
    pub access_key_id: String,
    /// The secret of that access key.
    pub secret_access_key: Redacted<String>,
    /// How often a key that has taken the current one's place is looked for. Default `5s`.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
}

impl Default for SigningConfig {
    fn default() -> Self {
        Self {
            kms_key: None,
            region: "us-east-1".to_owned(),
            endpoint: None,
            access_key_id: String::new(),
            secret_access_key: Redacted::new(String::new()),
            refresh: Duration::from_secs(5),
        }
    }
}

impl SigningConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &["kms_key", "region", "endpoint", "access_key_id", "secret_access_key", "refresh"];

    /// Defaults, then the file, then the environment.
    ///
    /// # Errors
    /// When a value does not fit its field.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        // Only the long names: `ANTEROOM_REGION` would say too little.
        let env = |name: &str| name.starts_with("ANTEROOM_SIGNING_").then(|| env(name)).flatten();
        let config: Self =
            settings::load("signing", Self::FIELDS, file, env).map_err(|e| Error::Settings(e.to_string()))?;
        if config.refresh < Duration::from_secs(1) {
            return Err(Error::Settings("`refresh` must be at least 1 s".to_owned()));
        }
        config.kms()?;
        Ok(config)
    }

    /// The key of AWS KMS, if there is one.
    ///
    /// # Errors
    /// When it is named and nothing says by whose leave it is used.
    pub fn kms(&self) -> Result<Option<KmsConfig>, Error> {
        let Some(key) = self.kms_key.clone() else { return Ok(None) };
        if self.access_key_id.is_empty() || self.secret_access_key.reveal().is_empty() {
            let words = "`kms_key` needs `access_key_id` and `secret_access_key`";
            return Err(Error::Settings(words.to_owned()));
        }
        Ok(Some(KmsConfig {
            key,
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
        }))
    }
}
