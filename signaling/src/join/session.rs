//! The session that a redeemed token gives a browser. A participant has one that lives.

use time::Duration;
use wire::Redacted;

use crate::auth::Attendee;
use crate::auth::extract::SessionToken;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, SessionId, TokenId, VisitId};
use crate::join::Token;
use crate::participant::Role;
use crate::visit::Visit;

/// How long a session outlives the visit's planned end.
const GRACE: Duration = Duration::hours(1);

/// How long a session lives at most.
const LONGEST: Duration = Duration::hours(12);

/// Until when a session that begins at `now` holds.
#[must_use]
pub fn expiry(visit: &Visit, now: Timestamp) -> Timestamp {
    let planned = now.max(visit.scheduled_start) + Duration::minutes(visit.duration_min.into()) + GRACE;
    planned.min(now + LONGEST)
}

/// Writes a new session after its predecessors were revoked.
///
/// # Errors
/// The database's own failures.
pub async fn insert(
    tx: &mut Tx,
    session: &SessionToken,
    token: &Token,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    let secret_hash = session.secret_hash();
    sqlx::query!(
        "INSERT INTO visit_session (session_id, org_id, visit_id, participant_id, token_id, secret_hash, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        session.session.as_uuid(),
        session.org.as_uuid(),
        token.visit.as_uuid(),
        token.participant.as_uuid(),
        token.id.as_uuid(),
        secret_hash.as_slice(),
        now,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends whatever session of the participant lives. Returns it. Its socket is closed by the live room.
///
/// # Errors
/// The database's own failures.
pub async fn revoke_of_participant(
    tx: &mut Tx,
    participant: ParticipantId,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<SessionId>> {
    let revoked = sqlx::query_scalar!(
        "UPDATE visit_session SET revoked_at = $2, revoke_reason = $3 WHERE participant_id = $1 AND revoked_at IS NULL
         RETURNING session_id",
        participant.as_uuid(),
        now,
        reason,
    )
    .fetch_all(tx)
    .await?;
    Ok(revoked.into_iter().map(SessionId::from_uuid).collect())
}

/// Ends every session of a visit. Returns them.
///
/// # Errors
/// The database's own failures.
pub async fn revoke_all_of_visit(tx: &mut Tx, visit: VisitId, reason: &str, now: Timestamp) -> Result<Vec<SessionId>> {
    let revoked = sqlx::query_scalar!(
        "UPDATE visit_session SET revoked_at = $2, revoke_reason = $3 WHERE visit_id = $1 AND revoked_at IS NULL
         RETURNING session_id",
        visit.as_uuid(),
        now,
        reason,
    )
    .fetch_all(tx)
    .await?;
    Ok(revoked.into_iter().map(SessionId::from_uuid).collect())
}

/// The holder of a session token whose secret fits, unless it was revoked or is past its time.
///
/// # Errors
/// The database's own failures.
pub async fn find_live(tx: &mut Tx, token: &SessionToken, now: Timestamp) -> Result<Option<Attendee>> {
    let secret_hash = token.secret_hash();
    let row = sqlx::query!(
        "SELECT s.visit_id, s.participant_id, s.token_id, s.expires_at, p.role, p.display_name
         FROM visit_session s JOIN participant p USING (participant_id)
         WHERE s.session_id = $1 AND s.secret_hash = $2 AND s.revoked_at IS NULL AND s.expires_at > $3 AND p.removed_at IS NULL",
        token.session.as_uuid(),
        secret_hash.as_slice(),
        now,
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Attendee {
        org: token.org,
        visit: VisitId::from_uuid(row.visit_id),
        participant: ParticipantId::from_uuid(row.participant_id),
        role: Role::parse(&row.role).ok_or_else(|| Error::Inside("a participant's role is unknown".to_owned()))?,
        name: Redacted::new(row.display_name),
        session: token.session,
        token: row.token_id.map(TokenId::from_uuid),
        expires_at: row.expires_at,
    }))
}
