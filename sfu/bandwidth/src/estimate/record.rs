//! The packets that left and are not yet forgotten: who is still flying, who came, who was lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::input::{ProbeId, Report, Sent};

/// Older packets are forgotten; a report about them changes nothing.
const KEEP: Duration = Duration::from_secs(10);
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

#[derive(Clone, Copy, Debug)]
struct Packet {
    sent: Instant,
    bytes: u32,
    untracked: u32,
    probe: Option<ProbeId>,
    fate: Fate,
}

/// A packet whose fate a report told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved {
    pub sent: Instant,
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
    /// Seconds after `origin` at which it left; below zero for what left before.
    pub(super) fn seconds_after(&self, origin: Instant) -> f64 {
        match self.sent.checked_duration_since(origin) {
            Some(after) => after.as_secs_f64(),
            None => -origin.saturating_duration_since(self.sent).as_secs_f64(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Record {
    packets: VecDeque<Packet>,
    first: u64,
    flying: usize,
    untracked: u32,
    reported_to: u64,
    count: Option<u8>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self { packets: VecDeque::new(), first: 0, flying: 0, untracked: 0, reported_to: 0, count: None }
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
        self.packets.push_back(Packet {
            sent: now,
            bytes: u32::try_from(sent.bytes).unwrap_or(u32::MAX),
            untracked: std::mem::take(&mut self.untracked),
            probe: sent.probe,
            fate: Fate::Flying,
        });
        self.flying += 1;
        self.forget(now);
    }

    /// Drops what is too old or too many.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.packets.front() {
            if self.packets.len() <= CAPACITY && now.saturating_duration_since(oldest.sent) <= KEEP {
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
        for ack in report.acks {
            let Some(packet) = self.find(ack.number) else { continue };
            let before = packet.fate;
            packet.fate = match (before, ack.arrival) {
                (Fate::Arrived, _) | (Fate::Lost, None) => continue,
                (_, Some(_)) => Fate::Arrived,
                (_, None) => Fate::Lost,
            };
            out.push(Resolved {
                sent: packet.sent,
                bytes: packet.bytes,
                untracked: packet.untracked,
                probe: packet.probe,
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
