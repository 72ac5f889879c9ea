//! Playback: decrypted bytes of one artefact, by ranges, to the person who was granted it.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use sha2::{Digest, Sha256};
use time::Duration;
use vault::{ObjectName, SealedObject, WrappedKey};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::StaffCaller;
use crate::auth::{Actor, Permission};
use crate::db;
use crate::error::{Error, Result};
use crate::problem::Code;
use crate::recording::store::{self, Grant, Playable};

/// How soon after the grant playback must begin.
pub(crate) const START_WITHIN: Duration = Duration::seconds(60);

/// How long after the grant bytes are given.
const VALID_FOR: Duration = Duration::minutes(10);

/// Plain bytes read, decrypted and sent at once. A player that goes away costs at most this.
const PIECE: u64 = 512 * 1024;

/// The longest `Range` header that is read.
const MAX_RANGE_HEADER: usize = 100;

/// `GET /api/playback/{grant}`.
///
/// # Errors
/// `NOT_FOUND` for a grant that is unknown, over, or another person's; `RANGE_NOT_SATISFIABLE`.
pub async fn play(
    State(app): State<App>,
    StaffCaller(staff): StaffCaller,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>> {
    let actor = Actor::Staff(staff);
    let grant = find_grant(&app, &actor, &secret).await?;
    let playable = begin(&app, &actor, &grant).await?;
    let artefact = playable.manifest.artefacts.iter().find(|a| a.name == grant.artefact);
    let artefact = artefact.ok_or_else(|| Error::from(Code::NotFound))?;
    let object = open(&app, &grant, &playable).await?;
    let size = object.plain_size();
    let (status, range) = match find_range(&headers, size) {
        Wanted::All => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let mut refused = Code::RangeNotSatisfiable.problem().into_response();
            refused.headers_mut().insert(header::CONTENT_RANGE, header_value(format!("bytes */{size}"))?);
            return Ok(refused);
        }
    };
    let mut response = Response::new(Body::from_stream(pieces(object, range.clone())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header_value(artefact.mime.clone())?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        headers.insert(header::CONTENT_RANGE, header_value(format!("bytes {}-{last}/{size}", range.start))?);
    }
    Ok(response)
}

async fn find_grant(app: &App, actor: &Actor, secret: &str) -> Result<Grant> {
    actor.require(Permission::PlayRecordings)?;
    let not_found = || Error::from(Code::NotFound);
    let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| not_found())?;
    let hash: [u8; 32] = Sha256::digest(&secret).into();
    let (now, id) = (app.now(), actor.id());
    let found = db::scoped(&app.db, actor.org(), async |tx| store::find_grant(tx, &hash, &id, now).await).await?;
    found.ok_or_else(not_found)
}

/// The Recording behind a grant. The first use makes the grant last, and is audited.
async fn begin(app: &App, actor: &Actor, grant: &Grant) -> Result<Playable> {
    let org = actor.org();
    let playable = db::scoped(&app.db, org, async |tx| store::get_playable(tx, grant.recording).await).await?;
    actor.require_on(Permission::PlayRecordings, playable.visit, &playable.clinician_id)?;
    let begun = Grant { expires_at: grant.created_at + VALID_FOR, ..grant.clone() };
    if grant.expires_at >= begun.expires_at {
        return Ok(playable);
    }
    let visit = playable.visit;
    let begin = db::audited(&app.db, org, actor, async |tx| {
        if !store::replace_grant(tx, org, &begun).await? {
            return Err(Error::from(Code::InvalidTransition));
        }
        let draft = Draft::new(EventType::RecordingAccessed).visit(visit).subject("recording", begun.recording);
        Ok(((), vec![draft.because("PLAYBACK_STARTED")]))
    });
    match begin.await {
        // A player asks for several ranges at once: another request of the same grant was first.
        Ok(()) | Err(Error::Refused(_)) => Ok(playable),
        Err(error) => Err(error),
    }
}

async fn open(app: &App, grant: &Grant, playable: &Playable) -> Result<SealedObject> {
    let inside = |what: &str, error: &dyn std::fmt::Display| Error::Inside(format!("playback, {what}: {error}"));
    let wrapped = WrappedKey { kek_id: playable.kek_id.clone(), bytes: playable.dek_wrapped.clone() };
    let context = vault::keys::recording_context(grant.recording);
    let vault = app.config.vault.as_ref().ok_or_else(|| Error::from(Code::Unavailable))?;
    let key = vault.keys.unwrap(&wrapped, &context).await.map_err(|e| inside("key", &e))?;
    let name = ObjectName::new(grant.recording, &grant.artefact).map_err(|_| Error::from(Code::NotFound))?;
    SealedObject::open(vault.store.clone(), &name, &key).await.map_err(|e| inside("object", &e))
}

/// The bytes of a range as a body: each piece is read when the one before it was taken.
fn pieces(
    object: SealedObject,
    range: Range<u64>,
) -> impl stream::Stream<Item = std::result::Result<bytes::Bytes, vault::ReadError>> {
    stream::try_unfold((Arc::new(object), range), async |(object, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let piece = object.read_range(range.start..range.end.min(range.start + PIECE)).await?;
        let next = range.start + piece.len() as u64..range.end;
        Ok(Some((piece, (object, next))))
    })
}

/// What a request wants of an artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    /// A range that the artefact does not reach.
    Nothing,
}

fn find_range(headers: &HeaderMap, size: u64) -> Wanted {
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|v| v.to_str().ok()), ranges.next()) {
        (Some(text), None) => parse_range(text, size),
        _ => Wanted::All,
    }
}

/// Reads one byte range (RFC 9110, section 14.1.2). What is not one is ignored, as that section allows; so are several.
fn parse_range(text: &str, size: u64) -> Wanted {
    let parts = text.strip_prefix("bytes=").filter(|_| text.len() <= MAX_RANGE_HEADER).and_then(|r| r.split_once('-'));
    let Some((first, last)) = parts.map(|(first, last)| (first.trim(), last.trim())) else { return Wanted::All };
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    // Beyond u64 is beyond any artefact.
    let number = |s: &str| s.parse::<u64>().unwrap_or(u64::MAX);
    let range = match (first, last) {
        ("", last) if is_number(last) => size.saturating_sub(number(last))..size,
        (first, "") if is_number(first) => number(first)..size,
        (first, last) if is_number(first) && is_number(last) => {
            let (first, last) = (number(first), number(last));
            if last < first {
                return Wanted::All;
            }
            first..last.saturating_add(1).min(size)
        }
        _ => return Wanted::All,
    };
    if range.start >= range.end { Wanted::Nothing } else { Wanted::Part(range) }
}

fn header_value(text: String) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|_| Error::Inside("a header's value is not header-safe".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_read_as_the_rfc_says() {
        for (text, wanted) in [
            ("bytes=0-499", Wanted::Part(0..500)),
            ("bytes=500-999", Wanted::Part(500..1000)),
            ("bytes=-500", Wanted::Part(9500..10_000)),
            ("bytes=9500-", Wanted::Part(9500..10_000)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..10_000)),
            ("bytes=-99999", Wanted::Part(0..10_000)),
            ("bytes=10000-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=2-1", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("items=0-1", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(parse_range(text, 10_000), wanted, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Nothing);
    }

    proptest! {
        #[test]
        fn a_part_lies_inside(text in "bytes=[0-9]{0,21}-[0-9]{0,21}|.{0,40}", size in 0u64..100_000) {
            if let Wanted::Part(range) = parse_range(&text, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
