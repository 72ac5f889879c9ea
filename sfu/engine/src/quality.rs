//! The network bars people see: round trip and losses, weighed every two seconds.

use std::time::{Duration, Instant};

/// How often a Peer's bars are told.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// What came over one Peer's uplink at the last weighing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    next: Instant,
    expected: u64,
    received: u64,
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weighed {
    pub(crate) bars: u8,
    pub(crate) loss_up_permille: u16,
}

impl Quality {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now + INTERVAL, expected: 0, received: 0 }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Weighs what came since the last time. `expected` and `received` are totals over all Tracks, repairs counted as
    /// received; `down_permille` is what the browser reports.
    pub(crate) fn weigh(
        &mut self,
        now: Instant,
        (expected, received): (u64, u64),
        round_trip: Option<Duration>,
        down_permille: u16,
    ) -> Weighed {
        self.next = now + INTERVAL;
        let expected_now = expected.saturating_sub(self.expected);
        let received_now = received.saturating_sub(self.received);
        (self.expected, self.received) = (expected, received);
        let lost = expected_now.saturating_sub(received_now);
        let up = (lost * 1000).checked_div(expected_now).unwrap_or_default();
        let loss_up_permille = u16::try_from(up).unwrap_or(1000).min(1000);
        let loss = loss_up_permille.max(down_permille);
        let trip = round_trip.unwrap_or_default().as_millis();
        let bars = match (loss, trip) {
            (0..20, 0..200) => 4,
            (0..50, 0..350) => 3,
            (0..120, 0..600) => 2,
            (0..1000, _) => 1,
            _ => 0,
        };
        Weighed { bars, loss_up_permille }
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
        assert_eq!(quality.weigh(now, (1000, 1000), ms(40), 0), Weighed { bars: 4, loss_up_permille: 0 });
        assert_eq!(quality.weigh(now, (2000, 1970), ms(40), 0), Weighed { bars: 3, loss_up_permille: 30 });
        assert_eq!(quality.weigh(now, (3000, 2970), ms(40), 110).bars, 2);
        assert_eq!(quality.weigh(now, (4000, 3970), ms(900), 0).bars, 1);
        assert_eq!(quality.weigh(now, (5000, 3970), None, 0).bars, 0);
    }
}
