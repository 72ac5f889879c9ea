//! What the times of arrival tell: whether a queue grows (the trend of delay), and how long it is.

mod groups;
mod queue;
mod trend;

use std::time::Instant;

pub(super) use queue::Queue;

use self::groups::Groups;
use self::trend::Trend;
use super::input::Path;
use super::record::Resolved;

/// After so long without a packet the past says nothing of the present.
const SILENCE_MS: f64 = 2000.0;
/// A queue this long is overuse whatever its trend: a constant full queue has none.
const LONG_QUEUE_MS: f64 = 150.0;

const NOISE: f64 = 1.5;

/// What the path makes of our rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// A queue shortens: others left, or we sent less.
    Under,
    Normal,
    /// A queue grows, or is long and does not shorten.
    Over,
}

#[derive(Debug)]
pub(super) struct Delay {
    groups: Groups,
    trend: Trend,
    queue: Queue,
    path: Path,
    last: Option<Instant>,
}

impl Delay {
    pub(super) fn new(path: Path) -> Self {
        Self { groups: Groups::new(), trend: Trend::new(path), queue: Queue::new(), path, last: None }
    }

    /// What arrived by one report, by time of arrival.
    pub(super) fn handle_arrivals(&mut self, now: Instant, arrived: &[Resolved]) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last).as_secs_f64() * 1e3 > SILENCE_MS) {
            self.groups = Groups::new();
            self.trend = Trend::new(self.path);
        }
        self.last = Some(now);
        for packet in arrived {
            let Some(arrival) = packet.arrival else { continue };
            if let Some(step) = self.groups.add(packet.left, arrival, now) {
                self.trend.add(step);
            } else if self.groups.take_reset() {
                self.trend = Trend::new(self.path);
            }
        }
        self.queue.handle_arrivals(now, arrived);
    }

    pub(super) fn usage(&self) -> Usage {
        if self.queue.typical() > LONG_QUEUE_MS && !self.queue.is_falling() {
            return Usage::Over;
        }
        self.trend_usage()
    }

    /// As `usage`, but by the trend alone.
    pub(super) fn trend_usage(&self) -> Usage {
        match self.trend.usage() {
            // On a path that jitters, trends come and go; a queue lifts even its luckiest packets.
            Usage::Over if self.queue.least() < NOISE * self.queue.noise() => Usage::Normal,
            usage => usage,
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// After a silence the shortest delay may be another.
    pub(super) fn forget_base(&mut self) {
        self.queue = Queue::new();
    }
}
