//! `signing.pem` and `previous/*.json`. A key that goes is kept before the next one is there, so that at no moment a token has no key.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};

use crate::SigningError;
use crate::ring::{Public, Ring};

/// The file of the current key.
const CURRENT: &str = "signing.pem";

/// The folder of the public halves before it.
const PREVIOUS: &str = "previous";

/// So many of them are read, the newest: a token lives for hours, not for sixteen rotations.
const MOST_PREVIOUS: usize = 16;

/// Which key went, and which one came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the key that signed until now.
    pub old: String,
    /// The id of the key that signs from now on.
    pub new: String,
}

/// Which file the current key is in: a key that takes its place is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    file: u64,
    seconds: i64,
    nanoseconds: i64,
}

pub(crate) fn mark(folder: &Path) -> Option<Mark> {
    let about = fs::metadata(folder.join(CURRENT)).ok()?;
    Some(Mark { file: about.ino(), seconds: about.mtime(), nanoseconds: about.mtime_nsec() })
}

pub(crate) fn generate() -> SigningKey {
    SigningKey::generate_from_rng(&mut rand::rng())
}

/// Makes the folder's key unless it has one, readable for this user alone.
///
/// # Errors
/// When it cannot be written.
pub fn create(folder: &Path) -> Result<(), SigningError> {
    fs::create_dir_all(folder).map_err(|e| failed(CURRENT, &e))?;
    if folder.join(CURRENT).exists() {
        return Ok(());
    }
    let pem = generate().to_pkcs8_pem(LineEnding::LF).map_err(|_| SigningError::Unusable)?;
    let draft = folder.join(format!(".{:016x}.draft", rand::random::<u64>()));
    write(&draft, &pem, 0o600).map_err(|e| failed(CURRENT, &e))?;
    // A hard link refuses to replace: of two that make a key at once, whoever comes second takes the first one's.
    let linked = match fs::hard_link(&draft, folder.join(CURRENT)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(CURRENT, &error)),
        _ => Ok(()),
    };
    fs::remove_file(&draft).map_err(|e| failed(CURRENT, &e))?;
    linked
}

/// Puts a new key in the place of the folder's current one, whose public half stays. Servers that run take it up by themselves.
///
/// # Errors
/// When there is no key yet, or the files cannot be written; then the old key goes on.
pub fn rotate(folder: &Path) -> Result<Rotated, SigningError> {
    let old = Public::of(read_current(folder)?.verifying_key())?;
    keep_previous(folder, &old)?;
    let key = generate();
    let new = Public::of(key.verifying_key())?;
    write_current(folder, &key)?;
    Ok(Rotated { old: old.kid(), new: new.kid() })
}

pub(crate) fn read(folder: &Path) -> Result<Ring, SigningError> {
    // In this order: a key that goes between the two reads is in `previous` already when the second one looks.
    let current = read_current(folder)?;
    Ring::local(&current, previous(folder)?)
}

pub(crate) fn previous(folder: &Path) -> Result<Vec<Public>, SigningError> {
    let entries = match fs::read_dir(folder.join(PREVIOUS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(PREVIOUS, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| failed(PREVIOUS, &e))?;
        if entry.path().extension().is_none_or(|name| name != "json") {
            continue;
        }
        let written = entry.metadata().and_then(|about| about.modified()).map_err(|e| failed(PREVIOUS, &e))?;
        let text = fs::read_to_string(entry.path()).map_err(|e| failed(PREVIOUS, &e))?;
        let key: Public = serde_json::from_str(&text)
            .map_err(|_| SigningError::File(format!("a file in {PREVIOUS} holds no public key")))?;
        found.push((written, key));
    }
    found.sort_by_key(|(written, _)| std::cmp::Reverse(*written));
    Ok(found.into_iter().take(MOST_PREVIOUS).map(|(_, key)| key).collect())
}

pub(crate) fn keep_previous(folder: &Path, key: &Public) -> Result<(), SigningError> {
    let place = folder.join(PREVIOUS);
    fs::create_dir_all(&place).map_err(|e| failed(PREVIOUS, &e))?;
    let text = serde_json::to_string(key).map_err(|_| SigningError::Unusable)?;
    replace(&place.join(format!("{}.json", key.kid())), &text, 0o644)
}

fn read_current(folder: &Path) -> Result<SigningKey, SigningError> {
    let text = fs::read_to_string(folder.join(CURRENT)).map_err(|e| failed(CURRENT, &e))?;
    SigningKey::from_pkcs8_pem(&text).map_err(|_| SigningError::File(format!("{CURRENT} holds no P-256 key in PKCS 8")))
}

fn write_current(folder: &Path, key: &SigningKey) -> Result<(), SigningError> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| SigningError::Unusable)?;
    replace(&folder.join(CURRENT), &pem, 0o600)
}

/// Writes beside the place and moves there: whoever reads finds the old text or the new one, never half of one.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), SigningError> {
    let beside = path.with_extension("new");
    write(&beside, text, mode).and_then(|()| fs::rename(&beside, path)).map_err(|e| failed(CURRENT, &e))
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn failed(name: &str, error: &std::io::Error) -> SigningError {
    SigningError::File(format!("{name} in the key folder: {error}"))
}
