//! How fast packets arrived: over half a second, and over a moment.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::record::Resolved;

const KEEP_MS: f64 = 5000.0;
/// So many suffice for any rate, once they span this: a window of half a second may be three parts unknown.
const ENOUGH: usize = 128;
const ENOUGH_MS: f64 = 2000.0;
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
    bytes: u32,
    /// What arrived just before it is not known, as a report is missing.
    broken: bool,
}

#[derive(Debug)]
pub(super) struct Throughput {
    samples: VecDeque<Sample>,
    steady: Option<f64>,
    moment: Option<f64>,
    arriving: Option<f64>,
}

impl Throughput {
    pub(super) fn new() -> Self {
        Self { samples: VecDeque::new(), steady: None, moment: None, arriving: None }
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
            let bytes = packet.bytes.saturating_add(packet.untracked);
            let sample = Sample { sent: packet.seconds(), arrival, bytes, broken: std::mem::take(&mut broken) };
            self.file(sample);
        }
        let Some(newest) = self.samples.back().map(|sample| sample.arrival) else { return };
        while let Some(oldest) = self.samples.front() {
            let keep = if self.samples.len() > ENOUGH { ENOUGH_MS } else { KEEP_MS };
            if self.samples.len() <= CAPACITY && newest - oldest.arrival <= keep {
                break;
            }
            self.samples.pop_front();
        }
        let [steady, moment] = self.measure();
        self.steady = steady.map(|(received, sent)| received.min(sent));
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
        match self.samples.len().saturating_sub(later) {
            at if at == self.samples.len() => self.samples.push_back(sample),
            at => self.samples.insert(at, sample),
        }
    }

    /// How fast packets arrived, and how fast they left, over the smallest windows that suffice for [`STEADY`] and for [`MOMENT`],
    /// which is the beginning of the other, seen from the newest packet.
    fn measure(&self) -> [Option<(f64, f64)>; 2] {
        let mut newer = self.samples.iter().rev();
        let Some(newest) = newer.next() else { return [None; 2] };
        let mut seen = Seen::of(newest);
        let _ = newer.try_for_each(|sample| seen.add(sample, MOMENT));
        let moment = seen;
        if !seen.suffices(STEADY) {
            let _ = newer.try_for_each(|sample| seen.add(sample, STEADY));
        }
        [seen.rates(STEADY), moment.rates(MOMENT)]
    }
}

/// What a walk from the newest packet back has met.
#[derive(Clone, Copy, Debug)]
struct Seen {
    newest: Sample,
    first: Sample,
    first_sent: f64,
    last_sent: f64,
    bytes: f64,
    packets: usize,
    /// The two longest gaps between arrivals: the longest counts as the second longest, as one stall is no rate.
    longest: f64,
    second: f64,
    unknown_arrival: f64,
    unknown_sent: f64,
}

impl Seen {
    fn of(newest: &Sample) -> Self {
        Self {
            newest: *newest,
            first: *newest,
            first_sent: newest.sent,
            last_sent: newest.sent,
            bytes: f64::from(newest.bytes),
            packets: 1,
            longest: 0.0,
            second: 0.0,
            unknown_arrival: 0.0,
            unknown_sent: 0.0,
        }
    }

    fn suffices(&self, window: Window) -> bool {
        self.packets >= window.packets
            && self.newest.arrival - self.first.arrival - self.unknown_arrival >= window.span_ms
    }

    /// Takes another packet; breaks off when the window has enough.
    fn add(&mut self, sample: &Sample, window: Window) -> ControlFlow<()> {
        let gap = self.first.arrival - sample.arrival;
        if self.first.broken {
            self.unknown_arrival += gap;
            self.unknown_sent += (self.first.sent - sample.sent).max(0.0);
            self.bytes -= f64::from(self.first.bytes);
        } else if gap > self.longest {
            self.second = self.longest;
            self.longest = gap;
        } else if gap > self.second {
            self.second = gap;
        }
        if sample.sent < self.first_sent {
            self.first_sent = sample.sent;
        }
        if sample.sent > self.last_sent {
            self.last_sent = sample.sent;
        }
        self.bytes += f64::from(sample.bytes);
        self.packets += 1;
        self.first = *sample;
        if self.suffices(window) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn rates(&self, window: Window) -> Option<(f64, f64)> {
        if self.packets < window.fewest {
            return None;
        }
        let arriving = self.newest.arrival - self.first.arrival - self.unknown_arrival - self.longest + self.second;
        let leaving = self.last_sent - self.first_sent - self.unknown_sent;
        // The first to arrive began before the window, the last to leave ends after it.
        let received = (self.bytes - f64::from(self.first.bytes)).max(0.0) * 8.0 / (arriving / 1e3).max(1e-3);
        let sent = (self.bytes - f64::from(self.newest.bytes)).max(0.0) * 8.0 / leaving.max(1e-3);
        Some((received, sent))
    }
}
