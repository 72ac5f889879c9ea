//! Who is present, what is published, who receives what. Everything of one Room happens here, and nowhere else.

mod command;
mod control;
mod divide;
mod flow;
mod hearing;
mod mixing;
mod publish;

use bandwidth::CarriedOver;
use rustc_hash::FxHashMap;
use slab::Slab;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use wire::control::{Door, Event, Manner, Source, TapEnd};
use wire::{ParticipantId, PeerId, RoomId, TrackId};

use crate::context::{Context, PeerKey};
use crate::door::{self, Consents, Granted};
use crate::peer::{Peer, Wanted};
use crate::rtp::feedback;
use crate::speaker::Speaker;
use crate::subscription::Slot;
use crate::tap::Tap;
use crate::track::Track;
use crate::transport::{Path, StunVerdict, TransportEvent};
use mixing::Mixing;
use publish::Told;

/// How often the loudest voice is looked for.
const SPEAKER_INTERVAL: Duration = Duration::from_millis(200);
/// A Room in which nothing came for so long has nothing in flight: no repair, no handshake, no pacing.
const QUIET: Duration = Duration::from_secs(2);
/// Time between the ticks of a Room in which media flows and nothing is out of the way. Feedback is due so often.
const BEAT: Duration = feedback::INTERVAL;
/// Time between the ticks of a quiet Room. Consent, reports and bars, which are left then, are seconds apart.
const QUIET_TICK: Duration = Duration::from_millis(100);

/// People who left that are remembered.
const LEAVERS: usize = 32;
/// How long what a way carried is worth something.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Somebody whose connection ended.
#[derive(Clone, Copy, Debug)]
struct Leaver {
    participant: ParticipantId,
    address: IpAddr,
    left: Instant,
    carried: CarriedOver,
}

/// What the way of this person at this address carried lately: of the connection that is replaced, or of the one before.
fn find_leaver(leavers: &[Leaver], peer: &Peer, now: Instant) -> Option<CarriedOver> {
    let address = peer.transport.path()?.remote.ip();
    let is_recent = |leaver: &&Leaver| now.saturating_duration_since(leaver.left) < REMEMBERED;
    let mut known = leavers.iter().filter(is_recent);
    known
        .find(|leaver| leaver.participant == peer.participant && leaver.address == address)
        .map(|leaver| leaver.carried)
}

/// What a Peer sends may go to others at all: it stands inside, and no older Peer of the same Participant sends still.
const fn may_give(peer: &Peer) -> bool {
    door::may_forward(peer.door, Door::Admitted) && !peer.is_successor
}

/// Whether somebody may be given what such a source of somebody else gives: by both doors and by the rights of both. Nobody gets
/// their own, and a connection that only shares gets nothing.
fn may_receive(receiver: &Peer, publisher: &Peer, source: Source) -> bool {
    may_give(publisher) && door::may_send(publisher.rights, source) && may_have(receiver, publisher.participant, source)
}

/// The receiver's half of [`may_receive`].
fn may_have(receiver: &Peer, from: ParticipantId, source: Source) -> bool {
    receiver.participant != from
        && receiver.manner != Manner::ChimeShare
        && door::may_forward(Door::Admitted, receiver.door)
        && door::may_be_sent(receiver.rights, source)
}

/// What may go to others at a moment.
struct Published {
    /// Whoever came first comes first.
    list: Vec<Wanted>,
    places: FxHashMap<TrackId, usize>,
}

impl Published {
    fn find(&self, track: TrackId) -> Option<&Wanted> {
        self.list.get(*self.places.get(&track)?)
    }
}

/// One live Room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    /// Where the Engine keeps it.
    place: usize,
    /// At most MAX_PEERS_PER_ROOM.
    peers: Slab<Peer>,
    places: FxHashMap<PeerId, usize>,
    generation: u64,
    consents: Consents,
    rights: Granted,
    mixing: Mixing,
    told: Told,
    tap: Option<Tap>,
    speaker: Speaker,
    speaker_polled: Instant,
    /// When publishers last learnt how they are heard.
    heard: Instant,
    /// When a command, a handshake or media last came.
    stirred: Instant,
    ticked: Instant,
    next_beat: Instant,
    /// The next division or the next look at what is wanted, if that comes first.
    next_due: Instant,
    /// Something is due before the next beat.
    is_hurried: bool,
    /// When publishers are told next what of them is wanted.
    next_wishes: Instant,
    /// Who speaks, and since when.
    speaking: Option<(ParticipantId, Instant)>,
    /// What the ways to people who left carried, for when they come back: at most [`LEAVERS`].
    leavers: Vec<Leaver>,
    /// Lets a test see what a panic inside does.
    #[cfg(test)]
    pub(crate) explodes: bool,
    #[cfg(test)]
    pub(crate) explodes_at_commands: bool,
}

impl Room {
    pub(crate) fn new(id: RoomId, place: usize, now: Instant) -> Self {
        Self {
            id,
            place,
            peers: Slab::new(),
            places: FxHashMap::default(),
            generation: 0,
            consents: Consents::default(),
            rights: Granted::default(),
            mixing: Mixing::default(),
            told: Told::new(now),
            tap: None,
            speaker: Speaker::default(),
            speaker_polled: now,
            heard: now,
            stirred: now,
            ticked: now,
            next_beat: now,
            next_due: now,
            is_hurried: true,
            next_wishes: now,
            speaking: None,
            leavers: Vec::new(),
            #[cfg(test)]
            explodes: false,
            #[cfg(test)]
            explodes_at_commands: false,
        }
    }

    /// Peers, and how many of them are connected: what the gauges must lose with this Room.
    pub(crate) fn population(&self) -> (u64, u64) {
        let connected = self.peers.iter().filter(|(_, peer)| peer.is_counted).count();
        (self.peers.len() as u64, connected as u64)
    }

    /// The names of all Peers, for the demultiplexer to forget.
    pub(crate) fn keys(&self) -> impl Iterator<Item = PeerKey> {
        self.peers.iter().map(|(index, _)| self.key(index))
    }

    /// By what the demultiplexer names the Peer at this place.
    pub(super) const fn key(&self, peer: usize) -> PeerKey {
        PeerKey { room: self.place, peer }
    }

    /// Nothing came for so long that nothing can be in flight.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stirred) >= QUIET
    }

    /// Whether it is time for [`Self::tick`]. At every tick of the Engine while something is under way that has times of its own: a
    /// handshake, a repair, a keyframe that is waited for, a probe, a young connection. Else at every beat, and seldom in a quiet
    /// Room.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        if self.is_quiet(now) {
            return now.saturating_duration_since(self.ticked) >= QUIET_TICK;
        }
        self.is_hurried || now >= self.next_due
    }

    /// The next tick of the Engine is for this Room, too.
    pub(crate) const fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// Whether the next tick must not wait for the beat.
    fn is_busy(&self) -> bool {
        let is_waited_for = self.peers.iter().any(|(_, peer)| peer.slots.iter().any(|slot| slot.waits_for().is_some()));
        is_waited_for
            || self.tap.iter().flat_map(Tap::waits_for).next().is_some()
            || self.peers.iter().any(|(_, peer)| peer.is_busy())
    }

    /// Something happened that timers follow from.
    pub(crate) const fn stir(&mut self, now: Instant) {
        self.stirred = now;
    }

    pub(crate) fn handle_stun(&mut self, ctx: &mut Context, index: usize, from: Path, bytes: &[u8]) {
        self.hurry();
        let key = self.key(index);
        let Some(found) = self.peers.get_mut(index) else { return };
        if !found.allowance.checks.is_open(ctx.now) {
            ctx.counters.limited_checks += 1;
            return;
        }
        let before = found.transport.path();
        match found.transport.handle_stun(ctx.now, from, bytes) {
            StunVerdict::Bound { .. } => {
                found.allowance.checks.take(ctx.now, 1);
                // Another live Peer may hold the path: then this one stays reachable where it was.
                ctx.demux.bind(from, key);
                found.silence.note(ctx.now);
                while let Some(retired) = found.transport.poll_retired() {
                    ctx.demux.forget(&retired.ufrag);
                }
                if before.is_some() && found.transport.path() != before {
                    found.handle_route_change(ctx.now);
                }
            }
            StunVerdict::Dropped(_) => ctx.counters.stun_refused += 1,
        }
        self.after_transport(ctx, index);
    }

    pub(crate) fn handle_dtls(&mut self, ctx: &mut Context, index: usize, bytes: &[u8]) {
        self.stirred = ctx.now;
        self.hurry();
        let Some(found) = self.peers.get_mut(index) else { return };
        found.transport.handle_dtls(ctx.now, bytes);
        self.after_transport(ctx, index);
    }

    /// Does what is due for everybody in the Room.
    pub(crate) fn tick(&mut self, ctx: &mut Context) {
        #[cfg(test)]
        Self::explode(self.explodes);
        self.ticked = ctx.now;
        let is_beat = ctx.now >= self.next_beat;
        if is_beat {
            // Beats keep their distance though ticks come a little late.
            let behind = ctx.now.saturating_duration_since(self.next_beat) >= BEAT;
            self.next_beat = if behind { ctx.now } else { self.next_beat } + BEAT;
        }
        let due: Vec<usize> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.transport.poll_timeout().is_some_and(|at| at <= ctx.now))
            .map(|(index, _)| index)
            .collect();
        for index in due {
            if let Some(peer) = self.peers.get_mut(index) {
                peer.transport.handle_timeout(ctx.now);
            }
            self.after_transport(ctx, index);
        }
        self.note_hearing(ctx);
        for (_, peer) in &mut self.peers {
            peer.attend(ctx, self.id, is_beat);
        }
        self.settle(ctx);
        self.tend_downlinks(ctx);
        self.renew_pictures();
        if let Some(tap) = &mut self.tap {
            let wanted = tap.poll_cut(ctx.now);
            self.want_keyframes(&wanted);
        }
        self.request_keyframes(ctx);
        if ctx.now.saturating_duration_since(self.speaker_polled) >= SPEAKER_INTERVAL {
            self.speaker_polled = ctx.now;
            if let Some(participant) = self.speaker.poll(ctx.now) {
                self.note_speaking(ctx, participant);
                ctx.tell(Event::Speaking { room: self.id, participant });
            }
            self.tell_levels(ctx);
            self.tell_rates(ctx);
        }
        self.is_hurried = self.is_busy();
        let receivers = self.peers.iter().map(|(_, peer)| peer).filter(|peer| peer.is_divided());
        let divisions = receivers.map(|peer| peer.downlink.next_division());
        let cut = self.tap.as_ref().and_then(Tap::next_cut);
        self.next_due = divisions.chain([self.next_beat, self.next_wishes]).chain(cut).min().unwrap_or(self.next_beat);
    }

    /// The recorder let go of the Tap.
    pub(crate) fn handle_tap_closed(&mut self, ctx: &mut Context, recording: wire::RecordingId) {
        if let Some(tap) = self.tap.take_if(|tap| tap.recording == recording) {
            tap.end(ctx, TapEnd::RecorderGone);
        }
    }

    /// Ends everything in order.
    pub(crate) fn close(&mut self, ctx: &mut Context) {
        if let Some(tap) = self.tap.take() {
            tap.end(ctx, TapEnd::RoomClosed);
        }
        let all: Vec<usize> = self.peers.iter().map(|(index, _)| index).collect();
        for index in all {
            self.drop_peer(ctx, index);
        }
        self.mixing.end(ctx, self.id);
    }

    fn find(&self, peer: PeerId) -> Option<(usize, &Peer)> {
        let index = *self.places.get(&peer)?;
        Some((index, self.peers.get(index)?))
    }

    fn find_mut(&mut self, peer: PeerId) -> Option<(usize, &mut Peer)> {
        let index = *self.places.get(&peer)?;
        Some((index, self.peers.get_mut(index)?))
    }

    /// Sends what the transport wants to send and hears what it has to tell.
    fn after_transport(&mut self, ctx: &mut Context, index: usize) {
        loop {
            let Some(peer) = self.peers.get_mut(index) else { return };
            peer.flush(ctx);
            match peer.transport.poll_event() {
                None => return,
                Some(TransportEvent::Connected) => self.handle_connected(ctx, index),
                Some(TransportEvent::Lost(reason)) => {
                    let id = peer.id;
                    self.drop_peer(ctx, index);
                    self.reconcile(ctx);
                    ctx.tell(Event::PeerLost { room: self.id, peer: id, reason });
                }
            }
        }
    }

    /// Keys exist. A Peer that its Participant had before is gone with this: nobody is told, because this Peer took its
    /// place; removing it later is a success without effect.
    fn handle_connected(&mut self, ctx: &mut Context, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.is_successor = false;
        if let Some(carried) = find_leaver(&self.leavers, peer, ctx.now) {
            peer.downlink.resume(ctx.now, carried);
        }
        peer.is_counted = true;
        ctx.counters.connected += 1;
        let (id, participant, generation) = (peer.id, peer.participant, peer.generation);
        // What somebody shares by a connection of its own lives beside the other one.
        let shares = peer.manner == Manner::ChimeShare;
        let is_replaced = |peer: &Peer| {
            peer.participant == participant
                && peer.generation < generation
                && (peer.manner == Manner::ChimeShare) == shares
        };
        let replaced: Vec<usize> =
            self.peers.iter().filter(|(_, peer)| is_replaced(peer)).map(|(index, _)| index).collect();
        if !replaced.is_empty() {
            self.flush_waiting(ctx);
        }
        for index in replaced {
            self.drop_peer(ctx, index);
        }
        ctx.tell(Event::PeerConnected { room: self.id, peer: id });
        self.reconcile(ctx);
        // Whatever is in its slots already waits for a keyframe since before there was anybody to send it to.
        self.want_keyframes_for(index);
        self.request_keyframes(ctx);
    }

    /// Forgets a Peer: its addresses and credentials mean nothing from here on.
    fn drop_peer(&mut self, ctx: &mut Context, index: usize) {
        let Some(mut peer) = self.peers.try_remove(index) else { return };
        self.drop_waiting();
        self.places.remove(&peer.id);
        // What only shares learnt nothing about the way to its person.
        let learnt = peer.downlink.carry_over().filter(|_| peer.manner != Manner::ChimeShare);
        if let (Some(path), Some(carried)) = (peer.transport.path(), learnt) {
            self.leavers.retain(|leaver| leaver.participant != peer.participant);
            if self.leavers.len() == LEAVERS {
                self.leavers.remove(0);
            }
            self.leavers.push(Leaver {
                participant: peer.participant,
                address: path.remote.ip(),
                left: ctx.now,
                carried,
            });
        }
        peer.transport.close(ctx.now);
        peer.flush(ctx);
        ctx.demux.remove(self.key(index));
        ctx.counters.peers = ctx.counters.peers.saturating_sub(1);
        if peer.is_counted {
            ctx.counters.connected = ctx.counters.connected.saturating_sub(1);
        }
    }

    /// Participants inside, each once or more.
    fn inside(&self) -> impl Iterator<Item = ParticipantId> {
        self.peers.iter().filter(|(_, peer)| peer.door == Door::Admitted).map(|(_, peer)| peer.participant)
    }

    /// Ends the Tap unless everybody inside consents at this moment.
    fn guard_tap(&mut self, ctx: &mut Context) {
        if !self.consents.all_hold(self.inside())
            && let Some(tap) = self.tap.take()
        {
            tap.end(ctx, TapEnd::ConsentLost);
        }
    }

    /// Brings slots and Tap in line with who is inside and what they publish. Called after every change of either.
    fn reconcile(&mut self, ctx: &mut Context) {
        self.hurry();
        self.next_wishes = ctx.now;
        self.guard_tap(ctx);
        self.plan_sound(ctx);
        let published = self.published();
        let mut fresh = Vec::new();
        for index in 0..self.peers.capacity() {
            fresh.extend(self.fill(ctx, index, &published));
        }
        self.begin_pictures(ctx, &fresh);
        if let Some(tap) = &mut self.tap {
            let peers = &self.peers;
            tap.retain(ctx, |id| {
                peers.iter().any(|(_, peer)| {
                    door::may_tap(peer.door)
                        && peer.tracks.iter().any(|track| {
                            let may = door::may_send(peer.rights, track.source);
                            track.id == id && track.is_sending && !track.is_muted && may
                        })
                })
            });
        }
        let peers = &self.peers;
        let is_inside = |who| peers.iter().any(|(_, peer)| peer.door == Door::Admitted && peer.participant == who);
        self.speaker.retain(is_inside);
        self.tell_published(ctx);
    }

    /// What may go to others, in the order in which their publishers came: who came first is shown first, and keeps the place.
    fn published(&self) -> Published {
        let mut published: Vec<(u64, Wanted)> = Vec::new();
        for (_, peer) in self.peers.iter().filter(|(_, peer)| may_give(peer)) {
            let sending = peer.tracks.iter().filter(|track| track.is_sending);
            let sending = sending.filter(|track| door::may_send(peer.rights, track.source));
            let wanted = |track: &Track| Wanted { carries: peer.slot_track(track), coding: track.coding };
            published.extend(sending.map(|track| (peer.generation, wanted(track))));
        }
        published.sort_by_key(|(generation, wanted)| (*generation, wanted.carries.source));
        let list: Vec<Wanted> = published.into_iter().map(|(_, wanted)| wanted).collect();
        let places = list.iter().enumerate().map(|(place, wanted)| (wanted.carries.track, place)).collect();
        Published { list, places }
    }

    /// Brings the slots of one Peer in line with what is published. Gives the Tracks that flow to it newly.
    fn fill(&mut self, ctx: &mut Context, index: usize, published: &Published) -> Vec<TrackId> {
        let Some(peer) = self.peers.get_mut(index) else { return Vec::new() };
        let may = |peer: &Peer, of: &Wanted| may_have(peer, of.carries.participant, of.carries.source);
        let attached = match peer.manner {
            Manner::Native => {
                let others: Vec<&Wanted> = published.list.iter().filter(|of| may(peer, of)).collect();
                peer.attach(ctx, self.id, &others)
            }
            Manner::Chime => {
                let sound = self.mixing.sound_for(peer.id);
                let find = |peer: &Peer, track| published.find(track).filter(|of| may(peer, of));
                peer.attach_assigned(ctx, self.id, find, sound.as_ref())
            }
            Manner::ChimeShare => Vec::new(),
        };
        let attached = if peer.is_connected() { attached } else { Vec::new() };
        attached.into_iter().map(|carries| carries.track).collect()
    }

    /// Asks for the pictures with which these Tracks begin where they were newly put.
    fn begin_pictures(&mut self, ctx: &mut Context, fresh: &[TrackId]) {
        self.settle(ctx);
        let slots = self.peers.iter().flat_map(|(_, peer)| &peer.slots);
        let waiting: Vec<_> = slots.filter_map(Slot::waits_for).filter(|(track, _)| fresh.contains(track)).collect();
        self.want_keyframes(&waiting);
        self.request_keyframes(ctx);
    }

    #[cfg(test)]
    #[allow(clippy::panic, reason = "the test of what a panic inside a Room does")]
    fn explode(when: bool) {
        if when {
            panic!("a test asked for it");
        }
    }
}
