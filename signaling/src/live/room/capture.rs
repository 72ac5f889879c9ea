//! Recording and the consent it stands on. Starting waits for the books; stopping never does.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use wire::control::{Command, Reply, TapEnd};
use wire::delivery::Order;
use wire::{OrderId, ParticipantId, RecordingId};

use super::{Change, Done, Fault, Outside, RoomState, Seat, Stored, to_consent_request};
use crate::auth::Actor;
use crate::consent::{ConsentStatus, Decision};
use crate::live::roster::Moment;
use crate::problem::Code;
use crate::ws::message::{ServerMessage, SignView};

/// The most consents that one seat may sign: each is a row for ever. Withdrawing is never refused.
const MAX_ANSWERS: u32 = 64;

/// Whether the Room is being captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    /// It is not.
    Off,
    /// The Tap is open; frames may not have passed yet.
    Running {
        /// What is captured.
        recording: RecordingId,
        /// When the first frame passed.
        flowing_since: Option<OffsetDateTime>,
        /// Whose order it serves, if it is to be delivered.
        order: Option<OrderId>,
    },
}

impl Capture {
    /// True while a Tap is open.
    pub(crate) const fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// What is captured.
    pub(crate) const fn recording(self) -> Option<RecordingId> {
        match self {
            Self::Off => None,
            Self::Running { recording, .. } => Some(recording),
        }
    }

    /// Whose order is served.
    pub(crate) const fn order(self) -> Option<OrderId> {
        match self {
            Self::Off => None,
            Self::Running { order, .. } => order,
        }
    }

    /// The recording sign. It says `on` only when frames flow.
    pub(crate) const fn to_message(self) -> ServerMessage {
        match self {
            Self::Off => ServerMessage::Recording { state: SignView::Off, recording_id: None, since: None },
            Self::Running { recording, flowing_since, .. } => ServerMessage::Recording {
                state: if flowing_since.is_some() { SignView::On } else { SignView::Starting },
                recording_id: Some(recording),
                since: flowing_since,
            },
        }
    }
}

/// Why a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StopReason {
    /// Somebody asked.
    Asked,
    /// Somebody present no longer agrees, or never did.
    ConsentLost,
    /// The visit is over.
    VisitEnded,
    /// Nobody is inside any more.
    RoomEmpty,
    /// The media node failed.
    RoomFailed,
    /// The recorder let go.
    RecorderGone,
    /// This process stops.
    ServerStopping,
}

impl StopReason {
    /// As stored and audited.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Asked => "REQUESTED",
            Self::ConsentLost => "CONSENT_LOST",
            Self::VisitEnded => "VISIT_ENDED",
            Self::RoomEmpty => "ROOM_EMPTY",
            Self::RoomFailed => "ROOM_FAILED",
            Self::RecorderGone => "RECORDER_GONE",
            Self::ServerStopping => "SERVER_STOPPING",
        }
    }
}

impl From<TapEnd> for StopReason {
    fn from(end: TapEnd) -> Self {
        match end {
            TapEnd::Stopped => Self::Asked,
            TapEnd::ConsentLost => Self::ConsentLost,
            TapEnd::RoomClosed => Self::RoomEmpty,
            TapEnd::RecorderGone => Self::RecorderGone,
        }
    }
}

impl<O: Outside> RoomState<O> {
    /// Asks everyone inside who has not agreed.
    pub(super) async fn request_consent(&mut self, by: ParticipantId) -> Result<Done, Fault> {
        self.host(by)?;
        if !self.facts.may_record {
            return Err(not_allowed());
        }
        let request = self.load_text(by).await?;
        let now = self.now;
        for seat in self.roster.iter_mut().filter(|s| s.is_admitted() && s.consent != ConsentStatus::Signed) {
            seat.send(now, &request);
        }
        Ok(Done::Confirmed)
    }

    /// Takes the text in force, and with it the right to show it: the asking is audited.
    pub(super) async fn load_text(&mut self, by: ParticipantId) -> Result<ServerMessage, Fault> {
        let seat = self.seat(by)?;
        let (actor, name) = (seat.person.actor.clone(), seat.person.name.clone());
        let Stored::Text(text) = self.outside.store(Change::ConsentRequested { actor }).await? else {
            return Err(Code::Unavailable.problem());
        };
        let request = to_consent_request(&text, &name);
        self.asked = Some((text, name));
        Ok(request)
    }

    /// Somebody's own answer. Yes is stored before the forwarder hears it; no reaches the forwarder first.
    pub(super) async fn answer_consent(
        &mut self,
        who: ParticipantId,
        version: i32,
        decision: Decision,
    ) -> Result<Done, Fault> {
        let seat = self.seat(who)?;
        let actor = seat.person.actor.clone();
        let view = match decision {
            Decision::Sign => ConsentStatus::Signed,
            Decision::Decline => ConsentStatus::Declined,
            Decision::Revoke => ConsentStatus::Revoked,
        };
        if seat.consent == view && seat.is_consent_stored {
            return Ok(Done::Confirmed);
        }
        let change = Change::ConsentGiven { participant: who, actor, version, decision };
        let room = self.facts.room;
        let consented = view == ConsentStatus::Signed;
        if consented {
            if seat.answers >= MAX_ANSWERS {
                return Err(Code::RateLimited.with("This was answered too often."));
            }
            self.outside.store(change).await?;
            self.set_consent(who, view, true);
            let set = Command::SetConsent { room, participant: who, consented };
            self.outside.command(set).await.map_err(|refusal| self.to_fault(&refusal))?;
            return Ok(Done::Confirmed);
        }
        let is_inside = seat.is_admitted();
        self.set_consent(who, view, false);
        let ended = if is_inside { self.cut_capture().await } else { None };
        self.try_command(Command::SetConsent { room, participant: who, consented }).await;
        let stored = self.outside.store(change).await;
        if let Some(recording) = ended {
            self.write_stop(recording, self.actor_of(who), StopReason::ConsentLost).await;
        }
        stored?;
        self.set_consent(who, view, true);
        Ok(Done::Confirmed)
    }

    /// Somebody's answer was stored elsewhere: by the consent API, or because its date has passed. A no reaches the forwarder before
    /// anything else, as [`answer_consent`](Self::answer_consent) has it.
    pub(crate) async fn handle_consent(&mut self, now: Moment, who: ParticipantId, standing: ConsentStatus) {
        self.now = now;
        let Some(seat) = self.roster.find(who).filter(|seat| seat.consent != standing || !seat.is_consent_stored)
        else {
            return;
        };
        let (is_inside, was_signed) = (seat.is_admitted(), seat.consent == ConsentStatus::Signed);
        let consented = standing == ConsentStatus::Signed;
        self.set_consent(who, standing, true);
        let is_lost = is_inside && !consented && (was_signed || standing != ConsentStatus::Pending);
        let ended = if is_lost { self.cut_capture().await } else { None };
        self.try_command(Command::SetConsent { room: self.facts.room, participant: who, consented }).await;
        if let Some(recording) = ended {
            self.write_stop(recording, self.actor_of(who), StopReason::ConsentLost).await;
        }
        self.publish();
    }

    fn set_consent(&mut self, who: ParticipantId, view: ConsentStatus, is_stored: bool) {
        if let Some(seat) = self.roster.find_mut(who) {
            seat.consent = view;
            seat.is_consent_stored = is_stored;
            seat.answers = seat.answers.saturating_add(u32::from(is_stored));
        }
    }

    /// Starts a capture from HTTP.
    pub(crate) async fn handle_start(&mut self, now: Moment, actor: Actor) -> Result<RecordingId, Fault> {
        self.now = now;
        let started = self.start_capture(actor, None).await;
        self.publish();
        started
    }

    /// Starts a capture that is to be delivered.
    pub(crate) async fn handle_order(&mut self, now: Moment, actor: Actor, order: Order) -> Result<RecordingId, Fault> {
        self.now = now;
        let started = self.start_capture(actor, Some(order)).await;
        self.publish();
        started
    }

    /// Whether a capture could be started, now or as soon as somebody is inside.
    pub(crate) fn handle_may_capture(&self) -> Result<(), Fault> {
        if !self.facts.may_record {
            return Err(not_allowed());
        }
        if self.capture.is_running() {
            return Err(Code::AlreadyRecording.with("This visit is being recorded already."));
        }
        let missing = self.not_agreed();
        if missing.is_empty() {
            return Ok(());
        }
        Err(to_missing("Everyone in the visit must agree to being recorded first.", &missing))
    }

    /// Stops the capture that serves an order, if it runs.
    pub(crate) async fn handle_order_end(
        &mut self,
        now: Moment,
        order: OrderId,
        actor: Option<Actor>,
        reason: StopReason,
    ) {
        self.now = now;
        if self.capture.order() == Some(order)
            && let Some(recording) = self.cut_capture().await
        {
            self.write_stop(recording, actor, reason).await;
        }
        self.publish();
    }

    /// Somebody agreed to being captured; or this Room is one whose application answers for everybody.
    pub(super) fn is_agreed(&self, consent: ConsentStatus) -> bool {
        !self.facts.needs_consent || consent == ConsentStatus::Signed
    }

    fn not_agreed(&self) -> Vec<ParticipantId> {
        let missing = self.roster.iter().filter(|s: &&Seat| s.is_admitted() && !self.is_agreed(s.consent));
        missing.map(|s| s.person.participant).collect()
    }

    /// Stops a capture from HTTP.
    pub(crate) async fn handle_stop(&mut self, now: Moment, actor: Actor) -> Result<RecordingId, Fault> {
        self.now = now;
        let stopped = self.stop_capture(Some(actor), StopReason::Asked).await;
        self.publish();
        stopped
    }

    /// The recorder is done with a Recording of this Room.
    pub(crate) fn handle_stored(&mut self, now: Moment, recording_id: RecordingId, status: &'static str) {
        self.now = now;
        self.roster.tell_inside(now, &ServerMessage::RecordingStored { recording_id, status });
    }

    /// Opens a Tap when everyone inside has agreed, and writes Recording and job. Without the books there is no capture.
    pub(super) async fn start_capture(&mut self, actor: Actor, order: Option<Order>) -> Result<RecordingId, Fault> {
        if !self.facts.may_record {
            return Err(not_allowed());
        }
        if self.capture.is_running() {
            return Err(Code::AlreadyRecording.with("This visit is being recorded already."));
        }
        let inside = self.roster.iter().filter(|s| s.is_admitted());
        let participants: Vec<_> = inside.map(|s| s.person.participant).collect();
        let missing = self.not_agreed();
        if !missing.is_empty() || participants.is_empty() {
            let detail = "Everyone in the visit must agree to being recorded first.";
            return Err(to_missing(detail, &missing));
        }
        let room = self.facts.room;
        for participant in participants.iter().copied() {
            let set = Command::SetConsent { room, participant, consented: true };
            self.outside.command(set).await.map_err(|refusal| self.to_fault(&refusal))?;
        }
        let recording = RecordingId::random();
        let is_cut = order.is_some();
        let opened = self.outside.command(Command::StartTap { room, recording, is_cut }).await;
        let tap_token = match opened {
            Ok(Reply::Tap { token }) => token,
            Ok(Reply::Done | Reply::Answer { .. }) => return Err(Code::Unavailable.problem()),
            Err(refusal) => return Err(self.to_fault(&refusal)),
        };
        let (id, needs_consent) = (order.as_ref().map(|order| order.id), self.facts.needs_consent);
        let order = order.map(Box::new);
        let change =
            Change::RecordingRequested { recording, room, actor, tap_token, participants, needs_consent, order };
        if let Err(fault) = self.outside.store(change).await {
            self.try_command(Command::StopTap { room, recording }).await;
            return Err(fault);
        }
        self.set_capture(Capture::Running { recording, flowing_since: None, order: id });
        Ok(recording)
    }

    /// Stops what runs, on somebody's word.
    pub(super) async fn stop_capture(
        &mut self,
        actor: Option<Actor>,
        reason: StopReason,
    ) -> Result<RecordingId, Fault> {
        let recording = self.cut_capture().await.ok_or(Code::NotRecording.with("Nothing is being recorded."))?;
        self.write_stop(recording, actor, reason).await;
        Ok(recording)
    }

    /// Stops what runs, if anything does, because of what happened.
    pub(super) async fn stop_if_running(&mut self, reason: StopReason) {
        if let Some(recording) = self.cut_capture().await {
            self.write_stop(recording, None, reason).await;
        }
    }

    /// The first frame passed: the sign may light. It lights even if the books are away: people must know.
    pub(super) async fn note_flowing(&mut self, recording: RecordingId) {
        let order = self.capture.order();
        if self.capture != (Capture::Running { recording, flowing_since: None, order }) {
            return;
        }
        self.set_capture(Capture::Running { recording, flowing_since: Some(self.now.wall), order });
        if let Err(fault) = self.outside.store(Change::RecordingFlowing { recording }).await {
            tracing::error!(?recording, code = ?fault.code, "the start of a capture was not written");
        }
    }

    /// The Tap ended at the sfu.
    pub(super) async fn note_capture_ended(&mut self, reason: StopReason) {
        if let Some(recording) = self.capture.recording() {
            self.set_capture(Capture::Off);
            self.write_stop(recording, None, reason).await;
        }
    }

    /// Ends the Tap and puts the sign out, before anything is written.
    async fn cut_capture(&mut self) -> Option<RecordingId> {
        let recording = self.capture.recording()?;
        let stopping =
            ServerMessage::Recording { state: SignView::Stopping, recording_id: Some(recording), since: None };
        self.roster.tell_inside(self.now, &stopping);
        // A refusal means that the Room or the node is gone, and the Tap with it.
        self.try_command(Command::StopTap { room: self.facts.room, recording }).await;
        self.set_capture(Capture::Off);
        Some(recording)
    }

    fn set_capture(&mut self, capture: Capture) {
        if self.capture.order() != capture.order() {
            self.journaled.begin_anew();
        }
        self.capture = capture;
        self.roster.tell_inside(self.now, &capture.to_message());
    }

    /// Writes the end of a capture. If that fails, the end of the job completes the Recording all the same.
    async fn write_stop(&self, recording: RecordingId, actor: Option<Actor>, reason: StopReason) {
        if let Err(fault) = self.outside.store(Change::RecordingStopped { recording, actor, reason }).await {
            tracing::error!(?recording, code = ?fault.code, "the end of a capture was not written");
        }
    }
}

fn not_allowed() -> Fault {
    Code::Forbidden.with("This visit may not be recorded.")
}

/// `CONSENT_REQUIRED`, with the ids of those who have not agreed.
pub(crate) fn to_missing(detail: &'static str, missing: &[ParticipantId]) -> Fault {
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    Code::ConsentRequired.with(detail).member("missing", missing)
}

/// Who inside has not agreed; for tests of the law that nobody is captured without consent.
#[cfg(test)]
pub(super) fn is_captured_without_consent<O: Outside>(room: &RoomState<O>) -> bool {
    room.capture.is_running() && room.roster.iter().any(|s: &Seat| s.is_admitted() && !room.is_agreed(s.consent))
}
