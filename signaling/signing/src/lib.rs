//! The keys that tokens are signed by (ES256 over P-256), and the public halves that they verify with.
//!
//! The current key is a local file (`signing.pem`) or lives in AWS KMS, where it never leaves the service. The public halves of earlier keys
//! are files in `previous/`, so that what they signed goes on verifying for its time, also after a restart. A key may be replaced while the
//! server runs: a token that names an unknown key makes it look again, and [`SigningKeys::refresh`] takes the new key up.

mod files;
mod kms;
mod ring;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jsonwebtoken::DecodingKey;
use serde::Serialize;
use serde_json::Value;

pub use crate::files::{Rotated, create, rotate};
pub use crate::kms::KmsConfig;
use crate::kms::KmsKey;
use crate::ring::Ring;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file is missing or is no such key.
    #[error("{0}")]
    File(String),
    /// The key service did not answer, or not as expected.
    #[error("AWS KMS: {0}")]
    Kms(String),
    /// The key cannot be used for ES256.
    #[error("the signing key cannot be used")]
    Unusable,
    /// Signing at once, and rotating, take a key in a file.
    #[error("the signing key is no file of this server")]
    NotLocal,
}

/// Where the current key is.
enum Source {
    Memory,
    Folder(PathBuf),
    Kms { service: KmsKey, folder: PathBuf },
}

/// The current key, the ones before it, and where to look for the next.
pub struct SigningKeys {
    ring: RwLock<Arc<Ring>>,
    source: Source,
    /// The file that was there when an unknown key was met last.
    seen: Mutex<Option<files::Mark>>,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// A key that lives in memory alone.
    ///
    /// # Errors
    /// When the new key cannot be handed to the token library.
    pub fn ephemeral() -> Result<Self, SigningError> {
        Ok(Self::new(Ring::local(&files::generate(), Vec::new())?, Source::Memory))
    }

    /// The key of a folder: `signing.pem` (PKCS 8), and the public halves in `previous/`.
    ///
    /// # Errors
    /// When one is missing or is not such a key.
    pub fn read(folder: &Path) -> Result<Self, SigningError> {
        Ok(Self::new(files::read(folder)?, Source::Folder(folder.to_owned())))
    }

    /// The key that AWS KMS holds under a name, an alias for instance; the public halves of its predecessors are kept in `previous/` of the
    /// folder.
    ///
    /// # Errors
    /// When the service does not answer, or the key is no P-256 key for signing.
    pub async fn in_kms(config: &KmsConfig, folder: &Path) -> Result<Self, SigningError> {
        let service = KmsKey::open(config)?;
        let current = service.current().await?;
        let ring = Ring::remote(current, files::previous(folder)?)?;
        Ok(Self::new(ring, Source::Kms { service, folder: folder.to_owned() }))
    }

    fn new(ring: Ring, source: Source) -> Self {
        Self { ring: RwLock::new(Arc::new(ring)), source, seen: Mutex::default() }
    }

    /// The id of the current key: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> String {
        self.ring().kid.clone()
    }

    /// The public halves as a JWK set (RFC 7517), the current one first.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.ring().jwks.clone()
    }

    /// The public half with this id. One that nobody knows may be a moment old: then the folder is looked at once more.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<DecodingKey> {
        let find = |ring: &Ring| ring.checking.get(kid).cloned();
        find(&self.ring()).or_else(|| {
            self.look_again();
            find(&self.ring())
        })
    }

    /// Signs at once, by a local key.
    ///
    /// # Errors
    /// When the key is in AWS KMS.
    pub fn sign_now<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, SigningError> {
        self.ring().sign_local(typ, claims)
    }

    /// Signs, wherever the key is.
    ///
    /// # Errors
    /// When AWS KMS does not answer.
    pub async fn sign<T: Serialize + Sync>(&self, typ: &str, claims: &T) -> Result<String, SigningError> {
        let ring = self.ring();
        match &ring.remote {
            None => ring.sign_local(typ, claims),
            Some(remote) => {
                let text = ring.unsigned(typ, claims)?;
                let signature = remote.sign(text.as_bytes()).await?;
                Ok(ring::signed(&text, &signature))
            }
        }
    }

    /// Takes up a key that has taken the current one's place. Asked every few seconds by whoever runs. Says which key went and which came.
    ///
    /// # Errors
    /// When it cannot be read; the current key goes on meanwhile.
    pub async fn refresh(&self) -> Result<Option<Rotated>, SigningError> {
        let before = self.kid();
        match &self.source {
            Source::Memory => return Ok(None),
            Source::Folder(folder) => self.put(files::read(folder)?),
            Source::Kms { service, folder } => {
                let current = service.current().await?;
                if current.kid == before {
                    return Ok(None);
                }
                // Written first: after a restart nobody remembers the key that was current until now.
                files::keep_previous(folder, &self.ring().public)?;
                self.put(Ring::remote(current, files::previous(folder)?)?);
            }
        }
        let now = self.kid();
        Ok((now != before).then_some(Rotated { old: before, new: now }))
    }

    /// Puts a new key in the place of the current one.
    ///
    /// # Errors
    /// When the key is no file of ours (a key in AWS KMS is replaced there), or cannot be written.
    pub fn rotate(&self) -> Result<Rotated, SigningError> {
        let Source::Folder(folder) = &self.source else { return Err(SigningError::NotLocal) };
        let rotated = rotate(folder)?;
        self.put(files::read(folder)?);
        Ok(rotated)
    }

    /// Reads the folder again if its key is another file than when an unknown key was met last. Tokens with unknown keys cost nothing to
    /// make, and this costs no more than asking for a file's age.
    fn look_again(&self) {
        let Source::Folder(folder) = &self.source else { return };
        let mark = files::mark(folder);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.is_none() || *seen == mark {
            return;
        }
        if let Ok(ring) = files::read(folder) {
            self.put(ring);
            *seen = mark;
        }
    }

    fn put(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
