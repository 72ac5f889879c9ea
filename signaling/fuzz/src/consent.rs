//! What a person says about a text, and why somebody is let in without it.

#[path = "../../src/consent/said.rs"]
mod said;

pub use said::{ConsentStatus, Decision, OverrideReason};
