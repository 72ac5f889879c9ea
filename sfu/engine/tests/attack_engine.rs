//! What strangers and participants may throw at a whole Engine: the process stays up, running calls go on, joins succeed, memory
//! stays flat. Virtual time; the two sides of each call are clients of the load generator.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig, Input, Output};
use load::client::{Client, ClientConfig, ClientEvent};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::control::{Command, Door, Event, Reply};
use wire::tap::NodeMicros;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

/// One-way delay between any client and the Engine.
const DELAY: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Memory is measured for the process, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Side {
    client: Client,
    address: SocketAddr,
    next_voice: Instant,
    next_frame: Instant,
    keyframe: bool,
    failed: bool,
}

struct Net {
    engine: Engine,
    engine_wakes: Option<Instant>,
    now: Instant,
    sides: Vec<Side>,
    /// When, to which side (`None`: to the Engine, from this address), what. In order, as the delay is constant.
    wire: VecDeque<(Instant, Option<usize>, SocketAddr, Vec<u8>)>,
    /// The last genuine datagrams to the Engine.
    captured: VecDeque<(SocketAddr, Vec<u8>)>,
    reply: Option<Reply>,
    lost: Vec<Event>,
}

impl Net {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let config = EngineConfig {
            addresses: vec![server()],
            tcp_addresses: Vec::new(),
            shard: 0,
            seed: [3; 32],
            epoch: (now, NodeMicros(0)),
        };
        Self {
            engine: Engine::new(config).unwrap(),
            engine_wakes: None,
            now,
            sides: Vec::new(),
            wire: VecDeque::new(),
            captured: VecDeque::new(),
            reply: None,
            lost: Vec::new(),
        }
    }

    /// A Room whose two sides have sent their offers.
    fn open_call(&mut self) {
        let room = RoomId::random();
        self.command(Command::OpenRoom { room });
        for _ in 0..2 {
            let (peer, participant) = (PeerId::random(), ParticipantId::random());
            self.command(Command::AddPeer { room, peer, participant, door: Door::Admitted });
            let number = self.sides.len();
            let config = ClientConfig { seed: number as u64 + 1, ..ClientConfig::default() };
            let mut client = Client::new(config, self.now).unwrap();
            let offer = Redacted::new(client.offer());
            let Some(Reply::Answer { sdp }) = self.command(Command::Offer { room, peer, sdp: offer }) else {
                panic!("no answer")
            };
            client.set_answer(sdp.reveal(), self.now).unwrap();
            let address = SocketAddr::from(([198, 51, 100, 1], 10_000 + number as u16));
            self.sides.push(Side {
                client,
                address,
                next_voice: self.now,
                next_frame: self.now,
                keyframe: true,
                failed: false,
            });
        }
    }

    fn running_call() -> Self {
        let mut net = Self::new();
        net.open_call();
        net.run(2 * SECOND, |_| {});
        assert!(net.sides.iter().all(|side| side.client.is_connected()));
        net
    }

    fn command(&mut self, command: Command) -> Option<Reply> {
        self.reply = None;
        self.input(Input::Command { ticket: 1, command });
        self.reply.take()
    }

    /// Hands the Engine a datagram at once, as an attacker near it would.
    fn attack(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.input(Input::Datagram { from: from.into(), bytes });
    }

    fn input(&mut self, input: Input<'_>) {
        self.engine.handle_input(self.now, input);
        loop {
            match self.engine.poll_output() {
                Output::Wait(until) => {
                    self.engine_wakes = until;
                    return;
                }
                Output::Send { to, bytes } => {
                    // What goes to an address of the attacker's is gone.
                    if let Some(side) = self.sides.iter().position(|side| side.address == to.remote) {
                        self.wire.push_back((self.now + DELAY, Some(side), to.remote, bytes.to_vec()));
                    }
                }
                Output::Reply { result, .. } => self.reply = Some(result.unwrap()),
                Output::Event(event @ (Event::PeerLost { .. } | Event::RoomFailed { .. })) => self.lost.push(event),
                Output::Event(_) | Output::TapOpened { .. } | Output::Tap { .. } => {}
            }
        }
    }

    /// Lets time pass; `attack` is called each millisecond.
    fn run(&mut self, time: Duration, mut attack: impl FnMut(&mut Self)) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.deliver();
            if self.engine_wakes.is_some_and(|at| at <= self.now) {
                self.input(Input::Timeout);
            }
            attack(self);
            for side in &mut self.sides {
                side.work(self.now);
                while let Some((_, bytes)) = side.client.poll_transmit() {
                    self.wire.push_back((self.now + DELAY, None, side.address, bytes));
                }
            }
        }
    }

    fn deliver(&mut self) {
        while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
            let Some((_, to, from, bytes)) = self.wire.pop_front() else { return };
            match to {
                Some(side) => self.sides[side].client.handle_datagram(self.now, server(), &bytes),
                None => {
                    if self.captured.len() >= 200 {
                        self.captured.pop_front();
                    }
                    self.captured.push_back((from, bytes.clone()));
                    self.input(Input::Datagram { from: from.into(), bytes: &bytes });
                }
            }
        }
    }

    fn received(&self) -> Vec<u64> {
        self.sides.iter().map(|side| side.client.stats().rtp_received).collect()
    }

    /// The call went on all the time: everybody got what the other sent in `time`, but for 1 %.
    fn assert_call(&self, before: &[u64], time: Duration) {
        assert_eq!(self.lost, []);
        assert_eq!(self.engine.counters().room_panics, 0);
        for (side, before) in self.sides.iter().zip(before) {
            let stats = side.client.stats();
            let received = (stats.rtp_received - before) as f64;
            // 50 packets of voice and 30 frames of 5 packets a second.
            let expected = time.as_secs_f64() * 200.0;
            assert!(received > expected * 0.99, "{received} of {expected}");
            assert!(!side.failed && stats.undecryptable == 0);
        }
    }
}

impl Side {
    fn work(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::KeyframeRequested { .. } => self.keyframe = true,
                ClientEvent::Failed => self.failed = true,
                ClientEvent::Connected | ClientEvent::Rtp(_) | ClientEvent::Limited { .. } => {}
            }
        }
        if !self.client.is_connected() {
            (self.next_voice, self.next_frame) = (now, now);
            return;
        }
        if now >= self.next_voice {
            self.next_voice += Duration::from_millis(20);
            self.client.send_audio(now, &[1; 80], 30);
        }
        if now >= self.next_frame {
            self.next_frame += SECOND / 30;
            self.client.send_video_frame(now, &[2; 5_000], self.keyframe);
            self.keyframe = false;
        }
    }
}

fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5_000))
}

fn stranger(rng: &mut StdRng) -> SocketAddr {
    SocketAddr::from((rng.random::<[u8; 4]>(), rng.random_range(1..u16::MAX)))
}

/// Resident memory of this process in bytes (Linux).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn megabytes_since(before: u64) -> u64 {
    resident().saturating_sub(before) / 1_000_000
}

fn is_srtp(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0xc0 == 0x80)
}

#[test]
fn a_million_random_datagrams_leave_a_call_and_the_memory_alone() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(11);
    let mut throw = |net: &mut Net, times: u32| {
        for _ in 0..times {
            let mut bytes = match (rng.random_range(0..4), net.captured.len()) {
                // A genuine datagram of a moment ago, damaged.
                (0 | 1, captured @ 1..) => {
                    let mut bytes = net.captured[rng.random_range(0..captured)].1.clone();
                    for _ in 0..rng.random_range(1..6) {
                        let at = rng.random_range(0..bytes.len());
                        bytes[at] ^= 1 << rng.random_range(0..8);
                    }
                    if rng.random_bool(0.2) {
                        bytes.truncate(rng.random_range(0..bytes.len()));
                    }
                    bytes
                }
                _ => {
                    let mut bytes = vec![0; rng.random_range(0..300)];
                    rng.fill(&mut bytes[..]);
                    bytes
                }
            };
            if rng.random_bool(0.1)
                && let [first, major, minor, ..] = &mut bytes[..]
            {
                (*first, *major, *minor) = (rng.random_range(20..24), 254, 253);
            }
            let from = if rng.random_bool(0.5) { net.sides[0].address } else { stranger(&mut rng) };
            net.attack(from, &bytes);
        }
    };
    net.run(SECOND, |net| throw(net, 50));
    let (before, memory) = (net.received(), resident());
    net.run(10 * SECOND, |net| throw(net, 95));
    net.assert_call(&before, 10 * SECOND);
    let grown = megabytes_since(memory);
    assert!(grown < 8, "{grown} MB more");
    assert!(net.engine.counters().datagrams_in > 1_000_000);
}

#[test]
fn forged_ssrcs_and_flipped_bits_are_never_forwarded() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(12);
    let mut forge = |net: &mut Net, times: u32| {
        let packets: Vec<_> = net.captured.iter().filter(|(_, bytes)| is_srtp(bytes)).cloned().collect();
        for number in 0..times {
            let (from, mut bytes) = packets[rng.random_range(0..packets.len())].clone();
            if number % 2 == 0 {
                bytes[8..12].copy_from_slice(&rng.random::<[u8; 4]>());
            } else {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            net.attack(from, &bytes);
        }
    };
    net.run(SECOND, |net| forge(net, 100));
    let (before, memory) = (net.received(), resident());
    let accepted = net.engine.counters().rtp_in;
    net.run(3 * SECOND, |net| forge(net, 100));
    net.assert_call(&before, 3 * SECOND);
    // 200 packets a second of each side and nothing else.
    let accepted = net.engine.counters().rtp_in - accepted;
    assert!((1_180..=1_220).contains(&accepted), "{accepted} packets accepted");
    assert!(megabytes_since(memory) < 4);
}

/// Forged ClientHellos race genuine joins, from anywhere and from the very addresses that are joining.
#[test]
fn a_client_hello_flood_stops_no_join_and_no_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What a genuine client of another call said.
    let mut other = Net::new();
    other.open_call();
    other.run(SECOND / 5, |_| {});
    let hellos: Vec<Vec<u8>> = other
        .captured
        .iter()
        .filter(|(_, bytes)| bytes.first() == Some(&22) && bytes.get(13) == Some(&1))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    assert!(hellos.len() >= 4, "both hellos of both sides");

    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(13);
    let memory = resident();
    let before = net.received();
    for _ in 0..10 {
        net.open_call();
        net.run(SECOND / 2, |net| {
            for number in 0..40 {
                let hello = hellos[rng.random_range(0..hellos.len())].clone();
                let joining = net.sides.len() - 2 + number % 2;
                let from = if number % 4 < 2 { net.sides[joining].address } else { stranger(&mut rng) };
                net.attack(from, &hello);
            }
        });
    }
    for (number, side) in net.sides.iter().enumerate() {
        assert!(side.client.is_connected() && !side.failed, "side {number}");
    }
    let (first_call, before) = (net.sides.drain(..2).collect::<Vec<_>>(), before);
    net.sides = first_call;
    net.assert_call(&before, 5 * SECOND);
    let grown = megabytes_since(memory);
    assert!(grown < 30, "{grown} MB more for twenty more sides");
}

/// Each of these aborted the process or grew without limit in the DTLS crate alone (sent by a participant, or in its name).
#[test]
fn crafted_handshake_records_change_nothing_for_a_running_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let mut bytes = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 9];
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let fragments = |offsets: &[u32], length: u32, body: &[u8]| -> Vec<u8> {
        let mut bytes = Vec::new();
        for offset in offsets {
            bytes.push(1);
            bytes.extend_from_slice(&length.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[0, 5]);
            bytes.extend_from_slice(&offset.to_be_bytes()[1..]);
            bytes.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(body);
        }
        bytes
    };
    let mut net = Net::running_call();
    let (before, memory) = (net.received(), resident());
    let mut next = 40_000u32;
    net.run(3 * SECOND, |net| {
        let from = net.sides[0].address;
        for _ in 0..10 {
            let offsets: Vec<u32> = (0..90).map(|back| next.saturating_sub(back)).collect();
            next = next.saturating_sub(90);
            net.attack(from, &record(22, 0, &fragments(&offsets, 40_001, b"x")));
            net.attack(from, &record(22, 0, &fragments(&[7; 100], 900, b"")));
        }
        net.attack(from, &record(22, 0, &fragments(&[0], 40_001, b"x")));
        for alert in [[2, 40], [1, 0], [2, 80]] {
            net.attack(from, &record(21, 0, &alert));
        }
        for _ in 0..20 {
            net.attack(from, &record(22, 1, &[7; 48]));
            net.attack(from, &record(23, 1, &[7; 1_200]));
        }
    });
    net.assert_call(&before, 3 * SECOND);
    assert!(megabytes_since(memory) < 4);
}
