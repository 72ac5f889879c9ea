//! The trend of delay over the last groups, against a threshold that follows the noise of the path.

use std::collections::VecDeque;

use super::Usage;
use super::groups::Step;
use crate::estimate::input::Path;

const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const MOST_STEPS: u32 = 60;
const STEPS_KEPT: u32 = 1000;
const OVERUSE_MS: f64 = 10.0;
/// The threshold rises slowly and falls faster: a lasting competitor is tolerated, noise is not.
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
const FIRST_THRESHOLD: f64 = 12.5;
const HIGHEST_THRESHOLD: f64 = 600.0;
/// A trend so far above the threshold is an accident and does not move it.
const OUTLIER: f64 = 15.0;

#[derive(Debug)]
pub(super) struct Trend {
    window: VecDeque<(f64, f64)>,
    first_arrival: Option<f64>,
    accumulated: f64,
    smoothed: f64,
    slope: f64,
    steps: u32,
    threshold: f64,
    lowest_threshold: f64,
    moved: Option<f64>,
    over: Option<f64>,
    over_steps: u32,
    usage: Usage,
}

impl Trend {
    pub(super) fn new(path: Path) -> Self {
        Self {
            window: VecDeque::with_capacity(WINDOW),
            first_arrival: None,
            accumulated: 0.0,
            smoothed: 0.0,
            slope: 0.0,
            steps: 0,
            threshold: match path {
                Path::Udp => FIRST_THRESHOLD,
                Path::Tcp => 25.0,
            },
            lowest_threshold: match path {
                Path::Udp => 6.0,
                Path::Tcp => 25.0,
            },
            moved: None,
            over: None,
            over_steps: 0,
            usage: Usage::Normal,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn add(&mut self, step: Step) {
        self.steps = (self.steps + 1).min(STEPS_KEPT);
        self.accumulated += step.received - step.sent;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        let first = *self.first_arrival.get_or_insert(step.arrival);
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back((step.arrival - first, self.smoothed));
        let before = self.slope;
        if self.window.len() == WINDOW {
            self.slope = slope(&self.window).unwrap_or(self.slope);
        }
        self.detect(before, step);
    }

    fn detect(&mut self, before: f64, step: Step) {
        if self.steps < 2 {
            return;
        }
        let trend = f64::from(self.steps.min(MOST_STEPS)) * self.slope * GAIN;
        if trend > self.threshold {
            let over = self.over.map_or(step.sent / 2.0, |over| over + step.sent);
            self.over = Some(over);
            self.over_steps += 1;
            if over > OVERUSE_MS && self.over_steps > 1 && self.slope >= before {
                self.over = Some(0.0);
                self.over_steps = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over = None;
            self.over_steps = 0;
            self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.adapt(trend.abs(), step.arrival);
    }

    fn adapt(&mut self, trend: f64, at: f64) {
        let moved = self.moved.replace(at).unwrap_or(at);
        if trend > self.threshold + OUTLIER {
            return;
        }
        let pace = if trend < self.threshold { FALL } else { RISE };
        let threshold = self.threshold + pace * (trend - self.threshold) * (at - moved).clamp(0.0, 100.0);
        self.threshold = threshold.clamp(self.lowest_threshold, HIGHEST_THRESHOLD);
    }
}

/// Least squares.
fn slope(points: &VecDeque<(f64, f64)>) -> Option<f64> {
    let n = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        let x = point.0 - mean_x;
        (above + x * (point.1 - mean_y), below + x * x)
    });
    (below > 0.0).then(|| above / below)
}
