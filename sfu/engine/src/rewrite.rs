//! Unbroken sequence numbers, timestamps and picture ids on a slot, whatever it carries one after the other.

use std::collections::VecDeque;
use std::time::Instant;

/// Places where numbers were left out that are remembered, for packets that come late.
const TURNS: usize = 64;

/// From `from` on, what came as `n` leaves as `n - shift`.
#[derive(Clone, Copy, Debug)]
struct Turn {
    from: u64,
    shift: u64,
}

/// The numbering of one slot. Incoming numbers are unrolled to 64 bits, and a run of them starts with [`Rewrite::start`].
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    /// The number of the next new packet that leaves.
    next: u64,
    /// Of the current run, oldest first; empty before the first.
    turns: VecDeque<Turn>,
    /// Highest incoming number of the current run.
    highest: u64,
    /// Added to incoming timestamps.
    timestamp_shift: u32,
    /// The last new timestamp that left, and when.
    last: Option<(u32, Instant)>,
}

/// Incoming numbers are lifted by this, so that `shift` is never negative.
const LIFT: u64 = 1 << 40;

impl Rewrite {
    /// `first` numbers the first packet that ever leaves: below 32,768, so that no receiver takes a roll-over for a loss.
    pub(crate) fn new(first: u16) -> Self {
        // One cycle above zero, so that wire numbers unroll the same way here and in the history.
        let next = (1 << 16) + u64::from(first & 0x7fff);
        Self { next, turns: VecDeque::new(), highest: 0, timestamp_shift: 0, last: None }
    }

    /// Begins a run with the packet `number` of a new source. Its number leaves as the next one. Its timestamp leaves as
    /// the last one plus the time that passed since, in the clock rate `hertz`, and at least one.
    pub(crate) fn start(&mut self, number: u64, timestamp: u32, hertz: u32, now: Instant) {
        let number = number + LIFT;
        self.turns.clear();
        self.turns.push_back(Turn { from: number, shift: number - self.next });
        self.highest = number - 1;
        self.timestamp_shift = match self.last {
            // The very first run keeps the publisher's timestamps.
            None => 0,
            Some((last, at)) => {
                let passed = now.saturating_duration_since(at).as_micros() * u128::from(hertz) / 1_000_000;
                let passed = (passed & 0xffff_ffff) as u32;
                last.wrapping_add(passed.max(1)).wrapping_sub(timestamp)
            }
        };
    }

    /// The number under which `number` leaves; `None` for what lies before the run, was skipped, or is too old to know.
    pub(crate) fn number(&mut self, number: u64) -> Option<u64> {
        let number = number + LIFT;
        if number > self.highest {
            let turn = self.turns.back()?;
            self.highest = number;
            let leaves = number - turn.shift;
            self.next = leaves + 1;
            return Some(leaves);
        }
        let after = self.turns.iter().position(|turn| turn.from > number).unwrap_or(self.turns.len());
        let turn = self.turns.get(after.checked_sub(1)?)?;
        if self.turns.get(after).is_some_and(|next| next.from == number + 1) {
            // Each turn begins right after the number that it leaves out.
            return None;
        }
        Some(number - turn.shift)
    }

    /// Leaves `number` out: everything after it moves up. False when that is impossible because later packets left
    /// already: then its place must be filled.
    pub(crate) fn skip(&mut self, number: u64) -> bool {
        let number = number + LIFT;
        if number <= self.highest {
            return false;
        }
        let Some(shift) = self.turns.back().map(|turn| turn.shift) else { return true };
        self.highest = number;
        self.next = number - shift;
        if self.turns.len() == TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(Turn { from: number + 1, shift: shift + 1 });
        true
    }

    /// The timestamp under which `timestamp` leaves.
    pub(crate) fn timestamp(&mut self, timestamp: u32, now: Instant) -> u32 {
        let leaves = timestamp.wrapping_add(self.timestamp_shift);
        let is_newer = self.last.is_none_or(|(last, _)| (leaves.wrapping_sub(last) as i32) > 0);
        if is_newer {
            self.last = Some((leaves, now));
        }
        leaves
    }

    /// The same without moving on: for sender reports.
    pub(crate) const fn translate(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_shift)
    }
}

/// VP8 picture ids and TL0PICIDX, continued over a change of source: RFC 7741 wants them to run on within one SSRC.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pictures {
    id_shift: u16,
    tl0_shift: u8,
    last: Option<(u16, u8)>,
    fresh: bool,
}

impl Pictures {
    /// The next frame is the first of another source.
    pub(crate) const fn start(&mut self) {
        self.fresh = true;
    }

    /// The ids under which a frame leaves: 15 bits, 8 bits.
    pub(crate) fn translate(&mut self, id: u16, tl0: u8) -> (u16, u8) {
        if self.fresh {
            self.fresh = false;
            if let Some((last, last_tl0)) = self.last {
                self.id_shift = last.wrapping_add(1).wrapping_sub(id) & 0x7fff;
                self.tl0_shift = last_tl0.wrapping_add(1).wrapping_sub(tl0);
            }
        }
        let leaves = (id.wrapping_add(self.id_shift) & 0x7fff, tl0.wrapping_add(self.tl0_shift));
        let is_newer = self.last.is_none_or(|(last, _)| leaves.0.wrapping_sub(last) & 0x7fff < 0x4000);
        if is_newer {
            self.last = Some(leaves);
        }
        leaves
    }

    /// True while ids leave as they came.
    pub(crate) const fn is_identity(&self) -> bool {
        self.id_shift == 0 && self.tl0_shift == 0 && !self.fresh
    }
}

#[cfg(test)]
mod tests;
