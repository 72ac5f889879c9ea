//! SQL of codes that somebody confirmed. Rows are only added; the newest of a visit counts.

use sqlx::types::Json;
use uuid::Uuid;

use crate::billing::Facts;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::location::PlaceKind;

/// Codes as they were set.
#[derive(Clone, Debug)]
pub struct Set {
    /// Place of service.
    pub pos: Option<String>,
    /// In their order.
    pub modifiers: Vec<String>,
    /// Whose rules were asked.
    pub payer_profile: String,
    /// What was said to have happened.
    pub facts: Facts,
    /// The rules that led to the suggestion, or were broken.
    pub rule_ids: Vec<String>,
    /// Of the table.
    pub table_version: String,
    /// How sure the suggestion was.
    pub confidence: String,
    /// Set against the rules, and why.
    pub override_reason: Option<String>,
    /// When.
    pub set_at: Timestamp,
    /// By whom.
    pub set_by: String,
}

/// Adds what was set.
///
/// # Errors
/// The database's own failures.
pub async fn insert(tx: &mut Tx, (org, visit): (OrgId, VisitId), set: &Set) -> Result<Uuid> {
    let id = Uuid::new_v4();
    sqlx::query!(
        "INSERT INTO visit_billing (billing_id, org_id, visit_id, place_of_service, modifiers, payer_profile, facts, rule_ids,
             table_version, confidence, override_reason, set_at, set_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id,
        org.as_uuid(),
        visit.as_uuid(),
        set.pos,
        &set.modifiers,
        set.payer_profile,
        Json(set.facts) as _,
        &set.rule_ids,
        set.table_version,
        set.confidence,
        set.override_reason,
        set.set_at,
        set.set_by
    )
    .execute(tx)
    .await?;
    Ok(id)
}

/// What was set last.
///
/// # Errors
/// The database's own failures.
pub async fn newest(tx: &mut Tx, visit: VisitId) -> Result<Option<Set>> {
    let row = sqlx::query!(
        r#"SELECT place_of_service, modifiers, payer_profile, facts AS "facts: Json<Facts>", rule_ids, table_version, confidence,
               override_reason, set_at, set_by
           FROM visit_billing WHERE visit_id = $1 ORDER BY seq DESC LIMIT 1"#,
        visit.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Set {
        pos: row.place_of_service,
        modifiers: row.modifiers,
        payer_profile: row.payer_profile,
        facts: row.facts.0,
        rule_ids: row.rule_ids,
        table_version: row.table_version,
        confidence: row.confidence,
        override_reason: row.override_reason,
        set_at: row.set_at,
        set_by: row.set_by,
    }))
}

/// In what kind of place the patient of a visit said last that they were.
///
/// # Errors
/// The database's own failures.
pub async fn place_of_patient(tx: &mut Tx, visit: VisitId) -> Result<Option<PlaceKind>> {
    let kind = sqlx::query_scalar!(
        "SELECT a.kind FROM location_attestation a JOIN participant p USING (participant_id)
         WHERE a.visit_id = $1 AND p.role = 'PATIENT' ORDER BY a.seq DESC LIMIT 1",
        visit.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    let unknown = || Error::Inside("a place has a word that is unknown".to_owned());
    kind.map(|kind| PlaceKind::parse(&kind).ok_or_else(unknown)).transpose()
}
