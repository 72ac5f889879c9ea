//! SQL of join tokens.

use uuid::Uuid;

use crate::auth::keys::SKEW;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use ::proof::Thumbprint;

use crate::auth::extract::SessionToken;
use crate::ids::{OrgId, ParticipantId, TokenId, VisitId};
use crate::join::context::Context;
use crate::join::{Claim, Handle, Minted, Spent, Token};
use crate::participant::Participant;

struct Row {
    token_id: Uuid,
    visit_id: Uuid,
    participant_id: Uuid,
    status: String,
    lease_until: Option<Timestamp>,
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
            lease_until: row.lease_until,
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
             expires_at, issued_by, purpose)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
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
        new.purpose.as_str(),
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
        "SELECT token_id, visit_id, participant_id, status, lease_until, not_before, expires_at FROM join_token
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

/// Counts one more sending of a visit's links, unless there were `most` already: then `None`.
///
/// # Errors
/// The database's own failures.
pub async fn count_resend(tx: &mut Tx, visit: VisitId, most: i32) -> Result<Option<i32>> {
    let number = sqlx::query_scalar!(
        "UPDATE visit SET link_resends = link_resends + 1 WHERE visit_id = $1 AND link_resends < $2 RETURNING link_resends",
        visit.as_uuid(),
        most,
    );
    Ok(number.fetch_optional(tx).await?)
}

/// The token of a claim.
///
/// # Errors
/// The database's own failures.
pub async fn find_by_id(tx: &mut Tx, id: TokenId) -> Result<Option<Token>> {
    sqlx::query_as!(
        Row,
        "SELECT token_id, visit_id, participant_id, status, lease_until, not_before, expires_at FROM join_token
         WHERE org_id = current_org() AND token_id = $1",
        id.as_uuid(),
    )
    .fetch_optional(tx)
    .await?
    .map(Token::try_from)
    .transpose()
}

/// Keeps the token for one key until `until`. It stays ACTIVE: a claim that is not confirmed lapses. The same key may claim again, and
/// gets a new secret for its session; another one gets `None` as long as the claim holds, and so does everyone once the token cannot be
/// spent any more.
///
/// # Errors
/// The database's own failures.
pub async fn lease(
    tx: &mut Tx,
    handle: Handle,
    key: &Thumbprint,
    session: &SessionToken,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Token>> {
    let (code, id, nonce) = columns(&handle);
    let secret_hash = session.secret_hash();
    sqlx::query_as!(
        Row,
        "UPDATE join_token SET lease_key = $4, lease_until = $5, lease_session = $6, lease_secret_hash = $7
         WHERE org_id = current_org() AND (short_code_hash = $1 OR (token_id = $2 AND nonce_hash = $3))
           AND status = 'ACTIVE' AND usage_count = 0 AND not_before <= $8 AND expires_at > $9
           AND (lease_until IS NULL OR lease_until <= $10 OR lease_key = $4)
         RETURNING token_id, visit_id, participant_id, status, lease_until, not_before, expires_at",
        code,
        id,
        nonce,
        key.as_str(),
        until,
        session.session.as_uuid(),
        secret_hash.as_slice(),
        now + SKEW,
        now - SKEW,
        now,
    )
    .fetch_optional(tx)
    .await?
    .map(Token::try_from)
    .transpose()
}

/// The claim whose session secret fits, while it holds.
///
/// # Errors
/// The database's own failures.
pub async fn find_claim(tx: &mut Tx, session: &SessionToken, now: Timestamp) -> Result<Option<Claim>> {
    let secret_hash = session.secret_hash();
    let row = sqlx::query!(
        r#"SELECT token_id, visit_id, participant_id, lease_key AS "lease_key!" FROM join_token
           WHERE org_id = current_org() AND lease_session = $1 AND lease_secret_hash = $2 AND lease_key IS NOT NULL
             AND status = 'ACTIVE' AND lease_until > $3"#,
        session.session.as_uuid(),
        secret_hash.as_slice(),
        now,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Claim {
        org: session.org,
        token: TokenId::from_uuid(row.token_id),
        visit: VisitId::from_uuid(row.visit_id),
        participant: ParticipantId::from_uuid(row.participant_id),
        session: session.session,
        key: Thumbprint::from_stored(row.lease_key),
    }))
}

/// Spends a claimed token and moves its secret into a session. Simultaneous confirmations meet in this one conditional update, so exactly
/// one gets the row; `None` means that the claim has lapsed, that the token is spent, or that it cannot be spent any more.
///
/// # Errors
/// The database's own failures.
pub async fn confirm(tx: &mut Tx, claim: &Claim, context: &Context, now: Timestamp) -> Result<Option<Confirmed>> {
    let row = sqlx::query!(
        r#"UPDATE join_token SET usage_count = 1, status = 'REDEEMED', redeemed_at = $4, redeemed_key = $3, redemption_net = $7,
             redemption_ua = $8
           WHERE org_id = current_org() AND token_id = $1 AND lease_session = $2 AND lease_key = $3 AND lease_until > $4
             AND status = 'ACTIVE' AND usage_count = 0 AND not_before <= $5 AND expires_at > $6
           RETURNING token_id, visit_id, participant_id, lease_secret_hash AS "secret_hash!""#,
        claim.token.as_uuid(),
        claim.session.as_uuid(),
        claim.key.as_str(),
        now,
        now + SKEW,
        now - SKEW,
        context.net,
        context.ua.as_slice(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Confirmed {
        token: TokenId::from_uuid(row.token_id),
        visit: VisitId::from_uuid(row.visit_id),
        participant: ParticipantId::from_uuid(row.participant_id),
        secret_hash: row.secret_hash,
    }))
}

/// What [`confirm`] found in the row that it spent.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// The token.
    pub token: TokenId,
    /// For which visit.
    pub visit: VisitId,
    /// For whom.
    pub participant: ParticipantId,
    /// SHA-256 of the session's secret.
    pub secret_hash: Vec<u8>,
}

/// Spends the token without a key, unless a browser has claimed it. One conditional update, as in [`confirm`].
///
/// # Errors
/// The database's own failures.
pub async fn spend(tx: &mut Tx, handle: Handle, context: &Context, now: Timestamp) -> Result<Option<Token>> {
    let (code, id, nonce) = columns(&handle);
    sqlx::query_as!(
        Row,
        "UPDATE join_token SET usage_count = 1, status = 'REDEEMED', redeemed_at = $4, redemption_net = $7, redemption_ua = $8
         WHERE org_id = current_org() AND (short_code_hash = $1 OR (token_id = $2 AND nonce_hash = $3))
           AND status = 'ACTIVE' AND usage_count = 0 AND not_before <= $5 AND expires_at > $6
           AND (lease_until IS NULL OR lease_until <= $4)
         RETURNING token_id, visit_id, participant_id, status, lease_until, not_before, expires_at",
        code,
        id,
        nonce,
        now,
        now + SKEW,
        now - SKEW,
        context.net,
        context.ua.as_slice(),
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
