//! A visit's room for a Chime client whose application does not speak Chime's API itself: the meeting that is that room, and one person's
//! place in it, as the telehealth faces hand them out.

use axum::body::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::chime::attendees;
use crate::chime::call::Call;
use crate::chime::capability::{Capabilities, Capability};
use crate::chime::error::{Fault, Kind};
use crate::chime::meetings;
use crate::chime::names::AttendeeId;
use crate::chime::notifications::{self, AttendeeChange};
use crate::chime::store::{self, Meeting, NewMeeting, Tags};
use crate::db;
use crate::error::{Error, Result};
use crate::participant::{Participant, Role};
use crate::problem::Code;
use crate::visit::Visit;

/// `Meeting` and `Attendee` in Chime's own shapes.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) meeting: Value,
    pub(crate) attendee: Value,
}

/// The meeting that is the room of a visit; it is made when there is none. Asked again, it is the same one.
///
/// # Errors
/// `VISIT_FINAL`; `UNAVAILABLE` when there are as many meetings as the quota allows.
pub(crate) async fn meeting(app: &App, actor: &Actor, visit: &Visit) -> Result<Value> {
    let call = call(app, actor);
    Ok(meetings::view(&call, &open(&call, app, visit).await?))
}

/// The meeting, and the place of `person` in it. The waiting room holds for them as for anybody.
///
/// # Errors
/// As [`meeting`].
pub(crate) async fn seat(app: &App, actor: &Actor, visit: &Visit, person: &Participant) -> Result<Seat> {
    let call = call(app, actor);
    let meeting = open(&call, app, visit).await?;
    let (org, now, external_user) = (actor.org(), app.now(), external_user(person));
    let row = db::audited(&app.db, org, actor, async |tx| {
        store::lock(tx, meeting.id).await?;
        if let Some(row) = store::find_by_user(tx, meeting.id, &external_user).await? {
            return Ok((row, vec![Draft::new(EventType::VisitViewed).visit(visit.id)]));
        }
        let attendee = AttendeeId::random();
        let place = (org, meeting.id, person.id);
        let row = store::insert_attendee(tx, place, attendee, &external_user, capabilities(person.role), now).await?;
        notifications::attendee(tx, org, (&meeting, &row), AttendeeChange::Added, now).await?;
        let issued = Draft::new(EventType::TokenIssued).visit(visit.id).subject("attendee", attendee);
        Ok::<_, Fault>((row, vec![issued]))
    })
    .await?;
    Ok(Seat { meeting: meetings::view(&call, &meeting), attendee: attendees::view(&call, &row) })
}

async fn open(call: &Call, app: &App, visit: &Visit) -> Result<Meeting> {
    if visit.status.is_over() {
        return Err(Code::VisitFinal.into());
    }
    let meeting = meetings::get_or_create(call, &new_meeting(app, visit)).await?;
    // A visit that ended at this moment has no room; the meeting that was made in its place is nobody's and ends by itself.
    if meeting.visit == visit.id { Ok(meeting) } else { Err(Code::VisitFinal.into()) }
}

/// Everybody speaks and shows a picture; a screen is the clinician's to share.
fn capabilities(role: Role) -> Capabilities {
    let content = if role == Role::Clinician { Capability::SendReceive } else { Capability::Receive };
    let own = if role == Role::Observer { Capability::Receive } else { Capability::SendReceive };
    Capabilities { audio: own, video: own, content }
}

/// Who somebody is to the other clients: their role and their own id where the API would take it, else that of their place.
fn external_user(person: &Participant) -> String {
    let word = match person.role {
        Role::Patient => "client",
        other => other.as_word(),
    };
    let named = format!("{word}-{}", person.identity);
    let fits = named.len() <= 64 && named.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_@.".contains(&byte));
    if fits { named } else { format!("{word}-{}", person.id) }
}

fn call(app: &App, actor: &Actor) -> Call {
    Call {
        app: app.clone(),
        org: actor.org(),
        actor: actor.clone(),
        region: app.config.chime_region.clone(),
        query: String::new(),
        body: Bytes::new(),
    }
}

fn new_meeting(app: &App, visit: &Visit) -> NewMeeting {
    let id = visit.id.to_string();
    NewMeeting {
        request_token: format!("visit-{id}"),
        request_hash: Sha256::digest(format!("a visit's room\0{id}")).into(),
        external_id: id,
        media_region: app.config.chime_region.clone(),
        region: app.config.chime_region.clone(),
        host_id: None,
        features: None,
        tenant_ids: Vec::new(),
        network_type: None,
        notifications: None,
        tags: Tags::new(),
    }
}

/// A refusal of Chime's API in our own words. What an application of that API would be told about its parameters cannot happen here.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::NotFound | Kind::ResourceNotFound => Code::NotFound.into(),
            Kind::Forbidden | Kind::Unauthorized => Code::Forbidden.into(),
            Kind::LimitExceeded | Kind::Throttling | Kind::Unavailable => Code::Unavailable.into(),
            Kind::BadRequest | Kind::Conflict | Kind::Unprocessable | Kind::Failure | Kind::TooManyTags => {
                Self::Inside(format!("a visit's room: {:?}", fault.kind))
            }
        }
    }
}
