//! What a path to a browser carries and how that is spent: bytes and time arrive as arguments, rates come out.
//! Its own package, so that the bench runs it beside other controllers and it compiles in seconds.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

mod allocate;
mod bitrate;
mod estimate;
mod pace;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;

pub use allocate::{Allocator, Budget, Claim, Class, Emphasis, Grant, Granted, Rung, Shape};
pub use bitrate::Bitrate;
pub use estimate::{
    Ack, CarriedOver, Estimator, EstimatorConfig, MAX_RATE, MIN_RATE, Path, Probe, ProbeId, ReceiverReport, Report,
    START_RATE, Sent, SentKind,
};
pub use pace::{Pacer, Shed, Urgency, Waiting};

/// A span in nanoseconds, for records that keep a time in half the size of an `Instant`. Five hundred years fit.
#[must_use]
pub const fn nanos(span: std::time::Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(span.subsec_nanos() as u64)
}
