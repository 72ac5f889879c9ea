//! The waiting room by HTTP: the same acts as over the socket. Where the visit has a live room, that does them, so that everyone inside
//! hears of it and the media node obeys; otherwise the books alone change.

use crate::app::App;
use crate::audit::Draft;
use crate::auth::{Actor, Permission};
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::live::DoorAct;
use crate::participant;
use crate::problem::Code;
use crate::visit::command::{Seen, lock_own};
use crate::waiting_room::store::{self, Scene};

/// Somebody waited for too long. They may come again.
///
/// # Errors
/// `NOT_WAITING`.
pub(crate) async fn time_out(app: &App, actor: &Actor, visit: VisitId, whom: ParticipantId) -> Result<()> {
    act(app, actor, visit, whom, DoorAct::TimeOut).await
}

/// Does something to somebody at the door: lets in who waits, which begins the visit (row 18), turns away, which ends their session, sends
/// back who is inside. Whoever waits may leave by themselves.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND` also for somebody who is not inside, `VISIT_FINAL`, `NOT_WAITING`, `CONSENT_REQUIRED`.
pub async fn act(app: &App, actor: &Actor, visit: VisitId, whom: ParticipantId, act: DoorAct) -> Result<()> {
    let permission = match (act, actor) {
        (DoorAct::Leave, Actor::Attendee(attendee)) if attendee.participant == whom => Permission::ReadVisit,
        _ => Permission::HostVisit,
    };
    actor.require(permission)?;
    let (org, now) = (actor.org(), app.now());
    db::scoped(&app.db, org, async |tx| {
        let found = crate::visit::store::get(tx, visit).await?;
        actor.require_on(permission, found.id, &found.clinician_id)?;
        let person = participant::store::find(tx, whom).await?.filter(|person| person.visit == visit);
        person.map(drop).ok_or_else(|| Error::from(Code::NotFound))
    })
    .await?;
    if let Some(room) = app.live.find(visit)
        && let Some(done) = room.door(actor.clone(), whom, act).await
    {
        return done.map_err(Error::from);
    }
    db::audited(&app.db, org, actor, async |tx| {
        lock_own(tx, actor, permission, visit, Seen::None).await?;
        Ok(((), write(tx, Scene { visit, actor, now }, whom, act).await?))
    })
    .await
}

/// The act in the books, for a visit without a live room: nobody is connected to it.
async fn write(tx: &mut Tx, scene: Scene<'_>, whom: ParticipantId, act: DoorAct) -> Result<Vec<Draft>> {
    match act {
        DoorAct::Admit => store::admit(tx, scene, whom, None).await,
        DoorAct::Deny => store::deny(tx, scene, whom).await,
        // Nobody is inside a room that does not live.
        DoorAct::SendBack => Err(Code::NotFound.with("This person is not inside.").into()),
        DoorAct::Leave | DoorAct::TimeOut => {
            require_waiting(tx, whom).await?;
            let is_queue_over = store::count_waiting(tx, scene.visit).await? <= 1;
            if act == DoorAct::TimeOut {
                return store::time_out(tx, scene, whom, is_queue_over).await;
            }
            store::leave(tx, scene, whom, false, is_queue_over).await
        }
    }
}

async fn require_waiting(tx: &mut Tx, whom: ParticipantId) -> Result<()> {
    if store::is_waiting(tx, whom).await? { Ok(()) } else { Err(Code::NotWaiting.into()) }
}
