//! A Visit as `docs/protocol.md` shows it, cut to what the reader may see.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;
use time::serde::rfc3339;

use crate::auth::{Actor, Permission};
use crate::clinical::ClinicalView;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::{ParticipantId, VisitId};
use crate::participant::{self, Participant, Role};
use crate::visit::{CancelReason, EndReason, RecordingPolicy, Visit, VisitStatus, store};

/// `Visit` of the protocol.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/protocol.md section 3 describes the fields")]
pub struct VisitView {
    pub visit_id: VisitId,
    pub status: VisitStatus,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub scheduled_at: Timestamp,
    pub duration: i32,
    pub visit_type: Option<String>,
    pub patient: Option<PersonView>,
    pub clinician: Option<PersonView>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub started_at: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appointment_id: Option<String>,
    pub recording_policy: RecordingPolicy,
    pub waiting: Vec<WaitingView>,
    pub recordings: i64,
    pub row_version: i32,
    /// Of one visit, for its clinician; lists have none.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub clinical: Option<ClinicalView>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub server_time: Timestamp,
}

/// Somebody of a visit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/protocol.md section 3 describes the fields")]
pub struct PersonView {
    pub participant_id: ParticipantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub name: String,
}

/// Somebody who waits.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/protocol.md section 3 describes the fields")]
pub struct WaitingView {
    pub participant_id: ParticipantId,
    pub name: String,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub since: Timestamp,
    pub camera_ok: Option<bool>,
    pub mic_ok: Option<bool>,
}

/// Gathers what the views of some visits need, in three queries however many they are.
///
/// # Errors
/// The database's own failures.
pub async fn of(tx: &mut Tx, actor: &Actor, visits: Vec<Visit>, now: Timestamp) -> Result<Vec<VisitView>> {
    let ids: Vec<uuid::Uuid> = visits.iter().map(|visit| visit.id.as_uuid()).collect();
    let people = participant::store::of_visits(tx, &ids).await?;
    let waiting = store::waiting_of(tx, &ids).await?;
    let recordings: HashMap<_, _> = store::recordings_of(tx, &ids).await?.into_iter().collect();
    Ok(visits
        .into_iter()
        .map(|visit| {
            let is_staff = matches!(actor, Actor::Staff(_));
            let find = |role: Role| people.iter().find(|person| person.visit == visit.id && person.role == role);
            let name_of = |id| people.iter().find(|person| person.id == id).map(|person| person.name.reveal().clone());
            VisitView {
                visit_id: visit.id,
                status: visit.status,
                scheduled_at: visit.scheduled_start,
                duration: visit.duration_min,
                patient: find(Role::Patient).map(|person| person_view(person, false)),
                // Ids of the host system are for staff.
                clinician: find(Role::Clinician).map(|person| person_view(person, matches!(actor, Actor::Staff(_)))),
                started_at: visit.started_at,
                ended_at: visit.ended_at,
                end_reason: visit.end_reason,
                cancel_reason: visit.cancel_reason.filter(|_| is_staff),
                appointment_id: visit.appointment.clone().filter(|_| is_staff),
                recording_policy: visit.recording_policy,
                waiting: waiting
                    .iter()
                    .filter(|row| row.visit_id == visit.id.as_uuid())
                    .filter(|row| sees_waiting(actor, ParticipantId::from_uuid(row.participant_id)))
                    .map(|row| WaitingView {
                        participant_id: ParticipantId::from_uuid(row.participant_id),
                        name: name_of(ParticipantId::from_uuid(row.participant_id)).unwrap_or_default(),
                        since: row.entered_at,
                        camera_ok: row.camera_ok,
                        mic_ok: row.mic_ok,
                    })
                    .collect(),
                recordings: recordings.get(&visit.id.as_uuid()).copied().unwrap_or(0),
                row_version: visit.row_version,
                visit_type: visit.visit_type,
                clinical: None,
                server_time: now,
            }
        })
        .collect())
}

fn person_view(person: &Participant, with_id: bool) -> PersonView {
    PersonView {
        participant_id: person.id,
        id: with_id.then(|| person.identity.clone()),
        name: person.name.reveal().clone(),
    }
}

/// The waiting room is the host's to see; everyone else sees themselves there at most.
fn sees_waiting(actor: &Actor, waiting: ParticipantId) -> bool {
    match actor {
        Actor::Attendee(attendee) => attendee.participant == waiting || actor.may(Permission::HostVisit),
        Actor::Staff(_) | Actor::Service(_) | Actor::System { .. } => true,
        Actor::Anonymous { .. } => false,
    }
}
