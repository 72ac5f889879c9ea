//! AWS Signature Version 4 from the server's side: what was signed, with which key, and whether the signature is right. Pure: bytes, a
//! secret and the time come in, a verdict goes out.
//!
//! The list of signed headers is the request's own; the hash of the body is always computed here. Requests that carry their signature
//! in the query, session credentials, unsigned bodies and streams are refused, each in its own words.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderValue};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};
use time::macros::format_description;
use time::{Duration, PrimitiveDateTime};

use crate::clock::Timestamp;

/// How far the client's clock may be off, either way.
pub(crate) const SKEW: Duration = Duration::minutes(5);

/// The service name that both APIs sign with.
const SERVICE: &str = "chime";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The longest Authorization header that is read.
const MAX_AUTHORIZATION: usize = 4096;

/// Headers that a request may sign at most.
const MAX_SIGNED_HEADERS: usize = 64;

/// What RFC 3986 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same for a path: its slashes stay.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Why a request counts as not signed by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No Authorization header.
    #[error("The request is not signed: the Authorization header is missing")]
    Missing,
    /// The signature is in the query string.
    #[error("Signatures in the query string are not accepted: sign with the Authorization header")]
    Presigned,
    /// Credentials of a session.
    #[error("Session tokens are not accepted: sign with an access key of this server and no session token")]
    SessionToken,
    /// Another algorithm than `AWS4-HMAC-SHA256`.
    #[error("The signature must be AWS4-HMAC-SHA256")]
    Algorithm,
    /// The header cannot be read, or lacks a part.
    #[error("The Authorization header cannot be read")]
    Malformed,
    /// Host or date are not among the signed headers, or a header that is said to be signed is not there.
    #[error("SignedHeaders must list host and x-amz-date, and only headers that the request has")]
    Headers,
    /// The scope is of another service.
    #[error("The credential scope must end in /chime/aws4_request and begin with the date of the request")]
    Scope,
    /// No date that can be read.
    #[error("The header x-amz-date cannot be read")]
    Date,
    /// Too old or too new.
    #[error("The request was signed more than 5 minutes ago or ahead: check the clock")]
    Skewed,
    /// The body is not what its hash says, or is not signed.
    #[error("The header x-amz-content-sha256 is not the hash of the body")]
    Body,
    /// The signature is another one.
    #[error(
        "The signature does not match: check the secret access key, and that a proxy passes the Host header on as it came"
    )]
    Mismatch,
}

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// In capitals.
    pub(crate) method: &'a str,
    /// The path, as encoded by the client.
    pub(crate) path: &'a str,
    /// What follows the question mark, as encoded by the client.
    pub(crate) query: &'a str,
    /// All headers.
    pub(crate) headers: &'a HeaderMap,
    /// The whole body.
    pub(crate) body: &'a [u8],
}

/// What a signature claims. Nothing of it holds before [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whose secret it was made with.
    pub(crate) access_key_id: String,
    /// The region that the client was told to use.
    pub(crate) region: String,
    /// `20260102T030405Z`.
    stamp: String,
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

/// Reads what a request claims, and refuses what no secret could make right.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn read(headers: &HeaderMap, query: &str, now: Timestamp) -> Result<Claim, Refusal> {
    let Some(authorization) = headers.get("authorization") else {
        let is_presigned = pairs(query).any(|(name, _)| name.eq_ignore_ascii_case("x-amz-signature"));
        return Err(if is_presigned { Refusal::Presigned } else { Refusal::Missing });
    };
    if headers.contains_key("x-amz-security-token") {
        return Err(Refusal::SessionToken);
    }
    let text = authorization.to_str().map_err(|_| Refusal::Malformed)?;
    if text.len() > MAX_AUTHORIZATION {
        return Err(Refusal::Malformed);
    }
    let parts = text.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or(Refusal::Algorithm)?;
    let (mut credential, mut names, mut signature) = (None, None, None);
    for part in parts.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or(Refusal::Malformed)?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut names,
            "Signature" => &mut signature,
            _ => return Err(Refusal::Malformed),
        };
        if place.replace(value).is_some() {
            return Err(Refusal::Malformed);
        }
    }
    let (Some(credential), Some(names), Some(hex)) = (credential, names, signature) else {
        return Err(Refusal::Malformed);
    };
    let mut signature = [0; 32];
    hex::decode_to_slice(hex, &mut signature).map_err(|_| Refusal::Malformed)?;
    let stamp = read_stamp(headers, now)?;
    let (access_key_id, region) = read_scope(credential, &stamp)?;
    Ok(Claim { access_key_id, region, stamp, signed_headers: read_names(names, headers)?, signature })
}

/// The date of the request, if it is near enough.
fn read_stamp(headers: &HeaderMap, now: Timestamp) -> Result<String, Refusal> {
    let mut stamps = headers.get_all("x-amz-date").iter();
    let (Some(stamp), None) = (stamps.next(), stamps.next()) else { return Err(Refusal::Date) };
    let stamp = stamp.to_str().map_err(|_| Refusal::Date)?;
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = PrimitiveDateTime::parse(stamp, format).map_err(|_| Refusal::Date)?.assume_utc();
    if (now - at).abs() > SKEW { Err(Refusal::Skewed) } else { Ok(stamp.to_owned()) }
}

/// `<key>/<date>/<region>/chime/aws4_request`.
fn read_scope(credential: &str, stamp: &str) -> Result<(String, String), Refusal> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [key, date, region, service, end] = parts[..] else { return Err(Refusal::Malformed) };
    let is_key = (16..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_region = (1..=64).contains(&region.len())
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_key || !is_region {
        return Err(Refusal::Malformed);
    }
    if service != SERVICE || end != "aws4_request" || stamp.get(..8) != Some(date) {
        return Err(Refusal::Scope);
    }
    Ok((key.to_owned(), region.to_owned()))
}

/// The signed headers: in order, each once, each there, the date and the host among them.
fn read_names(names: &str, headers: &HeaderMap) -> Result<Vec<String>, Refusal> {
    let names: Vec<String> = names.split(';').map(str::to_owned).collect();
    let is_in_order = names.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let is_lower = names.iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    let is_there = names.iter().all(|name| headers.contains_key(name.as_str()));
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if names.len() > MAX_SIGNED_HEADERS || !is_in_order || !is_lower || !is_there || !has("host") || !has("x-amz-date")
    {
        return Err(Refusal::Headers);
    }
    Ok(names)
}

/// Whether the claim was made with this secret for this request.
///
/// # Errors
/// [`Refusal::Body`] or [`Refusal::Mismatch`].
pub(crate) fn verify(claim: &Claim, request: &Signed<'_>, secret: &str) -> Result<(), Refusal> {
    let body = hex::encode(Sha256::digest(request.body));
    if let Some(said) = request.headers.get("x-amz-content-sha256")
        && said != body.as_str()
    {
        return Err(Refusal::Body);
    }
    let scope = scope(claim);
    let hash = hex::encode(Sha256::digest(canonical(claim, request, &body)));
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{hash}", claim.stamp);
    let mut mac = keyed(&signing_key(claim, secret));
    mac.update(text.as_bytes());
    // In constant time.
    mac.verify_slice(&claim.signature).map_err(|_| Refusal::Mismatch)
}

/// The name and value pairs of a query string, decoded. What is read from it afterwards comes from here too, so that nothing else is
/// obeyed than what was signed.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (percent_decode_str(name).decode_utf8_lossy(), percent_decode_str(value).decode_utf8_lossy())
    })
}

fn scope(claim: &Claim) -> String {
    let date = claim.stamp.get(..8).unwrap_or_default();
    format!("{date}/{}/{SERVICE}/aws4_request", claim.region)
}

fn canonical(claim: &Claim, request: &Signed<'_>, body: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let mut put = |bytes: &[u8]| text.extend_from_slice(bytes);
    put(request.method.as_bytes());
    put(b"\n");
    // Services other than S3 sign the path encoded once more than it travels.
    put(percent_encode(request.path.as_bytes(), PATH).to_string().as_bytes());
    put(b"\n");
    put(canonical_query(request.query).as_bytes());
    put(b"\n");
    for name in &claim.signed_headers {
        put(name.as_bytes());
        put(b":");
        for (at, value) in request.headers.get_all(name.as_str()).iter().enumerate() {
            if at > 0 {
                put(b",");
            }
            put(&tidy(value));
        }
        put(b"\n");
    }
    put(b"\n");
    put(claim.signed_headers.join(";").as_bytes());
    put(b"\n");
    put(body.as_bytes());
    text
}

/// Bytes, not text: a name may hold any.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text).collect();
        percent_encode(&bytes, UNRESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Without spaces around it, and with one where there were several.
fn tidy(value: &HeaderValue) -> Vec<u8> {
    let mut tidy = Vec::with_capacity(value.len());
    for word in value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()) {
        if !tidy.is_empty() {
            tidy.push(b' ');
        }
        tidy.extend_from_slice(word);
    }
    tidy
}

fn signing_key(claim: &Claim, secret: &str) -> [u8; 32] {
    let date = claim.stamp.get(..8).unwrap_or_default();
    let first = format!("AWS4{secret}");
    [date, &claim.region, SERVICE, "aws4_request"]
        .iter()
        .fold(None, |key: Option<[u8; 32]>, part| {
            let mut mac = keyed(key.as_ref().map_or(first.as_bytes(), <[u8; 32]>::as_slice));
            mac.update(part.as_bytes());
            Some(mac.finalize().into_bytes().into())
        })
        .expect("there are four parts")
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length")
}

#[cfg(test)]
mod tests;
