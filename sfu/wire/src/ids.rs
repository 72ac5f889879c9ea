//! One newtype for each id that crosses a process boundary. `Display` is the whole UUID; `Debug` is the short form for logs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $short:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// Wraps an id that came from a database row or a message.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (head, ..) = self.0.as_fields();
                write!(f, concat!($short, "-{:08x}"), head)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// A scheduled encounter.
    VisitId, "visit"
);
id!(
    /// The live meeting of a Visit, while it lasts.
    RoomId, "room"
);
id!(
    /// A person's place in a Visit, kept across reconnections.
    ParticipantId, "participant"
);
id!(
    /// One media connection of a Participant.
    PeerId, "peer"
);
id!(
    /// One published source of a Peer.
    TrackId, "track"
);
id!(
    /// One recorded artefact of a Visit.
    RecordingId, "recording"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_short_and_display_is_whole() {
        let id = RoomId::from_uuid(Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0));
        assert_eq!(format!("{id:?}"), "room-12345678");
        assert_eq!(id.to_string().parse::<RoomId>().unwrap(), id);
    }
}
