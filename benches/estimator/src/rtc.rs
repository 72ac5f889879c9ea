//! The estimator of rtc-interceptor, fed with the same reports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bandwidth::testing::Controller;
use bandwidth::{Bitrate, Report, Sent};
use rtc_interceptor::{BandwidthEstimator, GCC_MIN_BITRATE, Gcc, PacketReport};
use rtc_rtcp::transport_feedbacks::cc_feedback_report::Ecn;

/// As that crate keeps them for.
const KEEP: Duration = Duration::from_secs(2);

pub(crate) struct Rtc {
    gcc: Gcc,
    sent: VecDeque<(Instant, Sent)>,
}

impl Rtc {
    pub(crate) fn new(start: Bitrate, max: Bitrate) -> Self {
        let gcc = Gcc::new(start.as_bps() as f64, GCC_MIN_BITRATE, max.as_bps() as f64);
        Self { gcc, sent: VecDeque::new() }
    }
}

impl Controller for Rtc {
    fn handle_sent(&mut self, now: Instant, sent: Sent) {
        while self.sent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > KEEP) {
            self.sent.pop_front();
        }
        self.sent.push_back((now, sent));
    }

    fn handle_report(&mut self, now: Instant, report: Report<'_>) {
        let Some(first) = self.sent.front().map(|(_, sent)| sent.number) else { return };
        let find = |number: u64| self.sent.get(usize::try_from(number.checked_sub(first)?).ok()?);
        let low = |number: u64| u16::try_from(number & 0xFFFF).unwrap_or_default();
        let reports: Vec<PacketReport> = report
            .acks
            .iter()
            .filter_map(|ack| {
                let (departure, sent) = find(ack.number)?;
                Some(PacketReport {
                    ssrc: 1,
                    id: ack.number,
                    rtp_sequence_number: low(ack.number),
                    is_twcc: true,
                    twcc_sequence_number: low(ack.number),
                    size: sent.bytes,
                    arrived: ack.arrival.is_some(),
                    departure: *departure,
                    arrival: ack.arrival,
                    ecn: Ecn::default(),
                })
            })
            .collect();
        if !reports.is_empty() {
            self.gcc.on_reports(now, &reports);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.gcc.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.gcc.poll_timeout()
    }

    fn target(&self) -> Bitrate {
        Bitrate::bps(1).scale(self.gcc.target_bitrate())
    }
}
