//! Data keys, and the keys that wrap them. A Recording has a data key of its own, and so have an organisation's fields; the database
//! holds them only wrapped.

pub mod config;
pub mod kms;
pub mod local;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::rand;
use uuid::Uuid;
use wire::RecordingId;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use config::{KeysConfig, KeysKind};
pub use kms::KmsKeys;
pub use local::LocalKeys;

/// Bytes of a data key.
pub const KEY_LEN: usize = 32;

/// The key under which the objects of one Recording, or the fields of one organisation, are sealed. Wiped when dropped, never printed.
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

    /// The key itself, for whoever sets up a cipher with it. Every caller is a place to review.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
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

/// What a data key is for. It is bound to that: given for anything else, it does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    purpose: &'static str,
    org: Option<Uuid>,
    id: Uuid,
}

impl KeyContext {
    /// A key of an organisation, by the key's own id.
    #[must_use]
    pub const fn of_organization(purpose: &'static str, org: Uuid, id: Uuid) -> Self {
        Self { purpose, org: Some(org), id }
    }

    /// As additional data of a cipher. The purpose is a word of ours without spaces and the ids have fixed lengths, so no two contexts
    /// read alike.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("anteroom {} 1 ", self.purpose).into_bytes();
        if let Some(org) = self.org {
            bytes.extend_from_slice(org.as_bytes());
        }
        bytes.extend_from_slice(self.id.as_bytes());
        bytes
    }

    /// As names and values, for a provider that takes those. A provider logs them: they are ids and one word of ours.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let org = self.org.map(|org| ("org", org.to_string()));
        [("purpose", self.purpose.to_owned()), ("id", self.id.to_string())].into_iter().chain(org)
    }
}

/// What the key of a Recording is bound to.
#[must_use]
pub const fn recording_context(recording: RecordingId) -> KeyContext {
    KeyContext { purpose: "recording", org: None, id: recording.as_uuid() }
}

/// Wraps and unwraps data keys. The wrapping key never leaves the provider.
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// The id of the key that wraps what is new.
    fn current(&self) -> String;

    /// Looks for keys that were added meanwhile.
    ///
    /// # Errors
    /// When they cannot be read; those that were there stay in use.
    fn refresh(&self) -> Result<(), KeyError> {
        Ok(())
    }

    /// Wraps a data key by the newest key; `context` must be given again to unwrap it.
    ///
    /// # Errors
    /// When the provider is away or refuses.
    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError>;

    /// Opens a data key that any of the provider's keys wrapped.
    ///
    /// # Errors
    /// Another provider's wrapping, another context, damaged bytes, or the provider is away.
    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError>;

    /// A fresh data key with its wrapping.
    ///
    /// # Errors
    /// When the provider is away or refuses, or the system gives no randomness.
    async fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let key = DataKey::generate()?;
        let wrapped = self.wrap(&key, context).await?;
        Ok((key, wrapped))
    }
}

/// A provider that is used for what is new, beside another one that still opens what it wrapped: how one moves from a local file to a
/// key service.
#[derive(Debug)]
pub struct Moved {
    /// Wraps what is new.
    pub to: Arc<dyn KeyProvider>,
    /// Opens what `to` does not know.
    pub from: Arc<dyn KeyProvider>,
}

#[async_trait]
impl KeyProvider for Moved {
    fn current(&self) -> String {
        self.to.current()
    }

    fn refresh(&self) -> Result<(), KeyError> {
        self.to.refresh()?;
        self.from.refresh()
    }

    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        self.to.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        match self.to.unwrap(wrapped, context).await {
            Err(KeyError::UnknownKey) => self.from.unwrap(wrapped, context).await,
            opened => opened,
        }
    }

    async fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        self.to.generate(context).await
    }
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
    #[error("the key file does not hold one key of 64 hexadecimal digits on each line")]
    Malformed,
    /// The settings cannot work.
    #[error("the settings of the keys are not valid: {0}")]
    Settings(&'static str),
    /// The data key was wrapped by a key that this provider does not have.
    #[error("the data key was wrapped by another key")]
    UnknownKey,
    /// Damaged, or for another context.
    #[error("the wrapped key does not open")]
    Refused,
    /// The key service knows the key but not this caller, or has switched the key off. Trying again does not help.
    #[error("the key service denies the use of the key: {0}")]
    Denied(String),
    /// The key service is away or failed inside; the code is its own.
    #[error("the key service failed: {0}")]
    Unavailable(String),
    /// The system gives no randomness.
    #[error("no randomness")]
    Randomness,
}
