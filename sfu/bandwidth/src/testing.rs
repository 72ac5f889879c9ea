//! A virtual path and closed loops over it, for tests and for the bench: no clock, no socket, one seed.

mod flow;
mod link;
mod measure;
mod rows;
mod run;
mod tcp;

pub use flow::{Phase, Source};
pub use link::{Link, LinkSetup, Loss, Policer, Queue};
pub use measure::{Delivery, FlowLog, Log};
pub use rows::{Bar, Judged, Measure, Row, Seen, rows};
pub use run::{Feedback, FlowSetup, Setup, run};

use std::time::{Duration, Instant};

use crate::{Bitrate, Estimator, Probe, ReceiverReport, Report, Sent};

/// A controller under test.
pub trait Controller {
    /// As [`Estimator::handle_sent`].
    fn handle_sent(&mut self, now: Instant, sent: Sent);
    /// As [`Estimator::handle_report`].
    fn handle_report(&mut self, now: Instant, report: Report<'_>);
    /// As [`Estimator::target`].
    fn target(&self) -> Bitrate;
    /// As [`Estimator::handle_receiver_report`].
    fn handle_receiver_report(&mut self, _now: Instant, _report: ReceiverReport) {}
    /// As [`Estimator::handle_timeout`].
    fn handle_timeout(&mut self, _now: Instant) {}
    /// As [`Estimator::poll_timeout`].
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// As [`Estimator::poll_probe`].
    fn poll_probe(&mut self, _now: Instant) -> Option<Probe> {
        None
    }
    /// As [`Estimator::video_scale`].
    fn video_scale(&self) -> f64 {
        1.0
    }
    /// One line for a trace.
    fn describe(&self) -> String {
        String::new()
    }
}

impl Controller for Estimator {
    fn handle_sent(&mut self, now: Instant, sent: Sent) {
        Self::handle_sent(self, now, sent);
    }
    fn handle_report(&mut self, now: Instant, report: Report<'_>) {
        Self::handle_report(self, now, report);
    }
    fn target(&self) -> Bitrate {
        Self::target(self)
    }
    fn handle_receiver_report(&mut self, now: Instant, report: ReceiverReport) {
        Self::handle_receiver_report(self, now, report);
    }
    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
    fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        Self::poll_probe(self, now)
    }
    fn video_scale(&self) -> f64 {
        Self::video_scale(self)
    }
    fn describe(&self) -> String {
        Self::describe(self)
    }
}

/// Virtual time: microseconds would do, but one 1,200 byte packet at 4 Mbit/s is 2.4 ms and rounding adds up.
pub(crate) type Nanos = u64;

pub(crate) fn nanos(span: Duration) -> Nanos {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
