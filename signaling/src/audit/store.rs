//! SQL of the audit chain. Appending happens in `db::audited` alone.

use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use crate::audit::anchor::{Anchor, Hash};
use crate::audit::chain::{Entry, GENESIS, SCHEMA};
use crate::audit::query::Filter;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::{Stamp, Tx};
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::telemetry;

/// Puts events at the end of the organisation's chain. The head's row lock gives the chain one order; it is taken last in
/// every transaction, so it cannot be part of a deadlock.
pub(crate) async fn append(tx: &mut Tx, org: OrgId, actor: &Actor, drafts: &[Draft], stamp: Stamp) -> Result<()> {
    if let Some(key) = drafts.iter().find_map(Draft::find_unknown_key) {
        return Err(Error::Inside(format!("an audit event with the fact {key}, which is not in audit::event::KEYS")));
    }
    let (mut seq, mut prev) = lock_head(tx, org).await?;
    let origin = telemetry::origin();
    let mut entries = Vec::with_capacity(drafts.len());
    for (n, draft) in drafts.iter().enumerate() {
        seq += 1;
        let mut metadata: Map<String, Value> =
            draft.metadata.iter().map(|(name, fact)| ((*name).to_owned(), Value::from(fact))).collect();
        if stamp.is_spooled {
            metadata.insert("spooled".to_owned(), true.into());
        }
        let mut entry = Entry {
            event_id: if n == 0 { stamp.event } else { Uuid::new_v4() },
            org_id: org.as_uuid(),
            seq,
            at: stamp.at,
            event_type: draft.event_type.as_str().to_owned(),
            actor_type: actor.kind().to_owned(),
            actor_id: actor.id(),
            role: actor.role().map(ToOwned::to_owned),
            visit_id: draft.visit.map(|id| id.as_uuid()),
            subject: draft.subject.clone(),
            success: draft.success,
            reason_code: draft.reason.map(ToOwned::to_owned),
            request_id: origin.request_id.clone(),
            metadata: Json(Value::Object(metadata)),
            ip_truncated: origin.ip_truncated.clone(),
            ua_hash: origin.ua_hash.map(|hash| hash.to_vec()),
            trace_id: origin.trace_id.clone(),
            schema_version: SCHEMA,
            prev_hash: prev.to_vec(),
            hash: Vec::new(),
        };
        prev = entry.compute_hash();
        entry.hash = prev.to_vec();
        entries.push(entry);
    }
    insert(tx, org, &entries).await
}

async fn lock_head(tx: &mut Tx, org: OrgId) -> Result<(i64, [u8; 32])> {
    loop {
        let head = sqlx::query!("SELECT seq, hash FROM audit_head WHERE org_id = $1 FOR UPDATE", org.as_uuid())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(head) = head {
            let hash = head.hash.try_into();
            return Ok((
                head.seq,
                hash.map_err(|_| Error::Inside("the audit head's hash is not 32 bytes".to_owned()))?,
            ));
        }
        // The organisation's first event. When two writers come at once, the second waits here and finds the first one's row.
        sqlx::query!(
            "INSERT INTO audit_head (org_id, seq, hash) VALUES ($1, 0, $2) ON CONFLICT (org_id) DO NOTHING",
            org.as_uuid(),
            GENESIS.as_slice()
        )
        .execute(&mut *tx)
        .await?;
    }
}

/// All rows and the new head in one statement: others wait for the head meanwhile.
async fn insert(tx: &mut Tx, org: OrgId, entries: &[Entry]) -> Result<()> {
    let Some(last) = entries.last() else { return Ok(()) };
    let seqs: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.event_id).collect();
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.event_type.as_str()).collect();
    let visits: Vec<Option<Uuid>> = entries.iter().map(|entry| entry.visit_id).collect();
    let subjects: Vec<Option<&str>> = entries.iter().map(|entry| entry.subject.as_deref()).collect();
    let successes: Vec<bool> = entries.iter().map(|entry| entry.success).collect();
    let reasons: Vec<Option<&str>> = entries.iter().map(|entry| entry.reason_code.as_deref()).collect();
    let metadata: Vec<&Value> = entries.iter().map(|entry| &entry.metadata.0).collect();
    let prevs: Vec<&[u8]> = entries.iter().map(|entry| entry.prev_hash.as_slice()).collect();
    let hashes: Vec<&[u8]> = entries.iter().map(|entry| entry.hash.as_slice()).collect();
    sqlx::query(
        "WITH head AS (UPDATE audit_head SET seq = $19, hash = $20 WHERE org_id = $1)
         INSERT INTO audit_event (org_id, at, actor_type, actor_id, role, request_id, ip_truncated, ua_hash, trace_id,
             schema_version, event_id, seq, event_type, visit_id, subject, success, reason_code, metadata, prev_hash, hash)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, new.*
         FROM unnest($11::uuid[], $12::bigint[], $13::text[], $14::uuid[], $15::text[], $16::boolean[], $17::text[],
             $18::jsonb[], $21::bytea[], $22::bytea[]) AS new",
    )
    .bind(org.as_uuid())
    .bind(last.at)
    .bind(&last.actor_type)
    .bind(&last.actor_id)
    .bind(&last.role)
    .bind(&last.request_id)
    .bind(&last.ip_truncated)
    .bind(&last.ua_hash)
    .bind(&last.trace_id)
    .bind(last.schema_version)
    .bind(ids)
    .bind(seqs)
    .bind(kinds)
    .bind(visits)
    .bind(subjects)
    .bind(successes)
    .bind(reasons)
    .bind(metadata)
    .bind(last.seq)
    .bind(&last.hash)
    .bind(prevs)
    .bind(hashes)
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether an event of this id is there.
pub(crate) async fn exists(tx: &mut Tx, event: Uuid) -> Result<bool> {
    let found =
        sqlx::query_scalar!("SELECT seq FROM audit_event WHERE event_id = $1", event).fetch_optional(tx).await?;
    Ok(found.is_some())
}

/// Events after `seq`, in order, at most `limit`.
pub(crate) async fn page(tx: &mut Tx, org: OrgId, seq: i64, limit: i64) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"SELECT event_id, org_id, seq, at, event_type, actor_type, actor_id, role, visit_id, subject, success, reason_code,
               request_id, metadata AS "metadata: Json<Value>", ip_truncated, ua_hash, trace_id, schema_version, prev_hash, hash
           FROM audit_event WHERE org_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"#,
        org.as_uuid(),
        seq,
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(entries)
}

/// The number and hash of the last event that a writer knows of.
pub(crate) async fn head(tx: &mut Tx, org: OrgId) -> Result<Option<(i64, Vec<u8>)>> {
    let head =
        sqlx::query!("SELECT seq, hash FROM audit_head WHERE org_id = $1", org.as_uuid()).fetch_optional(tx).await?;
    Ok(head.map(|head| (head.seq, head.hash)))
}

/// What the next anchor goes on from.
#[derive(Clone, Debug)]
pub(crate) struct LastAnchor {
    pub(crate) to_seq: i64,
    pub(crate) root: Hash,
    pub(crate) digest: Hash,
}

/// The newest anchor that is remembered.
pub(crate) async fn last_anchor(tx: &mut Tx, org: OrgId) -> Result<Option<LastAnchor>> {
    let row = sqlx::query!(
        "SELECT to_seq, root_hash, digest FROM audit_anchor WHERE org_id = $1 ORDER BY to_seq DESC LIMIT 1",
        org.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let hash = |bytes: Vec<u8>| {
        bytes.try_into().map_err(|_| Error::Inside("a remembered anchor's hash is not 32 bytes".to_owned()))
    };
    Ok(Some(LastAnchor { to_seq: row.to_seq, root: hash(row.root_hash)?, digest: hash(row.digest)? }))
}

/// The first and the last event of every anchor that is remembered, in order.
pub(crate) async fn anchor_ranges(tx: &mut Tx, org: OrgId) -> Result<Vec<(i64, i64)>> {
    let rows =
        sqlx::query!("SELECT from_seq, to_seq FROM audit_anchor WHERE org_id = $1 ORDER BY to_seq", org.as_uuid())
            .fetch_all(tx)
            .await?;
    Ok(rows.into_iter().map(|row| (row.from_seq, row.to_seq)).collect())
}

/// Remembers an anchor. A second one over the same events is refused by the table.
pub(crate) async fn insert_anchor(tx: &mut Tx, anchor: &Anchor, place: &str) -> Result<()> {
    let statement = &anchor.statement;
    let root = statement.root();
    sqlx::query!(
        "INSERT INTO audit_anchor (org_id, from_seq, to_seq, root_hash, digest, at, kid, signature, anchored_to)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        statement.org.as_uuid(),
        statement.from_seq,
        statement.to_seq(),
        root.as_slice(),
        anchor.digest.as_slice(),
        statement.at,
        anchor.kid,
        anchor.signature.as_slice(),
        place,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The newest events that a filter means, before an event if one is named.
pub(crate) async fn newest(
    tx: &mut Tx,
    org: OrgId,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"SELECT event_id, org_id, seq, at, event_type, actor_type, actor_id, role, visit_id, subject, success, reason_code,
               request_id, metadata AS "metadata: Json<Value>", ip_truncated, ua_hash, trace_id, schema_version, prev_hash, hash
           FROM audit_event
           WHERE org_id = $1 AND ($2::bigint IS NULL OR seq < $2) AND ($3::uuid IS NULL OR visit_id = $3)
               AND ($4::text IS NULL OR actor_id = $4) AND ($5::text IS NULL OR event_type = $5)
               AND ($6::boolean IS NULL OR success = $6) AND ($7::timestamptz IS NULL OR at >= $7)
               AND ($8::timestamptz IS NULL OR at < $8)
           ORDER BY seq DESC LIMIT $9"#,
        org.as_uuid(),
        before,
        filter.visit.map(|id| id.as_uuid()),
        filter.actor,
        filter.event_type.map(EventType::as_str),
        filter.success,
        filter.from,
        filter.to,
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(entries)
}

/// The oldest events that a filter means, after the first and up to the second event of `range`.
pub(crate) async fn oldest(
    tx: &mut Tx,
    org: OrgId,
    filter: &Filter,
    range: (i64, i64),
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"SELECT event_id, org_id, seq, at, event_type, actor_type, actor_id, role, visit_id, subject, success, reason_code,
               request_id, metadata AS "metadata: Json<Value>", ip_truncated, ua_hash, trace_id, schema_version, prev_hash, hash
           FROM audit_event
           WHERE org_id = $1 AND seq > $2 AND seq <= $10 AND ($3::uuid IS NULL OR visit_id = $3)
               AND ($4::text IS NULL OR actor_id = $4) AND ($5::text IS NULL OR event_type = $5)
               AND ($6::boolean IS NULL OR success = $6) AND ($7::timestamptz IS NULL OR at >= $7)
               AND ($8::timestamptz IS NULL OR at < $8)
           ORDER BY seq LIMIT $9"#,
        org.as_uuid(),
        range.0,
        filter.visit.map(|id| id.as_uuid()),
        filter.actor,
        filter.event_type.map(EventType::as_str),
        filter.success,
        filter.from,
        filter.to,
        limit,
        range.1
    )
    .fetch_all(tx)
    .await?;
    Ok(entries)
}

/// How many events a filter means, up to one of them.
pub(crate) async fn count(tx: &mut Tx, org: OrgId, filter: &Filter, to_seq: i64) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM audit_event
           WHERE org_id = $1 AND seq <= $2 AND ($3::uuid IS NULL OR visit_id = $3)
               AND ($4::text IS NULL OR actor_id = $4) AND ($5::text IS NULL OR event_type = $5)
               AND ($6::boolean IS NULL OR success = $6) AND ($7::timestamptz IS NULL OR at >= $7)
               AND ($8::timestamptz IS NULL OR at < $8)"#,
        org.as_uuid(),
        to_seq,
        filter.visit.map(|id| id.as_uuid()),
        filter.actor,
        filter.event_type.map(EventType::as_str),
        filter.success,
        filter.from,
        filter.to
    )
    .fetch_one(tx)
    .await?;
    Ok(count)
}

/// How many events of each kind, outcome and reason there were in a time.
pub(crate) async fn count_kinds(
    tx: &mut Tx,
    org: OrgId,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<(String, bool, Option<String>, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT event_type, success, CASE WHEN success THEN NULL ELSE reason_code END AS reason, count(*) AS "count!"
           FROM audit_event WHERE org_id = $1 AND at >= $2 AND at < $3 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"#,
        org.as_uuid(),
        from,
        to
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.event_type, row.success, row.reason, row.count)).collect())
}

/// Who looked into the most visits in a time: id, role, visits.
pub(crate) async fn viewers(
    tx: &mut Tx,
    org: OrgId,
    (from, to): (Timestamp, Timestamp),
    most: i64,
) -> Result<Vec<(String, String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT actor_id, coalesce(role, '') AS "role!", count(DISTINCT visit_id) AS "visits!"
           FROM audit_event
           WHERE org_id = $1 AND at >= $2 AND at < $3 AND success AND visit_id IS NOT NULL
               AND event_type IN ('VISIT_VIEWED', 'QUALITY_VIEWED', 'CONSENT_VIEWED', 'PHI_READ', 'RECORDING_ACCESSED',
                   'EMERGENCY_INFO_VIEWED')
           GROUP BY 1, 2 ORDER BY 3 DESC, 1 LIMIT $4"#,
        org.as_uuid(),
        from,
        to,
        most
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.actor_id, row.role, row.visits)).collect())
}

/// How many events of a time came by the spool.
pub(crate) async fn count_spooled(tx: &mut Tx, org: OrgId, (from, to): (Timestamp, Timestamp)) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM audit_event
           WHERE org_id = $1 AND at >= $2 AND at < $3 AND metadata ? 'spooled'"#,
        org.as_uuid(),
        from,
        to
    )
    .fetch_one(tx)
    .await?;
    Ok(count)
}
