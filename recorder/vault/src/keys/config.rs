//! What an operator may set about the wrapping keys.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use wire::Redacted;
use wire::settings::{self, SettingsError};

use super::{KeyError, KeyProvider, KmsKeys, LocalKeys, Moved};

/// Where the wrapping key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysKind {
    /// In a file of this machine.
    #[default]
    Local,
    /// In AWS KMS.
    Kms,
}

/// Settings of the wrapping keys: table `keys` of the settings file, or `ANTEROOM_KEYS_<FIELD>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// `local` or `kms`. With `kms`, the local file is still opened where it exists, for what it wrapped before.
    pub kind: KeysKind,
    /// ARN of the KMS key that wraps what is new.
    pub kms_key: String,
    /// ARNs of KMS keys that wrapped what is there; comma-separated in the environment.
    #[serde(deserialize_with = "list")]
    pub kms_older: Vec<String>,
    /// Base URL of a server that speaks the API of KMS; empty for AWS.
    pub endpoint: String,
    /// Region of the KMS keys.
    pub region: String,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Redacted<String>,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            kind: KeysKind::Local,
            kms_key: String::new(),
            kms_older: Vec::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            access_key_id: String::new(),
            secret_access_key: Redacted::default(),
        }
    }
}

impl KeysConfig {
    /// What the environment may override.
    pub const FIELDS: [&'static str; 7] =
        ["kind", "kms_key", "kms_older", "endpoint", "region", "access_key_id", "secret_access_key"];

    /// Reads table `keys` of the file, then `ANTEROOM_KEYS_<FIELD>`.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        // Only the long names: `ANTEROOM_KIND` or `ANTEROOM_REGION` would say too little.
        let env = |name: &str| name.starts_with("ANTEROOM_KEYS_").then(|| env(name)).flatten();
        settings::load("keys", &Self::FIELDS, file, env)
    }

    /// Opens the keys that the settings name; `local` is the key file.
    ///
    /// # Errors
    /// When the settings cannot work, or the file is missing where it is the one that wraps, or cannot be used.
    pub fn open(&self, local: &Path) -> Result<Arc<dyn KeyProvider>, KeyError> {
        match self.kind {
            KeysKind::Local => Ok(Arc::new(LocalKeys::open(local)?)),
            KeysKind::Kms => {
                let to = Arc::new(KmsKeys::open(self)?);
                if local.exists() {
                    Ok(Arc::new(Moved { to, from: Arc::new(LocalKeys::open(local)?) }))
                } else {
                    Ok(to)
                }
            }
        }
    }
}

fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::List(list) => list,
        Form::Text(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_the_long_names_and_hide_the_secret() {
        let env = |name: &str| match name {
            "ANTEROOM_KEYS_KIND" => Some("kms".to_owned()),
            "ANTEROOM_KEYS_KMS_OLDER" => Some("arn:a, arn:b".to_owned()),
            "ANTEROOM_KEYS_SECRET_ACCESS_KEY" => Some("hush-hush".to_owned()),
            "ANTEROOM_REGION" => Some("nowhere".to_owned()),
            _ => None,
        };
        let config = KeysConfig::load(None, env).unwrap();
        assert_eq!((config.kind, config.kms_older.len(), config.region.as_str()), (KeysKind::Kms, 2, "us-east-1"));
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none");
        assert!(matches!(KeysConfig::default().open(&missing), Err(KeyError::File(_))));
        let arn = "arn:aws:kms:us-east-1:111122223333:key/0a".to_owned();
        let fits = KeysConfig {
            kind: KeysKind::Kms,
            kms_key: arn.clone(),
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned().into(),
            ..KeysConfig::default()
        };
        assert_eq!(fits.open(&missing).unwrap().current(), arn);
        for bad in [
            KeysConfig { kms_key: "alias/clinic".to_owned(), ..fits.clone() },
            KeysConfig { kms_older: vec!["0a".to_owned()], ..fits.clone() },
            KeysConfig { access_key_id: String::new(), ..fits.clone() },
        ] {
            assert!(matches!(bad.open(&missing), Err(KeyError::Settings(_))));
        }
    }
}
