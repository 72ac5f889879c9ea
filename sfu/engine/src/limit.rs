//! What a publisher is told not to exceed, by REMB: the constraint of its receivers, relayed.

use std::time::{Duration, Instant};

use bandwidth::{Bitrate, MAX_RATE};

/// Less by this share is told at once; smaller changes are not worth a packet.
const CHANGE: f64 = 0.03;
/// Time between two rises.
const SPACING: Duration = Duration::from_millis(200);
/// A limit is repeated: RTCP gets lost.
const REFRESH: Duration = Duration::from_secs(1);
/// Most growth in one step, unless it is a jump.
const GROWTH: f64 = 1.08;
/// An estimate does not grow by itself this fast: a probe has shown that there is more.
const JUMP: f64 = 1.2;
/// How often the end of a limit is told.
const LIFTS: u8 = 4;

/// The limit of one publisher.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    told: Option<(Bitrate, Instant)>,
    /// Left to tell that there is no limit any more.
    lifts: u8,
}

impl Limit {
    /// What should be told now, if anything; it counts as told. `wanted` is `None` while nothing limits.
    pub(crate) fn poll(&mut self, now: Instant, wanted: Option<Bitrate>) -> Option<Bitrate> {
        let since = self.told.map(|(_, at)| now.saturating_duration_since(at));
        let Some(wanted) = wanted else {
            if self.told.is_some_and(|(told, _)| told < MAX_RATE) {
                self.lifts = LIFTS;
                self.told = Some((MAX_RATE, now));
            } else if self.lifts == 0 || since.is_some_and(|since| since < SPACING) {
                return None;
            } else {
                self.told = Some((MAX_RATE, now));
            }
            // Not zero, which some take for nothing at all.
            self.lifts -= 1;
            return Some(MAX_RATE);
        };
        self.lifts = 0;
        let next = match (self.told, since) {
            (Some((told, _)), Some(since)) => {
                let is_less = wanted < told.scale(1.0 - CHANGE);
                let is_more = wanted > told.scale(1.0 + CHANGE) && since >= SPACING;
                if is_more && wanted < told.scale(JUMP) {
                    wanted.min(told.scale(GROWTH))
                } else if is_less || is_more || since >= REFRESH {
                    wanted
                } else {
                    return None;
                }
            }
            _ => wanted,
        };
        self.told = Some((next, now));
        Some(next)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn less_is_told_at_once_and_more_in_steps() {
        let now = Instant::now();
        let mut limit = Limit::default();
        let mut poll = |ms: u32, kbits| limit.poll(now + ms * MS, Some(Bitrate::kbps(kbits))).map(Bitrate::as_kbps);
        assert_eq!(poll(0, 1000), Some(1000));
        assert_eq!(poll(10, 980), None);
        assert_eq!(poll(20, 900), Some(900));
        assert_eq!(poll(100, 1000), None);
        assert_eq!(poll(230, 1050), Some(972));
        assert_eq!(poll(440, 1050), Some(1049));
        assert_eq!(poll(1400, 1050), None);
        assert_eq!(poll(1450, 1050), Some(1050), "repeated each second");
        assert_eq!(poll(1660, 3000), Some(3000), "a probe succeeded");
    }

    #[test]
    fn the_end_of_a_limit_is_told_four_times_and_what_never_was_is_not_told() {
        let now = Instant::now();
        let mut limit = Limit::default();
        assert_eq!(limit.poll(now, None), None);
        limit.poll(now, Some(Bitrate::kbps(500)));
        let told: Vec<_> = (1..300).filter_map(|i| limit.poll(now + i * 10 * MS, None)).collect();
        assert_eq!(told, [MAX_RATE; 4]);
    }
}
