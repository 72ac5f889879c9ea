//! Who comes in and who goes: the clinician's decisions, each durable before it is told.

use wire::ParticipantId;
use wire::control::{Command, Door, Source};

use super::capture::to_missing;
use super::{Change, Done, Fault, Outside, RoomState, Seat, Stored, close, to_consent_request};
use crate::auth::Actor;
use crate::consent::OverrideReason;
use crate::live::DoorAct;
use crate::live::roster::Moment;
use crate::problem::Code;
use crate::ws::message::{EndReason, RoleView, ServerMessage};

/// The most device checks of one seat that are written down; later ones are still shown.
const MAX_CHECKS_WRITTEN: u32 = 20;

impl<O: Outside> RoomState<O> {
    pub(super) async fn check_devices(
        &mut self,
        who: ParticipantId,
        camera: bool,
        microphone: bool,
    ) -> Result<Done, Fault> {
        let Some(seat) = self.roster.find_mut(who) else { return Ok(Done::Quiet) };
        let is_news = seat.devices.replace((camera, microphone)) != Some((camera, microphone));
        if seat.is_admitted() || !is_news || seat.checks >= MAX_CHECKS_WRITTEN {
            return Ok(Done::Quiet);
        }
        seat.checks += 1;
        let actor = seat.person.actor.clone();
        self.outside.store(Change::DeviceChecked { participant: who, actor, camera, microphone }).await?;
        Ok(Done::Quiet)
    }

    /// Lets a waiting person in: the books first, then the forwarder, then the people.
    pub(super) async fn admit(
        &mut self,
        by: ParticipantId,
        whom: ParticipantId,
        override_reason: Option<OverrideReason>,
    ) -> Result<Done, Fault> {
        let actor = self.host(by)?;
        self.admit_as(actor, Some(by), whom, override_reason).await
    }

    /// The same for an actor who may; `host` is who inside asks a late arrival for consent.
    async fn admit_as(
        &mut self,
        actor: Actor,
        host: Option<ParticipantId>,
        whom: ParticipantId,
        override_reason: Option<OverrideReason>,
    ) -> Result<Done, Fault> {
        let seat = self.waiting_seat(whom)?;
        if self.capture.is_running() && !self.is_agreed(seat.consent) {
            if let Some(host) = host {
                self.ask_late_arrival(host, whom).await?;
            }
            let detail = "This person has not agreed to being recorded. They were asked.";
            return Err(to_missing(detail, &[whom]));
        }
        let peer = seat.peer();
        self.outside.store(Change::Admitted { participant: whom, actor, override_reason }).await?;
        let (room, now) = (self.facts.room, self.now);
        if let Some(peer) = peer
            && let Err(refusal) = self.outside.command(Command::Admit { room, peer }).await
        {
            // The books say admitted: the next offer makes a Peer that is. Only this connection is of no use.
            tracing::warn!(?room, reason = ?refusal.reason, "an admitted person's connection could not be let in");
        }
        if let Some(seat) = self.roster.find_mut(whom) {
            seat.door = Door::Admitted;
            seat.is_fresh = true;
            seat.send(now, &ServerMessage::Admitted {});
        }
        Ok(Done::Confirmed)
    }

    /// Turns a waiting person away. Nothing flows to them, so the books come first here too.
    pub(super) async fn deny(&mut self, by: ParticipantId, whom: ParticipantId) -> Result<Done, Fault> {
        let actor = self.host(by)?;
        self.deny_as(actor, whom).await
    }

    async fn deny_as(&mut self, actor: Actor, whom: ParticipantId) -> Result<Done, Fault> {
        let peer = self.waiting_seat(whom)?.media.as_ref().map(|m| m.peer);
        self.outside.store(Change::Denied { participant: whom, actor }).await?;
        if let Some(peer) = peer {
            self.try_command(Command::Deny { room: self.facts.room, peer }).await;
        }
        self.drop_seat(whom, EndReason::Denied);
        Ok(Done::Confirmed)
    }

    /// Puts a person back into the waiting room: the forwarder first, so that nothing more reaches them.
    pub(super) async fn send_back(&mut self, by: ParticipantId, whom: ParticipantId) -> Result<Done, Fault> {
        let actor = self.host(by)?;
        self.guest_seat(Some(by), whom)?;
        self.send_back_as(actor, whom).await
    }

    async fn send_back_as(&mut self, actor: Actor, whom: ParticipantId) -> Result<Done, Fault> {
        let peer = self.guest_seat(None, whom)?.media.as_ref().map(|m| m.peer);
        let (room, now) = (self.facts.room, self.now);
        if let Some(peer) = peer {
            self.ask(Command::SendBack { room, peer }).await?;
        }
        self.drop_share(whom, Some(EndReason::Removed)).await;
        if let Some(seat) = self.roster.find_mut(whom) {
            seat.door = Door::Waiting;
            seat.since = now.wall;
            seat.is_fresh = true;
            seat.send(now, &ServerMessage::SentBack {});
        }
        self.publish();
        let entered = self.outside.store(Change::Entered { participant: whom, actor, is_sent_back: true }).await?;
        if let (Some(seat), Stored::In { since, .. }) = (self.roster.find_mut(whom), entered) {
            seat.since = since;
        }
        Ok(Done::Confirmed)
    }

    /// Sends a person out for good: the forwarder first, then the books.
    pub(super) async fn remove(&mut self, by: ParticipantId, whom: ParticipantId) -> Result<Done, Fault> {
        let actor = self.host(by)?;
        let peer = self.guest_seat(Some(by), whom)?.media.as_ref().map(|m| m.peer);
        if let Some(peer) = peer {
            self.ask(Command::Remove { room: self.facts.room, peer }).await?;
        }
        self.drop_share(whom, Some(EndReason::Removed)).await;
        self.outside.store(Change::Removed { participant: whom, actor }).await?;
        self.drop_seat(whom, EndReason::Removed);
        Ok(Done::Confirmed)
    }

    /// Stops or resumes the forwarding of somebody's source: the forwarder first.
    pub(super) async fn mute(
        &mut self,
        by: ParticipantId,
        whom: ParticipantId,
        source: Source,
        muted: bool,
    ) -> Result<Done, Fault> {
        let actor = self.host(by)?;
        let seat = self.seat(whom)?;
        if !seat.is_admitted() {
            return Err(Code::NotFound.with("This person is not inside."));
        }
        if let Some(peer) = seat.peer() {
            self.ask(Command::Mute { room: self.facts.room, peer, source, muted }).await?;
        }
        if let Some(seat) = self.roster.find_mut(whom) {
            if muted {
                seat.muted.insert(source)
            } else {
                seat.muted.remove(&source)
            };
        }
        self.outside.store(Change::Muted { participant: whom, actor, source, muted }).await?;
        Ok(Done::Confirmed)
    }

    /// What HTTP or the clock does at the door, for an actor who may. `None` when the person is not connected: the Room has nothing to do.
    pub(crate) async fn handle_door(
        &mut self,
        now: Moment,
        actor: Actor,
        whom: ParticipantId,
        act: DoorAct,
    ) -> Option<Result<(), Fault>> {
        self.now = now;
        self.roster.find(whom)?;
        let host = self.find_host();
        let done = match act {
            DoorAct::Admit => self.admit_as(actor, host, whom, None).await,
            DoorAct::Deny => self.deny_as(actor, whom).await,
            DoorAct::SendBack => self.send_back_as(actor, whom).await,
            DoorAct::Leave => self.dismiss(actor, whom, false).await,
            DoorAct::TimeOut => self.dismiss(actor, whom, true).await,
        };
        self.publish();
        Some(done.map(drop))
    }

    /// Ends the wait of somebody, by their own wish or by the clock; the books first.
    async fn dismiss(&mut self, actor: Actor, whom: ParticipantId, is_timed_out: bool) -> Result<Done, Fault> {
        let peer = self.waiting_seat(whom)?.media.as_ref().map(|m| m.peer);
        let others = self.roster.iter().filter(|seat| seat.person.participant != whom);
        let is_queue_over = others.into_iter().all(|s| s.is_admitted() && !s.person.is_clinician());
        let change = if is_timed_out {
            Change::TimedOut { participant: whom, actor, is_queue_over }
        } else {
            Change::Left { participant: whom, actor, was_admitted: false, is_queue_over }
        };
        self.outside.store(change).await?;
        if let Some(peer) = peer {
            self.try_command(Command::Remove { room: self.facts.room, peer }).await;
        }
        self.drop_seat(whom, if is_timed_out { EndReason::TimedOut } else { EndReason::Left });
        if self.roster.is_empty() {
            self.empty_since.get_or_insert(self.now.steady);
        }
        Ok(Done::Confirmed)
    }

    /// A clinician who is inside.
    fn find_host(&self) -> Option<ParticipantId> {
        self.roster.iter().find(|seat| seat.is_host()).map(|seat| seat.person.participant)
    }

    /// Lets the scheduled patient in as soon as a clinician is inside, where the practice wants that. Everybody else waits for a word.
    pub(super) async fn admit_by_itself(&mut self) {
        if !self.facts.auto_admits {
            return;
        }
        let Some(host) = self.find_host() else { return };
        let is_patient = |seat: &&Seat| !seat.is_admitted() && seat.person.role == RoleView::Patient;
        let patients: Vec<_> = self.roster.iter().filter(is_patient).map(|seat| seat.person.participant).collect();
        for whom in patients {
            let Some(actor) = self.actor_of(host) else { return };
            if let Err(fault) = self.admit_as(actor, Some(host), whom, None).await {
                tracing::debug!(room = ?self.facts.room, code = ?fault.code, "the patient was not let in by itself");
            }
        }
    }

    fn waiting_seat(&self, whom: ParticipantId) -> Result<&Seat, Fault> {
        let not_waiting = Code::NotWaiting.with("This person is not in the waiting room.");
        self.roster.find(whom).filter(|s| !s.is_admitted()).ok_or(not_waiting)
    }

    /// Somebody inside whom the clinician may send away: not another clinician, not oneself.
    fn guest_seat(&self, by: Option<ParticipantId>, whom: ParticipantId) -> Result<&Seat, Fault> {
        let seat = self.seat(whom)?;
        if !seat.is_admitted() {
            return Err(Code::NotFound.with("This person is not inside."));
        }
        if by == Some(whom) || seat.person.is_clinician() {
            return Err(Code::Forbidden.with("A clinician cannot be sent away."));
        }
        Ok(seat)
    }

    fn drop_seat(&mut self, whom: ParticipantId, reason: EndReason) {
        let now = self.now;
        if let Some(mut seat) = self.roster.remove(whom) {
            seat.end(now, reason, close::NORMAL);
        }
    }

    /// Shows the consent sheet to somebody who waits while a capture runs.
    async fn ask_late_arrival(&mut self, by: ParticipantId, whom: ParticipantId) -> Result<(), Fault> {
        if self.asked.is_none() {
            self.load_text(by).await?;
        }
        let now = self.now;
        if let (Some((text, by)), Some(seat)) = (self.asked.clone(), self.roster.find_mut(whom)) {
            seat.send(now, &to_consent_request(&text, &by));
        }
        Ok(())
    }

    /// Whose act it is when nobody inside asked for it.
    pub(super) fn actor_of(&self, who: ParticipantId) -> Option<Actor> {
        self.roster.find(who).map(|s| s.person.actor.clone())
    }
}
