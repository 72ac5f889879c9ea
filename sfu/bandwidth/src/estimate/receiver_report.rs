//! The rate by receiver reports alone, where transport-wide ones do not come: blind to delay, so modest.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::input::ReceiverReport;

/// Without delay a full queue shows only as loss.
const MAX: f64 = 1500e3;
const FEWEST: u32 = 20;
const LOW: f32 = 0.02;
const HIGH: f32 = 0.10;
const GROWTH: f64 = 1.08;
const HISTORY: Duration = Duration::from_secs(1);
const GRAIN: Duration = Duration::from_millis(25);
/// Receivers report every few seconds at the least.
const SILENCE: Duration = Duration::from_secs(6);

#[derive(Debug)]
pub(super) struct ReceiverReports {
    /// Lowest first; the rate one second ago.
    history: VecDeque<(Instant, f64)>,
    expected: u32,
    lost: f32,
    cut: Option<Instant>,
    heard: Option<Instant>,
    loss: f32,
}

impl ReceiverReports {
    pub(super) fn new() -> Self {
        Self { history: VecDeque::new(), expected: 0, lost: 0.0, cut: None, heard: None, loss: 0.0 }
    }

    /// The share lost by the last report that counted.
    pub(super) fn loss(&self) -> f32 {
        self.loss
    }

    /// When the next silence shall be punished; `since`: when packets began to leave.
    pub(super) fn silent_from(&self, since: Instant) -> Instant {
        self.heard.unwrap_or(since).max(since) + SILENCE
    }

    /// The rate after a report, from the rate before it.
    pub(super) fn handle(&mut self, now: Instant, report: ReceiverReport, round_trip: Duration, rate: f64) -> f64 {
        self.heard = Some(now);
        let share = if report.lost.is_finite() { report.lost.clamp(0.0, 1.0) } else { 0.0 };
        self.lost += share * report.expected as f32;
        self.expected = self.expected.saturating_add(report.expected);
        let rate = rate.min(MAX);
        if self.expected < FEWEST {
            return rate;
        }
        self.loss = (self.lost / self.expected as f32).clamp(0.0, 1.0);
        self.lost = 0.0;
        self.expected = 0;
        let next = if self.loss <= LOW {
            (self.lowest(now, rate) * GROWTH + 1e3).max(rate)
        } else if self.loss <= HIGH {
            rate
        } else if self.cut.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_millis(300) + round_trip)
        {
            self.cut = Some(now);
            self.history.clear();
            rate * (1.0 - 0.5 * f64::from(self.loss))
        } else {
            rate
        };
        next.min(MAX)
    }

    /// The lowest rate of the last second.
    fn lowest(&mut self, now: Instant, rate: f64) -> f64 {
        while self.history.front().is_some_and(|&(at, _)| now.saturating_duration_since(at) > HISTORY) {
            self.history.pop_front();
        }
        if self.history.back().is_none_or(|&(at, _)| now.saturating_duration_since(at) >= GRAIN) {
            while self.history.back().is_some_and(|&(_, before)| before >= rate) {
                self.history.pop_back();
            }
            self.history.push_back((now, rate));
        }
        self.history.front().map_or(rate, |&(_, lowest)| lowest)
    }
}
