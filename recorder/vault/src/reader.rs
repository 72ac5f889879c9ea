//! `SealedObject`: plaintext ranges of one sealed object in a store. What playback reads through.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::keys::DataKey;
use crate::name::ObjectName;
use crate::seal::{HEADER, Opener, SealError};
use crate::store::{Store, StoreError};

/// The most plain bytes that one read gives. A longer answer is streamed as several reads.
pub const MAX_READ: u64 = 4 * 1024 * 1024;

/// Why a range could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed, or has no such object.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes are not what was sealed under this key and name.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// One sealed object, opened. Its header and last chunk were checked: it is whole.
#[derive(Debug)]
pub struct SealedObject {
    store: Arc<dyn Store>,
    name: ObjectName,
    opener: Opener,
}

impl SealedObject {
    /// Opens an object of a store. Reads its header and its last chunk, so that a cut object is refused here.
    ///
    /// # Errors
    /// When it is not there, was cut or changed, or the key is another's.
    pub async fn open(store: Arc<dyn Store>, name: &ObjectName, key: &DataKey) -> Result<Self, ReadError> {
        let sealed = store.size(name).await?;
        let header = store.read(name, 0..sealed.min(HEADER as u64)).await?;
        let opener = Opener::new(key, name, &header, sealed)?;
        let object = Self { store, name: name.clone(), opener };
        object.read_span(object.opener.last_chunk()).await?;
        Ok(object)
    }

    /// Plain bytes in the object: what a player would download.
    #[must_use]
    pub const fn plain_size(&self) -> u64 {
        self.opener.plain_size()
    }

    /// The plain bytes of a range, authenticated. Gives at most [`MAX_READ`] bytes: of a longer range, its beginning.
    ///
    /// # Errors
    /// When the range does not lie inside, the store fails, or a chunk does not open.
    pub async fn read_range(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        if range.start > range.end || range.end > self.plain_size() {
            return Err(SealError::Range.into());
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let end = range.end.min(range.start + MAX_READ);
        Ok(self.read_span(range.start..end).await?.into())
    }

    async fn read_span(&self, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let sealed = self.store.read(&self.name, self.opener.sealed_range(&range)?).await?;
        Ok(self.opener.open_range(&range, sealed.into())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SealWriter;
    use crate::store::folder::FolderStore;
    use std::io::Write;
    use wire::RecordingId;

    #[tokio::test]
    async fn plays_ranges_out_of_a_folder_and_refuses_a_cut_object() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&folder.path().join("s")).await.unwrap());
        let key = DataKey::generate().unwrap();
        let name = ObjectName::new(RecordingId::random(), "a.webm").unwrap();
        let plain: Vec<u8> = (0..5_000_000u32).flat_map(|i| i.to_le_bytes().into_iter().take(1)).collect();
        let spool = folder.path().join("spool");
        let mut writer = SealWriter::new(&key, &name, 3, std::fs::File::create(&spool).unwrap()).unwrap();
        writer.write_all(&plain).unwrap();
        writer.finish().unwrap();
        store.put(&name, &spool).await.unwrap();

        let object = SealedObject::open(store.clone(), &name, &key).await.unwrap();
        assert_eq!(object.plain_size(), plain.len() as u64);
        for range in [0..0, 0..1, 65_535..65_537, 4_999_000..5_000_000, 100..700_000, 5_000_000..5_000_000] {
            let got = object.read_range(range.start as u64..range.end as u64).await.unwrap();
            assert_eq!(got, plain[range]);
        }
        assert_eq!(object.read_range(0..5_000_000).await.unwrap().len() as u64, MAX_READ);
        assert!(object.read_range(0..5_000_001).await.is_err());

        let sealed = std::fs::read(&spool).unwrap();
        for keep in [0, 10, 96, 200, 96 + 65_552, sealed.len() - 1] {
            store.delete(&name).await.unwrap();
            std::fs::write(&spool, &sealed[..keep]).unwrap();
            store.put(&name, &spool).await.unwrap();
            assert!(SealedObject::open(store.clone(), &name, &key).await.is_err(), "{keep}");
        }
    }
}
