//! SQL of visits.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::problem::Code;
use crate::visit::{
    CancelReason, Channel, EndReason, Moved, NewVisit, RecordingPolicy, Visit, VisitStatus, refuse_move,
};

/// Visits on one page of a list.
pub const PAGE: usize = 100;

/// The one list of columns from which a [`Visit`] is read; `$tail` begins with WHERE.
macro_rules! select_visit {
    ($tail:literal, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT visit_id, org_id, external_appointment_id, patient_id AS "patient_id!", clinician_id AS "clinician_id!", status,
                 visit_type, channel, scheduled_start_at, duration_min, started_at, ended_at, end_reason, cancel_reason, reopened_at,
                 recording_policy, demo, row_version
               FROM visit "# + $tail,
            $($argument),*
        )
    };
}

struct Row {
    visit_id: Uuid,
    org_id: Uuid,
    external_appointment_id: Option<String>,
    patient_id: String,
    clinician_id: String,
    status: String,
    visit_type: Option<String>,
    channel: String,
    scheduled_start_at: Timestamp,
    duration_min: i32,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    end_reason: Option<String>,
    cancel_reason: Option<String>,
    reopened_at: Option<Timestamp>,
    recording_policy: String,
    demo: bool,
    row_version: i32,
}

impl TryFrom<Row> for Visit {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: VisitId::from_uuid(row.visit_id),
            org: OrgId::from_uuid(row.org_id),
            appointment: row.external_appointment_id,
            patient_id: row.patient_id,
            clinician_id: row.clinician_id,
            status: parse_status(&row.status)?,
            visit_type: row.visit_type,
            channel: Channel::parse(&row.channel)
                .ok_or_else(|| Error::Inside("a visit's channel is unknown".to_owned()))?,
            scheduled_start: row.scheduled_start_at,
            duration_min: row.duration_min,
            started_at: row.started_at,
            ended_at: row.ended_at,
            end_reason: row.end_reason.as_deref().and_then(EndReason::parse),
            cancel_reason: row.cancel_reason.as_deref().and_then(CancelReason::parse),
            reopened_at: row.reopened_at,
            demo: row.demo,
            recording_policy: if row.recording_policy == RecordingPolicy::OptIn.as_str() {
                RecordingPolicy::OptIn
            } else {
                RecordingPolicy::Never
            },
            row_version: row.row_version,
        })
    }
}

fn parse_status(text: &str) -> Result<VisitStatus> {
    VisitStatus::parse(text).ok_or_else(|| Error::Inside("a visit's status is unknown".to_owned()))
}

/// Writes a new visit.
///
/// # Errors
/// `APPOINTMENT_TAKEN` when another visit has the appointment id; `DOUBLE_BOOKED` when the clinician has another visit at that time;
/// the database's own failures.
pub async fn insert(tx: &mut Tx, org: OrgId, id: VisitId, new: &NewVisit, by: &str, now: Timestamp) -> Result<Visit> {
    let inserted = sqlx::query!(
        "INSERT INTO visit (visit_id, org_id, external_appointment_id, patient_id, clinician_id, status_updated_at, visit_type,
             channel, scheduled_start_at, duration_min, recording_policy, demo, created_at, created_by, updated_at, last_modified_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $6, $13, $6, $13)",
        id.as_uuid(),
        org.as_uuid(),
        new.appointment,
        new.patient_id,
        new.clinician_id,
        now,
        new.visit_type,
        new.channel.as_str(),
        new.scheduled_start,
        new.duration_min,
        new.recording_policy.as_str(),
        new.demo,
        by,
    )
    .execute(&mut *tx)
    .await;
    inserted.map_err(refuse_constraint)?;
    get(tx, id).await
}

/// A constraint of the table in the caller's words.
fn refuse_constraint(error: sqlx::Error) -> Error {
    let constraint = error.as_database_error().and_then(sqlx::error::DatabaseError::constraint);
    match constraint {
        Some("visit_org_id_external_appointment_id_key") => Code::AppointmentTaken.into(),
        Some("visit_not_double_booked") => Code::DoubleBooked.into(),
        _ => error.into(),
    }
}

/// Makes everyone who would plan a visit for one appointment wait for each other, so that it gets one.
///
/// # Errors
/// The database's own failures.
pub async fn lock_appointment(tx: &mut Tx, org: OrgId, appointment: &str) -> Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('visit of ' || $1 || ' ' || $2, 0))::text AS locked",
        org.to_string(),
        appointment
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// One visit of this organisation.
///
/// # Errors
/// The database's own failures.
pub async fn find(tx: &mut Tx, id: VisitId) -> Result<Option<Visit>> {
    select_visit!("WHERE visit_id = $1 AND kind = 'VISIT'", id.as_uuid())
        .fetch_optional(tx)
        .await?
        .map(Visit::try_from)
        .transpose()
}

/// One visit, and nobody else changes it until this transaction ends.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn lock(tx: &mut Tx, id: VisitId) -> Result<Visit> {
    select_visit!("WHERE visit_id = $1 AND kind = 'VISIT' FOR UPDATE", id.as_uuid())
        .fetch_optional(tx)
        .await?
        .map(Visit::try_from)
        .transpose()?
        .ok_or_else(|| Code::NotFound.into())
}

/// One visit of this organisation that a caller asked for.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn get(tx: &mut Tx, id: VisitId) -> Result<Visit> {
    find(tx, id).await?.ok_or_else(|| Code::NotFound.into())
}

/// The visit of an appointment.
///
/// # Errors
/// The database's own failures.
pub async fn find_by_appointment(tx: &mut Tx, org: OrgId, appointment: &str) -> Result<Option<Visit>> {
    select_visit!("WHERE org_id = $1 AND external_appointment_id = $2 AND kind = 'VISIT'", org.as_uuid(), appointment)
        .fetch_optional(tx)
        .await?
        .map(Visit::try_from)
        .transpose()
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// This clinician's only.
    pub clinician: Option<String>,
    /// This patient's only.
    pub patient: Option<String>,
    /// Starting then or later.
    pub from: Option<Timestamp>,
    /// Starting before.
    pub to: Option<Timestamp>,
    /// In one of these states; all when empty.
    pub status: Vec<VisitStatus>,
    /// After this place in the order.
    pub after: Option<(Timestamp, Uuid)>,
}

/// Visits by start time, at most [`PAGE`] and one more that tells whether there is another page.
///
/// # Errors
/// The database's own failures.
pub async fn list(tx: &mut Tx, org: OrgId, filter: &Filter) -> Result<Vec<Visit>> {
    let status: Vec<String> = filter.status.iter().map(|status| status.as_str().to_owned()).collect();
    let (after_time, after_id) = filter.after.unzip();
    select_visit!(
        "WHERE org_id = $1 AND kind = 'VISIT'
           AND ($2::text IS NULL OR clinician_id = $2)
           AND ($8::text IS NULL OR patient_id = $8)
           AND ($3::timestamptz IS NULL OR scheduled_start_at >= $3)
           AND ($4::timestamptz IS NULL OR scheduled_start_at < $4)
           AND (cardinality($5::text[]) = 0 OR status = ANY($5))
           AND ($6::timestamptz IS NULL OR (scheduled_start_at, visit_id) > ($6, $7::uuid))
         ORDER BY scheduled_start_at, visit_id LIMIT 101",
        org.as_uuid(),
        filter.clinician,
        filter.from,
        filter.to,
        &status,
        after_time,
        after_id,
        filter.patient,
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(Visit::try_from)
    .collect()
}

/// Moves a visit along its status machine, whoever asks: the row is locked, the move is looked up, and one update that names the state
/// and the version which were seen makes it. The caller appends [`Moved::events`] in the same transaction.
///
/// # Errors
/// `NOT_FOUND`; `VISIT_FINAL` or `INVALID_TRANSITION` with `from`, `to` and `allowed`; the database's own failures.
pub async fn move_to(
    tx: &mut Tx,
    id: VisitId,
    to: VisitStatus,
    end: Option<(EndReason, &str)>,
    now: Timestamp,
) -> Result<Moved> {
    let visit = lock(tx, id).await?;
    let from = visit.status;
    if !from.may_become(to) {
        return Err(refuse_move(from, to));
    }
    advance(tx, Standing { id, status: from, row_version: visit.row_version }, to, end, now).await?;
    Ok(Moved { from, visit: get(tx, id).await? })
}

/// What a move has to know of a visit or a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub id: VisitId,
    /// Where it stands.
    pub status: VisitStatus,
    /// As of this version.
    pub row_version: i32,
}

/// Where a visit stands, or a meeting of its own, which is a visit without a patient. It is locked until the transaction ends.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn lock_standing(tx: &mut Tx, id: VisitId) -> Result<Standing> {
    let row = sqlx::query!("SELECT status, row_version FROM visit WHERE visit_id = $1 FOR UPDATE", id.as_uuid())
        .fetch_optional(tx)
        .await?
        .ok_or(Error::from(Code::NotFound))?;
    Ok(Standing { id, status: parse_status(&row.status)?, row_version: row.row_version })
}

/// The one statement that changes a status. Gives the new version.
///
/// # Errors
/// `INVALID_TRANSITION` when the row is not what `seen` says, or the machine has no such move; the database's own failures.
pub async fn advance(
    tx: &mut Tx,
    seen: Standing,
    to: VisitStatus,
    end: Option<(EndReason, &str)>,
    now: Timestamp,
) -> Result<i32> {
    if !seen.status.may_become(to) {
        return Err(refuse_move(seen.status, to));
    }
    let (reason, by) = end.map(|(reason, by)| (reason.as_str(), by)).unzip();
    let moved = sqlx::query_scalar!(
        "UPDATE visit SET status = $4, status_updated_at = $5, updated_at = $5, row_version = row_version + 1,
             started_at = CASE WHEN $4 = 'IN_PROGRESS' THEN coalesce(started_at, $5) ELSE started_at END,
             ended_at = CASE WHEN $4 IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL') THEN $5 END,
             end_reason = $6, ended_by = $7, last_modified_by = coalesce($7, last_modified_by)
         WHERE visit_id = $1 AND status = $2 AND row_version = $3
         RETURNING row_version",
        seen.id.as_uuid(),
        seen.status.as_str(),
        seen.row_version,
        to.as_str(),
        now,
        reason,
        by,
    )
    .fetch_optional(tx)
    .await
    .map_err(refuse_constraint)?;
    moved.ok_or_else(|| refuse_move(seen.status, to))
}

/// Writes who called a visit off, and why.
///
/// # Errors
/// The database's own failures.
pub async fn note_cancelled(tx: &mut Tx, id: VisitId, by: &str, reason: Option<CancelReason>) -> Result<()> {
    sqlx::query!(
        "UPDATE visit SET cancelled_by = $2, cancel_reason = $3 WHERE visit_id = $1",
        id.as_uuid(),
        by,
        reason.map(CancelReason::as_str)
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that a visit goes on again. Its slot may be somebody else's by now: it does not ask.
///
/// # Errors
/// The database's own failures.
pub async fn note_reopened(tx: &mut Tx, id: VisitId, by: &str, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "UPDATE visit SET reopened_at = $2, is_slot_shared = true, last_modified_by = $3 WHERE visit_id = $1",
        id.as_uuid(),
        now,
        by
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes the details and the time of a visit that was locked.
///
/// # Errors
/// `DOUBLE_BOOKED`; the database's own failures.
pub async fn update(tx: &mut Tx, visit: &Visit, is_moved: bool, by: &str, now: Timestamp) -> Result<Visit> {
    sqlx::query!(
        "UPDATE visit SET visit_type = $2, channel = $3, recording_policy = $4, scheduled_start_at = $5, duration_min = $6,
             is_slot_shared = is_slot_shared AND NOT $7, last_modified_by = $8, updated_at = $9, row_version = row_version + 1
         WHERE visit_id = $1 AND row_version = $10",
        visit.id.as_uuid(),
        visit.visit_type,
        visit.channel.as_str(),
        visit.recording_policy.as_str(),
        visit.scheduled_start,
        visit.duration_min,
        is_moved,
        by,
        now,
        visit.row_version,
    )
    .execute(&mut *tx)
    .await
    .map_err(refuse_constraint)?;
    get(tx, visit.id).await
}

/// Whether any patient of the visit was ever let in. Then it can be neither a no-show nor called off.
///
/// # Errors
/// The database's own failures.
pub async fn was_patient_admitted(tx: &mut Tx, id: VisitId) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM waiting_entry w JOIN participant p USING (participant_id)
               WHERE w.visit_id = $1 AND p.role = 'PATIENT' AND w.admitted_at IS NOT NULL) AS "found!""#,
        id.as_uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok(found)
}

/// Somebody in a waiting room.
#[derive(Clone, Debug)]
pub struct WaitingRow {
    /// In which visit.
    pub visit_id: Uuid,
    /// Who.
    pub participant_id: Uuid,
    /// Since when.
    pub entered_at: Timestamp,
    /// What their device check said.
    pub camera_ok: Option<bool>,
    /// What their device check said.
    pub mic_ok: Option<bool>,
}

/// Who waits in any of the visits, longest first.
///
/// # Errors
/// The database's own failures.
pub async fn waiting_of(tx: &mut Tx, visits: &[Uuid]) -> Result<Vec<WaitingRow>> {
    Ok(sqlx::query_as!(
        WaitingRow,
        "SELECT visit_id, participant_id, entered_at, camera_ok, mic_ok FROM waiting_entry
         WHERE visit_id = ANY($1) AND status = 'WAITING' ORDER BY entered_at, entry_id",
        visits
    )
    .fetch_all(tx)
    .await?)
}

/// How many recordings each of the visits has.
///
/// # Errors
/// The database's own failures.
pub async fn recordings_of(tx: &mut Tx, visits: &[Uuid]) -> Result<Vec<(Uuid, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT visit_id, count(*) AS "count!" FROM recording WHERE visit_id = ANY($1) AND status <> 'DELETED' GROUP BY visit_id"#,
        visits
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.visit_id, row.count)).collect())
}

/// Ends every open wait of a visit that is over.
///
/// # Errors
/// The database's own failures.
pub async fn close_waiting(tx: &mut Tx, id: VisitId, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "UPDATE waiting_entry SET status = 'LEFT', left_at = $2 WHERE visit_id = $1 AND status = 'WAITING'",
        id.as_uuid(),
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}
