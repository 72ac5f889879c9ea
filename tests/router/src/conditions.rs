//! What is wrong with one direction of a network, as tests write it down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a queue may get where a rate is named and no queue is: a common home router.
const USUAL_QUEUE_MS: f64 = 200.0;
/// Longer than this no delay, jitter or queue may be, so that what waits stays bounded.
const MAX_MS: f64 = 60_000.0;
/// 100 Gbit/s: above it the time one packet takes is below the clock's nanosecond.
const MAX_KBPS: f64 = 1e8;

/// One direction. Everything absent is as in a perfect network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conditions {
    /// Added to each packet, in milliseconds.
    pub delay_ms: f64,
    /// Standard deviation around the delay, in milliseconds. Packets keep their order.
    pub jitter_ms: f64,
    /// Which packets are lost by nature, before the queue.
    pub loss: Loss,
    /// The bottleneck, in kilobits per second of IP packets.
    pub kbps: Option<f64>,
    /// How long the bottleneck's queue may get before packets are dropped at its tail, in milliseconds.
    pub queue_ms: Option<f64>,
    /// The share of packets that others overtake.
    pub reorder: f64,
    /// By how long an overtaken packet is late, in milliseconds.
    pub reorder_by_ms: f64,
    /// The share of packets that arrive twice.
    pub duplicate: f64,
    /// What a firewall does not let through.
    pub block: Vec<Protocol>,
    /// Nothing passes.
    pub down: bool,
}

/// Loss that no queue causes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Loss {
    /// Each packet by itself, with this probability.
    Random(f64),
    /// Gilbert and Elliott: a good and a bad state. The mean burst is `1 / leave` packets, the mean loss in bad state
    /// `bad * enter / (enter + leave)`.
    Bursts {
        /// Probability of going from good to bad, at each packet.
        enter: f64,
        /// Probability of going from bad to good, at each packet.
        leave: f64,
        /// Loss in the bad state.
        bad: f64,
        /// Loss in the good state.
        #[serde(default)]
        good: f64,
    },
}

impl Default for Loss {
    fn default() -> Self {
        Self::Random(0.0)
    }
}

/// What a firewall tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Sound and picture, usually.
    Udp,
    /// The same, over IPv4 alone: what is left is IPv6.
    Udp4,
    /// Pages, the WebSocket, and media where UDP is blocked.
    Tcp,
    /// `ping` and its IPv6 sister.
    Icmp,
    /// Everything else.
    Other,
}

/// A number that no network has.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is out of range")]
pub struct OutOfRange(&'static str);

impl Conditions {
    /// Refuses what the link could not keep.
    ///
    /// # Errors
    /// With the name of the field.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let share = |name, value: f64| if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(OutOfRange(name)) };
        let time = |name, value: f64| if (0.0..=MAX_MS).contains(&value) { Ok(()) } else { Err(OutOfRange(name)) };
        time("delayMs", self.delay_ms)?;
        time("jitterMs", self.jitter_ms)?;
        time("reorderByMs", self.reorder_by_ms)?;
        time("queueMs", self.queue_ms.unwrap_or(0.0))?;
        share("reorder", self.reorder)?;
        share("duplicate", self.duplicate)?;
        match self.loss {
            Loss::Random(probability) => share("loss", probability)?,
            Loss::Bursts { enter, leave, bad, good } => {
                for value in [enter, leave, bad, good] {
                    share("loss", value)?;
                }
            }
        }
        // Below 1 kbit/s one packet would take many seconds.
        if self.kbps.is_some_and(|rate| !(1.0..=MAX_KBPS).contains(&rate)) {
            return Err(OutOfRange("kbps"));
        }
        Ok(())
    }

    /// How long the bottleneck takes for so many bytes.
    #[must_use]
    pub fn time_on_wire(&self, bytes: usize) -> Duration {
        let bits = u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from) * 8.0;
        self.kbps.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bits / (rate * 1000.0)))
    }

    /// How long a packet may wait for the bottleneck.
    #[must_use]
    pub fn queue(&self) -> Duration {
        millis(self.queue_ms.unwrap_or(USUAL_QUEUE_MS))
    }
}

/// Milliseconds as a duration; what is negative or not a number is none.
#[must_use]
pub fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1000.0).unwrap_or(Duration::ZERO)
}
