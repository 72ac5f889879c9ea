//! `AuditConfig`: where anchors of the audit chain go, and how much is spooled while the database is away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vault::StoreConfig;
use vault::store::StoreKind;
use vault::store::locked::LockedBucket;
use wire::{Redacted, settings};

use crate::error::Error;

/// Settings of the audit: table `[audit]` of the file, variables `ANTEROOM_AUDIT_<FIELD>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// How often what is new in each chain is anchored. Default `10m`.
    #[serde(with = "humantime_serde")]
    pub anchor_every: Duration,
    /// The folder for anchors, where no bucket is named. It should be on another machine's disk than the database. Default `anchors`.
    pub anchor_folder: PathBuf,
    /// A bucket made with Object Lock, for anchors that nobody can delete. Default none.
    pub anchor_bucket: String,
    /// Put before every key there; may be empty.
    pub anchor_prefix: String,
    /// Base URL of an S3-compatible server; empty for AWS.
    pub anchor_endpoint: String,
    /// Its region. Default `us-east-1`.
    pub anchor_region: String,
    /// Access key id for that bucket alone: it needs `s3:PutObject`, `s3:PutObjectRetention`, `s3:GetObject` and `s3:ListBucket`.
    pub anchor_access_key_id: String,
    /// Its secret.
    pub anchor_secret_access_key: Redacted<String>,
    /// How many years each anchor is locked there. Default 7.
    pub anchor_years: u16,
    /// The folder for what is written while the database is away. Default `audit-spool`.
    pub spool: PathBuf,
    /// How large that may become, in bytes. Default 64 MiB: some 100,000 changes.
    pub spool_bytes: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            anchor_every: Duration::from_secs(10 * 60),
            anchor_folder: PathBuf::from("anchors"),
            anchor_bucket: String::new(),
            anchor_prefix: String::new(),
            anchor_endpoint: String::new(),
            anchor_region: "us-east-1".to_owned(),
            anchor_access_key_id: String::new(),
            anchor_secret_access_key: Redacted::default(),
            anchor_years: 7,
            spool: PathBuf::from("audit-spool"),
            spool_bytes: 64 * 1024 * 1024,
        }
    }
}

impl AuditConfig {
    /// What the environment may override.
    pub const FIELDS: &[&str] = &[
        "anchor_every",
        "anchor_folder",
        "anchor_bucket",
        "anchor_prefix",
        "anchor_endpoint",
        "anchor_region",
        "anchor_access_key_id",
        "anchor_secret_access_key",
        "anchor_years",
        "spool",
        "spool_bytes",
    ];

    /// Defaults, then the file, then the environment.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        // Only the long names: `ANTEROOM_SPOOL` is the recorder's.
        let env = |name: &str| name.starts_with("ANTEROOM_AUDIT_").then(|| env(name)).flatten();
        let config: Self =
            settings::load("audit", Self::FIELDS, file, env).map_err(|error| Error::Settings(error.to_string()))?;
        if config.anchor_every.is_zero() || config.anchor_years == 0 {
            return Err(Error::Settings("`anchor_every` and `anchor_years` must be more than nothing".to_owned()));
        }
        Ok(config)
    }

    /// The bucket for anchors, where one is named.
    ///
    /// # Errors
    /// When its credentials are missing.
    pub fn locked_bucket(&self) -> Result<Option<LockedBucket>, Error> {
        if self.anchor_bucket.is_empty() {
            return Ok(None);
        }
        let store = StoreConfig {
            kind: StoreKind::S3,
            bucket: self.anchor_bucket.clone(),
            prefix: self.anchor_prefix.clone(),
            endpoint: self.anchor_endpoint.clone(),
            region: self.anchor_region.clone(),
            path_style: !self.anchor_endpoint.is_empty(),
            access_key_id: self.anchor_access_key_id.clone(),
            secret_access_key: self.anchor_secret_access_key.clone(),
            ..StoreConfig::default()
        };
        let bucket = LockedBucket::open(&store);
        Ok(Some(bucket.map_err(|error| Error::Settings(format!("the bucket for anchors: {error}")))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_long_names_and_hide_the_secret() {
        let env = |name: &str| match name {
            "ANTEROOM_AUDIT_ANCHOR_EVERY" => Some("90s".to_owned()),
            "ANTEROOM_AUDIT_ANCHOR_BUCKET" => Some("anchors".to_owned()),
            "ANTEROOM_AUDIT_ANCHOR_SECRET_ACCESS_KEY" => Some("hush-hush".to_owned()),
            "ANTEROOM_SPOOL" => Some("the recorder's".to_owned()),
            _ => None,
        };
        let config = AuditConfig::load(None, env).unwrap();
        assert_eq!((config.anchor_every, config.spool), (Duration::from_secs(90), PathBuf::from("audit-spool")));
        assert!(matches!(AuditConfig::load(None, env).unwrap().locked_bucket(), Err(Error::Settings(_))));
        assert!(!format!("{:?}", AuditConfig::load(None, env).unwrap()).contains("hush"));
        assert!(
            AuditConfig::load(None, |name| (name == "ANTEROOM_AUDIT_ANCHOR_EVERY").then(|| "0s".to_owned())).is_err()
        );
    }
}
