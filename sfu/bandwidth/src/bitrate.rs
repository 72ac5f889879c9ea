//! A rate in bits per second.

use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

const fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros() as u64)
}

/// `value * by / over`, rounded down. A division of 128 bits costs many times one of 64, and packets ask for this.
fn scale(value: u64, by: u64, over: u64) -> u64 {
    match value.checked_mul(by) {
        Some(product) => product / over,
        None => u64::try_from(u128::from(value) * u128::from(by) / u128::from(over)).unwrap_or(u64::MAX),
    }
}

impl Bitrate {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);

    /// From bits per second.
    #[must_use]
    pub const fn bps(bits: u64) -> Self {
        Self(bits)
    }

    /// From kilobits (1,000 bits) per second.
    #[must_use]
    pub const fn kbps(kilobits: u64) -> Self {
        Self(kilobits.saturating_mul(1000))
    }

    /// In bits per second.
    #[must_use]
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// In kilobits per second, rounded down.
    #[must_use]
    pub const fn as_kbps(self) -> u64 {
        self.0 / 1000
    }

    /// The rate at which `bytes` take `time`; zero for no time.
    #[must_use]
    pub fn of(bytes: u64, time: Duration) -> Self {
        let micros = micros(time);
        if micros == 0 {
            return Self::ZERO;
        }
        Self(scale(bytes, 8_000_000, micros))
    }

    /// Bytes that this rate carries in `time`, rounded down.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        scale(self.0, micros(time), 8_000_000)
    }

    /// How long `bytes` take at this rate; `Duration::MAX` at zero.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        if self.0 == 0 {
            return Duration::MAX;
        }
        Duration::from_micros(scale(bytes, 8_000_000, self.0))
    }

    /// Multiplied; not below zero, saturating above.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a float cast to an integer saturates, and rates are far below 2^53"
    )]
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor) as u64)
    }

    /// Less `other`, not below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Add for Bitrate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Bitrate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::ZERO, |sum, rate| sum + rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_time_and_rate_agree() {
        let rate = Bitrate::kbps(1200);
        assert_eq!(rate.bytes_in(Duration::from_millis(8)), 1200);
        assert_eq!(rate.time_for(1200), Duration::from_millis(8));
        assert_eq!(Bitrate::of(1200, Duration::from_millis(8)), rate);
        assert_eq!(rate.scale(0.5), Bitrate::kbps(600));
        assert_eq!(Bitrate::ZERO.time_for(1), Duration::MAX);
    }
}
