//! A bucket with Object Lock: small objects that nobody can replace, and nobody can remove before their time.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ObjectLockMode;

use super::s3::{checksum, classify, client};
use super::{StoreConfig, StoreError};

/// Objects of one bucket that was made with Object Lock.
pub struct LockedBucket {
    client: Client,
    bucket: String,
    prefix: String,
}

impl fmt::Debug for LockedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedBucket")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl LockedBucket {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// When bucket or credentials are missing.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        if config.bucket.is_empty() {
            return Err(StoreError::Settings("a locked bucket needs a name"));
        }
        let prefix = config.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { client: client(config)?, bucket: config.bucket.clone(), prefix })
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bucket
    }

    /// Puts an object under COMPLIANCE lock until a time, in seconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken; a bucket without Object Lock refuses.
    pub async fn put(&self, key: &str, body: Vec<u8>, until: i64) -> Result<(), StoreError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(format!("{}{key}", self.prefix))
            .if_none_match("*")
            .object_lock_mode(ObjectLockMode::Compliance)
            .object_lock_retain_until_date(DateTime::from_secs(until))
            .checksum_sha256(checksum(&body))
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }

    /// An object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Short`] when it is longer than that.
    pub async fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let key = format!("{}{key}", self.prefix);
        let got =
            self.client.get_object().bucket(&self.bucket).key(key).send().await.map_err(|error| classify(&error))?;
        if got.content_length.and_then(|length| u64::try_from(length).ok()).is_none_or(|length| length > limit) {
            return Err(StoreError::Short);
        }
        let body = got.body.collect().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(body.into_bytes().to_vec())
    }

    /// The keys that begin so, in order.
    ///
    /// # Errors
    /// When the bucket is away or refuses.
    pub async fn list(&self, start: &str) -> Result<Vec<String>, StoreError> {
        let (mut keys, mut token) = (Vec::new(), None);
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{}{start}", self.prefix))
                .set_continuation_token(token)
                .send()
                .await
                .map_err(|error| classify(&error))?;
            let found = page.contents().iter().filter_map(|object| object.key()?.strip_prefix(&self.prefix));
            keys.extend(found.map(ToOwned::to_owned));
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(keys);
            }
        }
    }
}
