//! How fast something flows: bytes in quarters of a second, over the last second and the last four.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bandwidth::Bitrate;

/// Length of one bucket.
const BUCKET: Duration = Duration::from_millis(250);
/// Buckets kept beside the one that fills: four seconds.
const BUCKETS: u8 = 16;
/// Buckets of the last second.
const SECOND: usize = 4;

/// A measured rate. The last second follows a change, four seconds hold the keyframes in between: the larger counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    /// Whole buckets, oldest first, at most [`BUCKETS`].
    whole: VecDeque<u64>,
    filling: u64,
    began: Option<Instant>,
    last: Option<Instant>,
}

impl Meter {
    /// Notes bytes that came at `now`.
    pub(crate) fn note(&mut self, bytes: usize, now: Instant) {
        self.turn(now);
        self.filling += bytes as u64;
        self.last = Some(now);
    }

    /// When the last bytes came.
    pub(crate) const fn last(&self) -> Option<Instant> {
        self.last
    }

    /// The larger of the rates over the last second and over the last four; of a young stream over what there is.
    pub(crate) fn rate(&mut self, now: Instant) -> Bitrate {
        self.turn(now);
        let Some(began) = self.began else { return Bitrate::ZERO };
        let rest = now.saturating_duration_since(began);
        let over = |buckets: usize| {
            let known = self.whole.len().min(buckets);
            let bytes: u64 = self.whole.iter().rev().take(known).sum();
            let time = BUCKET * u32::try_from(known).unwrap_or(u32::MAX);
            // Without a whole bucket the one that fills must do, over its whole length: an overestimate would be a burst.
            if known == 0 { Bitrate::of(self.filling, rest.max(BUCKET)) } else { Bitrate::of(bytes, time) }
        };
        over(SECOND).max(over(usize::from(BUCKETS)))
    }

    /// Closes the buckets whose time is over.
    fn turn(&mut self, now: Instant) {
        let began = self.began.get_or_insert(now);
        if now < *began + BUCKET {
            return;
        }
        let passed = now.saturating_duration_since(*began).as_millis() / BUCKET.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        *began += BUCKET * passed;
        for index in 0..passed.min(u32::from(BUCKETS) + 1) {
            if self.whole.len() == usize::from(BUCKETS) {
                self.whole.pop_front();
            }
            self.whole.push_back(if index == 0 { std::mem::take(&mut self.filling) } else { 0 });
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_steady_stream_has_its_rate_and_silence_none() {
        let now = Instant::now();
        let mut meter = Meter::default();
        for i in 0..500 {
            meter.note(1250, now + i * 10 * MS);
        }
        let at = now + 5000 * MS;
        assert_eq!(meter.rate(at), Bitrate::kbps(1000));
        assert_eq!(meter.last(), Some(now + 4990 * MS));
        assert!(meter.rate(at + 2000 * MS) >= Bitrate::kbps(450), "four seconds still remember it");
        assert_eq!(meter.rate(at + 10_000 * MS), Bitrate::ZERO);
    }

    #[test]
    fn a_rise_is_seen_within_a_second_and_a_fall_after_four() {
        let now = Instant::now();
        let mut meter = Meter::default();
        let mut send = |from: u32, to: u32, bytes: usize| {
            for i in from..to {
                meter.note(bytes, now + i * 10 * MS);
            }
            meter.rate(now + to * 10 * MS).as_kbps()
        };
        assert_eq!(send(0, 500, 125), 100);
        assert_eq!(send(500, 625, 1250), 1000);
        assert!(send(625, 725, 125) > 250);
        assert_eq!(send(725, 1225, 125), 100);
    }

    #[test]
    fn the_first_packets_are_no_overestimate() {
        let now = Instant::now();
        let mut meter = Meter::default();
        meter.note(1200, now);
        assert_eq!(meter.rate(now), Bitrate::of(1200, BUCKET));
    }
}
