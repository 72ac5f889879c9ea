//! `Store`: where sealed objects lie. It holds ciphertext only, and each object is written once.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use wire::Redacted;
use wire::settings::{self, SettingsError};

use crate::name::ObjectName;

pub mod folder;
pub mod locked;
pub mod s3;

/// A place for sealed objects.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Uploads a spooled file as one object. When it returns, the object is whole and durable; when it fails, nothing
    /// can be read under the name. An object that is there is never replaced.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken; else what went wrong.
    async fn put(&self, name: &ObjectName, spool: &Path) -> Result<(), StoreError>;

    /// Bytes of the object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not there.
    async fn size(&self, name: &ObjectName) -> Result<u64, StoreError>;

    /// Exactly these bytes of the object. The caller bounds the range: it is held in memory.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Short`] when the range does not lie inside.
    async fn read(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Removes the object. Removing what is not there is a success.
    ///
    /// # Errors
    /// When the store is away or refuses.
    async fn delete(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// Whether the store itself can refuse to lose an object before its time (Object Lock); `None` for a kind that never can.
    ///
    /// # Errors
    /// When the store is away or does not say.
    async fn is_locked(&self) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object.
    #[error("no such object")]
    NotFound,
    /// The name is taken.
    #[error("the object exists already")]
    Exists,
    /// The object ends before the range does.
    #[error("the object is shorter than the range")]
    Short,
    /// The credentials do not hold or do not suffice. Trying again does not help.
    #[error("the store denies access")]
    Denied,
    /// The settings cannot work.
    #[error("the store's settings are not valid: {0}")]
    Settings(&'static str),
    /// A local file cannot be read or written.
    #[error("file: {0}")]
    File(#[from] std::io::Error),
    /// The store is away or failed inside; the code is its own.
    #[error("the store failed: {0}")]
    Unavailable(String),
}

/// Which kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// A folder of this machine.
    #[default]
    Folder,
    /// An S3 bucket, of AWS or of a compatible server.
    S3,
}

/// Settings of a store: table `store` of the settings file, or `ANTEROOM_STORE_<FIELD>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `folder` or `s3`.
    pub kind: StoreKind,
    /// Folder of the `folder` store. It is made when missing.
    pub folder: PathBuf,
    /// Bucket of the `s3` store. It must exist.
    pub bucket: String,
    /// Put before every key, without slashes around it; may be empty.
    pub prefix: String,
    /// Base URL of an S3-compatible server; empty for AWS.
    pub endpoint: String,
    /// Region; compatible servers take any.
    pub region: String,
    /// Bucket in the path instead of the host name. Compatible servers mostly want it.
    pub path_style: bool,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Redacted<String>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Folder,
            folder: PathBuf::from("recordings"),
            bucket: String::new(),
            prefix: String::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            path_style: true,
            access_key_id: String::new(),
            secret_access_key: Redacted::default(),
        }
    }
}

impl StoreConfig {
    /// What the environment may override.
    pub const FIELDS: [&'static str; 9] = [
        "kind",
        "folder",
        "bucket",
        "prefix",
        "endpoint",
        "region",
        "path_style",
        "access_key_id",
        "secret_access_key",
    ];

    /// A folder store.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..Self::default() }
    }

    /// Reads table `store` of the file, then `ANTEROOM_STORE_<FIELD>`.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        // Only the long names: `ANTEROOM_KIND` or `ANTEROOM_REGION` would say too little.
        let env = |name: &str| name.starts_with("ANTEROOM_STORE_").then(|| env(name)).flatten();
        settings::load("store", &Self::FIELDS, file, env)
    }
}

/// Settings of the buckets that captures are delivered to: table `buckets` of the settings file, or `ANTEROOM_BUCKETS_<FIELD>`. Where
/// neither says anything they are those of the store's own server; beside a store in a folder, folders in `buckets`.
///
/// # Errors
/// When a value does not fit.
pub fn load_buckets(
    store: &StoreConfig,
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<StoreConfig, SettingsError> {
    let env = |name: &str| name.starts_with("ANTEROOM_BUCKETS_").then(|| env(name)).flatten();
    let said: BTreeMap<String, IgnoredAny> = settings::load("buckets", &StoreConfig::FIELDS, file, env)?;
    if !said.is_empty() {
        return settings::load("buckets", &StoreConfig::FIELDS, file, env);
    }
    Ok(match store.kind {
        StoreKind::S3 => store.clone(),
        StoreKind::Folder => StoreConfig::in_folder("buckets"),
    })
}

/// Opens the store that the settings name.
///
/// # Errors
/// When the settings cannot work, or the folder cannot be made.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    match config.kind {
        StoreKind::Folder => Ok(Arc::new(folder::FolderStore::open(&config.folder).await?)),
        StoreKind::S3 => Ok(Arc::new(s3::S3Store::open(config)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_the_long_names_and_hide_the_secret() {
        let env = |name: &str| match name {
            "ANTEROOM_STORE_KIND" => Some("s3".to_owned()),
            "ANTEROOM_STORE_BUCKET" => Some("rec".to_owned()),
            "ANTEROOM_STORE_SECRET_ACCESS_KEY" => Some("hush-hush".to_owned()),
            "ANTEROOM_REGION" => Some("nowhere".to_owned()),
            _ => None,
        };
        let config = StoreConfig::load(None, env).unwrap();
        assert_eq!((config.kind, config.bucket.as_str(), config.region.as_str()), (StoreKind::S3, "rec", "us-east-1"));
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn buckets_are_the_stores_unless_told_otherwise() {
        let store = StoreConfig { kind: StoreKind::S3, endpoint: "http://s3".to_owned(), ..StoreConfig::default() };
        assert_eq!(load_buckets(&store, None, |_| None).unwrap().endpoint, "http://s3");
        let beside = load_buckets(&StoreConfig::default(), None, |_| None).unwrap();
        assert_eq!((beside.kind, beside.folder), (StoreKind::Folder, PathBuf::from("buckets")));
        let env = |name: &str| (name == "ANTEROOM_BUCKETS_FOLDER").then(|| "elsewhere".to_owned());
        let named = load_buckets(&store, None, env).unwrap();
        assert_eq!((named.kind, named.folder), (StoreKind::Folder, PathBuf::from("elsewhere")));
    }
}
