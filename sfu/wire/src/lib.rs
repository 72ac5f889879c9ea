//! What crosses a boundary between roles: ids, commands, events, tap frames, manifests and deliveries. Types only, no behaviour of any role.

pub mod control;
pub mod delivery;
pub mod ids;
#[cfg(feature = "link")]
pub mod link;
pub mod manifest;
pub mod redact;
#[cfg(feature = "schema")]
mod schema;
pub mod settings;
pub mod tap;
#[cfg(feature = "link")]
pub mod tap_link;

pub use ids::{OrderId, ParticipantId, PeerId, RecorderId, RecordingId, RoomId, TrackId, VisitId};
pub use redact::Redacted;
