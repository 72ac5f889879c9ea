//! Packets lately sent on a slot, replayed on NACK.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bandwidth::nanos;
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

/// Bytes to write over those of a payload, so that the payload itself stays shared: position and bytes. All of it lies in the
/// first bytes of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) id: Option<(u8, [u8; 2], bool)>,
    pub(crate) tl0: Option<(u8, u8)>,
}

impl Patch {
    /// Writes over `payload`, a copy of the original.
    pub(crate) fn apply(&self, payload: &mut [u8]) {
        if let Some((at, [high, low], is_long)) = self.id {
            let at = usize::from(at);
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
            && let Some(place) = payload.get_mut(usize::from(at))
        {
            *place = value;
        }
    }
}

/// One cache line: there is one for each packet of the last second, and what left is seldom asked for again.
#[derive(Debug)]
struct Entry {
    payload: Bytes,
    /// Nanoseconds after the history's origin.
    sent: u64,
    /// What few packets have.
    rare: Option<Box<Rare>>,
    timestamp: u32,
    patch: Option<Patch>,
    payload_type: u8,
    marker: bool,
}

const _: () = assert!(size_of::<Option<Entry>>() == 64);

#[derive(Debug, Default)]
struct Rare {
    dependency: Option<Bytes>,
    /// When it last left again.
    replayed: Option<Instant>,
    /// Until when a repair of it may wait for its turn: then it was dropped, and may be asked for again.
    waits_until: Option<Instant>,
    /// How often it left again.
    times: u8,
}

impl Entry {
    fn kept(&self) -> Kept {
        Kept {
            payload: self.payload.clone(),
            timestamp: self.timestamp,
            marker: self.marker,
            payload_type: self.payload_type,
            patch: self.patch,
            dependency: self.rare.as_ref().and_then(|rare| rare.dependency.clone()),
        }
    }

    fn is_old(&self, now: u64) -> bool {
        now.saturating_sub(self.sent) > nanos(AGE)
    }
}

/// One slot's packets by number. Bounded by age, bytes and count; the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Option<Entry>>,
    /// When the first packet of all was kept.
    origin: Option<Instant>,
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
        while self.entries.len() < index {
            self.entries.push_back(None);
        }
        self.bytes += kept.payload.len();
        let sent = self.age(now);
        let Kept { payload, timestamp, marker, payload_type, patch, dependency } = kept;
        let rare = dependency.map(|dependency| Box::new(Rare { dependency: Some(dependency), ..Rare::default() }));
        let entry = Some(Entry { payload, sent, rare, timestamp, patch, payload_type, marker });
        match self.entries.get_mut(index) {
            Some(place) => {
                let before = std::mem::replace(place, entry);
                self.bytes -= before.map_or(0, |entry| entry.payload.len());
            }
            None => self.entries.push_back(entry),
        }
        self.trim_to(sent);
    }

    /// Nanoseconds after the origin.
    fn age(&mut self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(*self.origin.get_or_insert(now)))
    }

    fn find_mut(&mut self, number: u16) -> Option<&mut Entry> {
        let first = super::rtp::sequence::wire(self.base);
        let index = usize::from(number.wrapping_sub(first));
        self.entries.get_mut(index)?.as_mut()
    }

    /// The packet that left under these 16 bits, if it may be sent again now. Asking costs no try: see
    /// [`Self::note_waiting`] and [`Self::note_replayed`].
    pub(crate) fn find(&mut self, number: u16, round_trip: Option<Duration>, now: Instant) -> Option<Kept> {
        let age = self.age(now);
        let entry = self.find_mut(number)?;
        let spacing = round_trip.map_or(SPACING, |trip| SPACING.max(trip * 8 / 10));
        let may_leave = entry.rare.as_ref().is_none_or(|rare| {
            let is_too_soon = rare.replayed.is_some_and(|at| now.saturating_duration_since(at) < spacing);
            let waits = rare.waits_until.is_some_and(|until| now < until);
            !is_too_soon && !waits && rare.times < TIMES
        });
        (may_leave && !entry.is_old(age)).then(|| entry.kept())
    }

    /// A repair of this number is on its way to the wire, and is dropped if it has not left by `until`.
    pub(crate) fn note_waiting(&mut self, number: u16, until: Instant) {
        if let Some(entry) = self.find_mut(number) {
            entry.rare.get_or_insert_default().waits_until = Some(until);
        }
    }

    /// A repair of this number left.
    pub(crate) fn note_replayed(&mut self, number: u16, now: Instant) {
        if let Some(entry) = self.find_mut(number) {
            let rare = entry.rare.get_or_insert_default();
            rare.waits_until = None;
            rare.replayed = Some(now);
            rare.times += 1;
        }
    }

    /// Forgets what was numbered from `next` on: it never left, and its numbers are given again.
    pub(crate) fn take_back(&mut self, next: u64) {
        let keep = usize::try_from(next.saturating_sub(self.base)).unwrap_or(usize::MAX);
        for entry in self.entries.drain(keep.min(self.entries.len())..).flatten() {
            self.bytes -= entry.payload.len();
        }
    }

    /// Something lately sent to fill a probe with: of at least so many bytes of payload, each time another one. It does not
    /// count as asked for.
    pub(crate) fn spare(&mut self, bytes: usize, now: Instant) -> Option<(u16, Kept)> {
        let count = self.entries.len();
        let age = self.age(now);
        for step in 1..=count.min(SPARE_LOOK) {
            let index = (self.spared + step) % count;
            let fits = |entry: &&Entry| entry.payload.len() >= bytes && !entry.is_old(age);
            if let Some(entry) = self.entries.get(index).and_then(Option::as_ref).filter(fits) {
                self.spared = index;
                let number = super::rtp::sequence::wire(self.base + index as u64);
                return Some((number, entry.kept()));
            }
        }
        None
    }

    /// Drops what is too old: called as packets come and on a timer, so that a silent slot holds nothing.
    pub(crate) fn trim(&mut self, now: Instant) {
        let age = self.age(now);
        self.trim_to(age);
    }

    fn trim_to(&mut self, now: u64) {
        while let Some(front) = self.entries.front() {
            let is_over = match front {
                Some(entry) => entry.is_old(now) || self.bytes > BYTES || self.entries.len() > PACKETS,
                None => true,
            };
            if !is_over {
                break;
            }
            let dropped = self.entries.pop_front().flatten();
            self.bytes -= dropped.map_or(0, |entry| entry.payload.len());
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

    /// Asks for a packet, which leaves at once when it may.
    fn replay(history: &mut History, number: u16, round_trip: Option<Duration>, now: Instant) -> bool {
        let is_found = history.find(number, round_trip, now).is_some();
        if is_found {
            history.note_replayed(number, now);
        }
        is_found
    }

    #[test]
    fn replays_are_spaced_and_counted() {
        let now = Instant::now();
        let mut history = History::default();
        history.keep(65_536 + 10, kept(5), now);
        let at = |ms| now + Duration::from_millis(ms);
        assert!(replay(&mut history, 10, None, at(1)));
        assert!(!replay(&mut history, 10, None, at(10)));
        assert!(!replay(&mut history, 10, Some(Duration::from_millis(100)), at(50)));
        let again = (1..60).filter(|i| replay(&mut history, 10, None, at(i * 16))).count();
        assert_eq!(again, usize::from(TIMES) - 1);
        assert!(!replay(&mut history, 11, None, at(20)));
    }

    #[test]
    fn what_was_refused_or_dropped_on_its_way_counts_as_no_try() {
        let now = Instant::now();
        let mut history = History::default();
        history.keep(65_536 + 10, kept(5), now);
        let at = |ms| now + Duration::from_millis(ms);
        for ms in 0..100 {
            assert!(history.find(10, None, at(ms)).is_some(), "asking alone costs nothing");
        }
        for round in 0..4 {
            let begin = 100 + round * 200;
            assert!(history.find(10, None, at(begin)).is_some());
            history.note_waiting(10, at(begin + 150));
            assert!(history.find(10, None, at(begin + 149)).is_none(), "one at a time");
        }
        assert!(replay(&mut history, 10, None, at(900)));
        assert!(!replay(&mut history, 10, None, at(914)));
    }

    #[test]
    fn what_never_left_is_forgotten_and_its_numbers_are_used_again() {
        let now = Instant::now();
        let mut history = History::default();
        for number in 10..20 {
            history.keep(65_536 + number, kept(100), now);
        }
        history.take_back(65_536 + 15);
        assert_eq!((history.entries.len(), history.bytes), (5, 500));
        assert!(history.find(15, None, now).is_none());
        history.keep(65_536 + 15, kept(7), now);
        assert_eq!(history.find(15, None, now).map(|kept| kept.payload.len()), Some(7));
        history.take_back(3);
        assert_eq!((history.entries.len(), history.bytes), (0, 0));
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
        let is_there = [65_530, 65_531, 65_535, 1, 2].map(|number| history.find(number, None, now).is_some());
        assert_eq!(is_there, [true, false, true, false, true]);
    }
}
