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
use crate::auth::{Actor, Assurance, Credential, Staff, binding, keys};
use crate::clock::Timestamp;
use crate::db;
use crate::error::Error;
use crate::identity::{self, Person, jwt, session};
use crate::ids::{OrgId, SessionId};
use crate::join;
use crate::join::context::Context;
use crate::join::session::Seat;
use crate::problem::Code;
use crate::service_token;

/// Holds a [`SessionToken`] of a staff session.
pub const STAFF_COOKIE: &str = "__Host-anteroom_staff";

/// A page's own timer says so by this header: such a request is no sign that anybody is there.
const BACKGROUND: &str = "x-anteroom-background";

/// Holds a [`SessionToken`] after a redeem.
pub const SESSION_COOKIE: &str = "__Host-anteroom_session";

/// A session's name and secret: of a participant of one visit, or of staff. The secret is random; the database has its hash.
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
        if parts.headers.contains_key(header::AUTHORIZATION) {
            // Whoever shows a bearer is judged by it, whatever cookies came along.
            let Some(token) = bearer(&parts.headers) else { return Err(Code::Unauthenticated.into()) };
            if token.starts_with(service_token::PREFIX) {
                let service = service_token::find(app, token).await?;
                return service
                    .map(|service| Self(Actor::Service(service)))
                    .ok_or_else(|| Code::Unauthenticated.into());
            }
            let staff = by_bearer(app, token).await?;
            return staff.map(|staff| Self(Actor::Staff(staff))).ok_or_else(|| Code::Unauthenticated.into());
        }
        if let Some(staff) = staff(app, &parts.headers).await? {
            return Ok(Self(Actor::Staff(staff)));
        }
        let Some(seat) = seat(app, &parts.headers).await? else { return Err(Code::Unauthenticated.into()) };
        let proved = binding::proved(parts, app.clock.now(), None);
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
        match parts.extensions.get::<Caller>() {
            Some(Caller(Actor::Staff(staff))) => return Ok(Self(staff.clone())),
            Some(_) => return Err(Code::Unauthenticated.into()),
            None => {}
        }
        staff(app, &parts.headers).await?.map(Self).ok_or_else(|| Code::Unauthenticated.into())
    }
}

/// The staff member of a request, by bearer or else by session cookie. The WebSocket asks this when it is opened with `?visit=`.
///
/// # Errors
/// When the database fails; a credential that does not hold is `None`.
pub async fn staff(app: &App, headers: &HeaderMap) -> Result<Option<Staff>, Error> {
    if headers.contains_key(header::AUTHORIZATION) {
        let Some(token) = bearer(headers) else { return Ok(None) };
        return by_bearer(app, token).await;
    }
    match cookie(headers, STAFF_COOKIE).and_then(SessionToken::parse) {
        Some(token) => session::find(app, &token, headers.contains_key(BACKGROUND)).await,
        None => Ok(None),
    }
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

/// A bearer that holds: who it is of, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// Who.
    pub person: Person,
    /// Its `jti`.
    pub token_id: Option<String>,
    /// Its `iat`; the beginning of time where it says none, so that any revocation is later.
    pub issued_at: Timestamp,
    /// Its `exp`.
    pub expires_at: Timestamp,
}

/// Checks an AccessToken: our own, or else one of the provider. Whether it was revoked, the database says: see [`by_bearer`].
///
/// # Errors
/// `UNAVAILABLE` while the provider's keys cannot be had.
pub async fn vouched(app: &App, token: &str) -> Result<Option<Vouched>, Error> {
    let now = app.clock.now();
    let at = |seconds: i64| Timestamp::from_unix_timestamp(seconds).ok();
    if let Some(claims) = app.keys.open::<AccessClaims>(token) {
        let fits = keys::holds(&claims, now) && !claims.sub.is_empty() && claims.sub.len() <= 200;
        let Some(expires_at) = at(claims.exp).filter(|_| fits) else { return Ok(None) };
        let mfa_at = claims.mfa_at.and_then(at);
        return Ok(Some(Vouched {
            person: Person {
                org: OrgId::from_uuid(claims.org),
                sub: claims.sub,
                role: claims.role,
                name: claims.name.map(|name| Redacted::new(name.chars().take(100).collect())),
                has_mfa: mfa_at.is_some(),
                auth_at: mfa_at,
            },
            token_id: Some(claims.jti.to_string()),
            issued_at: at(claims.iat).unwrap_or(Timestamp::UNIX_EPOCH),
            expires_at,
        }));
    }
    let Some(provider) = &app.provider else { return Ok(None) };
    let Some(audience) = &provider.config().audience else { return Ok(None) };
    let Ok(claims) = provider.check(token, (audience, jwt::ACCESS_TYPES), now).await? else { return Ok(None) };
    let Ok(person) = identity::person(provider.config(), &claims) else { return Ok(None) };
    let seconds = |name: &str| claims.get(name).and_then(serde_json::Value::as_i64).and_then(at);
    let token_id = claims.get("jti").and_then(serde_json::Value::as_str).filter(|id| id.len() <= 200);
    let Some(expires_at) = seconds("exp") else { return Ok(None) };
    Ok(Some(Vouched {
        person,
        token_id: token_id.map(ToOwned::to_owned),
        issued_at: seconds("iat").unwrap_or(Timestamp::UNIX_EPOCH),
        expires_at,
    }))
}

/// The holder of a bearer that holds and was not revoked.
///
/// # Errors
/// When the database fails; `UNAVAILABLE` while the provider's keys cannot be had.
pub async fn by_bearer(app: &App, token: &str) -> Result<Option<Staff>, Error> {
    let Some(vouched) = vouched(app, token).await? else { return Ok(None) };
    let Vouched { person, token_id, issued_at, expires_at } = vouched;
    let standing = session::standing(app, person.org, (&person.sub, token_id.as_deref()), issued_at).await?;
    Ok(standing.map(|standing| Staff {
        assurance: Assurance::of(person.has_mfa, person.auth_at, standing.is_mfa_asked, app.clock.now()),
        org: person.org,
        sub: person.sub,
        role: person.role,
        name: person.name,
        expires_at,
        credential: Credential::Token { id: token_id, issued_at },
        opened: standing.opened,
    }))
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
