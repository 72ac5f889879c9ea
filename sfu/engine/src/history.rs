//! Packets lately sent on a slot, replayed on NACK.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// No receiver waits longer for a repair.
const AGE: Duration = Duration::from_secs(1);
/// Bytes of payload kept: one second of 4 Mbit/s. When full the oldest packets go.
const BYTES: usize = 512 * 1024;
/// Numbers kept, holes included.
const PACKETS: usize = 2048;
/// Replays of one packet.
const TIMES: u8 = 6;
/// Shortest time between two replays of one packet.
const SPACING: Duration = Duration::from_millis(15);
/// Entries that are looked at for something to fill a probe with.
const SPARE_LOOK: usize = 64;

/// What is needed to write the packet again. The payload is shared with everybody who was sent it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) payload: Bytes,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    /// VP8 ids to write over those in the payload.
    pub(crate) patch: Option<Patch>,
    /// The dependency descriptor that left with it.
    pub(crate) dependency: Option<Bytes>,
}

/// Bytes to write over those of a payload, so that the payload itself stays shared: position and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) id: Option<(usize, [u8; 2], bool)>,
    pub(crate) tl0: Option<(usize, u8)>,
}

impl Patch {
    /// Writes over `payload`, a copy of the original.
    pub(crate) fn apply(&self, payload: &mut [u8]) {
        if let Some((at, [high, low], is_long)) = self.id {
            if is_long {
                if let Some([a, b]) = payload.get_mut(at..at + 2) {
                    *a = high | 0x80;
                    *b = low;
                }
            } else if let Some(a) = payload.get_mut(at) {
                *a = low & 0x7f;
            }
        }
        if let Some((at, value)) = self.tl0
            && let Some(place) = payload.get_mut(at)
        {
            *place = value;
        }
    }
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    sent: Instant,
    replayed: Option<Instant>,
    times: u8,
}

/// One slot's packets by number. Bounded by age, bytes and count; the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Option<Entry>>,
    /// Number of the first entry.
    base: u64,
    bytes: usize,
    /// Where [`Self::spare`] was last.
    spared: usize,
}

impl History {
    /// Keeps one packet that left under `number`.
    pub(crate) fn keep(&mut self, number: u64, kept: Kept, now: Instant) {
        if self.entries.is_empty() || number > self.base + 2 * PACKETS as u64 {
            self.entries.clear();
            self.bytes = 0;
            self.base = number;
        }
        let Some(index) = number.checked_sub(self.base).and_then(|i| usize::try_from(i).ok()) else { return };
        while self.entries.len() <= index {
            self.entries.push_back(None);
        }
        self.bytes += kept.payload.len();
        if let Some(place) = self.entries.get_mut(index) {
            let before = place.replace(Entry { kept, sent: now, replayed: None, times: 0 });
            self.bytes -= before.map_or(0, |entry| entry.kept.payload.len());
        }
        self.trim(now);
    }

    /// The packet that left under these 16 bits, if it may be sent again now; that counts as sent.
    pub(crate) fn replay(&mut self, number: u16, round_trip: Option<Duration>, now: Instant) -> Option<Kept> {
        let first = super::rtp::sequence::wire(self.base);
        let index = usize::from(number.wrapping_sub(first));
        let entry = self.entries.get_mut(index)?.as_mut()?;
        let spacing = round_trip.map_or(SPACING, |trip| SPACING.max(trip * 8 / 10));
        let is_too_soon = entry.replayed.is_some_and(|at| now.saturating_duration_since(at) < spacing);
        if is_too_soon || entry.times >= TIMES || now.saturating_duration_since(entry.sent) > AGE {
            return None;
        }
        entry.replayed = Some(now);
        entry.times += 1;
        Some(entry.kept.clone())
    }

    /// Something lately sent to fill a probe with: of at least so many bytes of payload, each time another one. It does not
    /// count as asked for.
    pub(crate) fn spare(&mut self, bytes: usize, now: Instant) -> Option<(u16, Kept)> {
        let count = self.entries.len();
        for step in 1..=count.min(SPARE_LOOK) {
            let index = (self.spared + step) % count;
            let fits =
                |entry: &&Entry| entry.kept.payload.len() >= bytes && now.saturating_duration_since(entry.sent) <= AGE;
            if let Some(entry) = self.entries.get(index).and_then(Option::as_ref).filter(fits) {
                self.spared = index;
                let number = super::rtp::sequence::wire(self.base + index as u64);
                return Some((number, entry.kept.clone()));
            }
        }
        None
    }

    /// Drops what is too old: called as packets come and on a timer, so that a silent slot holds nothing.
    pub(crate) fn trim(&mut self, now: Instant) {
        while let Some(front) = self.entries.front() {
            let is_over = match front {
                Some(entry) => {
                    now.saturating_duration_since(entry.sent) > AGE
                        || self.bytes > BYTES
                        || self.entries.len() > PACKETS
                }
                None => true,
            };
            if !is_over {
                break;
            }
            let dropped = self.entries.pop_front().flatten();
            self.bytes -= dropped.map_or(0, |entry| entry.kept.payload.len());
            self.base += 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    fn kept(len: usize) -> Kept {
        let payload = Bytes::from(vec![7; len]);
        Kept { payload, timestamp: 1, marker: false, payload_type: 96, patch: None, dependency: None }
    }

    #[test]
    fn replays_are_spaced_and_counted() {
        let now = Instant::now();
        let mut history = History::default();
        history.keep(65_536 + 10, kept(5), now);
        let at = |ms| now + Duration::from_millis(ms);
        assert!(history.replay(10, None, at(1)).is_some());
        assert!(history.replay(10, None, at(10)).is_none());
        assert!(history.replay(10, Some(Duration::from_millis(100)), at(50)).is_none());
        let again = (1..60).filter(|i| history.replay(10, None, at(i * 16)).is_some()).count();
        assert_eq!(again, usize::from(TIMES) - 1);
        assert!(history.replay(11, None, at(20)).is_none());
    }

    #[test]
    fn memory_is_bounded_by_bytes_count_and_age() {
        let now = Instant::now();
        let mut history = History::default();
        for number in 0..10_000 {
            history.keep(65_536 + number, kept(1200), now);
            assert!(history.bytes <= BYTES && history.entries.len() <= PACKETS);
        }
        history.keep(1 << 40, kept(1), now);
        assert_eq!((history.entries.len(), history.bytes), (1, 1));
        history.trim(now + Duration::from_secs(2));
        assert_eq!((history.entries.len(), history.bytes), (0, 0));
    }

    #[test]
    fn numbers_wrap() {
        let now = Instant::now();
        let mut history = History::default();
        for number in (131_066..131_081).filter(|number| number % 3 != 0) {
            history.keep(number, kept(2), now);
        }
        let is_there = [65_530, 65_531, 65_535, 1, 2].map(|number| history.replay(number, None, now).is_some());
        assert_eq!(is_there, [true, false, true, false, true]);
    }
}
