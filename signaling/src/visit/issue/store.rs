//! SQL of technical issues.

use crate::db::Tx;
use crate::error::Result;
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::visit::issue::Issue;

/// Writes a report.
///
/// # Errors
/// The database's own failures.
pub(super) async fn insert(tx: &mut Tx, org: OrgId, issue: &Issue, by: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO technical_issue (issue_id, org_id, visit_id, participant_id, reported_by, category, severity, reported_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        issue.issue_id.as_uuid(),
        org.as_uuid(),
        issue.visit_id.as_uuid(),
        issue.participant_id.map(ParticipantId::as_uuid),
        by,
        issue.category.as_str(),
        issue.severity.as_str(),
        issue.reported_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How many reports a visit has.
///
/// # Errors
/// The database's own failures.
pub(super) async fn count(tx: &mut Tx, visit: VisitId) -> Result<i64> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM technical_issue WHERE visit_id = $1"#, visit.as_uuid())
            .fetch_one(tx)
            .await?;
    Ok(count)
}

/// Whether a visit has any report.
///
/// # Errors
/// The database's own failures.
pub async fn exists(tx: &mut Tx, visit: VisitId) -> Result<bool> {
    Ok(count(tx, visit).await? > 0)
}
