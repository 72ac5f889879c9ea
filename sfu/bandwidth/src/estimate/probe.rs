//! Bursts that show whether the path carries more.

use std::time::{Duration, Instant};

use super::input::{Probe, ProbeId, Sent};
use super::record::Resolved;
use crate::Bitrate;

const PACKETS: u32 = 5;
const PACKET_BYTES: f64 = 1200.0;
/// With their headers hardly smaller.
const SMALLEST_PACKET: f64 = 160.0;
/// A burst takes the path for about so long: on a narrow one its packets are small, as sound stands in the queue behind them.
const OCCUPIES: f64 = 0.1;
const SHORTEST: Duration = Duration::from_millis(15);
/// Below 1 Mbit/s five packets take longer than 15 ms, and the receiver's clock is coarse.
const SHORTEST_SLOW: Duration = Duration::from_millis(25);
const SLOW: f64 = 1e6;
const TIMEOUT: Duration = Duration::from_secs(1);
/// A burst that a receiver reads in clumps of half its length says little: the next one is twice as long, at most so many times.
const LONGEST_STRETCH: u32 = 8;
const CLUMPED: f64 = 0.5;
/// Clumps so short are the grain of clocks, in seconds.
const GRAIN: f64 = 0.003;
/// A gap so much longer than the others is no other flow's packet in between, in seconds.
const STALL: f64 = 0.02;
/// Packets of a burst that are looked at one by one.
const LOOKED_AT: usize = 256;
/// A probe that reached so much of what it tried is followed by one twice as fast.
const GO_ON: f64 = 0.7;
const PERIOD: Duration = Duration::from_secs(5);
const WORTH_RETURNING: f64 = 0.66;
const RETURN: f64 = 0.85;
const LOSSY: f64 = 0.02;
/// What arrives at less of the rate at which it was sent met a full path.
const FULL: f64 = 0.9;

/// What the estimator knows when a probe might be due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Bits per second.
    pub rate: f64,
    pub max: f64,
    pub loss: f64,
    /// Nothing speaks against a burst: no queue, no drain, no test, no cap.
    pub allowed: bool,
    pub was_limited: bool,
    pub knows_capacity: bool,
    pub next_step: Option<f64>,
    pub round_trip: Duration,
}

/// What a probe has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// Bits per second, as a sending rate.
    pub rate: f64,
    /// The path delivered slower than we sent: it was full.
    pub full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    first: f64,
    last: f64,
}

impl Span {
    fn stretch(span: &mut Option<Self>, at: f64) {
        let span = span.get_or_insert(Self { first: at, last: at });
        span.first = span.first.min(at);
        span.last = span.last.max(at);
    }

    fn seconds(span: Option<Self>) -> f64 {
        span.map_or(0.0, |span| (span.last - span.first) / 1e3)
    }
}

#[derive(Clone, Debug)]
struct Cluster {
    probe: Probe,
    began: Instant,
    last_sent: Instant,
    sent_packets: u32,
    sent_bytes: f64,
    newest_bytes: f64,
    told: u32,
    acked_packets: u32,
    acked_bytes: f64,
    first_acked_bytes: f64,
    sending: Option<Span>,
    arriving: Option<Span>,
    /// What the path carries is known: another's burst in between is likelier than a receiver that stood still.
    knows_capacity: bool,
    /// When packets left and arrived, in milliseconds: at most [`LOOKED_AT`].
    passed: Vec<(f64, f64)>,
}

impl Cluster {
    /// For how long packets of the burst stood somewhere until they arrived together, in seconds: by so much a later one was
    /// faster than one before it. What a full path does is the contrary.
    fn clump(&mut self) -> f64 {
        self.passed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut slowest = f64::NEG_INFINITY;
        let mut clump = 0.0_f64;
        for (sent, arrival) in &self.passed {
            slowest = slowest.max(arrival - sent);
            clump = clump.max(slowest - (arrival - sent));
        }
        clump / 1e3
    }

    /// How much of the span of arrival is one gap that stands alone, in seconds: the receiver stood still. A full path spreads
    /// what it delays over the burst.
    fn stall(&self) -> f64 {
        let mut arrivals: Vec<f64> = self.passed.iter().map(|(_, arrival)| *arrival).collect();
        arrivals.sort_unstable_by(f64::total_cmp);
        let (mut longest, mut second) = (0.0_f64, 0.0_f64);
        for gap in arrivals.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?)) {
            if gap > longest {
                (second, longest) = (longest, gap);
            } else {
                second = second.max(gap);
            }
        }
        (longest - second) / 1e3
    }
}

/// What a burst showed.
enum Verdict {
    Found(Finding),
    /// It was too short to tell.
    Unclear,
    /// Too little of it came.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Prober {
    cluster: Option<Cluster>,
    /// Bursts are so many times longer than they would be.
    stretch: u32,
    next_id: u32,
    /// The next of a chain, and not before when.
    chain: Option<(f64, Instant)>,
    /// Wanted once, and not before when; given up after.
    once: Option<(f64, Instant)>,
    begun: bool,
    last: Option<Instant>,
    /// What was held before the last great fall, and when it fell.
    fallen: Option<(f64, Instant)>,
    returned: Option<Instant>,
}

impl Prober {
    pub(super) fn new() -> Self {
        Self {
            cluster: None,
            stretch: 1,
            next_id: 0,
            chain: None,
            once: None,
            begun: false,
            last: None,
            fallen: None,
            returned: None,
        }
    }

    /// As at the beginning: the path may be another. Keeps counting ids.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { next_id: self.next_id, ..Self::new() };
    }

    /// Stops what is under way.
    pub(super) fn stop(&mut self) {
        self.cluster = None;
        self.chain = None;
        self.once = None;
    }

    /// Wants one burst at `rate`, not before `at`.
    pub(super) fn want(&mut self, rate: f64, at: Instant) {
        self.once = Some((rate, at));
    }

    /// The rate fell from `before` to `after`.
    pub(super) fn handle_fall(&mut self, now: Instant, before: f64, after: f64) {
        self.chain = None;
        if after < WORTH_RETURNING * before {
            self.fallen = Some((before.max(self.fallen.map_or(0.0, |(rate, _)| rate)), now));
        }
    }

    pub(super) fn handle_sent(&mut self, now: Instant, sent: &Sent) {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| Some(cluster.probe.id) == sent.probe) else {
            return;
        };
        let bytes = sent.bytes as f64;
        cluster.sent_packets += 1;
        cluster.sent_bytes += bytes;
        cluster.newest_bytes = bytes;
        cluster.last_sent = now;
        Span::stretch(&mut cluster.sending, now.saturating_duration_since(cluster.began).as_secs_f64() * 1e3);
    }

    /// A burst is under way, or one is wanted as soon as it is allowed.
    pub(super) const fn is_busy(&self) -> bool {
        self.cluster.is_some() || self.chain.is_some() || self.once.is_some()
    }

    /// When a burst may be due.
    pub(super) fn poll_timeout(&self, now_wanted: bool) -> Option<Instant> {
        if let Some(cluster) = &self.cluster {
            return Some(cluster.last_sent + TIMEOUT);
        }
        let chain = self.chain.map(|(_, at)| at);
        let once = self.once.map(|(_, at)| at);
        let periodic = self.last.filter(|_| now_wanted).map(|at| at + PERIOD);
        [chain, once, periodic].into_iter().flatten().min()
    }

    /// A burst, if one is due.
    pub(super) fn poll(&mut self, now: Instant, situation: Situation) -> Option<Probe> {
        self.expire(now, situation);
        if self.cluster.is_some() {
            return None;
        }
        let rate = self.find_due(now, situation)?;
        let rate = rate.min(situation.max);
        let rate = if self.begun && situation.loss > LOSSY { rate.min(1.5 * situation.rate) } else { rate };
        let shortest = if rate < SLOW { SHORTEST_SLOW } else { SHORTEST };
        // The first one meets a start that is a guess, and the first keyframe leaves with it.
        let packet = if self.begun { OCCUPIES * situation.rate / 8.0 / f64::from(PACKETS) } else { PACKET_BYTES };
        let packet = packet.clamp(SMALLEST_PACKET, PACKET_BYTES);
        let five = bits(rate).time_for(to_bytes(f64::from(PACKETS) * packet));
        let duration = (shortest * self.stretch).max(five).min(Duration::from_secs(1));
        let bytes = usize::try_from(bits(rate).bytes_in(duration)).unwrap_or(usize::MAX);
        self.next_id = self.next_id.wrapping_add(1);
        let probe = Probe { id: ProbeId(self.next_id), rate: bits(rate), bytes, packets: PACKETS, duration };
        self.begun = true;
        self.last = Some(now);
        self.cluster = Some(Cluster {
            probe,
            began: now,
            last_sent: now + duration,
            sent_packets: 0,
            sent_bytes: 0.0,
            newest_bytes: 0.0,
            told: 0,
            acked_packets: 0,
            acked_bytes: 0.0,
            first_acked_bytes: 0.0,
            sending: None,
            arriving: None,
            knows_capacity: situation.knows_capacity,
            passed: Vec::new(),
        });
        Some(probe)
    }

    fn expire(&mut self, now: Instant, situation: Situation) {
        let out = |cluster: &Cluster| now.saturating_duration_since(cluster.last_sent) > TIMEOUT + situation.round_trip;
        if self.cluster.as_ref().is_some_and(out) {
            self.cluster = None;
        }
    }

    fn find_due(&mut self, now: Instant, situation: Situation) -> Option<f64> {
        if !self.begun {
            return Some(3.0 * situation.rate);
        }
        if !situation.allowed {
            return None;
        }
        if let Some((rate, _)) = self.chain.filter(|&(_, at)| now >= at) {
            self.chain = None;
            // What arrived meanwhile may have shown as much: the chain goes on from there, until the path is known.
            let is_behind = rate <= situation.rate && !situation.knows_capacity;
            let rate = if is_behind { 1.5 * situation.rate } else { rate };
            return (rate.min(situation.max) > situation.rate).then_some(rate);
        }
        if let Some((rate, _)) = self.once.filter(|&(_, at)| now >= at) {
            self.once = None;
            return (rate > situation.rate).then(|| rate.min(2.0 * situation.rate));
        }
        if let Some(rate) = self.find_return(now, situation) {
            return Some(rate);
        }
        if self.last.is_some_and(|at| now.saturating_duration_since(at) < PERIOD) {
            return None;
        }
        if let Some(step) = situation.next_step.filter(|&step| 1.1 * step > situation.rate) {
            return Some((1.1 * step).min(2.0 * situation.rate));
        }
        (!situation.knows_capacity && situation.rate < 0.95 * situation.max).then_some(2.0 * situation.rate)
    }

    /// Once after a great fall: most of what there was before.
    fn find_return(&mut self, now: Instant, situation: Situation) -> Option<f64> {
        let (before, at) = self.fallen?;
        let rested = self.returned.is_none_or(|at| now.saturating_duration_since(at) >= PERIOD);
        if now.saturating_duration_since(at) > PERIOD || RETURN * before <= situation.rate {
            self.fallen = None;
            return None;
        }
        if !(situation.was_limited && rested) {
            return None;
        }
        self.fallen = None;
        self.returned = Some(now);
        Some(RETURN * before)
    }

    /// What one report tells of the burst under way. `inherent` is the share lost by nature.
    pub(super) fn handle_resolved(&mut self, now: Instant, resolved: &[Resolved], inherent: f64) -> Option<Finding> {
        let cluster = self.cluster.as_mut()?;
        for packet in resolved {
            if packet.probe != Some(cluster.probe.id) {
                continue;
            }
            if !packet.was_lost {
                cluster.told += 1;
            }
            let Some(arrival) = packet.arrival else { continue };
            let bytes = f64::from(packet.bytes);
            if cluster.arriving.is_none_or(|span| arrival < span.first) {
                cluster.first_acked_bytes = bytes;
            }
            cluster.acked_packets += 1;
            cluster.acked_bytes += bytes;
            Span::stretch(&mut cluster.arriving, arrival);
            if cluster.passed.len() < LOOKED_AT {
                let sent = packet.sent.saturating_duration_since(cluster.began).as_secs_f64() * 1e3;
                cluster.passed.push((sent, arrival));
            }
        }
        let whole = cluster.sent_packets >= cluster.probe.packets && cluster.sent_bytes >= cluster.probe.bytes as f64;
        let over = now.saturating_duration_since(cluster.began) > 2 * cluster.probe.duration + SHORTEST;
        if !(whole || over) || cluster.told < cluster.sent_packets || cluster.sent_packets == 0 {
            return None;
        }
        let mut cluster = self.cluster.take()?;
        let clump = if cluster.knows_capacity { 0.0 } else { cluster.clump() };
        let finding = match judge(&cluster, clump, inherent) {
            Verdict::Found(finding) => {
                if clump < 0.25 * CLUMPED * Span::seconds(cluster.sending) {
                    self.stretch = (self.stretch / 2).max(1);
                }
                finding
            }
            Verdict::Unclear if self.stretch < LONGEST_STRETCH && !cluster.knows_capacity => {
                self.stretch *= 2;
                self.chain = Some((cluster.probe.rate.as_bps() as f64, now));
                return None;
            }
            Verdict::Unclear | Verdict::Nothing => return None,
        };
        if finding.rate >= GO_ON * cluster.probe.rate.as_bps() as f64 && !finding.full {
            self.chain = Some((2.0 * finding.rate, now));
        }
        Some(finding)
    }
}

fn judge(cluster: &Cluster, clump: f64, inherent: f64) -> Verdict {
    let needed = 0.8 * (1.0 - inherent);
    let enough = f64::from(cluster.acked_packets) >= needed * f64::from(cluster.sent_packets)
        && cluster.acked_bytes >= needed * cluster.sent_bytes
        && cluster.acked_packets >= 3;
    let (sending, arriving) = (Span::seconds(cluster.sending), Span::seconds(cluster.arriving));
    if !enough || sending <= 0.0 || sending > 1.0 || arriving > 1.0 {
        return Verdict::Nothing;
    }
    // Each end of the span of arrival may be off by a clump.
    let is_full = arriving - clump > sending / FULL;
    let stall = cluster.stall();
    let is_stalled =
        stall > STALL && !cluster.knows_capacity && arriving > sending / FULL && arriving - stall <= sending / FULL;
    if !is_full && clump > GRAIN && clump > CLUMPED * sending || is_stalled || arriving <= 0.0 {
        return Verdict::Unclear;
    }
    // The last to leave ends after the span of leaving, the first to arrive began before that of arriving. Both are taken for
    // the larger: in a burst of few packets a small one at one end would else read as a path that is full.
    let edge = cluster.newest_bytes.max(cluster.first_acked_bytes);
    let sent = (cluster.sent_bytes - edge).max(0.0) * 8.0 / sending;
    // What nature took would have come at the same pace.
    let received = (cluster.acked_bytes - edge).max(0.0) * 8.0 / arriving / (1.0 - inherent);
    if received > 2.0 * sent {
        return Verdict::Unclear;
    }
    let full = received < FULL * sent && (clump <= GRAIN || is_full);
    Verdict::Found(Finding { rate: if full { 0.95 * received } else { sent.min(received) }, full })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand, never negative")]
fn to_bytes(bytes: f64) -> u64 {
    bytes as u64
}

/// Rounded down; a negative rate is none.
fn bits(rate: f64) -> Bitrate {
    Bitrate::bps(1).scale(rate)
}
