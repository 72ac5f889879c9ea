//! SQL of consents to recording. Rows are only ever added.

use uuid::Uuid;

use crate::audit::{Draft, EventType, Fact};
use crate::clock::Timestamp;
use crate::consent::record::Subject;
use crate::consent::{Answer, ConsentStatus, ConsentText, Decision, ledger, rules, text_store};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{ConsentId, OrgId, ParticipantId, VisitId};
use crate::participant::Role;
use crate::problem::Code;

/// The version of the consent to clinical recording that is in force, in English where it can be had.
///
/// # Errors
/// When the organisation has none, which would be a defect; the database's own failures.
pub async fn current_text(tx: &mut Tx, org: OrgId) -> Result<ConsentText> {
    text_store::find_in_force(tx, org, Subject::CLINICAL_RECORDING, None)
        .await?
        .ok_or_else(|| Error::Inside("an organisation has no recording consent".to_owned()))
}

/// Each participant's newest answer to clinical recording, for everyone of a visit who ever gave one. What a patient signed for all their
/// visits counts beside what they said in this one; and a no of theirs counts wherever they said it.
///
/// # Errors
/// The database's own failures.
pub async fn newest_of_visit(tx: &mut Tx, visit: VisitId) -> Result<Vec<Answer>> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (p.participant_id) p.participant_id, c.consent_id AS "consent_id!", c.version AS "version!",
               c.text_sha256 AS "text_sha256!", c.status AS "status!", c.decided_at AS "decided_at!", c.expires_at AS "expires_at?",
               (c.participant_id = p.participant_id) IS TRUE AS "is_own!"
           FROM participant p CROSS JOIN LATERAL (
               (SELECT * FROM consent own
                WHERE own.participant_id = p.participant_id AND own.type = 'RECORDING' AND own.status <> 'PENDING'
                  AND coalesce(own.recording_purpose, 'CLINICAL') = 'CLINICAL'
                ORDER BY own.seq DESC LIMIT 1)
               UNION ALL
               (SELECT * FROM consent general
                WHERE p.role = 'PATIENT' AND general.patient_id = p.identity_ref AND general.type = 'RECORDING'
                  AND general.status <> 'PENDING' AND coalesce(general.recording_purpose, 'CLINICAL') = 'CLINICAL'
                  AND (general.visit_id IS NULL OR general.status <> 'SIGNED')
                ORDER BY general.seq DESC LIMIT 1)) c
           WHERE p.visit_id = $1 ORDER BY p.participant_id, c.seq DESC"#,
        visit.as_uuid()
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Answer {
                id: ConsentId::from_uuid(row.consent_id),
                participant: ParticipantId::from_uuid(row.participant_id),
                version: row.version,
                text_sha256: row.text_sha256,
                status: ConsentStatus::parse_stored(&row.status)
                    .ok_or_else(|| Error::Inside("a consent's status is unknown".to_owned()))?,
                decided_at: row.decided_at,
                expires_at: row.expires_at,
                is_own: row.is_own,
            })
        })
        .collect()
}

/// Stores what a participant says to the version `answered`, behind their earlier answers. Returns it with its audit event.
///
/// # Errors
/// `CONSENT_OUTDATED` for a signature under another version than the one in force; `GUARDIAN_REQUIRED` for one of a minor, which a parent or
/// guardian gives by the consent API; the database's own failures.
pub async fn answer(
    tx: &mut Tx,
    org: OrgId,
    (visit, participant): (VisitId, ParticipantId),
    (decision, answered): (Decision, i32),
    now: Timestamp,
) -> Result<(Answer, Draft)> {
    let text = current_text(tx, org).await?;
    // Two answers of one person at once get an order: the row of the participant is theirs to wait at.
    let person = sqlx::query!(
        "SELECT role, identity_ref FROM participant WHERE participant_id = $1 FOR UPDATE",
        participant.as_uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    let patient_id = (person.role == Role::Patient.as_str()).then_some(person.identity_ref);
    if let (Some(patient), Decision::Sign) = (&patient_id, decision)
        && ledger::majority_year(tx, patient).await?.is_some_and(|year| now.year() <= year)
    {
        return Err(Code::GuardianRequired.into());
    }
    let newest = newest_of_visit(tx, visit).await?.into_iter().find(|answer| answer.participant == participant);
    let status = rules::outcome(decision, answered, text.version, newest.as_ref())?;
    let answer = Answer {
        id: ConsentId::random(),
        participant,
        version: text.version,
        text_sha256: text.sha256.clone(),
        status,
        decided_at: now,
        expires_at: None,
        is_own: true,
    };
    let supersedes: Option<Uuid> = newest.filter(|answer| answer.is_own).map(|answer| answer.id.as_uuid());
    sqlx::query!(
        "INSERT INTO consent (consent_id, org_id, visit_id, participant_id, type, recording_purpose, text_id, version, text_sha256, status,
             decided_at, supersedes, patient_id)
         VALUES ($1, $2, $3, $4, 'RECORDING', 'CLINICAL', $5, $6, $7, $8, $9, $10, $11)",
        answer.id.as_uuid(),
        org.as_uuid(),
        visit.as_uuid(),
        participant.as_uuid(),
        text.id,
        text.version,
        text.sha256,
        status.as_str(),
        now,
        supersedes,
        patient_id,
    )
    .execute(tx)
    .await?;
    let event_type = match status {
        ConsentStatus::Signed => EventType::ConsentSigned,
        ConsentStatus::Revoked => EventType::ConsentRevoked,
        ConsentStatus::Declined | ConsentStatus::Pending | ConsentStatus::Expired => EventType::ConsentDeclined,
    };
    let event = Draft::new(event_type)
        .visit(visit)
        .subject("consent", answer.id.as_uuid())
        .fact("participant", Fact::Id(participant.as_uuid()))
        .fact("version", Fact::Number(text.version.into()));
    Ok((answer, event))
}
