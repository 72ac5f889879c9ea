//! Consent: who agreed to which version of which text. Answers follow each other and are never changed; the newest counts.

pub mod acks;
pub mod chore;
pub mod command;
pub mod engine;
pub mod gate;
pub mod http;
pub mod ledger;
mod reach;
pub mod record;
pub mod rulebook;
pub mod rules;
mod said;
pub mod store;
pub mod text_store;
pub mod texts;
mod words;

pub use record::{ConsentView, Subject};
pub use said::{ConsentStatus, Decision, OverrideReason};
pub use words::{ConsentType, Method, Purpose, Relation, RevokeReason, TypeName};

use crate::clock::Timestamp;
use crate::ids::{ConsentId, ParticipantId};

/// A version of a text that people sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentText {
    /// Its row.
    pub id: uuid::Uuid,
    /// From 1 on.
    pub version: i32,
    /// Such as `en-US`.
    pub locale: String,
    /// In plain words.
    pub body: String,
    /// SHA-256 of the body.
    pub sha256: Vec<u8>,
}

/// One stored answer to the recording consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its id.
    pub id: ConsentId,
    /// Whose.
    pub participant: ParticipantId,
    /// To which version.
    pub version: i32,
    /// SHA-256 of the text that was answered.
    pub text_sha256: Vec<u8>,
    /// What was said; never `Pending`.
    pub status: ConsentStatus,
    /// When.
    pub decided_at: Timestamp,
    /// Holds until then, if limited.
    pub expires_at: Option<Timestamp>,
    /// Given from this place in this visit; otherwise it is the patient's, for all their visits or said in another one.
    pub is_own: bool,
}
