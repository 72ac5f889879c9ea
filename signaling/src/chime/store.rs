//! SQL of meetings and attendees. A meeting whose visit is over reads as one that has ended.

use std::collections::BTreeMap;

use sqlx::types::Json;
use uuid::Uuid;

use crate::chime::capability::{Capabilities, Features};
use crate::chime::names::{AttendeeId, MeetingId};
use crate::chime::notifications::Scene;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::{OrgId, ParticipantId, VisitId};

/// Keys and values, in the order of the keys.
pub(crate) type Tags = BTreeMap<String, String>;

/// A meeting that lives.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    pub(crate) id: MeetingId,
    pub(crate) visit: VisitId,
    /// A meeting of its own, and no visit's room.
    pub(crate) is_plain: bool,
    pub(crate) request_hash: Vec<u8>,
    pub(crate) external_id: String,
    pub(crate) media_region: String,
    pub(crate) region: String,
    pub(crate) host_id: Option<String>,
    pub(crate) features: Option<Features>,
    pub(crate) tenant_ids: Vec<String>,
    pub(crate) tags: Tags,
    /// Of the visit.
    pub(crate) patient_id: Option<String>,
    /// Of the visit.
    pub(crate) clinician_id: Option<String>,
}

struct MeetingRow {
    meeting_id: Uuid,
    visit_id: Uuid,
    kind: String,
    request_hash: Vec<u8>,
    external_meeting_id: String,
    media_region: String,
    region: String,
    host_id: Option<String>,
    features: Option<Json<Features>>,
    tenant_ids: Vec<String>,
    tags: Json<Tags>,
    patient_id: Option<String>,
    clinician_id: Option<String>,
}

impl From<MeetingRow> for Meeting {
    fn from(row: MeetingRow) -> Self {
        Self {
            id: MeetingId::from_uuid(row.meeting_id),
            visit: VisitId::from_uuid(row.visit_id),
            is_plain: row.kind == "MEETING",
            request_hash: row.request_hash,
            external_id: row.external_meeting_id,
            media_region: row.media_region,
            region: row.region,
            host_id: row.host_id,
            features: row.features.map(|Json(features)| features),
            tenant_ids: row.tenant_ids,
            tags: row.tags.0,
            patient_id: row.patient_id,
            clinician_id: row.clinician_id,
        }
    }
}

impl Meeting {
    /// What it offers.
    #[must_use]
    pub(crate) fn features(&self) -> Features {
        self.features.clone().unwrap_or_default()
    }
}

/// What a meeting is made of.
#[derive(Clone, Debug)]
pub(crate) struct NewMeeting {
    pub(crate) request_token: String,
    pub(crate) request_hash: [u8; 32],
    pub(crate) external_id: String,
    pub(crate) media_region: String,
    pub(crate) region: String,
    pub(crate) host_id: Option<String>,
    pub(crate) features: Option<Features>,
    pub(crate) tenant_ids: Vec<String>,
    pub(crate) network_type: Option<String>,
    pub(crate) notifications: Option<serde_json::Value>,
    pub(crate) tags: Tags,
}

/// Makes one organisation's new meetings wait for each other, so that a token makes one and a quota holds.
pub(crate) async fn lock_creation(tx: &mut Tx, org: OrgId) -> Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('chime meetings ' || $1, 0))::text AS locked",
        org.to_string()
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Ends what is left of meetings whose visit is over, so that their tokens are free again. Gives those that had not ended before.
pub(crate) async fn end_with_their_visits(tx: &mut Tx, org: OrgId, now: Timestamp) -> Result<Vec<Scene>> {
    let rows = sqlx::query!(
        "UPDATE chime_meeting m SET ended_at = $2, end_reason = 'VISIT_OVER' FROM visit v
         WHERE m.org_id = $1 AND m.ended_at IS NULL AND v.visit_id = m.visit_id
           AND v.status IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL')
         RETURNING m.meeting_id, m.external_meeting_id, m.media_region, m.region",
        org.as_uuid(),
        now
    )
    .fetch_all(tx)
    .await?;
    let scene = |(meeting_id, external_id, media_region, region)| Scene {
        meeting: MeetingId::from_uuid(meeting_id),
        external_id,
        media_region,
        region,
    };
    Ok(rows
        .into_iter()
        .map(|row| scene((row.meeting_id, row.external_meeting_id, row.media_region, row.region)))
        .collect())
}

/// The meeting that a request token made, while it lives.
pub(crate) async fn find_by_request(tx: &mut Tx, org: OrgId, request_token: &str) -> Result<Option<Meeting>> {
    let row = sqlx::query_as!(
        MeetingRow,
        r#"SELECT m.meeting_id, m.visit_id, v.kind, m.request_hash, m.external_meeting_id, m.media_region, m.region, m.host_id,
               m.features AS "features: Json<Features>", m.tenant_ids, m.tags AS "tags: Json<Tags>", v.patient_id, v.clinician_id
           FROM chime_meeting m JOIN visit v ON v.visit_id = m.visit_id
           WHERE m.org_id = $1 AND m.request_token = $2 AND m.ended_at IS NULL"#,
        org.as_uuid(),
        request_token
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(Meeting::from))
}

/// A meeting that lives.
pub(crate) async fn find(tx: &mut Tx, meeting: MeetingId) -> Result<Option<Meeting>> {
    let row = sqlx::query_as!(
        MeetingRow,
        r#"SELECT m.meeting_id, m.visit_id, v.kind, m.request_hash, m.external_meeting_id, m.media_region, m.region, m.host_id,
               m.features AS "features: Json<Features>", m.tenant_ids, m.tags AS "tags: Json<Tags>", v.patient_id, v.clinician_id
           FROM chime_meeting m JOIN visit v ON v.visit_id = m.visit_id
           WHERE m.meeting_id = $1 AND m.ended_at IS NULL
             AND v.status NOT IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL')"#,
        meeting.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(Meeting::from))
}

/// Holds a meeting for the length of the transaction, so that its attendees are counted right and it does not end meanwhile.
pub(crate) async fn lock(tx: &mut Tx, meeting: MeetingId) -> Result<()> {
    sqlx::query!("SELECT meeting_id FROM chime_meeting WHERE meeting_id = $1 FOR UPDATE", meeting.as_uuid())
        .fetch_optional(tx)
        .await?;
    Ok(())
}

/// How many meetings of the organisation live.
pub(crate) async fn count_open(tx: &mut Tx, org: OrgId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM chime_meeting WHERE org_id = $1 AND ended_at IS NULL"#,
        org.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// How many meetings of a visit live.
pub(crate) async fn count_of_visit(tx: &mut Tx, visit: VisitId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM chime_meeting WHERE visit_id = $1 AND ended_at IS NULL"#,
        visit.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// The visit of a plain meeting: it begins when it is made, and may last a day.
pub(crate) async fn insert_visit(tx: &mut Tx, org: OrgId, visit: VisitId, by: &str, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO visit (visit_id, org_id, kind, status, status_updated_at, started_at, scheduled_start_at, duration_min,
             recording_policy, created_at, created_by, updated_at)
         VALUES ($1, $2, 'MEETING', 'IN_PROGRESS', $3, $3, $3, 1440, 'OPT_IN', $3, $4, $3)",
        visit.as_uuid(),
        org.as_uuid(),
        now,
        by
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes a new meeting.
pub(crate) async fn insert(
    tx: &mut Tx,
    place: (OrgId, VisitId),
    meeting: MeetingId,
    new: &NewMeeting,
    now: Timestamp,
) -> Result<()> {
    let (org, visit) = place;
    sqlx::query!(
        "INSERT INTO chime_meeting (meeting_id, org_id, visit_id, request_token, request_hash, external_meeting_id, media_region,
             region, host_id, features, tenant_ids, network_type, notifications, tags, created_at, attended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)",
        meeting.as_uuid(),
        org.as_uuid(),
        visit.as_uuid(),
        new.request_token,
        new.request_hash.as_slice(),
        new.external_id,
        new.media_region,
        new.region,
        new.host_id,
        new.features.as_ref().map(Json) as _,
        &new.tenant_ids,
        new.network_type,
        new.notifications.as_ref().map(Json) as _,
        Json(&new.tags) as _,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends a meeting: the tokens of its attendees open nothing any more. False when it had ended before.
pub(crate) async fn end(tx: &mut Tx, meeting: MeetingId, reason: &str, now: Timestamp) -> Result<bool> {
    let ended = sqlx::query!(
        "UPDATE chime_meeting SET ended_at = $2, end_reason = $3 WHERE meeting_id = $1 AND ended_at IS NULL",
        meeting.as_uuid(),
        now,
        reason
    )
    .execute(&mut *tx)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Completes the visit of a plain meeting. False when that was done before.
pub(crate) async fn complete_visit(
    tx: &mut Tx,
    visit: VisitId,
    by: &str,
    reason: &str,
    now: Timestamp,
) -> Result<bool> {
    let ended = sqlx::query!(
        "UPDATE visit SET status = 'COMPLETED', status_updated_at = $2, updated_at = $2, ended_at = $2, end_reason = $3, ended_by = $4,
             row_version = row_version + 1
         WHERE visit_id = $1 AND kind = 'MEETING' AND status = 'IN_PROGRESS'",
        visit.as_uuid(),
        now,
        reason,
        by
    )
    .execute(tx)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Puts other tags in the place of a meeting's.
pub(crate) async fn set_tags(tx: &mut Tx, meeting: MeetingId, tags: &Tags) -> Result<()> {
    sqlx::query!("UPDATE chime_meeting SET tags = $2 WHERE meeting_id = $1", meeting.as_uuid(), Json(tags) as _)
        .execute(tx)
        .await?;
    Ok(())
}

/// Somebody with a place in a meeting.
#[derive(Clone, Debug)]
pub(crate) struct AttendeeRow {
    pub(crate) attendee_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) participant_id: Uuid,
    pub(crate) external_user_id: String,
    pub(crate) capabilities: Json<Capabilities>,
}

impl AttendeeRow {
    /// Which.
    #[must_use]
    pub(crate) const fn id(&self) -> AttendeeId {
        AttendeeId::from_uuid(self.attendee_id)
    }

    /// As the rooms know them.
    #[must_use]
    pub(crate) const fn participant(&self) -> ParticipantId {
        ParticipantId::from_uuid(self.participant_id)
    }
}

/// Writes a new attendee.
pub(crate) async fn insert_attendee(
    tx: &mut Tx,
    place: (OrgId, MeetingId, ParticipantId),
    attendee: AttendeeId,
    external_user: &str,
    capabilities: Capabilities,
    now: Timestamp,
) -> Result<AttendeeRow> {
    let (org, meeting, participant) = place;
    Ok(sqlx::query_as!(
        AttendeeRow,
        r#"INSERT INTO chime_attendee (attendee_id, org_id, meeting_id, participant_id, external_user_id, capabilities, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7)
           RETURNING attendee_id, seq, participant_id, external_user_id, capabilities AS "capabilities: Json<Capabilities>""#,
        attendee.as_uuid(),
        org.as_uuid(),
        meeting.as_uuid(),
        participant.as_uuid(),
        external_user,
        Json(capabilities) as _,
        now
    )
    .fetch_one(tx)
    .await?)
}

/// The attendee of an application's own user id.
pub(crate) async fn find_by_user(tx: &mut Tx, meeting: MeetingId, external_user: &str) -> Result<Option<AttendeeRow>> {
    Ok(sqlx::query_as!(
        AttendeeRow,
        r#"SELECT attendee_id, seq, participant_id, external_user_id, capabilities AS "capabilities: Json<Capabilities>"
           FROM chime_attendee WHERE meeting_id = $1 AND external_user_id = $2 AND deleted_at IS NULL"#,
        meeting.as_uuid(),
        external_user
    )
    .fetch_optional(tx)
    .await?)
}

/// An attendee of a meeting.
pub(crate) async fn find_attendee(
    tx: &mut Tx,
    meeting: MeetingId,
    attendee: AttendeeId,
) -> Result<Option<AttendeeRow>> {
    Ok(sqlx::query_as!(
        AttendeeRow,
        r#"SELECT attendee_id, seq, participant_id, external_user_id, capabilities AS "capabilities: Json<Capabilities>"
           FROM chime_attendee WHERE meeting_id = $1 AND attendee_id = $2 AND deleted_at IS NULL"#,
        meeting.as_uuid(),
        attendee.as_uuid()
    )
    .fetch_optional(tx)
    .await?)
}

/// Attendees of a meeting after a number, in order, at most `most`.
pub(crate) async fn list_attendees(tx: &mut Tx, meeting: MeetingId, after: i64, most: i64) -> Result<Vec<AttendeeRow>> {
    Ok(sqlx::query_as!(
        AttendeeRow,
        r#"SELECT attendee_id, seq, participant_id, external_user_id, capabilities AS "capabilities: Json<Capabilities>"
           FROM chime_attendee WHERE meeting_id = $1 AND seq > $2 AND deleted_at IS NULL ORDER BY seq LIMIT $3"#,
        meeting.as_uuid(),
        after,
        most
    )
    .fetch_all(tx)
    .await?)
}

/// How many attendees a meeting has.
pub(crate) async fn count_attendees(tx: &mut Tx, meeting: MeetingId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM chime_attendee WHERE meeting_id = $1 AND deleted_at IS NULL"#,
        meeting.as_uuid()
    )
    .fetch_one(tx)
    .await?)
}

/// Gives an attendee other capabilities.
pub(crate) async fn set_capabilities(tx: &mut Tx, attendee: AttendeeId, capabilities: Capabilities) -> Result<()> {
    sqlx::query!(
        "UPDATE chime_attendee SET capabilities = $2 WHERE attendee_id = $1",
        attendee.as_uuid(),
        Json(capabilities) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes an attendee; a guest of the room goes with them. The visit's own people keep their place in the visit.
pub(crate) async fn delete_attendee(tx: &mut Tx, attendee: AttendeeId, now: Timestamp) -> Result<()> {
    sqlx::query!("UPDATE chime_attendee SET deleted_at = $2 WHERE attendee_id = $1", attendee.as_uuid(), now)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "UPDATE participant p SET removed_at = $2 FROM chime_attendee a
         WHERE a.attendee_id = $1 AND p.participant_id = a.participant_id AND p.role = 'GUEST' AND p.removed_at IS NULL",
        attendee.as_uuid(),
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}
