//! The cap by loss: loss without a queue is innocent until a small experiment shows that it answers to our rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::record::Resolved;

const SPAN: Duration = Duration::from_millis(250);
const PACKETS: u32 = 20;
const KEPT: usize = 15;
const RECENT: usize = 4;
const AGEING: f64 = 0.9;
const FIRST_INHERENT: f64 = 0.01;
const MOST_INHERENT: f64 = 0.30;
/// Not worth a cap.
const LITTLE: f64 = 0.02;
const MOST_INHERENT_WHEN_LIMITED: f64 = 0.10;
const TEST_ABOVE: f64 = 0.08;
const TEST_SCALE: f64 = 0.8;
const FIRST_TEST_PAUSE: f64 = 10.0;
const SOON: Duration = Duration::from_secs(5);
const LONGEST_TEST_PAUSE: f64 = 60.0;
/// Above this with nothing that could be scaled, loss is taken for congestion.
const BEYOND_NATURE: f64 = 0.35;
const LONGEST_BURST: f64 = 20.0;
const CONGESTED_UNTESTED: f64 = 0.20;

/// What one report said, besides its packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    /// A queue stands, so loss may be its overflow.
    pub queued: bool,
    pub limited: bool,
    /// Delay has just cut the rate: what is lost now was sent before.
    pub answered: bool,
    /// Bits per second that arrived.
    pub acked: Option<f64>,
    /// What delay alone would allow.
    pub rate: f64,
    pub round_trip: Duration,
    /// Whether there is video that can be sent at less for a while.
    pub can_test: bool,
}

#[derive(Clone, Copy, Debug)]
struct Observation {
    began: Instant,
    ended: Instant,
    packets: u32,
    bytes: f64,
    lost: f64,
}

impl Observation {
    fn ratio(&self) -> f64 {
        if self.bytes > 0.0 { (self.lost / self.bytes).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Bits per second that came through.
    fn delivered(&self) -> f64 {
        let span = self.ended.saturating_duration_since(self.began).as_secs_f64().max(0.05);
        (self.bytes - self.lost).max(0.0) * 8.0 / span
    }
}

/// A trial at a lower rate: does loss answer to it?
#[derive(Clone, Debug)]
struct Test {
    began: Instant,
    loss: f64,
    packets: f64,
    delivered: f64,
    seen: Vec<Observation>,
}

/// The path drops what exceeds a rate, without a queue to tell of it.
#[derive(Clone, Copy, Debug)]
struct Congested {
    delivered: f64,
    inherent: f64,
}

/// What a trial has shown, or what came before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    AfterExcess,
    AfterVerdict,
}

#[derive(Debug)]
pub(super) struct Loss {
    random: StdRng,
    open: Option<Observation>,
    kept: VecDeque<Observation>,
    inherent: f64,
    weighted: f64,
    cap: Option<f64>,
    growth: Growth,
    grown: Option<Instant>,
    cut: Option<Instant>,
    held_until: Option<Instant>,
    test: Option<Test>,
    /// Packets lost in a row, in the mean: what comes in bursts says less than its count.
    burst: f64,
    run: f64,
    /// After a verdict of congestion: what came through then, and the most that may since be nature's.
    congested: Option<Congested>,
    next_test: Option<Instant>,
    /// What the last test found to be natural, and when.
    found: Option<(f64, Instant)>,
    pause: f64,
}

impl Loss {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            open: None,
            kept: VecDeque::with_capacity(KEPT),
            inherent: FIRST_INHERENT,
            weighted: 0.0,
            cap: None,
            growth: Growth::AfterExcess,
            grown: None,
            cut: None,
            held_until: None,
            test: None,
            burst: 1.0,
            run: 0.0,
            congested: None,
            next_test: None,
            found: None,
            pause: FIRST_TEST_PAUSE,
        }
    }

    /// The share lost by nature, so far as it is known.
    pub(super) fn inherent(&self) -> f64 {
        self.inherent
    }

    /// The share lost of late.
    pub(super) fn weighted(&self) -> f64 {
        self.weighted
    }

    pub(super) fn cap(&self) -> Option<f64> {
        self.cap
    }

    /// Next to nothing is lost any more: a cap that is left is only slow to go, where few packets tell.
    pub(super) fn is_over(&self) -> bool {
        self.test.is_none() && self.recent_loss() <= LITTLE
    }

    /// A burst came through whole at `rate`.
    pub(super) fn handle_probe_through(&mut self, rate: f64) {
        if self.cap.is_some_and(|cap| cap < rate) {
            self.cap = None;
            self.congested = None;
        }
    }

    pub(super) fn is_testing(&self) -> bool {
        self.test.is_some()
    }

    /// Growth must wait: a test runs, or has just found congestion.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.is_testing() || self.held_until.is_some_and(|until| now < until)
    }

    pub(super) fn scale(&self) -> f64 {
        if self.is_testing() { TEST_SCALE } else { 1.0 }
    }

    /// What was under way says nothing: reports were missing for long.
    pub(super) fn break_off(&mut self) {
        self.open = None;
        self.test = None;
    }

    /// Another path, another nature.
    pub(super) fn forget(&mut self) {
        self.open = None;
        self.test = None;
        self.kept.clear();
        self.inherent = FIRST_INHERENT;
        self.weighted = 0.0;
        self.cap = None;
        self.congested = None;
        self.held_until = None;
        self.next_test = None;
        self.found = None;
        self.pause = FIRST_TEST_PAUSE;
    }

    /// The packets of one report, in the order they were sent.
    pub(super) fn handle_resolved(&mut self, now: Instant, resolved: &[Resolved], signals: Signals) {
        for packet in resolved {
            let open = self.open.get_or_insert(Observation {
                began: packet.sent,
                ended: packet.sent,
                packets: 0,
                bytes: 0.0,
                lost: 0.0,
            });
            let bytes = f64::from(packet.bytes);
            if packet.was_lost {
                // It came after all; if its loss was counted in an observation already closed, so be it.
                open.lost = (open.lost - bytes).max(0.0);
                continue;
            }
            open.ended = open.ended.max(packet.sent);
            open.packets += 1;
            open.bytes += bytes;
            if packet.arrival.is_none() {
                open.lost += bytes;
                self.run += 1.0;
            } else if self.run > 0.0 {
                self.burst += 0.1 * (self.run.min(LONGEST_BURST) - self.burst);
                self.run = 0.0;
            }
            if open.packets >= PACKETS && open.ended.saturating_duration_since(open.began) >= SPAN {
                let closed = *open;
                self.open = None;
                self.observe(now, closed, signals);
            }
        }
        self.recover(now, signals);
    }

    fn observe(&mut self, now: Instant, closed: Observation, signals: Signals) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(closed);
        self.weighted = self.weigh();
        if self.test.is_some() {
            self.continue_test(now, closed, signals);
            return;
        }
        if !signals.queued {
            self.learn(signals.limited);
            if self.is_due(now, signals) {
                self.begin_test(now);
                return;
            }
        }
        self.judge_excess(now, signals);
    }

    /// The weighted share of bytes lost, without the best and the worst.
    fn weigh(&self) -> f64 {
        let extremes = (self.kept.len() > 3).then(|| {
            let by_ratio = |a: &(usize, &Observation), b: &(usize, &Observation)| a.1.ratio().total_cmp(&b.1.ratio());
            let all = || self.kept.iter().enumerate();
            (all().min_by(by_ratio).map(|(i, _)| i), all().max_by(by_ratio).map(|(i, _)| i))
        });
        let (mut bytes, mut lost) = (0.0, 0.0);
        let mut weight = 1.0;
        for (i, observation) in self.kept.iter().enumerate().rev() {
            if !extremes.is_some_and(|(least, most)| least == Some(i) || most == Some(i)) {
                bytes += weight * observation.bytes;
                lost += weight * observation.lost;
            }
            weight *= AGEING;
        }
        if bytes > 0.0 { lost / bytes } else { 0.0 }
    }

    fn learn(&mut self, limited: bool) {
        if self.weighted < self.inherent {
            self.inherent += 0.3 * (self.weighted - self.inherent);
            return;
        }
        let most = if limited { MOST_INHERENT_WHEN_LIMITED } else { MOST_INHERENT };
        let most = self.congested.map_or(most, |congested| most.min(congested.inherent));
        let toward = self.weighted.min(most);
        if toward > self.inherent {
            self.inherent += 0.2 * (toward - self.inherent);
        }
    }

    fn is_due(&self, now: Instant, signals: Signals) -> bool {
        let above = if self.congested.is_some() { self.inherent + 0.03 } else { TEST_ABOVE };
        self.weighted > above
            && self.kept.len() >= 6
            && !signals.limited
            && signals.can_test
            && (self.next_test.is_none_or(|at| now >= at) || self.has_worsened(now))
    }

    /// Much more is lost than a test found to be natural.
    fn has_worsened(&self, now: Instant) -> bool {
        self.found.is_some_and(|(natural, at)| {
            self.weighted > natural + TEST_ABOVE && now.saturating_duration_since(at) >= SOON
        })
    }

    fn recent(&self) -> impl Iterator<Item = &Observation> {
        self.kept.iter().rev().take(RECENT)
    }

    fn recent_loss(&self) -> f64 {
        mean_loss(self.recent())
    }

    fn begin_test(&mut self, now: Instant) {
        let count = self.recent().count().max(1) as f64;
        let delivered = self.recent().map(Observation::delivered).sum::<f64>() / count;
        let packets = self.recent().map(|observation| f64::from(observation.packets)).sum();
        self.test = Some(Test { began: now, loss: self.recent_loss(), packets, delivered, seen: Vec::new() });
    }

    fn continue_test(&mut self, now: Instant, closed: Observation, signals: Signals) {
        let Some(test) = &mut self.test else { return };
        // What was sent before the rate fell, or as it fell, belongs to the old rate.
        if closed.began >= test.began + Duration::from_millis(100) {
            test.seen.push(closed);
        }
        let least = (4 * signals.round_trip).max(Duration::from_millis(1200)) + Duration::from_millis(300);
        if now.saturating_duration_since(test.began) < least || test.seen.len() < 3 {
            return;
        }
        let loss = mean_loss(test.seen.iter());
        let delivered = test.seen.iter().map(Observation::delivered).sum::<f64>() / test.seen.len() as f64;
        let (loss_before, delivered_before) = (test.loss, test.delivered);
        let packets: f64 = test.seen.iter().map(|observation| f64::from(observation.packets)).sum();
        let chance = (1.0 / packets.max(1.0) + 1.0 / test.packets.max(1.0)).sqrt();
        self.test = None;
        let significant = loss_before - loss > 2.0 * chance * self.spread((loss_before + loss) / 2.0);
        let jitter = self.random.random_range(0.9..1.1);
        // Less lost at the lower rate, or as much delivered: the rest went over the edge. And no path that is worth
        // talking over loses so much by nature.
        let answers = loss <= 0.5 * loss_before || (loss <= 0.8 * loss_before && delivered >= 0.93 * delivered_before);
        if (answers && significant) || loss.min(loss_before) > BEYOND_NATURE {
            self.cap = Some(0.95 * delivered.max(delivered_before));
            self.growth = Growth::AfterVerdict;
            self.grown = Some(now);
            self.inherent = loss;
            self.found = None;
            self.congested = Some(Congested { delivered: delivered.max(delivered_before), inherent: loss + 0.01 });
            self.kept.clear();
            self.pause = FIRST_TEST_PAUSE;
            self.held_until = Some(now + Duration::from_secs(2));
        } else if loss <= 0.5 * loss_before {
            // It may have answered, or it may have been chance: nothing is decided.
            self.inherent = self.inherent.min(loss_before);
            self.next_test = Some(now + SOON);
            return;
        } else {
            self.inherent = MOST_INHERENT.min((loss_before + loss) / 2.0);
            self.found = Some((self.inherent, now));
            self.cap = None;
            self.congested = None;
            self.pause = (2.0 * self.pause).min(LONGEST_TEST_PAUSE);
        }
        self.next_test = Some(now + Duration::from_secs_f64(self.pause * jitter));
    }

    /// How much more than by nature may be chance.
    fn tolerance(&self) -> f64 {
        let packets = self.recent().map(|observation| f64::from(observation.packets)).sum::<f64>();
        (2.5 * self.spread(self.inherent) / packets.max(1.0).sqrt()).max(0.03)
    }

    /// The standard deviation of one packet's loss, with what bursts add to it.
    fn spread(&self, share: f64) -> f64 {
        (share * (1.0 - share) * (2.0 * self.burst - 1.0).max(1.0)).sqrt()
    }

    fn judge_excess(&mut self, now: Instant, signals: Signals) {
        if signals.answered {
            return;
        }
        let loss = self.recent_loss();
        let target = self.cap.map_or(signals.rate, |cap| cap.min(signals.rate));
        if loss > self.tolerance() && self.congested.is_some_and(|congested| target < 0.9 * congested.delivered) {
            // It is lost though much less is sent than came through: the verdict was chance.
            self.congested = None;
            self.growth = Growth::AfterExcess;
            self.next_test = Some(now);
        }
        let excess = loss - self.inherent;
        let tolerance = self.tolerance();
        let untested = !signals.can_test && !signals.limited && loss > CONGESTED_UNTESTED;
        // Known to answer to the rate: the first sign suffices. Not below what came through, though: that loss is
        // another's, and the verdict may have been chance.
        let known = self.congested.is_some_and(|congested| target > 0.95 * congested.delivered);
        if !((excess > tolerance && (signals.queued || known)) || excess > 2.0 * tolerance || untested) {
            return;
        }
        let spacing = (2 * signals.round_trip).max(Duration::from_millis(500));
        if self.cut.is_some_and(|at| now.saturating_duration_since(at) < spacing) {
            return;
        }
        let through = signals.acked.map_or(target, |acked| acked / (1.0 - self.inherent));
        self.cap = Some(0.85 * target.min(through));
        // A second cut within seconds: growth was too fast.
        let again = self.cut.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(10));
        self.growth = if again { Growth::AfterVerdict } else { Growth::AfterExcess };
        self.grown = Some(now);
        self.cut = Some(now);
    }

    fn recover(&mut self, now: Instant, signals: Signals) {
        let since = self.grown.replace(now).map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let Some(cap) = self.cap else { return };
        if self.holds(now) || self.recent_loss() - self.inherent >= self.tolerance() / 2.0 {
            return;
        }
        let per_second: f64 = match (self.congested, self.growth) {
            (Some(congested), _) if cap > 0.97 * congested.delivered => 1.02,
            (Some(_), _) | (None, Growth::AfterVerdict) => 1.08,
            (None, Growth::AfterExcess) => 1.25,
        };
        let cap = cap * per_second.powf(since.min(1.0));
        self.cap = (cap <= 1.2 * signals.rate).then_some(cap);
    }
}

fn mean_loss<'a>(observations: impl Iterator<Item = &'a Observation>) -> f64 {
    let (bytes, lost) = observations.fold((0.0, 0.0), |(bytes, lost), o| (bytes + o.bytes, lost + o.lost));
    if bytes > 0.0 { lost / bytes } else { 0.0 }
}
