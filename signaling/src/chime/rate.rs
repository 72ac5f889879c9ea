//! How often an organisation may call the API: a bucket of tokens for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::ids::OrgId;

/// Organisations remembered at most. Those whose bucket is full again are forgotten first; they lose nothing by it.
const CAPACITY: usize = 10_000;

/// Requests of late.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<OrgId, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that may be made at once, at `at`.
    left: f64,
    at: Timestamp,
}

impl Rate {
    /// So many in a second, and so many at once.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second), burst: f64::from(burst), buckets: Mutex::default() }
    }

    /// Takes one request; false when there are too many.
    #[must_use]
    pub(crate) fn take(&self, org: OrgId, now: Timestamp) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CAPACITY && !buckets.contains_key(&org) {
            buckets.retain(|_, bucket| self.left(*bucket, now) < self.burst);
            if buckets.len() >= CAPACITY {
                return false;
            }
        }
        let bucket = buckets.entry(org).or_insert(Bucket { left: self.burst, at: now });
        let left = self.left(*bucket, now);
        let is_taken = left >= 1.0;
        *bucket = Bucket { left: if is_taken { left - 1.0 } else { left }, at: now };
        is_taken
    }

    fn left(&self, bucket: Bucket, now: Timestamp) -> f64 {
        (bucket.left + (now - bucket.at).as_seconds_f64().max(0.0) * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use time::macros::datetime;

    const NOW: Timestamp = datetime!(2026-11-21 10:00 UTC);

    #[test]
    fn a_burst_and_then_a_steady_rate_for_each_organisation() {
        let rate = Rate::new(10, 20);
        let (one, other) = (OrgId::random(), OrgId::random());
        let taken = (0..50).filter(|_| rate.take(one, NOW)).count();
        assert_eq!(taken, 20);
        assert!(rate.take(other, NOW));
        let later = NOW + Duration::from_millis(500);
        assert_eq!((0..50).filter(|_| rate.take(one, later)).count(), 5);
        // A clock that goes back gives nothing and takes nothing.
        assert!(!rate.take(one, NOW));
    }

    #[test]
    fn the_table_is_bounded() {
        let rate = Rate::new(1, 1);
        for _ in 0..CAPACITY {
            assert!(rate.take(OrgId::random(), NOW));
        }
        assert!(!rate.take(OrgId::random(), NOW));
        assert!(rate.take(OrgId::random(), NOW + Duration::from_secs(1)));
    }
}
