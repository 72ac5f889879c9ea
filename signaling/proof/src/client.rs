//! The client's half: a key, and proofs made with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use uuid::Uuid;

use crate::{Claims, Expected, Fresh, PublicKey, TYP, Thumbprint, hash};

/// A key as a browser would have it, for clients that are programs: load generators, tests, services.
#[derive(Clone)]
pub struct BrowserKey {
    signing: EncodingKey,
    public: PublicKey,
    thumbprint: Thumbprint,
}

impl std::fmt::Debug for BrowserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrowserKey").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

impl BrowserKey {
    /// A fresh one.
    ///
    /// # Panics
    /// Never: a P-256 key always has coordinates and a PKCS 8 form.
    #[must_use]
    pub fn random() -> Self {
        let key = SigningKey::generate_from_rng(&mut rand::rng());
        let point = key.verifying_key().to_sec1_point(false);
        let encode = |bytes: Option<&[u8]>| URL_SAFE_NO_PAD.encode(bytes.expect("an uncompressed point"));
        let public = PublicKey {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: encode(point.x().map(|x| x.as_slice())),
            y: encode(point.y().map(|y| y.as_slice())),
        };
        let der = key.to_pkcs8_der().expect("a P-256 key can be written");
        let thumbprint = public.thumbprint().expect("our own key is one");
        Self { signing: EncodingKey::from_ec_der(der.as_bytes()), public, thumbprint }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The thumbprint of the public half.
    #[must_use]
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// A proof that fits `expected`, made at `now` (seconds since the Unix epoch).
    ///
    /// # Panics
    /// Never: the claims are plain texts.
    #[must_use]
    pub fn prove(&self, expected: &Expected<'_>, now: i64) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYP.to_owned());
        let jwk = serde_json::to_value(&self.public).and_then(serde_json::from_value);
        header.jwk = Some(jwk.expect("a public key is a JWK"));
        let claims = Claims {
            jti: Uuid::new_v4().to_string(),
            htm: expected.method.to_owned(),
            htu: format!("https://client.invalid{}", expected.path),
            iat: now,
            ath: expected.secret.map(hash),
            nonce: match expected.fresh {
                Fresh::Nonce(nonce) => Some(nonce.to_owned()),
                Fresh::Around(_) => None,
            },
        };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("claims are plain texts")
    }
}
