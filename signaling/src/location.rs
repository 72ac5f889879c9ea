//! Where people are during a visit, as they or their clinician say, and whom to call if something happens to the patient.

pub mod command;
pub mod http;
pub mod store;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::Redacted;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::ParticipantId;
use crate::problem::Code;
use crate::state::StateCode;

/// What kind of place it is. Billing asks no more than whether it is a facility of care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlaceKind {
    /// A home.
    #[serde(alias = "home")]
    Home,
    /// A hotel, a shelter.
    #[serde(alias = "temporary_lodging")]
    TemporaryLodging,
    /// A car that stands, or is driven by somebody else.
    #[serde(alias = "vehicle")]
    Vehicle,
    /// Where they work.
    #[serde(alias = "workplace")]
    Workplace,
    /// Anywhere else that is no facility.
    #[serde(alias = "other_non_facility")]
    OtherNonFacility,
    /// A facility of care.
    #[serde(alias = "facility")]
    Facility,
    /// A clinic.
    #[serde(alias = "clinic")]
    Clinic,
    /// A hospital.
    #[serde(alias = "hospital")]
    Hospital,
    /// A school.
    #[serde(alias = "school")]
    School,
}

impl PlaceKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Home,
        Self::TemporaryLodging,
        Self::Vehicle,
        Self::Workplace,
        Self::OtherNonFacility,
        Self::Facility,
        Self::Clinic,
        Self::Hospital,
        Self::School,
    ];

    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Home => "HOME",
            Self::TemporaryLodging => "TEMPORARY_LODGING",
            Self::Vehicle => "VEHICLE",
            Self::Workplace => "WORKPLACE",
            Self::OtherNonFacility => "OTHER_NON_FACILITY",
            Self::Facility => "FACILITY",
            Self::Clinic => "CLINIC",
            Self::Hospital => "HOSPITAL",
            Self::School => "SCHOOL",
        }
    }

    /// Reads that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// Who says where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Attested {
    /// They themselves.
    #[serde(rename = "SELF")]
    Personally,
    /// Their device, with their leave.
    Geo,
    /// The clinician, who asked them.
    Clinician,
}

impl Attested {
    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Personally => "SELF",
            Self::Geo => "GEO",
            Self::Clinician => "CLINICIAN",
        }
    }

    /// Reads that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Personally, Self::Geo, Self::Clinician].into_iter().find(|method| method.as_str() == text)
    }
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The row.
    pub id: uuid::Uuid,
    /// Who.
    pub participant: ParticipantId,
    /// When it was said.
    pub at: Timestamp,
    /// In which state.
    pub state: StateCode,
    /// In what kind of place.
    pub kind: PlaceKind,
    /// By whom.
    pub method: Attested,
    /// There is an address with it.
    pub has_address: bool,
}

/// Whom to call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Contact {
    /// Their name.
    pub name: String,
    /// Their telephone number.
    pub phone: String,
    /// Who they are to the patient.
    pub relation: Option<String>,
}

impl Contact {
    /// Refuses what is empty or endless.
    ///
    /// # Errors
    /// `INVALID`.
    pub fn validate(&self) -> Result<()> {
        let fits = |text: &str, most: usize| {
            !text.trim().is_empty() && text.len() <= most && !text.chars().any(char::is_control)
        };
        let is_phone = self.phone.chars().all(|c| c.is_ascii_digit() || " +-().x".contains(c));
        if fits(&self.name, 200)
            && fits(&self.phone, 40)
            && is_phone
            && self.relation.as_deref().is_none_or(|text| fits(text, 100))
        {
            return Ok(());
        }
        Err(Code::Invalid.with("An emergency contact is a name and a telephone number.").into())
    }
}

/// Refuses an address that is empty or endless.
///
/// # Errors
/// `INVALID`.
pub fn validate_address(address: &Redacted<String>) -> Result<()> {
    let text = address.reveal();
    let is_text = !text.trim().is_empty() && !text.chars().any(|c| c.is_control() && c != '\n');
    if is_text && text.len() <= 1000 {
        return Ok(());
    }
    Err(Code::Invalid.with("address must be 1 to 1000 bytes of text.").into())
}
