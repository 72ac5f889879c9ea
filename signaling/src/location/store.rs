//! SQL of places and emergency contacts. Rows are only added; the newest counts. What is told by them is sealed.

use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::location::{Attestation, Attested, Contact, PlaceKind};
use crate::phi::{self, Field, Place};
use crate::state::StateCode;

fn unknown() -> Error {
    Error::Inside("a place has a word that is unknown".to_owned())
}

/// Where somebody said last that they are.
///
/// # Errors
/// The database's own failures.
pub async fn newest(tx: &mut Tx, participant: ParticipantId) -> Result<Option<Attestation>> {
    let row = sqlx::query!(
        r#"SELECT attestation_id, attested_at, state_code, kind, method, (sealed_address IS NOT NULL) AS "has_address!"
           FROM location_attestation WHERE participant_id = $1 ORDER BY seq DESC LIMIT 1"#,
        participant.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    row.map(|row| {
        Ok(Attestation {
            id: row.attestation_id,
            participant,
            at: row.attested_at,
            state: StateCode::parse(&row.state_code).ok_or_else(unknown)?,
            kind: PlaceKind::parse(&row.kind).ok_or_else(unknown)?,
            method: Attested::parse(&row.method).ok_or_else(unknown)?,
            has_address: row.has_address,
        })
    })
    .transpose()
}

/// The state of everybody of a visit who said where they are.
///
/// # Errors
/// The database's own failures.
pub async fn states_of_visit(tx: &mut Tx, visit: VisitId) -> Result<Vec<(ParticipantId, StateCode)>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (participant_id) participant_id, state_code FROM location_attestation
         WHERE visit_id = $1 ORDER BY participant_id, seq DESC",
        visit.as_uuid()
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = StateCode::parse(&row.state_code).ok_or_else(unknown)?;
            Ok((ParticipantId::from_uuid(row.participant_id), state))
        })
        .collect()
}

/// Adds where somebody is.
///
/// # Errors
/// The database's own failures.
pub async fn insert(
    tx: &mut Tx,
    app: &App,
    (org, visit): (OrgId, VisitId),
    attestation: &Attestation,
    address: Option<&Redacted<String>>,
    by: &str,
) -> Result<()> {
    let sealed = match address {
        Some(address) => {
            let place = Place { org, field: Field::EmergencyAddress, row: attestation.id };
            Some(phi::seal(tx, app, place, address.reveal()).await?)
        }
        None => None,
    };
    sqlx::query!(
        "INSERT INTO location_attestation (attestation_id, org_id, visit_id, participant_id, attested_at, state_code, kind, method,
             sealed_address, attested_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        attestation.id,
        org.as_uuid(),
        visit.as_uuid(),
        attestation.participant.as_uuid(),
        attestation.at,
        attestation.state.as_str(),
        attestation.kind.as_str(),
        attestation.method.as_str(),
        sealed,
        by
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The address of an attestation.
///
/// # Errors
/// When it does not open; the database's own failures.
pub async fn open_address(tx: &mut Tx, app: &App, id: Uuid) -> Result<Option<Redacted<String>>> {
    let row = sqlx::query!("SELECT org_id, sealed_address FROM location_attestation WHERE attestation_id = $1", id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some((org, sealed)) = row.and_then(|row| Some((row.org_id, row.sealed_address?))) else { return Ok(None) };
    let place = Place { org: OrgId::from_uuid(org), field: Field::EmergencyAddress, row: id };
    phi::open(tx, app, place, &sealed).await.map(Some)
}

/// Adds whom to call.
///
/// # Errors
/// The database's own failures.
pub async fn insert_contact(
    tx: &mut Tx,
    app: &App,
    (org, visit): (OrgId, VisitId),
    contact: &Contact,
    (by, now): (&str, Timestamp),
) -> Result<Uuid> {
    let id = Uuid::new_v4();
    let words = serde_json::to_string(contact).map_err(|error| Error::Inside(error.to_string()))?;
    let place = Place { org, field: Field::EmergencyContact, row: id };
    let sealed = phi::seal(tx, app, place, &words).await?;
    sqlx::query!(
        "INSERT INTO emergency_contact (contact_id, org_id, visit_id, sealed_contact, recorded_at, recorded_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
        id,
        org.as_uuid(),
        visit.as_uuid(),
        sealed,
        now,
        by
    )
    .execute(tx)
    .await?;
    Ok(id)
}

/// Whom to call.
///
/// # Errors
/// When it does not open; the database's own failures.
pub async fn newest_contact(tx: &mut Tx, app: &App, visit: VisitId) -> Result<Option<Contact>> {
    let row = sqlx::query!(
        "SELECT contact_id, org_id, sealed_contact FROM emergency_contact WHERE visit_id = $1 ORDER BY seq DESC LIMIT 1",
        visit.as_uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let place = Place { org: OrgId::from_uuid(row.org_id), field: Field::EmergencyContact, row: row.contact_id };
    let words = phi::open(tx, app, place, &row.sealed_contact).await?;
    serde_json::from_str(words.reveal()).map(Some).map_err(|_| unknown())
}
