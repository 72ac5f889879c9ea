//! Request to Actor: bearer, staff cookie or session cookie; never the body.

use axum::extract::FromRequestParts;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::auth::claims::AccessClaims;
use crate::auth::{Actor, Staff, binding, keys};
use crate::clock::Timestamp;
use crate::db;
use crate::error::Error;
use crate::ids::{OrgId, SessionId};
use crate::join;
use crate::join::context::Context;
use crate::join::session::Seat;
use crate::problem::Code;

/// Holds an AccessToken after a staff login.
pub const STAFF_COOKIE: &str = "__Host-anteroom_staff";

/// Holds a [`SessionToken`] after a redeem.
pub const SESSION_COOKIE: &str = "__Host-anteroom_session";

/// The credential for one participant of one visit. The secret is random; the database has its hash.
#[derive(Clone, Debug)]
pub struct SessionToken {
    /// Whose rows to look in.
    pub org: OrgId,
    /// Which row.
    pub session: SessionId,
    secret: Redacted<[u8; 32]>,
}

impl SessionToken {
    /// A fresh one.
    #[must_use]
    pub fn random(org: OrgId) -> Self {
        Self { org, session: SessionId::random(), secret: Redacted::new(rand::random()) }
    }

    /// This secret for another session.
    #[must_use]
    pub fn for_session(self, session: SessionId) -> Self {
        Self { session, ..self }
    }

    /// What the database keeps. The secret is 256 random bits: a plain hash gives nothing away.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.reveal()).into()
    }

    /// The cookie's value: base64url of organisation, session and secret.
    #[must_use]
    pub fn to_cookie_value(&self) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(self.org.as_uuid().as_bytes());
        bytes.extend_from_slice(self.session.as_uuid().as_bytes());
        bytes.extend_from_slice(self.secret.reveal());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cookie's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 86 {
            return None;
        }
        let bytes: [u8; 64] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (org, rest) = bytes.split_first_chunk::<16>()?;
        let (session, secret) = rest.split_first_chunk::<16>()?;
        Some(Self {
            org: OrgId::from_uuid(Uuid::from_bytes(*org)),
            session: SessionId::from_uuid(Uuid::from_bytes(*session)),
            secret: Redacted::new(secret.try_into().ok()?),
        })
    }
}

/// Somebody with a credential that holds. The staff credential wins where a browser has both.
#[derive(Clone, Debug)]
pub struct Caller(pub Actor);

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        // Whoever declared access to the route has found them already.
        if let Some(found) = parts.extensions.get::<Self>() {
            return Ok(found.clone());
        }
        let now = app.clock.now();
        if parts.headers.contains_key(header::AUTHORIZATION) {
            // Whoever shows a bearer is judged by it, whatever cookies came along.
            let staff = bearer(&parts.headers).and_then(|token| staff_from(app, token, now));
            return staff.map(|staff| Self(Actor::Staff(staff))).ok_or_else(|| Code::Unauthenticated.into());
        }
        if let Some(staff) = staff(app, &parts.headers) {
            return Ok(Self(Actor::Staff(staff)));
        }
        let Some(seat) = seat(app, &parts.headers).await? else { return Err(Code::Unauthenticated.into()) };
        let proved = binding::proved(parts, now, None);
        let context = Context::of_parts(parts, app).await?;
        match binding::hold(app, seat, proved.as_ref(), &context).await? {
            Some(attendee) => Ok(Self(Actor::Attendee(attendee))),
            None => Err(Code::Unauthenticated.into()),
        }
    }
}

/// The holder of an AccessToken, shown as bearer or as staff cookie.
#[derive(Clone, Debug)]
pub struct StaffCaller(pub Staff);

impl FromRequestParts<App> for StaffCaller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        staff(app, &parts.headers).map(Self).ok_or_else(|| Code::Unauthenticated.into())
    }
}

/// The staff member of a request, by bearer or else by cookie. The WebSocket asks this when it is opened with `?visit=`.
#[must_use]
pub fn staff(app: &App, headers: &HeaderMap) -> Option<Staff> {
    let now = app.clock.now();
    if headers.contains_key(header::AUTHORIZATION) {
        return staff_from(app, bearer(headers)?, now);
    }
    staff_from(app, cookie(headers, STAFF_COOKIE)?, now)
}

/// The session of a request, by its cookie. Whether it may be used from there is [`binding::hold`]'s to say.
///
/// # Errors
/// When the database fails; a session that does not hold is `None`.
pub async fn seat(app: &App, headers: &HeaderMap) -> Result<Option<Seat>, Error> {
    let Some(token) = session_token(headers) else { return Ok(None) };
    let now = app.clock.now();
    db::scoped(&app.db, token.org, async |tx| join::session::find_live(tx, &token, now).await).await
}

/// The session cookie, as far as it can be one.
#[must_use]
pub fn session_token(headers: &HeaderMap) -> Option<SessionToken> {
    cookie(headers, SESSION_COOKIE).and_then(SessionToken::parse)
}

/// Checks an AccessToken at `now`.
#[must_use]
pub fn staff_from(app: &App, token: &str, now: Timestamp) -> Option<Staff> {
    let claims: AccessClaims = app.keys.open(token)?;
    if !keys::holds(&claims, now) || claims.sub.is_empty() || claims.sub.len() > 200 {
        return None;
    }
    Some(Staff {
        org: OrgId::from_uuid(claims.org),
        sub: claims.sub,
        role: claims.role,
        name: claims.name.map(Redacted::new),
        expires_at: Timestamp::from_unix_timestamp(claims.exp).ok()?,
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of one cookie. A name that comes twice counts as absent: one of the two was planted.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(key, value)| (key == name).then_some(value));
    match (found.next(), found.next()) {
        (Some(value), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// Whether the request carries a credential by cookie.
#[must_use]
pub fn has_our_cookie(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::COOKIE)
        .iter()
        .any(|line| line.as_bytes().windows(STAFF_PREFIX.len()).any(|window| window == STAFF_PREFIX.as_bytes()))
}

/// What both our cookies' names begin with.
const STAFF_PREFIX: &str = "__Host-anteroom_";

/// A `Set-Cookie` that no script can read and no other site can send; `None` ends the cookie.
///
/// # Errors
/// When the value has characters that no header can hold, which would be a defect.
pub fn set_cookie(name: &str, value: Option<(&str, Timestamp)>, now: Timestamp) -> Result<HeaderValue, Error> {
    let (value, max_age) = match value {
        Some((value, expires_at)) => (value, (expires_at - now).whole_seconds().max(0)),
        None => ("", 0),
    };
    HeaderValue::from_str(&format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; Secure; SameSite=Strict"))
        .map_err(|_| Error::Inside("a cookie's value is not header-safe".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_tokens_round_trip_and_hide_their_secret() {
        let token = SessionToken::random(OrgId::random());
        let text = token.to_cookie_value();
        let read = SessionToken::parse(&text).unwrap();
        assert_eq!((read.org, read.session, read.secret_hash()), (token.org, token.session, token.secret_hash()));
        assert!(format!("{token:?}").contains("[redacted]"));
        assert!(SessionToken::parse(&text[1..]).is_none());
        assert!(SessionToken::parse(&"=".repeat(86)).is_none());
    }

    #[test]
    fn a_planted_second_cookie_voids_both() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1; __Host-anteroom_session=x"));
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("x"));
        assert!(has_our_cookie(&headers));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-anteroom_session=y"));
        assert_eq!(cookie(&headers, SESSION_COOKIE), None);
    }
}
