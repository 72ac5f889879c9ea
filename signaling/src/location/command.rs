//! What is done with places: say where somebody is, see whom to call, see what is due at the door.

use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission, StaffRole};
use crate::consent::gate::{self, Due};
use crate::consent::text_store;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::location::{Attestation, Attested, Contact, PlaceKind, store, validate_address};
use crate::participant::Role;
use crate::problem::Code;
use crate::state::StateCode;
use crate::visit::{Visit, reference};

/// What somebody says about where they, or their patient, are.
#[derive(Clone, Debug)]
pub struct Claim {
    /// In which state.
    pub state: StateCode,
    /// In what kind of place.
    pub kind: PlaceKind,
    /// By whom; whoever speaks, when it is not said.
    pub method: Option<Attested>,
    /// Where exactly.
    pub address: Option<Redacted<String>>,
    /// Who is there; the patient when a clinician speaks, oneself otherwise.
    pub participant: Option<ParticipantId>,
    /// Whom to call.
    pub contact: Option<Contact>,
}

/// Says where somebody is.
///
/// # Errors
/// `NOT_FOUND`; `VISIT_FINAL`; `INVALID`.
pub async fn attest(app: &App, actor: &Actor, visit: &str, claim: Claim) -> Result<(VisitId, Attestation)> {
    let now = app.now();
    if let Some(address) = &claim.address {
        validate_address(address)?;
    }
    if let Some(contact) = &claim.contact {
        contact.validate()?;
    }
    let org = actor.org();
    db::audited(&app.db, org, actor, async |tx| {
        let visit = reference::get(tx, actor, Permission::AttestLocation, visit).await?;
        if visit.status.is_over() {
            return Err(Error::from(Code::VisitFinal));
        }
        let (participant, is_clinician) = whose(tx, actor, &visit, claim.participant).await?;
        let method = match (claim.method, is_clinician) {
            (None, true) => Attested::Clinician,
            (None, false) => Attested::Personally,
            (Some(Attested::Clinician), false) => return Err(Code::Forbidden.into()),
            (Some(method), _) => method,
        };
        let attestation = Attestation {
            id: Uuid::new_v4(),
            participant,
            at: now,
            state: claim.state,
            kind: claim.kind,
            method,
            has_address: claim.address.is_some(),
        };
        let place = (org, visit.id);
        store::insert(tx, app, place, &attestation, claim.address.as_ref(), &actor.id()).await?;
        if let Some(contact) = &claim.contact {
            store::insert_contact(tx, app, place, contact, (&actor.id(), now)).await?;
        }
        let draft = Draft::new(EventType::LocationAttested)
            .visit(visit.id)
            .subject("location", attestation.id)
            .fact("participant", Fact::Id(participant.as_uuid()))
            .fact("state", Fact::Word(claim.state.as_str()))
            .fact("kind", Fact::Word(claim.kind.as_str()))
            .fact("method", Fact::Word(method.as_str()));
        Ok(((visit.id, attestation), vec![draft]))
    })
    .await
}

/// What to tell the people who send help.
#[derive(Clone, Debug)]
pub struct Emergency {
    /// Where the patient said that they are.
    pub place: Option<(Attestation, Option<Redacted<String>>)>,
    /// Whom to call.
    pub contact: Option<Contact>,
}

/// Opens the emergency address and contact. The opening is audited, each time.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn emergency(app: &App, actor: &Actor, visit: &str) -> Result<Emergency> {
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = reference::get(tx, actor, Permission::ReadEmergency, visit).await?;
        let patient = patient_of(tx, visit.id).await?;
        let place = match store::newest(tx, patient).await? {
            Some(place) => Some((place, store::open_address(tx, app, place.id).await?)),
            None => None,
        };
        let contact = store::newest_contact(tx, app, visit.id).await?;
        let draft = Draft::new(EventType::EmergencyInfoViewed).visit(visit.id);
        Ok::<_, Error>((Emergency { place, contact }, vec![draft]))
    })
    .await
}

/// Says whom to call.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`.
pub async fn set_contact(app: &App, actor: &Actor, visit: &str, contact: &Contact) -> Result<()> {
    contact.validate()?;
    let (org, now) = (actor.org(), app.now());
    db::audited(&app.db, org, actor, async |tx| {
        let visit = reference::get(tx, actor, Permission::AttestLocation, visit).await?;
        let id = store::insert_contact(tx, app, (org, visit.id), contact, (&actor.id(), now)).await?;
        let draft = Draft::new(EventType::VisitUpdated).visit(visit.id).subject("emergency_contact", id);
        Ok::<_, Error>(((), vec![draft.because("EMERGENCY_CONTACT_SET")]))
    })
    .await
}

/// What is due at the door, and where the patient said that they are.
#[derive(Clone, Debug)]
pub struct AtTheDoor {
    /// The visit.
    pub visit: VisitId,
    /// The patient's place in it.
    pub patient: ParticipantId,
    /// What they still have to do.
    pub due: Due,
    /// Where they said that they are.
    pub place: Option<Attestation>,
}

/// What the patient of a visit has to do before they can be let in; the patient and the practice may ask. It says where the patient stands
/// towards texts, so that the reading is audited as that of consents where anything is asked.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn due(app: &App, actor: &Actor, visit: &str, locale: Option<&str>) -> Result<AtTheDoor> {
    let (org, now) = (actor.org(), app.now());
    let is_theirs = match actor {
        Actor::Attendee(attendee) => matches!(attendee.role, Role::Patient | Role::Caregiver | Role::Clinician),
        _ => true,
    };
    if !is_theirs {
        return Err(Code::Forbidden.into());
    }
    let (visit, patient, place, policy) = db::scoped(&app.db, org, async |tx| {
        let visit = reference::get(tx, actor, Permission::ReadVisit, visit).await?;
        let patient = patient_of(tx, visit.id).await?;
        Ok::<_, Error>((visit, patient, store::newest(tx, patient).await?, gate::policy(tx, org).await?))
    })
    .await?;
    let at_the_door = |due| AtTheDoor { visit: visit.id, patient, due, place };
    if policy.is_open() {
        // Nothing is asked, and so nothing was looked at.
        return Ok(at_the_door(Due::default()));
    }
    let state = place.map(|place| place.state);
    let due = db::audited(&app.db, org, actor, async |tx| {
        let mut drafts = if policy.required.is_empty() { Vec::new() } else { text_store::ship(tx, org).await? };
        let due = gate::due(tx, (org, &policy), (&visit.patient_id, state), locale, now).await?;
        drafts.push(Draft::new(EventType::ConsentViewed).visit(visit.id).because("REQUIREMENTS"));
        Ok::<_, Error>((due, drafts))
    })
    .await?;
    Ok(at_the_door(due))
}

async fn patient_of(tx: &mut Tx, visit: VisitId) -> Result<ParticipantId> {
    let patient = sqlx::query_scalar!(
        "SELECT participant_id FROM participant WHERE visit_id = $1 AND role = 'PATIENT' ORDER BY created_at LIMIT 1",
        visit.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    patient.map(ParticipantId::from_uuid).ok_or_else(|| Code::NotFound.into())
}

/// Of whom the actor may say where they are, and whether a clinician says it.
async fn whose(
    tx: &mut Tx,
    actor: &Actor,
    visit: &Visit,
    asked: Option<ParticipantId>,
) -> Result<(ParticipantId, bool)> {
    let is_clinician = match actor {
        Actor::Attendee(attendee) => attendee.role == Role::Clinician,
        Actor::Staff(staff) => staff.role == StaffRole::Clinician,
        _ => false,
    };
    if is_clinician {
        let Some(asked) = asked else { return Ok((patient_of(tx, visit.id).await?, true)) };
        let is_there = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM participant WHERE visit_id = $1 AND participant_id = $2) AS "there!""#,
            visit.id.as_uuid(),
            asked.as_uuid()
        )
        .fetch_one(tx)
        .await?;
        return if is_there { Ok((asked, true)) } else { Err(Code::NotFound.into()) };
    }
    let own = match actor {
        Actor::Attendee(attendee) => attendee.participant,
        Actor::Staff(staff) if staff.role == StaffRole::Patient => patient_of(tx, visit.id).await?,
        _ => return Err(Code::Forbidden.into()),
    };
    if asked.is_some_and(|asked| asked != own) { Err(Code::Forbidden.into()) } else { Ok((own, false)) }
}
