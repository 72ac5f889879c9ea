//! SQL of join tokens.

use uuid::Uuid;

use crate::auth::keys::SKEW;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, TokenId, VisitId};
use crate::join::{Handle, Minted, Spent, Token};
use crate::participant::Participant;

struct Row {
    token_id: Uuid,
    visit_id: Uuid,
    participant_id: Uuid,
    status: String,
    not_before: Timestamp,
    expires_at: Timestamp,
}

impl TryFrom<Row> for Token {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let spent = match row.status.as_str() {
            "ACTIVE" => Spent::Active,
            "REDEEMED" => Spent::Redeemed,
            "REVOKED" => Spent::Revoked,
            _ => return Err(Error::Inside("a token's status is unknown".to_owned())),
        };
        Ok(Self {
            id: TokenId::from_uuid(row.token_id),
            visit: VisitId::from_uuid(row.visit_id),
            participant: ParticipantId::from_uuid(row.participant_id),
            spent,
            not_before: row.not_before,
            expires_at: row.expires_at,
        })
    }
}

/// Writes a new token, and withdraws the participant's unspent ones in its favour. Returns those.
///
/// # Errors
/// The database's own failures.
pub async fn replace(
    tx: &mut Tx,
    org: OrgId,
    person: &Participant,
    new: &Minted,
    code_hash: [u8; 32],
    by: &str,
    now: Timestamp,
) -> Result<Vec<TokenId>> {
    sqlx::query!(
        "INSERT INTO join_token (token_id, org_id, visit_id, participant_id, role, short_code_hash, nonce_hash, not_before, issued_at,
             expires_at, issued_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id.as_uuid(),
        org.as_uuid(),
        person.visit.as_uuid(),
        person.id.as_uuid(),
        person.role.as_str(),
        code_hash.as_slice(),
        new.nonce_hash.as_slice(),
        new.not_before,
        now,
        new.expires_at,
        by,
    )
    .execute(&mut *tx)
    .await?;
    let revoked = sqlx::query_scalar!(
        "UPDATE join_token SET status = 'REVOKED', revoked_at = $3, revoke_reason = 'REPLACED', replaced_by = $2
         WHERE participant_id = $1 AND status = 'ACTIVE' AND token_id <> $2 RETURNING token_id",
        person.id.as_uuid(),
        new.id.as_uuid(),
        now,
    )
    .fetch_all(tx)
    .await?;
    Ok(revoked.into_iter().map(TokenId::from_uuid).collect())
}

/// Withdraws every unspent token of a visit. Returns them.
///
/// # Errors
/// The database's own failures.
pub async fn revoke_all_of_visit(tx: &mut Tx, visit: VisitId, reason: &str, now: Timestamp) -> Result<Vec<TokenId>> {
    let revoked = sqlx::query_scalar!(
        "UPDATE join_token SET status = 'REVOKED', revoked_at = $2, revoke_reason = $3
         WHERE visit_id = $1 AND status = 'ACTIVE' RETURNING token_id",
        visit.as_uuid(),
        now,
        reason,
    )
    .fetch_all(tx)
    .await?;
    Ok(revoked.into_iter().map(TokenId::from_uuid).collect())
}

/// The token that was shown, without touching it.
///
/// # Errors
/// The database's own failures.
pub async fn find(tx: &mut Tx, handle: Handle) -> Result<Option<Token>> {
    let (code, id, nonce) = columns(&handle);
    sqlx::query_as!(
        Row,
        "SELECT token_id, visit_id, participant_id, status, not_before, expires_at FROM join_token
         WHERE org_id = current_org() AND (short_code_hash = $1 OR (token_id = $2 AND nonce_hash = $3))",
        code,
        id,
        nonce,
    )
    .fetch_optional(tx)
    .await?
    .map(Token::try_from)
    .transpose()
}

/// Spends the token. Simultaneous redemptions meet in this one conditional update, so exactly one gets the row; `None` means that
/// the token cannot be spent, now or any more.
///
/// # Errors
/// The database's own failures.
pub async fn spend(tx: &mut Tx, handle: Handle, now: Timestamp) -> Result<Option<Token>> {
    let (code, id, nonce) = columns(&handle);
    sqlx::query_as!(
        Row,
        "UPDATE join_token SET usage_count = 1, status = 'REDEEMED', redeemed_at = $4
         WHERE org_id = current_org() AND (short_code_hash = $1 OR (token_id = $2 AND nonce_hash = $3))
           AND status = 'ACTIVE' AND usage_count = 0 AND not_before <= $5 AND expires_at > $6
         RETURNING token_id, visit_id, participant_id, status, not_before, expires_at",
        code,
        id,
        nonce,
        now,
        now + SKEW,
        now - SKEW,
    )
    .fetch_optional(tx)
    .await?
    .map(Token::try_from)
    .transpose()
}

fn columns(handle: &Handle) -> (Option<&[u8]>, Option<Uuid>, Option<&[u8]>) {
    match handle {
        Handle::Code(hash) => (Some(hash), None, None),
        Handle::Jwt { id, nonce_hash } => (None, Some(id.as_uuid()), Some(nonce_hash)),
    }
}
