//! Rows 20 and 21: a session's recording. That a caller says `consent: true` is no consent: the people's own stored answers decide.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::OptionalBody;
use crate::error::Result;
use crate::recording::command;
use crate::recording::http::{Empty, StartBody};
use crate::superset::Shape;
use crate::telehealth::session;

/// `POST /api/v1/telehealth/sessions/{id}/recording/start`.
///
/// # Errors
/// `CONSENT_REQUIRED` with `missing`, also when the caller says that there is none; `ALREADY_RECORDING`; `FORBIDDEN` for a visit that may
/// not be recorded.
pub async fn start(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<StartBody>,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::StartRecording, &id).await?;
    shape.reply(StatusCode::ACCEPTED, &command::start(&app, &actor, visit.id, body.consent).await?)
}

/// `POST /api/v1/telehealth/sessions/{id}/recording/stop`: anybody inside may.
///
/// # Errors
/// `NOT_RECORDING`.
pub async fn stop(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(Empty {}): OptionalBody<Empty>,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::StopRecording, &id).await?;
    shape.reply(StatusCode::OK, &command::stop(&app, &actor, visit.id).await?)
}

/// `GET /api/v1/telehealth/sessions/{id}/recordings`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::PlayRecordings, &id).await?;
    shape.reply(StatusCode::OK, &command::list(&app, &actor, visit.id).await?)
}
