//! A Room's whole behaviour, without sockets, clocks or a database of its own: these are arguments, so tests replay it.

mod capture;
mod door;
mod media;
mod notes;
mod outside;
mod relay;
#[cfg(test)]
mod tests;
mod told_outside;
mod translated;

use std::time::Duration;

use time::OffsetDateTime;
use wire::control::{Command, Door, Reason, Refusal, Source};
use wire::{ParticipantId, Redacted, RoomId};

use crate::auth::Actor;
use crate::consent::{ConsentStatus, ConsentText};
use crate::live::board::Board;
use crate::live::face::{Face, Gallery, Side};
use crate::live::notable::{Noted, What};
use crate::live::roster::{Line, Moment, Outgoing, Person, Roster, Seat, SocketId};
use crate::live::streams::{Numbers, Streams};
use crate::metrics::Waiting;
use crate::problem::Code;
use crate::quality::Sample;
use crate::ws::message::{ClientMessage, DoorView, EndReason, RequestId, Resume, ServerMessage, VisitCard, You};

pub(crate) use capture::{Capture, StopReason};
pub(crate) use outside::{Change, Outside, Stored};

/// How long a seat is kept for somebody whose socket broke.
pub(crate) const SEAT_KEPT: Duration = Duration::from_secs(60);

/// The same for a client of a translated face, which comes back with everything anew. It waits up to five seconds between its attempts, so
/// that an outage of five can well become ten.
pub(crate) const TRANSLATED_SEAT_KEPT: Duration = Duration::from_secs(20);

/// How long an empty Room stays open.
pub(crate) const EMPTY_KEPT: Duration = Duration::from_secs(30);

/// The most seats of a visit, waiting ones included: more than any visit has people, and so few that strangers with links of their own
/// cannot make it costly.
pub(crate) const VISIT_SEATS: usize = 32;

/// The same of a meeting without a waiting room: what the API allows. Shares, and who comes back by another connection, have room beside
/// it at the sfu.
const MEETING_SEATS: usize = 250;

/// Close codes of docs/protocol.md, section 4.3.
pub(crate) mod close {
    /// After `ended` or `leave`.
    pub(crate) const NORMAL: u16 = 1000;
    /// A message that cannot be read.
    pub(crate) const MALFORMED: u16 = 4400;
    /// No valid session.
    pub(crate) const UNAUTHENTICATED: u16 = 4401;
    /// No `hello` in time, or silence.
    pub(crate) const SILENT: u16 = 4408;
    /// Taken over elsewhere.
    pub(crate) const SUPERSEDED: u16 = 4409;
    /// The frame is too large.
    pub(crate) const TOO_LARGE: u16 = 4413;
    /// Too many messages.
    pub(crate) const TOO_MANY: u16 = 4429;
    /// The room failed: come back.
    pub(crate) const FAILED: u16 = 4500;
    /// Nothing new begins here: come back a little later.
    pub(crate) const DRAINING: u16 = 4503;
}

/// Why something asked of a Room was not done; becomes an `error` message or a problem.
pub(crate) use crate::problem::Problem as Fault;

/// What a Room knows of its Visit from the start.
#[derive(Clone, Debug)]
pub(crate) struct RoomFacts {
    pub(crate) room: RoomId,
    pub(crate) card: VisitCard,
    pub(crate) may_record: bool,
    /// Nobody waits: whoever has a credential is inside.
    pub(crate) is_door_open: bool,
    /// The scheduled patient is let in as soon as a clinician is inside.
    pub(crate) auto_admits: bool,
    /// Nobody is captured who has not agreed. Otherwise the application that lets people in answers for that.
    pub(crate) needs_consent: bool,
}

/// A socket that said hello.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) person: Person,
    pub(crate) line: Line,
    pub(crate) resume: Option<Resume>,
    /// Random; given to the client unless it resumes.
    pub(crate) token: Redacted<String>,
    /// How its client speaks.
    pub(crate) face: Face,
}

/// The live meeting of one Visit. One task owns it and hands it one thing at a time.
#[derive(Debug)]
pub(crate) struct RoomState<O> {
    outside: O,
    facts: RoomFacts,
    now: Moment,
    roster: Roster,
    capture: Capture,
    /// Asked for in this Room: the text and the name of who asked.
    asked: Option<(ConsentText, Redacted<String>)>,
    is_open: bool,
    is_over: bool,
    empty_since: Option<Duration>,
    /// The process stops at this time.
    draining: Option<OffsetDateTime>,
    numbers: Numbers,
    streams: Streams,
    board: Board,
    told: translated::Told,
    journaled: notes::Journaled,
    /// Numbers of connections that ended without a goodbye since the last time people were told.
    dropped: Vec<u32>,
    /// What was told outside.
    noted: Noted,
    /// How long the connections took that came up since this was last asked for.
    joins: Vec<Duration>,
}

impl<O: Outside> RoomState<O> {
    /// A Room that nobody has entered.
    pub(crate) fn new(facts: RoomFacts, outside: O, now: Moment) -> Self {
        Self {
            outside,
            facts,
            now,
            roster: Roster::default(),
            capture: Capture::Off,
            asked: None,
            is_open: false,
            is_over: false,
            empty_since: Some(now.steady),
            draining: None,
            numbers: Numbers::default(),
            streams: Streams::default(),
            board: Board::default(),
            told: translated::Told::default(),
            journaled: notes::Journaled::default(),
            dropped: Vec::new(),
            noted: Noted::default(),
            joins: Vec::new(),
        }
    }

    /// True when the task should end.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// True while somebody, waiting or inside, has a connection for sound.
    pub(crate) fn is_attended(&self) -> bool {
        self.roster.iter().any(|seat| seat.peer().is_some())
    }

    /// Who waits at the door.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        self.roster.waiting()
    }

    /// How long the media connections took that came up since the last call.
    pub(crate) fn take_joins(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.joins)
    }

    /// When `handle_time` must run next, on the steady clock.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let seats = self.roster.iter().filter_map(Seat::kept_until);
        let shares = self.roster.iter().filter_map(Seat::share_kept_until);
        seats.chain(shares).chain(self.empty_since.map(|at| at + self.empty_kept())).min()
    }

    /// A process that is about to stop does not wait for people to come back to an empty Room: another one takes them.
    const fn empty_kept(&self) -> Duration {
        if self.draining.is_some() { Duration::ZERO } else { EMPTY_KEPT }
    }

    /// A socket said hello. `Err` means that it gets no seat.
    pub(crate) async fn handle_join(&mut self, now: Moment, joining: Joining) -> Result<(), Fault> {
        self.now = now;
        if !self.is_open {
            let opened = self.outside.command(Command::OpenRoom { room: self.facts.room }).await;
            opened.map_err(|refusal| self.to_fault(&refusal))?;
            self.is_open = true;
        }
        let who = joining.person.participant;
        let Joining { face, .. } = &joining;
        match face {
            Face::Share(newcomer) => {
                let newcomer = newcomer.clone();
                self.join_share(who, newcomer, joining.line).await?;
            }
            Face::Native | Face::Translated(_) => {
                let news = match face {
                    Face::Translated(newcomer) => {
                        self.bring_rights(who, newcomer.rights).await?;
                        self.is_new_client(who, newcomer.client).then(|| newcomer.alias.id.clone())
                    }
                    Face::Native | Face::Share(_) => None,
                };
                if self.roster.find(who).is_some() {
                    self.take_over(joining).await;
                } else {
                    self.take_seat(joining).await?;
                    self.admit_by_itself().await;
                }
                if let Some(id) = news {
                    self.tell_one(id, What::Authorized);
                }
            }
        }
        self.empty_since = None;
        self.publish();
        Ok(())
    }

    /// A message came from a socket. One that lost its seat is not heard.
    pub(crate) async fn handle_message(&mut self, now: Moment, socket: SocketId, message: ClientMessage) {
        self.now = now;
        let Some(who) = self.roster.find_socket(socket) else { return };
        let id = message.id().cloned();
        match self.dispatch(who, message).await {
            Ok(Done::Quiet) => {}
            Ok(Done::Confirmed) => self.send(who, &ServerMessage::Ok { id }),
            Err(fault) => {
                tracing::debug!(room = ?self.facts.room, participant = ?who, code = ?fault.code, "a message was refused");
                self.send(who, &to_error(id, fault));
            }
        }
        self.publish();
    }

    /// A socket's message could not be taken; the socket closes, the seat is kept.
    pub(crate) fn handle_unreadable(&mut self, now: Moment, socket: SocketId, code: Code, close_code: u16) {
        self.now = now;
        let Some(who) = self.roster.find_socket(socket) else { return };
        if let Some(seat) = self.roster.find_mut(who) {
            seat.send(now, &to_error(None, code.problem()));
            seat.put(now, Outgoing::Close(close_code));
            seat.let_go(now);
        }
        self.publish();
    }

    /// A socket broke without `leave`: its seat is kept.
    pub(crate) fn handle_gone(&mut self, now: Moment, socket: SocketId) {
        self.now = now;
        let Some((who, side)) = self.roster.find_side(socket) else { return };
        if let Some(seat) = self.roster.find_mut(who) {
            match (side, seat.face.as_mut().and_then(|face| face.share.as_mut())) {
                (Side::Share, Some(share)) => {
                    share.line = None;
                    share.away_since = Some(now.steady);
                }
                _ => seat.let_go(now),
            }
        }
        self.publish();
    }

    /// Time passed: seats kept long enough are given up, and so is an empty Room.
    pub(crate) async fn handle_time(&mut self, now: Moment) {
        self.now = now;
        let is_due = |at: Option<Duration>| at.is_some_and(|at| now.steady >= at);
        let due = |until: fn(&Seat) -> Option<Duration>| {
            let seats = self.roster.iter().filter(|seat| is_due(until(seat)));
            seats.map(|seat| seat.person.participant).collect::<Vec<_>>()
        };
        let (gone, unshared) = (due(Seat::kept_until), due(Seat::share_kept_until));
        for who in unshared {
            self.dropped.extend(self.roster.find(who).and_then(Seat::share_number));
            self.drop_share(who, None).await;
        }
        for who in gone {
            if let Some(seat) = self.roster.find(who) {
                self.dropped.extend([Some(seat.number), seat.share_number()].into_iter().flatten());
            }
            self.give_up_seat(who).await;
        }
        if is_due(self.empty_since.map(|at| at + self.empty_kept())) {
            self.close().await;
        }
        self.publish();
    }

    /// The visit is over: capture first, then the people, then the Room.
    pub(crate) async fn handle_end(&mut self, now: Moment, actor: Option<Actor>) {
        self.now = now;
        if let Err(fault) = self.stop_capture(actor, StopReason::VisitEnded).await {
            tracing::debug!(code = ?fault.code, "nothing to stop at the end of the visit");
        }
        for seat in self.roster.iter_mut() {
            seat.end(now, EndReason::Completed, close::NORMAL);
        }
        let everyone: Vec<_> = self.roster.iter().map(|s| s.person.participant).collect();
        self.close().await;
        for who in everyone {
            self.give_up_seat(who).await;
        }
        self.tell_outside(&[], &Gallery::default());
    }

    /// A credential was revoked elsewhere: its holder goes.
    pub(crate) async fn handle_revoked(&mut self, now: Moment, who: ParticipantId) {
        self.now = now;
        if let Some(seat) = self.roster.find_mut(who) {
            seat.end(now, EndReason::Revoked, close::NORMAL);
            self.give_up_seat(who).await;
        }
        self.publish();
    }

    /// Somebody's link was redeemed anew: the socket of the old session goes, the seat is kept for the new one.
    pub(crate) fn handle_superseded(&mut self, now: Moment, who: ParticipantId) {
        self.now = now;
        if let Some(seat) = self.roster.find_mut(who).filter(|seat| seat.line.is_some()) {
            seat.end(now, EndReason::Superseded, close::SUPERSEDED);
        }
        self.publish();
    }

    /// The process is about to stop: people are told until when they can go on here.
    pub(crate) async fn handle_draining(&mut self, now: Moment, deadline: OffsetDateTime) {
        self.now = now;
        self.draining = Some(deadline);
        for seat in self.roster.iter_mut() {
            seat.send(now, &ServerMessage::Draining { deadline });
        }
        if self.roster.is_empty() {
            self.close().await;
        }
    }

    /// The process stops: capture ends in order, and people come back to whoever takes over.
    pub(crate) async fn handle_drain(&mut self, now: Moment) {
        self.now = now;
        self.stop_if_running(StopReason::ServerStopping).await;
        for seat in self.roster.iter_mut() {
            seat.end(now, EndReason::Failed, close::FAILED);
        }
        self.tell_all_dropped();
        self.close().await;
    }

    /// The media node lost this Room: its people come back to a new one.
    pub(crate) async fn handle_failure(&mut self, now: Moment) {
        self.now = now;
        self.is_over = true;
        for seat in self.roster.iter_mut() {
            seat.end(now, EndReason::Failed, close::FAILED);
        }
        self.tell_all_dropped();
        self.note_capture_ended(StopReason::RoomFailed).await;
    }

    async fn dispatch(&mut self, who: ParticipantId, message: ClientMessage) -> Result<Done, Fault> {
        match message {
            // The seat was taken with the first one.
            ClientMessage::Hello { .. } => Err(Code::Invalid.with("hello was said already")),
            ClientMessage::Offer { id, sdp } => self.offer(who, id, sdp).await,
            ClientMessage::DeviceCheck { camera, microphone } => self.check_devices(who, camera, microphone).await,
            ClientMessage::Admit { participant_id, override_reason, .. } => {
                self.admit(who, participant_id, override_reason).await
            }
            ClientMessage::Deny { participant_id, .. } => self.deny(who, participant_id).await,
            ClientMessage::SendBack { participant_id, .. } => self.send_back(who, participant_id).await,
            ClientMessage::Remove { participant_id, .. } => self.remove(who, participant_id).await,
            ClientMessage::State { microphone, camera, camera_held } => {
                if let Some(seat) = self.roster.find_mut(who) {
                    (seat.microphone, seat.camera, seat.camera_held) = (microphone, camera, camera_held);
                }
                Ok(Done::Quiet)
            }
            ClientMessage::Mute { participant_id, source, muted, .. } => {
                self.mute(who, participant_id, source, muted).await
            }
            ClientMessage::View { mid, view } => self.view(who, mid, view).await,
            ClientMessage::RequestConsent { .. } => self.request_consent(who).await,
            ClientMessage::Consent { version, decision, .. } => self.answer_consent(who, version, decision).await,
            ClientMessage::RecordingStart { .. } => {
                let actor = self.host(who)?;
                self.start_capture(actor, None).await.map(|_| Done::Confirmed)
            }
            ClientMessage::RecordingStop { .. } => {
                let seat = self.seat(who)?;
                if !seat.is_admitted() {
                    return Err(forbidden());
                }
                let actor = seat.person.actor.clone();
                self.stop_capture(Some(actor), StopReason::Asked).await.map(|_| Done::Confirmed)
            }
            ClientMessage::Stats { rtt_ms, frames_decoded, freezes, .. } => {
                if let Some(seat) = self.roster.find_mut(who) {
                    seat.rtt_ms = rtt_ms.map(whole_millis);
                    (seat.frames_decoded, seat.freezes) = (frames_decoded, freezes);
                }
                Ok(Done::Quiet)
            }
            ClientMessage::Leave {} => {
                let now = self.now;
                if let Some(seat) = self.roster.find_mut(who) {
                    seat.put(now, Outgoing::Close(close::NORMAL));
                    seat.let_go(now);
                }
                self.give_up_seat(who).await;
                Ok(Done::Quiet)
            }
            ClientMessage::Ping { id } => {
                let server_time = self.now.wall;
                self.send(who, &ServerMessage::Pong { id, server_time });
                self.renew_relay(who);
                Ok(Done::Quiet)
            }
        }
    }

    /// Somebody who has a seat comes in by another socket: after a break, or elsewhere.
    async fn take_over(&mut self, joining: Joining) {
        let now = self.now;
        let who = joining.person.participant;
        let Some(seat) = self.roster.find_mut(who) else { return };
        let newcomer = match &joining.face {
            Face::Translated(newcomer) => Some(newcomer.clone()),
            Face::Native | Face::Share(_) => None,
        };
        if seat.face.is_some() || newcomer.is_some() {
            let of = |client: u64| seat.face.as_ref().is_some_and(|face| face.client == client);
            let is_same = newcomer.as_ref().is_some_and(|newcomer| of(newcomer.client));
            if is_same {
                // The same page on a new socket: nobody needs to hear of it, and what it shares goes on.
                seat.put(now, Outgoing::Close(close::SUPERSEDED));
            } else {
                if seat.line.is_some() {
                    seat.end(now, EndReason::Superseded, close::SUPERSEDED);
                }
                self.drop_share(who, Some(EndReason::Superseded)).await;
            }
            self.set_face(who, newcomer);
            let Some(seat) = self.roster.find_mut(who) else { return };
            seat.begin_anew(joining.person, joining.token, joining.line);
            self.welcome(who);
            return;
        }
        let missed = joining.resume.as_ref().and_then(|resume| {
            let is_own = is_same_secret(resume.token.reveal(), seat.resume_token.reveal());
            let texts = seat.sent.find_after(resume.seq).filter(|_| is_own)?;
            Some(texts.cloned().collect::<Vec<_>>())
        });
        if let Some(missed) = missed {
            // The same client on a new socket: the old one, if it still lives, is only closed.
            seat.put(now, Outgoing::Close(close::SUPERSEDED));
            seat.attach(joining.line);
            for text in missed {
                seat.put(now, Outgoing::Text(text));
            }
            self.tell_relay(who);
            return;
        }
        if seat.line.is_some() {
            seat.end(now, EndReason::Superseded, close::SUPERSEDED);
        }
        seat.begin_anew(joining.person, joining.token, joining.line);
        self.welcome(who);
        // Only a client that was here before still has the connection that these m-lines belong to.
        if joining.resume.is_some() {
            self.tell_media(who);
        }
    }

    async fn take_seat(&mut self, joining: Joining) -> Result<(), Fault> {
        let most = if self.facts.is_door_open { MEETING_SEATS } else { VISIT_SEATS };
        if self.roster.len() >= most {
            return Err(translated::full());
        }
        let Joining { person, line, token, face, .. } = joining;
        let (who, actor) = (person.participant, person.actor.clone());
        let (door, change) = if person.is_clinician() || self.facts.is_door_open {
            let is_queue_empty = self.roster.iter().all(Seat::is_admitted);
            (Door::Admitted, Change::Joined { participant: who, actor, is_queue_empty })
        } else {
            (Door::Waiting, Change::Entered { participant: who, actor, is_sent_back: false })
        };
        let Stored::In { since, consent } = self.outside.store(change).await? else {
            return Err(Code::Unavailable.problem());
        };
        if door == Door::Admitted && !self.is_agreed(consent) {
            // Whoever has not agreed may not be captured, not even for the moment until the sfu would notice.
            self.stop_if_running(StopReason::ConsentLost).await;
        }
        let mut seat = Seat::new(person, line, token, door, since);
        seat.consent = consent;
        self.roster.insert(seat);
        match face {
            Face::Translated(newcomer) => self.set_face(who, Some(newcomer)),
            Face::Native | Face::Share(_) => self.set_face(who, None),
        }
        self.welcome(who);
        Ok(())
    }

    fn welcome(&mut self, who: ParticipantId) {
        let now = self.now;
        let visit = self.facts.card.clone();
        let is_capturing = self.capture.is_running();
        let asked = self.asked.clone();
        let ice_servers = self.ice_servers(who);
        let Some(seat) = self.roster.find_mut(who) else { return };
        let you = You {
            participant_id: who,
            role: seat.person.role,
            name: seat.person.name.clone(),
            door: if seat.is_admitted() { DoorView::Admitted } else { DoorView::Waiting },
        };
        let resume_token = seat.resume_token.clone();
        seat.send(now, &ServerMessage::Welcome { you, visit, resume_token, server_time: now.wall, ice_servers });
        if let Some(deadline) = self.draining {
            seat.send(now, &ServerMessage::Draining { deadline });
        }
        // Whoever comes while people are asked, or while a capture runs, is asked too, before admission.
        if let Some((text, by)) = asked.filter(|_| seat.consent == ConsentStatus::Pending)
            && (is_capturing || seat.is_admitted())
        {
            seat.send(now, &to_consent_request(&text, &by));
        }
    }

    /// Ends a seat for good: at the sfu, then in the books.
    async fn give_up_seat(&mut self, who: ParticipantId) {
        let Some(mut seat) = self.roster.remove(who) else { return };
        if let Some(measured) = seat.gather.finish() {
            self.outside.note(Sample { participant: who, at: self.now.wall, measured });
        }
        if let Some(share) = seat.face.as_mut().and_then(|face| face.share.take()) {
            self.end_share(share, None).await;
        }
        for source in [Source::Camera, Source::Screen] {
            self.streams.forget(who, source);
        }
        // A closed Room has no Peers any more.
        if let Some(media) = seat.media.as_ref().filter(|_| !self.is_over) {
            self.try_command(Command::Remove { room: self.facts.room, peer: media.peer }).await;
        }
        let was_admitted = seat.is_admitted();
        let is_queue_over = self.roster.iter().all(|s| s.is_admitted() && !s.person.is_clinician());
        let left = Change::Left { participant: who, actor: seat.person.actor, was_admitted, is_queue_over };
        if let Err(fault) = self.outside.store(left).await {
            tracing::warn!(room = ?self.facts.room, code = ?fault.code, "a leave was not written");
        }
        if !self.roster.iter().any(Seat::is_admitted) {
            self.stop_if_running(StopReason::RoomEmpty).await;
        }
        if self.roster.is_empty() {
            self.empty_since.get_or_insert(self.now.steady);
        }
    }

    async fn close(&mut self) {
        self.is_over = true;
        self.stop_if_running(StopReason::RoomEmpty).await;
        if self.is_open {
            self.try_command(Command::CloseRoom { room: self.facts.room }).await;
        }
    }

    fn publish(&mut self) {
        let sign = self.capture.to_message();
        self.roster.publish(self.now, &sign);
        self.tell_translated();
        self.note_changes();
    }

    fn send(&mut self, who: ParticipantId, message: &ServerMessage) {
        let now = self.now;
        if let Some(seat) = self.roster.find_mut(who) {
            seat.send(now, message);
        }
    }

    fn seat(&self, who: ParticipantId) -> Result<&Seat, Fault> {
        self.roster.find(who).ok_or(Code::NotFound.with("This person is not here."))
    }

    /// The actor of a clinician inside; anybody else may not.
    fn host(&self, who: ParticipantId) -> Result<Actor, Fault> {
        let seat = self.seat(who)?;
        if seat.is_host() { Ok(seat.person.actor.clone()) } else { Err(forbidden()) }
    }

    /// Asks the sfu for something about a Peer. One that is gone already needs nothing more.
    async fn ask(&self, command: Command) -> Result<(), Fault> {
        match self.outside.command(command).await {
            Err(refusal) if refusal.reason != Reason::UnknownPeer => Err(self.to_fault(&refusal)),
            _ => Ok(()),
        }
    }

    /// Asks the sfu for something whose refusal changes nothing here.
    async fn try_command(&self, command: Command) {
        if let Err(refusal) = self.outside.command(command).await {
            tracing::warn!(room = ?self.facts.room, reason = ?refusal.reason, "the media node refused");
        }
    }

    fn to_fault(&self, refusal: &Refusal) -> Fault {
        tracing::warn!(room = ?self.facts.room, reason = ?refusal.reason, detail = refusal.detail, "the media node refused");
        match refusal.reason {
            Reason::BadOffer => Code::Invalid.with("sdp: this offer cannot be used"),
            Reason::Capacity => Code::Unavailable.with("There is no room for another connection just now."),
            Reason::ConsentMissing => Code::ConsentRequired.with("Somebody has not agreed to being recorded."),
            Reason::TapBusy => Code::AlreadyRecording.with("This visit is being recorded already."),
            Reason::UnknownRoom | Reason::UnknownPeer | Reason::Door | Reason::Unavailable => {
                Code::Unavailable.problem()
            }
        }
    }
}

/// How a message was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// With `ok`.
    Confirmed,
    /// With a message of its own, or not at all.
    Quiet,
}

fn forbidden() -> Fault {
    Code::Forbidden.with("Only the clinician can do this.")
}

fn to_error(id: Option<RequestId>, fault: Fault) -> ServerMessage {
    let members = fault.members.into_iter().collect();
    ServerMessage::Error { id, code: fault.code.as_str(), detail: fault.detail.into_owned(), members }
}

fn to_consent_request(text: &ConsentText, by: &Redacted<String>) -> ServerMessage {
    ServerMessage::ConsentRequest {
        version: text.version,
        locale: text.locale.clone(),
        body: text.body.clone(),
        requested_by: by.clone(),
    }
}

/// Compares two secrets without telling by its duration where they differ.
fn is_same_secret(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

/// Milliseconds as a client measured them; bounded by the parser.
fn whole_millis(value: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the parser keeps it within 0 to 1e6")]
    let whole = value.round() as u32;
    whole
}
