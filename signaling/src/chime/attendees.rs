//! CreateAttendee, BatchCreateAttendee, GetAttendee, ListAttendees, DeleteAttendee and the two operations on capabilities.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};
use wire::Redacted;

use crate::audit::{Draft, EventType};
use crate::chime::attendance;
use crate::chime::call::{Answer, Call, Outcome};
use crate::chime::capability::{Capabilities, Features};
use crate::chime::check;
use crate::chime::error::{Fault, Kind};
use crate::chime::meetings;
use crate::chime::names::{self, AttendeeId, MeetingId};
use crate::chime::notices;
use crate::chime::notifications::{self, AttendeeChange};
use crate::chime::store::{self, AttendeeRow, Meeting};
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::ids::{ParticipantId, VisitId};
use crate::participant::{self, Participant, Role};

/// Attendees that one request may make.
const MOST_AT_ONCE: usize = 100;

/// Attendees that one request may leave out.
const MOST_EXCLUDED: usize = 250;

/// One attendee that a request asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AttendeeItem {
    external_user_id: Option<String>,
    capabilities: Option<Capabilities>,
}

/// The same, checked.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    external_user: String,
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BatchBody {
    attendees: Option<Vec<AttendeeItem>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UpdateBody {
    capabilities: Option<Capabilities>,
    excluded_attendee_ids: Option<Vec<Excluded>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Excluded {
    attendee_id: AttendeeId,
}

/// Checks items against the constraints and the meeting's features.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn read_items(items: Vec<AttendeeItem>, features: &Features) -> Result<Vec<Wanted>, Fault> {
    items.into_iter().map(|item| read_item(item, features)).collect()
}

fn read_item(item: AttendeeItem, features: &Features) -> Result<Wanted, Fault> {
    let external_user = check::required("ExternalUserId", item.external_user_id)?;
    check::external_id("ExternalUserId", &external_user)?;
    let capabilities = item.capabilities.unwrap_or_else(|| Capabilities::default_for(features));
    check_capabilities(capabilities, features)?;
    Ok(Wanted { external_user, capabilities })
}

fn check_capabilities(capabilities: Capabilities, features: &Features) -> Result<(), Fault> {
    capabilities.broken_rule(features).map_or(Ok(()), |rule| Err(Kind::BadRequest.with(rule)))
}

/// CreateAttendee.
pub(crate) async fn create(call: &Call, meeting: MeetingId) -> Outcome {
    let item: AttendeeItem = check::body(&call.body)?;
    let now = call.app.now();
    let row = db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::lock(tx, meeting).await?;
        let found = meetings::require(tx, meeting).await?;
        let wanted = read_item(item, &found.features())?;
        get_or_create(tx, call, &found, &wanted, now).await
    })
    .await?;
    Ok(Answer::Ok(json!({ "Attendee": view(call, &row) })))
}

/// BatchCreateAttendee.
pub(crate) async fn create_batch(call: &Call, meeting: MeetingId) -> Outcome {
    let body: BatchBody = check::body(&call.body)?;
    let items = check::required("Attendees", body.attendees)?;
    check::count("Attendees", &items, 1, MOST_AT_ONCE)?;
    let found = db::scoped(&call.app.db, call.org, async |tx| meetings::require(tx, meeting).await).await?;
    let wanted = read_items(items, &found.features())?;
    let (made, errors) = get_or_create_all(call, meeting, wanted).await?;
    Ok(Answer::Ok(json!({ "Attendees": made, "Errors": errors })))
}

/// Makes each attendee, and gives those that could be made and why others could not.
///
/// # Errors
/// `NotFound`; the database's own failures.
pub(crate) async fn get_or_create_all(
    call: &Call,
    meeting: MeetingId,
    wanted: Vec<Wanted>,
) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let now = call.app.now();
    db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::lock(tx, meeting).await?;
        let found = meetings::require(tx, meeting).await?;
        let (mut made, mut errors, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
        for one in &wanted {
            match get_or_create(tx, call, &found, one, now).await {
                Ok((row, events)) => {
                    made.push(view(call, &row));
                    drafts.extend(events);
                }
                Err(fault) if matches!(fault.kind, Kind::LimitExceeded | Kind::Unprocessable) => errors.push(json!({
                    "ExternalUserId": one.external_user,
                    "ErrorCode": fault.kind.word(crate::chime::error::Service::Meetings),
                    "ErrorMessage": fault.message,
                })),
                Err(fault) => return Err(fault),
            }
        }
        if drafts.is_empty() {
            drafts.push(Draft::new(EventType::VisitViewed).visit(found.visit));
        }
        Ok(((made, errors), drafts))
    })
    .await
}

/// The attendee of this user, made if there is none. The meeting is locked by the caller.
async fn get_or_create(
    tx: &mut Tx,
    call: &Call,
    meeting: &Meeting,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(AttendeeRow, Vec<Draft>), Fault> {
    if let Some(row) = store::find_by_user(tx, meeting.id, &wanted.external_user).await? {
        return Ok((row, vec![Draft::new(EventType::VisitViewed).visit(meeting.visit)]));
    }
    if store::count_attendees(tx, meeting.id).await? >= meeting.features().max_attendees() {
        return Err(Kind::LimitExceeded.with("The meeting has as many attendees as it takes"));
    }
    let attendee = AttendeeId::random();
    let (participant, mut drafts) = find_or_add_participant(tx, call, meeting, attendee, &wanted.external_user).await?;
    let place = (call.org, meeting.id, participant);
    let row = store::insert_attendee(tx, place, attendee, &wanted.external_user, wanted.capabilities, now).await?;
    notifications::attendee(tx, call.org, (meeting, &row), AttendeeChange::Added, now).await?;
    drafts.push(Draft::new(EventType::TokenIssued).visit(meeting.visit).subject("attendee", attendee));
    Ok((row, drafts))
}

/// The attendee's place in the visit: its clinician's, its patient's, or a new one for a guest.
async fn find_or_add_participant(
    tx: &mut Tx,
    call: &Call,
    meeting: &Meeting,
    attendee: AttendeeId,
    external_user: &str,
) -> Result<(ParticipantId, Vec<Draft>), Fault> {
    let role = match (&meeting.patient_id, &meeting.clinician_id) {
        (Some(patient), Some(clinician)) => names::role(external_user, patient, clinician),
        _ => Role::Guest,
    };
    if role != Role::Guest {
        let found = participant::store::find_by_identity(tx, meeting.visit, role, external_user).await?;
        let removed = || Kind::Unprocessable.with("This person was removed from the visit");
        return Ok((found.ok_or_else(removed)?.id, Vec::new()));
    }
    let person = Participant {
        id: ParticipantId::random(),
        visit: meeting.visit,
        role,
        // The attendee, not the user: who was deleted and comes again is somebody new to the room.
        identity: format!("attendee:{attendee}"),
        name: Redacted::new(names::display_name(external_user).to_owned()),
    };
    participant::store::insert(tx, call.org, &person).await?;
    Ok((
        person.id,
        vec![Draft::new(EventType::ParticipantAdded).visit(meeting.visit).subject("participant", person.id)],
    ))
}

async fn require(tx: &mut Tx, meeting: MeetingId, attendee: AttendeeId) -> Result<(Meeting, AttendeeRow), Fault> {
    let found = meetings::require(tx, meeting).await?;
    let missing = || Kind::NotFound.with("There is no such attendee in this meeting");
    Ok((found, store::find_attendee(tx, meeting, attendee).await?.ok_or_else(missing)?))
}

/// GetAttendee.
pub(crate) async fn get(call: &Call, meeting: MeetingId, attendee: AttendeeId) -> Outcome {
    let (found, row) = db::scoped(&call.app.db, call.org, async |tx| require(tx, meeting, attendee).await).await?;
    meetings::note_view(call, found.visit).await?;
    Ok(Answer::Ok(json!({ "Attendee": view(call, &row) })))
}

/// ListAttendees.
pub(crate) async fn list(call: &Call, meeting: MeetingId) -> Outcome {
    let (most, after) = check::page(&call.query)?;
    let (found, mut rows) = db::scoped(&call.app.db, call.org, async |tx| {
        let found = meetings::require(tx, meeting).await?;
        // One more than asked for tells whether there is another page.
        let rows = store::list_attendees(tx, meeting, after, most + 1).await?;
        Ok::<_, Fault>((found, rows))
    })
    .await?;
    meetings::note_view(call, found.visit).await?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let has_more = rows.len() > most;
    rows.truncate(most);
    let mut answer = json!({ "Attendees": rows.iter().map(|row| view(call, row)).collect::<Vec<_>>() });
    if let (true, Some(last), Some(map)) = (has_more, rows.last(), answer.as_object_mut()) {
        map.insert("NextToken".to_owned(), check::next_token(last.seq).into());
    }
    Ok(Answer::Ok(answer))
}

/// DeleteAttendee: the token is dead, and whoever holds it is disconnected.
pub(crate) async fn delete(call: &Call, meeting: MeetingId, attendee: AttendeeId) -> Outcome {
    let now = call.app.now();
    let (visit, participant) = db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::lock(tx, meeting).await?;
        let (found, row) = require(tx, meeting, attendee).await?;
        store::delete_attendee(tx, attendee, now).await?;
        notifications::attendee(tx, call.org, (&found, &row), AttendeeChange::Deleted, now).await?;
        let about = |event| Draft::new(event).visit(found.visit);
        let drafts = vec![
            about(EventType::ParticipantRemoved).subject("participant", row.participant()),
            about(EventType::TokenRevoked).subject("attendee", attendee).because("ATTENDEE_DELETED"),
        ];
        Ok::<_, Fault>(((found.visit, row.participant()), drafts))
    })
    .await?;
    notices::removed(&call.app, visit, participant).await;
    Ok(Answer::NoContent)
}

/// UpdateAttendeeCapabilities.
pub(crate) async fn update(call: &Call, meeting: MeetingId, attendee: AttendeeId) -> Outcome {
    let body: UpdateBody = check::body(&call.body)?;
    let capabilities = check::required("Capabilities", body.capabilities)?;
    let (visit, row) = db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::lock(tx, meeting).await?;
        let (found, mut row) = require(tx, meeting, attendee).await?;
        check_capabilities(capabilities, &found.features())?;
        store::set_capabilities(tx, attendee, capabilities).await?;
        row.capabilities.0 = capabilities;
        let draft = rights_changed(found.visit, &row);
        Ok::<_, Fault>(((found.visit, row), vec![draft]))
    })
    .await?;
    notices::rights(&call.app, visit, row.participant(), capabilities.to_rights()).await;
    Ok(Answer::Ok(json!({ "Attendee": view(call, &row) })))
}

/// BatchUpdateAttendeeCapabilitiesExcept.
pub(crate) async fn update_all_except(call: &Call, meeting: MeetingId) -> Outcome {
    let body: UpdateBody = check::body(&call.body)?;
    let capabilities = check::required("Capabilities", body.capabilities)?;
    let excluded = check::required("ExcludedAttendeeIds", body.excluded_attendee_ids)?;
    check::count("ExcludedAttendeeIds", &excluded, 1, MOST_EXCLUDED)?;
    let excluded: HashSet<AttendeeId> = excluded.into_iter().map(|one| one.attendee_id).collect();
    let (visit, rows) = db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::lock(tx, meeting).await?;
        let found = meetings::require(tx, meeting).await?;
        check_capabilities(capabilities, &found.features())?;
        let mut rows = store::list_attendees(tx, meeting, 0, i64::MAX).await?;
        rows.retain(|row| !excluded.contains(&row.id()) && row.capabilities.0 != capabilities);
        let mut drafts = Vec::new();
        for row in &rows {
            store::set_capabilities(tx, row.id(), capabilities).await?;
            drafts.push(rights_changed(found.visit, row));
        }
        if drafts.is_empty() {
            drafts.push(Draft::new(EventType::VisitViewed).visit(found.visit));
        }
        Ok::<_, Fault>(((found.visit, rows), drafts))
    })
    .await?;
    for row in rows {
        notices::rights(&call.app, visit, row.participant(), capabilities.to_rights()).await;
    }
    Ok(Answer::Empty)
}

fn rights_changed(visit: VisitId, row: &AttendeeRow) -> Draft {
    Draft::new(EventType::ParticipantRightsChanged).visit(visit).subject("participant", row.participant())
}

/// An attendee as the API shows it, with its token.
pub(super) fn view(call: &Call, row: &AttendeeRow) -> Value {
    json!({
        "ExternalUserId": row.external_user_id,
        "AttendeeId": row.id(),
        "JoinToken": attendance::token(&call.app.keys, call.org, row.id()).reveal(),
        "Capabilities": row.capabilities.0,
    })
}
