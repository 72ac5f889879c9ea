//! The embedded default: a folder. An object appears by a link to a file that is already whole and synced.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Store, StoreError};
use crate::name::ObjectName;

/// Objects as files `<folder>/<recording id>/<artefact>`, private to the owner.
#[derive(Clone, Debug)]
pub struct FolderStore {
    folder: PathBuf,
}

impl FolderStore {
    /// Uses the folder, making it when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let made = folder.to_owned();
        blocking(move || make_private_folder(&made)).await?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        // Both parts are checked: a UUID, and plain characters without a separator.
        self.folder.join(name.recording().to_string()).join(name.artefact())
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn put(&self, name: &ObjectName, spool: &Path) -> Result<(), StoreError> {
        let (target, spool) = (self.path(name), spool.to_owned());
        blocking(move || {
            let folder = target.parent().ok_or(StoreError::Settings("no folder"))?;
            make_private_folder(folder)?;
            if target.exists() {
                return Err(StoreError::Exists);
            }
            let partial = folder.join(format!(".partial-{}", uuid::Uuid::new_v4().simple()));
            let linked = write_synced(&spool, &partial).and_then(|()| std::fs::hard_link(&partial, &target));
            std::fs::remove_file(&partial)?;
            match linked {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(StoreError::Exists),
                Err(error) => return Err(error.into()),
            }
            // The names must survive a crash too: the object's in its folder, and the folder's in the store.
            sync_folder(folder)?;
            folder.parent().map_or(Ok(()), sync_folder)?;
            Ok(())
        })
        .await
    }

    async fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let path = self.path(name);
        blocking(move || Ok(std::fs::metadata(path).map_err(missing)?.len())).await
    }

    async fn read(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(name);
        blocking(move || {
            let mut file = std::fs::File::open(path).map_err(missing)?;
            let wanted = range.end.checked_sub(range.start).ok_or(StoreError::Short)?;
            let length = usize::try_from(wanted).map_err(|_| StoreError::Short)?;
            if file.metadata()?.len() < range.end {
                return Err(StoreError::Short);
            }
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = Vec::with_capacity(length);
            file.take(wanted).read_to_end(&mut bytes)?;
            if bytes.len() == length { Ok(bytes.into()) } else { Err(StoreError::Short) }
        })
        .await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let path = self.path(name);
        blocking(move || match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        })
        .await
    }
}

fn write_synced(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let mut source = std::fs::File::open(from)?;
    let mut target = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut source, &mut target)?;
    target.sync_all()
}

pub(crate) fn make_private_folder(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;

    Ok(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?)
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

pub(crate) fn missing(error: std::io::Error) -> StoreError {
    if error.kind() == std::io::ErrorKind::NotFound { StoreError::NotFound } else { error.into() }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Unavailable("file work was cancelled".to_owned())),
    }
}

/// A file beside the one that is to be, for what is not whole yet.
pub(crate) fn partial(target: &Path) -> Result<(std::fs::File, PathBuf), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;

    let folder = target.parent().ok_or(StoreError::Settings("no folder"))?;
    make_private_folder(folder)?;
    let path = folder.join(format!(".partial-{}", uuid::Uuid::new_v4().simple()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((file, path))
}

/// Writes a file that is not there yet, all at once.
pub(crate) fn write_new(target: &Path, body: &[u8]) -> Result<(), StoreError> {
    use std::io::Write;

    let (mut file, path) = partial(target)?;
    let linked = file.write_all(body).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&path, target));
    std::fs::remove_file(&path)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(StoreError::Exists),
        linked => linked?,
    }
    target.parent().map_or(Ok(()), |folder| Ok(sync_folder(folder)?))
}

/// Puts a whole file in its place.
pub(crate) fn settle(file: &std::fs::File, partial: &Path, target: &Path) -> Result<(), StoreError> {
    file.sync_all()?;
    std::fs::rename(partial, target)?;
    target.parent().map_or(Ok(()), |folder| Ok(sync_folder(folder)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::RecordingId;

    #[tokio::test]
    async fn objects_are_written_once_and_read_by_range() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(&folder.path().join("a/b")).await.unwrap();
        let spool = folder.path().join("spool");
        std::fs::write(&spool, b"0123456789").unwrap();
        let name = ObjectName::new(RecordingId::random(), "mix.mp4").unwrap();
        assert!(matches!(store.size(&name).await, Err(StoreError::NotFound)));
        assert!(matches!(store.read(&name, 0..1).await, Err(StoreError::NotFound)));
        store.put(&name, &spool).await.unwrap();
        assert_eq!(store.size(&name).await.unwrap(), 10);
        assert_eq!(store.read(&name, 3..6).await.unwrap(), "345");
        assert_eq!(store.read(&name, 10..10).await.unwrap(), "");
        assert!(matches!(store.read(&name, 3..11).await, Err(StoreError::Short)));
        std::fs::write(&spool, b"other").unwrap();
        assert!(matches!(store.put(&name, &spool).await, Err(StoreError::Exists)));
        assert_eq!(store.size(&name).await.unwrap(), 10);
        let names: Vec<_> = std::fs::read_dir(folder.path().join("a/b").join(name.recording().to_string()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["mix.mp4"]);
        store.delete(&name).await.unwrap();
        store.delete(&name).await.unwrap();
        assert!(matches!(store.size(&name).await, Err(StoreError::NotFound)));
    }
}
