//! SQL of consents to recording. Rows are only ever added.

use uuid::Uuid;

use crate::audit::{Draft, EventType, Fact};
use crate::clock::Timestamp;
use crate::consent::{Answer, ConsentStatus, ConsentText, Decision, rules};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{ConsentId, OrgId, ParticipantId, VisitId};

/// The version of the recording consent that is in force.
///
/// # Errors
/// When the organisation has none, which would be a defect; the database's own failures.
pub async fn current_text(tx: &mut Tx, org: OrgId) -> Result<ConsentText> {
    let row = sqlx::query!(
        "SELECT text_id, version, locale, body, sha256 FROM consent_text
         WHERE org_id = $1 AND type = 'RECORDING' ORDER BY version DESC LIMIT 1",
        org.as_uuid()
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| Error::Inside("an organisation has no recording consent".to_owned()))?;
    Ok(ConsentText { id: row.text_id, version: row.version, locale: row.locale, body: row.body, sha256: row.sha256 })
}

/// Each participant's newest answer, for everyone of a visit who ever gave one.
///
/// # Errors
/// The database's own failures.
pub async fn newest_of_visit(tx: &mut Tx, visit: VisitId) -> Result<Vec<Answer>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (participant_id) consent_id, participant_id, version, text_sha256, status, decided_at, expires_at
         FROM consent WHERE visit_id = $1 AND type = 'RECORDING' ORDER BY participant_id, seq DESC",
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
                status: parse_status(&row.status)?,
                decided_at: row.decided_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

fn parse_status(text: &str) -> Result<ConsentStatus> {
    match text {
        "SIGNED" => Ok(ConsentStatus::Signed),
        "DECLINED" => Ok(ConsentStatus::Declined),
        "REVOKED" => Ok(ConsentStatus::Revoked),
        _ => Err(Error::Inside("a consent's status is unknown".to_owned())),
    }
}

/// Stores what a participant says to the version `answered`, behind their earlier answers. Returns it with its audit event.
///
/// # Errors
/// `CONSENT_OUTDATED` for a signature under another version than the one in force; the database's own failures.
pub async fn answer(
    tx: &mut Tx,
    org: OrgId,
    (visit, participant): (VisitId, ParticipantId),
    (decision, answered): (Decision, i32),
    now: Timestamp,
) -> Result<(Answer, Draft)> {
    let text = current_text(tx, org).await?;
    // Two answers of one person at once get an order: the row of the participant is theirs to wait at.
    sqlx::query!("SELECT participant_id FROM participant WHERE participant_id = $1 FOR UPDATE", participant.as_uuid())
        .fetch_one(&mut *tx)
        .await?;
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
    };
    let supersedes: Option<Uuid> = newest.map(|answer| answer.id.as_uuid());
    sqlx::query!(
        "INSERT INTO consent (consent_id, org_id, visit_id, participant_id, type, text_id, version, text_sha256, status, decided_at, supersedes)
         VALUES ($1, $2, $3, $4, 'RECORDING', $5, $6, $7, $8, $9, $10)",
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
    )
    .execute(tx)
    .await?;
    let event_type = match status {
        ConsentStatus::Signed => EventType::ConsentSigned,
        ConsentStatus::Revoked => EventType::ConsentRevoked,
        ConsentStatus::Declined | ConsentStatus::Pending => EventType::ConsentDeclined,
    };
    let event = Draft::new(event_type)
        .visit(visit)
        .subject("consent", answer.id.as_uuid())
        .fact("participant", Fact::Id(participant.as_uuid()))
        .fact("version", Fact::Number(text.version.into()));
    Ok((answer, event))
}
