//! Two-party visits over the load client, one millisecond at a time. Only what happens inside the engine is measured.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig, Input, Limits, Output};
use load::client::{Client, ClientConfig, ClientEvent};
use rustix::time::{ClockId, clock_gettime};
use wire::control::{Command, Door, Manner, Reply};
use wire::tap::NodeMicros;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

use crate::count;

const MS: Duration = Duration::from_millis(1);
/// Milliseconds between frames: 26 in a second, near enough.
pub(crate) const FRAME: u64 = 38;
/// Milliseconds between Opus packets.
pub(crate) const VOICE: u64 = 20;
/// Five packets of 1,150 bytes, with the descriptors that the client adds.
pub(crate) const FRAME_BYTES: usize = 5 * 1140;
pub(crate) const VOICE_BYTES: usize = 80;
/// Datagrams that one system call reads.
const BATCH: usize = 64;

/// What is asked for on the command line.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) visits: usize,
    pub(crate) seconds: usize,
    /// SRTP_AES128_CM_HMAC_SHA1_80 instead of GCM.
    pub(crate) without_gcm: bool,
    /// Over loopback sockets, in real time.
    pub(crate) over_sockets: bool,
    /// Nobody sends media.
    pub(crate) is_idle: bool,
    /// The clock is not asked, for a run under a tool that counts instructions.
    pub(crate) is_untimed: bool,
}

impl Shape {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut shape =
            Self { visits: 60, seconds: 5, without_gcm: false, over_sockets: false, is_idle: false, is_untimed: false };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--visits" => shape.visits = words.next()?.parse().ok()?,
                "--seconds" => shape.seconds = words.next()?.parse().ok()?,
                "--cm" => shape.without_gcm = true,
                "--sockets" => shape.over_sockets = true,
                "--idle" => shape.is_idle = true,
                "--untimed" => shape.is_untimed = true,
                _ => return None,
            }
        }
        Some(shape)
    }
}

/// One second of it.
pub(crate) struct Run {
    pub(crate) forwarded: u64,
    nanos: f64,
    /// The part of them in timers.
    pub(crate) timer_nanos: f64,
    allocations: u64,
}

impl Run {
    #[allow(clippy::cast_precision_loss, reason = "counts of a second are far below 2^52")]
    pub(crate) fn nanos_per_packet(&self) -> f64 {
        self.nanos / self.forwarded.max(1) as f64
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of a second are far below 2^52")]
    pub(crate) fn allocations_per_packet(&self) -> f64 {
        self.allocations as f64 / self.forwarded.max(1) as f64
    }
}

struct Seat {
    client: Client,
    address: SocketAddr,
    wants_keyframe: bool,
}

/// All of them, and the engine between.
pub(crate) struct Visits {
    shape: Shape,
    engine: Engine,
    seats: Vec<Seat>,
    by_address: HashMap<SocketAddr, usize>,
    now: Instant,
    millis: u64,
    wait: Option<Instant>,
    nanos: f64,
    timer_nanos: f64,
    replies: Vec<Reply>,
    /// What the engine sent, as it arrives.
    arriving: Vec<(SocketAddr, Vec<u8>)>,
}

impl Visits {
    /// Opens the rooms and connects everybody.
    #[allow(clippy::expect_used, reason = "a benchmark that cannot start has no result")]
    pub(crate) fn connect(shape: &Shape) -> Self {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let server: SocketAddr = ([192, 0, 2, 1], 5000).into();
        let config = EngineConfig {
            addresses: vec![server],
            tcp_addresses: Vec::new(),
            shard: 0,
            limits: Limits::default(),
            seed: [7; 32],
            epoch: (now, NodeMicros(0)),
        };
        let engine = count::counted(|| Engine::new(config)).expect("an engine with an address starts");
        let mut visits = Self {
            shape: *shape,
            engine,
            seats: Vec::new(),
            by_address: HashMap::new(),
            now,
            millis: 0,
            wait: None,
            nanos: 0.0,
            timer_nanos: 0.0,
            replies: Vec::new(),
            arriving: Vec::new(),
        };
        for _ in 0..shape.visits {
            let room = RoomId::random();
            visits.command(Command::OpenRoom { room });
            for _ in 0..2 {
                visits.join(room);
            }
        }
        while !visits.seats.iter().all(|seat| seat.client.is_connected()) {
            visits.step(false);
        }
        visits
    }

    #[allow(clippy::expect_used, reason = "a benchmark that cannot start has no result")]
    fn join(&mut self, room: RoomId) {
        let (peer, participant) = (PeerId::random(), ParticipantId::random());
        self.command(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner: Manner::Native });
        let index = self.seats.len();
        let seed = u64::try_from(index).unwrap_or_default();
        let config = ClientConfig { seed, without_gcm: self.shape.without_gcm, ..ClientConfig::default() };
        let mut client = Client::new(config, self.now).expect("a client makes its certificate");
        self.command(Command::Offer { room, peer, sdp: Redacted::new(client.offer()) });
        if let Some(Reply::Answer { sdp, .. }) = self.replies.pop() {
            client.set_answer(sdp.reveal(), self.now).expect("the answer is whole");
        }
        let low = u16::try_from(index).unwrap_or_default();
        let address = SocketAddr::from(([198, 51, 100, 7], 1024 + low));
        self.by_address.insert(address, index);
        self.seats.push(Seat { client, address, wants_keyframe: true });
    }

    fn command(&mut self, command: Command) {
        let Self { engine, now, .. } = self;
        count::counted(|| engine.handle_input(*now, Input::Command { ticket: 1, command }));
        self.drain();
        self.collect();
        self.deliver();
    }

    /// Lets a second pass.
    pub(crate) fn run_second(&mut self) -> Run {
        let before = (self.engine.counters().forwarded, self.nanos, self.timer_nanos, count::so_far().0);
        for _ in 0..1000 {
            self.step(!self.shape.is_idle);
        }
        Run {
            forwarded: self.engine.counters().forwarded - before.0,
            nanos: self.nanos - before.1,
            timer_nanos: self.timer_nanos - before.2,
            allocations: count::so_far().0 - before.3,
        }
    }

    fn step(&mut self, is_sending: bool) {
        self.now += MS;
        self.millis += 1;
        let mut incoming = Vec::new();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if seat.client.poll_timeout().is_some_and(|at| at <= self.now) {
                seat.client.handle_timeout(self.now);
            }
            // Everybody at another moment, as people are.
            let millis = self.millis + 7 * u64::try_from(index).unwrap_or_default();
            if is_sending && seat.client.is_connected() {
                if millis.is_multiple_of(VOICE) {
                    seat.client.send_audio(self.now, &[1; VOICE_BYTES], 40);
                }
                if millis.is_multiple_of(FRAME) {
                    let is_keyframe = std::mem::take(&mut seat.wants_keyframe);
                    seat.client.send_video_frame(self.now, &[2; FRAME_BYTES], is_keyframe);
                }
            }
            while let Some((_, bytes)) = seat.client.poll_transmit() {
                incoming.push((seat.address, bytes));
            }
        }
        for batch in incoming.chunks(BATCH) {
            self.measured(|visits| {
                for (from, bytes) in batch {
                    visits.engine.handle_input(visits.now, Input::Datagram { from: (*from).into(), bytes });
                    visits.drain();
                }
            });
            self.collect();
        }
        if self.wait.is_some_and(|at| at <= self.now) {
            self.timer_nanos += self.measured(|visits| {
                visits.engine.handle_input(visits.now, Input::Timeout);
                visits.drain();
            });
            self.collect();
        }
        self.deliver();
    }

    /// Counts and times.
    fn measured(&mut self, work: impl FnOnce(&mut Self)) -> f64 {
        let clock = if self.shape.is_untimed { || 0.0 } else { cpu_nanos };
        let begin = clock();
        count::counted(|| work(self));
        let spent = clock() - begin;
        self.nanos += spent;
        spent
    }

    fn drain(&mut self) {
        loop {
            match self.engine.poll_control() {
                Output::Reply { result, .. } => self.replies.extend(result),
                Output::Wait(until) => {
                    self.wait = until;
                    return;
                }
                Output::Send { .. }
                | Output::Event(_)
                | Output::TapOpened { .. }
                | Output::Tap { .. }
                | Output::MixWanted { .. }
                | Output::Voice { .. } => {}
            }
        }
    }

    /// Takes what was sent, as a send call would.
    fn collect(&mut self) {
        for (to, bytes) in self.engine.outgoing().iter() {
            self.arriving.push((to.remote, bytes.to_vec()));
        }
        self.measured(|visits| visits.engine.outgoing().clear());
    }

    fn deliver(&mut self) {
        for (to, bytes) in self.arriving.drain(..) {
            let Some(seat) = self.by_address.get(&to).and_then(|index| self.seats.get_mut(*index)) else { continue };
            seat.client.handle_datagram(self.now, to, &bytes);
            while let Some(event) = seat.client.poll_event() {
                seat.wants_keyframe |= matches!(event, ClientEvent::KeyframeRequested { .. });
            }
        }
    }
}

fn cpu_nanos() -> f64 {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    #[allow(clippy::cast_precision_loss, reason = "a benchmark's seconds and nanoseconds are far below 2^52")]
    let nanos = at.tv_sec as f64 * 1e9 + at.tv_nsec as f64;
    nanos
}
