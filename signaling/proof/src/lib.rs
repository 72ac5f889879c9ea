//! Proofs that a client holds a private key: JWTs of type `dpop+jwt` (RFC 9449), signed with ES256 over P-256.
//!
//! [`BrowserKey`] is the client's half, for programs that are no browser; [`verify`] is the server's. A proof names one method and one
//! path. It is fresh because it carries the server's own nonce, or because it was made within two minutes; a proof that goes with a
//! secret carries the secret's hash (`ath`), so that it fits no other.

mod client;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::client::BrowserKey;

/// Proofs and their keys are short; longer ones are not even decoded.
pub const MAX_BYTES: usize = 2048;

/// How far the clocks of client and server may differ, in seconds.
const SKEW: i64 = 120;

/// `typ` of a proof.
const TYP: &str = "dpop+jwt";

/// The SHA-256 thumbprint of a public key (RFC 7638), base64url: 43 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that was stored.
    #[must_use]
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }
}

/// The public half of a P-256 key (RFC 7517), with the members that make it and no others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// 32 bytes, base64url.
    pub x: String,
    /// 32 bytes, base64url.
    pub y: String,
}

impl PublicKey {
    /// The thumbprint; `None` for anything but a well-written P-256 key.
    #[must_use]
    pub fn thumbprint(&self) -> Option<Thumbprint> {
        let is_coordinate = |text: &str| text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok();
        if self.kty != "EC" || self.crv != "P-256" || !is_coordinate(&self.x) || !is_coordinate(&self.y) {
            return None;
        }
        // The members in this order, without spaces.
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        Some(Thumbprint(URL_SAFE_NO_PAD.encode(Sha256::digest(text))))
    }
}

/// What a proof says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The proof's own id.
    pub jti: String,
    /// The method of the request.
    pub htm: String,
    /// The address of the request, without its query.
    pub htu: String,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: i64,
    /// SHA-256 of the secret that it goes with, base64url.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ath: Option<String>,
    /// The nonce that the server gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce: Option<String>,
}

/// What makes a proof fresh.
#[derive(Clone, Copy, Debug)]
pub enum Fresh<'a> {
    /// Made within two minutes of this time, in seconds since the Unix epoch.
    Around(i64),
    /// It carries this nonce; the client's clock does not matter.
    Nonce(&'a str),
}

/// What a proof has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The method.
    pub method: &'a str,
    /// The path. The host is not compared: a proxy may have changed it, and the key belongs to one site in any case.
    pub path: &'a str,
    /// What makes it fresh.
    pub fresh: Fresh<'a>,
    /// The secret that it goes with.
    pub secret: Option<&'a str>,
}

/// The thumbprint of the key that made the proof, if the proof is what was expected; `None` for everything else.
#[must_use]
pub fn verify(proof: &str, expected: &Expected<'_>) -> Option<Thumbprint> {
    if proof.len() > MAX_BYTES {
        return None;
    }
    let header = jsonwebtoken::decode_header(proof).ok()?;
    if header.typ.as_deref() != Some(TYP) || header.alg != Algorithm::ES256 || header.crit.is_some() {
        return None;
    }
    let jwk = header.jwk?;
    let thumbprint = thumbprint(&jwk)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims::<&str>(&[]);
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let claims = jsonwebtoken::decode::<Claims>(proof, &key, &validation).ok()?.claims;
    let is_fresh = match expected.fresh {
        Fresh::Around(now) => now.abs_diff(claims.iat) <= SKEW.unsigned_abs(),
        Fresh::Nonce(nonce) => claims.nonce.as_deref() == Some(nonce),
    };
    let fits = claims.htm == expected.method
        && path_of(&claims.htu) == Some(expected.path)
        && claims.ath == expected.secret.map(hash)
        && (1..=100).contains(&claims.jti.len());
    (is_fresh && fits).then_some(thumbprint)
}

/// How a secret is named in `ath`.
#[must_use]
pub fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

fn thumbprint(jwk: &Jwk) -> Option<Thumbprint> {
    match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            jwk.thumbprint(ThumbprintHash::SHA256).ok().map(Thumbprint)
        }
        _ => None,
    }
}

fn path_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    rest.find('/').and_then(|at| rest.get(at..))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_796_000_000;
    const CLAIM: Expected<'_> =
        Expected { method: "POST", path: "/api/token/redeem", fresh: Fresh::Around(NOW), secret: Some("7hKq2Lm9xPa") };

    #[test]
    fn a_proof_is_for_one_key_one_request_and_one_secret() {
        let (key, other) = (BrowserKey::random(), BrowserKey::random());
        let proof = key.prove(&CLAIM, NOW);
        assert_eq!(verify(&proof, &CLAIM).as_ref(), Some(key.thumbprint()));
        assert_eq!(key.public().thumbprint().as_ref(), Some(key.thumbprint()));
        assert_ne!(key.thumbprint(), other.thumbprint());
        for wrong in [
            Expected { method: "GET", ..CLAIM },
            Expected { path: "/api/token/confirm", ..CLAIM },
            Expected { secret: Some("7hKq2Lm9xPb"), ..CLAIM },
            Expected { secret: None, ..CLAIM },
            Expected { fresh: Fresh::Around(NOW + 121), ..CLAIM },
            Expected { fresh: Fresh::Around(NOW - 121), ..CLAIM },
            Expected { fresh: Fresh::Nonce("n"), ..CLAIM },
        ] {
            assert_eq!(verify(&proof, &wrong), None, "{wrong:?}");
        }
        assert!(verify(&proof, &Expected { fresh: Fresh::Around(NOW + 120), ..CLAIM }).is_some());
    }

    #[test]
    fn with_a_nonce_the_clock_does_not_matter() {
        let key = BrowserKey::random();
        let seat = Expected { method: "GET", path: "/ws", fresh: Fresh::Nonce("abc"), secret: None };
        let proof = key.prove(&seat, 5);
        assert_eq!(verify(&proof, &seat).as_ref(), Some(key.thumbprint()));
        assert_eq!(verify(&proof, &Expected { fresh: Fresh::Nonce("abd"), ..seat }), None);
    }

    #[test]
    fn a_changed_proof_and_anothers_key_do_not_verify() {
        let (key, other) = (BrowserKey::random(), BrowserKey::random());
        let (proof, foreign) = (key.prove(&CLAIM, NOW), other.prove(&CLAIM, NOW));
        let parts: Vec<&str> = proof.split('.').collect();
        let foreign: Vec<&str> = foreign.split('.').collect();
        let [header, body, signature] = parts[..] else { panic!("three parts") };
        let none = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"dpop+jwt"}"#);
        let typ = |typ: &str, alg: &str| {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
            URL_SAFE_NO_PAD.encode(text.replace("dpop+jwt", typ).replace("ES256", alg))
        };
        for forged in [
            format!("{}.{body}.{signature}", foreign[0]),
            format!("{header}.{}.{signature}", foreign[1]),
            format!("{header}.{body}.{}", foreign[2]),
            format!("{none}.{body}."),
            format!("{}.{body}.{signature}", typ("JWT", "ES256")),
            format!("{}.{body}.{signature}", typ("dpop+jwt", "HS256")),
            format!("{header}.{body}"),
            "a".repeat(MAX_BYTES + 1),
            String::new(),
        ] {
            assert_eq!(verify(&forged, &CLAIM), None, "{forged}");
        }
    }

    #[test]
    fn only_p256_keys_have_a_thumbprint() {
        let good = BrowserKey::random().public().clone();
        for bad in [
            PublicKey { kty: "RSA".to_owned(), ..good.clone() },
            PublicKey { crv: "P-384".to_owned(), ..good.clone() },
            PublicKey { x: format!("{}\"", &good.x[1..]), ..good.clone() },
            PublicKey { y: String::new(), ..good.clone() },
        ] {
            assert_eq!(bad.thumbprint(), None, "{bad:?}");
        }
    }
}
