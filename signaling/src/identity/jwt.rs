//! Checks a token of the provider: pure, over a key set that was fetched before. Nothing that a token says about where keys are to be
//! found (`jku`, `jwk`, `x5u`, `x5c`) is ever looked at.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode_header};
use serde_json::Value;

use crate::auth::keys::SKEW;
use crate::clock::Timestamp;
use crate::identity::Claims;

/// Providers put groups into tokens; longer ones are not even decoded.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a token must be like.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Its `iss`, byte for byte.
    pub issuer: &'a str,
    /// What its `aud` must hold.
    pub audience: &'a str,
    /// Which algorithms are believed.
    pub algorithms: &'a [Algorithm],
    /// Which `typ` it may have; none means that it may also lack one.
    pub types: &'a [Option<&'a str>],
}

/// `typ` of access tokens: RFC 9068, and what providers wrote before it.
pub const ACCESS_TYPES: &[Option<&str>] = &[Some("at+jwt"), Some("application/at+jwt"), Some("jwt"), None];

/// `typ` of logout tokens: the recommended one, and what providers wrote before it.
pub const LOGOUT_TYPES: &[Option<&str>] = &[Some("logout+jwt"), Some("jwt"), None];

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too long, or no JWS.
    #[error("it is no signed token")]
    Malformed,
    /// `none`, HMAC, or another that is not allowed.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// Another `typ`, or an extension that must be understood.
    #[error("its type is another one")]
    Type,
    /// The key set has no such key: it may have been rotated.
    #[error("its key is not in the key set")]
    UnknownKey,
    /// The signature is not of that key.
    #[error("its signature is wrong")]
    Signature,
    /// Another issuer or audience.
    #[error("its issuer or audience is another one")]
    Addressee,
    /// Not yet or no longer, or without a time.
    #[error("its time is not now")]
    Time,
}

/// Checks algorithm, type, key, signature, issuer, audience and times, in this order.
///
/// # Errors
/// [`Refused`].
pub fn check(token: &str, keys: &JwkSet, rules: &Rules<'_>, now: Timestamp) -> Result<Claims, Refused> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refused::Malformed);
    }
    // A header whose algorithm the library does not know, `none` among them, does not decode.
    let header = decode_header(token).map_err(|_| Refused::Malformed)?;
    if !rules.algorithms.contains(&header.alg) {
        return Err(Refused::Algorithm);
    }
    let kind = header.typ.as_ref().map(|typ| typ.to_ascii_lowercase());
    if header.crit.is_some() || !rules.types.contains(&kind.as_deref()) {
        return Err(Refused::Type);
    }
    let key = choose(keys, &header).ok_or(Refused::UnknownKey)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| Refused::UnknownKey)?;
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims::<&str>(&[]);
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| Refused::Signature)?.claims;
    let issuer = claims.get("iss").and_then(Value::as_str);
    if issuer != Some(rules.issuer) || !is_for(&claims, rules.audience) {
        return Err(Refused::Addressee);
    }
    if holds(&claims, now) { Ok(claims) } else { Err(Refused::Time) }
}

/// The key of the header's name that fits its algorithm. A header may name none where only one key could be meant.
fn choose<'a>(keys: &'a JwkSet, header: &Header) -> Option<&'a Jwk> {
    let mut fitting = keys.keys.iter().filter(|key| fits(key, header.alg));
    match &header.kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
}

/// Whether a key is for signatures by this algorithm. Symmetric keys never are.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let is_for_signing = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let named = match key.common.key_algorithm {
        None => true,
        Some(KeyAlgorithm::ES256) => algorithm == Algorithm::ES256,
        Some(KeyAlgorithm::RS256) => algorithm == Algorithm::RS256,
        Some(KeyAlgorithm::PS256) => algorithm == Algorithm::PS256,
        Some(KeyAlgorithm::EdDSA) => algorithm == Algorithm::EdDSA,
        Some(_) => false,
    };
    let shaped = match &key.algorithm {
        AlgorithmParameters::EllipticCurve(curve) => {
            algorithm == Algorithm::ES256 && curve.curve == EllipticCurve::P256
        }
        AlgorithmParameters::RSA(_) => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
        AlgorithmParameters::OctetKeyPair(_) => algorithm == Algorithm::EdDSA,
        _ => false,
    };
    is_for_signing && named && shaped
}

fn is_for(claims: &Claims, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// `exp` is required; `nbf` and `iat` count where they are there.
fn holds(claims: &Claims, now: Timestamp) -> bool {
    let skew = i64::try_from(SKEW.as_secs()).unwrap_or(0);
    let now = now.unix_timestamp();
    let at = |name: &str| match claims.get(name) {
        None => Some(None),
        Some(value) => value.as_i64().map(Some),
    };
    let (Some(Some(exp)), Some(nbf), Some(iat)) = (at("exp"), at("nbf"), at("iat")) else { return false };
    let begun = |at: Option<i64>| at.is_none_or(|at| at.saturating_sub(skew) <= now);
    now < exp.saturating_add(skew) && begun(nbf) && begun(iat)
}

#[cfg(test)]
mod tests;
