//! SQL of visits.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::problem::Code;
use crate::visit::{EndReason, Moved, NewVisit, RecordingPolicy, Visit, VisitStatus, refuse_move};

/// Visits on one page of a list.
pub const PAGE: usize = 100;

struct Row {
    visit_id: Uuid,
    org_id: Uuid,
    external_appointment_id: Option<String>,
    patient_id: String,
    clinician_id: String,
    status: String,
    visit_type: Option<String>,
    scheduled_start_at: Timestamp,
    duration_min: i32,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    recording_policy: String,
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
            scheduled_start: row.scheduled_start_at,
            duration_min: row.duration_min,
            started_at: row.started_at,
            ended_at: row.ended_at,
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
/// `DOUBLE_BOOKED` when the appointment id is taken; the database's own failures.
pub async fn insert(tx: &mut Tx, org: OrgId, id: VisitId, new: &NewVisit, by: &str, now: Timestamp) -> Result<Visit> {
    let inserted = sqlx::query_as!(
        Row,
        r#"INSERT INTO visit (visit_id, org_id, external_appointment_id, patient_id, clinician_id, status_updated_at, visit_type,
             channel, scheduled_start_at, duration_min, recording_policy, created_at, created_by, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $6, $12, $6)
         RETURNING visit_id, org_id, external_appointment_id, patient_id AS "patient_id!",
             clinician_id AS "clinician_id!", status, visit_type, scheduled_start_at, duration_min, started_at, ended_at, recording_policy, row_version"#,
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
        by,
    )
    .fetch_one(tx)
    .await;
    match inserted {
        Ok(row) => row.try_into(),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("visit_org_id_external_appointment_id_key") => {
            Err(Code::DoubleBooked.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// One visit of this organisation.
///
/// # Errors
/// The database's own failures.
pub async fn find(tx: &mut Tx, id: VisitId) -> Result<Option<Visit>> {
    sqlx::query_as!(
        Row,
        r#"SELECT visit_id, org_id, external_appointment_id, patient_id AS "patient_id!",
             clinician_id AS "clinician_id!", status, visit_type, scheduled_start_at, duration_min, started_at, ended_at, recording_policy, row_version
         FROM visit WHERE visit_id = $1 AND kind = 'VISIT'"#,
        id.as_uuid()
    )
    .fetch_optional(tx)
    .await?
    .map(Visit::try_from)
    .transpose()
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
    sqlx::query_as!(
        Row,
        r#"SELECT visit_id, org_id, external_appointment_id, patient_id AS "patient_id!",
             clinician_id AS "clinician_id!", status, visit_type, scheduled_start_at, duration_min, started_at, ended_at, recording_policy, row_version
         FROM visit WHERE org_id = $1 AND external_appointment_id = $2 AND kind = 'VISIT'"#,
        org.as_uuid(),
        appointment
    )
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
    sqlx::query_as!(
        Row,
        r#"SELECT visit_id, org_id, external_appointment_id, patient_id AS "patient_id!",
             clinician_id AS "clinician_id!", status, visit_type, scheduled_start_at, duration_min, started_at, ended_at, recording_policy, row_version
         FROM visit
         WHERE org_id = $1 AND kind = 'VISIT'
           AND ($2::text IS NULL OR clinician_id = $2)
           AND ($3::timestamptz IS NULL OR scheduled_start_at >= $3)
           AND ($4::timestamptz IS NULL OR scheduled_start_at < $4)
           AND (cardinality($5::text[]) = 0 OR status = ANY($5))
           AND ($6::timestamptz IS NULL OR (scheduled_start_at, visit_id) > ($6, $7::uuid))
         ORDER BY scheduled_start_at, visit_id LIMIT 101"#,
        org.as_uuid(),
        filter.clinician,
        filter.from,
        filter.to,
        &status,
        after_time,
        after_id,
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(Visit::try_from)
    .collect()
}

/// Moves a visit along its status machine: one update that finds the row in a state from which the move is allowed, or nothing.
/// The caller appends [`Moved::events`] in the same transaction.
///
/// # Errors
/// `NOT_FOUND`; `VISIT_FINAL` or `INVALID_TRANSITION` with `from` and `to`; the database's own failures.
pub async fn move_to(
    tx: &mut Tx,
    id: VisitId,
    to: VisitStatus,
    end: Option<(EndReason, &str)>,
    now: Timestamp,
) -> Result<Moved> {
    let sources: Vec<String> = to.sources().into_iter().map(|status| status.as_str().to_owned()).collect();
    let (reason, by) = end.map(|(reason, by)| (reason.as_str(), by)).unzip();
    let row = sqlx::query!(
        r#"UPDATE visit v SET status = $2, status_updated_at = $3, updated_at = $3, row_version = v.row_version + 1,
               started_at = CASE WHEN $2 = 'IN_PROGRESS' THEN coalesce(v.started_at, $3) ELSE v.started_at END,
               ended_at = CASE WHEN $2 IN ('COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL') THEN $3 END,
               end_reason = $4, ended_by = $5
           FROM (SELECT visit_id, status FROM visit WHERE visit_id = $1 AND kind = 'VISIT' FOR UPDATE) old
           WHERE v.visit_id = old.visit_id AND old.status = ANY($6)
           RETURNING old.status AS "was!", v.visit_id, v.org_id, v.external_appointment_id,
               v.patient_id AS "patient_id!", v.clinician_id AS "clinician_id!", v.status,
               v.visit_type, v.scheduled_start_at, v.duration_min, v.started_at, v.ended_at, v.recording_policy, v.row_version"#,
        id.as_uuid(),
        to.as_str(),
        now,
        reason,
        by,
        &sources,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else {
        return Err(refuse_move(get(tx, id).await?.status, to));
    };
    let visit = Row {
        visit_id: row.visit_id,
        org_id: row.org_id,
        external_appointment_id: row.external_appointment_id,
        patient_id: row.patient_id,
        clinician_id: row.clinician_id,
        status: row.status,
        visit_type: row.visit_type,
        scheduled_start_at: row.scheduled_start_at,
        duration_min: row.duration_min,
        started_at: row.started_at,
        ended_at: row.ended_at,
        recording_policy: row.recording_policy,
        row_version: row.row_version,
    };
    Ok(Moved { from: parse_status(&row.was)?, visit: visit.try_into()? })
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
