//! Whole Engines with clients in a virtual network: seeded loss and delay, virtual time, no sockets.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests take what they made themselves")]
#![allow(clippy::needless_pass_by_value, reason = "a test reads better without borrowing its fixtures")]

mod call;
mod chime;
mod door;
mod downlink;
mod limit;
mod mixing;
mod network;
mod sender;
mod slots;
mod sound;
mod start;
mod tap;
mod world;
