//! What gets lost between the server and those who hear a voice: told to its publisher, whose encoder then says each frame
//! again in the next one (in-band FEC).

use std::time::{Duration, Instant};

/// More is not told: at some point an encoder only gets worse.
const MOST: f32 = 0.3;
/// Time over which it is smoothed, so that one burst does not turn an encoder over.
const SMOOTH: Duration = Duration::from_secs(5);

/// The worst of the listeners of one voice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hearing {
    share: f32,
    noted: Option<Instant>,
}

impl Hearing {
    /// Notes the share that is lost on the way to the worst listener at present.
    pub(crate) fn note(&mut self, now: Instant, worst: f32) {
        let passed = self.noted.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let weight = 1.0 - (-passed.as_secs_f32() / SMOOTH.as_secs_f32()).exp();
        self.share += (worst.clamp(0.0, MOST) - self.share) * weight;
    }

    /// In 256ths, as a report block has it.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most MOST of 256")]
    pub(crate) fn fraction(&self) -> u8 {
        (self.share.clamp(0.0, MOST) * 256.0) as u8
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_listener_behind_loss_is_heard_of_within_seconds_and_never_as_more_than_thirty_percent() {
        let now = Instant::now();
        let mut hearing = Hearing::default();
        let mut after = |from: u64, seconds: u64, worst: f32| {
            (from..from + seconds).for_each(|second| hearing.note(now + Duration::from_secs(second), worst));
            hearing.fraction()
        };
        assert_eq!(after(0, 5, 0.0), 0);
        let early = after(5, 2, 0.2);
        assert!((10..25).contains(&early), "{early}");
        assert!((44..=51).contains(&after(7, 15, 0.2)));
        let most = after(22, 60, 0.9);
        assert!((75..=76).contains(&most), "{most}");
        assert!(after(82, 30, 0.0) <= 1);
    }
}
