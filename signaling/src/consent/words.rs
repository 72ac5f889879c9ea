//! What is said about a text, as the protocol and the database have it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::words::words;

words! {
    /// What is agreed to.
    ConsentType {
        /// To be seen by video.
        GeneralTelehealth = "GENERAL_TELEHEALTH",
        /// How health information is handled.
        Hipaa = "HIPAA",
        /// To be recorded.
        Recording = "RECORDING",
        /// What the law of one state asks to be said about video visits.
        StateSpecific = "STATE_SPECIFIC",
    }
}

words! {
    /// What a recording is for. One purpose never stands for another.
    Purpose {
        /// The patient's own care.
        Clinical = "CLINICAL" | "Clinical",
        /// Teaching.
        Training = "TRAINING" | "Training",
        /// Checking how well the practice works.
        QualityAssurance = "QUALITY_ASSURANCE" | "Quality_Assurance",
    }
}

words! {
    /// How somebody agreed.
    Method {
        /// On a screen.
        Electronic = "ELECTRONIC" | "Electronic",
        /// On paper, which the practice keeps.
        Paper = "PAPER" | "Paper",
        /// By word of mouth, which a clinician attests.
        Verbal = "VERBAL" | "Verbal",
    }
}

words! {
    /// Who signed, as the patient sees them.
    Relation {
        /// The patient.
        SelfSigned = "SELF" | "self" | "Self",
        /// A parent.
        Parent = "PARENT" | "parent" | "Parent",
        /// A legal guardian.
        Guardian = "GUARDIAN" | "guardian" | "Guardian",
    }
}

words! {
    /// Why a consent was taken back.
    RevokeReason {
        /// Whoever signed it asked.
        SignerRequest = "SIGNER_REQUEST",
        /// It was taken from the wrong person, or under the wrong text.
        EnteredInError = "ENTERED_IN_ERROR",
        /// Whoever signed may no longer decide for the patient.
        SignerNoLongerEntitled = "SIGNER_NO_LONGER_ENTITLED",
    }
}

/// A type as requests name it: the canonical names, and those of other systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TypeName {
    /// To be seen by video.
    #[serde(rename = "GENERAL_TELEHEALTH", alias = "GENERAL", alias = "General_Telehealth")]
    General,
    /// How health information is handled.
    #[serde(rename = "HIPAA", alias = "HIPAA_Telehealth")]
    Hipaa,
    /// To be recorded.
    #[serde(rename = "RECORDING", alias = "Recording")]
    Recording,
    /// What the law of a state asks; which one, another field says.
    #[serde(rename = "STATE_SPECIFIC")]
    State,
    /// What the law of Georgia asks.
    #[serde(rename = "Georgia_Telehealth")]
    Georgia,
}

impl TypeName {
    /// The type.
    #[must_use]
    pub const fn canonical(self) -> ConsentType {
        match self {
            Self::General => ConsentType::GeneralTelehealth,
            Self::Hipaa => ConsentType::Hipaa,
            Self::Recording => ConsentType::Recording,
            Self::State | Self::Georgia => ConsentType::StateSpecific,
        }
    }

    /// The state that the name itself says.
    #[must_use]
    pub fn state(self) -> Option<crate::state::StateCode> {
        if self == Self::Georgia { crate::state::StateCode::parse("GA") } else { None }
    }
}
