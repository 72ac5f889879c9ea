//! What an attendee may send and be sent, and what a meeting offers at all; the rules between the two.

use serde::{Deserialize, Serialize};
use wire::control::Rights;

/// One direction or both, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Capability {
    SendReceive,
    Send,
    Receive,
    None,
}

impl Capability {
    const fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::Send)
    }

    const fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::Receive)
    }
}

/// What an attendee may do with each kind of media. All three are given, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Capabilities {
    /// The voice.
    pub(crate) audio: Capability,
    /// The camera.
    pub(crate) video: Capability,
    /// The content share.
    pub(crate) content: Capability,
}

impl Capabilities {
    /// Everything.
    pub(crate) const ALL: Self =
        Self { audio: Capability::SendReceive, video: Capability::SendReceive, content: Capability::SendReceive };

    /// What somebody has who was given nothing in particular, in a meeting with these features.
    #[must_use]
    pub(crate) const fn default_for(features: &Features) -> Self {
        match (features.has_video(), features.has_content()) {
            (true, true) => Self::ALL,
            (true, false) => Self { content: Capability::None, ..Self::ALL },
            // Content needs video at least to be received, so the API gives that back.
            (false, true) => Self { video: Capability::Receive, ..Self::ALL },
            (false, false) => Self { video: Capability::None, content: Capability::None, ..Self::ALL },
        }
    }

    /// Which rule they break in a meeting with these features.
    #[must_use]
    pub(crate) fn broken_rule(self, features: &Features) -> Option<&'static str> {
        if self.content.receives() && !self.video.receives() {
            return Some("Capabilities: Content SendReceive or Receive requires Video SendReceive or Receive");
        }
        if !features.has_video()
            && self.video != Capability::None
            && !(features.has_content() && self.video == Capability::Receive)
        {
            return Some("Capabilities: the meeting's Video MaxResolution is None, so Video must be None");
        }
        if !features.has_content() && self.content != Capability::None {
            return Some("Capabilities: the meeting's Content MaxResolution is None, so Content must be None");
        }
        None
    }

    /// As the engine keeps them.
    #[must_use]
    pub(crate) const fn to_rights(self) -> Rights {
        Rights {
            sends_audio: self.audio.sends(),
            receives_audio: self.audio.receives(),
            sends_video: self.video.sends(),
            receives_video: self.video.receives(),
            sends_content: self.content.sends(),
            receives_content: self.content.receives(),
        }
    }
}

/// What a meeting offers. Members that were not asked for are not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Features {
    /// Echo reduction is the client's; the word is kept and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audio: Option<AudioFeature>,
    /// How rich cameras may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) video: Option<VideoFeature>,
    /// How rich shares may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<ContentFeature>,
    /// How many may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attendee: Option<AttendeeFeature>,
}

/// `AVAILABLE` or `UNAVAILABLE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AudioFeature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) echo_reduction: Option<EchoReduction>,
}

/// Whether clients may offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum EchoReduction {
    Available,
    Unavailable,
}

/// Of cameras.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VideoFeature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_resolution: Option<VideoResolution>,
}

/// Of shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContentFeature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_resolution: Option<ContentResolution>,
}

/// Of people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AttendeeFeature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_count: Option<i64>,
}

/// What a camera may send at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VideoResolution {
    None,
    #[serde(rename = "HD")]
    Hd,
    #[serde(rename = "FHD")]
    Fhd,
}

/// What a share may send at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ContentResolution {
    None,
    #[serde(rename = "FHD")]
    Fhd,
    #[serde(rename = "UHD")]
    Uhd,
}

/// Attendees of a meeting at most, unless it asks for fewer.
pub(crate) const MOST_ATTENDEES: i64 = 250;

/// The same for meetings with Full HD cameras or Ultra HD shares.
const MOST_IN_HIGH_DEFINITION: i64 = 25;

impl Features {
    /// Cameras are allowed at all.
    #[must_use]
    pub(crate) const fn has_video(&self) -> bool {
        !matches!(self.video, Some(VideoFeature { max_resolution: Some(VideoResolution::None) }))
    }

    /// Shares are allowed at all.
    #[must_use]
    pub(crate) const fn has_content(&self) -> bool {
        !matches!(self.content, Some(ContentFeature { max_resolution: Some(ContentResolution::None) }))
    }

    /// How many attendees the meeting takes.
    #[must_use]
    pub(crate) fn max_attendees(&self) -> i64 {
        self.attendee.as_ref().and_then(|attendee| attendee.max_count).unwrap_or(MOST_ATTENDEES)
    }

    /// Which rule they break.
    #[must_use]
    pub(crate) fn broken_rule(&self) -> Option<&'static str> {
        let count = self.attendee.as_ref().and_then(|attendee| attendee.max_count);
        if count.is_some_and(|count| !(1..=MOST_ATTENDEES).contains(&count)) {
            return Some("MeetingFeatures.Attendee.MaxCount must be 1 to 250");
        }
        let is_rich = matches!(self.video, Some(VideoFeature { max_resolution: Some(VideoResolution::Fhd) }))
            || matches!(self.content, Some(ContentFeature { max_resolution: Some(ContentResolution::Uhd) }));
        if is_rich && count.is_none_or(|count| count > MOST_IN_HIGH_DEFINITION) {
            return Some("MeetingFeatures: FHD video or UHD content requires Attendee.MaxCount of at most 25");
        }
        None
    }
}

#[cfg(test)]
mod tests;
