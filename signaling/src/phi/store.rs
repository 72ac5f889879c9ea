//! SQL of data keys.

use uuid::Uuid;
use vault::WrappedKey;

use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;

/// A data key as it lies in the table.
pub(super) struct Stored {
    pub(super) key_id: Uuid,
    pub(super) kek_id: String,
    pub(super) wrapped: Vec<u8>,
    pub(super) made_at: Timestamp,
    /// Written by this very transaction, which may still be undone.
    pub(super) is_ours: bool,
}

pub(super) async fn find_newest(tx: &mut Tx, org: OrgId) -> Result<Option<Stored>> {
    Ok(sqlx::query_as!(
        Stored,
        r#"SELECT key_id, kek_id, wrapped, made_at, coalesce(xmin = pg_current_xact_id_if_assigned()::xid, false) AS "is_ours!"
           FROM phi_data_key WHERE org_id = $1 ORDER BY made_at DESC, key_id DESC LIMIT 1"#,
        org.as_uuid()
    )
    .fetch_optional(tx)
    .await?)
}

pub(super) async fn find(tx: &mut Tx, org: OrgId, id: Uuid) -> Result<Option<Stored>> {
    Ok(sqlx::query_as!(
        Stored,
        r#"SELECT key_id, kek_id, wrapped, made_at, coalesce(xmin = pg_current_xact_id_if_assigned()::xid, false) AS "is_ours!"
           FROM phi_data_key WHERE org_id = $1 AND key_id = $2"#,
        org.as_uuid(),
        id
    )
    .fetch_optional(tx)
    .await?)
}

pub(super) async fn insert(tx: &mut Tx, org: OrgId, id: Uuid, wrapped: &WrappedKey, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO phi_data_key (key_id, org_id, kek_id, wrapped, made_at, wrapped_at) VALUES ($1, $2, $3, $4, $5, $5)",
        id,
        org.as_uuid(),
        wrapped.kek_id,
        wrapped.bytes,
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A data key that an older key wraps.
pub(super) struct Old {
    pub(super) org_id: Uuid,
    /// Of a field's data key, or of a recording.
    pub(super) id: Uuid,
    pub(super) kek_id: String,
    pub(super) wrapped: Vec<u8>,
    pub(super) is_recording: bool,
}

/// Data keys of any organisation that another key than `kek` wraps, `limit` at most, after `after`.
pub(super) async fn find_old(tx: &mut Tx, kek: &str, after: Uuid, limit: i64) -> Result<Vec<Old>> {
    sqlx::query!("SELECT set_config('app.sweep', 'data_keys', true) AS set").fetch_one(&mut *tx).await?;
    Ok(sqlx::query_as!(
        Old,
        r#"SELECT org_id AS "org_id!", id AS "id!", kek_id AS "kek_id!", wrapped AS "wrapped!", is_recording AS "is_recording!" FROM (
               SELECT org_id, key_id AS id, kek_id, wrapped, false AS is_recording FROM phi_data_key WHERE kek_id <> $1
               UNION ALL
               SELECT org_id, recording_id, kek_id, dek_wrapped, true FROM recording_job WHERE dek_wrapped IS NOT NULL AND kek_id <> $1
           ) old WHERE id > $2 ORDER BY id LIMIT $3"#,
        kek,
        after,
        limit
    )
    .fetch_all(tx)
    .await?)
}

/// How many data keys of all organisations each key wraps.
pub(super) async fn count(tx: &mut Tx) -> Result<Vec<(String, i64)>> {
    sqlx::query!("SELECT set_config('app.sweep', 'data_keys', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        r#"SELECT kek_id AS "kek_id!", count(*) AS "count!" FROM (
               SELECT kek_id FROM phi_data_key UNION ALL SELECT kek_id FROM recording_job WHERE dek_wrapped IS NOT NULL
           ) every GROUP BY kek_id ORDER BY kek_id"#
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kek_id, row.count)).collect())
}

/// Puts the new wrapping in the place of the old one, unless somebody else did.
pub(super) async fn replace(tx: &mut Tx, old: &Old, new: &WrappedKey, now: Timestamp) -> Result<bool> {
    let done = if old.is_recording {
        sqlx::query!(
            "UPDATE recording_job SET kek_id = $3, dek_wrapped = $4 WHERE recording_id = $1 AND kek_id = $2",
            old.id,
            old.kek_id,
            new.kek_id,
            new.bytes
        )
        .execute(tx)
        .await?
    } else {
        sqlx::query!(
            "UPDATE phi_data_key SET kek_id = $3, wrapped = $4, wrapped_at = $5 WHERE key_id = $1 AND kek_id = $2",
            old.id,
            old.kek_id,
            new.kek_id,
            new.bytes,
            now
        )
        .execute(tx)
        .await?
    };
    Ok(done.rows_affected() == 1)
}
