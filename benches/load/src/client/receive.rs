//! One slot that we receive: order, gaps, NACK, RTX unwrapped, and the numbers for receiver reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::SectionStats;
use super::feedback::ReportBlock;
use super::sdp::SectionKind;

/// How long a missing packet is asked for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A request is repeated after this, at the earliest.
const RETRY: Duration = Duration::from_millis(40);
/// A jump beyond this is a new beginning, not loss. Also bounds what can be missing at once.
const LARGEST_GAP: u64 = 1_000;

/// A parsed RTP packet.
#[derive(Clone)]
pub(super) struct Packet {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

impl Packet {
    /// The readable part of a packet that is still encrypted.
    pub(super) fn read_header(bytes: &[u8]) -> Option<Self> {
        let &[_, kind, s1, s0, t3, t2, t1, t0, c3, c2, c1, c0, ..] = bytes else { return None };
        Some(Self {
            ssrc: u32::from_be_bytes([c3, c2, c1, c0]),
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([s1, s0]),
            timestamp: u32::from_be_bytes([t3, t2, t1, t0]),
            marker: kind & 0x80 != 0,
            payload: Bytes::new(),
        })
    }

    pub(super) fn read(bytes: &Bytes) -> Option<Self> {
        let header = Self::read_header(bytes)?;
        let flags = *bytes.first()?;
        let mut at = 12 + usize::from(flags & 0x0f) * 4;
        if flags & 0x10 != 0 {
            let &[_, _, high, low] = bytes.get(at..at + 4)? else { return None };
            at += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
        }
        let padding = if flags & 0x20 != 0 { usize::from(*bytes.last()?) } else { 0 };
        let end = bytes.len().checked_sub(padding).filter(|end| at <= *end)?;
        Some(Self { payload: bytes.slice(at..end), ..header })
    }
}

/// The transport-wide number in a packet's one-byte extensions (RFC 8285 section 4.2).
pub(super) fn transport_number(packet: &[u8], wanted: u8) -> Option<u16> {
    let flags = *packet.first()?;
    if flags & 0x10 == 0 {
        return None;
    }
    let at = 12 + usize::from(flags & 0x0f) * 4;
    let &[0xbe, 0xde, high, low] = packet.get(at..at + 4)? else { return None };
    let words = usize::from(u16::from_be_bytes([high, low]));
    let mut rest = packet.get(at + 4..at + 4 + words * 4)?;
    while let Some((&first, after)) = rest.split_first() {
        if first == 0 {
            rest = after;
            continue;
        }
        let (value, after) = after.split_at_checked(usize::from(first & 0x0f) + 1)?;
        if first >> 4 == wanted {
            return value.first_chunk().map(|number| u16::from_be_bytes(*number));
        }
        rest = after;
    }
    None
}

/// A packet that is new.
pub(super) struct Arrival {
    pub(super) packet: Packet,
    pub(super) sequence: u64,
    pub(super) recovered: bool,
}

struct Missing {
    since: Instant,
    asked: Option<Instant>,
}

pub(super) struct Receiver {
    pub(super) mid: Arc<str>,
    pub(super) kind: SectionKind,
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
    pub(super) stats: SectionStats,
    highest: Option<u64>,
    first: u64,
    missing: BTreeMap<u64, Missing>,
    /// Middle 32 bits of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Instant)>,
    /// Expected and received at the last report of ours.
    reported: (u64, u64),
}

impl Receiver {
    pub(super) fn new(mid: Arc<str>, kind: SectionKind, ssrc: u32, rtx: Option<u32>) -> Self {
        Self {
            mid,
            kind,
            ssrc,
            rtx,
            stats: SectionStats::default(),
            highest: None,
            first: 0,
            missing: BTreeMap::new(),
            last_report: None,
            reported: (0, 0),
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Takes a packet of the stream or of its repair stream.
    pub(super) fn handle(&mut self, now: Instant, mut packet: Packet) -> Option<Arrival> {
        let mut recovered = false;
        if Some(packet.ssrc) == self.rtx {
            // Padding for probing carries no original.
            let original = packet.payload.first_chunk::<2>().copied()?;
            packet.sequence = u16::from_be_bytes(original);
            packet.payload = packet.payload.slice(2..);
            packet.ssrc = self.ssrc;
            packet.payload_type = packet.payload_type.saturating_sub(1);
            recovered = true;
        }
        let sequence = self.unwrap(packet.sequence);
        let Some(highest) = self.highest else {
            if recovered {
                return None;
            }
            self.highest = Some(sequence);
            self.first = sequence;
            return Some(self.arrived(packet, sequence, false));
        };
        if sequence > highest {
            if sequence - highest > LARGEST_GAP {
                self.stats.lost += u64::try_from(self.missing.len()).unwrap_or(0);
                self.missing.clear();
                self.first = sequence;
                self.reported = (0, 0);
            } else if self.kind == SectionKind::Video {
                for gap in highest + 1..sequence {
                    self.missing.insert(gap, Missing { since: now, asked: None });
                }
            } else {
                self.stats.lost += sequence - highest - 1;
            }
            self.highest = Some(sequence);
            // A repair of a packet that was never seen to be missing is news all the same.
            return Some(self.arrived(packet, sequence, recovered));
        }
        if self.missing.remove(&sequence).is_some() {
            return Some(self.arrived(packet, sequence, recovered));
        }
        if self.kind == SectionKind::Audio && sequence != highest && self.stats.lost > 0 {
            self.stats.lost -= 1;
            return Some(self.arrived(packet, sequence, false));
        }
        self.stats.duplicates += 1;
        None
    }

    /// The packets to ask for now.
    pub(super) fn poll_nacks(&mut self, now: Instant) -> Vec<u16> {
        let before = self.missing.len();
        self.missing.retain(|_, missing| now.saturating_duration_since(missing.since) < PATIENCE);
        self.stats.lost += u64::try_from(before - self.missing.len()).unwrap_or(0);
        let due = self.missing.iter_mut().filter(|(_, missing)| missing.asked.is_none_or(|asked| now >= asked + RETRY));
        due.map(|(sequence, missing)| {
            missing.asked = Some(now);
            wire_number(*sequence)
        })
        .collect()
    }

    pub(super) fn note_report(&mut self, now: Instant, ntp: u64) {
        self.last_report = Some((u32::try_from((ntp >> 16) & 0xffff_ffff).unwrap_or(0), now));
    }

    /// A report block, once anything came.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.highest?;
        let expected = highest - self.first + 1;
        let given_up = self.stats.lost + u64::try_from(self.missing.len()).unwrap_or(0);
        let received = expected.saturating_sub(given_up);
        let (was_expected, was_received) = self.reported;
        self.reported = (expected, received);
        let interval = expected.saturating_sub(was_expected);
        let lost = interval.saturating_sub(received.saturating_sub(was_received));
        let fraction = u8::try_from((lost * 256).checked_div(interval).unwrap_or(0)).unwrap_or(255);
        let (last, delay) = self.last_report.map_or((0, 0), |(middle, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (middle, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction,
            lost: u32::try_from(given_up).unwrap_or(u32::MAX),
            highest: u32::try_from(highest & 0xffff_ffff).unwrap_or(0),
            last,
            delay,
        })
    }

    fn arrived(&mut self, packet: Packet, sequence: u64, recovered: bool) -> Arrival {
        self.stats.received += 1;
        self.stats.bytes += u64::try_from(packet.payload.len()).unwrap_or(0);
        self.stats.recovered += u64::from(recovered);
        Arrival { packet, sequence, recovered }
    }

    /// Counts roll-overs: the number nearest to the highest so far. The first begins at one roll-over, so that earlier ones exist.
    fn unwrap(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else { return 0x1_0000 + u64::from(sequence) };
        let ahead = sequence.wrapping_sub(wire_number(highest));
        if ahead < 0x8000 { highest + u64::from(ahead) } else { (highest + u64::from(ahead)).saturating_sub(0x1_0000) }
    }
}

fn wire_number(sequence: u64) -> u16 {
    u16::try_from(sequence & 0xffff).unwrap_or(0)
}
