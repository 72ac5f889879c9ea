//! SQL of media pipelines.

use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;
use wire::delivery::{Delivered, Join, Order};

use crate::chime::names::{MeetingId, PipelineId};
use crate::chime::pipelines::state::{Reason, Status};
use crate::chime::store::Tags;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};

/// What a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Capture,
    Concatenation,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "CAPTURE",
            Self::Concatenation => "CONCATENATION",
        }
    }
}

/// A pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: PipelineId,
    pub(crate) kind: Kind,
    /// The meeting that is captured, by this pipeline or by the one whose pieces it joins.
    pub(crate) captured: MeetingId,
    /// Of that meeting.
    pub(crate) visit: VisitId,
    pub(crate) status: Status,
    pub(crate) reason: Option<Reason>,
    pub(crate) region: String,
    pub(crate) request_hash: Vec<u8>,
    pub(crate) request: Value,
    pub(crate) wanted: Value,
    pub(crate) tags: Tags,
    pub(crate) created_at: Timestamp,
    /// The access key that signed the request.
    pub(crate) created_by: String,
    pub(crate) updated_at: Timestamp,
    source: Option<PipelineId>,
}

impl Row {
    /// What a capture is to deliver.
    pub(crate) fn order(&self) -> Result<Order> {
        Ok(serde_json::from_value(self.wanted.clone())?)
    }
}

struct Raw {
    pipeline_id: Uuid,
    kind: String,
    meeting_id: Uuid,
    visit_id: Uuid,
    source_id: Option<Uuid>,
    status: String,
    stop_reason: Option<String>,
    region: String,
    request_hash: Vec<u8>,
    request: Value,
    wanted: Value,
    tags: Json<Tags>,
    created_at: Timestamp,
    created_by: String,
    updated_at: Timestamp,
}

impl TryFrom<Raw> for Row {
    type Error = Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let status = Status::parse(&raw.status);
        Ok(Self {
            id: PipelineId::from_uuid(raw.pipeline_id),
            kind: if raw.kind == "CAPTURE" { Kind::Capture } else { Kind::Concatenation },
            captured: MeetingId::from_uuid(raw.meeting_id),
            visit: VisitId::from_uuid(raw.visit_id),
            status: status.ok_or_else(|| Error::Inside("a pipeline's state is unknown".to_owned()))?,
            reason: raw.stop_reason.as_deref().and_then(Reason::parse),
            region: raw.region,
            request_hash: raw.request_hash,
            request: raw.request,
            wanted: raw.wanted,
            tags: raw.tags.0,
            created_at: raw.created_at,
            created_by: raw.created_by,
            updated_at: raw.updated_at,
            source: raw.source_id.map(PipelineId::from_uuid),
        })
    }
}

/// What a pipeline is made of.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) id: PipelineId,
    pub(crate) kind: Kind,
    pub(crate) meeting: Option<MeetingId>,
    pub(crate) source: Option<PipelineId>,
    pub(crate) status: Status,
    pub(crate) region: String,
    pub(crate) request_token: Option<String>,
    pub(crate) request_hash: [u8; 32],
    pub(crate) request: Value,
    pub(crate) wanted: Value,
    pub(crate) tags: Tags,
    pub(crate) by: String,
}

/// Makes one organisation's new pipelines wait for each other, so that a token makes one and a quota holds.
pub(crate) async fn lock_creation(tx: &mut Tx, org: OrgId) -> Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('chime pipelines ' || $1, 0))::text AS locked",
        org.to_string()
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Writes a new pipeline.
pub(crate) async fn insert(tx: &mut Tx, org: OrgId, new: &New, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO chime_pipeline (pipeline_id, org_id, kind, meeting_id, source_id, status, region, request_token, request_hash,
             request, wanted, tags, created_at, created_by, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $13)",
        new.id.as_uuid(),
        org.as_uuid(),
        new.kind.as_str(),
        new.meeting.map(MeetingId::as_uuid),
        new.source.map(PipelineId::as_uuid),
        new.status.as_str(),
        new.region,
        new.request_token,
        new.request_hash.as_slice(),
        new.request,
        new.wanted,
        Json(&new.tags) as _,
        now,
        new.by,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A pipeline; one that is over is forgotten after a while.
pub(crate) async fn find(tx: &mut Tx, id: PipelineId, since: Timestamp) -> Result<Option<Row>> {
    let raw = sqlx::query_as!(
        Raw,
        r#"SELECT p.pipeline_id, p.kind, m.meeting_id AS "meeting_id!", m.visit_id AS "visit_id!", p.source_id, p.status, p.stop_reason, p.region,
               p.request_hash, p.request, p.wanted, p.tags AS "tags: Json<Tags>", p.created_at, p.created_by, p.updated_at
           FROM chime_pipeline p LEFT JOIN chime_pipeline s ON s.pipeline_id = p.source_id
               JOIN chime_meeting m ON m.meeting_id = coalesce(p.meeting_id, s.meeting_id)
           WHERE p.pipeline_id = $1 AND (p.status NOT IN ('Stopped', 'Failed') OR p.updated_at > $2)"#,
        id.as_uuid(),
        since
    )
    .fetch_optional(tx)
    .await?;
    raw.map(Row::try_from).transpose()
}

/// A pipeline that nobody else changes meanwhile; none when somebody does.
pub(crate) async fn lock(tx: &mut Tx, id: PipelineId) -> Result<Option<Row>> {
    let locked = sqlx::query!(
        "SELECT pipeline_id FROM chime_pipeline WHERE pipeline_id = $1 FOR UPDATE SKIP LOCKED",
        id.as_uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    match locked {
        Some(_) => find(tx, id, Timestamp::UNIX_EPOCH).await,
        None => Ok(None),
    }
}

/// Pipelines after a number, in order, at most `most`.
pub(crate) async fn list(
    tx: &mut Tx,
    kind: Option<Kind>,
    (after, most): (i64, i64),
    since: Timestamp,
) -> Result<Vec<(i64, PipelineId, String)>> {
    let rows = sqlx::query!(
        "SELECT seq, pipeline_id, region FROM chime_pipeline
         WHERE seq > $1 AND ($2::text IS NULL OR kind = $2) AND (status NOT IN ('Stopped', 'Failed') OR updated_at > $4)
         ORDER BY seq LIMIT $3",
        after,
        kind.map(Kind::as_str),
        most,
        since
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.seq, PipelineId::from_uuid(row.pipeline_id), row.region)).collect())
}

/// The pipeline that a request token made, while it lives.
pub(crate) async fn find_by_request(tx: &mut Tx, org: OrgId, kind: Kind, token: &str) -> Result<Option<PipelineId>> {
    let found = sqlx::query_scalar!(
        "SELECT pipeline_id FROM chime_pipeline
         WHERE org_id = $1 AND kind = $2 AND request_token = $3 AND status NOT IN ('Stopped', 'Failed')",
        org.as_uuid(),
        kind.as_str(),
        token
    )
    .fetch_optional(tx)
    .await?;
    Ok(found.map(PipelineId::from_uuid))
}

/// How many pipelines of an organisation are not over.
pub(crate) async fn count_open(tx: &mut Tx, org: OrgId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM chime_pipeline WHERE org_id = $1 AND status NOT IN ('Stopped', 'Failed')"#,
        org.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// Whether a meeting is captured already.
pub(crate) async fn is_captured(tx: &mut Tx, meeting: MeetingId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM chime_pipeline
               WHERE meeting_id = $1 AND kind = 'CAPTURE' AND status NOT IN ('Stopped', 'Failed')) AS "is!""#,
        meeting.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// Whether a visit may be recorded at all.
pub(crate) async fn may_record(tx: &mut Tx, visit: VisitId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"SELECT recording_policy = 'OPT_IN' AS "may!" FROM visit WHERE visit_id = $1"#,
        visit.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// One capture that serves an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// A [`RecordingStatus`](crate::recording::RecordingStatus).
    pub(crate) status: String,
    /// Of its job.
    pub(crate) job: String,
    pub(crate) stop_reason: Option<String>,
    /// A frame passed.
    pub(crate) has_flowed: bool,
    pub(crate) delivery: String,
}

impl Part {
    /// It is being captured.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status.as_str(), "REQUESTED" | "RECORDING" | "STOPPING")
    }

    /// Its recorder is gone, with what it has.
    fn is_abandoned(&self) -> bool {
        self.status == "FAILED" && !matches!(self.job.as_str(), "STORED" | "FAILED")
    }

    /// It is still to be delivered.
    pub(crate) fn is_due(&self) -> bool {
        self.delivery == "DUE" && !self.is_abandoned()
    }

    /// It could not be delivered.
    pub(crate) fn has_failed(&self) -> bool {
        self.delivery == "FAILED" || (self.delivery == "DUE" && self.is_abandoned())
    }

    /// It ended because something of ours failed.
    pub(crate) fn has_broken(&self) -> bool {
        // Without a reason nobody was left to write one.
        matches!(self.stop_reason.as_deref(), None | Some("ROOM_FAILED" | "RECORDER_GONE" | "SERVER_STOPPING"))
    }
}

/// What is known of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capture {
    /// In order of time.
    pub(crate) parts: Vec<Part>,
    pub(crate) is_meeting_over: bool,
}

/// What is known of a concatenation's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) status: Status,
    /// Of the joining, once it was asked for.
    pub(crate) job: Option<String>,
}

/// What is known of a pipeline.
#[derive(Debug)]
pub(crate) enum Facts {
    Capture(Capture),
    Concatenation(Source),
}

/// Reads what a pipeline's state follows from.
pub(crate) async fn facts(tx: &mut Tx, row: &Row) -> Result<Facts> {
    if let Some(source) = row.source {
        let found = sqlx::query!(
            r#"SELECT s.status, j.state AS "job?" FROM chime_pipeline s LEFT JOIN join_job j ON j.order_id = $2
               WHERE s.pipeline_id = $1"#,
            source.as_uuid(),
            row.id.as_uuid()
        )
        .fetch_one(tx)
        .await?;
        let status = Status::parse(&found.status);
        let status = status.ok_or_else(|| Error::Inside("a pipeline's state is unknown".to_owned()))?;
        return Ok(Facts::Concatenation(Source { status, job: found.job }));
    }
    let is_meeting_over = sqlx::query_scalar!(
        r#"SELECT m.ended_at IS NOT NULL OR v.status IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL') AS "is!"
           FROM chime_meeting m JOIN visit v ON v.visit_id = m.visit_id WHERE m.meeting_id = $1"#,
        row.captured.as_uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    let parts = sqlx::query_as!(
        Part,
        r#"SELECT r.status, j.state AS job, r.stop_reason, r.started_at IS NOT NULL AS "has_flowed!",
               j.delivery_state AS "delivery!"
           FROM recording_job j JOIN recording r USING (recording_id) WHERE j.order_id = $1 ORDER BY r.requested_at"#,
        row.id.as_uuid()
    )
    .fetch_all(tx)
    .await?;
    Ok(Facts::Capture(Capture { parts, is_meeting_over }))
}

/// Writes a pipeline's state: for [`state`](super::state) alone.
pub(super) async fn move_to(
    tx: &mut Tx,
    id: PipelineId,
    status: Status,
    reason: Option<Reason>,
    now: Timestamp,
) -> Result<()> {
    sqlx::query!(
        "UPDATE chime_pipeline SET status = $2, stop_reason = $3, updated_at = $4 WHERE pipeline_id = $1",
        id.as_uuid(),
        status.as_str(),
        reason.map(Reason::as_str),
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that a pipeline is to stop, if nothing else stops it already. Its state follows.
pub(crate) async fn ask_to_stop(tx: &mut Tx, id: PipelineId, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "UPDATE chime_pipeline SET stop_reason = 'DELETED', updated_at = $2
         WHERE pipeline_id = $1 AND stop_reason IS NULL AND status NOT IN ('Stopped', 'Failed')",
        id.as_uuid(),
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Asks the recorders to join what was delivered of a pipeline's source.
pub(super) async fn insert_join(tx: &mut Tx, org: OrgId, row: &Row) -> Result<()> {
    let Some(source) = row.source else { return Ok(()) };
    let delivered = sqlx::query_scalar!(
        r#"SELECT j.delivered AS "delivered!: Json<Delivered>" FROM recording_job j JOIN recording r USING (recording_id)
           WHERE j.order_id = $1 AND j.delivered IS NOT NULL ORDER BY r.requested_at"#,
        source.as_uuid()
    )
    .fetch_all(&mut *tx)
    .await?;
    let wanted: Join = serde_json::from_value(row.wanted.clone())?;
    let wanted = Join { delivered: delivered.into_iter().map(|Json(one)| one).collect(), ..wanted };
    sqlx::query!(
        "INSERT INTO join_job (order_id, org_id, wanted) VALUES ($1, $2, $3)",
        row.id.as_uuid(),
        org.as_uuid(),
        Json(wanted) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Puts other tags in the place of a pipeline's.
pub(crate) async fn set_tags(tx: &mut Tx, id: PipelineId, tags: &Tags) -> Result<()> {
    sqlx::query!("UPDATE chime_pipeline SET tags = $2 WHERE pipeline_id = $1", id.as_uuid(), Json(tags) as _)
        .execute(tx)
        .await?;
    Ok(())
}

/// Pipelines of all organisations that are not over, at most `most`, oldest change first.
pub(crate) async fn find_open(pool: &PgPool, most: i64) -> Result<Vec<(OrgId, PipelineId)>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'pipelines', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        "SELECT org_id, pipeline_id FROM chime_pipeline WHERE status NOT IN ('Stopped', 'Failed') ORDER BY seq LIMIT $1",
        most
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let open = |org, id| (OrgId::from_uuid(org), PipelineId::from_uuid(id));
    Ok(rows.into_iter().map(|row| open(row.org_id, row.pipeline_id)).collect())
}
