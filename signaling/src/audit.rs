//! Who did what to which record. Ids and closed words only: no name, no clinical word, no token can be put into an event.

pub mod anchor;
pub mod anchoring;
pub mod chain;
pub mod config;
pub mod event;
pub mod http;
pub mod memo;
pub mod query;
pub(crate) mod replay;
pub mod review;
pub mod shelf;
pub mod signer;
pub mod spool;
pub mod store;
pub mod verify;
pub mod walk;

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::ids::VisitId;

pub use event::EventType;

/// An event before it has its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What happened.
    pub event_type: EventType,
    /// In which visit.
    pub visit: Option<VisitId>,
    /// To which record: `participant:<uuid>`, `token:<uuid>`.
    pub subject: Option<String>,
    /// False when it was tried and refused.
    pub success: bool,
    /// Why it was refused, or which branch was taken: a code, not a sentence.
    pub reason: Option<&'static str>,
    /// Further facts. Values are numbers, truths, ids and words of this program: nothing a person typed fits in.
    pub metadata: BTreeMap<&'static str, Fact>,
}

/// A value of [`Draft::metadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A count or a duration.
    Number(i64),
    /// Yes or no.
    Truth(bool),
    /// A record.
    Id(Uuid),
    /// A word of the program's own, such as a status.
    Word(&'static str),
}

impl From<&Fact> for Value {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::Number(number) => (*number).into(),
            Fact::Truth(truth) => (*truth).into(),
            Fact::Id(id) => id.to_string().into(),
            Fact::Word(word) => (*word).into(),
        }
    }
}

impl Draft {
    /// A success without further facts.
    #[must_use]
    pub const fn new(event_type: EventType) -> Self {
        Self { event_type, visit: None, subject: None, success: true, reason: None, metadata: BTreeMap::new() }
    }

    /// Names the visit.
    #[must_use]
    pub const fn visit(mut self, visit: VisitId) -> Self {
        self.visit = Some(visit);
        self
    }

    /// Names the record: its kind and its id.
    #[must_use]
    pub fn subject(mut self, kind: &'static str, id: impl Into<Uuid>) -> Self {
        self.subject = Some(format!("{kind}:{}", id.into()));
        self
    }

    /// Makes it a refusal.
    #[must_use]
    pub const fn failed(mut self, reason: &'static str) -> Self {
        self.success = false;
        self.reason = Some(reason);
        self
    }

    /// Gives the reason of a success.
    #[must_use]
    pub const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Adds a fact. Its name is one of [`event::KEYS`]: an event with another one is refused, and its change with it.
    #[must_use]
    pub fn fact(mut self, name: &'static str, fact: Fact) -> Self {
        self.metadata.insert(name, fact);
        self
    }

    /// The first fact whose name is not on the list.
    #[must_use]
    pub fn find_unknown_key(&self) -> Option<&'static str> {
        self.metadata.keys().copied().find(|key| !event::is_known_key(key))
    }
}
