//! What a browser holds between leaving for the provider and coming back: sealed, for ten minutes, and bound to that one sign-in.

use std::time::Duration;

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::auth::keys::Keys;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Holds a [`Pending`].
pub const LOGIN_COOKIE: &str = "__Host-anteroom_login";

/// How long the way to the provider and back may take.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The page after the sign-in, unless another was asked for.
pub const HOME: &str = "/desk";

const PURPOSE: &[u8] = b"anteroom login v1\0";

/// A sign-in under way.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pending {
    /// Comes back in the address; another value is another sign-in's.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// The secret half of the PKCE challenge.
    pub verifier: String,
    /// Where to go then.
    pub return_to: String,
    /// How long ago the person may have shown who they are, in seconds, where that was asked.
    pub max_age: Option<u32>,
    expires_at: i64,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

/// What a sign-in begins with.
#[derive(Debug)]
pub struct Secrets<'a> {
    /// See [`Pending::state`].
    pub state: &'a str,
    /// See [`Pending::nonce`].
    pub nonce: &'a str,
    /// See [`Pending::verifier`].
    pub verifier: &'a str,
}

impl Pending {
    /// A sign-in that begins now.
    #[must_use]
    pub fn new(secrets: &Secrets<'_>, return_to: Option<&str>, max_age: Option<u32>, now: Timestamp) -> Self {
        Self {
            state: secrets.state.to_owned(),
            nonce: secrets.nonce.to_owned(),
            verifier: secrets.verifier.to_owned(),
            return_to: return_to.filter(|path| is_own_page(path)).unwrap_or(HOME).to_owned(),
            max_age,
            expires_at: (now + LIFETIME).unix_timestamp(),
        }
    }

    /// The cookie: it comes back with the provider's redirection, which another site begins, hence not `Strict`.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub fn to_cookie(&self, keys: &Keys) -> Result<HeaderValue> {
        let text = serde_json::to_vec(self).map_err(|_| Error::Inside("a sign-in cannot be written".to_owned()))?;
        let sealed = URL_SAFE_NO_PAD.encode(keys.seal(PURPOSE, b"", &text)?);
        cookie(&sealed, LIFETIME.as_secs())
    }

    /// Reads the cookie's value, if it is ours, in time and of this `state`.
    #[must_use]
    pub fn read(keys: &Keys, value: &str, state: &str, now: Timestamp) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let pending: Self = serde_json::from_slice(&keys.unseal(PURPOSE, b"", &sealed).ok()?).ok()?;
        (pending.state == state && now.unix_timestamp() < pending.expires_at).then_some(pending)
    }
}

/// Ends the cookie.
///
/// # Errors
/// Never, short of a defect.
pub fn clear() -> Result<HeaderValue> {
    cookie("", 0)
}

fn cookie(value: &str, max_age: u64) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("{LOGIN_COOKIE}={value}; Path=/; Max-Age={max_age}; HttpOnly; Secure; SameSite=Lax"))
        .map_err(|_| Error::Inside("a cookie's value is not header-safe".to_owned()))
}

/// Whether this is a page of ours: a path that no browser takes for another site.
fn is_own_page(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '?' | '=' | '&');
    path.len() <= 256 && path.starts_with('/') && !path.starts_with("//") && path.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const SECRETS: Secrets<'_> = Secrets { state: "s", nonce: "n", verifier: "v" };

    #[test]
    fn a_pending_sign_in_is_read_by_this_server_for_this_state_in_time() {
        let now = datetime!(2026-11-21 10:00 UTC);
        let keys = Keys::ephemeral().unwrap();
        let line = Pending::new(&SECRETS, Some("/visit?id=1"), None, now).to_cookie(&keys).unwrap();
        let line = line.to_str().unwrap();
        assert!(line.contains("HttpOnly") && line.contains("Secure") && line.contains("SameSite=Lax"));
        let value = line.split([';', '=']).nth(1).unwrap();
        assert_eq!(Pending::read(&keys, value, "s", now).unwrap().return_to, "/visit?id=1");
        assert!(Pending::read(&keys, value, "other", now).is_none());
        assert!(Pending::read(&keys, value, "s", now + LIFETIME).is_none());
        assert!(Pending::read(&Keys::ephemeral().unwrap(), value, "s", now).is_none());
        assert!(Pending::read(&keys, "", "s", now).is_none());
    }

    #[test]
    fn one_returns_to_our_own_pages_alone() {
        let now = datetime!(2026-11-21 10:00 UTC);
        for foreign in
            ["//evil.example", "https://evil.example", "/\\evil.example", "desk", "/a\r\nb", "/%2f", "/@evil:x"]
        {
            assert_eq!(Pending::new(&SECRETS, Some(foreign), None, now).return_to, HOME, "{foreign}");
        }
    }
}
