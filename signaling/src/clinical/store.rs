//! SQL of clinical words.

use uuid::Uuid;

use crate::auth::Attendee;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::phi::Field;

/// What there is of a visit, sealed.
pub(super) struct Sealed {
    pub(super) chief_complaint: Option<Vec<u8>>,
    pub(super) clinical_notes: Option<Vec<u8>>,
    pub(super) questionnaires: Vec<Answered>,
}

/// Somebody's answers, sealed.
pub(super) struct Answered {
    pub(super) participant_id: Uuid,
    pub(super) answers_enc: Vec<u8>,
    pub(super) submitted_at: Timestamp,
}

impl Sealed {
    pub(super) const fn is_empty(&self) -> bool {
        self.chief_complaint.is_none() && self.clinical_notes.is_none() && self.questionnaires.is_empty()
    }
}

pub(super) async fn read(tx: &mut Tx, visit: VisitId) -> Result<Sealed> {
    let row =
        sqlx::query!("SELECT chief_complaint_enc, clinical_notes_enc FROM visit WHERE visit_id = $1", visit.as_uuid())
            .fetch_one(&mut *tx)
            .await?;
    let questionnaires = sqlx::query_as!(
        Answered,
        "SELECT participant_id, answers_enc, submitted_at FROM questionnaire WHERE visit_id = $1 ORDER BY submitted_at, participant_id",
        visit.as_uuid()
    )
    .fetch_all(tx)
    .await?;
    Ok(Sealed { chief_complaint: row.chief_complaint_enc, clinical_notes: row.clinical_notes_enc, questionnaires })
}

pub(super) async fn write(
    tx: &mut Tx,
    visit: VisitId,
    field: Field,
    sealed: Option<&[u8]>,
    now: Timestamp,
) -> Result<()> {
    match field {
        Field::ChiefComplaint => {
            sqlx::query!(
                "UPDATE visit SET chief_complaint_enc = $2, updated_at = $3 WHERE visit_id = $1",
                visit.as_uuid(),
                sealed,
                now
            )
            .execute(tx)
            .await?;
        }
        Field::ClinicalNotes => {
            sqlx::query!(
                "UPDATE visit SET clinical_notes_enc = $2, updated_at = $3 WHERE visit_id = $1",
                visit.as_uuid(),
                sealed,
                now
            )
            .execute(tx)
            .await?;
        }
        field => return Err(Error::Inside(format!("{} is no field of a visit", field.as_str()))),
    }
    Ok(())
}

pub(super) async fn keep_answers(tx: &mut Tx, attendee: &Attendee, sealed: &[u8], now: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO questionnaire (participant_id, org_id, visit_id, answers_enc, submitted_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (participant_id) DO UPDATE SET answers_enc = EXCLUDED.answers_enc, submitted_at = EXCLUDED.submitted_at",
        attendee.participant.as_uuid(),
        attendee.org.as_uuid(),
        attendee.visit.as_uuid(),
        sealed,
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}
