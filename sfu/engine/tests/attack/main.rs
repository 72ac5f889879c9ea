//! What strangers and participants may throw at a whole Engine: the process stays up, running calls go on, joins succeed, memory
//! stays flat. Virtual time; the two sides of each call are clients of the load generator.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod net;
mod participants;
mod requirements;
mod strangers;
