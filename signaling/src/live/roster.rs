//! Who is here: one Seat per Participant, kept through short breaks of the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::mpsc::{self, error::TrySendError};
use wire::control::{Door, Encoding, SlotTrack, Source};
use wire::{ParticipantId, PeerId, Redacted};

use crate::auth::Actor;
use crate::consent::ConsentStatus;
use crate::live::codecs::Codecs;
use crate::live::face::{Notice, Share, Side, Translated};
use crate::live::room::{SEAT_KEPT, TRANSLATED_SEAT_KEPT};
use crate::metrics::Waiting;
use crate::quality::Gather;
use crate::ws::message::{EndReason, RoleView, RosterEntry, ServerMessage, WaitingEntry};
use crate::ws::resume::ResumeBuffer;

/// An instant as a Room sees it: the wall clock for what people read, a steady clock for deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Shown and stored.
    pub(crate) wall: OffsetDateTime,
    /// Since some fixed start; never goes back.
    pub(crate) steady: Duration,
}

/// One WebSocket of a Participant. Numbers are never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId(pub(crate) u64);

/// What a Room hands to a socket.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing {
    /// A text frame, to a native client.
    Text(String),
    /// Something to be translated, to a client of another face.
    Notice(Box<Notice>),
    /// The end, with its close code.
    Close(u16),
}

/// The way to one socket.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Which socket.
    pub(crate) socket: SocketId,
    /// Its queue. When full the socket is let go: its client comes back and resumes from the kept messages.
    pub(crate) out: mpsc::Sender<Outgoing>,
}

/// Somebody with a credential for this visit. All of it comes from the credential and the database, none from a message.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// Who.
    pub(crate) participant: ParticipantId,
    /// As what.
    pub(crate) role: RoleView,
    /// Display name.
    pub(crate) name: Redacted<String>,
    /// Whom the audit names.
    pub(crate) actor: Actor,
}

impl Person {
    /// Clinicians decide at the door and are never asked to wait.
    pub(crate) const fn is_clinician(&self) -> bool {
        matches!(self.role, RoleView::Clinician)
    }
}

/// One media connection, as far as the Room knows it.
#[derive(Debug)]
pub(crate) struct Media {
    /// At the sfu.
    pub(crate) peer: PeerId,
    /// When its offer came, until it is up: what a join takes.
    pub(crate) offered: Option<Duration>,
    /// Of the offer: another one means another `RTCPeerConnection`.
    pub(crate) mark: String,
    /// Whose offers it is made of, where that can be another than who holds the seat: a client of a translated face makes a new one
    /// after each break.
    pub(crate) socket: Option<SocketId>,
    /// The sfu gave it up.
    pub(crate) is_lost: bool,
    /// What its client decodes, as its last offer says.
    pub(crate) codecs: Option<Codecs>,
    /// What each m-line carries.
    pub(crate) slots: BTreeMap<String, Option<SlotTrack>>,
    /// The m-lines whose picture is held back.
    pub(crate) paused: BTreeSet<String>,
    /// What the sfu wants encoded of each own source.
    pub(crate) encodings: BTreeMap<Source, Encoding>,
    /// What the own voice may cost: bits per second, and milliseconds in a packet.
    pub(crate) audio_budget: Option<(u32, u8)>,
}

impl Media {
    /// A connection whose offer was answered just now.
    pub(crate) const fn new(peer: PeerId, mark: String, offered: Duration) -> Self {
        Self {
            peer,
            offered: Some(offered),
            mark,
            socket: None,
            is_lost: false,
            codecs: None,
            slots: BTreeMap::new(),
            paused: BTreeSet::new(),
            encodings: BTreeMap::new(),
            audio_budget: None,
        }
    }

    /// The sfu gave it up: what it carried is gone, and what was wanted of it with that.
    pub(crate) fn lose(&mut self) {
        self.is_lost = true;
        self.slots.clear();
        self.paused.clear();
        self.encodings.clear();
        self.audio_budget = None;
    }
}

/// A Participant's place in the Room.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) person: Person,
    /// How a client of a translated face sees the Room; none for a native one.
    pub(crate) face: Option<Translated>,
    /// Of this connection; greater than that of any before it.
    pub(crate) number: u32,
    pub(crate) line: Option<Line>,
    /// Since when nobody is on the line.
    pub(crate) away_since: Option<Duration>,
    pub(crate) resume_token: Redacted<String>,
    pub(crate) sent: ResumeBuffer,
    pub(crate) door: Door,
    /// When the person entered the waiting room, or came in.
    pub(crate) since: OffsetDateTime,
    /// Camera and microphone, once checked.
    pub(crate) devices: Option<(bool, bool)>,
    /// Device checks written so far.
    pub(crate) checks: u32,
    pub(crate) microphone: bool,
    pub(crate) camera: bool,
    pub(crate) camera_held: bool,
    pub(crate) muted: BTreeSet<Source>,
    pub(crate) consent: ConsentStatus,
    /// The answer above is in the database too.
    pub(crate) is_consent_stored: bool,
    /// Answers written so far.
    pub(crate) answers: u32,
    pub(crate) media: Option<Media>,
    /// Everything must be told anew.
    pub(crate) is_fresh: bool,
    /// The place in the queue told last.
    pub(crate) position: usize,
    /// Round trip as the client measured it last, in milliseconds.
    pub(crate) rtt_ms: Option<u32>,
    /// Frames and freezes as the client counted them last.
    pub(crate) frames_decoded: Option<u64>,
    pub(crate) freezes: Option<u32>,
    /// When credentials for the relay were last told.
    pub(crate) relay_told: Option<Duration>,
    /// Measurements that become the next quality sample.
    pub(crate) gather: Gather,
}

impl Seat {
    /// A seat for somebody whose socket just said hello.
    pub(crate) fn new(person: Person, line: Line, token: Redacted<String>, door: Door, since: OffsetDateTime) -> Self {
        Self {
            person,
            face: None,
            number: 0,
            line: Some(line),
            away_since: None,
            resume_token: token,
            sent: ResumeBuffer::default(),
            door,
            since,
            devices: None,
            checks: 0,
            microphone: false,
            camera: false,
            camera_held: false,
            muted: BTreeSet::new(),
            consent: ConsentStatus::Pending,
            is_consent_stored: true,
            answers: 0,
            media: None,
            is_fresh: true,
            position: 0,
            rtt_ms: None,
            frames_decoded: None,
            freezes: None,
            relay_told: None,
            gather: Gather::default(),
        }
    }

    /// True inside the Room.
    pub(crate) fn is_admitted(&self) -> bool {
        self.door == Door::Admitted
    }

    /// True for a clinician who is inside, who alone decides for others.
    pub(crate) fn is_host(&self) -> bool {
        self.is_admitted() && self.person.is_clinician()
    }

    /// Until when the seat is kept for somebody who is away.
    pub(crate) fn kept_until(&self) -> Option<Duration> {
        let kept = if self.face.is_some() { TRANSLATED_SEAT_KEPT } else { SEAT_KEPT };
        self.away_since.map(|at| at + kept)
    }

    /// The same for what they share by a connection of its own.
    pub(crate) fn share_kept_until(&self) -> Option<Duration> {
        let share = self.face.as_ref().and_then(|face| face.share.as_ref())?;
        share.away_since.map(|at| at + TRANSLATED_SEAT_KEPT)
    }

    /// The number of what they share by a connection of its own.
    pub(crate) fn share_number(&self) -> Option<u32> {
        Some(self.face.as_ref()?.share.as_ref()?.number)
    }

    /// The Peer, while the sfu has it.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.media.as_ref().filter(|m| !m.is_lost).map(|m| m.peer)
    }

    /// Numbers a message, keeps it, and sends it if somebody is on the line. A translated client gets what it can make use of, and
    /// nothing is kept for it: it comes back with everything anew.
    pub(crate) fn send(&mut self, now: Moment, message: &ServerMessage) {
        if self.face.is_some() {
            if is_translated(message) {
                self.notify(now, Notice::Said(Box::new(message.clone())));
            }
            return;
        }
        if self.line.is_none() && message.is_replaceable() {
            return;
        }
        let text = self.sent.push(message);
        self.put(now, Outgoing::Text(text));
    }

    /// Tells a translated client something.
    pub(crate) fn notify(&mut self, now: Moment, notice: Notice) {
        self.put(now, Outgoing::Notice(Box::new(notice)));
    }

    /// Tells why it ends, and closes the line.
    pub(crate) fn end(&mut self, now: Moment, reason: EndReason, code: u16) {
        self.send(now, &ServerMessage::Ended { reason });
        self.put(now, Outgoing::Close(code));
        self.let_go(now);
    }

    /// Hands something to the socket. A socket that does not read is let go: the kept messages wait for its return. One that has
    /// ended keeps its line: its last words, a leave perhaps, may still be on their way to the Room.
    pub(crate) fn put(&mut self, now: Moment, outgoing: Outgoing) {
        match self.line.as_ref().map(|line| line.out.try_send(outgoing)) {
            Some(Err(TrySendError::Full(_))) => self.let_go(now),
            Some(Err(TrySendError::Closed(_))) => drop(self.away_since.get_or_insert(now.steady)),
            Some(Ok(())) | None => {}
        }
    }

    /// Nobody is on the line any more; the seat is kept for a while.
    pub(crate) fn let_go(&mut self, now: Moment) {
        self.line = None;
        self.away_since.get_or_insert(now.steady);
    }

    /// A socket takes the seat.
    pub(crate) fn attach(&mut self, line: Line) {
        self.line = Some(line);
        self.away_since = None;
    }

    /// A client that knows nothing yet takes the seat.
    pub(crate) fn begin_anew(&mut self, person: Person, token: Redacted<String>, line: Line) {
        (self.person, self.resume_token) = (person, token);
        self.sent.clear();
        self.attach(line);
        self.is_fresh = true;
    }

    fn to_roster_entry(&self) -> RosterEntry {
        RosterEntry {
            participant_id: self.person.participant,
            role: self.person.role,
            name: self.person.name.clone(),
            connected: self.line.is_some() && self.media.as_ref().is_none_or(|m| !m.is_lost),
            microphone: self.microphone,
            camera: self.camera,
            camera_held: self.camera_held,
            muted_by_clinician: self.muted.iter().copied().collect(),
            consent: self.consent,
        }
    }

    fn to_waiting_entry(&self) -> WaitingEntry {
        WaitingEntry {
            participant_id: self.person.participant,
            name: self.person.name.clone(),
            role: self.person.role,
            since: self.since,
            camera: self.devices.map(|(camera, _)| camera),
            microphone: self.devices.map(|(_, microphone)| microphone),
        }
    }
}

/// What a client of a translated face hears of what native ones are told.
const fn is_translated(message: &ServerMessage) -> bool {
    use ServerMessage as M;
    matches!(message, M::Quality { .. } | M::Paused { .. } | M::Error { .. } | M::Ended { .. })
}

/// All Seats of a Room.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    seats: BTreeMap<ParticipantId, Seat>,
    told_inside: Vec<RosterEntry>,
    told_waiting: Vec<WaitingEntry>,
}

impl Roster {
    pub(crate) fn find(&self, who: ParticipantId) -> Option<&Seat> {
        self.seats.get(&who)
    }

    pub(crate) fn find_mut(&mut self, who: ParticipantId) -> Option<&mut Seat> {
        self.seats.get_mut(&who)
    }

    pub(crate) fn insert(&mut self, seat: Seat) {
        self.seats.insert(seat.person.participant, seat);
    }

    pub(crate) fn remove(&mut self, who: ParticipantId) -> Option<Seat> {
        self.seats.remove(&who)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whose socket this is, as long as it holds the seat.
    pub(crate) fn find_socket(&self, socket: SocketId) -> Option<ParticipantId> {
        self.iter().find(|s| s.line.as_ref().is_some_and(|l| l.socket == socket)).map(|s| s.person.participant)
    }

    /// Whose socket this is, and of which of their connections, as long as it holds that place.
    pub(crate) fn find_side(&self, socket: SocketId) -> Option<(ParticipantId, Side)> {
        let is_it = |line: &Option<Line>| line.as_ref().is_some_and(|line| line.socket == socket);
        self.iter().find_map(|seat| {
            let share = seat.face.as_ref().and_then(|face| face.share.as_ref());
            let side = match share {
                _ if is_it(&seat.line) => Side::Main,
                Some(share) if is_it(&share.line) => Side::Share,
                _ => return None,
            };
            Some((seat.person.participant, side))
        })
    }

    /// Whose Peer this is, as long as it is the newest of its Seat.
    pub(crate) fn find_peer(&mut self, peer: PeerId) -> Option<&mut Seat> {
        self.iter_mut().find(|s| s.media.as_ref().is_some_and(|m| m.peer == peer))
    }

    /// Who shares something by this Peer.
    pub(crate) fn find_share(&mut self, peer: PeerId) -> Option<(ParticipantId, &mut Share)> {
        let shares = self.iter_mut().filter_map(|seat| {
            let who = seat.person.participant;
            Some((who, seat.face.as_mut()?.share.as_mut()?))
        });
        shares.into_iter().find(|(_, share)| share.media.as_ref().is_some_and(|media| media.peer == peer))
    }

    /// Who is on the line and waits.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let waiting = || self.iter().filter(|seat| !seat.is_admitted() && seat.line.is_some());
        Some(Waiting { people: waiting().count(), oldest: waiting().map(|seat| seat.since).min()? })
    }

    /// Sends to everyone inside.
    pub(crate) fn tell_inside(&mut self, now: Moment, message: &ServerMessage) {
        for seat in self.iter_mut().filter(|s| s.is_admitted()) {
            seat.send(now, message);
        }
    }

    /// Tells everyone what changed for them since the last time: roster, waiting list, place in the queue.
    pub(crate) fn publish(&mut self, now: Moment, sign: &ServerMessage) {
        let inside: Vec<_> = self.iter().filter(|s| s.is_admitted()).map(Seat::to_roster_entry).collect();
        let mut waiting: Vec<_> = self.iter().filter(|s| !s.is_admitted()).map(Seat::to_waiting_entry).collect();
        waiting.sort_by_key(|entry| (entry.since, entry.participant_id));
        let is_inside_new = inside != self.told_inside;
        let is_waiting_new = waiting != self.told_waiting;
        let roster = ServerMessage::Roster { participants: inside.clone() };
        let list = ServerMessage::WaitingList { entries: waiting.clone(), server_time: now.wall };
        for seat in self.seats.values_mut() {
            let is_fresh = std::mem::take(&mut seat.is_fresh);
            if !seat.is_admitted() {
                let place = waiting.iter().position(|e| e.participant_id == seat.person.participant);
                let position = place.map_or(0, |p| p + 1);
                if is_fresh || position != seat.position {
                    seat.position = position;
                    let since = seat.since;
                    seat.send(now, &ServerMessage::Waiting { since, position, server_time: now.wall });
                }
                continue;
            }
            if is_fresh || is_inside_new {
                seat.send(now, &roster);
            }
            if seat.is_host() && (is_fresh || is_waiting_new) {
                seat.send(now, &list);
            }
            if is_fresh {
                seat.send(now, sign);
            }
        }
        self.told_inside = inside;
        self.told_waiting = waiting;
    }
}
