//! A hold: the recording stays although its time is over, for a court, an inquiry, or because the patient asks. The database itself
//! refuses to let a held recording go, whoever tries.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use wire::RecordingId;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::{Body, Id};
use crate::db;
use crate::error::{Error, Result};
use crate::problem::Code;
use crate::recording::{HoldReason, RecordingView, store};

/// Sets a hold or lifts it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldBody {
    /// Whether it is held from now on.
    held: bool,
    /// Why; it belongs to a hold that is set.
    reason: Option<HoldReason>,
}

/// `POST /api/v1/telehealth/recordings/{rid}/hold`. Said again, it changes nothing but the reason.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`; `INVALID` for a hold without a reason.
pub async fn set(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(recording): Id<RecordingId>,
    Body(body): Body<HoldBody>,
) -> Result<Json<RecordingView>> {
    actor.require(Permission::HoldRecording)?;
    let reason = match (body.held, body.reason) {
        (true, None) => return Err(Code::Invalid.with("say the reason of the hold").into()),
        (true, reason) => reason,
        (false, _) => None,
    };
    let now = app.now();
    let view = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let by = actor.id();
        let visit = store::hold(tx, recording, reason.map(|reason| (reason, now, by.as_str()))).await?;
        let kind = if body.held { EventType::RecordingHoldSet } else { EventType::RecordingHoldReleased };
        let mut draft = Draft::new(kind).visit(visit).subject("recording", recording);
        if let Some(reason) = reason {
            draft = draft.because(reason.as_str());
        }
        let view = store::find(tx, visit, recording).await?.ok_or(Error::from(Code::NotFound))?;
        Ok::<_, Error>((view, vec![draft]))
    })
    .await?;
    Ok(Json(view))
}
