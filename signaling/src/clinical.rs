//! The clinical words of a Visit: why the patient comes, what the clinician writes, what was answered before the door. They rest sealed
//! (see [`phi`]), and every reading and writing of one leaves an audit event with the field's name.

pub mod http;
mod store;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission};
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::phi::{self, Field, Place};
use crate::problem::Code;
use crate::visit::{self, Visit};

/// Characters of a complaint at most.
pub const COMPLAINT: usize = 2_000;
/// Characters of notes at most.
pub const NOTES: usize = 20_000;
/// Answers of a questionnaire at most, bytes of one question's name at most, and bytes of all of it as JSON at most.
pub const ANSWERS: (usize, usize, usize) = (50, 100, 16 * 1024);

/// One answer of a questionnaire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Answer {
    /// Yes or no.
    Truth(bool),
    /// A count or a scale.
    Number(i64),
    /// Free text.
    Text(Redacted<String>),
}

/// The answers of a questionnaire by the names of its questions, which are the practice's own.
pub type Answers = BTreeMap<String, Answer>;

/// The clinical words of a visit, as its clinician sees them.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/protocol.md section 3 describes the fields")]
pub struct ClinicalView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chief_complaint: Option<Redacted<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clinical_notes: Option<Redacted<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questionnaires: Vec<QuestionnaireView>,
    /// Fields that are there and do not open: the key service is away, or the key is another one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<&'static str>,
}

/// What somebody answered before the door.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/protocol.md section 3 describes the fields")]
pub struct QuestionnaireView {
    pub participant_id: ParticipantId,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub submitted_at: Timestamp,
    pub answers: Answers,
}

/// What to change of a visit's words. What is not named stays; an empty text removes the field.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Why the patient comes.
    pub chief_complaint: Option<Redacted<String>>,
    /// What the clinician writes.
    pub clinical_notes: Option<Redacted<String>>,
}

/// Refuses a text that is too long or holds control characters other than line breaks and tabs.
///
/// # Errors
/// `INVALID`, naming the field, never the text.
pub fn check(field: Field, text: &str) -> Result<()> {
    let most = if field == Field::ClinicalNotes { NOTES } else { COMPLAINT };
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if text.chars().count() > most || !text.chars().all(is_plain) {
        let name = field.as_str();
        return Err(Code::Invalid
            .with(format!("{name} must have at most {most} characters, none of them control characters"))
            .into());
    }
    Ok(())
}

fn place(visit: &Visit, field: Field) -> Place {
    Place { org: visit.org, field, row: visit.id.as_uuid() }
}

/// Writes why the patient comes into a visit that the same transaction plans; for `visit::command::create`. Gives the audit event.
///
/// # Errors
/// `INVALID`; as [`phi::seal`].
pub async fn write_complaint(tx: &mut Tx, app: &App, visit: &Visit, text: &str) -> Result<Draft> {
    check(Field::ChiefComplaint, text)?;
    put(tx, app, visit, Field::ChiefComplaint, text).await
}

async fn put(tx: &mut Tx, app: &App, visit: &Visit, field: Field, text: &str) -> Result<Draft> {
    let sealed = if text.is_empty() { None } else { Some(phi::seal(tx, app, place(visit, field), text).await?) };
    store::write(tx, visit.id, field, sealed.as_deref(), app.now()).await?;
    Ok(phi::written(field).visit(visit.id))
}

/// Changes the words of a visit. Notes may be written after its end too.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`; as [`phi::seal`].
pub async fn write(app: &App, actor: &Actor, id: VisitId, words: &Words) -> Result<()> {
    actor.require(Permission::WritePhi)?;
    let named = [(Field::ChiefComplaint, &words.chief_complaint), (Field::ClinicalNotes, &words.clinical_notes)];
    let named: Vec<_> = named.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?.reveal()))).collect();
    if named.is_empty() {
        return Err(Code::Invalid.with("name chiefComplaint or clinicalNotes").into());
    }
    for (field, text) in &named {
        check(*field, text)?;
    }
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::WritePhi, visit.id, &visit.clinician_id)?;
        let mut events = Vec::new();
        for (field, text) in &named {
            events.push(put(tx, app, &visit, *field, text).await?);
        }
        Ok::<_, Error>(((), events))
    })
    .await
}

/// The words of a visit that the caller was shown otherwise. `None` for who may not see any, and for a visit without. Each field that is
/// opened is written down; one that does not open is named instead of failing the whole visit, so that a visit can be held while a key
/// service is away.
///
/// # Errors
/// The database's own failures.
pub async fn show(app: &App, actor: &Actor, visit: &Visit) -> Result<Option<ClinicalView>> {
    if actor.require(Permission::ReadPhi).is_err() {
        return Ok(None);
    }
    let sealed = db::scoped(&app.db, visit.org, async |tx| store::read(tx, visit.id).await).await?;
    if sealed.is_empty() {
        return Ok(None);
    }
    db::audited(&app.db, visit.org, actor, async |tx| {
        let (mut view, mut events) = (ClinicalView::default(), Vec::new());
        let words = [(Field::ChiefComplaint, &sealed.chief_complaint), (Field::ClinicalNotes, &sealed.clinical_notes)];
        for (field, bytes) in words {
            let Some(bytes) = bytes else { continue };
            let text = open(tx, app, place(visit, field), bytes, visit.id, &mut view, &mut events).await;
            match field {
                Field::ChiefComplaint => view.chief_complaint = text,
                _ => view.clinical_notes = text,
            }
        }
        for row in &sealed.questionnaires {
            let place = Place { org: visit.org, field: Field::Questionnaire, row: row.participant_id };
            let Some(text) = open(tx, app, place, &row.answers_enc, visit.id, &mut view, &mut events).await else {
                continue;
            };
            let answers = serde_json::from_str(text.reveal())
                .map_err(|_| Error::Inside("sealed answers are no JSON".to_owned()))?;
            let participant_id = ParticipantId::from_uuid(row.participant_id);
            view.questionnaires.push(QuestionnaireView { participant_id, submitted_at: row.submitted_at, answers });
        }
        Ok::<_, Error>((Some(view), events))
    })
    .await
}

/// Opens one field, and notes that, or that it could not be.
async fn open(
    tx: &mut Tx,
    app: &App,
    place: Place,
    sealed: &[u8],
    visit: VisitId,
    view: &mut ClinicalView,
    events: &mut Vec<Draft>,
) -> Option<Redacted<String>> {
    match phi::open(tx, app, place, sealed).await {
        Ok(text) => {
            events.push(phi::read(place.field).visit(visit));
            Some(text)
        }
        Err(error) => {
            tracing::error!(%error, field = place.field.as_str(), "a sealed field could not be shown");
            let reason = if error.is_passing() { "KEY_SERVICE_AWAY" } else { "DOES_NOT_OPEN" };
            events.push(phi::read(place.field).visit(visit).failed(reason));
            view.unreadable.push(place.field.as_str());
            None
        }
    }
}

/// Keeps what somebody answered before the door; a second time replaces the first. The clinician reads it, nobody else, and nobody
/// changes what another one answered.
///
/// # Errors
/// `FORBIDDEN` for who is no patient or guest of the visit, `NOT_FOUND`, `VISIT_FINAL`, `INVALID`; as [`phi::seal`].
pub async fn submit(app: &App, actor: &Actor, id: VisitId, answers: &Answers) -> Result<()> {
    actor.require(Permission::SubmitQuestionnaire)?;
    // Whoever is signed in to the portal answers in the visit, where it is known whose place they have.
    let Actor::Attendee(attendee) = actor else { return Err(Code::Forbidden.into()) };
    let (most, name, bytes) = ANSWERS;
    let text = serde_json::to_string(answers).map_err(|_| Error::Inside("answers cannot be written".to_owned()))?;
    let fits = !answers.is_empty()
        && answers.len() <= most
        && text.len() <= bytes
        && answers.keys().all(|key| (1..=name).contains(&key.len()));
    if !fits {
        return Err(Code::Invalid
            .with(format!("answers must be 1 to {most}, each name 1 to {name} bytes, {bytes} bytes in all"))
            .into());
    }
    let row: Uuid = attendee.participant.as_uuid();
    db::audited(&app.db, attendee.org, actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::SubmitQuestionnaire, visit.id, &visit.clinician_id)?;
        if visit.status.is_over() {
            return Err(Error::from(Code::VisitFinal));
        }
        let place = Place { org: attendee.org, field: Field::Questionnaire, row };
        let sealed = phi::seal(tx, app, place, &text).await?;
        store::keep_answers(tx, attendee, &sealed, app.now()).await?;
        let count = Fact::Number(i64::try_from(answers.len()).unwrap_or(i64::MAX));
        let submitted = Draft::new(EventType::QuestionnaireSubmitted).visit(id).subject("participant", row);
        Ok(((), vec![submitted.fact("count", count), phi::written(Field::Questionnaire).visit(id)]))
    })
    .await
}
