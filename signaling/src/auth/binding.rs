//! A session is its secret and its key together: whoever has the cookie alone has nothing. A change of network or browser is noted, and
//! ends the session only where there is no key, or where the organisation wants it to.

use axum::extract::OriginalUri;
use axum::http::request::Parts;
use proof::{Expected, Fresh, Thumbprint};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::{Actor, Attendee};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::join::context::Context;
use crate::join::session::{self, Seat};
use crate::organization;

/// The header of a request's proof (RFC 9449).
pub const PROOF_HEADER: &str = "dpop";

/// The key that a request proves, if its proof is one. `secret` is what the proof has to go with.
#[must_use]
pub fn proved(parts: &Parts, now: Timestamp, secret: Option<&str>) -> Option<Thumbprint> {
    let mut headers = parts.headers.get_all(PROOF_HEADER).iter();
    let (Some(proof), None) = (headers.next(), headers.next()) else { return None };
    let path = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.path(), |uri| uri.0.path());
    let fresh = Fresh::Around(now.unix_timestamp());
    proof::verify(proof.to_str().ok()?, &Expected { method: parts.method.as_str(), path, fresh, secret })
}

/// Whether a session may be used by who proved `key` and comes from `context`; then it is seen to live. `None` is a refusal, which is
/// audited once in five minutes.
///
/// # Errors
/// The database's own failures.
pub async fn hold(app: &App, seat: Seat, key: Option<&Thumbprint>, context: &Context) -> Result<Option<Attendee>> {
    let now = app.now();
    let org = seat.attendee.org;
    if seat.key.is_some() && seat.key.as_ref() != key {
        refuse(app, &seat, EventType::AccessDenied, "KEY_NOT_PROVED").await?;
        return Ok(None);
    }
    let moved = seat.context.as_ref().is_some_and(|before| before != context);
    if moved {
        let is_strict = seat.key.is_none()
            || db::scoped(&app.db, org, async |tx| organization::settings(tx, org).await).await?.strict_binding;
        if is_strict {
            refuse(app, &seat, EventType::TokenContextMismatch, "CONTEXT_CHANGED").await?;
            return Ok(None);
        }
        let (visit, id) = (seat.attendee.visit, seat.attendee.session);
        db::audited(&app.db, org, &Actor::Attendee(seat.attendee.clone()), async |tx| {
            session::touch(tx, id, Some(context), now).await?;
            let event = Draft::new(EventType::TokenContextMismatch).visit(visit).subject("session", id.as_uuid());
            Ok::<_, Error>(((), vec![event.because("KEY_PROVED")]))
        })
        .await?;
    } else if seat.is_stale(now) {
        let id = seat.attendee.session;
        db::measured(&app.db, org, async |tx| session::touch(tx, id, Some(context), now).await).await?;
    }
    Ok(Some(seat.attendee))
}

async fn refuse(app: &App, seat: &Seat, event: EventType, why: &'static str) -> Result<()> {
    let (org, visit) = (seat.attendee.org, seat.attendee.visit);
    // Whoever holds a stolen cookie is not the participant; the session is what the event is about.
    let actor = Actor::Anonymous { org };
    tracing::warn!(visit_id = ?visit, participant_id = ?seat.attendee.participant, why, "a session was used by somebody it is not bound to");
    app.metrics.note_stolen_session();
    if !app.denials.is_new(&Actor::Attendee(seat.attendee.clone()), Some(visit), app.now()) {
        return Ok(());
    }
    let session = seat.attendee.session.as_uuid();
    db::audited(&app.db, org, &actor, async |_| {
        Ok::<_, Error>(((), vec![Draft::new(event).visit(visit).subject("session", session).failed(why)]))
    })
    .await
}
