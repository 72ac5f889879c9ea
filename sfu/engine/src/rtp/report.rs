//! Reception statistics of one SSRC (RFC 3550 appendix A) and the reports made from them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_shared::marshal::Marshal;

/// What came of one SSRC: feeds receiver reports and the network bars.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reception {
    first: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// RFC 3550 A.8, in timestamp units times 16.
    jitter: u64,
    transit: Option<i64>,
    /// Middle 32 bits of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Instant)>,
}

impl Reception {
    /// Notes one packet. `arrival` is its time of arrival in the clock rate of the stream, on any origin.
    pub(crate) fn note(&mut self, number: u64, timestamp: u32, arrival: u64) {
        let first = *self.first.get_or_insert(number);
        if number < first {
            self.first = Some(number);
        }
        self.highest = self.highest.max(number);
        self.received += 1;
        let transit = i64::from(((arrival & 0xffff_ffff) as u32).wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit - before).unsigned_abs();
            // A jump of more than ten seconds is a new origin, not jitter.
            if difference < 900_000 {
                self.jitter = self.jitter - ((self.jitter + 8) >> 4) + difference;
            }
        }
    }

    /// Notes a sender report of this SSRC.
    pub(crate) const fn note_report(&mut self, ntp: u64, now: Instant) {
        self.last_report = Some((((ntp >> 16) & 0xffff_ffff) as u32, now));
    }

    /// True once a packet came.
    pub(crate) const fn is_started(&self) -> bool {
        self.first.is_some()
    }

    /// Interarrival jitter in timestamp units.
    pub(crate) fn jitter(&self) -> u32 {
        u32::try_from(self.jitter >> 4).unwrap_or(u32::MAX)
    }

    /// Expected and received so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.first.map_or(0, |first| self.highest - first + 1), self.received)
    }

    /// The block for the next receiver report; starts the next interval.
    pub(crate) fn block(&mut self, ssrc: u32, now: Instant) -> ReceptionReport {
        let (expected, received) = self.totals();
        let expected_now = expected - self.expected_before.min(expected);
        let received_now = received - self.received_before;
        let lost_now = expected_now.saturating_sub(received_now);
        self.expected_before = expected;
        self.received_before = received;
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or_default();
        let (last_sender_report, delay) = self.last_report.map_or((0, 0), |(report, at)| {
            let since = now.saturating_duration_since(at).as_micros();
            (report, u32::try_from(since * 65_536 / 1_000_000).unwrap_or(u32::MAX))
        });
        ReceptionReport {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            total_lost: u32::try_from(expected.saturating_sub(received)).unwrap_or(0x007f_ffff).min(0x007f_ffff),
            // Numbers start in cycle 1 inside; the report counts cycles from 0.
            last_sequence_number: (self.highest.saturating_sub(1 << 16) & 0xffff_ffff) as u32,
            jitter: self.jitter(),
            last_sender_report,
            delay,
        }
    }
}

/// Receiver reports for any number of blocks: 31 fit into one.
pub(crate) fn receiver_reports(sender: u32, blocks: &[ReceptionReport]) -> Option<Bytes> {
    let mut out = Vec::new();
    for reports in blocks.chunks(31) {
        let report = ReceiverReport { ssrc: sender, reports: reports.to_vec(), ..ReceiverReport::default() };
        out.extend_from_slice(&report.marshal().ok()?);
    }
    (!out.is_empty()).then(|| out.into())
}

/// A sender report of our own stream.
pub(crate) fn sender_report(ssrc: u32, ntp: u64, rtp: u32, packets: u64, octets: u64) -> Option<Bytes> {
    let report = SenderReport {
        ssrc,
        ntp_time: ntp,
        rtp_time: rtp,
        // Both counts wrap, RFC 3550 section 6.4.1.
        packet_count: (packets & 0xffff_ffff) as u32,
        octet_count: (octets & 0xffff_ffff) as u32,
        ..SenderReport::default()
    };
    report.marshal().ok().map(Into::into)
}

/// Middle 32 bits of an NTP time, as report blocks quote it.
pub(crate) const fn middle(ntp: u64) -> u32 {
    ((ntp >> 16) & 0xffff_ffff) as u32
}

/// When which sender report left, so that a report block that quotes it gives the round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentReports {
    /// The last four: browsers report at least every few seconds.
    sent: [Option<(u32, Instant)>; 4],
    next: usize,
}

impl SentReports {
    /// Notes that a report with this NTP time left.
    pub(crate) fn note(&mut self, ntp: u64, now: Instant) {
        let entry = (middle(ntp), now);
        // The same report may leave again: the receiver counts from its latest arrival.
        if let Some(place) = self.sent.iter_mut().flatten().find(|(middle, _)| *middle == entry.0) {
            *place = entry;
            return;
        }
        if let Some(place) = self.sent.get_mut(self.next % 4) {
            *place = Some(entry);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// The round trip: now, less when the report left, less the time that it lay at the receiver.
    pub(crate) fn round_trip(&self, last: u32, delay: u32, now: Instant) -> Option<Duration> {
        let (_, at) = self.sent.iter().flatten().find(|(middle, _)| *middle == last && last != 0)?;
        let lay = Duration::from_micros(u64::from(delay) * 1_000_000 / 65_536);
        now.saturating_duration_since(*at).checked_sub(lay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
    fn fraction_counts_one_interval_and_total_all() {
        let now = Instant::now();
        let mut reception = Reception::default();
        let start = 1 << 16;
        for number in (start..start + 100).filter(|n| n % 10 != 3) {
            reception.note(number, 0, 0);
        }
        let block = reception.block(1, now);
        assert_eq!((block.fraction_lost, block.total_lost, block.last_sequence_number), (25, 10, 99));
        for number in start + 100..start + 200 {
            reception.note(number, 0, 0);
        }
        let block = reception.block(1, now);
        assert_eq!((block.fraction_lost, block.total_lost), (0, 10));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
    fn round_trip_is_what_is_left_of_the_wait() {
        let now = Instant::now();
        let mut sent = SentReports::default();
        sent.note(0x0000_1234_5678_0000, now);
        let delay = 65_536 / 2;
        let trip = sent.round_trip(0x1234_5678, delay, now + Duration::from_millis(540));
        assert_eq!(trip, Some(Duration::from_millis(40)));
        assert_eq!(sent.round_trip(1, delay, now), None);
        sent.note(0x0000_1234_5678_0000, now + Duration::from_millis(300));
        let trip = sent.round_trip(0x1234_5678, 0, now + Duration::from_millis(340));
        assert_eq!(trip, Some(Duration::from_millis(40)));
    }
}
