//! SQL of participants.

use wire::Redacted;

use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::participant::{Participant, Role};

struct Row {
    participant_id: uuid::Uuid,
    visit_id: uuid::Uuid,
    role: String,
    identity_ref: String,
    display_name: String,
}

impl TryFrom<Row> for Participant {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: ParticipantId::from_uuid(row.participant_id),
            visit: VisitId::from_uuid(row.visit_id),
            role: Role::parse(&row.role).ok_or_else(|| Error::Inside("a participant's role is unknown".to_owned()))?,
            identity: row.identity_ref,
            name: Redacted::new(row.display_name),
        })
    }
}

/// Adds somebody to a visit.
///
/// # Errors
/// The database's own failures.
pub async fn insert(tx: &mut Tx, org: OrgId, participant: &Participant) -> Result<()> {
    sqlx::query!(
        "INSERT INTO participant (participant_id, org_id, visit_id, role, identity_ref, display_name) VALUES ($1, $2, $3, $4, $5, $6)",
        participant.id.as_uuid(),
        org.as_uuid(),
        participant.visit.as_uuid(),
        participant.role.as_str(),
        participant.identity,
        participant.name.reveal(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Everyone who belongs to any of the visits.
///
/// # Errors
/// The database's own failures.
pub async fn of_visits(tx: &mut Tx, visits: &[uuid::Uuid]) -> Result<Vec<Participant>> {
    sqlx::query_as!(
        Row,
        "SELECT participant_id, visit_id, role, identity_ref, display_name FROM participant
         WHERE visit_id = ANY($1) AND removed_at IS NULL ORDER BY created_at, participant_id",
        visits
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(Participant::try_from)
    .collect()
}

/// One participant by id.
///
/// # Errors
/// The database's own failures.
pub async fn find(tx: &mut Tx, id: ParticipantId) -> Result<Option<Participant>> {
    sqlx::query_as!(
        Row,
        "SELECT participant_id, visit_id, role, identity_ref, display_name FROM participant
         WHERE participant_id = $1 AND removed_at IS NULL",
        id.as_uuid()
    )
    .fetch_optional(tx)
    .await?
    .map(Participant::try_from)
    .transpose()
}

/// The place that somebody of the host system has in a visit, in one role.
///
/// # Errors
/// The database's own failures.
pub async fn find_by_identity(tx: &mut Tx, visit: VisitId, role: Role, identity: &str) -> Result<Option<Participant>> {
    sqlx::query_as!(
        Row,
        "SELECT participant_id, visit_id, role, identity_ref, display_name FROM participant
         WHERE visit_id = $1 AND role = $2 AND identity_ref = $3 AND removed_at IS NULL",
        visit.as_uuid(),
        role.as_str(),
        identity
    )
    .fetch_optional(tx)
    .await?
    .map(Participant::try_from)
    .transpose()
}
