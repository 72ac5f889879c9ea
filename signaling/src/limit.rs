//! Slows down whoever guesses join codes: wrong ones are counted per address, per beginning of the code, and in all.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// Wrong codes that one address may send at once, and how many seconds give one back.
const PER_ADDRESS: Rate = Rate { burst: 20.0, seconds_each: 6.0 };

/// The same for codes that begin alike: a guesser with many addresses who walks along one beginning.
const PER_PREFIX: Rate = Rate { burst: 20.0, seconds_each: 6.0 };

/// The same for the whole service. When this is used up, an address with any wrong code of late has to wait; one without
/// has not, so that a flood of guesses cannot keep patients out.
const IN_ALL: Rate = Rate { burst: 300.0, seconds_each: 0.5 };

/// Addresses and prefixes remembered at most, each. When full, those that have long been quiet are forgotten; if none has,
/// newcomers are judged by the global rate alone until there is room.
const CAPACITY: usize = 20_000;

/// How many first characters of a code count as its prefix.
const PREFIX: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    seconds_each: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Misses that still count, at `at`.
    level: f64,
    at: Timestamp,
}

impl Bucket {
    fn level(&self, rate: Rate, now: Timestamp) -> f64 {
        (self.level - (now - self.at).as_seconds_f64().max(0.0) / rate.seconds_each).max(0.0)
    }
}

/// Wrong join codes of late.
#[derive(Debug, Default)]
pub struct Misses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<IpAddr, Bucket>,
    prefixes: HashMap<String, Bucket>,
    all: Option<Bucket>,
    /// Who was turned away lately, and since when that is known.
    told: HashMap<IpAddr, Timestamp>,
}

/// A refusal stands for those that follow it from the same address.
const TOLD_FOR: time::Duration = time::Duration::minutes(1);

impl Misses {
    /// Whether this is the first refusal of an address within a minute: the one that is worth an event.
    pub fn is_news(&self, from: IpAddr, now: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = block(from);
        if state.told.get(&address).is_some_and(|at| now - *at < TOLD_FOR) {
            return false;
        }
        if state.told.len() >= CAPACITY {
            state.told.clear();
        }
        state.told.insert(address, now);
        true
    }

    /// Before a code is looked up: `Err` holds the seconds to wait.
    ///
    /// # Errors
    /// When this address, this beginning, or the world together with this address, was wrong too often.
    pub fn check(&self, from: IpAddr, code: &str, now: Timestamp) -> Result<(), u64> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = state.addresses.get(&block(from)).map_or(0.0, |bucket| bucket.level(PER_ADDRESS, now));
        let prefix = state.prefixes.get(prefix(code)).map_or(0.0, |bucket| bucket.level(PER_PREFIX, now));
        let all = state.all.map_or(0.0, |bucket| bucket.level(IN_ALL, now));
        let over = |level: f64, rate: Rate| level > rate.burst - 1.0;
        if over(address, PER_ADDRESS)
            || (over(prefix, PER_PREFIX) && address > 0.0)
            || (over(all, IN_ALL) && address > 0.0)
        {
            // One whole miss has to drain.
            return Err(6);
        }
        Ok(())
    }

    /// After a code turned out wrong.
    pub fn note(&self, from: IpAddr, code: &str, now: Timestamp) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut state.addresses, block(from), PER_ADDRESS, now);
        add(&mut state.prefixes, prefix(code).to_owned(), PER_PREFIX, now);
        let level = state.all.map_or(0.0, |bucket| bucket.level(IN_ALL, now)) + 1.0;
        state.all = Some(Bucket { level: level.min(IN_ALL.burst), at: now });
    }
}

fn add<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket>, key: K, rate: Rate, now: Timestamp) {
    if buckets.len() >= CAPACITY && !buckets.contains_key(&key) {
        buckets.retain(|_, bucket| bucket.level(rate, now) > 0.0);
        if buckets.len() >= CAPACITY {
            return;
        }
    }
    let bucket = buckets.entry(key).or_insert(Bucket { level: 0.0, at: now });
    *bucket = Bucket { level: (bucket.level(rate, now) + 1.0).min(rate.burst), at: now };
}

/// An IPv6 customer has a whole /64.
pub(crate) fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn prefix(code: &str) -> &str {
    code.get(..PREFIX).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use time::macros::datetime;

    const NOW: Timestamp = datetime!(2026-11-21 10:00 UTC);

    #[test]
    fn twenty_misses_then_one_every_six_seconds() {
        let misses = Misses::default();
        let from: IpAddr = "192.0.2.1".parse().unwrap();
        for n in 0..20 {
            let code = format!("{n:03}xxxxxxxx");
            assert_eq!(misses.check(from, &code, NOW), Ok(()));
            misses.note(from, &code, NOW);
        }
        assert_eq!(misses.check(from, "aaa", NOW), Err(6));
        assert_eq!(misses.check("192.0.2.2".parse().unwrap(), "aaa", NOW), Ok(()));
        assert_eq!(misses.check(from, "aaa", NOW + Duration::from_secs(6)), Ok(()));
    }

    #[test]
    fn a_flood_from_many_addresses_does_not_lock_out_who_never_guessed() {
        let misses = Misses::default();
        for n in 0..400_u16 {
            let [high, low] = n.to_be_bytes();
            misses.note(IpAddr::from([198, 51, high, low]), "abc", NOW);
        }
        assert_eq!(misses.check("192.0.2.9".parse().unwrap(), "abcdefghijk", NOW), Ok(()));
        assert_eq!(misses.check(IpAddr::from([198, 51, 0, 1]), "zzz", NOW), Err(6));
    }

    #[test]
    fn one_ipv6_network_is_one_guesser() {
        let misses = Misses::default();
        for n in 0..20_u16 {
            misses.note(format!("2001:db8::{n:x}").parse().unwrap(), &format!("{n:03}"), NOW);
        }
        assert_eq!(misses.check("2001:db8::ffff".parse().unwrap(), "q", NOW), Err(6));
        assert_eq!(misses.check("2001:db8:0:1::1".parse().unwrap(), "q", NOW), Ok(()));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut buckets = HashMap::new();
        for n in 0..CAPACITY + 10 {
            add(&mut buckets, n, PER_ADDRESS, NOW);
        }
        assert_eq!(buckets.len(), CAPACITY);
        add(&mut buckets, usize::MAX, PER_ADDRESS, NOW + Duration::from_secs(60));
        assert_eq!(buckets.len(), 1);
    }
}
