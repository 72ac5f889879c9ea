//! 16-bit sequence numbers unrolled to 64 bits, and a window that knows which of them came already.

/// Where the first number of a stream lands, so that packets from before it still have a place.
const ORIGIN: u64 = 1 << 16;

/// The low 16 bits: the number as it stands on the wire.
pub(crate) const fn wire(number: u64) -> u16 {
    (number & 0xffff) as u16
}

/// Unrolls the wire's 16 bits, RFC 3550 appendix A.1, by nearness to the highest number seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unroll {
    highest: Option<u64>,
}

impl Unroll {
    /// The 64-bit number nearest to the highest seen, which it may become.
    pub(crate) const fn take(&mut self, number: u16) -> u64 {
        let unrolled = self.peek(number);
        match self.highest {
            Some(highest) if unrolled <= highest => {}
            Some(_) | None => self.highest = Some(unrolled),
        }
        unrolled
    }

    /// The same without moving on.
    pub(crate) const fn peek(&self, number: u16) -> u64 {
        match self.highest {
            None => ORIGIN + number as u64,
            Some(highest) => {
                let step = number.wrapping_sub(wire(highest)) as i16;
                // A stream starts at ORIGIN, and the step is less than that: only a hostile run of
                // backward jumps could reach zero, and those never become the highest.
                highest.saturating_add_signed(step as i64)
            }
        }
    }

    /// The highest number so far.
    pub(crate) const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// How far back a packet is still recognised as a repetition. Older ones count as repeated.
const WINDOW: u64 = 1024;

/// Which of the last 1024 numbers came already: 128 bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    bits: [u64; 16],
    next: u64,
}

impl Window {
    /// Notes a number; false when it came before or is too old to tell.
    pub(crate) fn note(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number - self.next >= WINDOW {
                self.bits = [0; 16];
            } else {
                for between in self.next..number {
                    self.set(between, false);
                }
            }
            self.set(number, true);
            self.next = number + 1;
            return true;
        }
        if self.next - number > WINDOW || self.has(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.bits.get(word).is_some_and(|w| w & bit != 0)
    }

    fn set(&mut self, number: u64, on: bool) {
        let (word, bit) = Self::place(number);
        if let Some(w) = self.bits.get_mut(word) {
            if on {
                *w |= bit;
            } else {
                *w &= !bit;
            }
        }
    }

    const fn place(number: u64) -> (usize, u64) {
        (((number % WINDOW) / 64) as usize, 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_before_the_first_has_a_place() {
        let mut unroll = Unroll::default();
        assert_eq!(unroll.take(3), ORIGIN + 3);
        assert_eq!(unroll.take(65_534), ORIGIN - 2);
        assert_eq!(unroll.take(4), ORIGIN + 4);
    }

    proptest! {
        #[test]
        fn unrolling_follows_any_stream_with_small_steps(start: u16, steps in prop::collection::vec(-2000i64..3000, 1..400)) {
            let mut unroll = Unroll::default();
            let mut truth = ORIGIN + u64::from(start);
            let mut highest = truth;
            prop_assert_eq!(unroll.take(start), truth);
            for step in steps {
                truth = highest.saturating_add_signed(step);
                prop_assert_eq!(unroll.take(wire(truth)), truth);
                highest = highest.max(truth);
            }
        }

        #[test]
        fn the_window_agrees_with_a_set(numbers in prop::collection::vec(0u64..5000, 1..600)) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            let mut top = 0;
            for number in numbers {
                let fresh = window.note(number);
                if number + WINDOW > top {
                    prop_assert_eq!(fresh, seen.insert(number));
                } else {
                    prop_assert!(!fresh);
                }
                top = top.max(number);
            }
        }
    }
}
