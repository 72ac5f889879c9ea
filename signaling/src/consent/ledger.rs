//! SQL of the ledger: consents of every type. Rows are only ever added.

use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::clock::Timestamp;
use crate::consent::acks::{Acknowledgements, Device, Environment};
use crate::consent::record::{Record, Subject};
use crate::consent::{ConsentStatus, ConsentType, Method, Purpose, Relation, RevokeReason};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{ConsentId, OrgId, ParticipantId, VisitId};
use crate::state::StateCode;

/// What names of signers are sealed for.
const SIGNER: &[u8] = b"anteroom consent signer v1\0";

/// The most rows of one patient that are read at once, newest first.
pub(super) const MOST: i64 = 200;

/// From where a consent came, as far as it is kept.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// A network, never an address.
    pub ip_network: Option<String>,
    /// SHA-256 of what the browser calls itself.
    pub user_agent_sha256: Option<[u8; 32]>,
}

struct Row {
    consent_id: Uuid,
    patient_id: Option<String>,
    visit_id: Option<Uuid>,
    participant_id: Option<Uuid>,
    kind: String,
    state_code: Option<String>,
    recording_purpose: Option<String>,
    text_id: Uuid,
    version: i32,
    locale: String,
    text_sha256: Vec<u8>,
    status: String,
    method: String,
    decided_at: Timestamp,
    recorded_at: Timestamp,
    sealed_signer_name: Option<Vec<u8>>,
    signer_relation: Option<String>,
    attested_by: Option<String>,
    signature_ref: Option<String>,
    patient_rights_acknowledged: Option<bool>,
    emergency_protocols_understood: Option<bool>,
    privacy_risks_acknowledged: Option<bool>,
    has_reliable_internet: Option<bool>,
    has_private_location: Option<bool>,
    device_type: Option<String>,
    expires_at: Option<Timestamp>,
    renewal_required: bool,
    revoke_reason: Option<String>,
    recorded_by: Option<String>,
    supersedes: Option<Uuid>,
    is_superseded: bool,
}

impl Row {
    fn open(self, app: &App) -> Result<Record> {
        let unknown = || Error::Inside("a consent has a word that is unknown".to_owned());
        let kind = ConsentType::parse(&self.kind).ok_or_else(unknown)?;
        let purpose = self.recording_purpose.as_deref().and_then(Purpose::parse);
        let signer_name = match self.sealed_signer_name {
            None => None,
            Some(sealed) => {
                let name = app.keys.unseal(SIGNER, self.consent_id.as_bytes(), &sealed)?;
                Some(Redacted::new(String::from_utf8(name).map_err(|_| unknown())?))
            }
        };
        Ok(Record {
            id: ConsentId::from_uuid(self.consent_id),
            patient_id: self.patient_id,
            place: self.visit_id.map(VisitId::from_uuid).zip(self.participant_id.map(ParticipantId::from_uuid)),
            subject: Subject {
                kind,
                state: self.state_code.as_deref().and_then(StateCode::parse),
                // Rows of the first release say nothing: they are about care.
                purpose: purpose.or((kind == ConsentType::Recording).then_some(Purpose::Clinical)),
            },
            text_id: self.text_id,
            version: self.version,
            locale: self.locale,
            text_sha256: self.text_sha256,
            status: ConsentStatus::parse_stored(&self.status).ok_or_else(unknown)?,
            method: Method::parse(&self.method).ok_or_else(unknown)?,
            decided_at: self.decided_at,
            recorded_at: self.recorded_at,
            signer_name,
            relation: self.signer_relation.as_deref().and_then(Relation::parse),
            attested_by: self.attested_by,
            signature_ref: self.signature_ref,
            acks: Acknowledgements {
                patient_rights_acknowledged: self.patient_rights_acknowledged,
                emergency_protocols_understood: self.emergency_protocols_understood,
                privacy_risks_acknowledged: self.privacy_risks_acknowledged,
            },
            environment: Environment {
                has_reliable_internet: self.has_reliable_internet,
                has_private_location: self.has_private_location,
                device_type: self.device_type.as_deref().and_then(Device::parse),
            },
            expires_at: self.expires_at,
            renewal_required: self.renewal_required,
            revoke_reason: self.revoke_reason.as_deref().and_then(RevokeReason::parse),
            recorded_by: self.recorded_by,
            supersedes: self.supersedes.map(ConsentId::from_uuid),
            is_superseded: self.is_superseded,
        })
    }
}

/// The rows of a patient, newest first, [`MOST`] at most; of one type or one state when asked for.
///
/// # Errors
/// The database's own failures; a name that does not open.
pub(super) async fn of_patient(
    tx: &mut Tx,
    app: &App,
    patient_id: &str,
    (kind, state): (Option<ConsentType>, Option<StateCode>),
) -> Result<Vec<Record>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT c.consent_id,
               coalesce(c.patient_id, CASE WHEN p.role = 'PATIENT' THEN p.identity_ref END) AS patient_id,
               c.visit_id, c.participant_id, c.type AS kind, c.state_code, c.recording_purpose, c.text_id, c.version, t.locale,
               c.text_sha256, c.status, c.method, c.decided_at, coalesce(c.recorded_at, c.decided_at) AS "recorded_at!", c.sealed_signer_name, c.signer_relation, c.attested_by,
               c.signature_ref, c.patient_rights_acknowledged, c.emergency_protocols_understood, c.privacy_risks_acknowledged,
               c.has_reliable_internet, c.has_private_location, c.device_type, c.expires_at, c.renewal_required,
               c.revoke_reason, c.recorded_by, c.supersedes,
               EXISTS (SELECT FROM consent later WHERE later.supersedes = c.consent_id) AS "is_superseded!"
           FROM consent c JOIN consent_text t ON t.text_id = c.text_id
               LEFT JOIN participant p ON p.participant_id = c.participant_id
           WHERE (c.patient_id = $1 OR (c.patient_id IS NULL AND p.role = 'PATIENT' AND p.identity_ref = $1))
             AND ($2::text IS NULL OR c.type = $2) AND ($3::text IS NULL OR c.state_code = $3)
           ORDER BY c.seq DESC LIMIT $4"#,
        patient_id,
        kind.map(ConsentType::as_str),
        state.map(StateCode::as_str),
        MOST
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|row| row.open(app)).collect()
}

/// One row.
///
/// # Errors
/// `None` is not an error; the database's own failures are, and a name that does not open.
pub(super) async fn find(tx: &mut Tx, app: &App, id: ConsentId) -> Result<Option<Record>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT c.consent_id,
               coalesce(c.patient_id, CASE WHEN p.role = 'PATIENT' THEN p.identity_ref END) AS patient_id,
               c.visit_id, c.participant_id, c.type AS kind, c.state_code, c.recording_purpose, c.text_id, c.version, t.locale,
               c.text_sha256, c.status, c.method, c.decided_at, coalesce(c.recorded_at, c.decided_at) AS "recorded_at!", c.sealed_signer_name, c.signer_relation, c.attested_by,
               c.signature_ref, c.patient_rights_acknowledged, c.emergency_protocols_understood, c.privacy_risks_acknowledged,
               c.has_reliable_internet, c.has_private_location, c.device_type, c.expires_at, c.renewal_required,
               c.revoke_reason, c.recorded_by, c.supersedes,
               EXISTS (SELECT FROM consent later WHERE later.supersedes = c.consent_id) AS "is_superseded!"
           FROM consent c JOIN consent_text t ON t.text_id = c.text_id
               LEFT JOIN participant p ON p.participant_id = c.participant_id
           WHERE c.consent_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.open(app)).transpose()
}

/// Adds a row.
///
/// # Errors
/// The database's own failures.
pub(super) async fn insert(tx: &mut Tx, app: &App, org: OrgId, record: &Record, origin: &Origin) -> Result<()> {
    let sealed = match &record.signer_name {
        None => None,
        Some(name) => Some(app.keys.seal(SIGNER, record.id.as_uuid().as_bytes(), name.reveal().as_bytes())?),
    };
    sqlx::query!(
        "INSERT INTO consent (consent_id, org_id, patient_id, visit_id, participant_id, type, state_code, recording_purpose,
             text_id, version, text_sha256, status, method, decided_at, sealed_signer_name, signer_relation, attested_by,
             signature_ref, patient_rights_acknowledged, emergency_protocols_understood, privacy_risks_acknowledged,
             has_reliable_internet, has_private_location, device_type, expires_at, renewal_required, revoke_reason, recorded_by,
             supersedes, ip_network, user_agent_sha256, recorded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
             $26, $27, $28, $29, $30, $31, $32)",
        record.id.as_uuid(),
        org.as_uuid(),
        record.patient_id,
        record.place.map(|(visit, _)| visit.as_uuid()),
        record.place.map(|(_, participant)| participant.as_uuid()),
        record.subject.kind.as_str(),
        record.subject.state.map(StateCode::as_str),
        record.subject.purpose.map(Purpose::as_str),
        record.text_id,
        record.version,
        record.text_sha256,
        record.status.as_str(),
        record.method.as_str(),
        record.decided_at,
        sealed,
        record.relation.map(Relation::as_str),
        record.attested_by,
        record.signature_ref,
        record.acks.patient_rights_acknowledged,
        record.acks.emergency_protocols_understood,
        record.acks.privacy_risks_acknowledged,
        record.environment.has_reliable_internet,
        record.environment.has_private_location,
        record.environment.device_type.map(Device::as_str),
        record.expires_at,
        record.renewal_required,
        record.revoke_reason.map(RevokeReason::as_str),
        record.recorded_by,
        record.supersedes.map(ConsentId::as_uuid),
        origin.ip_network,
        origin.user_agent_sha256.as_ref().map(|hash| hash.as_slice()),
        record.recorded_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Makes whoever writes consents of one patient at once do so one after the other, to the end of the transaction.
///
/// # Errors
/// The database's own failures.
pub(super) async fn lock(tx: &mut Tx, org: OrgId, patient_id: &str) -> Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 70)) AS locked",
        format!("consent {org} {patient_id}")
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Whether the organisation has to do with the patient: a visit of theirs, or a consent. With `clinician`, whether that clinician has a
/// visit with them.
///
/// # Errors
/// The database's own failures.
pub(super) async fn is_known(tx: &mut Tx, patient_id: &str, clinician: Option<&str>) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM visit WHERE patient_id = $1 AND ($2::text IS NULL OR clinician_id = $2))
             OR ($2::text IS NULL AND EXISTS (SELECT FROM consent WHERE patient_id = $1)) AS "known!""#,
        patient_id,
        clinician
    )
    .fetch_one(tx)
    .await?;
    Ok(known)
}

/// The year through which a parent or guardian signs for the patient, if that was said.
///
/// # Errors
/// The database's own failures.
pub(super) async fn majority_year(tx: &mut Tx, patient_id: &str) -> Result<Option<i32>> {
    let newest = sqlx::query_scalar!(
        "SELECT majority_year FROM patient_minor WHERE patient_id = $1 ORDER BY seq DESC LIMIT 1",
        patient_id
    )
    .fetch_optional(tx)
    .await?;
    Ok(newest.flatten())
}

/// Says that a parent or guardian signs for a patient through a year, or that nobody has to any more.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn set_minor(
    tx: &mut Tx,
    org: OrgId,
    (patient_id, majority_year): (&str, Option<i32>),
    by: &str,
    now: Timestamp,
) -> Result<Uuid> {
    let id = Uuid::new_v4();
    sqlx::query!(
        "INSERT INTO patient_minor (minor_id, org_id, patient_id, majority_year, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6)",
        id,
        org.as_uuid(),
        patient_id,
        majority_year,
        by,
        now
    )
    .execute(tx)
    .await?;
    Ok(id)
}

/// The patient's own places in visits that are not over.
///
/// # Errors
/// The database's own failures.
pub(super) async fn open_places(tx: &mut Tx, patient_id: &str) -> Result<Vec<(VisitId, ParticipantId)>> {
    let rows = sqlx::query!(
        "SELECT p.visit_id, p.participant_id FROM participant p JOIN visit v USING (visit_id)
         WHERE p.role = 'PATIENT' AND p.identity_ref = $1 AND v.status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS')",
        patient_id
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (VisitId::from_uuid(row.visit_id), ParticipantId::from_uuid(row.participant_id)))
        .collect())
}
