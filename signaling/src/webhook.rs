//! Webhooks out: an organisation's own addresses are told of what happens, signed, and again until they have taken it. An event is
//! written in the transaction of the change that it tells of (`store::enqueue`); `chore` delivers it.

pub(crate) mod chore;
pub(crate) mod deliver;
pub(crate) mod networks;
pub mod sign;
pub(crate) mod store;
pub mod target;
#[cfg(test)]
mod tests;

use std::time::Duration;

use uuid::Uuid;

/// Something that happened, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The same at every attempt and for every target: by it a receiver tells a repetition.
    pub(crate) id: Uuid,
    /// JSON.
    pub(crate) body: String,
}

/// The longest wait between two attempts. A receiver that is back after a weekend is found within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// How long to wait after so many attempts that failed: `first`, then three times as long each time.
#[must_use]
fn wait_after(attempts: u32, first: Duration) -> Duration {
    let factor = 3_u32.saturating_pow(attempts.saturating_sub(1));
    first.saturating_mul(factor).min(LONGEST_WAIT)
}
