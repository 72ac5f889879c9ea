//! Data keys, and the keys that wrap them. A Recording has a data key of its own; the database holds it only wrapped.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use wire::RecordingId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a data key.
pub const KEY_LEN: usize = 32;

/// Version, nonce, key, tag.
const WRAPPED_LEN: usize = 1 + NONCE_LEN + KEY_LEN + 16;
const WRAP_VERSION: u8 = 1;

/// The key under which the objects of one Recording are sealed. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; KEY_LEN]);

impl DataKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = [0; KEY_LEN];
        rand::fill(&mut key).map_err(|_| KeyError::Randomness)?;
        Ok(Self(key))
    }

    /// A key from bytes that came out of a wrapping or a test vector.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey([redacted])")
    }
}

/// A data key as it may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which key wrapped it.
    pub kek_id: String,
    /// The ciphertext; its form is the provider's own.
    pub bytes: Vec<u8>,
}

/// What a data key is bound to: unwrapping it for another Recording fails.
#[must_use]
pub fn recording_context(recording: RecordingId) -> Vec<u8> {
    let mut context = b"anteroom recording 1 ".to_vec();
    context.extend_from_slice(recording.as_uuid().as_bytes());
    context
}

/// Wraps and unwraps data keys. The wrapping key never leaves the provider.
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// Wraps a data key; `context` must be given again to unwrap it.
    ///
    /// # Errors
    /// When the provider is away or refuses.
    async fn wrap(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, KeyError>;

    /// Opens a wrapped data key.
    ///
    /// # Errors
    /// Another key's wrapping, another context, damaged bytes, or the provider is away.
    async fn unwrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError>;
}

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read or written.
    #[error("the key file cannot be used: {0}")]
    File(#[from] std::io::Error),
    /// The key file can be read by others than its owner.
    #[error("the key file must be readable by its owner alone (mode 0600)")]
    Exposed,
    /// The key file holds something else.
    #[error("the key file does not hold 64 hexadecimal digits")]
    Malformed,
    /// The data key was wrapped by a key that this provider does not have.
    #[error("the data key was wrapped by another key")]
    UnknownKey,
    /// Damaged, or for another context.
    #[error("the wrapped key does not open")]
    Refused,
    /// The system gives no randomness.
    #[error("no randomness")]
    Randomness,
}

/// A wrapping key in a local file, for a single machine: 64 hexadecimal digits, mode 0600.
pub struct LocalKey {
    id: String,
    key: LessSafeKey,
}

impl LocalKey {
    /// Reads the key file.
    ///
    /// # Errors
    /// When it is missing, malformed, or readable by others.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt;

        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed);
        }
        let text = Zeroizing::new(std::fs::read_to_string(path)?);
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(text.trim(), bytes.as_mut_slice()).map_err(|_| KeyError::Malformed)?;
        Self::from_bytes(&bytes)
    }

    /// Reads the key file, making one with a fresh key first when there is none. Of two processes that make it at the same
    /// moment one wins, and both use its key.
    ///
    /// # Errors
    /// As [`LocalKey::open`], or when it cannot be written.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;

        if !path.exists() {
            let mut bytes = Zeroizing::new([0; KEY_LEN]);
            rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Randomness)?;
            let text = Zeroizing::new(format!("{}\n", hex::encode(bytes.as_slice())));
            // Written whole beside it and then linked: a reader never sees half a key, and a link never replaces one.
            let fresh = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            let linked = written.and_then(|()| std::fs::hard_link(&fresh, path));
            std::fs::remove_file(&fresh)?;
            match linked {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::open(path)
    }

    fn from_bytes(bytes: &[u8; KEY_LEN]) -> Result<Self, KeyError> {
        let hash = digest::digest(&digest::SHA256, bytes);
        let id = format!("local:{}", hex::encode(hash.as_ref().get(..8).unwrap_or_default()));
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| KeyError::Malformed)?;
        Ok(Self { id, key: LessSafeKey::new(key) })
    }

    fn aad(&self, context: &[u8]) -> Vec<u8> {
        // The id has a fixed length, so the parts cannot be read in another way.
        let mut aad = vec![WRAP_VERSION];
        aad.extend_from_slice(self.id.as_bytes());
        aad.extend_from_slice(context);
        aad
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for LocalKey {
    async fn wrap(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| KeyError::Randomness)?;
        let mut sealed = key.bytes().to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(self.aad(context)), &mut sealed)
            .map_err(|_| KeyError::Refused)?;
        let mut bytes = Vec::with_capacity(WRAPPED_LEN);
        bytes.push(WRAP_VERSION);
        bytes.extend_from_slice(&nonce);
        bytes.append(&mut sealed);
        Ok(WrappedKey { kek_id: self.id.clone(), bytes })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError> {
        if wrapped.kek_id != self.id {
            return Err(KeyError::UnknownKey);
        }
        let Some((&WRAP_VERSION, rest)) = wrapped.bytes.split_first() else { return Err(KeyError::Refused) };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_LEN>() else { return Err(KeyError::Refused) };
        let mut body = Zeroizing::new(sealed.to_vec());
        let key = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(self.aad(context)), body.as_mut_slice())
            .map_err(|_| KeyError::Refused)?;
        let key: &[u8] = key;
        Ok(DataKey(key.try_into().map_err(|_| KeyError::Refused)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_wrapped_key_opens_for_its_own_context_and_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalKey::open_or_create(&folder.path().join("kek")).unwrap();
        let other = LocalKey::open_or_create(&folder.path().join("other")).unwrap();
        let context = recording_context(RecordingId::random());
        let key = DataKey::generate().unwrap();
        let wrapped = local.wrap(&key, &context).await.unwrap();
        assert_eq!(local.unwrap(&wrapped, &context).await.unwrap(), key);
        assert!(matches!(local.unwrap(&wrapped, b"else").await, Err(KeyError::Refused)));
        assert!(matches!(other.unwrap(&wrapped, &context).await, Err(KeyError::UnknownKey)));
        for at in 0..wrapped.bytes.len() {
            let mut torn = wrapped.clone();
            torn.bytes[at] ^= 1;
            assert!(local.unwrap(&torn, &context).await.is_err());
            torn.bytes.truncate(at);
            assert!(local.unwrap(&torn, &context).await.is_err());
        }
        assert!(!format!("{local:?} {key:?}").contains(&hex::encode(key.bytes())));
    }

    #[test]
    fn the_file_is_private_and_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        let first = LocalKey::open_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LocalKey::open_or_create(&path).unwrap().id, first.id);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(LocalKey::open(&path), Err(KeyError::Exposed)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(LocalKey::open(&path), Err(KeyError::Malformed)));
    }
}
