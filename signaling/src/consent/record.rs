//! One row of the ledger of consents, and how people read it.

use schemars::JsonSchema;
use serde::Serialize;
use time::serde::rfc3339;
use uuid::Uuid;
use wire::Redacted;

use crate::clock::Timestamp;
use crate::consent::acks::{Acknowledgements, Environment};
use crate::consent::{ConsentStatus, ConsentType, Method, Purpose, Relation, RevokeReason};
use crate::ids::{ConsentId, ParticipantId, VisitId};
use crate::state::StateCode;

/// What a consent is to: one text at most is in force for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Which kind of consent.
    pub kind: ConsentType,
    /// For a state's own.
    pub state: Option<StateCode>,
    /// For a recording's; care when it is not said.
    pub purpose: Option<Purpose>,
}

impl Subject {
    /// To be recorded for the patient's own care.
    pub const CLINICAL_RECORDING: Self =
        Self { kind: ConsentType::Recording, state: None, purpose: Some(Purpose::Clinical) };

    /// The purpose as texts have it: that for care has none.
    #[must_use]
    pub fn text_purpose(&self) -> Option<&'static str> {
        self.purpose.filter(|purpose| *purpose != Purpose::Clinical).map(Purpose::as_str)
    }
}

/// A stored consent.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its row.
    pub id: ConsentId,
    /// Whose, in the host system; none where somebody of a visit other than the patient speaks for themselves.
    pub patient_id: Option<String>,
    /// The place in a visit that it was given from, and holds for.
    pub place: Option<(VisitId, ParticipantId)>,
    /// To what.
    pub subject: Subject,
    /// The text.
    pub text_id: Uuid,
    /// Its version.
    pub version: i32,
    /// Its language.
    pub locale: String,
    /// SHA-256 of its words.
    pub text_sha256: Vec<u8>,
    /// As stored: see [`Record::status_at`].
    pub status: ConsentStatus,
    /// How it was given.
    pub method: Method,
    /// When it was asked for, signed, declined or taken back.
    pub decided_at: Timestamp,
    /// When the row was written.
    pub recorded_at: Timestamp,
    /// As they call themselves.
    pub signer_name: Option<Redacted<String>>,
    /// Who they are to the patient.
    pub relation: Option<Relation>,
    /// The clinician who heard it.
    pub attested_by: Option<String>,
    /// Where the host system keeps a signature.
    pub signature_ref: Option<String>,
    /// What was understood.
    pub acks: Acknowledgements,
    /// From where.
    pub environment: Environment,
    /// Holds until then.
    pub expires_at: Option<Timestamp>,
    /// Is to be asked again then.
    pub renewal_required: bool,
    /// Why it was taken back.
    pub revoke_reason: Option<RevokeReason>,
    /// Who wrote the row.
    pub recorded_by: Option<String>,
    /// The row before it.
    pub supersedes: Option<ConsentId>,
    /// There is a row behind it.
    pub is_superseded: bool,
}

impl Record {
    /// Where it stands now: what was signed or asked for is over when its date has passed.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> ConsentStatus {
        match self.status {
            ConsentStatus::Signed | ConsentStatus::Pending if self.expires_at.is_some_and(|until| until <= now) => {
                ConsentStatus::Expired
            }
            status => status,
        }
    }
}

/// A consent as the API shows it: the names of the visit model, and beside them those that other systems read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/consent.md describes the fields")]
pub struct ConsentView {
    pub id: ConsentId,
    pub consent_id: ConsentId,
    pub patient_id: Option<String>,
    pub client_id: Option<String>,
    pub visit_id: Option<VisitId>,
    pub participant_id: Option<ParticipantId>,
    #[serde(rename = "type")]
    pub kind: ConsentType,
    pub consent_type: &'static str,
    pub state_code: Option<StateCode>,
    pub recording_purpose: Option<Purpose>,
    #[schemars(with = "String")]
    pub template_id: Uuid,
    pub version: i32,
    pub consent_version: String,
    pub locale: String,
    pub text_sha256: String,
    pub status: ConsentStatus,
    pub consent_given: bool,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub consent_date: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub signed_at: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub declined_at: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub revoked_at: Option<Timestamp>,
    pub revoked_by: Option<String>,
    pub revoke_reason: Option<RevokeReason>,
    pub method: Method,
    pub consent_method: Method,
    pub signer_name: Option<String>,
    pub signer_relation: Option<Relation>,
    pub attested_by: Option<String>,
    pub signature_ref: Option<String>,
    #[serde(flatten)]
    pub acknowledgements: Acknowledgements,
    pub has_reliable_internet: Option<bool>,
    pub has_private_location: Option<bool>,
    pub device_type_used: Option<&'static str>,
    pub consent_to_recording: bool,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expires_at: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub expiration_date: Option<Timestamp>,
    pub renewal_required: bool,
    pub supersedes_consent_id: Option<ConsentId>,
    pub is_superseded: bool,
    pub recorded_by: Option<String>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: Timestamp,
}

/// The type's name in systems that know three of them.
const fn other_name(subject: Subject) -> &'static str {
    match subject.kind {
        ConsentType::GeneralTelehealth => "GENERAL_TELEHEALTH",
        ConsentType::Hipaa => "HIPAA_Telehealth",
        ConsentType::Recording => "Recording",
        ConsentType::StateSpecific => match subject.state {
            Some(state) if matches!(state.as_str().as_bytes(), b"GA") => "Georgia_Telehealth",
            _ => "STATE_SPECIFIC",
        },
    }
}

impl ConsentView {
    /// As it stands at `now`.
    #[must_use]
    pub fn of(record: Record, now: Timestamp) -> Self {
        let status = record.status_at(now);
        let is_given = status == ConsentStatus::Signed;
        let when = |stored: ConsentStatus| (record.status == stored).then_some(record.decided_at);
        Self {
            id: record.id,
            consent_id: record.id,
            client_id: record.patient_id.clone(),
            patient_id: record.patient_id,
            visit_id: record.place.map(|(visit, _)| visit),
            participant_id: record.place.map(|(_, participant)| participant),
            kind: record.subject.kind,
            consent_type: other_name(record.subject),
            state_code: record.subject.state,
            recording_purpose: record.subject.purpose,
            template_id: record.text_id,
            version: record.version,
            consent_version: format!("{}.0", record.version),
            locale: record.locale,
            text_sha256: hex::encode(&record.text_sha256),
            status,
            consent_given: is_given,
            consent_date: (record.status != ConsentStatus::Pending).then_some(record.decided_at),
            signed_at: when(ConsentStatus::Signed),
            declined_at: when(ConsentStatus::Declined),
            revoked_at: when(ConsentStatus::Revoked),
            revoked_by: record.recorded_by.clone().filter(|_| record.status == ConsentStatus::Revoked),
            revoke_reason: record.revoke_reason,
            method: record.method,
            consent_method: record.method,
            signer_name: record.signer_name.map(|name| name.reveal().clone()),
            signer_relation: record.relation,
            attested_by: record.attested_by,
            signature_ref: record.signature_ref,
            acknowledgements: record.acks,
            has_reliable_internet: record.environment.has_reliable_internet,
            has_private_location: record.environment.has_private_location,
            device_type_used: record.environment.device_type.map(super::acks::Device::as_str),
            consent_to_recording: is_given && record.subject.kind == ConsentType::Recording,
            expires_at: record.expires_at,
            expiration_date: record.expires_at,
            renewal_required: record.renewal_required,
            supersedes_consent_id: record.supersedes,
            is_superseded: record.is_superseded,
            recorded_by: record.recorded_by,
            created_at: record.recorded_at,
        }
    }
}
