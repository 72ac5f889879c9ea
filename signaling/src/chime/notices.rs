//! What a live room hears of the API: the meeting ended, somebody has to go, somebody's rights changed. A room that does not live
//! hears nothing, and reads the books when it opens.

use wire::ParticipantId;
use wire::control::Rights;

use crate::app::App;
use crate::auth::Actor;
use crate::chime::meetings::Ended;
use crate::ids::VisitId;

/// A meeting ended: its room closes, or, where the room goes on as a visit's, its attendees go.
pub(crate) async fn ended(app: &App, ended: &Ended, actor: Option<Actor>) {
    let Some(room) = app.live.find(ended.visit) else { return };
    if ended.is_visit_over {
        room.end(actor).await;
        return;
    }
    for participant in &ended.attendees {
        room.revoke(*participant).await;
    }
}

/// An attendee was deleted.
pub(crate) async fn removed(app: &App, visit: VisitId, participant: ParticipantId) {
    if let Some(room) = app.live.find(visit) {
        room.revoke(participant).await;
    }
}

/// An attendee's capabilities changed: the forwarder enforces them from now on, and the attendee's client and everybody else's learn what
/// that changes for them. Somebody who is not connected has nothing to be restrained; their rights come with them.
pub(crate) async fn rights(app: &App, visit: VisitId, participant: ParticipantId, rights: Rights) {
    if let Some(room) = app.live.find(visit) {
        room.set_rights(participant, rights).await;
    }
}
