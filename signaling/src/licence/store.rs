//! SQL of licences and of the checks that were made.

use time::Date;
use uuid::Uuid;

use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::licence::{Checked, Licence, LicenceStatus, Verdict, judge};
use crate::state::StateCode;

/// The most licences of one clinician: every state, some of them twice.
pub const MOST: usize = 110;

/// A clinician's licences, those that were withdrawn among them.
///
/// # Errors
/// The database's own failures.
pub async fn of_clinician(tx: &mut Tx, clinician: &str) -> Result<Vec<Licence>> {
    let rows = sqlx::query!(
        "SELECT licence_id, state_code, number, valid_from, valid_to, status FROM clinician_licence
         WHERE clinician_id = $1 ORDER BY state_code, number",
        clinician
    )
    .fetch_all(tx)
    .await?;
    let unknown = || Error::Inside("a licence has a word that is unknown".to_owned());
    rows.into_iter()
        .map(|row| {
            Ok(Licence {
                id: row.licence_id,
                state: StateCode::parse(&row.state_code).ok_or_else(unknown)?,
                number: row.number,
                valid_from: row.valid_from,
                valid_to: row.valid_to,
                status: LicenceStatus::parse(&row.status).ok_or_else(unknown)?,
            })
        })
        .collect()
}

/// Makes `licences` the clinician's list. Those that are not on it any more are withdrawn; their rows stay, because checks refer to them.
///
/// # Errors
/// The database's own failures.
pub async fn put(
    tx: &mut Tx,
    org: OrgId,
    clinician: &str,
    licences: &[Licence],
    (by, now): (&str, Timestamp),
) -> Result<()> {
    let kept: Vec<String> = licences.iter().map(|licence| key(licence.state, &licence.number)).collect();
    sqlx::query!(
        "UPDATE clinician_licence SET status = 'WITHDRAWN', updated_at = $3, updated_by = $4
         WHERE clinician_id = $1 AND status <> 'WITHDRAWN' AND NOT (state_code || ' ' || number = ANY($2))",
        clinician,
        &kept,
        now,
        by
    )
    .execute(&mut *tx)
    .await?;
    for licence in licences {
        sqlx::query!(
            "INSERT INTO clinician_licence (licence_id, org_id, clinician_id, state_code, number, valid_from, valid_to, status,
                 created_at, created_by, updated_at, updated_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $9, $10)
             ON CONFLICT (org_id, clinician_id, state_code, number) DO UPDATE
                 SET valid_from = $6, valid_to = $7, status = $8, updated_at = $9, updated_by = $10",
            licence.id,
            org.as_uuid(),
            clinician,
            licence.state.as_str(),
            licence.number,
            licence.valid_from,
            licence.valid_to,
            licence.status.as_str(),
            now,
            by
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// What names a licence among a clinician's.
#[must_use]
pub fn key(state: StateCode, number: &str) -> String {
    format!("{} {number}", state.as_str())
}

/// Whether a licence of the clinician holds on a day in a state.
///
/// # Errors
/// The database's own failures.
pub async fn check(tx: &mut Tx, clinician: &str, state: Option<StateCode>, today: Date) -> Result<Verdict> {
    Ok(judge(&of_clinician(tx, clinician).await?, state, today))
}

/// Writes a check down, with its event.
///
/// # Errors
/// The database's own failures.
pub async fn write(tx: &mut Tx, actor: &Actor, checked: Checked<'_>, now: Timestamp) -> Result<Draft> {
    let id = Uuid::new_v4();
    let licence = match checked.verdict {
        Verdict::Pass(licence) => Some(licence),
        Verdict::Fail(_) | Verdict::Override(_) => None,
    };
    sqlx::query!(
        "INSERT INTO licence_check (check_id, org_id, visit_id, clinician_id, state_code, result, reason, licence_id, checked_at,
             checked_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        id,
        actor.org().as_uuid(),
        checked.visit.as_uuid(),
        checked.clinician,
        checked.state.map(StateCode::as_str),
        checked.verdict.as_str(),
        checked.verdict.reason(),
        licence,
        now,
        actor.id()
    )
    .execute(tx)
    .await?;
    let draft = Draft::new(EventType::LicenceChecked).visit(checked.visit).subject("licence_check", id);
    let draft = draft.fact("status", Fact::Word(checked.verdict.as_str()));
    let draft = match checked.state {
        Some(state) => draft.fact("state", Fact::Word(state.as_str())),
        None => draft,
    };
    Ok(match checked.verdict {
        Verdict::Pass(_) | Verdict::Override(_) => draft.because(checked.verdict.reason()),
        Verdict::Fail(_) => draft.failed(checked.verdict.reason()),
    })
}

/// The newest check of a visit: its result, why, and the state that it was about.
///
/// # Errors
/// The database's own failures.
pub async fn newest_check(tx: &mut Tx, visit: VisitId) -> Result<Option<(String, String, Option<StateCode>)>> {
    let row = sqlx::query!(
        "SELECT result, reason, state_code FROM licence_check WHERE visit_id = $1 ORDER BY seq DESC LIMIT 1",
        visit.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| (row.result, row.reason, row.state_code.as_deref().and_then(StateCode::parse))))
}
