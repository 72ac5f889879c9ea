//! `Buckets`: other people's buckets, by name. Objects here are as their applications expect them, not sealed; what may be written
//! where is for the caller to know.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use crate::store::s3::{self, PART, checksum, classify};
use crate::store::{StoreConfig, StoreError, StoreKind, folder};

/// The most bytes of one object that are read at once: a piece of a capture has a few megabytes.
pub const MAX_OBJECT: u64 = 256 * 1024 * 1024;

/// Buckets of one S3 server, or folders of this machine that stand for them.
#[derive(Clone)]
pub enum Buckets {
    /// `<folder>/<bucket>/<key>`.
    Folder(PathBuf),
    /// Of AWS or of a compatible server.
    S3(Box<Client>),
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder(_) => "Buckets::Folder",
            Self::S3(_) => "Buckets::S3",
        })
    }
}

/// How the store's own key service should encrypt an object.
#[derive(Clone, Copy, Debug)]
pub struct KeyName<'a> {
    /// As that service names it.
    pub id: &'a str,
    /// A JSON object.
    pub context: Option<&'a str>,
}

impl Buckets {
    /// Opens what the settings name; nothing is sent yet. Their bucket and prefix mean nothing here.
    ///
    /// # Errors
    /// When credentials are missing, or the folder cannot be made.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Ok(match config.kind {
            StoreKind::Folder => {
                let path = config.folder.clone();
                folder::blocking(move || folder::make_private_folder(&path)).await?;
                Self::Folder(config.folder.clone())
            }
            StoreKind::S3 => Self::S3(Box::new(s3::client(config)?)),
        })
    }

    /// True where objects can be encrypted by a key of the store's own.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    /// Writes an object under a name that nothing has. When it fails, nothing can be read under the name.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken; else what went wrong.
    pub async fn put(
        &self,
        (bucket, key): (&str, &str),
        mime: &str,
        by: Option<KeyName<'_>>,
        body: Bytes,
    ) -> Result<(), StoreError> {
        match self {
            Self::Folder(_) if by.is_some() => Err(StoreError::Settings("a folder has no key service")),
            Self::Folder(root) => {
                let path = place(root, bucket, key)?;
                folder::blocking(move || folder::write_new(&path, &body)).await
            }
            Self::S3(client) => {
                let put = client.put_object().bucket(bucket).key(key).content_type(mime).if_none_match("*");
                let put = encrypted(put, by).checksum_sha256(checksum(&body)).body(ByteStream::from(body));
                put.send().await.map_err(|error| classify(&error))?;
                Ok(())
            }
        }
    }

    /// A whole object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not there; [`StoreError::Short`] when it is larger than [`MAX_OBJECT`].
    pub async fn read(&self, (bucket, key): (&str, &str)) -> Result<Bytes, StoreError> {
        match self {
            Self::Folder(root) => {
                let path = place(root, bucket, key)?;
                folder::blocking(move || {
                    if std::fs::metadata(&path).map_err(folder::missing)?.len() > MAX_OBJECT {
                        return Err(StoreError::Short);
                    }
                    Ok(std::fs::read(&path).map_err(folder::missing)?.into())
                })
                .await
            }
            Self::S3(client) => {
                let got = client.get_object().bucket(bucket).key(key).send().await;
                let got = got.map_err(|error| classify(&error))?;
                let length = got.content_length.and_then(|length| u64::try_from(length).ok());
                if length.is_none_or(|length| length > MAX_OBJECT) {
                    return Err(StoreError::Short);
                }
                let body = got.body.collect().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
                Ok(body.into_bytes())
            }
        }
    }

    /// Begins an object that comes bit by bit. It appears when it is finished, and replaces what has its name.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn upload(&self, bucket: &str, key: &str, mime: &str) -> Result<Upload, StoreError> {
        let target = match self {
            Self::Folder(root) => {
                let path = place(root, bucket, key)?;
                let target = path.clone();
                let (file, partial) = folder::blocking(move || folder::partial(&target)).await?;
                Target::Folder { path, partial, file: Some(file) }
            }
            Self::S3(client) => Target::S3 {
                client: client.clone(),
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                mime: mime.to_owned(),
                parts: None,
            },
        };
        Ok(Upload { target, waiting: BytesMut::new() })
    }
}

fn encrypted(put: PutObjectFluentBuilder, by: Option<KeyName<'_>>) -> PutObjectFluentBuilder {
    let Some(by) = by else { return put };
    let context = by.context.map(|json| STANDARD.encode(json));
    put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(by.id).set_ssekms_encryption_context(context)
}

/// Where an object of a bucket lies in a folder. Nothing climbs out of it.
fn place(root: &std::path::Path, bucket: &str, key: &str) -> Result<PathBuf, StoreError> {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if !is_plain(bucket) || bucket.contains('/') || !key.split('/').all(is_plain) {
        return Err(StoreError::Settings("this name cannot be a file"));
    }
    Ok(root.join(bucket).join(key))
}

/// An object that is being written.
#[derive(Debug)]
pub struct Upload {
    target: Target,
    waiting: BytesMut,
}

enum Target {
    Folder { path: PathBuf, partial: PathBuf, file: Option<std::fs::File> },
    S3 { client: Box<Client>, bucket: String, key: String, mime: String, parts: Option<(String, Vec<CompletedPart>)> },
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

impl Upload {
    /// Adds to the object.
    ///
    /// # Errors
    /// What went wrong. The upload is then to be given up.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.waiting.extend_from_slice(bytes);
        while self.waiting.len() >= PART {
            let part = self.waiting.split_to(PART).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), StoreError> {
        match &mut self.target {
            Target::Folder { file, .. } => {
                let mut open = file.take().ok_or(StoreError::Settings("the upload failed before"))?;
                let written = folder::blocking(move || {
                    open.write_all(&part)?;
                    Ok(open)
                });
                *file = Some(written.await?);
            }
            Target::S3 { client, bucket, key, mime, parts } => {
                let (upload, sent) = match parts {
                    Some(parts) => parts,
                    None => {
                        let opened = client.create_multipart_upload().bucket(&*bucket).key(&*key).content_type(&*mime);
                        let opened = opened.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await;
                        let opened = opened.map_err(|error| classify(&error))?;
                        let id = opened.upload_id.ok_or_else(|| StoreError::Unavailable("no upload id".to_owned()))?;
                        parts.insert((id, Vec::new()))
                    }
                };
                let number = i32::try_from(sent.len() + 1).map_err(|_| StoreError::Short)?;
                let sum = checksum(&part);
                let put = client.upload_part().bucket(&*bucket).key(&*key).upload_id(&*upload).part_number(number);
                let put = put.checksum_sha256(&sum).body(ByteStream::from(part)).send().await;
                let put = put.map_err(|error| classify(&error))?;
                let part = CompletedPart::builder().part_number(number).checksum_sha256(sum).set_e_tag(put.e_tag);
                sent.push(part.build());
            }
        }
        Ok(())
    }

    /// The object is whole, and appears.
    ///
    /// # Errors
    /// What went wrong; then there is no such object.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let last = std::mem::take(&mut self.waiting).freeze();
        let is_small = matches!(&self.target, Target::S3 { parts: None, .. });
        if !is_small && !last.is_empty() {
            self.send(last.clone()).await?;
        }
        match self.target {
            Target::Folder { path, partial, file } => {
                let file = file.ok_or(StoreError::Settings("the upload failed before"))?;
                folder::blocking(move || folder::settle(&file, &partial, &path)).await
            }
            Target::S3 { client, bucket, key, parts: Some((upload, parts)), .. } => {
                let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
                let done = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload);
                done.multipart_upload(whole).send().await.map_err(|error| classify(&error))?;
                Ok(())
            }
            Target::S3 { client, bucket, key, mime, parts: None } => {
                let put = client.put_object().bucket(bucket).key(key).content_type(mime);
                let put = put.checksum_sha256(checksum(&last)).body(ByteStream::from(last)).send().await;
                put.map_err(|error| classify(&error))?;
                Ok(())
            }
        }
    }

    /// Gives up: nothing appears, and no part stays behind.
    pub async fn abort(self) {
        let gone = match self.target {
            Target::S3 { client, bucket, key, parts: Some((upload, _)), .. } => {
                let abort = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload).send().await;
                abort.map(drop).map_err(|error| classify(&error))
            }
            Target::S3 { parts: None, .. } => Ok(()),
            Target::Folder { partial, .. } => folder::blocking(move || Ok(std::fs::remove_file(partial)?)).await,
        };
        if let Err(error) = gone {
            tracing::warn!(%error, "an unfinished upload stays in a bucket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn folder() -> (tempfile::TempDir, Buckets) {
        let dir = tempfile::tempdir().unwrap();
        let buckets = Buckets::open(&StoreConfig::in_folder(dir.path().join("b"))).await.unwrap();
        (dir, buckets)
    }

    #[tokio::test]
    async fn an_object_is_written_once_and_read_back() {
        let (_dir, buckets) = folder().await;
        let name = ("captures", "a/b/audio/1-2.mp4");
        buckets.put(name, "video/mp4", None, Bytes::from_static(b"one")).await.unwrap();
        let again = buckets.put(name, "video/mp4", None, Bytes::from_static(b"two")).await;
        assert!(matches!(again, Err(StoreError::Exists)));
        assert_eq!(&buckets.read(name).await.unwrap()[..], b"one");
        assert!(matches!(buckets.read(("captures", "none")).await, Err(StoreError::NotFound)));
        let by = KeyName { id: "key", context: None };
        assert!(buckets.put(("captures", "c"), "video/mp4", Some(by), Bytes::new()).await.is_err());
    }

    #[tokio::test]
    async fn an_upload_appears_whole_and_replaces() {
        let (_dir, buckets) = folder().await;
        for text in ["first", "second"] {
            let mut upload = buckets.upload("captures", "x.mp4", "video/mp4").await.unwrap();
            upload.write(text.as_bytes()).await.unwrap();
            upload.write(b"!").await.unwrap();
            upload.finish().await.unwrap();
            assert_eq!(buckets.read(("captures", "x.mp4")).await.unwrap(), format!("{text}!"));
        }
        let mut upload = buckets.upload("captures", "y.mp4", "video/mp4").await.unwrap();
        upload.write(b"half").await.unwrap();
        upload.abort().await;
        assert!(matches!(buckets.read(("captures", "y.mp4")).await, Err(StoreError::NotFound)));
    }

    #[tokio::test]
    async fn nothing_climbs_out_of_the_folder() {
        let (_dir, buckets) = folder().await;
        for (bucket, key) in
            [("..", "a"), ("a/b", "c"), ("a", "../b"), ("a", "b//c"), ("a", ""), ("a", "b\0"), ("", "a")]
        {
            assert!(buckets.put((bucket, key), "x", None, Bytes::new()).await.is_err(), "{bucket} {key}");
        }
    }
}
