//! SQL of the queue, of links that wait to be sent, of opt-outs and of providers' news. A message is claimed by moving its time on, so that
//! a process that dies in between holds it for a while and no longer.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;
use wire::Redacted;

use crate::auth::keys::Keys;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, TokenId, VisitId};
use crate::join::Minted;
use crate::notice::template::Sender;
use crate::notice::{Medium, Reason, Status, Template};
use crate::participant::Role;

/// Binds a sealed code to its use.
const PURPOSE: &[u8] = b"anteroom notice link v1\0";

/// Rows forgotten by one statement.
const FORGET: i64 = 5_000;

/// A message and what became of it.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Its id.
    pub id: Uuid,
    /// Of which visit.
    pub visit: VisitId,
    /// To whom.
    pub participant: ParticipantId,
    /// What they are in it.
    pub role: Role,
    /// By what.
    pub medium: Medium,
    /// Saying what.
    pub template: Template,
    /// It was asked for; planned ones count towards the cap.
    pub is_resend: bool,
    /// The link in it.
    pub token: Option<TokenId>,
    /// The calendar entry with it.
    pub sequence: Option<i32>,
    /// The start that it speaks of.
    pub visit_start: Timestamp,
    /// Where it stands.
    pub status: Status,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Attempts so far.
    pub attempt: i32,
    /// The message in whose place it is.
    pub fallback_of: Option<Uuid>,
    /// Finds and counts the destination.
    pub destination_hash: Vec<u8>,
    /// `j***@example.com`.
    pub masked_destination: String,
    /// Since when.
    pub created_at: Timestamp,
}

struct Row {
    notice_id: Uuid,
    visit_id: Uuid,
    participant_id: Uuid,
    recipient_role: String,
    channel: String,
    template: String,
    is_resend: bool,
    token_id: Option<Uuid>,
    sequence: Option<i32>,
    visit_start: Timestamp,
    status: String,
    reason: Option<String>,
    attempt: i32,
    fallback_of: Option<Uuid>,
    destination_hash: Vec<u8>,
    masked_destination: String,
    created_at: Timestamp,
}

impl TryFrom<Row> for Notice {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let unknown = || Error::Inside("a notice has a word that is unknown".to_owned());
        Ok(Self {
            id: row.notice_id,
            visit: VisitId::from_uuid(row.visit_id),
            participant: ParticipantId::from_uuid(row.participant_id),
            role: Role::parse(&row.recipient_role).ok_or_else(unknown)?,
            medium: Medium::parse(&row.channel).ok_or_else(unknown)?,
            template: Template::parse(&row.template).ok_or_else(unknown)?,
            is_resend: row.is_resend,
            token: row.token_id.map(TokenId::from_uuid),
            sequence: row.sequence,
            visit_start: row.visit_start,
            status: Status::parse(&row.status).ok_or_else(unknown)?,
            reason: row.reason.as_deref().and_then(Reason::parse),
            attempt: row.attempt,
            fallback_of: row.fallback_of,
            destination_hash: row.destination_hash,
            masked_destination: row.masked_destination,
            created_at: row.created_at,
        })
    }
}

/// Writes a message; false when the one that it stands in for has another already.
pub(crate) async fn insert(tx: &mut Tx, org: OrgId, new: &Notice) -> Result<bool> {
    let settled = (new.status != Status::Queued).then_some(new.created_at);
    let done = sqlx::query!(
        "INSERT INTO notice (notice_id, org_id, visit_id, participant_id, recipient_role, channel, template, is_resend, token_id, sequence,
             visit_start, status, reason, fallback_of, destination_hash, masked_destination, created_at, due_at, settled_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17, $18)
         ON CONFLICT (fallback_of) WHERE fallback_of IS NOT NULL DO NOTHING",
        new.id,
        org.as_uuid(),
        new.visit.as_uuid(),
        new.participant.as_uuid(),
        new.role.as_str(),
        new.medium.as_str(),
        new.template.as_str(),
        new.is_resend,
        new.token.map(TokenId::as_uuid),
        new.sequence,
        new.visit_start,
        new.status.as_str(),
        new.reason.map(Reason::as_str),
        new.fallback_of,
        new.destination_hash,
        new.masked_destination,
        new.created_at,
        settled,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Messages of all organisations that are due, longest first.
pub(crate) async fn find_due(pool: &PgPool, medium: Medium, now: Timestamp, most: i64) -> Result<Vec<(OrgId, Uuid)>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'notices', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        "SELECT org_id, notice_id FROM notice WHERE status = 'QUEUED' AND channel = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3",
        medium.as_str(),
        now,
        most
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(|row| (OrgId::from_uuid(row.org_id), row.notice_id)).collect())
}

/// Takes a message that is due, for as long as `lease`.
pub(crate) async fn claim(tx: &mut Tx, id: Uuid, now: Timestamp, lease: Duration) -> Result<Option<Notice>> {
    sqlx::query_as!(
        Row,
        "UPDATE notice SET attempt = attempt + 1, due_at = $3
         WHERE notice_id = (SELECT notice_id FROM notice WHERE notice_id = $1 AND status = 'QUEUED' AND due_at <= $2
             FOR UPDATE SKIP LOCKED)
         RETURNING notice_id, visit_id, participant_id, recipient_role, channel, template, is_resend, token_id, sequence, visit_start,
             status, reason, attempt, fallback_of, destination_hash, masked_destination, created_at",
        id,
        now,
        now + lease
    )
    .fetch_optional(tx)
    .await?
    .map(Notice::try_from)
    .transpose()
}

/// One message.
pub(crate) async fn find(tx: &mut Tx, id: Uuid) -> Result<Option<Notice>> {
    sqlx::query_as!(
        Row,
        "SELECT notice_id, visit_id, participant_id, recipient_role, channel, template, is_resend, token_id, sequence, visit_start,
             status, reason, attempt, fallback_of, destination_hash, masked_destination, created_at
         FROM notice WHERE notice_id = $1",
        id
    )
    .fetch_optional(tx)
    .await?
    .map(Notice::try_from)
    .transpose()
}

/// The messages of a visit, oldest first, at most 200.
pub(crate) async fn of_visit(tx: &mut Tx, visit: VisitId) -> Result<Vec<Notice>> {
    sqlx::query_as!(
        Row,
        "SELECT notice_id, visit_id, participant_id, recipient_role, channel, template, is_resend, token_id, sequence, visit_start,
             status, reason, attempt, fallback_of, destination_hash, masked_destination, created_at
         FROM notice WHERE visit_id = $1 ORDER BY created_at, notice_id LIMIT 200",
        visit.as_uuid()
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(Notice::try_from)
    .collect()
}

/// Messages to a number that still wait.
pub(crate) async fn queued_for(tx: &mut Tx, org: OrgId, hash: &[u8]) -> Result<Vec<Notice>> {
    sqlx::query_as!(
        Row,
        "SELECT notice_id, visit_id, participant_id, recipient_role, channel, template, is_resend, token_id, sequence, visit_start,
             status, reason, attempt, fallback_of, destination_hash, masked_destination, created_at
         FROM notice WHERE org_id = $1 AND destination_hash = $2 AND status = 'QUEUED' ORDER BY created_at, notice_id",
        org.as_uuid(),
        hash
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(Notice::try_from)
    .collect()
}

/// The provider has it. False when it was settled meanwhile.
pub(crate) async fn mark_sent(tx: &mut Tx, id: Uuid, provider: &str, message_id: &str, now: Timestamp) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE notice SET status = 'SENT', sent_at = $4, provider = $2, provider_message_id = $3
         WHERE notice_id = $1 AND status = 'QUEUED'",
        id,
        provider,
        message_id,
        now
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// It ends, unless it has ended already: what is QUEUED or SENT may become anything, what is delivered stays so.
pub(crate) async fn settle(
    tx: &mut Tx,
    id: Uuid,
    status: Status,
    reason: Option<Reason>,
    now: Timestamp,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE notice SET status = $2, reason = $3, settled_at = $4 WHERE notice_id = $1 AND status IN ('QUEUED', 'SENT')",
        id,
        status.as_str(),
        reason.map(Reason::as_str),
        now
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// It is tried again at `at`.
pub(crate) async fn put_off(tx: &mut Tx, id: Uuid, at: Timestamp) -> Result<()> {
    sqlx::query!("UPDATE notice SET due_at = $2 WHERE notice_id = $1 AND status = 'QUEUED'", id, at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Planned text messages to a number since a time, sent or about to be. Whoever asks holds the number until the end of the transaction.
pub(crate) async fn count_planned(tx: &mut Tx, org: OrgId, hash: &[u8], since: Timestamp) -> Result<i64> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 40)) AS locked", hash)
        .fetch_one(&mut *tx)
        .await?;
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM notice
           WHERE org_id = $1 AND destination_hash = $2 AND channel = 'SMS' AND NOT is_resend AND created_at >= $3
             AND (status = 'QUEUED' OR sent_at IS NOT NULL)"#,
        org.as_uuid(),
        hash,
        since
    )
    .fetch_one(tx)
    .await?)
}

/// Whether somebody wants no messages there.
pub(crate) async fn is_opted_out(tx: &mut Tx, org: OrgId, medium: Medium, hash: &[u8]) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM notice_opt_out WHERE org_id = $1 AND channel = $2 AND destination_hash = $3) AS "out!""#,
        org.as_uuid(),
        medium.as_str(),
        hash
    )
    .fetch_one(tx)
    .await?)
}

/// Notes that somebody wants none, or takes it back; false when it was so already.
pub(crate) async fn set_opted_out(
    tx: &mut Tx,
    org: OrgId,
    medium: Medium,
    hash: &[u8],
    is_out: bool,
    now: Timestamp,
) -> Result<bool> {
    let done = if is_out {
        sqlx::query!(
            "INSERT INTO notice_opt_out (org_id, channel, destination_hash, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            org.as_uuid(),
            medium.as_str(),
            hash,
            now
        )
        .execute(tx)
        .await?
    } else {
        sqlx::query!(
            "DELETE FROM notice_opt_out WHERE org_id = $1 AND channel = $2 AND destination_hash = $3",
            org.as_uuid(),
            medium.as_str(),
            hash
        )
        .execute(tx)
        .await?
    };
    Ok(done.rows_affected() > 0)
}

/// Keeps the code of a link, sealed, for as long as the link can be used: whatever carries the link later, carries this one. Of somebody
/// without a contact nothing is kept, because nothing can be sent.
///
/// # Errors
/// The database's own failures.
pub async fn keep_code(tx: &mut Tx, keys: &Keys, org: OrgId, minted: &Minted) -> Result<()> {
    let sealed = keys.seal(PURPOSE, minted.id.as_uuid().as_bytes(), minted.code.reveal().as_bytes())?;
    sqlx::query!(
        "INSERT INTO notice_link (token_id, org_id, participant_id, sealed_code, expires_at)
         SELECT $1, $2, $3, $4, $5 WHERE EXISTS (SELECT FROM contact WHERE participant_id = $3)
         ON CONFLICT (token_id) DO NOTHING",
        minted.id.as_uuid(),
        org.as_uuid(),
        minted.participant.as_uuid(),
        sealed,
        minted.expires_at
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The code of a link that can still be used.
pub(crate) async fn find_code(
    tx: &mut Tx,
    keys: &Keys,
    token: TokenId,
    now: Timestamp,
) -> Result<Option<Redacted<String>>> {
    let sealed = sqlx::query_scalar!(
        "SELECT l.sealed_code FROM notice_link l JOIN join_token t USING (token_id)
         WHERE l.token_id = $1 AND t.status = 'ACTIVE' AND t.expires_at > $2",
        token.as_uuid(),
        now
    )
    .fetch_optional(tx)
    .await?;
    let Some(sealed) = sealed else { return Ok(None) };
    let code = keys.unseal(PURPOSE, token.as_uuid().as_bytes(), &sealed)?;
    let code = String::from_utf8(code).map_err(|_| Error::Inside("a sealed code is no text".to_owned()))?;
    Ok(Some(Redacted::new(code)))
}

/// What a person holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// No link that can be used.
    Nothing,
    /// A link whose code is here.
    Link(TokenId),
    /// A link that somebody else gave them: to withdraw it would lock them out.
    Elsewhere,
    /// They are in the visit already.
    Session,
}

/// What a person holds already.
pub(crate) async fn held_by(tx: &mut Tx, participant: ParticipantId, now: Timestamp) -> Result<Held> {
    let has_session = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM visit_session WHERE participant_id = $1 AND revoked_at IS NULL AND expires_at > $2) AS "has!""#,
        participant.as_uuid(),
        now
    )
    .fetch_one(&mut *tx)
    .await?;
    if has_session {
        return Ok(Held::Session);
    }
    let row = sqlx::query!(
        r#"SELECT t.token_id, l.token_id IS NOT NULL AS "is_here!" FROM join_token t LEFT JOIN notice_link l USING (token_id)
           WHERE t.participant_id = $1 AND t.status = 'ACTIVE' AND t.expires_at > $2 ORDER BY t.issued_at DESC LIMIT 1"#,
        participant.as_uuid(),
        now
    )
    .fetch_optional(tx)
    .await?;
    Ok(match row {
        None => Held::Nothing,
        Some(row) if row.is_here => Held::Link(TokenId::from_uuid(row.token_id)),
        Some(_) => Held::Elsewhere,
    })
}

/// How the practice of this transaction appears in messages.
pub(crate) async fn sender(tx: &mut Tx, org: OrgId) -> Result<Sender> {
    Ok(sqlx::query_as!(
        Sender,
        r#"SELECT name, notice_alias AS alias, phone, is_sensitive, notice_clinician_name AS names_clinician
           FROM organization WHERE org_id = $1"#,
        org.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// The message that a provider knows under this id: asked before an organisation is known.
pub(crate) async fn find_by_provider(pool: &PgPool, provider: &str, message_id: &str) -> Result<Option<(OrgId, Uuid)>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.provider_message', $1, true) AS set", message_id).fetch_one(&mut *tx).await?;
    let row = sqlx::query!(
        "SELECT org_id, notice_id FROM notice WHERE provider = $1 AND provider_message_id = $2",
        provider,
        message_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.map(|row| (OrgId::from_uuid(row.org_id), row.notice_id)))
}

/// Notes an event of a provider; false when it was there.
pub(crate) async fn note_event(tx: &mut Tx, org: OrgId, provider: &str, event: &str, now: Timestamp) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO notice_event (org_id, provider, event_id, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        org.as_uuid(),
        provider,
        event,
        now
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets some codes of links, and events, that are older than a time; gives how many.
pub(crate) async fn forget(pool: &PgPool, before: Timestamp) -> Result<u64> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep_notices_before', $1::timestamptz::text, true) AS set", before)
        .fetch_one(&mut *tx)
        .await?;
    let links = sqlx::query!(
        "DELETE FROM notice_link WHERE token_id IN (
             SELECT token_id FROM notice_link WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
        before,
        FORGET
    )
    .execute(&mut *tx)
    .await?;
    let events = sqlx::query!(
        "DELETE FROM notice_event WHERE (org_id, provider, event_id) IN (
             SELECT org_id, provider, event_id FROM notice_event WHERE at < $1 ORDER BY at LIMIT $2)",
        before - EVENTS_KEPT,
        FORGET
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(links.rows_affected() + events.rows_affected())
}

/// How much longer news are kept than codes: providers repeat them for hours, and replays are refused for as long.
const EVENTS_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
