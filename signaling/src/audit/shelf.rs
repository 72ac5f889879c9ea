//! Where anchors lie: a folder of another machine's disk, or a bucket whose objects nobody can delete.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use time::Duration;
use uuid::Uuid;
use vault::store::StoreError;
use vault::store::locked::LockedBucket;

use crate::audit::anchor::MAX_BYTES;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// The longest time that a bucket is asked to lock an anchor for.
const DAYS_OF_A_YEAR: i64 = 366;

/// Keeps anchors, named by organisation and last event. None is ever replaced.
#[async_trait]
pub trait Shelf: fmt::Debug + Send + Sync {
    /// Where this is, in a few words for the books.
    fn place(&self) -> String;

    /// Keeps one; when it returns, the anchor is durable.
    ///
    /// # Errors
    /// [`Put::Taken`] is no error: one of that name is there.
    async fn put(&self, org: OrgId, to_seq: i64, text: &str, now: Timestamp) -> Result<Put>;

    /// The last events of all anchors of an organisation, in order.
    ///
    /// # Errors
    /// When the shelf is away.
    async fn list(&self, org: OrgId) -> Result<Vec<i64>>;

    /// One anchor; `None` when it is not there.
    ///
    /// # Errors
    /// When the shelf is away.
    async fn read(&self, org: OrgId, to_seq: i64) -> Result<Option<Vec<u8>>>;

    /// The organisations that have anchors.
    ///
    /// # Errors
    /// When the shelf is away.
    async fn organizations(&self) -> Result<Vec<OrgId>>;
}

/// How a [`Shelf::put`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is kept.
    Kept,
    /// The name was taken; what is there is as it was.
    Taken,
}

/// Anchors as files `<folder>/<organisation>/<last event>.json`, which are not written again.
#[derive(Clone, Debug)]
pub struct FolderShelf {
    folder: PathBuf,
}

impl FolderShelf {
    /// Uses a folder, making it when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        make_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, org: OrgId, to_seq: i64) -> PathBuf {
        self.folder.join(org.to_string()).join(name(to_seq))
    }
}

#[async_trait]
impl Shelf for FolderShelf {
    fn place(&self) -> String {
        "folder".to_owned()
    }

    async fn put(&self, org: OrgId, to_seq: i64, text: &str, _now: Timestamp) -> Result<Put> {
        let (path, text, root) = (self.path(org, to_seq), text.to_owned(), self.folder.clone());
        blocking(move || {
            let folder = path.parent().unwrap_or(&root);
            make_folder(folder)?;
            let draft = folder.join(format!(".{}.new", Uuid::new_v4().simple()));
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // A hard link refuses to replace.
            let linked = std::fs::hard_link(&draft, &path);
            std::fs::remove_file(&draft)?;
            match linked {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(Put::Taken),
                other => other?,
            }
            std::fs::File::open(folder)?.sync_all()?;
            std::fs::File::open(&root)?.sync_all()?;
            Ok(Put::Kept)
        })
        .await
    }

    async fn list(&self, org: OrgId) -> Result<Vec<i64>> {
        let folder = self.folder.join(org.to_string());
        blocking(move || {
            let mut all: Vec<i64> = names(&folder)?.iter().filter_map(|name| parse_name(name)).collect();
            all.sort_unstable();
            Ok(all)
        })
        .await
    }

    async fn read(&self, org: OrgId, to_seq: i64) -> Result<Option<Vec<u8>>> {
        let path = self.path(org, to_seq);
        blocking(move || {
            let file = match std::fs::File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut text = Vec::new();
            file.take(MAX_BYTES).read_to_end(&mut text)?;
            Ok(Some(text))
        })
        .await
    }

    async fn organizations(&self) -> Result<Vec<OrgId>> {
        let folder = self.folder.clone();
        blocking(move || Ok(names(&folder)?.iter().filter_map(|name| name.parse().ok()).collect())).await
    }
}

/// Anchors as objects `<organisation>/<last event>.json` of a bucket with Object Lock, in COMPLIANCE mode: nobody removes them before
/// their time, not even the account's owner.
#[derive(Debug)]
pub struct LockedShelf {
    /// The bucket.
    pub bucket: LockedBucket,
    /// How many years each is locked.
    pub years: u16,
}

#[async_trait]
impl Shelf for LockedShelf {
    fn place(&self) -> String {
        format!("s3://{}", self.bucket.name())
    }

    async fn put(&self, org: OrgId, to_seq: i64, text: &str, now: Timestamp) -> Result<Put> {
        let until = now + Duration::days(DAYS_OF_A_YEAR * i64::from(self.years));
        match self
            .bucket
            .put(&format!("{org}/{}", name(to_seq)), text.as_bytes().to_vec(), until.unix_timestamp())
            .await
        {
            Ok(()) => Ok(Put::Kept),
            Err(StoreError::Exists) => Ok(Put::Taken),
            Err(error) => Err(away(&error)),
        }
    }

    async fn list(&self, org: OrgId) -> Result<Vec<i64>> {
        let keys = self.bucket.list(&format!("{org}/")).await.map_err(|error| away(&error))?;
        let mut all: Vec<i64> = keys.iter().filter_map(|key| parse_name(key.rsplit('/').next()?)).collect();
        all.sort_unstable();
        Ok(all)
    }

    async fn read(&self, org: OrgId, to_seq: i64) -> Result<Option<Vec<u8>>> {
        match self.bucket.read(&format!("{org}/{}", name(to_seq)), MAX_BYTES).await {
            Ok(text) => Ok(Some(text)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(away(&error)),
        }
    }

    async fn organizations(&self) -> Result<Vec<OrgId>> {
        let keys = self.bucket.list("").await.map_err(|error| away(&error))?;
        let mut all: Vec<OrgId> = keys.iter().filter_map(|key| key.split('/').next()?.parse().ok()).collect();
        all.dedup();
        Ok(all)
    }
}

/// Names sort as their numbers do.
fn name(to_seq: i64) -> String {
    format!("{to_seq:020}.json")
}

fn parse_name(text: &str) -> Option<i64> {
    let digits = text.strip_suffix(".json").filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

fn names(folder: &Path) -> Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    Ok(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?)
}

fn away(error: &StoreError) -> Error {
    Error::Inside(format!("the place for anchors: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Inside("file work was cancelled".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[tokio::test]
    async fn a_folder_keeps_anchors_in_order_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = FolderShelf::open(folder.path()).unwrap();
        let (org, now) = (OrgId::random(), datetime!(2026-11-21 10:00 UTC));
        assert_eq!(shelf.list(org).await.unwrap(), Vec::<i64>::new());
        for to in [1000, 20, 3] {
            assert_eq!(shelf.put(org, to, "first", now).await.unwrap(), Put::Kept);
        }
        assert_eq!(shelf.put(org, 20, "second", now).await.unwrap(), Put::Taken);
        assert_eq!(shelf.list(org).await.unwrap(), [3, 20, 1000]);
        assert_eq!(shelf.read(org, 20).await.unwrap().as_deref(), Some(b"first".as_slice()));
        assert_eq!(shelf.read(org, 21).await.unwrap(), None);
        assert_eq!(shelf.organizations().await.unwrap(), [org]);
    }
}
