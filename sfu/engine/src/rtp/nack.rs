//! Which packets of a publisher are missing, and when to ask for them again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtc_shared::marshal::Marshal;

use super::sequence::wire;

/// A gap may be reordering: it counts as loss after this time, or when [`LATER`] younger packets came.
const PATIENCE: Duration = Duration::from_millis(10);
/// See [`PATIENCE`].
const LATER: u64 = 3;
/// Shortest time between two requests for one packet.
const SPACING: Duration = Duration::from_millis(20);
/// Requests for one packet before it is given up.
const TRIES: u8 = 8;
/// Age at which a packet is given up: no receiver waits longer.
const AGE: Duration = Duration::from_secs(1);
/// Most packets missing at a time. Beyond it the stream is broken anyway: everything is forgotten and a keyframe asked for.
const OUTSTANDING: usize = 250;

/// What a request costs, what a packet that comes pays off, and how far requests may run ahead. Where most gets lost the way is
/// full, and repairs are more of what fills it: losses of up to two in five are asked for in full.
const COST: u32 = 3;
const PAYS: u32 = 2;
const DEBT: u32 = 100 * COST;

#[derive(Clone, Copy, Debug)]
struct Missing {
    number: u64,
    since: Instant,
    asked: Option<Instant>,
    tries: u8,
}

/// The missing packets of one SSRC, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nack {
    next: Option<u64>,
    missing: VecDeque<Missing>,
    /// See [`DEBT`].
    debt: u32,
}

/// What a packet meant for the gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Nothing out of the way.
    Fine,
    /// So much is missing that only a keyframe helps.
    Broken,
}

impl Nack {
    /// Notes an arrival, be it fresh, late or repaired.
    pub(crate) fn note(&mut self, number: u64, now: Instant) -> Noted {
        let next = *self.next.get_or_insert(number);
        if number < next {
            self.missing.retain(|m| m.number != number);
            return Noted::Fine;
        }
        self.next = Some(number + 1);
        self.debt = self.debt.saturating_sub(PAYS);
        let gap = number - next;
        if gap == 0 {
            return Noted::Fine;
        }
        if gap > OUTSTANDING as u64 || self.missing.len() + usize::try_from(gap).unwrap_or(OUTSTANDING) > OUTSTANDING {
            self.missing.clear();
            return Noted::Broken;
        }
        let fresh = |number| Missing { number, since: now, asked: None, tries: 0 };
        self.missing.extend((next..number).map(fresh));
        Noted::Fine
    }

    /// The numbers to ask for now. Gives up what is too old or was asked for often enough.
    pub(crate) fn poll(&mut self, now: Instant, round_trip: Option<Duration>) -> Vec<u16> {
        if self.missing.is_empty() {
            return Vec::new();
        }
        let spacing = round_trip.map_or(SPACING, |trip| SPACING.max(trip * 11 / 10 + Duration::from_millis(10)));
        self.missing.retain(|m| m.tries < TRIES && now.saturating_duration_since(m.since) < AGE);
        let next = self.next.unwrap_or_default();
        let mut due = Vec::new();
        for missing in &mut self.missing {
            let is_due = match missing.asked {
                Some(asked) => now.saturating_duration_since(asked) >= spacing,
                None => now.saturating_duration_since(missing.since) >= PATIENCE || next - missing.number > LATER,
            };
            if is_due && self.debt + COST <= DEBT {
                self.debt += COST;
                missing.asked = Some(now);
                missing.tries += 1;
                due.push(wire(missing.number));
            }
        }
        due
    }

    /// Forgets the gaps, not the position: for a stream that nobody may have just now.
    pub(crate) fn forget(&mut self) {
        self.missing.clear();
    }

    /// True when nothing waits to be asked for.
    pub(crate) fn is_idle(&self) -> bool {
        self.missing.is_empty()
    }
}

/// A generic NACK, RFC 4585 section 6.2.1. At most [`OUTSTANDING`] numbers, so it fits into a datagram.
pub(crate) fn request(sender_ssrc: u32, media_ssrc: u32, numbers: &[u16]) -> Option<Bytes> {
    let nacks = nack_pairs_from_sequence_numbers(numbers);
    TransportLayerNack { sender_ssrc, media_ssrc, nacks }.marshal().ok().map(Into::into)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Of a thousand packets of which this many in ten get lost for ever, how many requests each that came was met with.
    fn requests(lost_in_ten: u64) -> f64 {
        let now = Instant::now();
        let mut nack = Nack::default();
        let (mut asked, mut came) = (0, 0);
        for number in 0..10_000u64 {
            let at = now + 10 * MS * u32::try_from(number).unwrap();
            if number * 7 % 10 >= lost_in_ten {
                came += 1;
                nack.note(number, at);
            }
            // Each is asked for once: repairs come.
            asked += nack.poll(at, Some(Duration::from_secs(2))).len();
        }
        asked as f64 / f64::from(came)
    }

    #[test]
    fn a_full_way_is_not_filled_with_repairs() {
        assert!((requests(2) - 0.25).abs() < 0.01, "{}", requests(2));
        assert!((requests(4) - 0.666).abs() < 0.02, "{}", requests(4));
        assert!(requests(8) < 0.75, "{}", requests(8));
    }

    #[test]
    fn reordering_is_not_asked_for() {
        let now = Instant::now();
        let mut nack = Nack::default();
        for number in [100, 102, 101, 103] {
            assert_eq!(nack.note(number, now), Noted::Fine);
            assert!(nack.poll(now, None).is_empty());
        }
        assert!(nack.is_idle());
    }

    #[test]
    fn a_gap_is_asked_for_after_three_later_packets_or_ten_milliseconds() {
        let now = Instant::now();
        let mut nack = Nack::default();
        nack.note(100, now);
        nack.note(104, now);
        assert!(nack.poll(now, None).contains(&101));
        assert!(!nack.poll(now, None).contains(&103));
        assert_eq!(
            nack.poll(now + 10 * MS, None),
            [102, 103].into_iter().filter(|n| *n == 103 || *n == 102).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_request_is_repeated_eight_times_and_given_up() {
        let now = Instant::now();
        let mut nack = Nack::default();
        nack.note(100, now);
        nack.note(102, now);
        let asked: usize = (0..1000).map(|i| nack.poll(now + i * MS, None).len()).sum();
        assert_eq!(asked, usize::from(TRIES));
        assert!(nack.is_idle());
    }

    #[test]
    fn a_long_round_trip_spaces_requests() {
        let now = Instant::now();
        let mut nack = Nack::default();
        nack.note(100, now);
        nack.note(102, now);
        let asked: usize = (0..250).map(|i| nack.poll(now + i * MS, Some(100 * MS)).len()).sum();
        assert_eq!(asked, 2);
    }

    #[test]
    fn a_broken_stream_asks_for_nothing() {
        let now = Instant::now();
        let mut nack = Nack::default();
        nack.note(100, now);
        assert_eq!(nack.note(500, now), Noted::Broken);
        assert!(nack.is_idle());
    }
}
