//! What is said over the socket about consent. By itself, so that the fuzz targets of messages compile it without the rest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a person stands towards a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsentStatus {
    /// Not answered, or answered to a text that is no longer in force.
    Pending,
    /// Agreed.
    Signed,
    /// Said no.
    Declined,
    /// Agreed once, and took it back.
    Revoked,
    /// Agreed once, until a date that has passed; or was asked, and the time to answer is over.
    Expired,
}

impl ConsentStatus {
    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Signed => "SIGNED",
            Self::Declined => "DECLINED",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Reads that form, as far as it is stored: `Expired` is computed from a date and never written.
    #[must_use]
    pub fn parse_stored(text: &str) -> Option<Self> {
        [Self::Pending, Self::Signed, Self::Declined, Self::Revoked].into_iter().find(|status| status.as_str() == text)
    }
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// I agree.
    Sign,
    /// I do not agree.
    Decline,
    /// I no longer agree.
    Revoke,
}

/// Why somebody may be let in although something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OverrideReason {
    /// Waiting would harm the patient.
    Emergency,
}

impl OverrideReason {
    /// As audited.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "EMERGENCY",
        }
    }
}
