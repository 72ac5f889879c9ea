//! The ids that stay inside signaling, beside those of `wire`.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
pub use wire::ids::{ParticipantId, RecordingId, RoomId, VisitId};

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

            /// Wraps an id that came from a database row or a verified token.
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
    };
}

id!(
    /// The practice that owns visits, people, keys and policies.
    OrgId, "org"
);
id!(
    /// A one-time JoinToken; its JWT's `jti`.
    TokenId, "token"
);
id!(
    /// The session that a redeemed token gives a browser.
    SessionId, "session"
);
id!(
    /// One answer to one version of one consent text.
    ConsentId, "consent"
);
