//! Stories: the real binary, a real database and real sockets, told as the people in them would tell them.

#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on ends by a panic; helpers outside of #[test] count as well"
)]

mod away;
mod crash;
mod doors;
mod drain;
mod join;
mod metrics;
mod process;
mod recording;
mod store;
mod support;
mod visit;
