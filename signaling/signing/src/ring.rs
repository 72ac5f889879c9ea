//! One state of the keys: who signs, and what verifies.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use p256::ecdsa::{SigningKey, VerifyingKey};
use p256::pkcs8::EncodePrivateKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::SigningError;
use crate::kms::Remote;

/// A public half, as `previous/` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Public {
    pub(crate) kty: String,
    pub(crate) crv: String,
    pub(crate) x: String,
    pub(crate) y: String,
}

impl Public {
    pub(crate) fn of(key: &VerifyingKey) -> Result<Self, SigningError> {
        let point = key.to_sec1_point(false);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (point.x().ok_or(SigningError::Unusable)?, point.y().ok_or(SigningError::Unusable)?);
        Ok(Self { kty: "EC".to_owned(), crv: "P-256".to_owned(), x: encode(x), y: encode(y) })
    }

    /// The RFC 7638 thumbprint: the members in this order, without spaces.
    pub(crate) fn kid(&self) -> String {
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        URL_SAFE_NO_PAD.encode(Sha256::digest(text))
    }

    fn jwk(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y, "alg": "ES256", "use": "sig", "kid": self.kid()})
    }
}

pub(crate) struct Ring {
    pub(crate) kid: String,
    pub(crate) public: Public,
    pub(crate) checking: HashMap<String, DecodingKey>,
    pub(crate) jwks: Value,
    pub(crate) remote: Option<Remote>,
    local: Option<EncodingKey>,
}

impl Ring {
    pub(crate) fn local(key: &SigningKey, previous: Vec<Public>) -> Result<Self, SigningError> {
        let der = key.to_pkcs8_der().map_err(|_| SigningError::Unusable)?;
        let ring = Self::of(Public::of(key.verifying_key())?, previous)?;
        Ok(Self { local: Some(EncodingKey::from_ec_der(der.as_bytes())), ..ring })
    }

    pub(crate) fn remote(key: Remote, previous: Vec<Public>) -> Result<Self, SigningError> {
        let ring = Self::of(key.public.clone(), previous)?;
        Ok(Self { remote: Some(key), ..ring })
    }

    fn of(public: Public, mut previous: Vec<Public>) -> Result<Self, SigningError> {
        previous.retain(|old| *old != public);
        let all: Vec<&Public> = std::iter::once(&public).chain(&previous).collect();
        let checking = all
            .iter()
            .map(|key| Ok((key.kid(), DecodingKey::from_ec_components(&key.x, &key.y)?)))
            .collect::<jsonwebtoken::errors::Result<_>>()
            .map_err(|_| SigningError::Unusable)?;
        let jwks = json!({"keys": all.iter().map(|key| key.jwk()).collect::<Vec<_>>()});
        Ok(Self { kid: public.kid(), public, checking, jwks, remote: None, local: None })
    }

    pub(crate) fn sign_local<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, SigningError> {
        let key = self.local.as_ref().ok_or(SigningError::NotLocal)?;
        jsonwebtoken::encode(&self.header(typ), claims, key).map_err(|_| SigningError::Unusable)
    }

    /// Header and claims, as they are signed.
    pub(crate) fn unsigned<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, SigningError> {
        let encode = |value: serde_json::Result<Vec<u8>>| value.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let header = encode(serde_json::to_vec(&self.header(typ))).map_err(|_| SigningError::Unusable)?;
        let claims = encode(serde_json::to_vec(claims)).map_err(|_| SigningError::Unusable)?;
        Ok(format!("{header}.{claims}"))
    }

    fn header(&self, typ: &str) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        header
    }
}

/// The token of a text and its signature.
pub(crate) fn signed(text: &str, signature: &[u8]) -> String {
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
