//! `/api/v1/telehealth/consent`, its texts, and who signs for a minor.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::serde::rfc3339;
use wire::Redacted;

use crate::address::{self, Address};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::{Body, ExternalId, Id, OptionalBody, Params};
use crate::clock::Timestamp;
use crate::consent::acks::{Acknowledgements, Device, Environment};
use crate::consent::command::{self, Changes, Details, Submission};
use crate::consent::ledger::Origin;
use crate::consent::record::{ConsentView, Subject};
use crate::consent::text_store::{self, NewText};
use crate::consent::{ConsentText, ConsentType, Method, Purpose, Relation, RevokeReason, TypeName};
use crate::db;
use crate::error::{Error, Result};
use crate::ids::{ConsentId, VisitId};
use crate::problem::Code;
use crate::state::StateCode;
use crate::superset::Shape;

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// From where a request comes, as far as a consent keeps it.
fn origin(from: Address, headers: &HeaderMap) -> Origin {
    let agent = headers.get(header::USER_AGENT).map(|agent| Sha256::digest(agent.as_bytes()).into());
    Origin { ip_network: Some(address::network(from.0)), user_agent_sha256: agent }
}

/// Which consents to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    r#type: Option<TypeName>,
    state: Option<StateCode>,
}

/// A patient's consents.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsentList {
    patient_id: String,
    client_id: String,
    /// Newest first.
    consents: Vec<ConsentView>,
    /// The newest of each type, state and purpose.
    current: Vec<ConsentView>,
}

/// `GET /api/v1/telehealth/consent/{clientId}`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(patient): ExternalId,
    Params(query): Params<ListQuery>,
    shape: Shape,
) -> Result<Response> {
    actor.require(Permission::ReadConsent)?;
    let state = query.state.or_else(|| query.r#type.and_then(TypeName::state));
    let kind = query.r#type.map(TypeName::canonical);
    let consents = command::list(&app, &actor, &patient, (kind, state)).await?;
    let mut current: Vec<ConsentView> = Vec::new();
    for consent in &consents {
        let subject = |view: &ConsentView| (view.kind, view.state_code, view.recording_purpose);
        if !current.iter().any(|view| subject(view) == subject(consent)) {
            current.push(consent.clone());
        }
    }
    let list = ConsentList { client_id: patient.clone(), patient_id: patient, consents, current };
    shape.reply(StatusCode::OK, &list)
}

/// A consent to store. Left out, `consentGiven` asks the patient for it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SubmitBody {
    #[serde(alias = "patientId")]
    client_id: Option<String>,
    #[serde(alias = "type")]
    consent_type: TypeName,
    state_code: Option<StateCode>,
    consent_given: Option<bool>,
    visit_id: Option<VisitId>,
    recording_purpose: Option<Purpose>,
    patient_rights_acknowledged: Option<bool>,
    emergency_protocols_understood: Option<bool>,
    privacy_risks_acknowledged: Option<bool>,
    has_reliable_internet: Option<bool>,
    has_private_location: Option<bool>,
    device_type_used: Option<Device>,
    #[serde(alias = "method")]
    consent_method: Option<Method>,
    signer_name: Option<Redacted<String>>,
    signer_relation: Option<Relation>,
    signature_ref: Option<String>,
    consent_version: Option<Version>,
    locale: Option<String>,
    #[serde(default, alias = "expiresAt", with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    expiration_date: Option<Timestamp>,
    renewal_required: Option<bool>,
}

/// A version: a number, or text such as `2.0`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Version {
    /// As it is.
    Number(i32),
    /// Whatever follows the point is ignored.
    Text(String),
}

impl Version {
    fn number(&self) -> Result<i32> {
        let unreadable = || Error::from(Code::Invalid.with("consentVersion is not a version."));
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.split('.').next().unwrap_or(text).parse().map_err(|_| unreadable()),
        }
    }
}

impl SubmitBody {
    fn into_submission(self) -> Result<Submission> {
        let kind = self.consent_type.canonical();
        let state = match (self.consent_type.state(), self.state_code) {
            (Some(named), Some(said)) if named != said => {
                return Err(Code::Invalid.with("consentType and stateCode name two states.").into());
            }
            (named, said) => named.or(said),
        };
        if (kind == ConsentType::StateSpecific) != state.is_some() {
            return Err(Code::Invalid.with("stateCode goes with STATE_SPECIFIC, and that with stateCode.").into());
        }
        let purpose = match (kind, self.recording_purpose) {
            (ConsentType::Recording, purpose) => Some(purpose.unwrap_or(Purpose::Clinical)),
            (_, Some(_)) => return Err(Code::Invalid.with("recordingPurpose goes with RECORDING alone.").into()),
            (_, None) => None,
        };
        if self.client_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 200) {
            return Err(Code::Invalid.with("clientId must be 1 to 200 bytes.").into());
        }
        Ok(Submission {
            patient_id: self.client_id,
            subject: Subject { kind, state, purpose },
            given: self.consent_given,
            visit: self.visit_id,
            details: Details {
                acks: Acknowledgements {
                    patient_rights_acknowledged: self.patient_rights_acknowledged,
                    emergency_protocols_understood: self.emergency_protocols_understood,
                    privacy_risks_acknowledged: self.privacy_risks_acknowledged,
                },
                environment: Environment {
                    has_reliable_internet: self.has_reliable_internet,
                    has_private_location: self.has_private_location,
                    device_type: self.device_type_used,
                },
                method: self.consent_method,
                signer_name: self.signer_name,
                relation: self.signer_relation,
                signature_ref: self.signature_ref,
                version: self.consent_version.as_ref().map(Version::number).transpose()?,
                locale: self.locale,
                expires_at: self.expiration_date,
                renewal_required: self.renewal_required,
            },
        })
    }
}

/// `POST /api/v1/telehealth/consent`.
///
/// # Errors
/// As [`command::submit`].
pub async fn submit(
    State(app): State<App>,
    Caller(actor): Caller,
    from: Address,
    headers: HeaderMap,
    shape: Shape,
    Body(body): Body<SubmitBody>,
) -> Result<Response> {
    actor.require(Permission::GiveConsent)?;
    let view = command::submit(&app, &actor, body.into_submission()?, origin(from, &headers)).await?;
    shape.reply(StatusCode::CREATED, &view)
}

/// What is to be different; what is left out stays. Whose it is and to what cannot change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpdateBody {
    consent_given: Option<bool>,
    patient_rights_acknowledged: Option<bool>,
    emergency_protocols_understood: Option<bool>,
    privacy_risks_acknowledged: Option<bool>,
    has_reliable_internet: Option<bool>,
    has_private_location: Option<bool>,
    device_type_used: Option<Device>,
    #[serde(alias = "method")]
    consent_method: Option<Method>,
    signer_name: Option<Redacted<String>>,
    signer_relation: Option<Relation>,
    signature_ref: Option<String>,
    consent_version: Option<Version>,
    locale: Option<String>,
    #[serde(default, alias = "expiresAt", with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    expiration_date: Option<Timestamp>,
    renewal_required: Option<bool>,
}

/// `PUT /api/v1/telehealth/consent/{consentId}`.
///
/// # Errors
/// As [`command::update`].
pub async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<ConsentId>,
    from: Address,
    headers: HeaderMap,
    shape: Shape,
    Body(body): Body<UpdateBody>,
) -> Result<Response> {
    actor.require(Permission::GiveConsent)?;
    let changes = Changes {
        given: body.consent_given,
        details: Details {
            acks: Acknowledgements {
                patient_rights_acknowledged: body.patient_rights_acknowledged,
                emergency_protocols_understood: body.emergency_protocols_understood,
                privacy_risks_acknowledged: body.privacy_risks_acknowledged,
            },
            environment: Environment {
                has_reliable_internet: body.has_reliable_internet,
                has_private_location: body.has_private_location,
                device_type: body.device_type_used,
            },
            method: body.consent_method,
            signer_name: body.signer_name,
            relation: body.signer_relation,
            signature_ref: body.signature_ref,
            version: body.consent_version.as_ref().map(Version::number).transpose()?,
            locale: body.locale,
            expires_at: body.expiration_date,
            renewal_required: body.renewal_required,
        },
    };
    let view = command::update(&app, &actor, id, changes, origin(from, &headers)).await?;
    shape.reply(StatusCode::OK, &view)
}

/// Why a consent is taken back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeBody {
    reason: Option<RevokeReason>,
}

/// `DELETE /api/v1/telehealth/consent/{consentId}`.
///
/// # Errors
/// As [`command::revoke`].
pub async fn revoke(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<ConsentId>,
    from: Address,
    headers: HeaderMap,
    shape: Shape,
    OptionalBody(body): OptionalBody<RevokeBody>,
) -> Result<Response> {
    actor.require(Permission::GiveConsent)?;
    let view = command::revoke(&app, &actor, id, body.reason, origin(from, &headers)).await?;
    shape.reply(StatusCode::OK, &view)
}

/// Which text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextQuery {
    r#type: TypeName,
    state: Option<StateCode>,
    purpose: Option<Purpose>,
    locale: Option<String>,
}

/// A text that people sign.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/consent.md describes the fields")]
pub struct TextView {
    #[schemars(with = "String")]
    pub template_id: uuid::Uuid,
    #[serde(rename = "type")]
    pub kind: ConsentType,
    pub state_code: Option<StateCode>,
    pub recording_purpose: Option<Purpose>,
    pub version: i32,
    pub locale: String,
    pub body: String,
    pub sha256: String,
}

impl TextView {
    /// As people read it.
    #[must_use]
    pub fn of(subject: Subject, text: ConsentText) -> Self {
        Self {
            template_id: text.id,
            kind: subject.kind,
            state_code: subject.state,
            recording_purpose: subject.purpose,
            version: text.version,
            locale: text.locale,
            body: text.body,
            sha256: hex::encode(text.sha256),
        }
    }
}

fn subject(named: TypeName, state: Option<StateCode>, purpose: Option<Purpose>) -> Subject {
    let kind = named.canonical();
    let state = named.state().or(state).filter(|_| kind == ConsentType::StateSpecific);
    let is_recording = kind == ConsentType::Recording;
    Subject { kind, state, purpose: is_recording.then(|| purpose.unwrap_or(Purpose::Clinical)) }
}

/// `GET /api/v1/telehealth/consent-texts`: the version in force.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn text(State(app): State<App>, Caller(actor): Caller, Params(query): Params<TextQuery>) -> Result<Response> {
    let subject = subject(query.r#type, query.state, query.purpose);
    let org = actor.org();
    let text =
        db::scoped(&app.db, org, async |tx| text_store::find_in_force(tx, org, subject, query.locale.as_deref()).await)
            .await?
            .ok_or_else(|| Error::from(Code::NotFound))?;
    Ok((NO_STORE, Json(TextView::of(subject, text))).into_response())
}

/// A text to publish: the next version, or the one in force in another language.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PublishBody {
    #[serde(alias = "type")]
    consent_type: TypeName,
    state_code: Option<StateCode>,
    recording_purpose: Option<Purpose>,
    locale: Option<String>,
    body: String,
    translates_version: Option<i32>,
}

/// `POST /api/v1/telehealth/consent-texts`.
///
/// # Errors
/// `FORBIDDEN`, `INVALID`, `VERSION_OUTDATED`.
pub async fn publish(State(app): State<App>, Caller(actor): Caller, Body(body): Body<PublishBody>) -> Result<Response> {
    actor.require(Permission::ManageOrganization)?;
    let locale = body.locale.unwrap_or_else(|| text_store::ENGLISH.to_owned());
    let subject = subject(body.consent_type, body.state_code, body.recording_purpose);
    if !command::is_locale(&locale) {
        return Err(Code::Invalid.with("locale must be like en-US.").into());
    }
    if (subject.kind == ConsentType::StateSpecific) != subject.state.is_some() {
        return Err(Code::Invalid.with("stateCode goes with STATE_SPECIFIC, and that with stateCode.").into());
    }
    if body.body.trim().is_empty() || body.body.chars().count() > 20_000 || body.body.contains('\0') {
        return Err(Code::Invalid.with("body must be 1 to 20000 characters.").into());
    }
    let new = NewText { subject, locale, body: body.body, translates: body.translates_version };
    let org = actor.org();
    let text = db::audited(&app.db, org, &actor, async |tx| {
        let (text, draft) = text_store::publish(tx, org, &new, Some(&actor.id())).await?;
        Ok::<_, Error>((text, vec![draft]))
    })
    .await?;
    Ok((StatusCode::CREATED, NO_STORE, Json(TextView::of(subject, text))).into_response())
}

/// Through the end of which year a parent or guardian signs; `null` lifts it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MinorBody {
    majority_year: Option<i32>,
}

/// `PUT /api/v1/telehealth/patients/{patientId}/minor`.
///
/// # Errors
/// As [`command::set_minor`].
pub async fn set_minor(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(patient): ExternalId,
    Body(body): Body<MinorBody>,
) -> Result<StatusCode> {
    actor.require(Permission::CreateVisit)?;
    command::set_minor(&app, &actor, &patient, body.majority_year).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a state's law asks before a recording.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/consent.md describes the fields")]
pub struct RuleView {
    pub state_code: StateCode,
    pub state: String,
    pub rule: crate::consent::rulebook::Law,
    pub floor: crate::consent::rulebook::Floor,
    /// Always true: everybody is asked, whatever the law asks.
    pub everybody_is_asked: bool,
    pub statute: String,
    pub sources: Vec<String>,
    pub source_kind: crate::consent::rulebook::SourceKind,
    pub private_place_video: crate::consent::rulebook::PrivatePlace,
    pub announce_in_recording: bool,
    pub notice: &'static str,
    pub legal_note: String,
    pub last_reviewed: String,
    pub is_review_due: bool,
}

/// `GET /api/v1/telehealth/recording-rules/{state}`.
///
/// # Errors
/// `NOT_FOUND` for what is no state.
pub async fn rule(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(state): ExternalId,
) -> Result<Json<RuleView>> {
    actor.require(Permission::ReadRules)?;
    let rule = StateCode::parse(&state).and_then(crate::consent::rulebook::find);
    let rule = rule.ok_or_else(|| Error::from(Code::NotFound))?;
    Ok(Json(RuleView {
        state_code: rule.state_code,
        state: rule.state.clone(),
        rule: rule.rule,
        floor: rule.floor,
        everybody_is_asked: true,
        statute: rule.statute.clone(),
        sources: rule.sources.split(' ').map(ToOwned::to_owned).collect(),
        source_kind: rule.source_kind,
        private_place_video: rule.private_place_video,
        announce_in_recording: rule.announce_in_recording,
        notice: rule.notice(),
        legal_note: rule.legal_note().to_owned(),
        last_reviewed: rule.last_reviewed.to_string(),
        is_review_due: !rule.is_fresh(app.now().date()),
    }))
}
