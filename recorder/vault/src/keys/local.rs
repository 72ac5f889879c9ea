//! Wrapping keys in a local file, for a single machine: one key of 64 hexadecimal digits on each line, mode 0600. The last line wraps
//! what is new; the lines above still open what they wrapped.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use zeroize::Zeroizing;

use super::{DataKey, KEY_LEN, KeyContext, KeyError, KeyProvider, WrappedKey};

/// Version, nonce, key, tag.
const WRAPPED_LEN: usize = 1 + NONCE_LEN + KEY_LEN + 16;
const WRAP_VERSION: u8 = 1;

/// The keys of one file. A key that is added to the file while the process runs is found when it is asked for, or by
/// [`KeyProvider::refresh`].
pub struct LocalKeys {
    /// None for keys that live in memory alone.
    path: Option<PathBuf>,
    /// Oldest first, never empty.
    keys: RwLock<Arc<[Kek]>>,
}

struct Kek {
    id: String,
    key: LessSafeKey,
}

impl LocalKeys {
    /// Reads the key file.
    ///
    /// # Errors
    /// When it is missing, malformed, or readable by others.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Ok(Self { keys: RwLock::new(read(path)?), path: Some(path.to_owned()) })
    }

    /// Reads the key file, making one with a fresh key first when there is none. Of two processes that make it at the same
    /// moment one wins, and both use its key.
    ///
    /// # Errors
    /// As [`LocalKeys::open`], or when it cannot be written.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        if !path.exists() {
            // Written whole beside it and then linked: a reader never sees half a key, and a link never replaces one.
            let fresh = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
            let linked = write_new(&fresh, &line()?).and_then(|()| std::fs::hard_link(&fresh, path));
            std::fs::remove_file(&fresh)?;
            match linked {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::open(path)
    }

    /// One fresh key that lives in memory alone: what it wraps is lost with the process.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Randomness)?;
        Ok(Self { path: None, keys: RwLock::new(Arc::new([Kek::from_bytes(&bytes)?])) })
    }

    /// Adds a fresh key to the file, as its last line, and gives its id. From then on it wraps what is new.
    ///
    /// # Errors
    /// As [`LocalKeys::open`]; when the file cannot be written; when another rotation is under way, or broke off and left its draft
    /// `<file>.rotating` behind.
    pub fn rotate(path: &Path) -> Result<String, KeyError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".rotating");
        let draft = path.with_file_name(name);
        // The draft must be new, which makes it the lock as well: what is read after it is there is the newest. Renamed into place, so
        // that a kill leaves the old file or the new one.
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let longer = longer(path).and_then(|text| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(std::fs::rename(&draft, path)?)
        });
        if let Err(error) = longer {
            std::fs::remove_file(&draft)?;
            return Err(error);
        }
        Ok(Self::open(path)?.current())
    }

    fn keys(&self) -> Arc<[Kek]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The file's text with one more key.
fn longer(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    read(path)?;
    let mut text = Zeroizing::new(std::fs::read_to_string(path)?.trim_end().to_owned());
    text.push('\n');
    text.push_str(&line()?);
    Ok(text)
}

/// A line of the file with a fresh key.
fn line() -> Result<Zeroizing<String>, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError::Randomness)?;
    Ok(Zeroizing::new(format!("{}\n", hex::encode(bytes.as_slice()))))
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn read(path: &Path) -> Result<Arc<[Kek]>, KeyError> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed);
    }
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<Kek> = lines
        .map(|line| {
            let mut bytes = Zeroizing::new([0; KEY_LEN]);
            hex::decode_to_slice(line, bytes.as_mut_slice()).map_err(|_| KeyError::Malformed)?;
            Kek::from_bytes(&bytes)
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(KeyError::Malformed) } else { Ok(keys.into()) }
}

impl Kek {
    fn from_bytes(bytes: &[u8; KEY_LEN]) -> Result<Self, KeyError> {
        let hash = digest::digest(&digest::SHA256, bytes);
        let id = format!("local:{}", hex::encode(hash.as_ref().get(..8).unwrap_or_default()));
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| KeyError::Malformed)?;
        Ok(Self { id, key: LessSafeKey::new(key) })
    }

    fn aad(&self, context: &KeyContext) -> Vec<u8> {
        // The id has a fixed length, so the parts cannot be read in another way.
        let mut aad = vec![WRAP_VERSION];
        aad.extend_from_slice(self.id.as_bytes());
        aad.extend_from_slice(&context.to_bytes());
        aad
    }

    fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
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

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
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

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.keys().iter().map(|kek| kek.id.clone()).collect();
        f.debug_struct("LocalKeys").field("ids", &ids).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for LocalKeys {
    fn current(&self) -> String {
        self.keys().last().map(|kek| kek.id.clone()).unwrap_or_default()
    }

    fn refresh(&self) -> Result<(), KeyError> {
        if let Some(path) = &self.path {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = read(path)?;
        }
        Ok(())
    }

    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        self.keys().last().ok_or(KeyError::Malformed)?.wrap(key, context)
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        let find =
            |keys: &[Kek]| keys.iter().find(|kek| kek.id == wrapped.kek_id).map(|kek| kek.unwrap(wrapped, context));
        if let Some(opened) = find(&self.keys()) {
            return opened;
        }
        // Another process may have rotated since this one read the file. A few bytes of a local file: nobody waits for them.
        self.refresh()?;
        find(&self.keys()).unwrap_or(Err(KeyError::UnknownKey))
    }
}

#[cfg(test)]
mod tests {
    use super::super::recording_context;
    use super::*;
    use uuid::Uuid;
    use wire::RecordingId;

    #[tokio::test]
    async fn a_wrapped_key_opens_for_its_own_context_and_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalKeys::open_or_create(&folder.path().join("kek")).unwrap();
        let other = LocalKeys::open_or_create(&folder.path().join("other")).unwrap();
        let context = recording_context(RecordingId::random());
        let key = DataKey::generate().unwrap();
        let wrapped = local.wrap(&key, &context).await.unwrap();
        assert_eq!(local.unwrap(&wrapped, &context).await.unwrap(), key);
        for else_context in [
            recording_context(RecordingId::random()),
            KeyContext::of_organization("recording", Uuid::new_v4(), Uuid::new_v4()),
        ] {
            assert!(matches!(local.unwrap(&wrapped, &else_context).await, Err(KeyError::Refused)));
        }
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
        let first = LocalKeys::open_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LocalKeys::open_or_create(&path).unwrap().current(), first.current());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(LocalKeys::open(&path), Err(KeyError::Exposed)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["short", "", "\n"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(LocalKeys::open(&path), Err(KeyError::Malformed)));
        }
    }

    #[tokio::test]
    async fn h_11_after_a_rotation_new_keys_are_wrapped_by_the_newest_and_old_ones_still_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        let running = LocalKeys::open_or_create(&path).unwrap();
        let context = recording_context(RecordingId::random());
        let (key, old) = running.generate(&context).await.unwrap();
        let id = LocalKeys::rotate(&path).unwrap();
        assert_ne!(id, old.kek_id);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");

        let fresh = LocalKeys::open(&path).unwrap();
        let new = fresh.wrap(&key, &context).await.unwrap();
        assert_eq!(new.kek_id, id);
        assert_eq!(fresh.unwrap(&old, &context).await.unwrap(), key);
        // The process that ran all the time reads the file when it meets a key that it does not know.
        assert_eq!(running.current(), old.kek_id);
        assert_eq!(running.unwrap(&new, &context).await.unwrap(), key);
        assert_eq!(running.current(), id);
        // Without the old line, what it wrapped stays closed.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.lines().next_back().unwrap()).unwrap();
        assert!(matches!(LocalKeys::open(&path).unwrap().unwrap(&old, &context).await, Err(KeyError::UnknownKey)));
    }

    #[test]
    fn two_rotations_at_once_lose_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        LocalKeys::open_or_create(&path).unwrap();
        let made: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| LocalKeys::rotate(&path))).collect();
            all.into_iter().filter_map(|one| one.join().unwrap().ok()).collect()
        });
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(!made.is_empty());
        assert_eq!(lines, made.len() + 1);
    }
}
