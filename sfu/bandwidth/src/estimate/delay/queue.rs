//! How long packets wait beyond the shortest delay of late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::estimate::record::Resolved;

/// The shortest delay is that of so long: a longer memory would take a new route for a queue for ever.
const MEMORY: Duration = Duration::from_secs(10);
const NOISE_WEIGHT: f64 = 0.02;
const BUCKET: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(in crate::estimate) struct Queue {
    /// Delays are differences of two clocks and mean nothing by themselves.
    shortest: VecDeque<(Instant, f64)>,
    /// The least of them.
    base: f64,
    typical: f64,
    least: f64,
    before: f64,
    noise: f64,
    scratch: Vec<f64>,
}

impl Queue {
    pub(in crate::estimate) fn new() -> Self {
        Self {
            shortest: VecDeque::new(),
            base: f64::INFINITY,
            typical: 0.0,
            least: 0.0,
            before: 0.0,
            noise: 0.0,
            scratch: Vec::new(),
        }
    }

    /// The median wait of the last report, in milliseconds.
    pub(in crate::estimate) fn typical(&self) -> f64 {
        self.typical
    }

    /// The shortest wait of the last report, in milliseconds: what is left of the queue when jitter is taken out.
    pub(in crate::estimate) fn least(&self) -> f64 {
        self.least
    }

    /// By how much the typical packet of a report is later than the luckiest, over some seconds.
    pub(in crate::estimate) fn noise(&self) -> f64 {
        self.noise
    }

    /// Whether the last report told of less waiting than the one before.
    pub(in crate::estimate) fn is_falling(&self) -> bool {
        self.typical < self.before
    }

    pub(in crate::estimate) fn handle_arrivals(&mut self, now: Instant, arrived: &[Resolved]) {
        self.scratch.clear();
        for packet in arrived {
            let Some(arrival) = packet.arrival else { continue };
            self.scratch.push(arrival - packet.seconds() * 1e3);
        }
        if self.scratch.is_empty() {
            return;
        }
        self.scratch.sort_unstable_by(f64::total_cmp);
        let least = self.scratch.first().copied().unwrap_or_default();
        let median = self.scratch.get(self.scratch.len() / 2).copied().unwrap_or(least);
        self.remember(now, least);
        let base = self.base;
        self.before = self.typical;
        self.typical = median - base;
        self.least = least - base;
        self.noise += NOISE_WEIGHT * (median - least - self.noise);
    }

    fn remember(&mut self, now: Instant, least: f64) {
        let count = self.shortest.len();
        while self.shortest.front().is_some_and(|&(at, _)| now.saturating_duration_since(at) > MEMORY) {
            self.shortest.pop_front();
        }
        if self.shortest.len() < count {
            self.base = self.shortest.iter().map(|&(_, delay)| delay).fold(f64::INFINITY, f64::min);
        }
        self.base = self.base.min(least);
        match self.shortest.back_mut() {
            Some((at, shortest)) if now.saturating_duration_since(*at) < BUCKET => *shortest = shortest.min(least),
            _ => self.shortest.push_back((now, least)),
        }
    }
}
