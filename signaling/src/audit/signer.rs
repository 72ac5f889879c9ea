//! Who signs anchors: a key that the database's machine does not hold. And whom a verifier believes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, LineEnding};
use sha2::{Digest, Sha256};

use crate::auth::keys;
use crate::error::Error;

/// The file of the signing key in the folder of keys.
pub const KEY_FILE: &str = "audit.pem";

/// The folder with public keys of earlier signers, beside it.
pub const TRUSTED_FOLDER: &str = "audit-trusted";

/// Signs with ES256. A local key is one; a key that never leaves a key service is another.
#[async_trait]
pub trait Signer: fmt::Debug + Send + Sync {
    /// Which key it is: the RFC 7638 thumbprint.
    fn kid(&self) -> &str;

    /// The signature of SHA-256 over `message`, as r and s.
    ///
    /// # Errors
    /// When the key cannot be used just now.
    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error>;
}

/// A key of this machine.
pub struct LocalSigner {
    key: SigningKey,
    kid: String,
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl LocalSigner {
    /// Reads `audit.pem`, and first makes it when it is missing.
    ///
    /// # Errors
    /// When it can be neither read nor made, or is no P-256 key.
    pub fn read_or_create(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(KEY_FILE);
        std::fs::create_dir_all(folder)?;
        keys::create(&path, || {
            let pem = SigningKey::generate_from_rng(&mut rand::rng()).to_pkcs8_pem(LineEnding::LF);
            Ok(pem.map_err(|_| Error::Keys("a new key cannot be written as PEM".to_owned()))?.to_string())
        })
        .map_err(|error| Error::Keys(format!("{KEY_FILE} is missing and cannot be made: {error}")))?;
        let key = SigningKey::from_pkcs8_pem(&std::fs::read_to_string(path)?)
            .map_err(|_| Error::Keys(format!("{KEY_FILE} holds no P-256 key in PKCS 8")))?;
        Ok(Self { kid: thumbprint(key.verifying_key()), key })
    }
}

#[async_trait]
impl Signer for LocalSigner {
    fn kid(&self) -> &str {
        &self.kid
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_bytes().into())
    }
}

/// The public keys whose anchors count.
#[derive(Clone, Debug, Default)]
pub struct Trust(BTreeMap<String, VerifyingKey>);

impl Trust {
    /// The key of `audit.pem`, and those of earlier signers: `audit-trusted/*.pem`, each a public key (SPKI).
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let mut trust = Self::default();
        let own = folder.join(KEY_FILE);
        if own.exists() {
            let key = SigningKey::from_pkcs8_pem(&std::fs::read_to_string(own)?)
                .map_err(|_| Error::Keys(format!("{KEY_FILE} holds no P-256 key in PKCS 8")))?;
            trust.add(*key.verifying_key());
        }
        let earlier = match std::fs::read_dir(folder.join(TRUSTED_FOLDER)) {
            Ok(earlier) => earlier,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(trust),
            Err(error) => return Err(error.into()),
        };
        for entry in earlier {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                let key = VerifyingKey::from_public_key_pem(&std::fs::read_to_string(&path)?).map_err(|_| {
                    Error::Keys(format!("{} holds no public P-256 key", path.file_name().unwrap_or_default().display()))
                })?;
                trust.add(key);
            }
        }
        Ok(trust)
    }

    /// Believes a key.
    pub fn add(&mut self, key: VerifyingKey) {
        self.0.insert(thumbprint(&key), key);
    }

    /// Whether a key that is believed made this signature.
    #[must_use]
    pub fn has_signed(&self, kid: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some(key) = self.0.get(kid) else { return false };
        Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }
}

/// RFC 7638: the members in this order, without spaces.
fn thumbprint(key: &VerifyingKey) -> String {
    let point = key.to_sec1_point(false);
    let encode = |half: Option<&[u8]>| URL_SAFE_NO_PAD.encode(half.unwrap_or_default());
    let (x, y) = (encode(point.x().map(AsRef::as_ref)), encode(point.y().map(AsRef::as_ref)));
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)))
}
