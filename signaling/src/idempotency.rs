//! `Idempotency-Key`: a POST that was sent twice is done once. The same key with the same request gets the same answer for a day; with
//! another request it is refused. One layer does this for every route of a signed-in caller.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use time::Duration;

use crate::app::App;
use crate::auth::Actor;
use crate::auth::extract::Caller;
use crate::body::MAX_BODY;
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::problem::Code;

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer is the first one again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// For so long a key is remembered.
const KEPT: Duration = Duration::hours(24);

/// A request that has not been answered for so long was lost with its process. Longer than any request may take.
const LOST_AFTER: Duration = Duration::seconds(60);

/// The longest answer that is kept, in bytes.
const MAX_ANSWER: usize = 128 * 1024;

/// What the sealed answers are for.
const PURPOSE: &[u8] = b"idempotent answer v1";

/// A request by which it is known again.
#[derive(Clone, Copy, Debug)]
struct Asked {
    org: OrgId,
    key_hash: [u8; 32],
    request_hash: [u8; 32],
}

/// What is known of a key.
#[derive(Debug)]
enum Claim {
    /// Nothing: the request is this one's to do.
    Ours,
    /// It was done.
    Answered { status: i16, sealed: Vec<u8> },
    /// It is being done.
    UnderWay,
    /// Another request had this key.
    Reused,
}

/// Does a POST with a key once. Without a key, and for callers without a credential, it changes nothing.
///
/// # Errors
/// `MALFORMED` for a key that is none; `IDEMPOTENCY_KEY_REUSED`, `IDEMPOTENCY_IN_FLIGHT`; the database's own failures.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Result<Response> {
    if request.method() != Method::POST || !request.headers().contains_key(HEADER) {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let Ok(caller) = Caller::from_request_parts(&mut parts, &app).await else {
        // The route says what a stranger gets.
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let key = read_key(&parts.headers)?;
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| Error::from(Code::TooLarge))?;
    let place = parts.uri.path_and_query().map(|place| place.as_str()).unwrap_or_default();
    let asked = Asked {
        org: caller.0.org(),
        key_hash: app.keys.lookup_hash(&format!("{} {key}", who(&caller.0))),
        request_hash: Sha256::new()
            .chain_update(place.len().to_be_bytes())
            .chain_update(place)
            .chain_update(&body)
            .finalize()
            .into(),
    };
    match claim(&app, asked, app.now()).await? {
        Claim::Ours => {}
        Claim::Answered { status, sealed } => return replay(&app, asked, status, &sealed),
        Claim::UnderWay => return Err(Code::IdempotencyInFlight.into()),
        Claim::Reused => return Err(Code::IdempotencyKeyReused.into()),
    }
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    // Only what was done is kept: a refusal can be tried again. A cookie is a credential, and is given once.
    if !response.status().is_success() || response.headers().contains_key(header::SET_COOKIE) {
        release(&app, asked).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let answer = to_bytes(body, MAX_ANSWER).await;
    let answer = answer.map_err(|_| Error::Inside("an answer is too long to be kept".to_owned()))?;
    let sealed = app.keys.seal(PURPOSE, &asked.key_hash, &answer)?;
    settle(&app, asked, parts.status, &sealed).await?;
    Ok(Response::from_parts(parts, Body::from(answer)))
}

/// Whose key it is: the same key of two people is two keys.
fn who(actor: &Actor) -> String {
    let kind = match actor {
        Actor::Attendee(_) => "participant",
        _ => "staff",
    };
    format!("idempotency {kind} {}", actor.id())
}

fn read_key(headers: &HeaderMap) -> Result<String> {
    let mut found = headers.get_all(HEADER).iter();
    let key = match (found.next(), found.next()) {
        (Some(key), None) => key.to_str().ok(),
        _ => None,
    };
    let key = key.filter(|key| (1..=200).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let unreadable = || Code::Malformed.with("Idempotency-Key must be one word of 1 to 200 visible characters.").into();
    key.map(ToOwned::to_owned).ok_or_else(unreadable)
}

fn replay(app: &App, asked: Asked, status: i16, sealed: &[u8]) -> Result<Response> {
    let answer = app.keys.unseal(PURPOSE, &asked.key_hash, sealed)?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// Takes the key, unless somebody has it: two at once meet in one insertion.
async fn claim(app: &App, asked: Asked, now: Timestamp) -> Result<Claim> {
    db::measured(&app.db, asked.org, async |tx| {
        let ours = sqlx::query!(
            "INSERT INTO idempotency_key AS k (org_id, key_hash, request_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (org_id, key_hash) DO UPDATE
                 SET request_hash = excluded.request_hash, status = NULL, sealed_answer = NULL, created_at = excluded.created_at,
                     expires_at = excluded.expires_at
                 WHERE k.expires_at <= $4 OR (k.status IS NULL AND k.created_at <= $6 AND k.request_hash = $3)
             RETURNING org_id",
            asked.org.as_uuid(),
            asked.key_hash.as_slice(),
            asked.request_hash.as_slice(),
            now,
            now + KEPT,
            now - LOST_AFTER,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if ours.is_some() {
            return Ok(Claim::Ours);
        }
        let row = sqlx::query!(
            "SELECT request_hash, status, sealed_answer FROM idempotency_key WHERE key_hash = $1",
            asked.key_hash.as_slice()
        )
        .fetch_optional(&mut *tx)
        .await?;
        Ok(match row {
            Some(row) if row.request_hash != asked.request_hash => Claim::Reused,
            Some(row) => match (row.status, row.sealed_answer) {
                (Some(status), Some(sealed)) => Claim::Answered { status, sealed },
                _ => Claim::UnderWay,
            },
            // Released this moment: the next try has it.
            None => Claim::UnderWay,
        })
    })
    .await
}

async fn settle(app: &App, asked: Asked, status: StatusCode, sealed: &[u8]) -> Result<()> {
    let status = i16::try_from(status.as_u16()).unwrap_or(200);
    db::measured(&app.db, asked.org, async |tx| {
        sqlx::query!(
            "UPDATE idempotency_key SET status = $3, sealed_answer = $4 WHERE key_hash = $1 AND request_hash = $2 AND status IS NULL",
            asked.key_hash.as_slice(),
            asked.request_hash.as_slice(),
            status,
            sealed,
        )
        .execute(tx)
        .await?;
        Ok(())
    })
    .await
}

async fn release(app: &App, asked: Asked) -> Result<()> {
    db::measured(&app.db, asked.org, async |tx| {
        sqlx::query!(
            "DELETE FROM idempotency_key WHERE key_hash = $1 AND request_hash = $2 AND status IS NULL",
            asked.key_hash.as_slice(),
            asked.request_hash.as_slice(),
        )
        .execute(tx)
        .await?;
        Ok(())
    })
    .await
}

/// Forgets the keys whose day is over, of every organisation. Gives how many.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn forget_old(app: &App, now: Timestamp) -> Result<u64> {
    let mut tx = app.db.pool().begin().await?;
    let before = now.format(&time::format_description::well_known::Rfc3339);
    let before = before.map_err(|_| Error::Inside("a time has no form".to_owned()))?;
    sqlx::query!("SELECT set_config('app.sweep_keys_before', $1, true) AS set", before).fetch_one(&mut *tx).await?;
    let gone = sqlx::query!("DELETE FROM idempotency_key WHERE expires_at < $1", now).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(gone.rows_affected())
}
