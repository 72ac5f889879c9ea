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
/// Where the additive step is what libwebrtc takes; smaller flows step faster, larger ones slower, so they meet.
const FAIR_RATE: f64 = 4e6;
const LEAST_BACKOFF: f64 = 40e3;
/// After a drain that drained nothing: the queue is another's.
const FOREIGN: Duration = Duration::from_secs(10);

/// What one report said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    pub usage: Usage,
    /// As `usage`, without the judgement of the queue's length.
    pub trend: Usage,
    /// Milliseconds.
    pub queue: f64,
    /// Bits per second that would have arrived had nothing been lost by nature.
    pub acked: Option<f64>,
    /// The same over a moment.
    pub moment: Option<f64>,
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
    Drain {
        until: Instant,
        moment: f64,
        queue: f64,
    },
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
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, State::Drain { .. })
    }

    /// Whether overuse has shown what the path carries.
    pub(super) fn knows_capacity(&self) -> bool {
        self.capacity.estimate().is_some()
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
        if let State::Drain { until, moment, queue } = self.state {
            self.drain(now, signals, (until, moment, queue));
            return;
        }
        let usage = if self.foreign_until.is_some() { signals.trend } else { signals.usage };
        match usage {
            Usage::Over => self.decrease(now, signals),
            Usage::Under => self.state = State::Hold,
            Usage::Normal if self.state == State::Hold => self.state = State::Increase,
            Usage::Normal => self.increase(since.min(1.0), signals),
        }
        if self.refill && usage == Usage::Normal && signals.queue < REFILL_BELOW_MS && !self.is_draining() {
            self.refill = false;
            if let Some(capacity) = self.capacity.estimate() {
                self.rate = self.rate.max(REFILL * capacity);
            }
        }
    }

    fn increase(&mut self, seconds: f64, signals: Signals) {
        if signals.held {
            return;
        }
        if let Some(acked) = signals.acked {
            self.capacity.forget_if_above(acked);
        }
        let grown = if self.knows_capacity() {
            self.rate + additive_step(self.rate, signals.round_trip) * seconds
        } else {
            (self.rate * GROWTH_PER_SECOND.powf(seconds)).max(self.rate + 1e3 * seconds)
        };
        let limit = signals.acked.map_or(grown, |acked| 1.5 * acked + 10e3).min(signals.max);
        self.rate = self.rate.max(grown.min(limit));
    }

    fn decrease(&mut self, now: Instant, signals: Signals) {
        let spacing = signals.round_trip.clamp(0.01, 0.2);
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
            self.begin_drain(now, signals.moment.unwrap_or(acked), signals.queue);
            return;
        }
        if signals.limited {
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
        self.rate = self.rate.min((1.0 - queue / DRAIN_SCALE_MS).max(LOWEST_DRAIN) * moment);
        let time = Duration::from_secs_f64((1.5 * queue / 1e3 + 0.1).min(60.0)).min(LONGEST_DRAIN);
        self.decreased = Some(now);
        self.state = State::Drain { until: now + time, moment, queue };
    }

    fn drain(&mut self, now: Instant, signals: Signals, (until, moment, queue): (Instant, f64, f64)) {
        if let Some(lower) = signals.moment.filter(|&short| short < 0.7 * moment && signals.queue > DRAIN_ABOVE_MS) {
            // What arrives must be counted while the queue still holds the path busy.
            self.begin_drain(now, lower, signals.queue);
            return;
        }
        if signals.queue >= DRAINED_BELOW_MS && now < until {
            return;
        }
        if signals.queue > 0.8 * queue.max(DRAIN_ABOVE_MS) {
            self.foreign_until = Some(now + FOREIGN);
        }
        self.rate = DECREASE * self.capacity.estimate().unwrap_or(moment);
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
