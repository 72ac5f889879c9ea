//! The virtual network: one Engine, any number of clients, a clock of one millisecond.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use engine::{Counters, Engine, EngineConfig, Input, Limits, MixPlan, Output, VoicePacket};
use load::client::{Client, ClientConfig, ClientEvent, Received};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::control::{Command, Door, Encoding, Event, Manner, Refusal, Reply};
use wire::tap::{NodeMicros, TapFrame};
use wire::{ParticipantId, PeerId, RecordingId, Redacted, RoomId};

use crate::sender::Sender;

pub(crate) const EPOCH: u64 = 1_700_000_000_000_000;
const MS: Duration = Duration::from_millis(1);

/// One client and what it saw.
pub(crate) struct Seat {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) peer: PeerId,
    manner: Manner,
    pub(crate) participant: ParticipantId,
    pub(crate) received: Vec<Received>,
    pub(crate) is_sending: bool,
    pub(crate) frames_sent: u32,
    wants_keyframe: bool,
    /// Its encoder was asked to sleep, and does.
    pub(crate) is_asleep: bool,
    /// Milliseconds and bytes of a packet of sound.
    pub(crate) voice: (u64, usize),
    /// How loud its sound is: decibels below full scale.
    pub(crate) level: u8,
    /// What the server lets it send, in bits per second.
    pub(crate) limit: u64,
    /// The least of that so far.
    pub(crate) least_limit: u64,
    /// What it thinks its uplink carries.
    sender: Sender,
    /// What its encoder makes of it at most; `None`: frames of a fixed size, whatever the limit.
    pub(crate) encoder: Option<u64>,
    /// Bytes of a keyframe and of any other of fixed size.
    pub(crate) frames: (usize, usize),
    /// What the encoder makes at the moment: it follows the limit with a lag.
    pub(crate) making: u64,
    /// The way to it and the way from it.
    pub(crate) down: Link,
    pub(crate) up: Link,
    /// When it said each frame of sound, and how many milliseconds that holds.
    pub(crate) spoken: Vec<(Instant, u64)>,
    pub(crate) joined: Instant,
    /// When each packet came, and its size: of video.
    pub(crate) video_arrivals: Vec<(Instant, usize)>,
    pub(crate) audio_arrivals: Vec<(Instant, u64)>,
}

/// One direction of somebody's access: a rate, and a queue in front of it that drops what does not fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    /// Bits per second; `None`: no bottleneck.
    pub(crate) rate: Option<u64>,
    /// Longest queue.
    pub(crate) queue: Duration,
    /// Share lost before the queue.
    pub(crate) loss: f64,
    pub(crate) busy: Option<Instant>,
    /// How long each packet waited.
    pub(crate) waits: Vec<Duration>,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
}

impl Link {
    pub(crate) fn kbits(rate: u64, queue_ms: u64) -> Self {
        Self { rate: Some(rate * 1000), queue: Duration::from_millis(queue_ms), ..Self::default() }
    }

    /// When a datagram that comes now has passed; `None` when it is dropped.
    fn pass(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.rate else { return Some(now) };
        let begins = self.busy.map_or(now, |busy| busy.max(now));
        let wait = begins - now;
        if wait > self.queue {
            self.dropped += 1;
            return None;
        }
        let bytes = bytes as u64 + 28;
        let ends = begins + Duration::from_micros(bytes * 8_000_000 / rate);
        self.busy = Some(ends);
        self.waits.push(wait);
        self.bytes += bytes;
        Some(ends)
    }

    /// The wait that this share of the packets did not exceed, since the `from`th.
    pub(crate) fn percentile(&self, share: f64, from: usize) -> Duration {
        let mut waits = self.waits[from..].to_vec();
        waits.sort_unstable();
        let last = waits.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let at = (last as f64 * share) as usize;
        waits.get(at).copied().unwrap_or_default()
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    /// Reversed: the heap gives the earliest first.
    due: std::cmp::Reverse<(Instant, u64)>,
    to_engine: bool,
    seat: usize,
    bytes: Vec<u8>,
}

/// What the mixer was told.
#[derive(Debug, Default)]
pub(crate) struct Mixer {
    pub(crate) plans: Vec<MixPlan>,
    pub(crate) voices: Vec<(Instant, VoicePacket)>,
}

pub(crate) struct World {
    /// When the clock began.
    pub(crate) origin: Instant,
    pub(crate) now: Instant,
    pub(crate) engine: Engine,
    pub(crate) room: RoomId,
    pub(crate) seats: Vec<Seat>,
    pub(crate) events: Vec<Event>,
    pub(crate) tap_frames: Vec<(RecordingId, TapFrame)>,
    /// What each Peer's door is by the commands given: the model.
    pub(crate) doors: BTreeMap<PeerId, Door>,
    /// Share of datagrams lost in each direction.
    pub(crate) loss: f64,
    pub(crate) delay: Duration,
    /// Up to so much more delay for each datagram, so that they overtake each other.
    pub(crate) jitter: Duration,
    /// The same for what clients send alone.
    pub(crate) uplink_jitter: Duration,
    /// Clients read what came once in so long only, and stamp it then: a processor that is busy elsewhere.
    pub(crate) busy: Duration,
    /// The same once in a while: how long, and the share of the time.
    pub(crate) stalls: (Duration, f64),
    stalled_until: Option<Instant>,
    /// How often the Engine was woken by its timers.
    pub(crate) wakes: u64,
    /// Media packets that went to somebody outside.
    pub(crate) trespasses: Vec<String>,
    /// Media datagrams sent to each seat.
    pub(crate) media_sent: BTreeMap<usize, u64>,
    /// What the mixer was told.
    pub(crate) mixer: Mixer,
    /// What happens to an offer on its way.
    pub(crate) edit_offer: fn(usize, String) -> String,
    opened: Vec<(RecordingId, Redacted<String>)>,
    flying: BinaryHeap<Flying>,
    count: u64,
    wait: Option<Instant>,
    rng: StdRng,
    replies: BTreeMap<u64, Result<Reply, Refusal>>,
    millis: u64,
}

impl World {
    pub(crate) fn new(seed: u8) -> Self {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let config = EngineConfig {
            addresses: vec!["192.0.2.1:5000".parse().unwrap()],
            tcp_addresses: vec!["192.0.2.1:5000".parse().unwrap()],
            shard: 0,
            limits: Limits::default(),
            seed: [seed; 32],
            epoch: (now, NodeMicros(EPOCH)),
        };
        let mut world = Self {
            origin: now,
            now,
            engine: Engine::new(config).unwrap(),
            room: RoomId::random(),
            seats: Vec::new(),
            events: Vec::new(),
            tap_frames: Vec::new(),
            doors: BTreeMap::new(),
            loss: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            uplink_jitter: Duration::ZERO,
            busy: Duration::ZERO,
            stalls: (Duration::ZERO, 0.0),
            stalled_until: None,
            wakes: 0,
            trespasses: Vec::new(),
            media_sent: BTreeMap::new(),
            mixer: Mixer::default(),
            edit_offer: |_, offer| offer,
            opened: Vec::new(),
            flying: BinaryHeap::new(),
            count: 0,
            wait: None,
            rng: StdRng::from_seed([seed; 32]),
            replies: BTreeMap::new(),
            millis: 0,
        };
        world.command(Command::OpenRoom { room: world.room }).unwrap();
        world
    }

    pub(crate) fn counters(&self) -> Counters {
        *self.engine.counters()
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.count += 1;
        let ticket = self.count;
        self.engine.handle_input(self.now, Input::Command { ticket, command });
        self.drain();
        self.replies.remove(&ticket).expect("each command is answered before the Engine waits")
    }

    /// Adds a Peer for a Participant and negotiates.
    pub(crate) fn join(&mut self, participant: ParticipantId, door: Door, config: ClientConfig) -> usize {
        self.join_as(Manner::Native, participant, door, config)
    }

    /// The same for any client.
    pub(crate) fn join_as(
        &mut self,
        manner: Manner,
        participant: ParticipantId,
        door: Door,
        config: ClientConfig,
    ) -> usize {
        let peer = PeerId::random();
        self.command(Command::AddPeer { room: self.room, peer, participant, door, manner }).unwrap();
        self.doors.insert(peer, door);
        let index = self.seats.len();
        let config = ClientConfig { seed: self.rng.random(), ..config };
        self.seats.push(Seat {
            client: Client::new(config, self.now).unwrap(),
            address: SocketAddr::from(([198, 51, 100, 7], 10_000 + u16::try_from(index).unwrap())),
            peer,
            manner,
            participant,
            received: Vec::new(),
            is_sending: true,
            frames_sent: 0,
            wants_keyframe: true,
            is_asleep: false,
            voice: (20, 60),
            level: 40,
            limit: u64::MAX,
            least_limit: u64::MAX,
            sender: Sender::new(),
            encoder: Some(700_000),
            frames: (9000, 3500),
            making: 300_000,
            down: Link::default(),
            up: Link::default(),
            spoken: Vec::new(),
            joined: self.now,
            video_arrivals: Vec::new(),
            audio_arrivals: Vec::new(),
        });
        self.negotiate(index);
        index
    }

    pub(crate) fn negotiate(&mut self, seat: usize) -> String {
        let sdp = Redacted::new((self.edit_offer)(seat, self.seats[seat].client.offer()));
        let peer = self.seats[seat].peer;
        let reply = self.command(Command::Offer { room: self.room, peer, sdp }).unwrap();
        let Reply::Answer { sdp, .. } = reply else { unreachable!("an offer is answered by an answer") };
        self.seats[seat].client.set_answer(sdp.reveal(), self.now).unwrap();
        sdp.into_revealed()
    }

    /// Two people inside, connected, nothing sent yet but the handshake.
    pub(crate) fn two_party(seed: u8) -> Self {
        let mut world = Self::new(seed);
        for _ in 0..2 {
            world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
        }
        world
    }

    pub(crate) fn admit(&mut self, seat: usize) -> Result<Reply, Refusal> {
        let peer = self.seats[seat].peer;
        // The door opens within the command: what it sends at once is allowed.
        let before = self.doors.insert(peer, Door::Admitted);
        let reply = self.command(Command::Admit { room: self.room, peer });
        if reply.is_err() {
            self.restore(peer, before);
        }
        reply
    }

    pub(crate) fn send_back(&mut self, seat: usize) -> Result<Reply, Refusal> {
        let peer = self.seats[seat].peer;
        let before = self.doors.insert(peer, Door::Waiting);
        let reply = self.command(Command::SendBack { room: self.room, peer });
        if reply.is_err() {
            self.restore(peer, before);
        }
        reply
    }

    pub(crate) fn deny(&mut self, seat: usize) -> Result<Reply, Refusal> {
        let peer = self.seats[seat].peer;
        let reply = self.command(Command::Deny { room: self.room, peer });
        if reply.is_ok() {
            self.doors.insert(peer, Door::Removed);
        }
        reply
    }

    pub(crate) fn remove(&mut self, seat: usize) {
        let peer = self.seats[seat].peer;
        self.doors.insert(peer, Door::Removed);
        self.command(Command::Remove { room: self.room, peer }).unwrap();
    }

    fn restore(&mut self, peer: PeerId, before: Option<Door>) {
        match before {
            Some(door) => self.doors.insert(peer, door),
            None => self.doors.remove(&peer),
        };
    }

    /// The Tap's token as the shell would have heard it before the reply.
    pub(crate) fn start_tap(&mut self, recording: RecordingId) -> Result<(), Refusal> {
        self.start_cut_tap(recording, false)
    }

    pub(crate) fn start_cut_tap(&mut self, recording: RecordingId, is_cut: bool) -> Result<(), Refusal> {
        let reply = self.command(Command::StartTap { room: self.room, recording, is_cut })?;
        let Reply::Tap { token } = reply else { unreachable!("a tap is answered by a tap") };
        assert_eq!(token.reveal().len(), 64);
        assert_eq!(self.opened.last(), Some(&(recording, token)), "the place is made before the token is told");
        Ok(())
    }

    pub(crate) fn consent(&mut self, participant: ParticipantId, consented: bool) {
        self.command(Command::SetConsent { room: self.room, participant, consented }).unwrap();
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.engine.handle_input(self.now, input);
        self.drain();
    }

    /// Lets time pass: audio every 20 ms, a frame every 40 ms, keyframes when asked for.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MS;
            self.millis += 1;
            self.deliver();
            if self.wait.is_some_and(|at| at <= self.now) {
                self.wakes += 1;
                self.input(Input::Timeout);
            }
            for seat in 0..self.seats.len() {
                self.drive(seat);
            }
            self.deliver();
        }
        assert_eq!(self.counters().room_panics, 0);
    }

    /// Runs until this holds, at most `time`. Gives how long it took.
    pub(crate) fn run_until(&mut self, time: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> Duration {
        let begin = self.now;
        while !holds(self) {
            assert!(self.now < begin + time, "not within {time:?}");
            self.run(MS);
        }
        self.now - begin
    }

    pub(crate) fn connect(&mut self) {
        self.run_until(Duration::from_secs(5), |world| world.seats.iter().all(|seat| seat.client.is_connected()));
    }

    fn drive(&mut self, index: usize) {
        let (now, millis) = (self.now, self.millis + index as u64 * 7);
        let seat = &mut self.seats[index];
        if seat.client.poll_timeout().is_some_and(|at| at <= now) {
            seat.client.handle_timeout(now);
        }
        let stamp = u8::try_from(index).unwrap();
        if seat.is_sending && seat.client.is_connected() {
            if millis % seat.voice.0 == 0 {
                seat.client.send_audio(now, &vec![stamp; seat.voice.1], seat.level);
                seat.spoken.push((now, seat.voice.0));
            }
            if millis % 40 == 0 && !seat.is_asleep {
                let is_keyframe = std::mem::take(&mut seat.wants_keyframe);
                let size = match seat.encoder {
                    None if is_keyframe => seat.frames.0,
                    None => seat.frames.1,
                    Some(most) => {
                        // 200 ms of lag, as encoders have; a limit counts sound as well.
                        let allowed = seat.sender.allow(now, seat.up.rate, seat.limit, seat.making);
                        let right = most.min(allowed.saturating_sub(50_000));
                        seat.making = if right < seat.making { right } else { (seat.making * 4 + right) / 5 };
                        let frame = seat.making / 8 / 25;
                        usize::try_from(if is_keyframe { frame * 8 } else { frame * 93 / 100 }).unwrap().max(60)
                    }
                };
                seat.client.send_video_frame(now, &vec![stamp; size], is_keyframe);
                seat.frames_sent += 1;
            }
        }
        self.collect(index);
    }

    /// Takes what a client wants to send and what it saw.
    fn collect(&mut self, index: usize) {
        while let Some((_, bytes)) = self.seats[index].client.poll_transmit() {
            if self.rng.random::<f64>() >= self.loss.max(self.seats[index].up.loss) {
                let Some(passed) = self.seats[index].up.pass(self.now, bytes.len()) else { continue };
                self.count += 1;
                let more = self.uplink_jitter.mul_f64(self.rng.random()) + (passed - self.now);
                let due = std::cmp::Reverse((self.arrival() + more, self.count));
                self.flying.push(Flying { due, to_engine: true, seat: index, bytes });
            }
        }
        let events: Vec<ClientEvent> = std::iter::from_fn(|| self.seats[index].client.poll_event()).collect();
        for event in events {
            match event {
                ClientEvent::Rtp(packet) => {
                    let from = packet.payload.last().and_then(|stamp| self.seats.get(usize::from(*stamp)));
                    let from = from.and_then(|seat| self.doors.get(&seat.peer).copied());
                    // In a network with delay the door may have closed while the packet was under way.
                    if self.delay.is_zero() && from != Some(Door::Admitted) {
                        self.trespasses.push(format!("from {from:?}"));
                    }
                    let now = self.now;
                    let seat = &mut self.seats[index];
                    if &*packet.mid == "0" {
                        seat.audio_arrivals.push((now, packet.sequence));
                    } else if packet.marker {
                        seat.video_arrivals.push((now, packet.payload.len()));
                    }
                    seat.received.push(packet);
                }
                ClientEvent::KeyframeRequested { .. } => self.seats[index].wants_keyframe = true,
                ClientEvent::Limited { bits } => {
                    let seat = &mut self.seats[index];
                    (seat.limit, seat.least_limit) = (bits, seat.least_limit.min(bits));
                }
                ClientEvent::Connected | ClientEvent::Failed => {}
            }
        }
    }

    fn arrival(&mut self) -> Instant {
        self.now + self.delay + self.jitter.mul_f64(self.rng.random())
    }

    fn deliver(&mut self) {
        if self.is_stalled() {
            return;
        }
        while self.flying.peek().is_some_and(|next| next.due.0.0 <= self.now) {
            let Some(Flying { due, to_engine, seat, bytes }) = self.flying.pop() else { return };
            if to_engine {
                let from = self.seats[seat].address.into();
                self.input(Input::Datagram { from, bytes: &bytes });
            } else {
                let from = "192.0.2.1:5000".parse().unwrap();
                // The clock has steps of a millisecond; what the client reports has a quarter of that.
                let at = if self.reads_late() { self.now } else { due.0.0 };
                self.seats[seat].client.handle_datagram(at, from, &bytes);
                self.collect(seat);
            }
        }
    }

    const fn reads_late(&self) -> bool {
        !self.busy.is_zero() || !self.stalls.0.is_zero()
    }

    /// All clients stand still together, as those of one process do. The server is another process.
    fn is_stalled(&mut self) -> bool {
        let (length, share) = self.stalls;
        if self.stalled_until.is_some_and(|until| self.now < until) {
            return true;
        }
        self.stalled_until = None;
        if !length.is_zero() && self.rng.random::<f64>() < share * 1e-3 / length.as_secs_f64() {
            self.stalled_until = Some(self.now + length.mul_f64(0.5 + self.rng.random::<f64>()));
        }
        !self.busy.is_zero() && u128::from(self.millis) % self.busy.as_millis() != 0
    }

    fn drain(&mut self) {
        loop {
            match self.engine.poll_output() {
                Output::Send { to, bytes } => {
                    let Some(seat) = self.seats.iter().position(|seat| seat.address == to.remote) else {
                        self.trespasses.push("to nobody".into());
                        continue;
                    };
                    let is_media = matches!(bytes.first(), Some(128..=191));
                    let is_rtp = is_media && !matches!(bytes.get(1), Some(192..=223));
                    if is_media {
                        *self.media_sent.entry(seat).or_default() += u64::from(is_rtp);
                        let door = self.doors.get(&self.seats[seat].peer).copied();
                        let may = if is_rtp { door == Some(Door::Admitted) } else { door != Some(Door::Removed) };
                        if !may {
                            self.trespasses.push(format!("to {door:?}, rtp {is_rtp}"));
                        }
                    }
                    let loss = self.loss.max(self.seats[seat].down.loss);
                    if self.rng.random::<f64>() < loss {
                        continue;
                    }
                    let Some(passed) = self.seats[seat].down.pass(self.now, bytes.len()) else { continue };
                    if self.delay.is_zero() && passed == self.now {
                        // At once, so that what a client sees is judged by the doors of the moment at which it was sent.
                        let from = "192.0.2.1:5000".parse().unwrap();
                        self.seats[seat].client.handle_datagram(self.now, from, &bytes);
                        self.collect(seat);
                    } else {
                        self.count += 1;
                        let due = std::cmp::Reverse((self.arrival() + (passed - self.now), self.count));
                        self.flying.push(Flying { due, to_engine: false, seat, bytes: bytes.to_vec() });
                    }
                }
                Output::Reply { ticket, result } => {
                    assert!(self.replies.insert(ticket, result).is_none(), "answered twice");
                }
                Output::Event(event) => {
                    if let Event::PeerConnected { peer, .. } = event {
                        self.succeed(peer);
                    }
                    if let Event::EncodingWanted { peer, encoding, .. } = event
                        && let Some(seat) = self.seats.iter_mut().find(|seat| seat.peer == peer)
                    {
                        seat.is_asleep = encoding == Encoding::Asleep;
                    }
                    if let Event::AudioBudget { peer, bitrate, ptime_ms, .. } = event
                        && let Some(seat) = self.seats.iter_mut().find(|seat| seat.peer == peer)
                    {
                        let bytes = u64::from(bitrate) * u64::from(ptime_ms) / 8000;
                        seat.voice = (u64::from(ptime_ms), usize::try_from(bytes).unwrap());
                    }
                    self.events.push(event);
                }
                Output::MixWanted { plan, .. } => self.mixer.plans.push(plan),
                Output::Voice { packet, .. } => self.mixer.voices.push((self.now, packet)),
                Output::TapOpened { recording, token } => self.opened.push((recording, token)),
                Output::Tap { recording, frame } => self.tap_frames.push((recording, frame)),
                Output::Wait(until) => {
                    self.wait = until;
                    return;
                }
            }
        }
    }

    /// A Participant's younger Peer connected: the older ones are gone, but for what shares beside what does not.
    fn succeed(&mut self, peer: PeerId) {
        let Some(index) = self.seats.iter().position(|seat| seat.peer == peer) else { return };
        let shares = |seat: &Seat| seat.manner == Manner::ChimeShare;
        let of = |seat: &Seat| (seat.participant, shares(seat));
        let gone = of(&self.seats[index]);
        for seat in self.seats.iter().take(index).filter(|seat| of(seat) == gone) {
            self.doors.insert(seat.peer, Door::Removed);
        }
    }
}

impl Seat {
    /// Packets of a section, in order and without repetitions.
    pub(crate) fn packets(&self, mid: &str) -> BTreeMap<u64, &Received> {
        self.received.iter().filter(|p| &*p.mid == mid).map(|p| (p.sequence, p)).collect()
    }

    /// Frames of a section that came whole: from a first packet to a marker without a hole.
    pub(crate) fn whole_frames(&self, mid: &str) -> usize {
        let mut whole = 0;
        let mut next = None;
        for (sequence, packet) in self.packets(mid) {
            let starts = load::client::vp8::Payload::read(&packet.payload).is_some_and(|p| p.starts_frame);
            if starts {
                next = Some(sequence);
            }
            if next == Some(sequence) {
                next = Some(sequence + 1);
                if packet.marker {
                    whole += 1;
                    next = None;
                }
            } else {
                next = None;
            }
        }
        whole
    }
}
