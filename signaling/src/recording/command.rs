//! What is asked of recordings from outside a room. A refusal for want of consent is written down too.

use wire::{RecordingId, VisitId};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::db;
use crate::error::{Error, Result};
use crate::live::nobody_here;
use crate::problem::{Code, Problem};

/// Starts a recording of everyone inside. `attested` is the caller's word that people agreed: a no refuses, a yes decides nothing, because
/// stored consents alone count. Whether the caller may record this visit is asked before.
///
/// # Errors
/// `CONSENT_REQUIRED` with `missing`, `ALREADY_RECORDING`, `FORBIDDEN` where the visit may not be recorded.
pub async fn start(app: &App, actor: &Actor, visit: VisitId, attested: Option<bool>) -> Result<RecordingId> {
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
        Ok(recording) => Ok(recording),
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
