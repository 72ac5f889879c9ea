//! Whose consents somebody may see and give, and in what voice they speak.

use crate::auth::{Actor, StaffRole};
use crate::consent::ledger;
use crate::consent::record::Record;
use crate::consent::{Method, Relation};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::participant::Role;
use crate::problem::Code;
use crate::visit;

/// In what voice somebody speaks about a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// The patient, or whoever sits at the patient's screen.
    Patient,
    /// A parent or guardian in a place of their own.
    Caregiver,
    /// A clinician, who can attest what they heard.
    Clinician,
    /// The practice's office, which keeps the paper.
    Office,
}

/// What somebody reaches.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) patient_id: String,
    pub(super) voice: Voice,
    /// The one visit that a link reaches, and the patient's place in it.
    pub(super) place: Option<(VisitId, ParticipantId)>,
}

/// The patient in question, if the actor has to do with them. What is out of reach reads as what does not exist. To `ask` (read) the
/// practice must know the patient; to give a consent for somebody new it need not.
///
/// # Errors
/// `NOT_FOUND`; `INVALID` when nobody was named; the database's own failures.
pub(super) async fn to_patient(tx: &mut Tx, actor: &Actor, asked: Option<&str>, is_reading: bool) -> Result<Reach> {
    let missing = || Error::from(Code::NotFound);
    if let Actor::Attendee(attendee) = actor {
        let voice = match attendee.role {
            Role::Patient => Voice::Patient,
            Role::Caregiver => Voice::Caregiver,
            Role::Clinician => Voice::Clinician,
            Role::Guest | Role::Interpreter | Role::Supervisor | Role::Observer => return Err(missing()),
        };
        let visit = visit::store::get(tx, attendee.visit).await?;
        if asked.is_some_and(|asked| asked != visit.patient_id) {
            return Err(missing());
        }
        let place = patient_place(tx, attendee.visit, &visit.patient_id).await?.ok_or_else(missing)?;
        return Ok(Reach { patient_id: visit.patient_id, voice, place: Some((attendee.visit, place)) });
    }
    let patient_id = asked.ok_or_else(|| Code::Invalid.with("clientId is missing."))?.to_owned();
    let voice = match actor {
        Actor::Staff(staff) => match staff.role {
            StaffRole::Patient if staff.sub == patient_id => Voice::Patient,
            StaffRole::Patient => return Err(missing()),
            StaffRole::Clinician => {
                if !ledger::is_known(tx, &patient_id, Some(&staff.sub)).await? {
                    return Err(missing());
                }
                Voice::Clinician
            }
            _ => Voice::Office,
        },
        Actor::Service(_) | Actor::System { .. } => Voice::Office,
        Actor::Attendee(_) | Actor::Anonymous { .. } => return Err(missing()),
    };
    if is_reading && voice == Voice::Office && !ledger::is_known(tx, &patient_id, None).await? {
        return Err(missing());
    }
    Ok(Reach { patient_id, voice, place: None })
}

/// The same for a row that is there. A row of somebody of a visit who is not its patient is theirs alone.
///
/// # Errors
/// As [`to_patient`].
pub(super) async fn to_record(tx: &mut Tx, actor: &Actor, record: &Record) -> Result<Voice> {
    match (&record.patient_id, actor) {
        (None, Actor::Attendee(attendee)) if record.place == Some((attendee.visit, attendee.participant)) => {
            Ok(Voice::Patient)
        }
        (None, _) => Err(Code::NotFound.into()),
        (Some(patient), _) => Ok(to_patient(tx, actor, Some(patient), true).await?.voice),
    }
}

/// The place of a patient in a visit.
///
/// # Errors
/// The database's own failures.
pub(super) async fn patient_place(tx: &mut Tx, visit: VisitId, patient_id: &str) -> Result<Option<ParticipantId>> {
    let place = sqlx::query_scalar!(
        "SELECT participant_id FROM participant WHERE visit_id = $1 AND role = 'PATIENT' AND identity_ref = $2",
        visit.as_uuid(),
        patient_id
    )
    .fetch_optional(tx)
    .await?;
    Ok(place.map(ParticipantId::from_uuid))
}

/// How a consent counts as given, who heard it, and who signed.
///
/// # Errors
/// `INVALID` for what this voice cannot say: a word of mouth that no clinician heard, a caregiver who is nobody to the patient.
pub(super) fn vouch(
    voice: Voice,
    actor_id: &str,
    method: Option<Method>,
    relation: Option<Relation>,
) -> Result<(Method, Option<String>, Relation)> {
    let method = method.unwrap_or(match voice {
        Voice::Patient | Voice::Caregiver => Method::Electronic,
        Voice::Clinician => Method::Verbal,
        Voice::Office => Method::Paper,
    });
    let attested_by = match (method, voice) {
        (Method::Verbal, Voice::Clinician) => Some(actor_id.to_owned()),
        (Method::Verbal, _) => {
            return Err(Code::Invalid
                .with("A consent by word of mouth is attested by the clinician who heard it.")
                .into());
        }
        (Method::Paper, Voice::Patient | Voice::Caregiver) => {
            return Err(Code::Invalid.with("A consent on paper is written down by the practice.").into());
        }
        (Method::Electronic | Method::Paper, _) => None,
    };
    let relation = match (voice, relation) {
        (Voice::Caregiver, None | Some(Relation::SelfSigned)) => {
            return Err(Code::Invalid.with("Say who you are to the patient: PARENT or GUARDIAN.").into());
        }
        (_, relation) => relation.unwrap_or(Relation::SelfSigned),
    };
    Ok((method, attested_by, relation))
}
