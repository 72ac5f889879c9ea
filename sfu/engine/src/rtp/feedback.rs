//! Transport-wide feedback to a sender: when each of its packets arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bandwidth::Bitrate;

use super::sequence::{Unroll, wire};

/// How long after its place was reported a late packet is still worth a correction.
const REORDERING: u64 = 500_000;
/// Arrivals kept. A jump further ahead starts anew: the numbers between would fill report after report with losses.
const KEPT: usize = 2048;
/// Statuses in one packet: with 2-byte deltas it stays below 1,200 bytes.
const STATUSES: usize = 400;
/// Deltas count in quarter milliseconds.
const TICK: u64 = 250;
/// The reference time counts in 64 ms: 256 ticks.
const REFERENCE: u64 = 256;

/// Arrivals of one Peer's packets, all SSRCs together.
#[derive(Debug)]
pub(crate) struct Feedback {
    /// Origin of all arrival times, kept for the Peer's life: a backward jump would re-anchor the browser's filter.
    origin: Instant,
    unroll: Unroll,
    /// Microseconds after the origin and one more, for `base` and the numbers after it.
    arrivals: VecDeque<Option<NonZeroU64>>,
    base: u64,
    /// First number not reported yet.
    next: u64,
    count: u8,
}

impl Feedback {
    /// Nothing has arrived yet.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, unroll: Unroll::default(), arrivals: VecDeque::new(), base: 0, next: 0, count: 0 }
    }

    /// Notes the arrival of a packet by its transport-wide number.
    pub(crate) fn note(&mut self, number: u16, now: Instant) {
        let number = self.unroll.take(number);
        let passed = now.saturating_duration_since(self.origin);
        let at = passed.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(passed.subsec_micros()));
        let end = self.base + self.arrivals.len() as u64;
        if self.arrivals.is_empty() || number > end + KEPT as u64 {
            self.arrivals.clear();
            self.base = number;
            // The very first report starts at the first arrival; later ones where the last ended.
            self.next = number;
        }
        if number < self.base {
            return;
        }
        let index = usize::try_from(number - self.base).unwrap_or(usize::MAX);
        while self.arrivals.len() <= index {
            self.arrivals.push_back(None);
        }
        if let Some(place) = self.arrivals.get_mut(index) {
            *place = place.or(NonZeroU64::new(at.saturating_add(1)));
        }
        if number < self.next {
            self.next = number;
        }
        while self.arrivals.len() > KEPT || self.base < self.next && self.is_settled(at) {
            self.arrivals.pop_front();
            self.base += 1;
        }
        self.next = self.next.max(self.base);
    }

    /// True when the oldest kept number may be forgotten.
    fn is_settled(&self, now: u64) -> bool {
        match self.arrivals.front() {
            Some(Some(at)) => now.saturating_sub(at.get()) > REORDERING,
            // A lost one is forgotten with the first arrival after it.
            Some(None) => {
                self.arrivals.iter().flatten().next().is_some_and(|at| now.saturating_sub(at.get()) > REORDERING)
            }
            None => false,
        }
    }

    /// True when something arrived that no report mentions.
    pub(crate) fn is_due(&self) -> bool {
        self.next < self.base + self.arrivals.len() as u64
    }

    /// The next feedback packet, or nothing to report. Call until `None`: what does not fit goes into the next.
    pub(crate) fn poll(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Option<Vec<u8>> {
        let skip = usize::try_from(self.next - self.base).ok()?;
        let losses = self.arrivals.iter().skip(skip).position(Option::is_some)?;
        // Losses in front of the first arrival are reported, but not so many that the arrival has no room.
        let skip = skip + losses.saturating_sub(STATUSES / 2);
        self.next = self.base + skip as u64;
        let mut pending = self.arrivals.iter().skip(skip);
        let first = pending.clone().flatten().next()?.get() - 1;
        let reference = first / TICK / REFERENCE;
        let mut clock = reference * REFERENCE;
        let most = pending.len().min(STATUSES);
        let mut symbols = Vec::with_capacity(most);
        let mut deltas: Vec<u8> = Vec::with_capacity(2 * most);
        while let Some(arrival) = pending.next().filter(|_| symbols.len() < STATUSES) {
            let Some(at) = arrival else {
                symbols.push(0u16);
                continue;
            };
            let tick = (at.get() - 1) / TICK;
            let delta = tick.cast_signed() - clock.cast_signed();
            if let Ok(small) = u8::try_from(delta) {
                symbols.push(1);
                deltas.push(small);
            } else if let Ok(large) = i16::try_from(delta) {
                symbols.push(2);
                deltas.extend_from_slice(&large.to_be_bytes());
            } else {
                // More than eight seconds apart: the rest goes into a packet with a reference of its own.
                break;
            }
            clock = tick;
        }
        // Only what arrived ends a report: a loss shows when a later packet comes.
        while symbols.last() == Some(&0) {
            symbols.pop();
        }
        let base = self.next;
        self.next += symbols.len() as u64;
        let packet = self.write(sender_ssrc, media_ssrc, base, reference, &symbols, &deltas);
        self.count = self.count.wrapping_add(1);
        Some(packet)
    }

    fn write(&self, sender: u32, media: u32, base: u64, reference: u64, symbols: &[u16], deltas: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(20 + symbols.len() + deltas.len());
        out.extend_from_slice(&[0x8f, 205, 0, 0]);
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&media.to_be_bytes());
        out.extend_from_slice(&wire(base).to_be_bytes());
        out.extend_from_slice(&wire(symbols.len() as u64).to_be_bytes());
        let [_, _, _, _, _, r0, r1, r2] = reference.to_be_bytes();
        out.extend_from_slice(&[r0, r1, r2, self.count]);
        let mut rest = symbols;
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|s| *s == first).count();
            // A run saves room only when it is longer than a vector of seven.
            let chunk = if run > 7 || run == rest.len() {
                let run = run.min(0x1fff);
                rest = rest.get(run..).unwrap_or_default();
                first << 13 | wire(run as u64)
            } else {
                let (head, tail) = rest.split_at(rest.len().min(7));
                rest = tail;
                head.iter().enumerate().fold(0xc000, |chunk, (i, symbol)| chunk | symbol << (12 - 2 * i))
            };
            out.extend_from_slice(&chunk.to_be_bytes());
        }
        out.extend_from_slice(deltas);
        let padding = out.len().next_multiple_of(4) - out.len();
        if padding > 0 {
            out.resize(out.len() + padding, 0);
            if let (Some(first), Some(last)) = (out.first().copied(), u8::try_from(padding).ok()) {
                if let Some(place) = out.last_mut() {
                    *place = last;
                }
                if let Some(place) = out.first_mut() {
                    *place = first | 0x20;
                }
            }
        }
        let words = wire((out.len() / 4 - 1) as u64).to_be_bytes();
        if let Some([a, b]) = out.get_mut(2..4) {
            [*a, *b] = words;
        }
        out
    }
}

/// Time between reports: half of what a browser's own receiver does, because the estimate rises with it.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);
/// Browsers cope with no more.
const LONGEST: Duration = Duration::from_millis(250);

/// The same on a narrow way: reports of 68 bytes may take a twentieth of it, because sound needs the rest.
pub(crate) fn interval(target: Bitrate) -> Duration {
    target.scale(0.05).time_for(68).clamp(INTERVAL, LONGEST)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
    use rtc_shared::marshal::Unmarshal;

    use super::*;

    /// Reads a report back with the family's parser: number to arrival in microseconds.
    fn read(bytes: &[u8]) -> (u16, Vec<Option<i64>>) {
        let cc = TransportLayerCc::unmarshal(&mut &bytes[..]).unwrap();
        let mut symbols = Vec::new();
        for chunk in &cc.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    symbols.extend(std::iter::repeat_n(run.packet_status_symbol, usize::from(run.run_length)));
                }
                PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend_from_slice(&vector.symbol_list),
            }
        }
        symbols.truncate(usize::from(cc.packet_status_count));
        let mut clock = i64::from(cc.reference_time) * 64_000;
        let mut deltas = cc.recv_deltas.iter();
        let statuses = symbols
            .into_iter()
            .map(|symbol| {
                (symbol != SymbolTypeTcc::PacketNotReceived).then(|| {
                    clock += deltas.next().unwrap().delta;
                    clock
                })
            })
            .collect();
        (cc.base_sequence_number, statuses)
    }

    proptest! {
        #[test]
        fn every_arrival_is_reported_within_a_quarter_millisecond(
            start: u16,
            packets in prop::collection::vec((0u64..40_000, prop::bool::weighted(0.85), 0u64..3), 1..900),
            every in 1usize..60,
        ) {
            let origin = Instant::now();
            let mut feedback = Feedback::new(origin);
            let mut truth = BTreeMap::new();
            let mut told = BTreeMap::new();
            let mut unroll = Unroll::default();
            let mut at = 0;
            let mut drain = |feedback: &mut Feedback, told: &mut BTreeMap<u64, i64>| -> Result<(), TestCaseError> {
                while let Some(bytes) = feedback.poll(1, 2) {
                    prop_assert!(bytes.len() <= 1200);
                    prop_assert_eq!(bytes.len() % 4, 0);
                    let (base, statuses) = read(&bytes);
                    let base = unroll.take(base);
                    prop_assert!(statuses.last().is_some_and(Option::is_some));
                    for (i, status) in statuses.into_iter().enumerate() {
                        let number = base + i as u64;
                        if let Some(micros) = status {
                            unroll.take(wire(number));
                            told.insert(number, micros);
                        }
                    }
                }
                Ok(())
            };
            for (i, (wait, arrives, late)) in packets.iter().enumerate() {
                at += wait;
                if *arrives || i == 0 {
                    let number = (1 << 16) + u64::from(start) + (i as u64).saturating_sub(*late);
                    feedback.note(wire(number), origin + Duration::from_micros(at));
                    truth.entry(number).or_insert(at);
                }
                if i % every == 0 {
                    drain(&mut feedback, &mut told)?;
                }
            }
            drain(&mut feedback, &mut told)?;
            for (number, at) in truth {
                // Numbers before the very first one have no place in any report.
                if let Some(told) = told.get(&number) {
                    prop_assert!((told - at.cast_signed()).abs() <= 250);
                } else {
                    prop_assert!(number < (1 << 16) + u64::from(start));
                }
            }
        }

        #[test]
        fn any_numbers_are_survived_with_bounded_memory(numbers in prop::collection::vec(any::<u16>(), 1..300)) {
            let origin = Instant::now();
            let mut feedback = Feedback::new(origin);
            for (i, number) in numbers.into_iter().enumerate() {
                feedback.note(number, origin + Duration::from_millis(i as u64));
                prop_assert!(feedback.arrivals.len() <= KEPT);
                if i % 7 == 0 {
                    while let Some(bytes) = feedback.poll(1, 2) {
                        prop_assert!(bytes.len() <= 1200);
                    }
                }
            }
        }
    }

    #[test]
    fn a_loss_at_the_tail_is_not_invented_and_a_late_packet_corrects() {
        let origin = Instant::now();
        let mut feedback = Feedback::new(origin);
        feedback.note(10, origin);
        feedback.note(12, origin + Duration::from_millis(5));
        assert_eq!(read(&feedback.poll(1, 2).unwrap()), (10, vec![Some(0), None, Some(5000)]));
        assert!(!feedback.is_due());
        feedback.note(11, origin + Duration::from_millis(9));
        assert_eq!(read(&feedback.poll(1, 2).unwrap()), (11, vec![Some(9000), Some(5000)]));
    }
}
