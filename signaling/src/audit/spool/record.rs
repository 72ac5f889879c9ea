//! One record of the spool: which change, whose, when, and the id that its event will have.

use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use uuid::Uuid;
use wire::control::Source;
use wire::{ParticipantId, RecordingId, Redacted, VisitId};

use crate::audit::EventType;
use crate::auth::{Actor, Assurance, Attendee, Credential, Grants, Service, Staff, StaffRole};
use crate::clock::Timestamp;
use crate::consent::Decision;
use crate::error::{Error, Result};
use crate::ids::{OrgId, SessionId};
use crate::live::room::{Change, StopReason};
use crate::participant::Role;

/// A change that waits for the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spooled {
    /// The id of its first audit event: when that is there, the change is.
    pub(crate) event: Uuid,
    pub(crate) org: OrgId,
    pub(crate) visit: VisitId,
    /// When it happened.
    #[serde(with = "rfc3339")]
    pub(crate) at: Timestamp,
    pub(crate) kept: Kept,
}

/// The changes of a live Room that have happened by the time they are written: people are told, media has stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Kept {
    SentBack { participant: ParticipantId, by: By },
    DeviceChecked { participant: ParticipantId, by: By, camera: bool, microphone: bool },
    Removed { participant: ParticipantId, by: By },
    Left { participant: ParticipantId, by: By, was_admitted: bool, is_queue_over: bool },
    TimedOut { participant: ParticipantId, by: By, is_queue_over: bool },
    Muted { participant: ParticipantId, by: By, source: Source, muted: bool },
    Withdrawn { participant: ParticipantId, by: By, version: i32, decision: Decision },
    RecordingFlowing { recording: RecordingId },
    RecordingStopped { recording: RecordingId, by: Option<By>, reason: StopReason },
}

/// Who did it, without their name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum By {
    Staff { sub: String, role: StaffRole },
    Attendee { participant: ParticipantId, role: Role, session: SessionId },
    Service { id: String },
    System,
    Anonymous,
}

impl Kept {
    /// What may be spooled of a change; `None` for one that must be in the books before it happens.
    pub(crate) fn of(change: &Change) -> Option<Self> {
        Some(match change {
            Change::Entered { participant, actor, is_sent_back: true } => {
                Self::SentBack { participant: *participant, by: By::of(actor) }
            }
            Change::DeviceChecked { participant, actor, camera, microphone } => Self::DeviceChecked {
                participant: *participant,
                by: By::of(actor),
                camera: *camera,
                microphone: *microphone,
            },
            Change::Removed { participant, actor } => Self::Removed { participant: *participant, by: By::of(actor) },
            Change::Left { participant, actor, was_admitted, is_queue_over } => Self::Left {
                participant: *participant,
                by: By::of(actor),
                was_admitted: *was_admitted,
                is_queue_over: *is_queue_over,
            },
            Change::TimedOut { participant, actor, is_queue_over } => {
                Self::TimedOut { participant: *participant, by: By::of(actor), is_queue_over: *is_queue_over }
            }
            Change::Muted { participant, actor, source, muted } => {
                Self::Muted { participant: *participant, by: By::of(actor), source: *source, muted: *muted }
            }
            Change::ConsentGiven {
                participant,
                actor,
                version,
                decision: decision @ (Decision::Decline | Decision::Revoke),
            } => {
                Self::Withdrawn { participant: *participant, by: By::of(actor), version: *version, decision: *decision }
            }
            Change::RecordingFlowing { recording } => Self::RecordingFlowing { recording: *recording },
            Change::RecordingStopped { recording, actor, reason } => {
                Self::RecordingStopped { recording: *recording, by: actor.as_ref().map(By::of), reason: *reason }
            }
            // Whoever comes in, agrees, or is captured needs what is stored.
            Change::Entered { is_sent_back: false, .. }
            | Change::Joined { .. }
            | Change::Admitted { .. }
            | Change::Denied { .. }
            | Change::ConsentRequested { .. }
            | Change::ConsentGiven { decision: Decision::Sign, .. }
            | Change::RecordingRequested { .. } => return None,
        })
    }
}

impl Spooled {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|_| Error::Inside("a change cannot be spooled".to_owned()))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The change as the Room made it.
    pub(crate) fn to_change(&self) -> Change {
        let actor = |by: &By| by.to_actor(self);
        match &self.kept {
            Kept::SentBack { participant, by } => {
                Change::Entered { participant: *participant, actor: actor(by), is_sent_back: true }
            }
            Kept::DeviceChecked { participant, by, camera, microphone } => Change::DeviceChecked {
                participant: *participant,
                actor: actor(by),
                camera: *camera,
                microphone: *microphone,
            },
            Kept::Removed { participant, by } => Change::Removed { participant: *participant, actor: actor(by) },
            Kept::Left { participant, by, was_admitted, is_queue_over } => Change::Left {
                participant: *participant,
                actor: actor(by),
                was_admitted: *was_admitted,
                is_queue_over: *is_queue_over,
            },
            Kept::TimedOut { participant, by, is_queue_over } => {
                Change::TimedOut { participant: *participant, actor: actor(by), is_queue_over: *is_queue_over }
            }
            Kept::Muted { participant, by, source, muted } => {
                Change::Muted { participant: *participant, actor: actor(by), source: *source, muted: *muted }
            }
            Kept::Withdrawn { participant, by, version, decision } => Change::ConsentGiven {
                participant: *participant,
                actor: actor(by),
                version: *version,
                decision: *decision,
            },
            Kept::RecordingFlowing { recording } => Change::RecordingFlowing { recording: *recording },
            Kept::RecordingStopped { recording, by, reason } => {
                Change::RecordingStopped { recording: *recording, actor: by.as_ref().map(actor), reason: *reason }
            }
        }
    }

    /// What stands in the audit when the change itself can no longer be made: it happened all the same.
    pub(crate) fn event_type(&self) -> EventType {
        match &self.kept {
            Kept::SentBack { .. } => EventType::WaitingReturned,
            Kept::DeviceChecked { .. } => EventType::DeviceCheckDone,
            Kept::Removed { .. } => EventType::ParticipantRemoved,
            Kept::Left { was_admitted: true, .. } => EventType::ParticipantLeft,
            Kept::Left { .. } => EventType::WaitingLeft,
            Kept::TimedOut { .. } => EventType::WaitingTimedOut,
            Kept::Muted { .. } => EventType::ParticipantMuted,
            Kept::Withdrawn { decision: Decision::Revoke, .. } => EventType::ConsentRevoked,
            Kept::Withdrawn { .. } => EventType::ConsentDeclined,
            Kept::RecordingFlowing { .. } => EventType::RecordingStarted,
            Kept::RecordingStopped { .. } => EventType::RecordingStopped,
        }
    }

    /// The record that it is about.
    pub(crate) fn subject(&self) -> (&'static str, Uuid) {
        match &self.kept {
            Kept::SentBack { participant, .. }
            | Kept::DeviceChecked { participant, .. }
            | Kept::Removed { participant, .. }
            | Kept::Left { participant, .. }
            | Kept::TimedOut { participant, .. }
            | Kept::Muted { participant, .. }
            | Kept::Withdrawn { participant, .. } => ("participant", participant.as_uuid()),
            Kept::RecordingFlowing { recording } | Kept::RecordingStopped { recording, .. } => {
                ("recording", recording.as_uuid())
            }
        }
    }

    /// Who did it.
    pub(crate) fn actor(&self) -> Actor {
        match &self.kept {
            Kept::SentBack { by, .. }
            | Kept::DeviceChecked { by, .. }
            | Kept::Removed { by, .. }
            | Kept::Left { by, .. }
            | Kept::TimedOut { by, .. }
            | Kept::Muted { by, .. }
            | Kept::Withdrawn { by, .. }
            | Kept::RecordingStopped { by: Some(by), .. } => by.to_actor(self),
            Kept::RecordingFlowing { .. } | Kept::RecordingStopped { by: None, .. } => Actor::System { org: self.org },
        }
    }
}

impl By {
    fn of(actor: &Actor) -> Self {
        match actor {
            Actor::Staff(staff) => Self::Staff { sub: staff.sub.clone(), role: staff.role },
            Actor::Attendee(attendee) => {
                Self::Attendee { participant: attendee.participant, role: attendee.role, session: attendee.session }
            }
            Actor::Service(service) => Self::Service { id: service.id.clone() },
            Actor::System { .. } => Self::System,
            Actor::Anonymous { .. } => Self::Anonymous,
        }
    }

    /// The actor, as far as the books name them. Whatever they were allowed was asked when they did it.
    fn to_actor(&self, record: &Spooled) -> Actor {
        let (org, at) = (record.org, record.at);
        match self {
            Self::Staff { sub, role } => Actor::Staff(Staff {
                org,
                sub: sub.clone(),
                role: *role,
                name: None,
                expires_at: at,
                assurance: Assurance::Missing,
                credential: Credential::Token { id: None, issued_at: at },
                opened: Vec::new(),
            }),
            Self::Attendee { participant, role, session } => Actor::Attendee(Attendee {
                org,
                visit: record.visit,
                participant: *participant,
                role: *role,
                name: Redacted::default(),
                session: *session,
                token: None,
                expires_at: at,
            }),
            Self::Service { id } => Actor::Service(Service { org, id: id.clone(), grants: Grants::NONE }),
            Self::System => Actor::System { org },
            Self::Anonymous => Actor::Anonymous { org },
        }
    }
}
