//! Numbers that run on, whatever their source: of packets, of pictures, of frames.

use std::collections::VecDeque;

/// Places where numbers were left out that are remembered, for what comes late.
const TURNS: usize = 64;
/// Incoming numbers are lifted by this, so that `shift` is never negative.
const LIFT: u64 = 1 << 40;

/// From `from` on, what came as `n` leaves as `n - shift`.
#[derive(Clone, Copy, Debug)]
struct Turn {
    from: u64,
    shift: u64,
}

/// Numbers incoming ones without holes but for those that were lost. Incoming numbers are unrolled to 64 bits, and a run of
/// them starts with [`Numbering::start`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbering {
    /// The next new number that leaves; `None` until the first run, which then keeps its own.
    next: Option<u64>,
    /// Of the current run, oldest first; empty before the first.
    turns: VecDeque<Turn>,
    /// Highest incoming number of the current run.
    highest: u64,
}

impl Numbering {
    /// The first number that leaves will be this one.
    pub(crate) fn from(next: u64) -> Self {
        Self { next: Some(next), ..Self::default() }
    }

    /// Begins a run: `number` is of a new source and leaves as the next one.
    pub(crate) fn start(&mut self, number: u64) {
        let next = self.next.unwrap_or(number);
        let number = number + LIFT;
        self.turns.clear();
        self.turns.push_back(Turn { from: number, shift: number - next });
        self.highest = number - 1;
    }

    /// The next new number that leaves.
    pub(crate) const fn next(&self) -> Option<u64> {
        self.next
    }

    /// What was numbered from `next` on never left: the next run begins there. Nothing of this run is numbered any more.
    pub(crate) fn take_back(&mut self, next: u64) {
        self.next = Some(next);
        self.turns.clear();
        self.highest = 0;
    }

    /// The number under which `number` leaves; `None` for what lies before the run, was left out, or is too old to know.
    pub(crate) fn number(&mut self, number: u64) -> Option<u64> {
        let lifted = number + LIFT;
        if lifted > self.highest {
            let turn = self.turns.back()?;
            self.highest = lifted;
            let leaves = lifted - turn.shift;
            self.next = Some(leaves + 1);
            return Some(leaves);
        }
        self.late(number)
    }

    /// The same for a number that is not the newest, without moving on.
    pub(crate) fn late(&self, number: u64) -> Option<u64> {
        let number = number + LIFT;
        if number > self.highest {
            return None;
        }
        let after = self.turns.iter().position(|turn| turn.from > number).unwrap_or(self.turns.len());
        let turn = self.turns.get(after.checked_sub(1)?)?;
        // A turn begins right after the numbers that it leaves out.
        let is_left_out = self.turns.get(after).is_some_and(|next| number + (next.shift - turn.shift) >= next.from);
        (!is_left_out).then_some(number - turn.shift)
    }

    /// Leaves `number` out: everything after it moves up. False when that is impossible because later ones left already.
    pub(crate) fn skip(&mut self, number: u64) -> bool {
        let number = number + LIFT;
        if number <= self.highest {
            return false;
        }
        let Some(turn) = self.turns.back_mut() else { return true };
        self.next = Some(number - turn.shift);
        let shift = turn.shift + 1;
        let is_adjacent = self.highest + 1 == number && turn.from == number;
        self.highest = number;
        if is_adjacent && self.turns.len() > 1 {
            // Left out together with the one before it.
            if let Some(turn) = self.turns.back_mut() {
                *turn = Turn { from: number + 1, shift };
            }
            return true;
        }
        if self.turns.len() == TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(Turn { from: number + 1, shift });
        true
    }
}
