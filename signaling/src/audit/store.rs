//! SQL of the audit chain. Appending happens in `db::audited` alone.

use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::audit::Draft;
use crate::audit::chain::{Entry, GENESIS, SCHEMA};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::telemetry;

/// Puts events at the end of the organisation's chain. The head's row lock gives the chain one order; it is taken last in
/// every transaction, so it cannot be part of a deadlock.
pub(crate) async fn append(tx: &mut Tx, org: OrgId, actor: &Actor, drafts: &[Draft], now: Timestamp) -> Result<()> {
    if let Some(key) = drafts.iter().find_map(Draft::find_unknown_key) {
        return Err(Error::Inside(format!("an audit event with the fact {key}, which is not in audit::event::KEYS")));
    }
    let (mut seq, mut prev) = lock_head(tx, org).await?;
    let origin = telemetry::origin();
    for draft in drafts {
        seq += 1;
        let metadata = draft.metadata.iter().map(|(name, fact)| ((*name).to_owned(), Value::from(fact))).collect();
        let mut entry = Entry {
            event_id: Uuid::new_v4(),
            org_id: org.as_uuid(),
            seq,
            at: now,
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
        insert(tx, &entry).await?;
    }
    sqlx::query!("UPDATE audit_head SET seq = $2, hash = $3 WHERE org_id = $1", org.as_uuid(), seq, prev.as_slice())
        .execute(tx)
        .await?;
    Ok(())
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

async fn insert(tx: &mut Tx, entry: &Entry) -> Result<()> {
    sqlx::query!(
        "INSERT INTO audit_event (event_id, org_id, seq, at, event_type, actor_type, actor_id, role, visit_id, subject,
             success, reason_code, request_id, metadata, schema_version, prev_hash, hash, ip_truncated, ua_hash, trace_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        entry.event_id,
        entry.org_id,
        entry.seq,
        entry.at,
        entry.event_type,
        entry.actor_type,
        entry.actor_id,
        entry.role,
        entry.visit_id,
        entry.subject,
        entry.success,
        entry.reason_code,
        entry.request_id,
        Json(&entry.metadata.0) as _,
        entry.schema_version,
        entry.prev_hash,
        entry.hash,
        entry.ip_truncated,
        entry.ua_hash,
        entry.trace_id,
    )
    .execute(tx)
    .await?;
    Ok(())
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
