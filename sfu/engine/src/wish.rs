//! What publishers are asked to make: nothing, one encoding or all layers of a picture, and how rich a voice. Asked late
//! enough that it does not flap.

use std::time::{Duration, Instant};

use bandwidth::Bitrate;
use wire::control::Encoding;

/// Nobody looks for so long before an encoder is put to sleep: who turns a page back wants the picture at once.
const DROWSE: Duration = Duration::from_secs(3);
/// A second viewer is gone for so long before layers stop: people reconnect.
const ALONE: Duration = Duration::from_secs(10);
/// A poorer voice is asked for after this, a richer one after that. What does not fit loses sound while it waits; a drain of
/// the queue is over sooner.
const POORER: Duration = Duration::from_secs(2);
const RICHER: Duration = Duration::from_secs(60);

/// A value that is told when another one was right for long enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled<T> {
    told: T,
    other: Option<(T, Instant)>,
}

impl<T: Copy + PartialEq> Settled<T> {
    pub(crate) const fn new(told: T) -> Self {
        Self { told, other: None }
    }

    pub(crate) const fn told(&self) -> T {
        self.told
    }

    /// Notes what would be right now. `Some` when it should be told: after `hold`, which depends on old and new.
    pub(crate) fn note(&mut self, now: Instant, right: T, hold: impl Fn(T, T) -> Duration) -> Option<T> {
        if right == self.told {
            self.other = None;
            return None;
        }
        let since = match self.other {
            // Another value in the same direction has waited as well.
            Some((other, since)) if hold(self.told, other) == hold(self.told, right) => since,
            _ => now,
        };
        self.other = Some((right, since));
        if now.saturating_duration_since(since) < hold(self.told, right) {
            return None;
        }
        self.told = right;
        self.other = None;
        Some(right)
    }
}

/// How long another encoding must be right before it is asked for.
pub(crate) const fn encoding_hold(told: Encoding, right: Encoding) -> Duration {
    match (told, right) {
        (_, Encoding::Asleep) => DROWSE,
        (Encoding::Layers, Encoding::Single) => ALONE,
        _ => Duration::ZERO,
    }
}

/// What a voice may cost and how many milliseconds a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voice {
    pub(crate) bitrate: u32,
    pub(crate) ptime_ms: u8,
}

impl Voice {
    /// What browsers send by themselves.
    pub(crate) const USUAL: Self = Self { bitrate: 32_000, ptime_ms: 20 };

    /// What fits into the budget of a listener who is owed each frame again in the next packet, or in the next two. Headers
    /// cost 27 kbit/s at 20 ms, 14 at 40 and 9 at 60; packets of 60 ms come too late to repeat more than one. Some
    /// room is left, without which redundancy does not begin.
    pub(crate) const fn guarded(budget: Bitrate, reach: usize) -> Self {
        let (bitrate, ptime_ms) = match (reach, budget.as_kbps()) {
            (0, _) => return Self::within(budget),
            (2.., 137..) | (1, 100..) => return Self::USUAL,
            (2.., 82..) | (1, 59..) => (20_000, 40),
            (2.., 69..) | (1, 52..) => (16_000, 40),
            (2.., 56..) => (12_000, 40),
            (_, 46..) => (16_000, 60),
            (_, 38..) => (12_000, 60),
            // It does not fit at all.
            _ => return Self::within(budget),
        };
        Self { bitrate, ptime_ms }
    }

    /// The poorer of two.
    pub(crate) fn poorer(self, other: Self) -> Self {
        if (other.bitrate, self.ptime_ms) < (self.bitrate, other.ptime_ms) { other } else { self }
    }

    /// What fits into the budget of the poorest listener. Headers cost 27 kbit/s at 20 ms and 9 at 60.
    pub(crate) const fn within(budget: Bitrate) -> Self {
        match budget.as_kbps() {
            0..40 => Self { bitrate: 16_000, ptime_ms: 60 },
            40..55 => Self { bitrate: 16_000, ptime_ms: 40 },
            55..=90 => Self { bitrate: 24_000, ptime_ms: 40 },
            _ => Self::USUAL,
        }
    }
}

/// How long another voice must be right before it is asked for.
pub(crate) const fn voice_hold(told: Voice, right: Voice) -> Duration {
    let is_poorer = right.bitrate < told.bitrate || right.ptime_ms > told.ptime_ms;
    if is_poorer { POORER } else { RICHER }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_sleeps_late_and_wakes_at_once() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut wish = Settled::new(Encoding::Single);
        let mut note = |seconds, right| wish.note(at(seconds), right, encoding_hold);
        assert_eq!(note(0, Encoding::Asleep), None);
        assert_eq!(note(2, Encoding::Single), None);
        assert_eq!(note(3, Encoding::Asleep), None);
        assert_eq!(note(6, Encoding::Asleep), Some(Encoding::Asleep));
        assert_eq!(note(7, Encoding::Single), Some(Encoding::Single));
        assert_eq!(note(8, Encoding::Layers), Some(Encoding::Layers));
        assert_eq!(note(9, Encoding::Single), None);
        assert_eq!(note(18, Encoding::Single), None);
        assert_eq!(note(19, Encoding::Single), Some(Encoding::Single));
    }

    #[test]
    fn a_voice_gets_poorer_after_two_seconds_and_richer_after_a_minute() {
        let now = Instant::now();
        let mut wish = Settled::new(Voice::USUAL);
        let mut told = Vec::new();
        for second in 0..200u64 {
            let budget = Bitrate::kbps(if second < 60 { 50 } else { 500 });
            if let Some(voice) = wish.note(now + Duration::from_secs(second), Voice::within(budget), voice_hold) {
                told.push((second, voice));
            }
        }
        assert_eq!(told, [(2, Voice { bitrate: 16_000, ptime_ms: 40 }), (120, Voice::USUAL)]);
    }

    #[test]
    fn every_voice_fits_into_its_budget_with_its_headers() {
        for kbits in 26..200 {
            let voice = Voice::within(Bitrate::kbps(kbits));
            let headers = 68 * 8 * 1000 / u64::from(voice.ptime_ms);
            let total = u64::from(voice.bitrate) + headers;
            assert!(total <= kbits * 1000, "{total} of {kbits}");
            for reach in 1..=2u64 {
                let voice = Voice::guarded(Bitrate::kbps(kbits), usize::try_from(reach).unwrap());
                let packets = 1000 / u64::from(voice.ptime_ms);
                let total = u64::from(voice.bitrate) * (1 + reach) + packets * 8 * (68 + 4 * reach);
                let once = u64::from(voice.bitrate) * 2 + packets * 8 * 72;
                let fits = if voice.ptime_ms == 60 { once } else { total };
                assert!(fits * 105 / 100 <= kbits * 1000 || kbits < 38, "{fits} of {kbits} for {reach}");
            }
        }
    }
}
