//! What a Peer's downlink carries: packets that leave are told to the estimator, reports come back to it, and its target
//! paces and divides.

use std::time::{Duration, Instant};

use bandwidth::{
    Ack, Allocator, Bitrate, Budget, CarriedOver, Claim, Estimator, EstimatorConfig, Grant, Granted, MAX_RATE, Pacer,
    Probe, ProbeId, Report, Sent, SentKind, Shed, Urgency, Waiting,
};

use crate::guard::{Guard, Measure};
use crate::meter::Meter;
use crate::packet_out::PacketOut;
use crate::rtp::arrivals;
use crate::sound::Reach;
use crate::transport::Path;

/// What a packet is, as it leaves. Sound has no place here: it waits for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A face or a screen.
    Picture(Urgency),
    /// Sent again.
    Repair,
    /// For a probe: a repair that nobody asked for, or nothing but padding.
    Probe(ProbeId),
}

/// RTP header, extensions and tag, where the exact length is not known yet.
const AROUND: usize = 48;
/// Repairs may take this share of the target, and what they did not take of it in the last second.
const REPAIR_SHARE: f64 = 0.25;
const REPAIR_WINDOW: Duration = Duration::from_secs(1);
/// Repairs may take as much of any target: at the start a keyframe must be repairable.
const LEAST_REPAIR: Bitrate = Bitrate::kbps(150);
/// A probe's packets leave in steps of this.
const PROBE_STEP: Duration = Duration::from_millis(2);
/// A probe that tries no more than this share over the target is not sent.
const PROBE_MARGIN: f64 = 1.05;
/// Most of a probe packet's payload.
pub(crate) const PROBE_BYTES: usize = 1200;
/// How often sound is measured.
const TURN: Duration = Duration::from_millis(50);
/// Until so many packets left, the way is looked after at every tick: first probes follow each other quickly.
const YOUNG: u64 = 200;
/// RTCP and what else is small.
const CONTROL: Bitrate = Bitrate::kbps(5);

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct Burst {
    probe: Probe,
    began: Instant,
    bytes: usize,
    packets: u32,
}

/// The way to one Peer.
#[derive(Debug)]
pub(crate) struct Downlink {
    estimator: Estimator,
    config: EstimatorConfig,
    pacer: Pacer<PacketOut>,
    allocator: Allocator,
    /// Next transport-wide number, RTX and padding included.
    next_number: u64,
    route: Option<Path>,
    /// Bytes of IP and UDP in front of each datagram.
    overhead: usize,
    sound: Meter,
    guard: Guard,
    /// Its rate, as it was at the last turn.
    sound_rate: Bitrate,
    bytes: u64,
    reference: Option<i64>,
    statuses: Vec<Option<i32>>,
    acks: Vec<Ack>,
    burst: Option<Burst>,
    /// Bytes that repairs may take, and when they were counted last.
    repairs: (i64, Instant),
    next_turn: Instant,
    /// Streams of which waiting packets were dropped, each once: they rest until the queue is short again.
    resting: Vec<u32>,
    /// Pictures in the last division.
    claims: usize,
    /// None of them has steps, and their publishers follow what this way carries.
    is_followed: bool,
}

impl Downlink {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        let config = EstimatorConfig { seed, ..EstimatorConfig::default() };
        Self {
            estimator: Estimator::new(config, now),
            config,
            pacer: Pacer::new(config.start, now),
            allocator: Allocator::new(now),
            next_number: 1,
            route: None,
            overhead: 28,
            sound: Meter::default(),
            guard: Guard::default(),
            sound_rate: Bitrate::ZERO,
            bytes: 0,
            reference: None,
            statuses: Vec::new(),
            acks: Vec::new(),
            burst: None,
            repairs: (i64::MAX, now),
            next_turn: now,
            resting: Vec::new(),
            claims: 0,
            is_followed: false,
        }
    }

    /// Begins where a Peer of the same person at the same address was a while ago.
    pub(crate) fn resume(&mut self, now: Instant, carried: CarriedOver) {
        self.config = self.config.resume(carried);
        self.estimator = Estimator::new(self.config, now);
        self.pacer = Pacer::new(self.config.start, now);
    }

    pub(crate) fn carry_over(&self) -> Option<CarriedOver> {
        self.estimator.carry_over()
    }

    // What leaves.

    /// True when a packet of this sort may leave now; otherwise it waits: see [`Self::park`].
    pub(crate) fn admit(&mut self, now: Instant, sort: Sort, payload: usize) -> bool {
        match sort {
            Sort::Probe(_) => true,
            Sort::Picture(_) | Sort::Repair => self.pacer.admit(now, payload + AROUND + self.overhead),
        }
    }

    /// Lets a packet wait. What is told had to be dropped.
    pub(crate) fn park(&mut self, now: Instant, packet: PacketOut) -> Shed<PacketOut> {
        let urgency = match packet.sort {
            Sort::Picture(urgency) => urgency,
            Sort::Repair => Urgency::Repair,
            Sort::Probe(_) => Urgency::Padding,
        };
        let (stream, bytes) = (packet.header.ssrc, packet.payload.len() + AROUND + self.overhead);
        let shed = self.pacer.push(now, Waiting { urgency, stream, is_discardable: false, bytes, packet });
        if let Some(stream) = shed.broken.filter(|stream| !self.rests(*stream)) {
            self.resting.push(stream);
        }
        shed
    }

    /// The next waiting packet whose time has come.
    pub(crate) fn unpark(&mut self, now: Instant) -> Option<PacketOut> {
        Some(self.pacer.pop(now)?.packet)
    }

    /// The next waiting packet, whatever the budget.
    pub(crate) fn unpark_any(&mut self, now: Instant) -> Option<PacketOut> {
        Some(self.pacer.pop_any(now)?.packet)
    }

    /// Nothing of these streams leaves any more: what waited of them, repairs included.
    pub(crate) fn drop_waiting(&mut self, is_over: impl Fn(u32) -> bool) -> Vec<PacketOut> {
        self.pacer.drop_where(|waiting| is_over(waiting.stream))
    }

    /// How long a repair waits before it is dropped.
    pub(crate) const fn repair_age(&self) -> Duration {
        self.pacer.repair_age()
    }

    /// The transport-wide number of the packet that leaves now.
    pub(crate) const fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Notes a packet of sound that left: `length` is that of the datagram, `number` its transport-wide number, if it has one.
    pub(crate) fn note_sound(&mut self, now: Instant, number: Option<u64>, length: usize) {
        let bytes = length + self.overhead;
        self.sound.note(bytes, now);
        number.into_iter().for_each(|number| self.guard.note_sent(number));
        self.pacer.note_unpaced(bytes);
        self.note_left(now, (SentKind::Media, None), number, bytes);
    }

    /// The same of any other packet.
    pub(crate) fn note_sent(&mut self, now: Instant, sort: Sort, number: Option<u64>, length: usize) {
        let what = match sort {
            Sort::Picture(_) => (SentKind::Media, None),
            Sort::Repair => (SentKind::Repair, None),
            Sort::Probe(id) => (SentKind::Padding, Some(id)),
        };
        self.note_left(now, what, number, length + self.overhead);
    }

    fn note_left(
        &mut self,
        now: Instant,
        (kind, probe): (SentKind, Option<ProbeId>),
        number: Option<u64>,
        bytes: usize,
    ) {
        self.bytes += bytes as u64;
        // Whatever leaves while a probe runs is part of it: the receiver sees one burst.
        let probe = probe.or_else(|| self.burst.map(|burst| burst.probe.id));
        if let Some(burst) = &mut self.burst {
            burst.bytes += bytes;
            burst.packets += 1;
        }
        match number {
            Some(number) => self.estimator.handle_sent(now, Sent { number, bytes, kind, probe }),
            None => self.estimator.handle_untracked(now, bytes),
        }
    }

    /// RTCP and the like: no number, but room on the way.
    pub(crate) fn note_control(&mut self, length: usize) {
        let bytes = length + self.overhead;
        self.bytes += bytes as u64;
        self.pacer.note_unpaced(bytes);
    }

    /// True when the repair budget allows another packet, which is taken off it: the one cap on what NACKs may cost.
    pub(crate) fn may_repair(&mut self, now: Instant, payload: usize) -> bool {
        let rate = self.estimator.target().scale(REPAIR_SHARE).max(LEAST_REPAIR);
        let bytes = |time| i64::try_from(rate.bytes_in(time)).unwrap_or(i64::MAX);
        let (left, counted) = self.repairs;
        let earned = bytes(now.saturating_duration_since(counted));
        // What is less than a byte is counted later.
        let counted = if earned > 0 { now } else { counted };
        let left = left.saturating_add(earned).min(bytes(REPAIR_WINDOW));
        let is_allowed = left > 0;
        let cost = i64::try_from(payload + AROUND + self.overhead).unwrap_or(i64::MAX);
        self.repairs = (if is_allowed { left - cost } else { left }, counted);
        is_allowed
    }

    // What comes back.

    /// Reads a transport-wide report and tells the estimator. False when it makes no sense.
    pub(crate) fn handle_report(&mut self, now: Instant, body: &[u8]) -> bool {
        let Some(head) = arrivals::read(body, &mut self.statuses) else { return false };
        let Some(newest) = self.next_number.checked_sub(1).filter(|newest| *newest > 0) else { return true };
        // 24 bits of 64 ms, unrolled by nearness.
        let reference = match self.reference {
            None => i64::from(head.reference),
            Some(before) => {
                let step = head.reference.wrapping_sub((before & 0x00ff_ffff) as u32) << 8;
                before + i64::from(step.cast_signed() >> 8)
            }
        };
        self.reference = Some(reference);
        self.acks.clear();
        for (status, place) in self.statuses.iter().zip(0u16..) {
            // Nothing that did not leave can have come: each number is the newest one of those that left.
            let age = ((newest & 0xffff) as u16).wrapping_sub(head.base.wrapping_add(place));
            let Some(number) = newest.checked_sub(u64::from(age)).filter(|number| *number > 0) else { continue };
            if self.acks.last().is_some_and(|last| last.number >= number) {
                // It runs into numbers that were never sent.
                break;
            }
            let arrival = status.and_then(|ticks| {
                let ticks = u64::try_from(reference * 256 + i64::from(ticks)).ok()?;
                Some(Duration::from_micros(ticks.saturating_mul(250)))
            });
            self.acks.push(Ack { number, arrival });
        }
        self.guard.note_acks(now, &self.acks);
        self.estimator.handle_report(now, Report { count: head.count, acks: &self.acks });
        true
    }

    pub(crate) fn handle_receiver_report(&mut self, now: Instant, lost: f32, expected: u32, trip: Option<Duration>) {
        self.estimator.handle_receiver_report(now, bandwidth::ReceiverReport { lost, expected, round_trip: trip });
    }

    pub(crate) fn handle_limit(&mut self, bits: u64) {
        self.estimator.handle_remb(Bitrate::bps(bits));
    }

    // What is due.

    /// Lets the estimator work, as often as timers are looked at.
    pub(crate) fn tend(&mut self, now: Instant, route: Option<Path>) {
        if let Some(path) = route.filter(|_| route != self.route) {
            let kind = if path.is_tcp() { bandwidth::Path::Tcp } else { bandwidth::Path::Udp };
            if kind != self.config.path {
                self.config.path = kind;
                self.estimator = Estimator::new(self.config, now);
            } else if self.route.is_some() {
                self.estimator.handle_route_change(now);
            }
            self.route = route;
            let address = if path.remote.is_ipv6() { 40 } else { 20 };
            // RFC 4571 puts two bytes of length in front of each packet in a TCP stream.
            self.overhead = address + if path.is_tcp() { 22 } else { 8 };
        }
        if self.estimator.poll_timeout().is_some_and(|at| at <= now) {
            self.estimator.handle_timeout(now);
        }
        if self.burst.is_none()
            && let Some(probe) = self.estimator.poll_probe(now)
            // At what is held already it would show nothing.
            && probe.rate > self.estimator.target().scale(PROBE_MARGIN)
        {
            self.burst = Some(Burst { probe, began: now, bytes: 0, packets: 0 });
        }
        if now >= self.next_turn {
            self.next_turn = now + TURN;
            self.sound_rate = self.sound.rate(now);
            self.estimator.set_audio_reserve(self.sound_rate);
        }
        self.pacer.set_target(now, self.paced(), self.estimator.round_trip());
    }

    /// Something is under way that should not wait for a beat.
    pub(crate) const fn is_busy(&self) -> bool {
        self.burst.is_some() || self.pacer.bytes() > 0 || self.estimator.is_probing()
    }

    /// Nothing much left so far.
    pub(crate) const fn is_young(&self) -> bool {
        self.next_number < YOUNG
    }

    /// What pictures are paced by: a test of the path is for them alone.
    fn paced(&self) -> Bitrate {
        self.target().scale(self.estimator.video_scale())
    }

    /// The probe packet that should leave now: its name, and how many bytes of payload it has about.
    pub(crate) fn poll_probe(&mut self, now: Instant) -> Option<(ProbeId, usize)> {
        let burst = self.burst?;
        let probe = burst.probe;
        let passed = now.saturating_duration_since(burst.began);
        let is_whole = burst.bytes >= probe.bytes && burst.packets >= probe.packets && passed >= probe.duration;
        // A step of the timer may have come late; much later it is no burst any more.
        if is_whole || passed > probe.duration * 4 + Duration::from_millis(50) {
            self.burst = None;
            return None;
        }
        let due = probe.rate.bytes_in(passed + PROBE_STEP);
        let packet = probe.bytes / usize::try_from(probe.packets.max(1)).unwrap_or(1);
        let payload = packet.saturating_sub(AROUND + self.overhead).clamp(1, PROBE_BYTES);
        ((burst.bytes as u64) < due).then_some((probe.id, payload))
    }

    /// Gives up the probe under way: there is nothing to send it with.
    pub(crate) const fn forget_probe(&mut self) {
        self.burst = None;
    }

    /// When something waits for its time between two looks at the timers.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let probe = self.burst.map(|_| now + PROBE_STEP);
        [self.pacer.poll_timeout(), probe].into_iter().flatten().min().map(|at| at.max(now + PROBE_STEP / 2))
    }

    // What it is spent on.

    pub(crate) fn is_division_due(&self, now: Instant) -> bool {
        self.allocator.is_due(now, self.estimator.target(), self.sound_rate)
    }

    pub(crate) const fn next_division(&self) -> Instant {
        self.allocator.next()
    }

    pub(crate) const fn touch(&mut self, now: Instant) {
        self.allocator.touch(now);
    }

    /// Whether all that is wanted comes from publishers who send what this way alone allows.
    pub(crate) const fn set_followed(&mut self, is_followed: bool) {
        self.is_followed = is_followed;
    }

    /// Divides, and tells the estimator what is wanted: `best` is the sum of the best of all claims.
    pub(crate) fn divide(&mut self, now: Instant, claims: &[Claim<'_>], best: Bitrate) -> Vec<Granted> {
        let sound = self.sound.rate(now);
        // Reports stopped altogether: sound alone until one comes.
        let target = if self.estimator.is_deaf() { sound } else { self.target() };
        let budget = Budget {
            target,
            sound,
            loss: self.estimator.loss(),
            queue: self.pacer.delay(),
            is_calm: self.estimator.is_calm(now),
            video_scale: self.estimator.video_scale(),
        };
        let granted = self.allocator.allocate(now, &budget, claims).to_vec();
        self.estimator.set_desired(now, (best + sound + CONTROL).min(MAX_RATE));
        // A single encoding has no steps: for it, all that is wanted is worth a look as long as the target is less.
        let all = (self.is_followed && granted.iter().all(|one| one.grant != Grant::Paused)).then_some(best);
        let next = [self.allocator.next_step(), all].into_iter().flatten().min().map(|step| step + sound);
        self.estimator.set_next_step(now, next.filter(|next| *next > self.estimator.target()));
        if claims.len() > self.claims {
            self.estimator.handle_more_wanted(now, (best + sound).min(MAX_RATE));
        }
        self.claims = claims.len();
        if self.pacer.delay() < Duration::from_millis(50) {
            self.resting.clear();
        }
        granted
    }

    /// Packets of this stream were dropped, and the queue is still long.
    pub(crate) fn rests(&self, stream: u32) -> bool {
        self.resting.contains(&stream)
    }

    /// Decides how much redundancy sound is owed; `amount` are packets and bytes of frames since the last time.
    pub(crate) fn guard_sound(&mut self, now: Instant, amount: (u32, usize), reported: f32, has_picture: bool) {
        let (target, overhead) = (self.estimator.target(), self.overhead);
        self.guard.poll(now, &Measure { amount, overhead, target, reported, has_picture });
    }

    /// What voices may reckon with.
    pub(crate) fn sound_target(&self) -> Bitrate {
        self.guard.target().unwrap_or_else(|| self.estimator.target())
    }

    /// How many frames back packets of sound reach.
    pub(crate) const fn reach(&self) -> Reach {
        self.guard.reach()
    }

    /// Share of sound lost on the way; `reported` is what receiver reports say.
    pub(crate) fn sound_loss(&self, now: Instant, reported: f32) -> f32 {
        self.guard.loss(now, reported).0
    }

    // What it tells.

    /// What may be sent. Publishers who follow a rate are not asked for more than the way carries to see whether it carries
    /// more: probes show that, for a moment every few seconds and without a queue.
    pub(crate) fn target(&self) -> Bitrate {
        let target = self.estimator.target();
        let capacity = self.estimator.capacity().filter(|_| self.is_followed);
        capacity.map_or(target, |capacity| target.min(capacity).max(self.estimator.floor()))
    }

    /// The target is a limit of the path, not only what was tried so far.
    pub(crate) fn is_bound(&self) -> bool {
        self.estimator.is_bound()
    }

    /// All bytes that left, with IP and UDP.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}
