//! Who did what to which record. Ids and closed words only: no name, no clinical word, no token can be put into an event.

pub mod chain;
pub mod memo;
pub mod store;

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::ids::VisitId;

macro_rules! events {
    ($($name:ident = $text:literal,)*) => {
        /// Everything that this program writes into the audit chain. A new act needs a new line here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names say it; the list is in the visit model")]
        pub enum EventType { $($name,)* }

        impl EventType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stored name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

events! {
    VisitCreated = "VISIT_CREATED",
    VisitViewed = "VISIT_VIEWED",
    QualityViewed = "QUALITY_VIEWED",
    VisitListed = "VISIT_LISTED",
    VisitStatusChanged = "VISIT_STATUS_CHANGED",
    VisitStarted = "VISIT_STARTED",
    VisitEnded = "VISIT_ENDED",
    VisitCancelled = "VISIT_CANCELLED",
    VisitNoShow = "VISIT_NO_SHOW",
    VisitTechnical = "VISIT_TECHNICAL",
    TokenIssued = "TOKEN_ISSUED",
    TokenValidated = "TOKEN_VALIDATED",
    TokenRedeemed = "TOKEN_REDEEMED",
    TokenRevoked = "TOKEN_REVOKED",
    SessionIssued = "SESSION_ISSUED",
    SessionSuperseded = "SESSION_SUPERSEDED",
    SessionRevoked = "SESSION_REVOKED",
    Login = "LOGIN",
    Logout = "LOGOUT",
    AccessDenied = "ACCESS_DENIED",
    WaitingEntered = "WAITING_ENTERED",
    WaitingAdmitted = "WAITING_ADMITTED",
    WaitingDenied = "WAITING_DENIED",
    WaitingLeft = "WAITING_LEFT",
    WaitingTimedOut = "WAITING_TIMED_OUT",
    WaitingReturned = "WAITING_RETURNED",
    DeviceCheckDone = "DEVICE_CHECK_DONE",
    ParticipantJoined = "PARTICIPANT_JOINED",
    ParticipantLeft = "PARTICIPANT_LEFT",
    ParticipantReconnected = "PARTICIPANT_RECONNECTED",
    ParticipantRemoved = "PARTICIPANT_REMOVED",
    ParticipantMuted = "PARTICIPANT_MUTED",
    ParticipantAdded = "PARTICIPANT_ADDED",
    ParticipantRightsChanged = "PARTICIPANT_RIGHTS_CHANGED",
    ConsentRequested = "CONSENT_REQUESTED",
    ConsentSigned = "CONSENT_SIGNED",
    ConsentDeclined = "CONSENT_DECLINED",
    ConsentRevoked = "CONSENT_REVOKED",
    ConsentViewed = "CONSENT_VIEWED",
    RecordingRequested = "RECORDING_REQUESTED",
    RecordingRefused = "RECORDING_REFUSED",
    RecordingStarted = "RECORDING_STARTED",
    RecordingStopped = "RECORDING_STOPPED",
    RecordingStored = "RECORDING_STORED",
    RecordingFailed = "RECORDING_FAILED",
    RecordingAccessed = "RECORDING_ACCESSED",
    RoomCreated = "ROOM_CREATED",
    RoomEnded = "ROOM_ENDED",
    ConfigChanged = "CONFIG_CHANGED",
    AuditVerified = "AUDIT_VERIFIED",
}

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

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, fact: Fact) -> Self {
        self.metadata.insert(name, fact);
        self
    }
}
