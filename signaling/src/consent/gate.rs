//! What a patient must have said before the clinician may let them in, as far as their organisation asks: consents, where they are, and
//! with that a licence of the clinician's for that state. In an emergency the clinician may go on without, and the books say so.

pub mod http;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission};
use crate::clock::Timestamp;
use crate::consent::record::Subject;
use crate::consent::{ConsentStatus, ConsentText, ConsentType, OverrideReason, text_store};
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::licence::{self, Lacking, Verdict};
use crate::location;
use crate::participant::Role;
use crate::problem::{Code, Problem};
use crate::state::StateCode;
use crate::visit::{self, Visit};

/// What an organisation asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// These types, signed, in the version in force.
    pub required: Vec<ConsentType>,
    /// The patient's state.
    pub require_location: bool,
    /// A licence of the clinician's for it.
    pub enforce_licences: bool,
}

impl Policy {
    /// True when nothing is asked.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.required.is_empty() && !self.require_location && !self.enforce_licences
    }
}

/// What the organisation of this transaction asks.
///
/// # Errors
/// The database's own failures.
pub async fn policy(tx: &mut Tx, org: OrgId) -> Result<Policy> {
    let row = sqlx::query!(
        "SELECT required_consents, require_location, enforce_licences FROM organization WHERE org_id = $1",
        org.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map_or_else(Policy::default, |row| Policy {
        required: row.required_consents.iter().filter_map(|word| ConsentType::parse(word)).collect(),
        require_location: row.require_location,
        enforce_licences: row.enforce_licences,
    }))
}

/// Sets what the organisation asks.
///
/// # Errors
/// The database's own failures.
pub async fn set_policy(tx: &mut Tx, org: OrgId, policy: &Policy) -> Result<()> {
    let required: Vec<String> = policy.required.iter().map(|kind| kind.as_str().to_owned()).collect();
    sqlx::query!(
        "UPDATE organization SET required_consents = $2, require_location = $3, enforce_licences = $4 WHERE org_id = $1",
        org.as_uuid(),
        &required,
        policy.require_location,
        policy.enforce_licences
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a patient still has to do, and what they read for it.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Texts to sign, in the order in which they are asked.
    pub consents: Vec<(Subject, Option<ConsentText>)>,
    /// To say where they are.
    pub is_location_due: bool,
}

/// What is due from a patient who is in this state, as far as that is known. Texts come in the language asked for.
///
/// # Errors
/// The database's own failures.
pub async fn due(
    tx: &mut Tx,
    (org, policy): (OrgId, &Policy),
    (patient_id, state): (&str, Option<StateCode>),
    locale: Option<&str>,
    now: Timestamp,
) -> Result<Due> {
    let mut due = Due { consents: Vec::new(), is_location_due: policy.require_location && state.is_none() };
    for kind in ConsentType::ALL {
        if !policy.required.contains(kind) {
            continue;
        }
        let is_of_state = *kind == ConsentType::StateSpecific;
        if is_of_state && state.is_none() {
            // Which text it is hangs on where they are.
            due.is_location_due = true;
            continue;
        }
        let subject = Subject { kind: *kind, state: state.filter(|_| is_of_state), purpose: None };
        let text = text_store::find_in_force(tx, org, subject, locale).await?;
        if is_of_state && text.is_none() && !text_store::is_shipped(subject) {
            // This state asks for nothing of its own.
            continue;
        }
        let is_signed = match &text {
            Some(text) => standing(tx, patient_id, subject, text.version, now).await? == ConsentStatus::Signed,
            None => false,
        };
        if !is_signed {
            due.consents.push((subject, text));
        }
    }
    Ok(due)
}

/// Where a patient stands towards the version in force of one text.
///
/// # Errors
/// The database's own failures.
pub async fn standing(
    tx: &mut Tx,
    patient_id: &str,
    subject: Subject,
    version: i32,
    now: Timestamp,
) -> Result<ConsentStatus> {
    let newest = sqlx::query!(
        "SELECT status, version, expires_at FROM consent
         WHERE patient_id = $1 AND type = $2 AND state_code IS NOT DISTINCT FROM $3 AND status <> 'PENDING'
         ORDER BY seq DESC LIMIT 1",
        patient_id,
        subject.kind.as_str(),
        subject.state.map(StateCode::as_str)
    )
    .fetch_optional(tx)
    .await?;
    Ok(match newest {
        Some(row) if row.status != ConsentStatus::Signed.as_str() => {
            ConsentStatus::parse_stored(&row.status).unwrap_or(ConsentStatus::Pending)
        }
        Some(row) if row.version == version && row.expires_at.is_none_or(|until| until > now) => ConsentStatus::Signed,
        _ => ConsentStatus::Pending,
    })
}

/// Looks for a licence when a visit is planned, where the practice enforces them, and writes down what was found. Nothing is refused for a
/// state that is not known yet: at the door it will be. For one that is, a licence has to hold on the day of the visit.
///
/// # Errors
/// `LICENCE_MISSING` with `reason`; the database's own failures.
pub(crate) async fn plan(
    tx: &mut Tx,
    actor: &Actor,
    visit: &Visit,
    state: Option<StateCode>,
    now: Timestamp,
) -> Result<Option<Draft>> {
    if !policy(tx, actor.org()).await?.enforce_licences {
        return Ok(None);
    }
    let verdict = licence::store::check(tx, &visit.clinician_id, state, visit.scheduled_start.date()).await?;
    if let (Verdict::Fail(reason), Some(_)) = (verdict, state) {
        return Err(no_licence(reason));
    }
    let checked = licence::Checked { visit: visit.id, clinician: &visit.clinician_id, state, verdict };
    licence::store::write(tx, actor, checked, now).await.map(Some)
}

/// Whom the clinician wants to let in, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door<'a> {
    pub(crate) visit: VisitId,
    pub(crate) participant: ParticipantId,
    pub(crate) actor: &'a Actor,
    pub(crate) override_reason: Option<OverrideReason>,
    pub(crate) now: Timestamp,
}

/// Stands at the door. Gives what there is to write down; only patients are asked.
///
/// # Errors
/// `LOCATION_REQUIRED`, `CONSENT_REQUIRED` with `missing` and `consents`, `LICENCE_MISSING` with `reason`: unless it is overridden.
pub(crate) async fn pass(tx: &mut Tx, door: Door<'_>) -> Result<Vec<Draft>> {
    let org = door.actor.org();
    let policy = policy(tx, org).await?;
    if policy.is_open() {
        return Ok(Vec::new());
    }
    let person = sqlx::query!(
        "SELECT role, identity_ref FROM participant WHERE participant_id = $1 AND visit_id = $2",
        door.participant.as_uuid(),
        door.visit.as_uuid()
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::from(Code::NotFound))?;
    if person.role != Role::Patient.as_str() {
        return Ok(Vec::new());
    }
    let state = location::store::newest(tx, door.participant).await?.map(|attested| attested.state);
    let due = due(tx, (org, &policy), (&person.identity_ref, state), None, door.now).await?;
    let mut drafts = Vec::new();
    let overridden = |kind: &'static str, reason: OverrideReason| {
        Draft::new(EventType::ConsentOverridden)
            .visit(door.visit)
            .because(reason.as_str())
            .fact("participant", Fact::Id(door.participant.as_uuid()))
            .fact("type", Fact::Word(kind))
    };
    match door.override_reason {
        None if due.is_location_due => return Err(Code::LocationRequired.into()),
        None if !due.consents.is_empty() => return Err(missing(door.participant, &due).into()),
        None => {}
        Some(reason) => {
            door.actor.require(Permission::OverrideConsent)?;
            drafts.extend(due.is_location_due.then(|| overridden("LOCATION", reason)));
            drafts.extend(due.consents.iter().map(|(subject, _)| overridden(subject.kind.as_str(), reason)));
        }
    }
    if policy.enforce_licences {
        let visit = visit::store::get(tx, door.visit).await?;
        let today = door.now.date();
        let verdict = licence::store::check(tx, &visit.clinician_id, state, today).await?;
        let written = match (verdict, door.override_reason) {
            (Verdict::Fail(reason), None) => return Err(no_licence(reason)),
            (Verdict::Fail(reason), Some(_)) => {
                door.actor.require(Permission::OverrideLicence)?;
                Verdict::Override(reason)
            }
            (verdict, _) => verdict,
        };
        let checked = licence::Checked { visit: door.visit, clinician: &visit.clinician_id, state, verdict: written };
        drafts.push(licence::store::write(tx, door.actor, checked, door.now).await?);
    }
    Ok(drafts)
}

fn no_licence(reason: Lacking) -> Error {
    Code::LicenceMissing.problem().member("reason", reason.as_str()).into()
}

fn missing(participant: ParticipantId, due: &Due) -> Problem {
    let consents: Vec<Value> =
        due.consents.iter().map(|(subject, _)| json!({"type": subject.kind, "stateCode": subject.state})).collect();
    Code::ConsentRequired
        .with("This patient has not signed what your practice asks for before a visit.")
        .member("missing", vec![participant.to_string()])
        .member("consents", consents)
}

/// Writes down that somebody was not let in, in a transaction of its own: the one that refused is gone.
pub(crate) async fn note_refusal(app: &App, actor: &Actor, (visit, whom): (VisitId, ParticipantId), code: Code) {
    let (kind, reason) = match code {
        Code::LicenceMissing => (EventType::LicenceChecked, "LICENCE_MISSING"),
        Code::LocationRequired => (EventType::WaitingAdmitted, "LOCATION_REQUIRED"),
        Code::ConsentRequired => (EventType::WaitingAdmitted, "CONSENT_REQUIRED"),
        _ => return,
    };
    let draft = Draft::new(kind).visit(visit).subject("participant", Uuid::from(whom)).failed(reason);
    let written = db::audited(&app.db, actor.org(), actor, async |_| Ok::<_, Error>(((), vec![draft]))).await;
    if let Err(error) = written {
        tracing::error!(%error, "a refusal at the door was not written");
    }
}
