//! `/healthz`, `/readyz` and the public keys.

pub mod probe;
pub(crate) mod watch;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::control::Command;
use wire::ids::RoomId;

use crate::app::App;
use crate::audit::spool::Spool;
use crate::drain;
use crate::error::Result;
use crate::problem::Code;

/// How long each part has to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How old the last backup may be before readiness warns.
const BACKUP_WITHIN: Duration = Duration::from_secs(48 * 60 * 60);

/// The process runs.
pub async fn live() -> &'static str {
    "ok\n"
}

/// Visits can be taken: the database and the media node answer, and nobody asked us to stop.
///
/// # Errors
/// `UNAVAILABLE`, naming what is away.
pub async fn ready(State(app): State<App>) -> Result<Response> {
    if app.stop.is_cancelled() || app.live.is_draining() {
        return Err(drain::come_back().into());
    }
    if !matches!(tokio::time::timeout(PATIENCE, app.db.ping()).await, Ok(Ok(()))) {
        let spooled = app.config.spool.as_ref().map_or(0, Spool::len);
        let problem =
            Code::Unavailable.with("The database does not answer. Running visits go on; new ones cannot begin.");
        return Err(problem.member("spooled", spooled).into());
    }
    // Closing a room that is not there changes nothing and is always answered.
    let probe = app.sfu.request(Command::CloseRoom { room: RoomId::random() });
    if !matches!(tokio::time::timeout(PATIENCE, probe).await, Ok(Ok(_))) {
        return Err(Code::Unavailable.with("The media node does not answer.").into());
    }
    let backup = app.config.backup_stamp.as_deref().map(|stamp| match watch::backup(stamp, app.now()) {
        Some((_, age)) if age < BACKUP_WITHIN => "ok",
        Some(_) => "older than 48 hours",
        None => "none is known",
    });
    Ok(Json(Readiness { database: "ok", sfu: "ok", backup }).into_response())
}

/// What a load balancer and a person are told.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// `ok`.
    pub database: &'static str,
    /// `ok`: the media node.
    pub sfu: &'static str,
    /// Where its age is watched: `ok`, or a warning. Visits are taken all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<&'static str>,
}

/// The keys that our tokens verify with (RFC 7517).
pub async fn jwks(State(app): State<App>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(app.keys.jwks())).into_response()
}
