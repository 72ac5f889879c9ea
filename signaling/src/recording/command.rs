//! What is asked of recordings from outside a room. A refusal for want of consent is written down too.

use schemars::JsonSchema;
use serde::Serialize;
use wire::{RecordingId, VisitId};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::{Actor, Permission};
use crate::db;
use crate::error::{Error, Result};
use crate::live::nobody_here;
use crate::problem::{Code, Problem};
use crate::recording::{RecordingStatus, RecordingView, store};
use crate::visit;

/// Starts a recording of everyone inside. `attested` is the caller's word that people agreed: a no refuses, a yes decides nothing, because
/// stored consents alone count.
///
/// # Errors
/// `CONSENT_REQUIRED` with `missing`, `ALREADY_RECORDING`, `FORBIDDEN` where the visit may not be recorded.
pub async fn start(app: &App, actor: &Actor, visit: VisitId, attested: Option<bool>) -> Result<RecordingView> {
    require(app, actor, Permission::StartRecording, visit).await?;
    let room = app.live.find(visit);
    let started = match (&room, attested) {
        (None, _) => Err(nobody_here()),
        (Some(room), Some(false)) => Err(match room.may_capture().await {
            Err(problem) => problem,
            Ok(()) => Code::ConsentRequired.problem().member("missing", Vec::<String>::new()),
        }),
        (Some(room), _) => room.start_recording(actor.clone()).await,
    };
    match started {
        Ok(recording) => view(app, actor, visit, recording).await,
        Err(problem) => {
            note_refusal(app, actor, visit, &problem).await?;
            Err(problem.into())
        }
    }
}

async fn note_refusal(app: &App, actor: &Actor, visit: VisitId, problem: &Problem) -> Result<()> {
    if problem.code != Code::ConsentRequired {
        return Ok(());
    }
    let draft = Draft::new(EventType::RecordingRefused).visit(visit).failed("CONSENT_REQUIRED");
    db::audited(&app.db, actor.org(), actor, async |_| Ok::<_, Error>(((), vec![draft]))).await
}

/// Stops the recording that runs.
///
/// # Errors
/// `NOT_RECORDING`, `FORBIDDEN`, `NOT_FOUND`.
pub async fn stop(app: &App, actor: &Actor, visit: VisitId) -> Result<RecordingView> {
    require(app, actor, Permission::StopRecording, visit).await?;
    let room = app.live.find(visit).ok_or_else(|| Error::from(Code::NotRecording))?;
    let recording = room.stop_recording(actor.clone()).await?;
    view(app, actor, visit, recording).await
}

/// The Recordings of a visit.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecordingList {
    recordings: Vec<RecordingView>,
}

/// A visit's recordings.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn list(app: &App, actor: &Actor, visit: VisitId) -> Result<RecordingList> {
    require(app, actor, Permission::PlayRecordings, visit).await?;
    let recordings = db::scoped(&app.db, actor.org(), async |tx| store::list(tx, visit).await).await?;
    Ok(RecordingList { recordings })
}

async fn require(app: &App, actor: &Actor, permission: Permission, visit: VisitId) -> Result<()> {
    actor.require(permission)?;
    let found = db::scoped(&app.db, actor.org(), async |tx| visit::store::get(tx, visit).await).await?;
    actor.require_for(permission, &found)
}

async fn view(app: &App, actor: &Actor, visit: VisitId, recording: RecordingId) -> Result<RecordingView> {
    let found = db::scoped(&app.db, actor.org(), async |tx| store::find(tx, visit, recording).await).await?;
    found.ok_or_else(|| Error::Inside(format!("a recording is not {} any more", RecordingStatus::Requested.as_str())))
}
