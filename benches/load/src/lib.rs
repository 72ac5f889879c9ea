//! The load generator: visits with synthetic media over the real HTTP, WebSocket and UDP interfaces. Its client is also the
//! browser of the engine's tests.

pub mod client;
#[cfg(feature = "run")]
pub mod run;
