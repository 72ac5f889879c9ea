//! PHI fields: what people say about themselves and where they live rests in the database sealed, each value for its own place.
//!
//! A slice that keeps such a field has a `bytea` column, seals before it writes and opens after it reads:
//!
//! ```ignore
//! let place = Place { org, field: Field::EmergencyAddress, row: attestation.as_uuid() };
//! let sealed = phi::seal(tx, &app, place, &address).await?;          // into the column
//! let address = phi::open(tx, &app, place, &row.address_enc).await?; // Redacted<String>
//! events.push(phi::read(Field::EmergencyAddress).visit(visit));
//! ```
//!
//! The cipher is AES-256-GCM under a data key of the organisation; a data key lasts a month and lies in the database wrapped by a key
//! of a local file or of AWS KMS ([`vault::KeyProvider`]). A value moved to another row, field or organisation does not open.

pub mod config;
mod keys;
pub mod rewrap;
mod store;
#[cfg(test)]
mod tests;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;
use vault::DataKey;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::OrgId;

pub use config::PhiConfig;
pub use keys::Fields;

/// The first byte of a sealed value.
const VERSION: u8 = 1;

/// Bytes that a sealed value has more than its text: version, key id, nonce, tag.
pub const OVERHEAD: usize = 1 + 16 + NONCE_LEN + 16;

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $column:literal, $word:literal;)*) => {
        /// A field that is sealed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field {
            $($(#[$doc])* $name,)*
        }

        impl Field {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Table and column, as the seal is bound to them: changed, what is there no longer opens.
            const fn column(self) -> &'static str {
                match self { $(Self::$name => $column,)* }
            }

            /// The field's name in audit events and in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

fields! {
    /// Why the patient comes, of a visit.
    ChiefComplaint = "visit.chief_complaint", "chiefComplaint";
    /// What the clinician writes, of a visit.
    ClinicalNotes = "visit.clinical_notes", "clinicalNotes";
    /// What somebody answered before the door, of a participant.
    Questionnaire = "questionnaire.answers", "questionnaire";
    /// Where somebody is during the visit, in case help must be sent; of a location attestation.
    EmergencyAddress = "location.address", "emergencyAddress";
    /// Whom to call, of a visit.
    EmergencyContact = "emergency.contact", "emergencyContact";
    /// Where messages and mail go, of a participant.
    Contact = "contact.sealed", "contact";
    /// A drawn signature, of a consent.
    Signature = "consent.signature", "signature";
}

/// Where a sealed value belongs. It opens there alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub org: OrgId,
    /// Which field.
    pub field: Field,
    /// Of which row: its primary key.
    pub row: Uuid,
}

impl Place {
    /// Everything that a value is bound to. All parts but the last have fixed lengths, so no two places read alike.
    fn aad(&self, key: Uuid) -> Vec<u8> {
        [
            b"anteroom field 1\0",
            self.org.as_uuid().as_bytes().as_slice(),
            key.as_bytes(),
            self.row.as_bytes(),
            self.field.column().as_bytes(),
        ]
        .concat()
    }
}

/// Seals a text for its place. The column takes what comes back as it is; its length is that of the text and [`OVERHEAD`].
///
/// # Errors
/// When the key service is away (503), or there is no key; the database's own failures.
pub async fn seal(tx: &mut Tx, app: &App, place: Place, text: &str) -> Result<Vec<u8>> {
    let (id, key) = app.phi.current(tx, place.org, app.now()).await?;
    seal_with(&key, id, &place, text)
}

/// Opens what [`seal`] made for this very place.
///
/// # Errors
/// When the key service is away (503); when the value was sealed for another place or by another installation's key, or is damaged
/// (500: somebody meddled with the table, or restored it without its keys). Never a part of the text.
pub async fn open(tx: &mut Tx, app: &App, place: Place, sealed: &[u8]) -> Result<Redacted<String>> {
    let id = key_of(sealed).ok_or_else(|| broken(place.field))?;
    let key = app.phi.get(tx, place.org, id, app.now()).await?;
    open_with(&key, &place, sealed)
}

/// The audit event of a read; the caller names the visit.
#[must_use]
pub fn read(field: Field) -> Draft {
    Draft::new(EventType::PhiRead).fact("field", Fact::Word(field.as_str()))
}

/// The audit event of a write; the caller names the visit.
#[must_use]
pub fn written(field: Field) -> Draft {
    Draft::new(EventType::PhiWritten).fact("field", Fact::Word(field.as_str()))
}

fn broken(field: Field) -> Error {
    Error::Keys(format!("a sealed field does not open: {}", field.as_str()))
}

fn cipher(key: &DataKey) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.bytes()).map_err(|_| Error::Keys("no key for a field".to_owned()))?;
    Ok(LessSafeKey::new(key))
}

/// Random nonces of 96 bits: a data key lasts a month, and one organisation writes far fewer than 2^32 values in it.
fn seal_with(key: &DataKey, id: Uuid, place: &Place, text: &str) -> Result<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut body = text.as_bytes().to_vec();
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.aad(id)), &mut body)
        .map_err(|_| Error::Keys("a field could not be sealed".to_owned()))?;
    Ok([&[VERSION], id.as_bytes().as_slice(), &nonce, &body].concat())
}

/// Which data key sealed a value.
fn key_of(sealed: &[u8]) -> Option<Uuid> {
    let (&VERSION, rest) = sealed.split_first()? else { return None };
    Some(Uuid::from_bytes(*rest.first_chunk()?))
}

fn open_with(key: &DataKey, place: &Place, sealed: &[u8]) -> Result<Redacted<String>> {
    let broken = || broken(place.field);
    let id = key_of(sealed).ok_or_else(broken)?;
    let rest = sealed.get(17..).ok_or_else(broken)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
    let mut body = body.to_vec();
    let length = cipher(key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place.aad(id)), &mut body)
        .map_err(|_| broken())?
        .len();
    body.truncate(length);
    String::from_utf8(body).map(Redacted::new).map_err(|_| broken())
}
