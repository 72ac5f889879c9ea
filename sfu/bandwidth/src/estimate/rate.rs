//! The rate by delay: additive and multiplicative increase, decrease, drain, refill.

mod capacity;

use std::time::{Duration, Instant};

use self::capacity::Capacity;
use super::delay::Usage;

const GROWTH_PER_SECOND: f64 = 1.08;
const DECREASE: f64 = 0.85;
/// A queue longer than this is drained, not only left to shrink.
const DRAIN_ABOVE_MS: f64 = 60.0;
const DRAINED_BELOW_MS: f64 = 20.0;
const LOWEST_DRAIN: f64 = 0.35;
const LONGEST_DRAIN: Duration = Duration::from_millis(1200);
/// A queue of so long is drained at the lowest rate and below.
const DRAIN_SCALE_MS: f64 = 800.0;
/// Higher would use two or three per cent more alone, but two flows would then stay at two to one.
const REFILL: f64 = 0.88;
const REFILL_BELOW_MS: f64 = 10.0;
/// Of what arrives while nothing waits, so much is certain.
const SHOWN: f64 = 0.95;
/// Where the additive step is what libwebrtc takes; smaller flows step faster, larger ones slower, so they meet.
const FAIR_RATE: f64 = 4e6;
const NEAR: f64 = 1.0;
/// Of the rate, per second.
const MOST_NEAR: f64 = 0.06;
const LEAST_BACKOFF: f64 = 40e3;
/// By then what we send less must show in the queue, or the queue is another's.
const DRAIN_MUST_SHOW: Duration = Duration::from_millis(1500);
/// A drain that leaves no more than this of its queue goes on.
const DRAINING: f64 = 0.8;
/// After a drain that drained nothing: the queue is another's.
const FOREIGN: Duration = Duration::from_secs(10);
const LONGEST_FOREIGN: Duration = Duration::from_secs(60);

/// What one report said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    pub usage: Usage,
    /// As `usage`, without the judgement of the queue's length.
    pub trend: Usage,
    /// Milliseconds.
    pub queue: f64,
    /// The same without jitter.
    pub least: f64,
    /// Bits per second that would have arrived had nothing been lost by nature.
    pub acked: Option<f64>,
    /// What came out of the path over a moment, whatever went in.
    pub arriving: Option<f64>,
    /// Seconds.
    pub round_trip: f64,
    /// Growth must wait.
    pub held: bool,
    /// The sender has too little to send: what arrives says nothing of what could.
    pub limited: bool,
    /// No growth beyond.
    pub max: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Hold,
    Increase,
    /// Below what arrives, until the queue is gone.
    Drain(Drain),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Drain {
    began: Instant,
    until: Instant,
    /// What arrived when it began, in bits per second.
    moment: f64,
    /// The longest queue it met, in milliseconds.
    peak: f64,
}

#[derive(Debug)]
pub(super) struct Rate {
    rate: f64,
    state: State,
    capacity: Capacity,
    updated: Option<Instant>,
    decreased: Option<Instant>,
    halved: Option<Instant>,
    refill: bool,
    backed_off: Option<Instant>,
    foreign_until: Option<Instant>,
    foreign_before: Option<Instant>,
    foreign: Duration,
}

impl Rate {
    pub(super) fn new(start: f64) -> Self {
        Self {
            rate: start,
            state: State::Hold,
            capacity: Capacity::default(),
            updated: None,
            decreased: None,
            halved: None,
            refill: false,
            backed_off: None,
            foreign_until: None,
            foreign_before: None,
            foreign: FOREIGN,
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether loss of late may belong to a rate that delay has already cut.
    pub(super) fn answers(&self, now: Instant, within: Duration) -> bool {
        self.is_draining() || self.decreased.is_some_and(|at| now.saturating_duration_since(at) < within)
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, State::Drain(_))
    }

    /// Whether overuse has shown what the path carries.
    pub(super) fn knows_capacity(&self) -> bool {
        self.capacity().is_some()
    }

    /// What overuse has shown that the path carries, in bits per second.
    pub(super) fn capacity(&self) -> Option<f64> {
        self.capacity.estimate()
    }

    /// When it may back off again.
    pub(super) fn backed_off(&self) -> Option<Instant> {
        self.backed_off.map(|at| at + Duration::from_secs(1))
    }

    /// Sets the rate as a measurement has it.
    pub(super) fn set(&mut self, now: Instant, rate: f64) {
        self.rate = rate;
        self.updated = Some(now);
    }

    /// A probe showed the path full at `rate`.
    pub(super) fn handle_probe_capacity(&mut self, rate: f64) {
        self.capacity.handle_probe(rate);
    }

    /// A probe went through at `rate`: a lower capacity was another's doing, or is gone.
    pub(super) fn handle_probe_through(&mut self, rate: f64) {
        self.capacity.forget_if_above(rate);
    }

    pub(super) fn forget_capacity(&mut self) {
        self.capacity = Capacity::default();
        self.refill = false;
        self.state = State::Hold;
    }

    pub(super) fn update(&mut self, now: Instant, signals: Signals) {
        let since = self.updated.replace(now).map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        if self.foreign_until.is_some_and(|until| now >= until) {
            self.foreign_until = None;
        }
        if let State::Drain(drain) = self.state {
            self.drain(now, signals, drain);
            return;
        }
        let usage = if self.foreign_until.is_some() { signals.trend } else { signals.usage };
        match usage {
            Usage::Over => self.decrease(now, signals),
            Usage::Under => self.state = State::Hold,
            Usage::Normal if self.state == State::Hold => self.state = State::Increase,
            Usage::Normal => self.increase(since.min(1.0), signals),
        }
        // The trend still remembers the queue shrinking when it is gone: that holds growth, not the refill.
        if self.refill && usage != Usage::Over && signals.queue < REFILL_BELOW_MS && !self.is_draining() {
            self.refill = false;
            if let Some(capacity) = self.capacity.estimate() {
                self.rate = self.rate.max(REFILL * capacity);
            }
        }
    }

    fn increase(&mut self, seconds: f64, signals: Signals) {
        if signals.held || (signals.least > DRAIN_ABOVE_MS && self.foreign_until.is_none()) {
            return;
        }
        if let Some(acked) = signals.acked {
            self.capacity.forget_if_above(acked);
        }
        let grown = if let Some(capacity) = self.capacity.estimate() {
            let step = additive_step(self.rate, signals.round_trip);
            // Around the capacity a small flow would overshoot far with its great steps before the queue tells.
            let alone = self.foreign_until.is_none();
            let step = if alone && self.rate > NEAR * capacity { step.min(MOST_NEAR * self.rate) } else { step };
            self.rate + step * seconds
        } else {
            (self.rate * GROWTH_PER_SECOND.powf(seconds)).max(self.rate + 1e3 * seconds)
        };
        // What arrives without waiting is carried: more than the rate comes of a queue that was worked off, or of a probe.
        let shown = signals.acked.filter(|_| signals.queue < REFILL_BELOW_MS).map_or(grown, |acked| SHOWN * acked);
        let grown = grown.max(shown);
        let limit = signals.acked.map_or(grown, |acked| 1.5 * acked + 10e3).min(signals.max);
        self.rate = self.rate.max(grown.min(limit));
    }

    fn decrease(&mut self, now: Instant, signals: Signals) {
        let spacing = if self.foreign_until.is_some() { 1.0 } else { signals.round_trip.clamp(0.01, 0.2) };
        let recently = self.decreased.is_some_and(|at| now.saturating_duration_since(at).as_secs_f64() < spacing);
        let far_off = signals.acked.is_some_and(|acked| acked < 0.5 * self.rate);
        if recently && !far_off {
            return;
        }
        let Some(acked) = signals.acked else {
            if self.halved.is_none_or(|at| now.saturating_duration_since(at).as_secs_f64() >= 0.2) {
                self.halved = Some(now);
                self.rate *= 0.5;
            }
            return;
        };
        if signals.queue > DRAIN_ABOVE_MS && self.foreign_until.is_none() {
            self.begin_drain(now, signals.arriving.unwrap_or(acked), signals.queue);
            return;
        }
        if signals.limited {
            // What arrives tells of our own limit.
            self.rate *= DECREASE;
        } else {
            self.capacity.forget_if_below(acked);
            self.capacity.handle_overuse(acked);
            self.rate = self.rate.min((DECREASE * acked - 5e3).max(0.0));
            self.refill = true;
        }
        self.decreased = Some(now);
        self.state = State::Hold;
    }

    fn begin_drain(&mut self, now: Instant, moment: f64, queue: f64) {
        self.capacity.handle_drain(moment);
        self.decreased = Some(now);
        self.deepen(now, Drain { began: now, until: now, moment, peak: queue });
    }

    /// The longer the queue, the lower and the longer.
    fn deepen(&mut self, now: Instant, drain: Drain) {
        self.rate = self.rate.min((1.0 - drain.peak / DRAIN_SCALE_MS).max(LOWEST_DRAIN) * drain.moment);
        let time = Duration::from_secs_f64((1.5 * drain.peak / 1e3 + 0.1).min(60.0)).min(LONGEST_DRAIN);
        self.state = State::Drain(Drain { until: now + time, ..drain });
    }

    fn drain(&mut self, now: Instant, signals: Signals, drain: Drain) {
        let mut drain = drain;
        if let Some(arriving) = signals.arriving.filter(|_| signals.queue > DRAIN_ABOVE_MS) {
            self.capacity.handle_drain(arriving);
            drain.moment = drain.moment.min(arriving);
            let factor = (1.0 - drain.peak / DRAIN_SCALE_MS).max(LOWEST_DRAIN);
            self.rate = self.rate.min(factor * drain.moment);
            self.state = State::Drain(drain);
        }
        if signals.queue > drain.peak && now.saturating_duration_since(drain.began) < DRAIN_MUST_SHOW {
            // What was on its way when the drain began still arrives in the queue.
            self.deepen(now, Drain { peak: signals.queue, ..drain });
            return;
        }
        // What left at the lower rate has still to arrive, and shortens the queue by as much.
        let coming = (1.0 - self.rate / drain.moment.max(1.0)).clamp(0.0, 1.0) * 1e3 * signals.round_trip.min(0.5);
        if signals.queue >= DRAINED_BELOW_MS + coming {
            if now < drain.until {
                return;
            }
            if signals.queue < DRAINING * drain.peak && signals.queue > DRAIN_ABOVE_MS {
                // It works, only not yet: the path carries what arrived when the queue was long.
                self.begin_drain(now, drain.moment, signals.queue);
                return;
            }
            if signals.queue > DRAIN_ABOVE_MS {
                // Another's queue comes back, so each time it is believed for longer.
                let lately =
                    self.foreign_before.is_some_and(|at| now.saturating_duration_since(at) < 2 * LONGEST_FOREIGN);
                self.foreign = if lately { (2 * self.foreign).min(LONGEST_FOREIGN) } else { FOREIGN };
                self.foreign_before = Some(now);
                self.foreign_until = Some(now + self.foreign);
            }
        }
        self.rate = DECREASE * self.capacity.estimate().unwrap_or(drain.moment);
        self.refill = true;
        self.decreased = Some(now);
        self.state = State::Hold;
    }

    /// The round trip, with the age of the last report, is beyond all use: down by a fifth each second.
    pub(super) fn back_off(&mut self, now: Instant) {
        if self.backed_off.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1)) {
            return;
        }
        self.backed_off = Some(now);
        self.rate = self.rate.min((self.rate * 0.8).max(LEAST_BACKOFF));
    }
}

/// Bits per second per second: about half a packet per response time, scaled so that small flows catch up.
fn additive_step(rate: f64, round_trip: f64) -> f64 {
    let frame = rate / 30.0;
    let packet = frame / (frame / 9600.0).ceil().max(1.0);
    let step = (packet / (2.0 * (round_trip + 0.1))).max(4e3);
    step * (FAIR_RATE / rate.max(1.0)).clamp(0.5, 4.0)
}
