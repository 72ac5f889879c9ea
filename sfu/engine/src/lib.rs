//! The whole media node without I/O: bytes and time arrive as arguments, actions come out. No socket, no clock, no runtime.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

mod allowance;
mod context;
mod counters;
mod door;
mod downlink;
mod error;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod hearing;
mod history;
mod keyframe;
mod layer;
mod limit;
mod meter;
mod mix;
mod negotiate;
mod outgoing;
mod packet_out;
mod passage;
mod peer;
mod quality;
mod rewrite;
mod room;
mod rtp;
mod sound;
mod speaker;
mod subscription;
mod tap;
mod track;
pub mod transport;
mod wish;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;
use wire::control::{Command, Event, Reason, Refusal, Reply, TapEnd};
use wire::tap::{NodeMicros, TapFrame};
use wire::{RecordingId, Redacted, RoomId};

use context::Context;
use room::Room;
use transport::{Class, Path, classify};

pub use allowance::Limits;
pub use counters::Counters;
pub use error::Error;
pub use mix::{MixListener, MixPlan, MixedPacket, VoicePacket};
pub use outgoing::Outgoing;

/// What an Engine needs to know before its first datagram.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Host candidates to announce in every answer, best first: where clients reach the shard's socket.
    pub addresses: Vec<SocketAddr>,
    /// The same over TCP (RFC 6544, passive): announced after these, and below them.
    pub tcp_addresses: Vec<SocketAddr>,
    /// Which of the node's shards this is, below 64: the ufrags tell it, see [`transport::find_shard`].
    pub shard: u8,
    /// What each Peer may ask of this Engine.
    pub limits: Limits,
    /// Seeds the random generator of credentials, SSRCs and tokens: from the operating system in service, fixed in tests.
    pub seed: [u8; 32],
    /// The same moment on both clocks. Every later instant is translated by the difference.
    pub epoch: (Instant, NodeMicros),
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// One UDP datagram, or one frame of a TCP connection.
    Datagram {
        /// The way it came.
        from: Path,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// A request of signaling.
    Command {
        /// Comes back in [`Output::Reply`].
        ticket: u64,
        /// What is asked.
        command: Command,
    },
    /// The recorder let go of its end of the Tap.
    TapClosed {
        /// The Recording that the Tap fed.
        recording: RecordingId,
    },
    /// A packet of the mix that [`Output::MixWanted`] asked for.
    Mixed {
        /// The Room that it was made for.
        room: RoomId,
        /// The packet.
        packet: MixedPacket,
    },
    /// The instant of the last [`Output::Wait`] has come.
    Timeout,
}

/// Something to do outside.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Send {
        /// The way it goes.
        to: Path,
        /// UDP payload, or the content of one frame.
        bytes: Bytes,
    },
    /// Answer a command. Each ticket is answered exactly once.
    Reply {
        /// The ticket of the command.
        ticket: u64,
        /// What became of it.
        result: Result<Reply, Refusal>,
    },
    /// Tell signaling.
    Event(Event),
    /// A Tap opened: make the place where the recorder finds its frames. Comes before the [`Reply::Tap`] with the same token.
    TapOpened {
        /// The Recording that the Tap feeds.
        recording: RecordingId,
        /// What the recorder must show.
        token: Redacted<String>,
    },
    /// One frame for the recorder. [`TapFrame::Ended`] is the last one.
    Tap {
        /// The Recording that the Tap feeds.
        recording: RecordingId,
        /// The frame.
        frame: TapFrame,
    },
    /// Mix the voices of a Room by this plan from now on.
    MixWanted {
        /// The Room.
        room: RoomId,
        /// Who speaks and who listens.
        plan: MixPlan,
    },
    /// A packet of a voice of the last plan.
    Voice {
        /// The Room.
        room: RoomId,
        /// The packet.
        packet: VoicePacket,
    },
    /// Nothing more to do until this instant, or until the next input when there is none.
    Wait(Option<Instant>),
}

/// Most Rooms of one Engine: far more than one core carries.
const ROOMS: usize = 4096;
/// How often it is looked which Rooms are due. All timers live with a tick of this length, so no heap is needed; what a Room has
/// to do at every tick and what can wait for its beat, see [`Room::is_due`].
const TICK: Duration = Duration::from_millis(10);
/// The same while every Room is quiet, so that a node on which people wait or talk to nobody sleeps.
const QUIET_TICK: Duration = Duration::from_millis(50);

/// One media node: Rooms, their Peers and everything that flows between them. Single owner, never blocks, reads no clock.
#[derive(Debug)]
pub struct Engine {
    rooms: Slab<Room>,
    /// Where each Room is in `rooms`.
    places: FxHashMap<RoomId, usize>,
    ctx: Context,
    next_tick: Instant,
}

impl Engine {
    /// Makes an Engine and its DTLS identity.
    ///
    /// # Errors
    /// [`Error::Config`] without an address to announce, [`Error::Identity`] when the certificate cannot be made.
    pub fn new(config: EngineConfig) -> Result<Self, Error> {
        let next_tick = config.epoch.0;
        Ok(Self { rooms: Slab::new(), places: FxHashMap::default(), ctx: Context::new(config)?, next_tick })
    }

    /// Takes one input. `now` must not run backwards. Drain [`Self::poll_output`] before the next input.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.ctx.now = now;
        if !matches!(input, Input::Timeout) {
            // It may have stirred a quiet Room.
            self.next_tick = self.next_tick.min(now + TICK);
        }
        match input {
            Input::Datagram { from, bytes } => self.handle_datagram(from, bytes),
            Input::Command { ticket, command } => self.handle_command(ticket, command),
            Input::TapClosed { recording } => {
                let room = self.ctx.taps.get(&recording).and_then(|room| self.find_place(*room));
                if let Some(place) = room {
                    self.within(place, |room, ctx| room.handle_tap_closed(ctx, recording));
                }
            }
            Input::Mixed { room, packet } => {
                if let Some(place) = self.find_place(room) {
                    self.within(place, |room, ctx| room.handle_mixed(ctx, &packet));
                }
            }
            Input::Timeout => {}
        }
        if now >= self.next_tick {
            self.tick();
        }
        self.pace(now);
        self.ctx.counters.rooms = self.rooms.len() as u64;
    }

    /// The next thing to do; call until [`Output::Wait`].
    pub fn poll_output(&mut self) -> Output {
        match self.ctx.outgoing.pop_first() {
            Some((to, bytes)) => Output::Send { to, bytes },
            None => self.poll_control(),
        }
    }

    /// The datagrams to send, for a caller that sends many at once: it clears them, and drains the rest by
    /// [`Self::poll_control`].
    pub const fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.ctx.outgoing
    }

    /// The next thing to do that is not [`Output::Send`]; call until [`Output::Wait`].
    pub fn poll_control(&mut self) -> Output {
        let is_idle = self.ctx.counters.peers == 0;
        self.ctx.outputs.pop_front().unwrap_or(Output::Wait(
            (!is_idle).then(|| self.ctx.next_pacing().map_or(self.next_tick, |at| at.min(self.next_tick))),
        ))
    }

    /// Whether authenticated STUN bound this path to a Peer that lives.
    #[must_use]
    pub fn is_bound(&self, path: Path) -> bool {
        self.ctx.demux.find(path).is_some()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.ctx.counters
    }

    fn handle_datagram(&mut self, from: Path, bytes: &[u8]) {
        self.ctx.from = from;
        self.ctx.counters.datagrams_in += 1;
        self.ctx.counters.bytes_in += bytes.len() as u64;
        let class = classify(bytes);
        if class == Class::Stun {
            match self.ctx.demux.find_stun(bytes) {
                Some(key) => self.within(key.room, |room, ctx| room.handle_stun(ctx, key.peer, from, bytes)),
                None => self.ctx.counters.stun_refused += 1,
            }
            return;
        }
        // Only authenticated STUN binds a path; from any other nothing is looked at.
        let Some(key) = self.ctx.demux.find(from) else {
            self.ctx.counters.junk += 1;
            return;
        };
        self.within(key.room, |room, ctx| match class {
            Class::Rtp => room.handle_rtp(ctx, key.peer, bytes),
            Class::Rtcp => room.handle_rtcp(ctx, key.peer, bytes),
            Class::Dtls => room.handle_dtls(ctx, key.peer, bytes),
            Class::Stun | Class::Junk => ctx.counters.junk += 1,
        });
    }

    fn handle_command(&mut self, ticket: u64, command: Command) {
        let id = command.room();
        let result = match command {
            Command::OpenRoom { .. } => self.open(id),
            Command::CloseRoom { .. } => {
                if let Some(place) = self.find_place(id) {
                    self.within(place, |room, ctx| room.close(ctx));
                }
                if let Some(place) = self.places.remove(&id) {
                    self.rooms.try_remove(place);
                }
                Ok(Reply::Done)
            }
            // Removing what is gone is a success, also when its Room went with it.
            Command::Remove { .. } | Command::StopTap { .. } if self.find_place(id).is_none() => Ok(Reply::Done),
            command => match self.find_place(id) {
                Some(place) => {
                    self.within(place, |room, ctx| room.handle_command(ctx, ticket, command));
                    // A Room that failed may have taken the reply with it, or failed after it.
                    let is_reply = |output: &Output| matches!(output, Output::Reply { ticket: t, .. } if *t == ticket);
                    if self.find_place(id).is_some() || self.ctx.outputs.iter().any(is_reply) {
                        return;
                    }
                    Err(Refusal::new(Reason::Unavailable, "the room failed"))
                }
                None => Err(Refusal::new(Reason::UnknownRoom, "no such room on this node")),
            },
        };
        self.ctx.outputs.push_back(Output::Reply { ticket, result });
    }

    fn open(&mut self, id: RoomId) -> Result<Reply, Refusal> {
        if self.find_place(id).is_none() {
            if self.rooms.len() >= ROOMS {
                self.ctx.counters.refused_by_limit += 1;
                return Err(Refusal::new(Reason::Capacity, "the node is full"));
            }
            let vacant = self.rooms.vacant_entry();
            self.places.insert(id, vacant.key());
            let room = Room::new(id, vacant.key(), self.ctx.now);
            vacant.insert(room);
        }
        Ok(Reply::Done)
    }

    /// Sends what waited for its time between two looks at the timers.
    fn pace(&mut self, now: Instant) {
        while let Some(key) = self.ctx.pop_pacing(now) {
            self.within(key.room, |room, ctx| room.pace(ctx, key.peer));
        }
    }

    fn tick(&mut self) {
        for place in 0..self.rooms.capacity() {
            if self.rooms.get(place).is_some_and(|room| room.is_due(self.ctx.now)) {
                self.within(place, |room, ctx| room.tick(ctx));
            }
        }
        let is_quiet = self.rooms.iter().all(|(_, room)| room.is_quiet(self.ctx.now));
        self.next_tick = self.ctx.now + if is_quiet { QUIET_TICK } else { TICK };
    }

    fn find_place(&self, room: RoomId) -> Option<usize> {
        self.places.get(&room).copied()
    }

    /// Works inside one Room. A panic there ends that Room alone: its people are told to rejoin, the others go on.
    fn within(&mut self, place: usize, work: impl FnOnce(&mut Room, &mut Context)) {
        let Some(room) = self.rooms.get_mut(place) else { return };
        let ctx = &mut self.ctx;
        // What the work left half done is dropped with the Room; the Context holds queues and numbers, each of which is
        // changed by whole calls.
        if catch_unwind(AssertUnwindSafe(|| work(room, ctx))).is_err() {
            self.fail(place);
        } else if std::mem::take(&mut ctx.is_urgent) {
            room.hurry();
        }
    }

    fn fail(&mut self, place: usize) {
        let Some(room) = self.rooms.try_remove(place) else { return };
        let id = room.id;
        self.places.remove(&id);
        let ctx = &mut self.ctx;
        ctx.counters.room_panics += 1;
        for key in room.keys() {
            ctx.demux.remove(key);
        }
        let (peers, connected) = room.population();
        ctx.counters.peers = ctx.counters.peers.saturating_sub(peers);
        ctx.counters.connected = ctx.counters.connected.saturating_sub(connected);
        let recordings: Vec<RecordingId> =
            ctx.taps.iter().filter(|(_, room)| **room == id).map(|(recording, _)| *recording).collect();
        for recording in recordings {
            tap::end(ctx, id, recording, TapEnd::RoomClosed);
        }
        ctx.outputs.push_back(Output::MixWanted { room: id, plan: MixPlan::default() });
        ctx.tell(Event::RoomFailed { room: id });
        tracing::error!(room = ?id, "a room failed inside and was closed");
    }
}

#[cfg(test)]
mod tests;
