//! The packets that left and are not yet forgotten: who is still flying, who came, who was lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::input::{ProbeId, Report, Sent};
use crate::nanos;

/// Older packets are forgotten; a report about them changes nothing.
const KEEP: Duration = Duration::from_secs(10);
/// Those whose fate is known, as soon as this: a later report may still say that one came after all, but not so much later. Only
/// when reports stay away does the record grow beyond a few hundred packets.
const KEEP_TOLD: Duration = Duration::from_secs(2);
/// At 4 Mbit/s about five seconds.
const CAPACITY: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Flying,
    Lost,
    /// The report about it was itself lost: neither lost nor come.
    Unknown,
    Arrived,
}

/// Kept small: there is one for every packet of the last seconds, and by the time that it is read again it has long left the caches.
#[derive(Clone, Copy, Debug)]
struct Packet {
    /// Nanoseconds after the origin.
    sent: u64,
    untracked: u32,
    /// The number of the probe, of use when `is_probe`.
    probe: u32,
    bytes: u16,
    is_probe: bool,
    fate: Fate,
}

const _: () = assert!(size_of::<Packet>() <= 24);

/// A packet whose fate a report told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved {
    pub sent: Instant,
    /// The same in nanoseconds after the first packet of all left: differences of it cost nothing.
    pub left: u64,
    /// On the wire.
    pub bytes: u32,
    /// Bytes without a number that left just before it.
    pub untracked: u32,
    pub probe: Option<ProbeId>,
    /// On the receiver's clock, in milliseconds; `None`: lost.
    pub arrival: Option<f64>,
    /// An earlier report called it lost.
    pub was_lost: bool,
}

impl Resolved {
    /// Seconds after the first packet of all at which it left.
    pub(super) fn seconds(&self) -> f64 {
        self.left as f64 / 1e9
    }
}

#[derive(Debug)]
pub(super) struct Record {
    packets: VecDeque<Packet>,
    /// When the first packet of all left.
    origin: Option<Instant>,
    first: u64,
    flying: usize,
    untracked: u32,
    reported_to: u64,
    count: Option<u8>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self { packets: VecDeque::new(), origin: None, first: 0, flying: 0, untracked: 0, reported_to: 0, count: None }
    }

    /// Packets sent of whom no report told yet.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    pub(super) fn add_untracked(&mut self, bytes: u32) {
        self.untracked = self.untracked.saturating_add(bytes);
    }

    pub(super) fn add(&mut self, now: Instant, sent: Sent) {
        let next = self.first.saturating_add(self.packets.len() as u64);
        if self.packets.is_empty() || sent.number > next {
            // Numbers go up by one; after a jump nothing older can be told apart, and it is not worth a search.
            self.packets.clear();
            self.flying = 0;
            self.first = sent.number;
            self.reported_to = self.reported_to.max(sent.number);
        } else if sent.number < next {
            return;
        }
        let left = nanos(now.saturating_duration_since(*self.origin.get_or_insert(now)));
        self.packets.push_back(Packet {
            sent: left,
            untracked: std::mem::take(&mut self.untracked),
            probe: sent.probe.map_or(0, |ProbeId(number)| number),
            // A datagram cannot be longer.
            bytes: u16::try_from(sent.bytes).unwrap_or(u16::MAX),
            is_probe: sent.probe.is_some(),
            fate: Fate::Flying,
        });
        self.flying += 1;
        self.forget_by(left);
    }

    /// Drops what is too old or too many.
    pub(super) fn forget(&mut self, now: Instant) {
        let Some(origin) = self.origin else { return };
        self.forget_by(nanos(now.saturating_duration_since(origin)));
    }

    fn forget_by(&mut self, now: u64) {
        while let Some(oldest) = self.packets.front() {
            let keep = if oldest.fate == Fate::Flying { KEEP } else { KEEP_TOLD };
            if self.packets.len() <= CAPACITY && now.saturating_sub(oldest.sent) <= nanos(keep) {
                break;
            }
            if oldest.fate == Fate::Flying {
                self.flying -= 1;
            }
            self.packets.pop_front();
            self.first = self.first.saturating_add(1);
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut Packet> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.packets.get_mut(index)
    }

    /// Appends to `out` the packets of whom the report tells something new. True when a report before it is missing.
    pub(super) fn resolve(&mut self, report: Report<'_>, out: &mut Vec<Resolved>) -> bool {
        let missed = match self.count {
            None => 0,
            Some(last) => report.count.wrapping_sub(last).wrapping_sub(1),
        };
        // More than half the circle ahead is behind: a late report, or the same once more.
        let gap = (1..128).contains(&missed);
        if missed < 128 {
            self.count = Some(report.count);
        }
        if let (true, Some(begin)) = (gap, report.acks.first()) {
            self.write_off(begin.number);
        }
        let Some(origin) = self.origin else { return gap };
        for ack in report.acks {
            let Some(packet) = self.find(ack.number) else { continue };
            let before = packet.fate;
            packet.fate = match (before, ack.arrival) {
                (Fate::Arrived, _) | (Fate::Lost, None) => continue,
                (_, Some(_)) => Fate::Arrived,
                (_, None) => Fate::Lost,
            };
            out.push(Resolved {
                sent: origin + Duration::from_nanos(packet.sent),
                left: packet.sent,
                bytes: u32::from(packet.bytes),
                untracked: packet.untracked,
                probe: packet.is_probe.then_some(ProbeId(packet.probe)),
                arrival: ack.arrival.map(|at| at.as_secs_f64() * 1e3),
                was_lost: before == Fate::Lost,
            });
            if before == Fate::Flying {
                self.flying -= 1;
            }
            self.reported_to = self.reported_to.max(ack.number.saturating_add(1));
        }
        gap
    }

    /// Whoever flew before `number` was told of in a report that never came.
    fn write_off(&mut self, number: u64) {
        let from = self.reported_to.max(self.first);
        for lost in from..number.min(self.first.saturating_add(self.packets.len() as u64)) {
            let Some(packet) = self.find(lost) else { break };
            if packet.fate == Fate::Flying {
                packet.fate = Fate::Unknown;
                self.flying -= 1;
            }
        }
        self.reported_to = from.max(number.min(self.first.saturating_add(self.packets.len() as u64)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Ack;
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of virtual time")]
    #[allow(clippy::cast_possible_truncation, reason = "numbers below 1,002")]
    fn what_reports_told_of_is_forgotten_after_two_seconds_and_the_rest_after_ten() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut record = Record::new();
        let mut out = Vec::new();
        for number in 0..1_000 {
            record
                .add(at(number * 10), Sent { number, bytes: 1_200, kind: super::super::SentKind::Media, probe: None });
            if number % 10 == 9 && number < 500 {
                let acks: Vec<Ack> = (number - 9..=number)
                    .map(|number| Ack {
                        number,
                        arrival: (number % 7 != 0).then(|| Duration::from_millis(number * 10 + 20)),
                    })
                    .collect();
                out.clear();
                record.resolve(Report { count: (number / 10) as u8, acks: &acks }, &mut out);
                assert_eq!(out.len(), 10);
                assert_eq!(out.first().map(|packet| packet.sent), Some(at(number * 10 - 90)));
                assert!(record.packets.len() <= 201, "{} are kept", record.packets.len());
            }
        }
        assert_eq!((record.flying(), record.first), (500, 500), "nobody told of the last five seconds");
        // Reports come again, late: they still count.
        let acks: Vec<Ack> =
            (500..1_000).map(|number| Ack { number, arrival: Some(at(number * 10) - begin) }).collect();
        out.clear();
        record.resolve(Report { count: 50, acks: &acks }, &mut out);
        assert_eq!((out.len(), record.flying()), (500, 0));
        for number in 1_000..1_002 {
            let sent =
                Sent { number, bytes: 100, kind: super::super::SentKind::Media, probe: Some(ProbeId(number as u32)) };
            record.add(at(15_000 + (number - 1_000) * 10_001), sent);
        }
        assert_eq!((record.packets.len(), record.flying()), (1, 1), "ten seconds without a report");
        out.clear();
        record.resolve(Report { count: 51, acks: &[Ack { number: 1_001, arrival: None }] }, &mut out);
        assert_eq!(out.first().and_then(|packet| packet.probe), Some(ProbeId(1_001)));
    }
}
