//! When somebody was last connected to a Room with sound: written by its task, read by who looks after it.

use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;

use crate::clock::Timestamp;

/// Nobody was.
const NEVER: i64 = i64::MIN;

/// Somebody is.
const NOW: i64 = i64::MAX;

/// Milliseconds since 1970, or one of the two above.
#[derive(Debug)]
pub(crate) struct Attended(AtomicI64);

impl Default for Attended {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER))
    }
}

impl Attended {
    /// Somebody is connected, or nobody any more.
    pub(crate) fn note(&self, is_attended: bool, now: Timestamp) {
        // One task writes.
        let before = self.0.load(Ordering::Relaxed);
        if is_attended {
            self.0.store(NOW, Ordering::Relaxed);
        } else if before == NOW {
            let millis = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(NEVER);
            self.0.store(millis, Ordering::Relaxed);
        }
    }

    /// When somebody was last connected: now, if somebody is.
    pub(crate) fn at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.0.load(Ordering::Relaxed) {
            NEVER => None,
            NOW => Some(now),
            millis => OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use time::macros::datetime;

    #[test]
    fn the_last_moment_with_somebody_connected_is_kept() {
        let (attended, start) = (Attended::default(), datetime!(2026-11-21 10:00 UTC));
        let at = |seconds| start + Duration::from_secs(seconds);
        attended.note(false, at(0));
        assert_eq!(attended.at(at(1)), None);
        attended.note(true, at(2));
        assert_eq!(attended.at(at(9)), Some(at(9)));
        attended.note(false, at(10));
        attended.note(false, at(20));
        assert_eq!(attended.at(at(30)), Some(at(10)));
    }
}
