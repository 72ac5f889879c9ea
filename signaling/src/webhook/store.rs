//! SQL of the queue. A row is claimed by moving its time on, so that a process that dies in between holds it for a while and no longer.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;
use crate::webhook::Event;

/// Deliveries taken at once for one target.
pub(crate) const BATCH: i64 = 16;

/// Targets looked at in one turn. Those that wait longest come first.
const TARGETS: i64 = 256;

/// Rows forgotten by one statement.
const FORGET: i64 = 5_000;

/// A target with something due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) org: OrgId,
    pub(crate) target: Uuid,
}

/// What is sent to one target.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) url: String,
    pub(crate) sealed_secret: Vec<u8>,
    pub(crate) deliveries: Vec<Delivery>,
}

/// One event for one target, claimed.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) event_id: Uuid,
    pub(crate) seq: i64,
    /// This one included.
    pub(crate) attempts: i32,
    pub(crate) body: String,
    pub(crate) created_at: Timestamp,
}

/// Puts an event into the queue of every target of its organisation: part of the transaction that holds the change. An event that is
/// there already is not put twice.
pub(crate) async fn enqueue(tx: &mut Tx, org: OrgId, event: &Event, now: Timestamp) -> Result<u64> {
    let put = sqlx::query!(
        "INSERT INTO webhook_delivery (target_id, event_id, org_id, body, created_at, due_at)
         SELECT target_id, $2, org_id, $3, $4, $4 FROM webhook_target WHERE org_id = $1 AND removed_at IS NULL
         ON CONFLICT (target_id, event_id) DO NOTHING",
        org.as_uuid(),
        event.id,
        event.body,
        now
    )
    .execute(tx)
    .await?;
    Ok(put.rows_affected())
}

/// Whether anybody is told anything of this organisation.
pub(crate) async fn has_target(tx: &mut Tx, org: OrgId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM webhook_target WHERE org_id = $1 AND removed_at IS NULL) AS "has!""#,
        org.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// Targets of all organisations with something due.
pub(crate) async fn find_due(pool: &PgPool, now: Timestamp) -> Result<Vec<Due>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'webhooks', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        "SELECT org_id, target_id FROM webhook_delivery WHERE settled_at IS NULL AND due_at <= $1
         GROUP BY org_id, target_id ORDER BY min(due_at) LIMIT $2",
        now,
        TARGETS
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(|row| Due { org: OrgId::from_uuid(row.org_id), target: row.target_id }).collect())
}

/// How many deliveries wait, of all organisations.
pub(crate) async fn count_waiting(pool: &PgPool) -> Result<i64> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'webhooks', true) AS set").fetch_one(&mut *tx).await?;
    let waiting = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM webhook_delivery WHERE settled_at IS NULL"#)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(waiting)
}

/// Takes what is due for a target, oldest first, for as long as `lease`: meanwhile nobody else takes it.
pub(crate) async fn claim(tx: &mut Tx, due: Due, now: Timestamp, lease: Duration) -> Result<Option<Batch>> {
    let target = sqlx::query!(
        "SELECT url, sealed_secret FROM webhook_target WHERE org_id = $1 AND target_id = $2 AND removed_at IS NULL",
        due.org.as_uuid(),
        due.target
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(target) = target else { return Ok(None) };
    let mut deliveries = sqlx::query_as!(
        Delivery,
        "UPDATE webhook_delivery SET attempts = attempts + 1, due_at = $3
         WHERE target_id = $1 AND event_id IN (
             SELECT event_id FROM webhook_delivery
             WHERE org_id = $5 AND target_id = $1 AND settled_at IS NULL AND due_at <= $2
             ORDER BY seq LIMIT $4 FOR UPDATE SKIP LOCKED)
         RETURNING event_id, seq, attempts, body, created_at",
        due.target,
        now,
        now + lease,
        BATCH,
        due.org.as_uuid()
    )
    .fetch_all(&mut *tx)
    .await?;
    deliveries.sort_by_key(|delivery| delivery.seq);
    Ok(Some(Batch { url: target.url, sealed_secret: target.sealed_secret, deliveries }))
}

/// The receiver took it, or it is given up.
pub(crate) async fn settle(
    tx: &mut Tx,
    due: Due,
    event: Uuid,
    (outcome, status): (&'static str, Option<i16>),
    now: Timestamp,
) -> Result<()> {
    sqlx::query!(
        "UPDATE webhook_delivery SET settled_at = $3, outcome = $4, last_status = coalesce($5, last_status)
         WHERE target_id = $1 AND event_id = $2 AND settled_at IS NULL",
        due.target,
        event,
        now,
        outcome,
        status
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// It is tried again at `at`.
pub(crate) async fn put_off(tx: &mut Tx, due: Due, event: Uuid, status: Option<i16>, at: Timestamp) -> Result<()> {
    sqlx::query!(
        "UPDATE webhook_delivery SET due_at = $3, last_status = $4 WHERE target_id = $1 AND event_id = $2 AND settled_at IS NULL",
        due.target,
        event,
        at,
        status
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives back what was claimed and not tried, to be tried at `at`.
pub(crate) async fn give_back(tx: &mut Tx, due: Due, events: &[Uuid], at: Timestamp) -> Result<()> {
    sqlx::query!(
        "UPDATE webhook_delivery SET due_at = $3, attempts = attempts - 1
         WHERE target_id = $1 AND event_id = ANY($2) AND settled_at IS NULL",
        due.target,
        events,
        at
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets some of what was settled before a time; gives how many.
pub(crate) async fn forget(pool: &PgPool, before: Timestamp) -> Result<u64> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep_webhooks_before', $1::timestamptz::text, true) AS set", before)
        .fetch_one(&mut *tx)
        .await?;
    let gone = sqlx::query!(
        "DELETE FROM webhook_delivery WHERE (target_id, event_id) IN (
             SELECT target_id, event_id FROM webhook_delivery WHERE settled_at < $1 ORDER BY settled_at LIMIT $2)",
        before,
        FORGET
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    tx.commit().await?;
    Ok(gone)
}

/// Whether there may be more to forget after so many.
pub(crate) fn is_more(gone: u64) -> bool {
    i64::try_from(gone).is_ok_and(|gone| gone >= FORGET)
}
