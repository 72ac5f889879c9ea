//! What a Room needs of the world, and the durable acts that it asks for.

use std::future::Future;

use time::OffsetDateTime;
use wire::control::{Command, Refusal, Reply, Source};
use wire::delivery::Order;
use wire::{ParticipantId, RecordingId, Redacted, RoomId};

use super::{Fault, StopReason};
use crate::auth::Actor;
use crate::consent::OverrideReason;
use crate::consent::{ConsentStatus, ConsentText, Decision};
use crate::ice::Relay;
use crate::live::notable::Happening;
use crate::quality::Sample;

/// A durable act. Each is one transaction that also holds its audit event.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Somebody who must be admitted came into the waiting room, new or again.
    Entered { participant: ParticipantId, actor: Actor, is_sent_back: bool },
    /// A clinician came in. With nobody waiting, that starts the visit.
    Joined { participant: ParticipantId, actor: Actor, is_queue_empty: bool },
    /// What works on a waiting person's side.
    DeviceChecked { participant: ParticipantId, actor: Actor, camera: bool, microphone: bool },
    /// The clinician let somebody in.
    Admitted { participant: ParticipantId, actor: Actor, override_reason: Option<OverrideReason> },
    /// The clinician turned somebody away; the session is revoked.
    Denied { participant: ParticipantId, actor: Actor },
    /// The clinician sent somebody out; the session is revoked.
    Removed { participant: ParticipantId, actor: Actor },
    /// Somebody left, or stayed away too long. `is_queue_over`: nobody waits now and no clinician is here.
    Left { participant: ParticipantId, actor: Actor, was_admitted: bool, is_queue_over: bool },
    /// Somebody waited for too long.
    TimedOut { participant: ParticipantId, actor: Actor, is_queue_over: bool },
    /// The clinician muted or unmuted a source.
    Muted { participant: ParticipantId, actor: Actor, source: Source, muted: bool },
    /// The clinician asks for consent.
    ConsentRequested { actor: Actor },
    /// Somebody's own answer.
    ConsentGiven { participant: ParticipantId, actor: Actor, version: i32, decision: Decision },
    /// A Tap is open: the Recording, its job and what everybody had agreed to.
    RecordingRequested {
        recording: RecordingId,
        room: RoomId,
        actor: Actor,
        tap_token: Redacted<String>,
        participants: Vec<ParticipantId>,
        /// Everybody's stored consent is looked at once more. Otherwise the application answers for them.
        needs_consent: bool,
        /// What is to be delivered of it.
        order: Option<Box<Order>>,
    },
    /// The first frame passed.
    RecordingFlowing { recording: RecordingId },
    /// Capture ended; the recorder finishes the files.
    RecordingStopped { recording: RecordingId, actor: Option<Actor>, reason: StopReason },
}

/// What a [`Change`] led to.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// It is so.
    Done,
    /// The person is in: since when, and their answer to the text in force.
    In { since: OffsetDateTime, consent: ConsentStatus },
    /// The text to show.
    Text(ConsentText),
}

/// What a Room needs of the world: the media node and the database. Every call has its own time limit.
pub(crate) trait Outside: Send + Sync {
    /// Asks the sfu.
    fn command(&self, command: Command) -> impl Future<Output = Result<Reply, Refusal>> + Send;
    /// Commits a change with its audit event.
    fn store(&self, change: Change) -> impl Future<Output = Result<Stored, Fault>> + Send;
    /// The relay, if there is one.
    fn relay(&self) -> Option<&Relay>;
    /// Takes a quality sample, or drops it: a Room never waits for measurements.
    fn note(&self, sample: Sample);
    /// Takes what happened, for whoever wants to know, or drops it: a Room does not wait for that either.
    fn tell(&self, happening: Happening);
}
