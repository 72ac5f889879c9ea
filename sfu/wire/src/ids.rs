//! One newtype for each id that crosses a process boundary. `Display` is the whole UUID; `Debug` is the short form for logs.

/// Makes an id type around a UUID: `id!(/// What it names. VisitId, "visit");`. The second part begins its short form in logs.
/// The crate that uses it depends on `serde` and `uuid`.
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $short:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(::uuid::Uuid);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random() -> Self {
                Self(::uuid::Uuid::new_v4())
            }

            /// Wraps an id that came from a database row, a message or a verified token.
            #[must_use]
            pub const fn from_uuid(id: ::uuid::Uuid) -> Self {
                Self(id)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn as_uuid(self) -> ::uuid::Uuid {
                self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let (head, ..) = self.0.as_fields();
                write!(f, concat!($short, "-{:08x}"), head)
            }
        }

        impl From<::uuid::Uuid> for $name {
            fn from(id: ::uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for ::uuid::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                ::uuid::Uuid::parse_str(text).map(Self)
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
id!(
    /// A recorder, named by its spool: the same one after each restart. It has the Taps of its own node and no other's.
    RecorderId, "recorder"
);

id!(
    /// An order for what a capture should leave in a bucket.
    OrderId, "order"
);

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn debug_is_short_and_display_is_whole() {
        let id = RoomId::from_uuid(Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0));
        assert_eq!(format!("{id:?}"), "room-12345678");
        assert_eq!(id.to_string().parse::<RoomId>().unwrap(), id);
    }
}
