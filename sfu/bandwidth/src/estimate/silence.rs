//! Reports that do not come while packets leave.

use std::time::{Duration, Instant};

const FLYING: usize = 20;
const HOLD: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_secs(1);
/// After so many seconds showing video makes no sense.
const DEAF: u32 = 5;

/// What a silence asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It has begun: no growth, no probes.
    Begin,
    /// Another second of it: less.
    Step,
}

#[derive(Debug)]
pub(super) struct Silence {
    /// Since when something flies of which no report told.
    waiting: Option<Instant>,
    heard: Option<Instant>,
    /// The rate before it, and when the next step is due.
    running: Option<(f64, Instant)>,
    steps: u32,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self { waiting: None, heard: None, running: None, steps: 0 }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn was_ever_broken(&self) -> bool {
        self.heard.is_some()
    }

    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.waiting
    }

    /// How long reports are overdue.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.waiting.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// So long that showing video makes no sense.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_running() && self.steps >= DEAF
    }

    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.waiting.get_or_insert(now);
    }

    /// A report came; the rate before the silence that it ends, if it ends one.
    pub(super) fn handle_report(&mut self, now: Instant) -> Option<f64> {
        self.heard = Some(now);
        self.waiting = None;
        self.running.take().map(|(before, _)| before)
    }

    fn begins(round_trip: Duration) -> Duration {
        HOLD.max(3 * round_trip)
    }

    pub(super) fn poll_timeout(&self, flying: usize, round_trip: Duration) -> Option<Instant> {
        match self.running {
            Some((_, next)) => Some(next),
            None if flying >= FLYING && self.was_ever_broken() => Some(self.waiting? + Self::begins(round_trip)),
            None => None,
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        flying: usize,
        round_trip: Duration,
        rate: f64,
    ) -> Option<Act> {
        let waiting = self.waiting?;
        if let Some((_, next)) = &mut self.running {
            if now < *next {
                return None;
            }
            *next = now + STEP;
            self.steps += 1;
            return Some(Act::Step);
        }
        if flying < FLYING || !self.was_ever_broken() || self.age(now) < Self::begins(round_trip) {
            return None;
        }
        self.steps = 0;
        self.running = Some((rate, (waiting + STEP).max(now)));
        Some(Act::Begin)
    }
}
