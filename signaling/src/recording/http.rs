//! HTTP of Recordings: start, stop, list, and the grant to play.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use wire::{RecordingId, VisitId};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::{Caller, StaffCaller};
use crate::auth::{Actor, Permission};
use crate::body::{Body, Id, OptionalBody};
use crate::db;
use crate::error::{Error, Result};
use crate::problem::Code;
use crate::recording::RecordingView;
use crate::recording::command::{self, RecordingList};
use crate::recording::playback::START_WITHIN;
use crate::recording::store::{self, Grant};

/// What start may be told.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartBody {
    /// The caller's word that everybody agreed. A no refuses; a yes decides nothing: stored consents alone count.
    pub(crate) consent: Option<bool>,
}

/// The empty body of stop.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// `POST /api/visits/{id}/recording/start`.
///
/// # Errors
/// `CONSENT_REQUIRED` with `missing`, `ALREADY_RECORDING`, `FORBIDDEN`, `NOT_FOUND`.
pub async fn start(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(visit): Id<VisitId>,
    OptionalBody(body): OptionalBody<StartBody>,
) -> Result<(StatusCode, Json<RecordingView>)> {
    Ok((StatusCode::ACCEPTED, Json(command::start(&app, &actor, visit, body.consent).await?)))
}

/// `POST /api/visits/{id}/recording/stop`.
///
/// # Errors
/// `NOT_RECORDING`, `FORBIDDEN`, `NOT_FOUND`.
pub async fn stop(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(visit): Id<VisitId>,
    OptionalBody(Empty {}): OptionalBody<Empty>,
) -> Result<Json<RecordingView>> {
    Ok(Json(command::stop(&app, &actor, visit).await?))
}

/// `GET /api/visits/{id}/recordings`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(visit): Id<VisitId>,
) -> Result<Json<RecordingList>> {
    Ok(Json(command::list(&app, &actor, visit).await?))
}

/// What somebody wants to play.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaybackRequest {
    artefact: String,
}

/// Where to play it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaybackGrant {
    url: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    expires_at: OffsetDateTime,
}

/// `POST /api/recordings/{rid}/playback`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`: also for a Recording that is not stored and an artefact that it does not have.
pub async fn grant(
    State(app): State<App>,
    StaffCaller(staff): StaffCaller,
    Id(recording): Id<RecordingId>,
    Body(request): Body<PlaybackRequest>,
) -> Result<Json<PlaybackGrant>> {
    let actor = Actor::Staff(staff);
    actor.require(Permission::PlayRecordings)?;
    let now = app.now();
    let secret: [u8; 32] = rand::random();
    let grant = Grant {
        recording,
        artefact: request.artefact,
        secret_hash: Sha256::digest(secret).into(),
        granted_to: actor.id(),
        expires_at: now + START_WITHIN,
        created_at: now,
    };
    let org = actor.org();
    db::audited(&app.db, org, &actor, async |tx| {
        let playable = store::get_playable(tx, recording).await?;
        actor.require_on(Permission::PlayRecordings, playable.visit, &playable.clinician_id)?;
        if !playable.manifest.artefacts.iter().any(|a| a.name == grant.artefact) {
            return Err(Error::from(Code::NotFound));
        }
        store::insert_grant(tx, org, &grant).await?;
        let draft = Draft::new(EventType::RecordingAccessed).visit(playable.visit).subject("recording", recording);
        Ok(((), vec![draft.because("PLAYBACK_GRANTED")]))
    })
    .await?;
    let url = format!("/api/playback/{}", URL_SAFE_NO_PAD.encode(secret));
    Ok(Json(PlaybackGrant { url, expires_at: grant.expires_at }))
}
