//! How a person of a visit is reached: given by the host system with the visit, sealed in the database, shown masked.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::auth::keys::Keys;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::join;
use crate::notice::plan::Known;
use crate::notice::reach::{Email, Phone, destination_hash};
use crate::notice::{Medium, template};
use crate::participant::Participant;
use crate::phi::{self, Field, Place};
use crate::problem::Code;

/// Binds the hash of a handle to its use.
const HANDLE: &[u8] = b"anteroom notice handle v1\0";

/// What the host system says of a person.
#[derive(Clone, Debug)]
pub struct NewContact {
    /// E.164.
    pub phone: Option<Phone>,
    /// An address.
    pub email: Option<Email>,
    /// They agreed to text messages; without it the number is not used.
    pub sms_consent: bool,
    /// They agreed to e-mail, knowing that it is not private.
    pub email_consent: bool,
    /// They agreed that messages say when the visit is.
    pub time_consent: bool,
    /// A name of the tz database.
    pub time_zone: String,
    /// A language tag; one that is not here reads English.
    pub locale: String,
}

impl NewContact {
    /// Refuses what no message can be made from.
    ///
    /// # Errors
    /// `INVALID`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if !template::is_zone(&self.time_zone) {
            return Err(Code::Invalid
                .with("timeZone must be a name of the tz database, such as America/New_York")
                .into());
        }
        let is_tag =
            (2..=16).contains(&self.locale.len()) && self.locale.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_tag {
            return Err(Code::Invalid.with("locale must be a language tag, such as en-US").into());
        }
        Ok(())
    }
}

/// A contact as it is on file.
#[derive(Clone, Debug)]
pub struct Contact {
    /// Whose.
    pub participant: ParticipantId,
    /// In which visit.
    pub visit: VisitId,
    /// What the host system said.
    pub given: NewContact,
    /// Names the page that sends the link; opens nothing.
    pub handle: Redacted<String>,
    /// What they were told.
    pub known: Known,
    /// SEQUENCE of the next calendar entry.
    pub sequence: i32,
}

impl Contact {
    /// The destination of a medium that the person agreed to.
    #[must_use]
    pub fn destination(&self, medium: Medium) -> Option<&str> {
        match medium {
            Medium::Sms => self.given.phone.as_ref().filter(|_| self.given.sms_consent).map(Phone::reveal),
            Medium::Email => self.given.email.as_ref().filter(|_| self.given.email_consent).map(Email::reveal),
        }
    }

    /// The same, masked.
    #[must_use]
    pub fn mask(&self, medium: Medium) -> Option<String> {
        match medium {
            Medium::Sms => self.given.phone.as_ref().map(Phone::mask),
            Medium::Email => self.given.email.as_ref().map(Email::mask),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    phone: Option<Redacted<String>>,
    email: Option<Redacted<String>>,
    handle: Redacted<String>,
}

const fn place(org: OrgId, participant: ParticipantId) -> Place {
    Place { org, field: Field::Contact, row: participant.as_uuid() }
}

/// The hash under which a handle is found.
pub(crate) fn handle_hash(keys: &Keys, handle: &str) -> [u8; 32] {
    keys.tag(HANDLE, handle.as_bytes())
}

/// Puts a contact on file, in the place of the one that was there. What the person was told stays known; whoever has never heard of the
/// visit is told of it next.
///
/// # Errors
/// The database's own failures.
pub async fn put(
    tx: &mut Tx,
    app: &App,
    org: OrgId,
    person: &Participant,
    new: &NewContact,
    now: Timestamp,
) -> Result<()> {
    let keys = &app.keys;
    let handle = match find(tx, app, person.id).await? {
        Some(there) => there.handle,
        None => join::random_code(),
    };
    let phone = new.phone.as_ref().map(Phone::reveal);
    let email = new.email.as_ref().map(Email::reveal);
    let sealed = Sealed {
        phone: phone.map(|text| Redacted::new(text.to_owned())),
        email: email.map(|text| Redacted::new(text.to_owned())),
        handle: handle.clone(),
    };
    let plain = serde_json::to_string(&sealed).map_err(|_| Error::Inside("a contact cannot be written".to_owned()))?;
    let sealed = phi::seal(tx, app, place(org, person.id), &plain).await?;
    let phone_hash = phone.map(|text| destination_hash(keys, Medium::Sms, text).to_vec());
    let email_hash = email.map(|text| destination_hash(keys, Medium::Email, text).to_vec());
    let hash = handle_hash(keys, handle.reveal());
    sqlx::query!(
        "INSERT INTO contact (participant_id, org_id, visit_id, sealed, phone_hash, email_hash, handle_hash, sms_consent, email_consent,
             time_consent, time_zone, locale, look_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)
         ON CONFLICT (participant_id) DO UPDATE SET sealed = $4, phone_hash = $5, email_hash = $6, sms_consent = $8,
             email_consent = $9, time_consent = $10, time_zone = $11, locale = $12, look_at = $13, updated_at = $13",
        person.id.as_uuid(),
        org.as_uuid(),
        person.visit.as_uuid(),
        sealed,
        phone_hash,
        email_hash,
        hash.as_slice(),
        new.sms_consent,
        new.email_consent,
        new.time_consent,
        new.time_zone,
        new.locale,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The contact of a person.
///
/// # Errors
/// As [`phi::open`]; the database's own failures.
pub async fn find(tx: &mut Tx, app: &App, participant: ParticipantId) -> Result<Option<Contact>> {
    let row = sqlx::query!(
        "SELECT org_id, visit_id, sealed, sms_consent, email_consent, time_consent, time_zone, locale, told_start, reminded_start, linked_start,
             is_told_over, sequence
         FROM contact WHERE participant_id = $1",
        participant.as_uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let plain = phi::open(tx, app, place(OrgId::from_uuid(row.org_id), participant), &row.sealed).await?;
    let sealed: Sealed =
        serde_json::from_str(plain.reveal()).map_err(|_| Error::Inside("a contact cannot be read".to_owned()))?;
    Ok(Some(Contact {
        participant,
        visit: VisitId::from_uuid(row.visit_id),
        given: NewContact {
            phone: sealed.phone.and_then(|text| Phone::parse(text.reveal())),
            email: sealed.email.and_then(|text| Email::parse(text.reveal())),
            sms_consent: row.sms_consent,
            email_consent: row.email_consent,
            time_consent: row.time_consent,
            time_zone: row.time_zone,
            locale: row.locale,
        },
        handle: sealed.handle,
        known: Known {
            told: row.told_start,
            reminded: row.reminded_start,
            linked: row.linked_start,
            is_told_over: row.is_told_over,
        },
        sequence: row.sequence,
    }))
}

/// Locks a contact whose time to be looked at has come; false when somebody else has it, or had it.
pub(crate) async fn lock_due(tx: &mut Tx, participant: ParticipantId, now: Timestamp) -> Result<bool> {
    let row = sqlx::query_scalar!(
        "SELECT participant_id FROM contact WHERE participant_id = $1 AND look_at <= $2 FOR UPDATE SKIP LOCKED",
        participant.as_uuid(),
        now
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// Keeps what a person knows, the sequence of their calendar entry, and when to look again.
pub(crate) async fn note(
    tx: &mut Tx,
    participant: ParticipantId,
    known: Known,
    sequence: i32,
    look_at: Option<Timestamp>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE contact SET told_start = $2, reminded_start = $3, linked_start = $4, is_told_over = $5, sequence = $6, look_at = $7
         WHERE participant_id = $1",
        participant.as_uuid(),
        known.told,
        known.reminded,
        known.linked,
        known.is_told_over,
        sequence,
        look_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that a person has a link for this start, whoever sent it: none is sent by the clock then.
pub(crate) async fn note_linked(tx: &mut Tx, participant: ParticipantId, start: Timestamp) -> Result<()> {
    sqlx::query!("UPDATE contact SET linked_start = $2 WHERE participant_id = $1", participant.as_uuid(), start)
        .execute(tx)
        .await?;
    Ok(())
}

/// Looks again later, as after a failure.
pub(crate) async fn look_later(tx: &mut Tx, participant: ParticipantId, at: Timestamp) -> Result<()> {
    sqlx::query!("UPDATE contact SET look_at = $2 WHERE participant_id = $1", participant.as_uuid(), at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whose contacts are to be looked at, of all organisations; longest due first.
pub(crate) async fn find_due(pool: &sqlx::PgPool, now: Timestamp, most: i64) -> Result<Vec<(OrgId, ParticipantId)>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'notices', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        "SELECT org_id, participant_id FROM contact WHERE look_at <= $1 ORDER BY look_at LIMIT $2",
        now,
        most
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows
        .into_iter()
        .map(|row| (OrgId::from_uuid(row.org_id), ParticipantId::from_uuid(row.participant_id)))
        .collect())
}

/// The organisation and the person behind a handle: asked before an organisation is known.
pub(crate) async fn find_by_handle(pool: &sqlx::PgPool, hash: &[u8; 32]) -> Result<Option<(OrgId, ParticipantId)>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.notice_handle_hash', $1, true) AS set", hex::encode(hash))
        .fetch_one(&mut *tx)
        .await?;
    let row = sqlx::query!("SELECT org_id, participant_id FROM contact WHERE handle_hash = $1", hash.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(row.map(|row| (OrgId::from_uuid(row.org_id), ParticipantId::from_uuid(row.participant_id))))
}

/// The organisations that hold a number or an address.
pub(crate) async fn find_orgs(pool: &sqlx::PgPool, hash: &[u8; 32]) -> Result<Vec<OrgId>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.destination_hash', $1, true) AS set", hex::encode(hash))
        .fetch_one(&mut *tx)
        .await?;
    let rows: Vec<Uuid> = sqlx::query_scalar!(
        "SELECT DISTINCT org_id FROM contact WHERE phone_hash = $1 OR email_hash = $1",
        hash.as_slice()
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(OrgId::from_uuid).collect())
}
