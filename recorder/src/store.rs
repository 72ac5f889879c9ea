//! SQL of recording jobs. A job is for the recorder that it names, and belongs to the task whose epoch it carries; each claim raises it.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor, PgPool};
use vault::WrappedKey;
use wire::delivery::{Delivered, Join, Order};
use wire::manifest::Manifest;
use wire::{RecorderId, RecordingId, Redacted, RoomId};

use crate::config::RecorderConfig;
use crate::error::{Error, Result};

/// How long a claim holds without renewal: a task that died is followed by another after this.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Capturing,
    Sealing,
    Uploading,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Capturing => "CAPTURING",
            Self::Sealing => "SEALING",
            Self::Uploading => "UPLOADING",
        }
    }
}

/// One claimed job.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) recording: RecordingId,
    pub(crate) room: RoomId,
    /// Grows with each claim: a new writer has new subkeys and a journal of its own.
    pub(crate) epoch: i32,
    /// Claims so far, this one included.
    pub(crate) attempts: i32,
    /// Opens the Tap, until it was dialed.
    pub(crate) tap_token: Option<Redacted<String>>,
    /// The data key, once there is one.
    pub(crate) key: Option<WrappedKey>,
    /// The sealed files are in the store.
    pub(crate) is_stored: bool,
    /// What is still to be delivered.
    pub(crate) order: Option<Order>,
}

/// One claimed joining.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedJoin {
    pub(crate) wanted: Join,
    pub(crate) epoch: i32,
    pub(crate) attempts: i32,
}

/// The job table, as `anteroom_recorder` sees it.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    pool: PgPool,
    /// Names the spool in the rows that are for its recorder.
    worker: String,
}

impl Jobs {
    pub(crate) async fn connect(config: &RecorderConfig, recorder: RecorderId) -> Result<Self> {
        let options: PgConnectOptions = config.database_url.reveal().parse()?;
        let options = options
            .application_name("anteroom-recorder")
            .options([("statement_timeout", "10s"), ("lock_timeout", "5s")]);
        let pool = PgPoolOptions::new()
            .max_connections(5)
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("SET ROLE anteroom_recorder").await?;
                    Ok(())
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self { pool, worker: recorder.to_string() })
    }

    /// Hears of new and changed jobs. It reconnects by itself; what was missed meanwhile the worker's regular look finds.
    pub(crate) async fn listen(&self) -> Result<PgListener> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen("recording_job").await?;
        Ok(listener)
    }

    /// Takes the oldest job for this recorder that nobody works on. Another recorder's is left alone even when its lease has lapsed:
    /// the Tap is in that one's process and the journal on its disk. A job that names nobody is from a release that did not say.
    pub(crate) async fn claim(&self) -> Result<Option<Claimed>> {
        let row = sqlx::query!(
            "UPDATE recording_job SET worker = $1, epoch = epoch + 1, attempts = attempts + 1,
                 state = CASE state WHEN 'QUEUED' THEN 'CLAIMED' ELSE state END,
                 lease_until = now() + make_interval(secs => $2), updated_at = now()
             WHERE recording_id = (
                 SELECT recording_id FROM recording_job
                 WHERE (worker = $1 OR worker IS NULL) AND (state NOT IN ('STORED', 'FAILED') OR delivery_state = 'DUE')
                     AND (lease_until IS NULL OR lease_until < now())
                 ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING recording_id, room_id, state, epoch, attempts, tap_token, dek_wrapped, kek_id,
                 CASE delivery_state WHEN 'DUE' THEN delivery_order END AS delivery_order",
            self.worker,
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let order = row.delivery_order.map(serde_json::from_value).transpose()?;
        Ok(Some(Claimed {
            recording: RecordingId::from_uuid(row.recording_id),
            room: RoomId::from_uuid(row.room_id),
            epoch: row.epoch,
            attempts: row.attempts,
            tap_token: row.tap_token.map(Redacted::new),
            key: row.dek_wrapped.zip(row.kek_id).map(|(bytes, kek_id)| WrappedKey { kek_id, bytes }),
            is_stored: row.state == "STORED",
            order,
        }))
    }

    /// Keeps the data key. Before this nothing is written under it.
    pub(crate) async fn keep_key(&self, job: &Claimed, key: &WrappedKey) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET dek_wrapped = $3, kek_id = $4, updated_at = now()
             WHERE recording_id = $1 AND epoch = $2 AND dek_wrapped IS NULL",
            job.recording.as_uuid(),
            job.epoch,
            key.bytes,
            key.kek_id,
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Moves the job on. Its Tap's token is spent as soon as it captures.
    pub(crate) async fn step(&self, job: &Claimed, step: Step) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET state = $3, tap_token = NULL, updated_at = now(),
                 lease_until = now() + make_interval(secs => $4)
             WHERE recording_id = $1 AND epoch = $2 AND state NOT IN ('STORED', 'FAILED')",
            job.recording.as_uuid(),
            job.epoch,
            step.as_str(),
            LEASE.as_secs_f64(),
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Holds the job for another [`LEASE`].
    pub(crate) async fn renew(&self, job: &Claimed) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET lease_until = now() + make_interval(secs => $3)
             WHERE recording_id = $1 AND epoch = $2 AND (state NOT IN ('STORED', 'FAILED') OR delivery_state = 'DUE')",
            job.recording.as_uuid(),
            job.epoch,
            LEASE.as_secs_f64(),
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// The recording is stored: playback finds it by this manifest.
    pub(crate) async fn store(&self, job: &Claimed, manifest: &Manifest) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET state = 'STORED', manifest = $3, error = NULL, updated_at = now(),
                 lease_until = CASE delivery_state WHEN 'DUE' THEN lease_until END
             WHERE recording_id = $1 AND epoch = $2 AND state NOT IN ('STORED', 'FAILED')",
            job.recording.as_uuid(),
            job.epoch,
            serde_json::to_value(manifest)?,
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Everything that was ordered is in its bucket.
    pub(crate) async fn delivered(&self, job: &Claimed, delivered: &Delivered) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET delivery_state = 'DONE', delivered = $3, updated_at = now(),
                 lease_until = CASE WHEN state IN ('STORED', 'FAILED') THEN NULL ELSE lease_until END
             WHERE recording_id = $1 AND epoch = $2 AND delivery_state = 'DUE'",
            job.recording.as_uuid(),
            job.epoch,
            serde_json::to_value(delivered)?,
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Takes the oldest joining that nobody works on.
    pub(crate) async fn claim_join(&self) -> Result<Option<ClaimedJoin>> {
        let row = sqlx::query!(
            "UPDATE join_job SET epoch = epoch + 1, attempts = attempts + 1, state = 'CLAIMED',
                 lease_until = now() + make_interval(secs => $1), updated_at = now()
             WHERE order_id = (
                 SELECT order_id FROM join_job
                 WHERE state IN ('QUEUED', 'CLAIMED') AND (lease_until IS NULL OR lease_until < now())
                 ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING wanted, epoch, attempts",
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ClaimedJoin { wanted: serde_json::from_value(row.wanted)?, epoch: row.epoch, attempts: row.attempts }))
    }

    /// Holds a joining for so long: [`LEASE`], or the pause before it may be claimed again, with the reason.
    pub(crate) async fn renew_join(&self, job: &ClaimedJoin, pause: Duration, error: Option<&str>) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE join_job SET lease_until = now() + make_interval(secs => $3), error = $4, updated_at = now()
             WHERE order_id = $1 AND epoch = $2 AND state = 'CLAIMED'",
            job.wanted.id.as_uuid(),
            job.epoch,
            pause.as_secs_f64(),
            error,
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// A joining is done, or given up with this class of error.
    pub(crate) async fn end_join(&self, job: &ClaimedJoin, error: Option<&str>) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE join_job SET state = CASE WHEN $3::text IS NULL THEN 'DONE' ELSE 'FAILED' END, error = $3,
                 lease_until = NULL, updated_at = now()
             WHERE order_id = $1 AND epoch = $2 AND state = 'CLAIMED'",
            job.wanted.id.as_uuid(),
            job.epoch,
            error,
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Lets the job rest for a while; then it may be claimed again.
    pub(crate) async fn put_off(&self, job: &Claimed, class: &str, delay: Duration) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET error = $3, lease_until = now() + make_interval(secs => $4), updated_at = now()
             WHERE recording_id = $1 AND epoch = $2 AND (state NOT IN ('STORED', 'FAILED') OR delivery_state = 'DUE')",
            job.recording.as_uuid(),
            job.epoch,
            class,
            delay.as_secs_f64(),
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Gives the job up. What was captured stays in the spool for a person to look at.
    pub(crate) async fn fail(&self, job: &Claimed, class: &str) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE recording_job SET state = CASE state WHEN 'STORED' THEN 'STORED' ELSE 'FAILED' END, error = $3,
                 delivery_state = CASE delivery_state WHEN 'DUE' THEN 'FAILED' ELSE delivery_state END,
                 tap_token = NULL, lease_until = NULL, updated_at = now()
             WHERE recording_id = $1 AND epoch = $2 AND (state NOT IN ('STORED', 'FAILED') OR delivery_state = 'DUE')",
            job.recording.as_uuid(),
            job.epoch,
            class,
        )
        .execute(&self.pool)
        .await?;
        held(done.rows_affected())
    }

    /// Lets go of every job of this spool: at the end, so that the next recorder need not wait for the leases to lapse, and at the
    /// start, because whoever holds the spool's lock knows that the one before is dead. Signaling counts its silence from here.
    pub(crate) async fn let_go(&self) -> Result<()> {
        sqlx::query!(
            "UPDATE recording_job SET lease_until = NULL, updated_at = now() WHERE worker = $1 AND (state NOT IN ('STORED', 'FAILED') OR delivery_state = 'DUE')",
            self.worker,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Closes the pool.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A row that was not touched belongs to another worker by now.
fn held(rows: u64) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(Error::LeaseLost) }
}
