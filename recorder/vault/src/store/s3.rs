//! An S3 bucket through `aws-sdk-s3`: multipart with SHA-256 on every part, written once by `If-None-Match`.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_lc_rs::digest;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::create_multipart_upload::CreateMultipartUploadOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Store, StoreConfig, StoreError};
use crate::name::ObjectName;

/// Bytes of one part. The rule of S3 is at least 5 MiB; at most 10,000 parts of this size make 78 GiB, a week of one visit.
pub const PART: usize = 8 * 1024 * 1024;

/// How long one request may take, retries apart. A part needs 1.1 Mbit/s to arrive in time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Objects as keys `<prefix>/<recording id>/<artefact>` of one bucket.
pub struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("bucket", &self.bucket).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// When bucket or credentials are missing.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        if config.bucket.is_empty() {
            return Err(StoreError::Settings("the s3 store needs a bucket"));
        }
        Ok(Self {
            client: client(config)?,
            bucket: config.bucket.clone(),
            prefix: config.prefix.trim_matches('/').to_owned(),
        })
    }

    fn key(&self, name: &ObjectName) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}/{name}", self.prefix) }
    }

    async fn put_whole(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .checksum_sha256(checksum(&body))
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }

    async fn put_parts(&self, key: &str, upload: &str, first: Bytes, spool: Parts) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        let (mut body, mut spool) = (first, spool);
        for number in 1.. {
            let sum = checksum(&body);
            let sent = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .part_number(number)
                .checksum_sha256(&sum)
                .body(ByteStream::from(body))
                .send()
                .await
                .map_err(|error| classify(&error))?;
            let part = CompletedPart::builder().part_number(number).checksum_sha256(sum).set_e_tag(sent.e_tag);
            parts.push(part.build());
            (body, spool) = spool.next().await?;
            if body.is_empty() {
                break;
            }
        }
        self.client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload)
            .if_none_match("*")
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }
}

/// A client with the settings' credentials and bounds; nothing is sent yet.
pub(crate) fn client(config: &StoreConfig) -> Result<Client, StoreError> {
    let secret = config.secret_access_key.reveal();
    if config.access_key_id.is_empty() || secret.is_empty() {
        return Err(StoreError::Settings("the s3 store needs access_key_id and secret_access_key"));
    }
    let credentials = Credentials::new(&config.access_key_id, secret, None, None, "anteroom settings");
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    let mut settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(config.path_style)
        // Every upload here carries its SHA-256; the SDK need not add a second checksum.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .timeout_config(timeouts);
    if !config.endpoint.is_empty() {
        settings = settings.endpoint_url(&config.endpoint);
    }
    Ok(Client::from_conf(settings.build()))
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, name: &ObjectName, spool: &Path) -> Result<(), StoreError> {
        let key = self.key(name);
        let (first, rest) = Parts::open(spool).await?.next().await?;
        if first.len() < PART {
            return self.put_whole(&key, first).await;
        }
        let opened: CreateMultipartUploadOutput = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(&key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .send()
            .await
            .map_err(|error| classify(&error))?;
        let upload = opened.upload_id.ok_or_else(|| StoreError::Unavailable("no upload id".to_owned()))?;
        let result = self.put_parts(&key, &upload, first, rest).await;
        if result.is_err() {
            // Parts of an unfinished upload cost money and can be read by nobody. If this fails too, the bucket's
            // lifecycle rule for unfinished uploads removes them.
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(&key).upload_id(&upload);
            if let Err(error) = abort.send().await.map_err(|error| classify(&error)) {
                tracing::warn!(recording = ?name.recording(), %error, "an unfinished upload stays in the bucket");
            }
        }
        result
    }

    async fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .send()
            .await
            .map_err(|error| classify(&error))?;
        u64::try_from(head.content_length.unwrap_or(-1)).map_err(|_| StoreError::Unavailable("no length".to_owned()))
    }

    async fn read(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let wanted = range.end.checked_sub(range.start).ok_or(StoreError::Short)?;
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .send()
            .await
            .map_err(|error| classify(&error))?;
        // Looked at before the body is read, so that a server which ignores ranges cannot fill the memory.
        if got.content_length.and_then(|length| u64::try_from(length).ok()) != Some(wanted) {
            return Err(StoreError::Short);
        }
        let body = got.body.collect().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(body.into_bytes())
    }

    async fn is_locked(&self) -> Result<Option<bool>, StoreError> {
        match self.client.get_object_lock_configuration().bucket(&self.bucket).send().await {
            Ok(found) => {
                let enabled = found.object_lock_configuration().and_then(|lock| lock.object_lock_enabled());
                Ok(Some(enabled.is_some()))
            }
            Err(error) if error.code() == Some("ObjectLockConfigurationNotFoundError") => Ok(Some(false)),
            Err(error) => Err(classify(&error)),
        }
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }
}

/// A spooled file in parts, read off the async threads.
struct Parts {
    file: std::fs::File,
}

impl Parts {
    async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { file: tokio::fs::File::open(path).await?.into_std().await })
    }

    /// The next part, whole unless it is the last; empty at the end.
    async fn next(mut self) -> Result<(Bytes, Self), StoreError> {
        let read = tokio::task::spawn_blocking(move || {
            let mut body = Vec::with_capacity(PART);
            let limit = u64::try_from(PART).unwrap_or(u64::MAX);
            self.file.by_ref().take(limit).read_to_end(&mut body)?;
            Ok::<_, std::io::Error>((Bytes::from(body), self))
        });
        Ok(read.await.map_err(|_| StoreError::Unavailable("file work was cancelled".to_owned()))??)
    }
}

pub(crate) fn checksum(body: &[u8]) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, body))
}

/// The class of a failed request. The text holds the server's code and message, never a key or credential.
pub(crate) fn classify<E>(error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    match (status, code) {
        (_, "PreconditionFailed" | "ConditionalRequestConflict") | (Some(412), _) => StoreError::Exists,
        (_, "InvalidRange") | (Some(416), _) => StoreError::Short,
        (_, "NoSuchKey" | "NotFound") => StoreError::NotFound,
        (Some(404), "") => StoreError::NotFound,
        (Some(401 | 403), _) => StoreError::Denied,
        _ if code.is_empty() => StoreError::Unavailable(DisplayErrorContext(error).to_string()),
        (status, code) => StoreError::Unavailable(format!("{code} ({})", status.unwrap_or_default())),
    }
}
