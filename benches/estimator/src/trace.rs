//! Prints what a controller holds after each report.

use std::time::Instant;

use bandwidth::testing::Controller;
use bandwidth::{Bitrate, Probe, ReceiverReport, Report, Sent};

pub(crate) struct Trace<C> {
    controller: C,
    epoch: Instant,
}

impl<C: Controller> Trace<C> {
    pub(crate) fn new(controller: C, epoch: Instant) -> Self {
        Self { controller, epoch }
    }

    #[allow(clippy::print_stdout, reason = "a trace is asked for")]
    fn print(&self, now: Instant, what: &str) {
        let at = now.saturating_duration_since(self.epoch).as_secs_f64();
        println!("{at:8.3} {what:<6} {:>6} {}", self.controller.target().as_kbps(), self.controller.describe());
    }
}

impl<C: Controller> Controller for Trace<C> {
    fn handle_sent(&mut self, now: Instant, sent: Sent) {
        self.controller.handle_sent(now, sent);
    }
    fn handle_report(&mut self, now: Instant, report: Report<'_>) {
        self.controller.handle_report(now, report);
        self.print(now, "report");
    }
    fn target(&self) -> Bitrate {
        self.controller.target()
    }
    fn handle_receiver_report(&mut self, now: Instant, report: ReceiverReport) {
        self.controller.handle_receiver_report(now, report);
        self.print(now, "rr");
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.controller.handle_timeout(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.controller.poll_timeout()
    }
    fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let probe = self.controller.poll_probe(now);
        if let Some(probe) = &probe {
            self.print(now, &format!("probe {}", probe.rate.as_kbps()));
        }
        probe
    }
    fn video_scale(&self) -> f64 {
        self.controller.video_scale()
    }
}
