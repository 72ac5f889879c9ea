//! Whether the sender has too little to send for the path to show what it carries.

use std::time::Instant;

const USAGE: f64 = 0.65;
const WINDOW_SECONDS: f64 = 0.5;
const ENTER: f64 = 0.8;
const LEAVE: f64 = 0.5;

/// A budget that fills at two thirds of the target: unused, the sender is limited by itself.
#[derive(Debug)]
pub(super) struct Limited {
    /// Bytes, from minus to plus one window.
    budget: f64,
    filled: Option<Instant>,
    since: Option<Instant>,
    left: Option<Instant>,
}

impl Limited {
    pub(super) fn new() -> Self {
        Self { budget: 0.0, filled: None, since: None, left: None }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.since.is_some()
    }

    /// Limited now, or until lately.
    pub(super) fn was_limited(&self, now: Instant) -> bool {
        self.is_limited() || self.left.is_some_and(|left| now.saturating_duration_since(left).as_secs_f64() <= 3.0)
    }

    pub(super) fn handle_sent(&mut self, now: Instant, bytes: f64, target: f64) {
        let window = (USAGE * target * WINDOW_SECONDS / 8.0).max(1.0);
        let filled = self.filled.replace(now).unwrap_or(now);
        let fill = USAGE * target / 8.0 * now.saturating_duration_since(filled).as_secs_f64();
        self.budget = (self.budget + fill).min(window);
        self.budget = (self.budget - bytes).max(-window);
        let unused = self.budget / window;
        if unused > ENTER && self.since.is_none() {
            self.since = Some(now);
        } else if unused < LEAVE && self.since.take().is_some() {
            self.left = Some(now);
        }
    }

    /// Nothing was sent for a while: that shows too.
    pub(super) fn handle_report(&mut self, now: Instant, target: f64) {
        self.handle_sent(now, 0.0, target);
    }
}
