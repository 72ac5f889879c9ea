//! Offers as the Chime browser client makes them, and what its answers must be: over the captured ones, and over random sequences of
//! what people do in a meeting.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests take what they made themselves")]

mod offer;
mod rules;
mod sequence;
