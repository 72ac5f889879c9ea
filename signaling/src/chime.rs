//! The Chime-compatible face: AWS's SDKs and the client `amazon-chime-sdk-js` work against this server unmodified. A translation over
//! the same slices and the same engine: `names` is its dictionary, `http` its operations, `attendance` the way from a join
//! token to a seat, `socket` the browser protocol with `frames` and `session`.

pub(crate) mod attendance;
mod attendees;
pub mod buckets;
pub(crate) mod call;
pub(crate) mod capability;
mod check;
mod client_events;
mod error;
pub mod frames;
pub(crate) mod http;
pub mod keys;
pub(crate) mod lifetime;
mod meetings;
pub(crate) mod names;
mod notices;
pub mod notifications;
pub(crate) mod offer;
pub(crate) mod pipelines;
pub mod rate;
pub(crate) mod session;
mod sigv4;
pub(crate) mod socket;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod transcription;
pub(crate) mod visit_room;
