//! The network bars people see: round trip and losses, weighed every two seconds.

use std::time::{Duration, Instant};

use bandwidth::Bitrate;

/// How often a Peer's bars are told.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// What came over one Peer's uplink at the last weighing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    next: Instant,
    expected: u64,
    received: u64,
    weighed: Instant,
    bytes: (u64, u64),
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weighed {
    pub(crate) bars: u8,
    pub(crate) loss_up_permille: u16,
    pub(crate) kbits_up: u32,
    pub(crate) kbits_down: u32,
}

impl Quality {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now + INTERVAL, expected: 0, received: 0, weighed: now, bytes: (0, 0) }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Weighs what came since the last time. `expected` and `received` are totals over all Tracks, repairs counted as
    /// received; `up` and `down` are bytes in all; `down_permille` is what the browser reports.
    pub(crate) fn weigh(
        &mut self,
        now: Instant,
        (expected, received): (u64, u64),
        (up, down): (u64, u64),
        round_trip: Option<Duration>,
        down_permille: u16,
    ) -> Weighed {
        self.next = now + INTERVAL;
        let expected_now = expected.saturating_sub(self.expected);
        let received_now = received.saturating_sub(self.received);
        (self.expected, self.received) = (expected, received);
        let passed = now.saturating_duration_since(self.weighed);
        let kbits = |bytes: u64| u32::try_from(Bitrate::of(bytes, passed).as_kbps()).unwrap_or(u32::MAX);
        let kbits_up = kbits(up.saturating_sub(self.bytes.0));
        let kbits_down = kbits(down.saturating_sub(self.bytes.1));
        (self.weighed, self.bytes) = (now, (up, down));
        let lost = expected_now.saturating_sub(received_now);
        let share = (lost * 1000).checked_div(expected_now).unwrap_or_default();
        let loss_up_permille = u16::try_from(share).unwrap_or(1000).min(1000);
        let loss = loss_up_permille.max(down_permille);
        let trip = round_trip.unwrap_or_default().as_millis();
        let bars = match (loss, trip) {
            (0..20, 0..200) => 4,
            (0..50, 0..350) => 3,
            (0..120, 0..600) => 2,
            (0..1000, _) => 1,
            _ => 0,
        };
        Weighed { bars, loss_up_permille, kbits_up, kbits_down }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn bars_fall_with_loss_and_delay() {
        let now = Instant::now();
        let ms = |n| Some(Duration::from_millis(n));
        let mut quality = Quality::new(now);
        let mut second = 0;
        let mut weigh = |totals, trip, down| {
            second += 2;
            let bytes = (second * 125_000, second * 250);
            let weighed = quality.weigh(now + Duration::from_secs(second), totals, bytes, trip, down);
            assert_eq!((weighed.kbits_up, weighed.kbits_down), (1000, 2));
            (weighed.bars, weighed.loss_up_permille)
        };
        assert_eq!(weigh((1000, 1000), ms(40), 0), (4, 0));
        assert_eq!(weigh((2000, 1970), ms(40), 0), (3, 30));
        assert_eq!(weigh((3000, 2970), ms(40), 110).0, 2);
        assert_eq!(weigh((4000, 3970), ms(900), 0).0, 1);
        assert_eq!(weigh((5000, 3970), None, 0).0, 0);
    }
}
