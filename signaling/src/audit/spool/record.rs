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
    /// Who did it; `None` for what the program did by itself.
    pub(crate) by: Option<By>,
    pub(crate) kept: Kept,
}

/// The changes of a live Room that have happened by the time they are written: people are told, media has stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Kept {
    SentBack { participant: ParticipantId },
    DeviceChecked { participant: ParticipantId, camera: bool, microphone: bool },
    Removed { participant: ParticipantId },
    Left { participant: ParticipantId, was_admitted: bool, is_queue_over: bool },
    TimedOut { participant: ParticipantId, is_queue_over: bool },
    Muted { participant: ParticipantId, source: Source, muted: bool },
    Withdrawn { participant: ParticipantId, version: i32, decision: Decision },
    RecordingFlowing { recording: RecordingId },
    RecordingStopped { recording: RecordingId, reason: StopReason },
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
    /// What may be spooled of a change, and whose it is; `None` for one that must be in the books before it happens.
    pub(crate) fn of(change: &Change) -> Option<(Option<By>, Self)> {
        let (actor, kept) = match *change {
            Change::Entered { participant, ref actor, is_sent_back: true } => {
                (Some(actor), Self::SentBack { participant })
            }
            Change::DeviceChecked { participant, ref actor, camera, microphone } => {
                (Some(actor), Self::DeviceChecked { participant, camera, microphone })
            }
            Change::Removed { participant, ref actor } => (Some(actor), Self::Removed { participant }),
            Change::Left { participant, ref actor, was_admitted, is_queue_over } => {
                (Some(actor), Self::Left { participant, was_admitted, is_queue_over })
            }
            Change::TimedOut { participant, ref actor, is_queue_over } => {
                (Some(actor), Self::TimedOut { participant, is_queue_over })
            }
            Change::Muted { participant, ref actor, source, muted } => {
                (Some(actor), Self::Muted { participant, source, muted })
            }
            Change::ConsentGiven {
                participant,
                ref actor,
                version,
                decision: decision @ (Decision::Decline | Decision::Revoke),
            } => (Some(actor), Self::Withdrawn { participant, version, decision }),
            Change::RecordingFlowing { recording } => (None, Self::RecordingFlowing { recording }),
            Change::RecordingStopped { recording, ref actor, reason } => {
                (actor.as_ref(), Self::RecordingStopped { recording, reason })
            }
            // Whoever comes in, agrees, or is captured needs what is stored.
            Change::Entered { is_sent_back: false, .. }
            | Change::Joined { .. }
            | Change::Admitted { .. }
            | Change::Denied { .. }
            | Change::ConsentRequested { .. }
            | Change::ConsentGiven { decision: Decision::Sign, .. }
            | Change::RecordingRequested { .. } => return None,
        };
        Some((actor.map(By::of), kept))
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
        let actor = self.actor();
        match self.kept {
            Kept::SentBack { participant } => Change::Entered { participant, actor, is_sent_back: true },
            Kept::DeviceChecked { participant, camera, microphone } => {
                Change::DeviceChecked { participant, actor, camera, microphone }
            }
            Kept::Removed { participant } => Change::Removed { participant, actor },
            Kept::Left { participant, was_admitted, is_queue_over } => {
                Change::Left { participant, actor, was_admitted, is_queue_over }
            }
            Kept::TimedOut { participant, is_queue_over } => Change::TimedOut { participant, actor, is_queue_over },
            Kept::Muted { participant, source, muted } => Change::Muted { participant, actor, source, muted },
            Kept::Withdrawn { participant, version, decision } => {
                Change::ConsentGiven { participant, actor, version, decision }
            }
            Kept::RecordingFlowing { recording } => Change::RecordingFlowing { recording },
            Kept::RecordingStopped { recording, reason } => {
                Change::RecordingStopped { recording, actor: self.by.is_some().then_some(actor), reason }
            }
        }
    }

    /// What stands in the audit when the change itself can no longer be made: it happened all the same.
    pub(crate) const fn event_type(&self) -> EventType {
        match self.kept {
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
        match self.kept {
            Kept::SentBack { participant }
            | Kept::DeviceChecked { participant, .. }
            | Kept::Removed { participant }
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
        self.by.as_ref().map_or(Actor::System { org: self.org }, |by| by.to_actor(self))
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
