//! What is done with consents: ask, sign, decline, change, take back, read. Every guard and audit event of the consent API is here.

use time::Duration;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::consent::acks::{Acknowledgements, Environment};
use crate::consent::ledger::{self, Origin};
use crate::consent::reach::{self, Voice};
use crate::consent::record::{ConsentView, Record, Subject};
use crate::consent::{ConsentStatus, ConsentType, Method, Purpose, Relation, RevokeReason, rules, store, text_store};
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ConsentId, OrgId, ParticipantId, VisitId};
use crate::problem::Code;
use crate::state::StateCode;

/// How far ahead an end may be set.
const LONGEST: Duration = Duration::days(3653);

/// What somebody hands in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Whose consent; a session's own patient when it is not said.
    pub patient_id: Option<String>,
    /// To what.
    pub subject: Subject,
    /// Yes or no; nothing asks for it.
    pub given: Option<bool>,
    /// For one visit alone.
    pub visit: Option<VisitId>,
    /// How, by whom and with what.
    pub details: Details,
}

/// What goes with an answer, new or changed.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// What was understood.
    pub acks: Acknowledgements,
    /// From where.
    pub environment: Environment,
    /// How; a voice has a usual way.
    pub method: Option<Method>,
    /// How the signer is called.
    pub signer_name: Option<Redacted<String>>,
    /// Who they are to the patient.
    pub relation: Option<Relation>,
    /// Where the host system keeps a signature.
    pub signature_ref: Option<String>,
    /// The version that was read; a signature to another one than that in force is refused.
    pub version: Option<i32>,
    /// The language that was read.
    pub locale: Option<String>,
    /// Holds until then.
    pub expires_at: Option<Timestamp>,
    /// Is to be asked again then.
    pub renewal_required: Option<bool>,
}

impl Details {
    fn validate(&self, now: Timestamp) -> Result<()> {
        let fits = |text: &str, most: usize| !text.trim().is_empty() && text.len() <= most;
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        if self.signer_name.as_ref().is_some_and(|name| !fits(name.reveal(), 200) || !is_plain(name.reveal())) {
            return Err(Code::Invalid.with("signerName must be 1 to 200 bytes of text.").into());
        }
        if self.signature_ref.as_ref().is_some_and(|text| !fits(text, 200) || !is_plain(text)) {
            return Err(Code::Invalid.with("signatureRef must be 1 to 200 bytes of text.").into());
        }
        if self.locale.as_ref().is_some_and(|text| !is_locale(text)) {
            return Err(Code::Invalid.with("locale must be like en-US.").into());
        }
        if self.expires_at.is_some_and(|until| until <= now || until > now + LONGEST) {
            return Err(Code::Invalid.with("The end must lie ahead, within ten years.").into());
        }
        Ok(())
    }
}

/// Whether a text names a language as the texts do: `en`, `en-US`, `zh-Hant-TW`.
#[must_use]
pub fn is_locale(text: &str) -> bool {
    text.len() <= 35
        && text.split('-').enumerate().all(|(at, part)| {
            let is_word = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_word && (at > 0 || (part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_alphabetic())))
        })
}

/// Rooms that have to hear where somebody stands now.
type News = Vec<(VisitId, ParticipantId, ConsentStatus)>;

/// Asks for a consent, or stores what was said to it.
///
/// # Errors
/// `NOT_FOUND` for a patient out of reach; `ACK_MISSING` with `missing`; `VERSION_OUTDATED` with `version`; `GUARDIAN_REQUIRED`; `INVALID`.
pub async fn submit(app: &App, actor: &Actor, new: Submission, origin: Origin) -> Result<ConsentView> {
    let (org, now) = (actor.org(), app.now());
    new.details.validate(now)?;
    let (record, news) = db::audited(&app.db, org, actor, async |tx| {
        let reach = reach::to_patient(tx, actor, new.patient_id.as_deref(), false).await?;
        let is_clinical = new.subject == Subject::CLINICAL_RECORDING;
        let place = match (new.visit, reach.place) {
            (Some(asked), Some((own, _))) if asked != own => return Err(Error::from(Code::NotFound)),
            (Some(visit), _) => {
                let place = reach::patient_place(tx, visit, &reach.patient_id).await?;
                Some((visit, place.ok_or_else(|| Error::from(Code::NotFound))?))
            }
            // Whoever has a link alone lets one visit be recorded, and says nothing about later ones.
            (None, own) if is_clinical => own,
            (None, _) => None,
        };
        if place.is_some() && (new.given.is_none() || !(is_clinical || new.subject.purpose.is_none())) {
            return Err(Code::Invalid.with("Such a consent belongs to the patient, not to one visit.").into());
        }
        if new.given.is_none() && !matches!(reach.voice, Voice::Clinician | Voice::Office) {
            return Err(Code::Invalid.with("consentGiven is missing.").into());
        }
        ledger::lock(tx, org, &reach.patient_id).await?;
        let mut drafts = Vec::new();
        let locale = new.details.locale.as_deref();
        let text = text_store::get_in_force(tx, org, new.subject, locale, &mut drafts).await?;
        let (method, attested_by, relation) =
            reach::vouch(reach.voice, &actor.id(), new.details.method, new.details.relation)?;
        let before = newest_open(tx, app, &reach.patient_id, new.subject, place).await?;
        let details = &new.details;
        let record = Record {
            id: ConsentId::random(),
            patient_id: Some(reach.patient_id.clone()),
            place,
            subject: new.subject,
            text_id: text.id,
            version: text.version,
            locale: text.locale,
            text_sha256: text.sha256,
            status: match new.given {
                None => ConsentStatus::Pending,
                Some(true) => ConsentStatus::Signed,
                Some(false) => ConsentStatus::Declined,
            },
            method,
            decided_at: now,
            recorded_at: now,
            signer_name: details.signer_name.clone().or_else(|| own_name(actor, reach.voice)),
            relation: Some(relation),
            attested_by,
            signature_ref: details.signature_ref.clone(),
            acks: details.acks,
            environment: details.environment,
            expires_at: details.expires_at,
            renewal_required: details.renewal_required.unwrap_or(false),
            revoke_reason: None,
            recorded_by: Some(actor.id()),
            supersedes: before,
            is_superseded: false,
        };
        may_sign(tx, &record, details.version, now).await?;
        ledger::insert(tx, app, org, &record, &origin).await?;
        drafts.push(event_of(&record));
        let news = news_of(tx, org, &record, now).await?;
        Ok::<_, Error>(((record, news), drafts))
    })
    .await?;
    tell(app, news).await;
    Ok(ConsentView::of(record, now))
}

/// What is to be different in a consent that is there.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// A new answer; nothing leaves it.
    pub given: Option<bool>,
    /// What is named here takes the place of what was there.
    pub details: Details,
}

/// Changes a consent: a new row that follows the old one, which stays as it is.
///
/// # Errors
/// `NOT_FOUND`; `CONSENT_FINAL` with `status` for one that was declined, taken back, is over or was followed already; and as [`submit`].
pub async fn update(app: &App, actor: &Actor, id: ConsentId, changes: Changes, origin: Origin) -> Result<ConsentView> {
    let (org, now) = (actor.org(), app.now());
    changes.details.validate(now)?;
    let (record, news) = db::audited(&app.db, org, actor, async |tx| {
        let (old, voice) = open(tx, app, actor, id, now).await?;
        let details = &changes.details;
        let mut record = Record {
            id: ConsentId::random(),
            recorded_at: now,
            recorded_by: Some(actor.id()),
            acks: old.acks.updated(details.acks),
            environment: old.environment.updated(details.environment),
            signer_name: details.signer_name.clone().or_else(|| old.signer_name.clone()),
            signature_ref: details.signature_ref.clone().or_else(|| old.signature_ref.clone()),
            relation: details.relation.or(old.relation),
            expires_at: details.expires_at.or(old.expires_at),
            renewal_required: details.renewal_required.unwrap_or(old.renewal_required),
            supersedes: Some(old.id),
            is_superseded: false,
            ..old.clone()
        };
        let mut drafts = Vec::new();
        if let Some(given) = changes.given {
            let (method, attested_by, relation) = reach::vouch(voice, &actor.id(), details.method, record.relation)?;
            (record.method, record.attested_by, record.relation) = (method, attested_by, Some(relation));
            record.decided_at = now;
            record.status = match (given, old.status) {
                (true, _) => ConsentStatus::Signed,
                (false, ConsentStatus::Signed) => ConsentStatus::Revoked,
                (false, _) => ConsentStatus::Declined,
            };
            if old.status == ConsentStatus::Pending && details.expires_at.is_none() {
                // That was the time to answer, not the time that the answer holds.
                record.expires_at = None;
            }
            if given {
                let locale = details.locale.as_deref().or(Some(&old.locale));
                let text = text_store::get_in_force(tx, org, record.subject, locale, &mut drafts).await?;
                (record.text_id, record.version) = (text.id, text.version);
                (record.locale, record.text_sha256) = (text.locale, text.sha256);
            }
        } else if details.method.is_some() || details.relation.is_some() {
            return Err(Code::Invalid.with("Say consentGiven when somebody answers anew.").into());
        }
        may_sign(tx, &record, details.version, now).await?;
        ledger::insert(tx, app, org, &record, &origin).await?;
        drafts.push(superseded(&old, &record));
        drafts.push(event_of(&record));
        let news = news_of(tx, org, &record, now).await?;
        Ok::<_, Error>(((record, news), drafts))
    })
    .await?;
    tell(app, news).await;
    Ok(ConsentView::of(record, now))
}

/// Takes a signature back. The row stays; one that says so follows it, and whatever is being captured under it stops.
///
/// # Errors
/// `NOT_FOUND`; `CONSENT_FINAL` with `status` for one that is not signed, or not any more.
pub async fn revoke(
    app: &App,
    actor: &Actor,
    id: ConsentId,
    reason: Option<RevokeReason>,
    origin: Origin,
) -> Result<ConsentView> {
    let (org, now) = (actor.org(), app.now());
    let (record, news) = db::audited(&app.db, org, actor, async |tx| {
        let (old, _) = open(tx, app, actor, id, now).await?;
        if old.status != ConsentStatus::Signed {
            return Err(r#final(old.status));
        }
        let record = Record {
            id: ConsentId::random(),
            status: ConsentStatus::Revoked,
            decided_at: now,
            recorded_at: now,
            revoke_reason: Some(reason.unwrap_or(RevokeReason::SignerRequest)),
            recorded_by: Some(actor.id()),
            supersedes: Some(old.id),
            is_superseded: false,
            ..old
        };
        ledger::insert(tx, app, org, &record, &origin).await?;
        let news = news_of(tx, org, &record, now).await?;
        Ok::<_, Error>(((record.clone(), news), vec![event_of(&record)]))
    })
    .await?;
    tell(app, news).await;
    Ok(ConsentView::of(record, now))
}

/// The consents of a patient, newest first, and the newest of each subject. The reading is audited.
///
/// # Errors
/// `NOT_FOUND` for a patient out of reach.
pub async fn list(
    app: &App,
    actor: &Actor,
    patient_id: &str,
    filter: (Option<ConsentType>, Option<StateCode>),
) -> Result<Vec<ConsentView>> {
    // A link is an invitation, not a look into what was said before.
    if matches!(actor, Actor::Attendee(_)) {
        return Err(Code::Forbidden.into());
    }
    let now = app.now();
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let reach = reach::to_patient(tx, actor, Some(patient_id), true).await?;
        let records = ledger::of_patient(tx, app, &reach.patient_id, filter).await?;
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        let draft = Draft::new(EventType::ConsentViewed).fact("count", Fact::Number(count));
        let draft = match records.first() {
            Some(newest) => draft.subject("consent", newest.id),
            None => draft,
        };
        Ok((records.into_iter().map(|record| ConsentView::of(record, now)).collect(), vec![draft]))
    })
    .await
}

/// Says through the end of which year a parent or guardian signs for a patient; nothing says that nobody has to.
///
/// # Errors
/// `NOT_FOUND` for a patient out of reach; `INVALID` for a year that makes no sense.
pub async fn set_minor(app: &App, actor: &Actor, patient_id: &str, majority_year: Option<i32>) -> Result<()> {
    let (org, now) = (actor.org(), app.now());
    if majority_year.is_some_and(|year| !(now.year() - 1..=now.year() + 25).contains(&year)) {
        return Err(Code::Invalid.with("majorityYear must be a year that a minor comes of age in.").into());
    }
    db::audited(&app.db, org, actor, async |tx| {
        let reach = reach::to_patient(tx, actor, Some(patient_id), false).await?;
        if reach.voice != Voice::Office && reach.voice != Voice::Clinician {
            return Err(Error::from(Code::Forbidden));
        }
        let id = ledger::set_minor(tx, org, (&reach.patient_id, majority_year), &actor.id(), now).await?;
        let draft = Draft::new(EventType::ConfigChanged).because("PATIENT_MINOR_SET").subject("patient_minor", id);
        Ok(((), vec![draft]))
    })
    .await
}

/// A row that may still change, and in what voice the actor speaks about it.
async fn open(tx: &mut Tx, app: &App, actor: &Actor, id: ConsentId, now: Timestamp) -> Result<(Record, Voice)> {
    let missing = || Error::from(Code::NotFound);
    let found = ledger::find(tx, app, id).await?.ok_or_else(missing)?;
    let voice = reach::to_record(tx, actor, &found).await?;
    // Of two who change it at once, the second one sees what the first one made of it.
    let key = found.patient_id.clone().unwrap_or_else(|| found.id.to_string());
    ledger::lock(tx, actor.org(), &key).await?;
    let found = ledger::find(tx, app, id).await?.ok_or_else(missing)?;
    let status = found.status_at(now);
    if found.is_superseded || !matches!(status, ConsentStatus::Pending | ConsentStatus::Signed) {
        return Err(r#final(status));
    }
    Ok((found, voice))
}

fn r#final(status: ConsentStatus) -> Error {
    Code::ConsentFinal.problem().member("consentStatus", status.as_str()).into()
}

/// A signature needs the text in force, what its type asks to have understood, and somebody who may sign.
async fn may_sign(tx: &mut Tx, record: &Record, read: Option<i32>, now: Timestamp) -> Result<()> {
    if let Some(read) = read
        && read != record.version
    {
        return Err(Code::VersionOutdated.problem().member("version", record.version).into());
    }
    if record.status != ConsentStatus::Signed {
        return Ok(());
    }
    let missing = record.acks.missing(record.subject.kind);
    if !missing.is_empty() {
        return Err(Code::AckMissing.problem().member("missing", missing).into());
    }
    let Some(patient) = &record.patient_id else { return Ok(()) };
    let is_minor = ledger::majority_year(tx, patient).await?.is_some_and(|year| now.year() <= year);
    let is_guarded =
        matches!(record.relation, Some(Relation::Parent | Relation::Guardian)) && record.signer_name.is_some();
    if is_minor && !is_guarded {
        return Err(Code::GuardianRequired.into());
    }
    Ok(())
}

/// The row that a new answer to the same thing follows.
async fn newest_open(
    tx: &mut Tx,
    app: &App,
    patient: &str,
    subject: Subject,
    place: Option<(VisitId, ParticipantId)>,
) -> Result<Option<ConsentId>> {
    let rows = ledger::of_patient(tx, app, patient, (Some(subject.kind), subject.state)).await?;
    let same = rows.into_iter().find(|row| row.subject == subject && row.place == place);
    Ok(same.filter(|row| !row.is_superseded).map(|row| row.id))
}

/// A patient in a place of their own signs by the name that they have there.
fn own_name(actor: &Actor, voice: Voice) -> Option<Redacted<String>> {
    match (voice, actor) {
        (Voice::Patient | Voice::Caregiver, Actor::Attendee(attendee)) => Some(attendee.name.clone()),
        (Voice::Patient, Actor::Staff(staff)) => staff.name.clone(),
        _ => None,
    }
}

/// The event that a row is.
fn event_of(record: &Record) -> Draft {
    let draft = Draft::new(match record.status {
        ConsentStatus::Pending => EventType::ConsentRequested,
        ConsentStatus::Signed => EventType::ConsentSigned,
        ConsentStatus::Declined => EventType::ConsentDeclined,
        ConsentStatus::Revoked => EventType::ConsentRevoked,
        ConsentStatus::Expired => EventType::ConsentExpired,
    });
    facts(draft, record)
}

fn superseded(old: &Record, new: &Record) -> Draft {
    facts(Draft::new(EventType::ConsentSuperseded), old).fact("replacedBy", Fact::Id(new.id.as_uuid()))
}

/// Which row, to what, in which version.
pub(super) fn facts(draft: Draft, record: &Record) -> Draft {
    let mut draft = draft
        .subject("consent", record.id)
        .fact("type", Fact::Word(record.subject.kind.as_str()))
        .fact("version", Fact::Number(record.version.into()))
        .fact("method", Fact::Word(record.method.as_str()));
    if let Some(state) = record.subject.state {
        draft = draft.fact("state", Fact::Word(state.as_str()));
    }
    if let Some(purpose) = record.subject.purpose {
        draft = draft.fact("purpose", Fact::Word(Purpose::as_str(purpose)));
    }
    if let Some((visit, participant)) = record.place {
        draft = draft.visit(visit).fact("participant", Fact::Id(participant.as_uuid()));
    }
    draft
}

/// Where the patient stands towards recording now, in each visit that the row bears on.
async fn news_of(tx: &mut Tx, org: OrgId, record: &Record, now: Timestamp) -> Result<News> {
    if record.subject != Subject::CLINICAL_RECORDING || record.status == ConsentStatus::Pending {
        return Ok(Vec::new());
    }
    let mut places = match &record.patient_id {
        Some(patient) => ledger::open_places(tx, patient).await?,
        None => Vec::new(),
    };
    places.extend(record.place.filter(|place| !places.contains(place)));
    standings(tx, org, places, now).await
}

/// Where people stand towards recording now.
pub(super) async fn standings(
    tx: &mut Tx,
    org: OrgId,
    places: Vec<(VisitId, ParticipantId)>,
    now: Timestamp,
) -> Result<News> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let version = store::current_text(tx, org).await?.version;
    let mut news = Vec::with_capacity(places.len());
    for (visit, participant) in places {
        let answers = store::newest_of_visit(tx, visit).await?;
        let newest = answers.iter().find(|answer| answer.participant == participant);
        news.push((visit, participant, rules::standing(newest, version, now)));
    }
    Ok(news)
}

/// Tells live rooms, and comes back when they have acted: a capture without consent has ended then.
pub(super) async fn tell(app: &App, news: News) {
    for (visit, participant, standing) in news {
        if let Some(room) = app.live.find(visit) {
            room.note_consent(participant, standing).await;
        }
    }
}
