//! What a person says about a text.

#[path = "../../src/consent/words.rs"]
mod words;

pub use words::{ConsentStatus, Decision};
