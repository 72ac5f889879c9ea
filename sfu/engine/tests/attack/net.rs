//! An Engine, clients of the load generator, and a network between them in virtual time.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig, Input, Limits, Output};
use load::client::{Client, ClientConfig, ClientEvent};
use rand::RngExt;
use rand::rngs::StdRng;
use wire::control::{Command, Door, Event, Manner, Refusal, Reply};
use wire::tap::{NodeMicros, TapFrame};
use wire::{ParticipantId, PeerId, Redacted, RoomId};

/// One-way delay between any client and the Engine.
const DELAY: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Side {
    pub(crate) client: Client,
    pub(crate) peer: PeerId,
    /// The streams that came.
    pub(crate) slots: BTreeSet<u32>,
    pub(crate) address: SocketAddr,
    pub(crate) next_voice: Instant,
    pub(crate) next_frame: Instant,
    pub(crate) keyframe: bool,
    pub(crate) failed: bool,
}

pub(crate) struct Net {
    pub(crate) engine: Engine,
    pub(crate) engine_wakes: Option<Instant>,
    pub(crate) now: Instant,
    pub(crate) sides: Vec<Side>,
    /// When, to which side (`None`: to the Engine, from this address), what. In order, as the delay is constant.
    pub(crate) wire: VecDeque<(Instant, Option<usize>, SocketAddr, Vec<u8>)>,
    /// The last genuine datagrams to the Engine.
    pub(crate) captured: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) reply: Option<Result<Reply, Refusal>>,
    /// Frames of the Tap.
    pub(crate) tapped: Vec<TapFrame>,
    /// Datagrams of the Engine, when asked for.
    pub(crate) overheard: Option<Vec<Vec<u8>>>,
    /// Bytes that left for anywhere.
    pub(crate) bytes_out: usize,
    pub(crate) room: RoomId,
    /// The last answer.
    pub(crate) answer: String,
    pub(crate) lost: Vec<Event>,
}

impl Net {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let config = EngineConfig {
            addresses: vec![server()],
            tcp_addresses: Vec::new(),
            shard: 0,
            limits: Limits::default(),
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
            tapped: Vec::new(),
            overheard: None,
            bytes_out: 0,
            room: RoomId::random(),
            answer: String::new(),
            lost: Vec::new(),
        }
    }

    /// A Room whose two sides have sent their offers.
    pub(crate) fn open_call(&mut self) {
        self.open_room(2);
    }

    /// A Room of so many people, all inside, who have sent their offers.
    pub(crate) fn open_room(&mut self, people: usize) {
        self.room = RoomId::random();
        self.command(Command::OpenRoom { room: self.room });
        for _ in 0..people {
            self.join(people.saturating_sub(2), true, |offer| offer);
        }
    }

    /// One more person in the last Room, who sends what `say` makes of the offer.
    pub(crate) fn join(&mut self, extra: usize, films: bool, say: impl FnOnce(String) -> String) {
        let (room, peer, participant) = (self.room, PeerId::random(), ParticipantId::random());
        self.command(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner: Manner::Native });
        self.command(Command::SetConsent { room, participant, consented: true });
        let number = self.sides.len();
        let seed = number as u64 + 1;
        let config =
            ClientConfig { seed, video: films, extra_audio: extra, extra_video: extra, ..ClientConfig::default() };
        let mut client = Client::new(config, self.now).unwrap();
        let offer = Redacted::new(say(client.offer()));
        let Some(Ok(Reply::Answer { sdp, .. })) = self.command(Command::Offer { room, peer, sdp: offer }) else {
            panic!("no answer")
        };
        client.set_answer(sdp.reveal(), self.now).unwrap();
        sdp.reveal().clone_into(&mut self.answer);
        let address = SocketAddr::from(([198, 51, 100, 1], 10_000 + number as u16));
        self.sides.push(Side {
            client,
            peer,
            address,
            slots: BTreeSet::new(),
            next_voice: self.now,
            next_frame: self.now,
            keyframe: true,
            failed: false,
        });
    }

    pub(crate) fn running_call() -> Self {
        let mut net = Self::new();
        net.open_call();
        net.run(2 * SECOND, |_| {});
        assert!(net.sides.iter().all(|side| side.client.is_connected()));
        net
    }

    pub(crate) fn command(&mut self, command: Command) -> Option<Result<Reply, Refusal>> {
        self.reply = None;
        self.input(Input::Command { ticket: 1, command });
        self.reply.take()
    }

    /// Hands the Engine a datagram at once, as an attacker near it would.
    pub(crate) fn attack(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.input(Input::Datagram { from: from.into(), bytes });
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.engine.handle_input(self.now, input);
        loop {
            match self.engine.poll_output() {
                Output::Wait(until) => {
                    self.engine_wakes = until;
                    return;
                }
                Output::Send { to, bytes } => {
                    self.bytes_out += bytes.len();
                    if let Some(overheard) = &mut self.overheard {
                        overheard.push(bytes.to_vec());
                    }
                    // What goes to an address of the attacker's is gone.
                    if let Some(side) = self.sides.iter().position(|side| side.address == to.remote) {
                        self.wire.push_back((self.now + DELAY, Some(side), to.remote, bytes.to_vec()));
                    }
                }
                Output::Reply { result, .. } => self.reply = Some(result),
                Output::Event(event @ (Event::PeerLost { .. } | Event::RoomFailed { .. })) => self.lost.push(event),
                Output::Tap { frame, .. } => self.tapped.push(frame),
                Output::Event(_) | Output::TapOpened { .. } | Output::MixWanted { .. } | Output::Voice { .. } => {}
            }
        }
    }

    /// Lets time pass; `attack` is called each millisecond.
    pub(crate) fn run(&mut self, time: Duration, mut attack: impl FnMut(&mut Self)) {
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

    pub(crate) fn deliver(&mut self) {
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

    pub(crate) fn received(&self) -> Vec<u64> {
        self.sides.iter().map(|side| side.client.stats().rtp_received).collect()
    }

    /// The call went on all the time: everybody got what the other sent in `time`, but for 1 %.
    pub(crate) fn assert_call(&self, before: &[u64], time: Duration) {
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
    pub(crate) fn work(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::KeyframeRequested { .. } => self.keyframe = true,
                ClientEvent::Failed => self.failed = true,
                ClientEvent::Rtp(packet) => {
                    self.slots.insert(packet.ssrc);
                }
                ClientEvent::Connected | ClientEvent::Limited { .. } => {}
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

pub(crate) fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5_000))
}

pub(crate) fn stranger(rng: &mut StdRng) -> SocketAddr {
    SocketAddr::from((rng.random::<[u8; 4]>(), rng.random_range(1..u16::MAX)))
}

/// Resident memory of this process in bytes (Linux).
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

pub(crate) fn megabytes_since(before: u64) -> u64 {
    resident().saturating_sub(before) / 1_000_000
}

pub(crate) fn is_srtp(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0xc0 == 0x80)
}
