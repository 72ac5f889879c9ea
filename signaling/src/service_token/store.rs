//! SQL of service tokens.

use uuid::Uuid;

use crate::auth::extract::SessionToken;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;
use crate::service_token::{TokenView, Wanted};

/// What a request needs to know of a token.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) permissions: Vec<String>,
    pub(crate) last_used_at: Option<Timestamp>,
}

pub(crate) async fn insert(
    tx: &mut Tx,
    token: &SessionToken,
    (wanted, by): (&Wanted, &str),
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<TokenView> {
    let secret_hash = token.secret_hash();
    Ok(sqlx::query_as!(
        TokenView,
        "INSERT INTO service_token (token_id, org_id, name, secret_hash, permissions, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         RETURNING token_id, name, permissions, created_at, expires_at, last_used_at, revoked_at",
        token.session.as_uuid(),
        token.org.as_uuid(),
        wanted.name,
        secret_hash.as_slice(),
        &wanted.permissions,
        by,
        now,
        expires_at,
    )
    .fetch_one(tx)
    .await?)
}

pub(crate) async fn count_in_use(tx: &mut Tx, org: OrgId, now: Timestamp) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM service_token WHERE org_id = $1 AND revoked_at IS NULL AND expires_at > $2"#,
        org.as_uuid(),
        now,
    )
    .fetch_one(tx)
    .await?)
}

pub(crate) async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<TokenView>> {
    Ok(sqlx::query_as!(
        TokenView,
        "SELECT token_id, name, permissions, created_at, expires_at, last_used_at, revoked_at FROM service_token
         WHERE org_id = $1 ORDER BY created_at, token_id LIMIT 1000",
        org.as_uuid()
    )
    .fetch_all(tx)
    .await?)
}

pub(crate) async fn revoke(tx: &mut Tx, org: OrgId, id: Uuid, now: Timestamp) -> Result<Option<TokenView>> {
    Ok(sqlx::query_as!(
        TokenView,
        "UPDATE service_token SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND token_id = $2
         RETURNING token_id, name, permissions, created_at, expires_at, last_used_at, revoked_at",
        org.as_uuid(),
        id,
        now,
    )
    .fetch_optional(tx)
    .await?)
}

pub(crate) async fn find_live(tx: &mut Tx, token: &SessionToken, now: Timestamp) -> Result<Option<Live>> {
    let secret_hash = token.secret_hash();
    Ok(sqlx::query_as!(
        Live,
        "SELECT permissions, last_used_at FROM service_token
         WHERE token_id = $1 AND secret_hash = $2 AND revoked_at IS NULL AND expires_at > $3",
        token.session.as_uuid(),
        secret_hash.as_slice(),
        now,
    )
    .fetch_optional(tx)
    .await?)
}

pub(crate) async fn note_use(tx: &mut Tx, token: &SessionToken, now: Timestamp) -> Result<()> {
    sqlx::query!("UPDATE service_token SET last_used_at = $2 WHERE token_id = $1", token.session.as_uuid(), now)
        .execute(tx)
        .await?;
    Ok(())
}
