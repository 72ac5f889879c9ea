//! What a peer's downlink carries, judged by the sender from the receiver's reports.

mod input;

use std::time::{Duration, Instant};

pub use input::{
    Ack, CarriedOver, EstimatorConfig, MAX_RATE, MIN_RATE, Path, Probe, ProbeId, ReceiverReport, Report, START_RATE,
    Sent, SentKind,
};

use crate::Bitrate;

/// The controller of one path. Everything it knows arrives by `handle_`; `target` is what may be sent, audio included.
#[derive(Debug)]
pub struct Estimator {
    config: EstimatorConfig,
    target: Bitrate,
    remb: Option<Bitrate>,
    floor: Bitrate,
    round_trip: Duration,
}

/// Before anything is measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);

impl Estimator {
    /// Knows nothing of the path but `config`.
    #[must_use]
    pub fn new(config: EstimatorConfig, _now: Instant) -> Self {
        Self { config, target: config.start, remb: None, floor: config.min, round_trip: FIRST_ROUND_TRIP }
    }

    /// A packet with a transport-wide number left.
    pub fn handle_sent(&mut self, _now: Instant, _sent: Sent) {}

    /// A packet without a transport-wide number left: it takes room, but no report will name it.
    pub fn handle_untracked(&mut self, _now: Instant, _bytes: usize) {}

    /// A transport-wide feedback packet came.
    pub fn handle_report(&mut self, _now: Instant, _report: Report<'_>) {}

    /// A receiver report came; counts only while transport-wide reports do not come.
    pub fn handle_receiver_report(&mut self, _now: Instant, report: ReceiverReport) {
        if let Some(round_trip) = report.round_trip {
            self.round_trip = round_trip;
        }
    }

    /// The receiver says that it can take no more than `rate`; caps the target while transport-wide reports do not
    /// come.
    pub fn handle_remb(&mut self, rate: Bitrate) {
        self.remb = Some(rate);
    }

    /// The sum of the best layers wanted: far beyond it nothing is explored.
    pub fn set_desired(&mut self, _now: Instant, _desired: Bitrate) {}

    /// The rate at which the next desired layer would fit, while one does not: worth a probe from time to time even
    /// when little is sent. `None` when everything desired fits.
    pub fn set_next_step(&mut self, _now: Instant, _step: Option<Bitrate>) {}

    /// More is wanted at once, `wanted` in all (a new subscription, a resumed track): worth a probe now.
    pub fn handle_more_wanted(&mut self, _now: Instant, _wanted: Bitrate) {}

    /// What audio needs: no target falls below it.
    pub fn set_audio_reserve(&mut self, reserve: Bitrate) {
        self.floor = reserve.max(self.config.min).min(self.config.max);
    }

    /// The remote address changed: what was learnt belongs to another path.
    pub fn handle_route_change(&mut self, _now: Instant) {
        self.round_trip = FIRST_ROUND_TRIP;
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// A burst to be sent now; each is given once. One that cannot be sent may be forgotten.
    pub fn poll_probe(&mut self, _now: Instant) -> Option<Probe> {
        None
    }

    /// What may be sent, audio included.
    #[must_use]
    pub fn target(&self) -> Bitrate {
        self.target.min(self.remb.unwrap_or(self.config.max)).clamp(self.floor, self.config.max)
    }

    /// Multiplies what video and padding may have of the target: below 1 while a test runs whether loss answers to
    /// the rate. Audio is outside the test.
    #[must_use]
    pub fn video_scale(&self) -> f64 {
        1.0
    }

    /// How long packets wait on the path beyond its shortest delay.
    #[must_use]
    pub fn queue_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// Share of bytes lost of late, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f32 {
        0.0
    }

    /// The smoothed round trip.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether neither a drain, nor a test, nor a loss cap ruled in the last three seconds: a good moment to upgrade.
    #[must_use]
    pub fn is_calm(&self, _now: Instant) -> bool {
        true
    }

    /// Whether reports stopped for so long that video shall pause until they come again.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        false
    }

    /// What the next connection from the same address may begin with; `None` before anything settled.
    #[must_use]
    pub fn carry_over(&self) -> Option<CarriedOver> {
        None
    }
}
