//! How fast packets arrived: over half a second, and over a moment.

use std::collections::VecDeque;
use std::time::Instant;

use super::record::Resolved;

const KEEP_MS: f64 = 5000.0;
const CAPACITY: usize = 2048;
/// A straggler is filed by its time of arrival among the last so many.
const STRAGGLER: usize = 32;

/// How much must be seen before a rate is named.
#[derive(Clone, Copy, Debug)]
struct Window {
    packets: usize,
    span_ms: f64,
    fewest: usize,
}

const STEADY: Window = Window { packets: 20, span_ms: 500.0, fewest: 10 };
const MOMENT: Window = Window { packets: 6, span_ms: 150.0, fewest: 6 };

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Seconds after the first packet of all left.
    sent: f64,
    arrival: f64,
    bytes: f64,
    /// What arrived just before it is not known, as a report is missing.
    broken: bool,
}

#[derive(Debug)]
pub(super) struct Throughput {
    samples: VecDeque<Sample>,
    /// When the first packet of all left.
    origin: Option<Instant>,
    steady: Option<f64>,
    moment: Option<f64>,
    arriving: Option<f64>,
}

impl Throughput {
    pub(super) fn new() -> Self {
        Self { samples: VecDeque::new(), origin: None, steady: None, moment: None, arriving: None }
    }

    /// Bits per second over half a second or more.
    pub(super) fn steady(&self) -> Option<f64> {
        self.steady
    }

    /// Bits per second over the last moment; never more than the steady rate, as it serves only to cut.
    pub(super) fn moment(&self) -> Option<f64> {
        match (self.moment, self.steady) {
            (Some(moment), Some(steady)) => Some(moment.min(steady)),
            (moment, steady) => moment.or(steady),
        }
    }

    /// Bits per second that came out of the path over the last moment, however slow they went in.
    pub(super) fn arriving(&self) -> Option<f64> {
        self.arriving.or(self.steady)
    }

    /// What arrived by one report, by time of arrival; `broken`: the report before it is missing.
    pub(super) fn handle_arrivals(&mut self, arrived: &[Resolved], mut broken: bool) {
        for packet in arrived {
            let Some(arrival) = packet.arrival else { continue };
            let bytes = f64::from(packet.bytes) + f64::from(packet.untracked);
            let origin = *self.origin.get_or_insert(packet.sent);
            let sent = packet.seconds_after(origin);
            let sample = Sample { sent, arrival, bytes, broken: std::mem::take(&mut broken) };
            self.file(sample);
        }
        let Some(newest) = self.samples.back().map(|sample| sample.arrival) else { return };
        while self
            .samples
            .front()
            .is_some_and(|sample| self.samples.len() > CAPACITY || newest - sample.arrival > KEEP_MS)
        {
            self.samples.pop_front();
        }
        self.steady = self.measure(STEADY).map(|(received, sent)| received.min(sent));
        let moment = self.measure(MOMENT);
        self.moment = moment.map(|(received, sent)| received.min(sent));
        self.arriving = moment.map(|(received, _)| received);
    }

    fn file(&mut self, sample: Sample) {
        let later =
            self.samples.iter().rev().take(STRAGGLER).take_while(|other| other.arrival > sample.arrival).count();
        if later == STRAGGLER {
            // The receiver's clock went back: what it said before cannot be compared.
            self.samples.clear();
        }
        let at = self.samples.len().saturating_sub(later);
        self.samples.insert(at, sample);
    }

    /// How fast packets arrived, and how fast they left, over the smallest window that suffices. The longest gap between arrivals
    /// counts as the second longest: one stall is no rate.
    fn measure(&self, window: Window) -> Option<(f64, f64)> {
        let mut newer = self.samples.iter().rev();
        let newest = newer.next()?;
        let (mut first_sent, mut last_sent) = (newest.sent, newest.sent);
        let (mut bytes, mut packets) = (newest.bytes, 1_usize);
        let (mut longest, mut second) = (0.0_f64, 0.0_f64);
        let (mut unknown_arrival, mut unknown_sent) = (0.0, 0.0);
        let mut first = newest;
        for sample in newer {
            let span = newest.arrival - first.arrival - unknown_arrival;
            if packets >= window.packets && span >= window.span_ms {
                break;
            }
            let gap = first.arrival - sample.arrival;
            if first.broken {
                unknown_arrival += gap;
                unknown_sent += (first.sent - sample.sent).max(0.0);
                bytes -= first.bytes;
            } else if gap > longest {
                second = longest;
                longest = gap;
            } else if gap > second {
                second = gap;
            }
            first_sent = first_sent.min(sample.sent);
            last_sent = last_sent.max(sample.sent);
            bytes += sample.bytes;
            packets += 1;
            first = sample;
        }
        if packets < window.fewest {
            return None;
        }
        let arriving = newest.arrival - first.arrival - unknown_arrival - longest + second;
        let leaving = last_sent - first_sent - unknown_sent;
        // The first to arrive began before the window, the last to leave ends after it.
        let received = (bytes - first.bytes).max(0.0) * 8.0 / (arriving / 1e3).max(1e-3);
        let sent = (bytes - newest.bytes).max(0.0) * 8.0 / leaving.max(1e-3);
        Some((received, sent))
    }
}
