//! What is said about a text, as the protocol and the database have it.

use serde::{Deserialize, Serialize};

/// Where a person stands towards a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
        }
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
