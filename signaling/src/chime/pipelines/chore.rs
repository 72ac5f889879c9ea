//! Looks after pipelines: begins captures when somebody is there, ends them when they are to end, and lets their states follow. Woken by
//! what rooms and recorders do, and by a look every few seconds, which also finds what happened on another node.

use std::time::Duration;

use wire::OrderId;

use crate::app::App;
use crate::auth::{self, Actor};
use crate::chime::names::PipelineId;
use crate::chime::pipelines::state::{self, Duty, Reason};
use crate::chime::pipelines::store::{self, Row};
use crate::db;
use crate::error::Result;
use crate::ids::OrgId;
use crate::live::room::StopReason;
use crate::problem::Code;

/// The regular look.
const LOOK: Duration = Duration::from_secs(2);

/// The least time between two looks: what rooms do comes in bursts.
const REST: Duration = Duration::from_millis(50);

/// Pipelines looked at in one turn: more than the quotas of any few organisations.
const MOST: i64 = 10_000;

/// Looks after pipelines until the role stops.
pub(crate) async fn run(app: App) {
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.orders.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        match store::find_open(app.db.pool(), MOST).await {
            Ok(open) => {
                for (org, id) in open {
                    if let Err(error) = look(&app, org, id, None).await {
                        tracing::warn!(pipeline_id = %id, %error, "a pipeline could not be looked after for now");
                    }
                }
            }
            Err(error) => app.db.note_failed_look(&error, "pipelines could not be looked for"),
        }
        tokio::time::sleep(REST).await;
    }
}

/// Lets one pipeline's state follow what is known, and does what is to be done. Comes back when that is written.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn look(app: &App, org: OrgId, id: PipelineId, actor: Option<&Actor>) -> Result<()> {
    // What is done changes what is known: once more, then.
    for _ in 0..2 {
        let now = app.now();
        let settled = db::measured(&app.db, org, async |tx| state::settle(tx, org, id, now).await).await?;
        let Some((row, duty)) = settled else { return Ok(()) };
        if !act(app, org, &row, duty, actor).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// True when something was done.
async fn act(app: &App, org: OrgId, row: &Row, duty: Duty, actor: Option<&Actor>) -> Result<bool> {
    // A room that lives in another process is that one's to look after.
    let Some(room) = app.live.find(row.visit) else { return Ok(false) };
    match duty {
        Duty::Rest | Duty::Join => Ok(false),
        Duty::Stop => {
            let reason = match row.reason {
                Some(Reason::MeetingEnded) => StopReason::VisitEnded,
                Some(Reason::ConsentLost) => StopReason::ConsentLost,
                Some(Reason::Deleted) | None => StopReason::Asked,
            };
            room.end_order(OrderId::from_uuid(row.id.as_uuid()), actor.cloned(), reason).await;
            Ok(true)
        }
        Duty::Start => {
            // Whenever it begins, it is the act of whoever ordered it.
            let actor = Actor::Service(auth::Service { org, id: row.created_by.clone(), grants: auth::Grants::ALL });
            match room.start_order(actor, row.order()?).await {
                Ok(recording) => {
                    tracing::info!(pipeline_id = %row.id, recording_id = %recording, "a pipeline captures");
                    Ok(true)
                }
                // Nobody is there, somebody has not agreed, or something else is being recorded: it waits.
                Err(problem) if matches!(problem.code, Code::ConsentRequired | Code::AlreadyRecording) => Ok(false),
                Err(problem) => {
                    tracing::warn!(pipeline_id = %row.id, code = ?problem.code, "a pipeline cannot capture for now");
                    Ok(false)
                }
            }
        }
    }
}
