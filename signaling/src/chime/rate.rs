//! How often an organisation may call the API, and how often an address may fail to: a bucket of tokens for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// Requests without a good signature that one address may send at once, and in a second after that. An application whose clock or secret
/// is wrong stays far below; each of them costs the database a look.
const STRANGERS: (u32, u32) = (60, 2);

/// Organisations or addresses remembered at most. Those whose bucket is full again are forgotten first; they lose nothing by it.
const CAPACITY: usize = 10_000;

/// Requests of late.
#[derive(Debug)]
pub struct Rate<K> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that may be made at once, at `at`.
    left: f64,
    at: Timestamp,
}

/// For what nobody known has signed, by block of addresses.
#[must_use]
pub fn strangers() -> Rate<IpAddr> {
    let (burst, per_second) = STRANGERS;
    Rate::new(per_second, burst)
}

impl<K: Copy + Eq + Hash> Rate<K> {
    /// So many in a second, and so many at once.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second), burst: f64::from(burst), buckets: Mutex::default() }
    }

    /// Takes one request; false when there are too many.
    #[must_use]
    pub(crate) fn take(&self, key: K, now: Timestamp) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CAPACITY && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.left(*bucket, now) < self.burst);
            if buckets.len() >= CAPACITY {
                return false;
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { left: self.burst, at: now });
        let left = self.left(*bucket, now);
        let is_taken = left >= 1.0;
        *bucket = Bucket { left: if is_taken { left - 1.0 } else { left }, at: now };
        is_taken
    }

    /// Whether one more may come. While the table is full, whoever is not in it may.
    #[must_use]
    pub(crate) fn has_left(&self, key: K, now: Timestamp) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(&key).is_none_or(|bucket| self.left(*bucket, now) >= 1.0)
    }

    fn left(&self, bucket: Bucket, now: Timestamp) -> f64 {
        (bucket.left + (now - bucket.at).as_seconds_f64().max(0.0) * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrgId;
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
    fn a_stranger_is_asked_about_first_and_counted_afterwards() {
        let rate = strangers();
        let (from, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..60 {
            assert!(rate.has_left(from, NOW) && rate.has_left(from, NOW));
            assert!(rate.take(from, NOW));
        }
        assert!(!rate.has_left(from, NOW) && rate.has_left(other, NOW));
        assert!(rate.has_left(from, NOW + Duration::from_millis(500)));
    }

    #[test]
    fn the_table_is_bounded() {
        let rate = Rate::<OrgId>::new(1, 1);
        for _ in 0..CAPACITY {
            assert!(rate.take(OrgId::random(), NOW));
        }
        assert!(!rate.take(OrgId::random(), NOW));
        assert!(rate.take(OrgId::random(), NOW + Duration::from_secs(1)));
    }
}
