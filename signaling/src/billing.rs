//! Place of service and modifiers of a visit: suggested from a table of facts, confirmed by a person, and held against the table's rules.
//! Whether anything is paid is not decided here.

pub mod check;
pub mod http;
pub mod store;
pub mod suggest;
pub mod table;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{Violation, check};
pub use suggest::{Confidence, Suggestion, suggest};

/// How the visit was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Media {
    /// Sound and picture in both directions.
    AudioVideo,
    /// Sound alone, from the beginning.
    AudioOnly,
    /// It began with pictures, and ended without them.
    Mixed,
    /// Nobody has said.
    #[default]
    Unknown,
}

/// Why there was sound alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AudioOnlyReason {
    /// The patient cannot use video.
    #[serde(alias = "no_capability")]
    NoCapability,
    /// The patient does not want to.
    #[serde(alias = "patient_declined")]
    PatientDeclined,
    /// Something did not work.
    #[serde(alias = "technical")]
    Technical,
}

/// What happened, as far as codes ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Facts {
    /// How it was held.
    pub media: Media,
    /// The clinician could have seen the patient.
    pub video_offered: bool,
    /// Why there was sound alone.
    pub audio_only_reason: Option<AudioOnlyReason>,
    /// A supervising practitioner was there by sound and picture.
    pub supervisor_on_video: bool,
}

/// Why codes were set against the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OverrideReason {
    /// This payer asks for it.
    PayerRule,
    /// A coder looked at it.
    CoderReview,
    /// The facts that the system has are wrong.
    FactsWrong,
}

impl OverrideReason {
    /// As stored and audited.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PayerRule => "PAYER_RULE",
            Self::CoderReview => "CODER_REVIEW",
            Self::FactsWrong => "FACTS_WRONG",
        }
    }
}
