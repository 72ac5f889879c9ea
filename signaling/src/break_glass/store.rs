//! SQL of broken glass.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::{OrgId, VisitId};

/// One opening.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) id: Uuid,
    pub(crate) sub: &'a str,
    pub(crate) visit: VisitId,
    pub(crate) sealed_reason: &'a [u8],
    pub(crate) expires_at: Timestamp,
}

pub(crate) async fn insert(tx: &mut Tx, org: OrgId, new: &Opening<'_>, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO break_glass (grant_id, org_id, sub, visit_id, sealed_reason, granted_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.id,
        org.as_uuid(),
        new.sub,
        new.visit.as_uuid(),
        new.sealed_reason,
        now,
        new.expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}
