//! What the path carried each time it was full.

const WEIGHT: f64 = 0.05;
const PROBE_WEIGHT: f64 = 0.5;

/// A mean and its spread, in kilobits per second.
#[derive(Debug)]
pub(super) struct Capacity {
    mean: Option<f64>,
    deviation: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { mean: None, deviation: 0.4 }
    }
}

impl Capacity {
    /// Bits per second.
    pub(super) fn estimate(&self) -> Option<f64> {
        self.mean.map(|mean| mean * 1e3)
    }

    fn spread(&self) -> f64 {
        3.0 * (self.deviation * self.mean.unwrap_or_default()).max(0.0).sqrt()
    }

    /// Forgets what a higher throughput disproves.
    pub(super) fn forget_if_above(&mut self, acked: f64) {
        if self.mean.is_some_and(|mean| acked / 1e3 > mean + self.spread()) {
            *self = Self::default();
        }
    }

    /// Forgets what a much lower one disproves.
    pub(super) fn forget_if_below(&mut self, acked: f64) {
        if self.mean.is_some_and(|mean| acked / 1e3 < mean - self.spread()) {
            *self = Self::default();
        }
    }

    pub(super) fn handle_overuse(&mut self, acked: f64) {
        self.add(acked / 1e3, WEIGHT);
    }

    /// Much more than before is not a mean with it.
    pub(super) fn handle_probe(&mut self, rate: f64) {
        self.forget_if_above(rate);
        self.add(rate / 1e3, PROBE_WEIGHT);
    }

    /// The rate out of a long queue is the path's: taken as it stands when it differs much.
    pub(super) fn handle_drain(&mut self, moment: f64) {
        let moment = moment / 1e3;
        match self.mean {
            Some(mean) if (moment - mean).abs() <= 0.15 * mean => self.add(moment, WEIGHT),
            _ => self.mean = Some(moment),
        }
    }

    fn add(&mut self, sample: f64, weight: f64) {
        let Some(mean) = self.mean else {
            self.mean = Some(sample);
            return;
        };
        let error = sample - mean;
        self.mean = Some(mean + weight * error);
        let normalised = error * error / mean.max(1.0);
        self.deviation = ((1.0 - weight) * self.deviation + weight * normalised).clamp(0.4, 2.5);
    }
}
