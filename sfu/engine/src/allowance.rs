//! What one Peer may ask of the node: a bucket for each kind of work, so that a hostile participant wears out its own share only.
//!
//! Only what was authentic is charged, so whoever forges a Peer's address uses nothing up in its name. Once a bucket is used up,
//! that kind of datagram is dropped before it is decrypted or read: a flood then costs one lookup and one comparison for each.

use std::time::{Duration, Instant};

/// How much one Peer may send. The figures are far above what a browser with three camera layers, a screen and fifteen people to
/// watch sends, and far below what one core carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// RTP packets in a second.
    pub packets: u32,
    /// RTP, in bits per second, headers included.
    pub bits: u32,
    /// RTCP datagrams in a second.
    pub reports: u32,
    /// Sequence numbers asked for again (NACK) in a second.
    pub repairs: u32,
    /// Keyframes asked for (PLI and FIR) in a second.
    pub keyframes: u32,
    /// Authenticated STUN requests in a second.
    pub checks: u32,
    /// Offers in a minute; half of them may come at once.
    pub offers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packets: 4_000,
            bits: 12_000_000,
            reports: 500,
            repairs: 2_000,
            keyframes: 100,
            checks: 100,
            offers: 120,
        }
    }
}

/// So much of a second's worth may come at once.
const BURST: Duration = Duration::from_secs(1);
/// The same for offers: a Room that fills renegotiates with everybody for each arrival.
const OFFER_BURST: Duration = Duration::from_secs(30);

/// A token bucket, kept as the instant at which it is full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
    /// Time that one unit takes to flow back.
    unit: Duration,
    /// Time that the whole bucket takes.
    depth: Duration,
}

impl Bucket {
    fn new(now: Instant, rate: u32, per: Duration, depth: Duration) -> Self {
        // Zero would mean that nothing ever passes, not even what keeps the connection alive.
        Self { full_at: now, unit: per / rate.max(1), depth }
    }

    /// Whether there is anything left. The last unit may be overdrawn, by one datagram.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.full_at < now + self.depth
    }

    pub(crate) fn take(&mut self, now: Instant, units: u32) {
        self.full_at = self.full_at.max(now) + self.unit * units;
    }

    /// Takes one unit, if there is anything left.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        let is_open = self.is_open(now);
        if is_open {
            self.take(now, 1);
        }
        is_open
    }
}

/// The buckets of one Peer.
#[derive(Debug)]
pub(crate) struct Allowance {
    packets: Bucket,
    bytes: Bucket,
    pub(crate) reports: Bucket,
    pub(crate) repairs: Bucket,
    pub(crate) keyframes: Bucket,
    pub(crate) checks: Bucket,
    pub(crate) offers: Bucket,
}

impl Allowance {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        let each_second = |rate| Bucket::new(now, rate, Duration::from_secs(1), BURST);
        Self {
            packets: each_second(limits.packets),
            bytes: each_second(limits.bits / 8),
            reports: each_second(limits.reports),
            repairs: each_second(limits.repairs),
            keyframes: each_second(limits.keyframes),
            checks: each_second(limits.checks),
            offers: Bucket::new(now, limits.offers, Duration::from_secs(60), OFFER_BURST),
        }
    }

    /// Whether the Peer may send RTP just now.
    pub(crate) fn takes_media(&self, now: Instant) -> bool {
        self.packets.is_open(now) && self.bytes.is_open(now)
    }

    /// Charges an authentic RTP packet of this length.
    pub(crate) fn note_media(&mut self, now: Instant, length: usize) {
        self.packets.take(now, 1);
        self.bytes.take(now, u32::try_from(length).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(begin, 100, Duration::from_secs(1), BURST);
        let mut taken_until = |ms: u64| {
            let now = begin + Duration::from_millis(ms);
            (0..10_000).take_while(|_| bucket.try_take(now)).count()
        };
        assert_eq!(taken_until(0), 100);
        assert_eq!(taken_until(5), 1, "the half unit may be overdrawn");
        assert_eq!(taken_until(1_005), 100);
        assert_eq!(taken_until(60_000), 100, "no more is saved up than one burst");
    }

    #[test]
    fn bytes_and_packets_are_limited_each_by_itself() {
        let begin = Instant::now();
        let limits = Limits { packets: 10, bits: 8_000, ..Limits::default() };
        let count = |length: usize| {
            let mut allowance = Allowance::new(&limits, begin);
            let sent = (0..1_000).take_while(|_| {
                let takes = allowance.takes_media(begin);
                allowance.note_media(begin, length);
                takes
            });
            sent.count()
        };
        assert_eq!(count(1), 10);
        assert_eq!(count(500), 2);
        assert_eq!(count(usize::MAX), 1);
    }

    #[test]
    fn half_a_minute_of_offers_may_come_at_once() {
        let begin = Instant::now();
        let mut offers = Allowance::new(&Limits::default(), begin).offers;
        assert_eq!((0..1_000).take_while(|_| offers.try_take(begin)).count(), 60);
        assert!(!offers.try_take(begin));
        assert!(offers.try_take(begin + Duration::from_secs(1)));
    }
}
