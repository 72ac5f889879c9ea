//! The Chime-compatible face: AWS's SDKs and the client `amazon-chime-sdk-js` work against this server unmodified. A translation over
//! the same slices and the same engine: [`names`] is its dictionary, [`http`] its operations, [`attendance`] the way from a join
//! token to a seat.

pub(crate) mod attendance;
mod attendees;
pub(crate) mod capability;
mod check;
mod client_events;
mod error;
pub(crate) mod http;
pub mod keys;
pub(crate) mod lifetime;
mod meetings;
pub(crate) mod names;
mod notices;
mod pipelines;
pub mod rate;
mod sigv4;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod transcription;
