//! What a signer says they have understood, and where they sign from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::consent::ConsentType;

/// Three things that one can say to have understood; `None` was not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgements {
    /// My rights as a patient.
    pub patient_rights_acknowledged: Option<bool>,
    /// What happens in an emergency.
    pub emergency_protocols_understood: Option<bool>,
    /// What can go wrong with privacy.
    pub privacy_risks_acknowledged: Option<bool>,
}

impl Acknowledgements {
    /// What a signature to this type needs and this does not say, by the names of the fields. A consent to be recorded needs none of
    /// them: its text is about the recording alone.
    #[must_use]
    pub fn missing(&self, kind: ConsentType) -> Vec<&'static str> {
        let rights = ("patientRightsAcknowledged", self.patient_rights_acknowledged);
        let emergency = ("emergencyProtocolsUnderstood", self.emergency_protocols_understood);
        let privacy = ("privacyRisksAcknowledged", self.privacy_risks_acknowledged);
        let needed: &[_] = match kind {
            ConsentType::GeneralTelehealth | ConsentType::StateSpecific => &[rights, emergency, privacy],
            ConsentType::Hipaa => &[rights, privacy],
            ConsentType::Recording => &[],
        };
        needed.iter().filter(|(_, said)| *said != Some(true)).map(|(name, _)| *name).collect()
    }

    /// These, with what `later` says in their place.
    #[must_use]
    pub fn updated(self, later: Self) -> Self {
        Self {
            patient_rights_acknowledged: later.patient_rights_acknowledged.or(self.patient_rights_acknowledged),
            emergency_protocols_understood: later
                .emergency_protocols_understood
                .or(self.emergency_protocols_understood),
            privacy_risks_acknowledged: later.privacy_risks_acknowledged.or(self.privacy_risks_acknowledged),
        }
    }
}

/// From where and with what somebody will take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The connection holds.
    pub has_reliable_internet: Option<bool>,
    /// Nobody listens in.
    pub has_private_location: Option<bool>,
    /// With what.
    pub device_type: Option<Device>,
}

impl Environment {
    /// These, with what `later` says in their place.
    #[must_use]
    pub fn updated(self, later: Self) -> Self {
        Self {
            has_reliable_internet: later.has_reliable_internet.or(self.has_reliable_internet),
            has_private_location: later.has_private_location.or(self.has_private_location),
            device_type: later.device_type.or(self.device_type),
        }
    }
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "plain words")]
pub enum Device {
    #[serde(alias = "DESKTOP", alias = "desktop")]
    Desktop,
    #[serde(alias = "TABLET", alias = "tablet")]
    Tablet,
    #[serde(alias = "MOBILE", alias = "mobile")]
    Mobile,
}

impl Device {
    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "Desktop",
            Self::Tablet => "Tablet",
            Self::Mobile => "Mobile",
        }
    }

    /// Reads that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Desktop, Self::Tablet, Self::Mobile].into_iter().find(|device| device.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_asks_for_what_its_text_says() {
        let nothing = Acknowledgements::default();
        assert_eq!(nothing.missing(ConsentType::StateSpecific).len(), 3);
        assert_eq!(nothing.missing(ConsentType::Hipaa), ["patientRightsAcknowledged", "privacyRisksAcknowledged"]);
        assert!(nothing.missing(ConsentType::Recording).is_empty());
        let said = Acknowledgements { patient_rights_acknowledged: Some(true), ..nothing };
        let taken_back = Acknowledgements { patient_rights_acknowledged: Some(false), ..nothing };
        assert_eq!(said.updated(taken_back).missing(ConsentType::GeneralTelehealth).len(), 3);
        assert_eq!(said.updated(nothing).missing(ConsentType::GeneralTelehealth).len(), 2);
    }
}
