//! The session that a redeemed token gives a browser. A participant has one that lives.

use ::proof::Thumbprint;
use time::Duration;
use wire::Redacted;

use crate::auth::Attendee;
use crate::auth::extract::SessionToken;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, SessionId, TokenId, VisitId};
use crate::join::context::Context;
use crate::participant::Role;
use crate::visit::Visit;

/// How long a session outlives the visit's planned end.
const GRACE: Duration = Duration::hours(1);

/// How long a session lives at most.
const LONGEST: Duration = Duration::hours(4);

/// How long a session lives without a sign of life.
pub const IDLE: Duration = Duration::hours(1);

/// How old the last sign of life may be before a new one is written: a poll each few seconds is no write each few seconds.
const TOUCH_AFTER: Duration = Duration::minutes(1);

/// Until when a session that begins at `now` holds.
#[must_use]
pub fn expiry(visit: &Visit, now: Timestamp) -> Timestamp {
    let planned = now.max(visit.scheduled_start) + Duration::minutes(visit.duration_min.into()) + GRACE;
    planned.min(now + LONGEST)
}

/// A session, and what it is bound to.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Whose it is.
    pub attendee: Attendee,
    /// The key that goes with its secret, if it has one.
    pub key: Option<Thumbprint>,
    /// From where it was seen last.
    pub context: Option<Context>,
    /// When it was seen last.
    pub seen_at: Timestamp,
}

impl Seat {
    /// Whether its last sign of life is old enough for another one.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now - self.seen_at >= TOUCH_AFTER
    }
}

/// A session before it is written.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Its id.
    pub session: SessionId,
    /// SHA-256 of its secret.
    pub secret_hash: &'a [u8],
    /// In which organisation.
    pub org: OrgId,
    /// For which visit.
    pub visit: VisitId,
    /// For whom.
    pub participant: ParticipantId,
    /// By which token.
    pub token: TokenId,
    /// The key that goes with it.
    pub key: Option<&'a Thumbprint>,
    /// From where.
    pub context: &'a Context,
}

/// Writes a new session after its predecessors were revoked.
///
/// # Errors
/// The database's own failures.
pub async fn insert(tx: &mut Tx, new: New<'_>, now: Timestamp, expires_at: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO visit_session (session_id, org_id, visit_id, participant_id, token_id, secret_hash, issued_at, last_seen_at,
             expires_at, binding_key, net, ua)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10, $11)",
        new.session.as_uuid(),
        new.org.as_uuid(),
        new.visit.as_uuid(),
        new.participant.as_uuid(),
        new.token.as_uuid(),
        new.secret_hash,
        now,
        expires_at,
        new.key.map(Thumbprint::as_str),
        new.context.net,
        new.context.ua.as_slice(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes down a sign of life, and from where it came if that is known.
///
/// # Errors
/// The database's own failures.
pub async fn touch(tx: &mut Tx, session: SessionId, context: Option<&Context>, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "UPDATE visit_session SET last_seen_at = $2, net = COALESCE($3, net), ua = COALESCE($4, ua) WHERE session_id = $1",
        session.as_uuid(),
        now,
        context.map(|context| context.net.as_str()),
        context.map(|context| context.ua.as_slice()),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives the living session of a spent token a new secret, for the key that spent it, and says until when it holds. `None` for any
/// other key.
///
/// # Errors
/// The database's own failures.
pub async fn rekey(
    tx: &mut Tx,
    token: TokenId,
    key: &Thumbprint,
    fresh: SessionToken,
    now: Timestamp,
) -> Result<Option<(SessionToken, Timestamp)>> {
    let secret_hash = fresh.secret_hash();
    let row = sqlx::query!(
        "UPDATE visit_session SET secret_hash = $3, last_seen_at = $4
         WHERE token_id = $1 AND binding_key = $2 AND revoked_at IS NULL AND expires_at > $4
           AND COALESCE(last_seen_at, issued_at) > $5
         RETURNING session_id, expires_at",
        token.as_uuid(),
        key.as_str(),
        secret_hash.as_slice(),
        now,
        now - IDLE,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| (fresh.for_session(SessionId::from_uuid(row.session_id)), row.expires_at)))
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

/// The session of a token whose secret fits, unless it was revoked, is past its time, or showed no life for too long.
///
/// # Errors
/// The database's own failures.
pub async fn find_live(tx: &mut Tx, token: &SessionToken, now: Timestamp) -> Result<Option<Seat>> {
    let secret_hash = token.secret_hash();
    let row = sqlx::query!(
        r#"SELECT s.visit_id, s.participant_id, s.token_id, s.expires_at, s.binding_key, s.net, s.ua,
             COALESCE(s.last_seen_at, s.issued_at) AS "seen_at!", p.role, p.display_name
           FROM visit_session s JOIN participant p USING (participant_id)
           WHERE s.session_id = $1 AND s.secret_hash = $2 AND s.revoked_at IS NULL AND s.expires_at > $3
             AND COALESCE(s.last_seen_at, s.issued_at) > $4 AND p.removed_at IS NULL"#,
        token.session.as_uuid(),
        secret_hash.as_slice(),
        now,
        now - IDLE,
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let context = row.net.zip(row.ua.and_then(|ua| ua.try_into().ok())).map(|(net, ua)| Context { net, ua });
    Ok(Some(Seat {
        attendee: Attendee {
            org: token.org,
            visit: VisitId::from_uuid(row.visit_id),
            participant: ParticipantId::from_uuid(row.participant_id),
            role: Role::parse(&row.role).ok_or_else(|| Error::Inside("a participant's role is unknown".to_owned()))?,
            name: Redacted::new(row.display_name),
            session: token.session,
            token: row.token_id.map(TokenId::from_uuid),
            expires_at: row.expires_at,
        },
        key: row.binding_key.map(Thumbprint::from_stored),
        context,
        seen_at: row.seen_at,
    }))
}
