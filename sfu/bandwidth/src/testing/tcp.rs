//! A bulk TCP flow that shares the link: slow start, Cubic growth, one cut per round trip.

use std::time::Duration;

use super::Nanos;

const CUT: f64 = 0.7;
const SCALE: f64 = 0.4;

#[derive(Debug)]
pub(super) struct Tcp {
    window: f64,
    threshold: f64,
    flying: u32,
    peak: f64,
    cut_at: Option<Nanos>,
    round_trip: f64,
}

impl Tcp {
    pub(super) const PACKET: u64 = 1200;

    pub(super) fn new() -> Self {
        Self { window: 10.0, threshold: f64::INFINITY, flying: 0, peak: 0.0, cut_at: None, round_trip: 0.1 }
    }

    pub(super) fn can_send(&self) -> bool {
        f64::from(self.flying) < self.window
    }

    pub(super) fn handle_sent(&mut self) {
        self.flying += 1;
    }

    /// When a loss is noticed: about one round trip later.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_secs_f64(self.round_trip)
    }

    pub(super) fn handle_ack(&mut self, now: Nanos, sent: Nanos) {
        self.flying = self.flying.saturating_sub(1);
        self.round_trip += (now.saturating_sub(sent) as f64 / 1e9 - self.round_trip) / 8.0;
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let since = self.cut_at.map_or(0.0, |at| now.saturating_sub(at) as f64 / 1e9);
        let plateau = (self.peak * (1.0 - CUT) / SCALE).cbrt();
        let cubic = SCALE * (since - plateau).powi(3) + self.peak;
        self.window += ((cubic - self.window) / self.window).clamp(0.01 / self.window, 0.5);
    }

    pub(super) fn handle_loss(&mut self, now: Nanos) {
        self.flying = self.flying.saturating_sub(1);
        let round_trip = self.round_trip * 1e9;
        if self.cut_at.is_some_and(|at| (now.saturating_sub(at) as f64) < round_trip) {
            return;
        }
        self.peak = self.window;
        self.window = (self.window * CUT).max(2.0);
        self.threshold = self.window;
        self.cut_at = Some(now);
    }
}
