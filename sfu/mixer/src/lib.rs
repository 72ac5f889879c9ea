//! Opus in, voices mixed, Opus out. Pure: places on the timeline arrive as arguments, no clock and no I/O.
//!
//! A [`Voice`] decodes one person's packets and lays the sound on a timeline of 48 kHz samples; a [`Mix`] sums what its
//! voices laid down and encodes it, one packet for each 20 ms. Both serve recordings, where every sound has its place. [`live`] is for
//! those who listen while others speak: there what counts is to be soon.

pub mod live;
mod mix;
mod voice;

pub use mix::{Mix, VoiceId};
pub use voice::Voice;

/// Samples per second everywhere in this crate.
pub const RATE: u32 = 48_000;

/// Samples of one frame: 20 ms.
pub const FRAME: usize = 960;

/// Samples by which the encoder lags: what a player must skip at the start (`pre-skip`).
pub const PRE_SKIP: u16 = 312;

/// A place on the timeline, in samples since its zero.
pub type SamplePos = i64;

/// Why sound could not be decoded or encoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The codec refused; of a packet from the network this says that it was not Opus.
    #[error("opus: {0}")]
    Opus(#[from] opus::Error),
    /// The packet would lie so far ahead that the sound before it cannot all be held.
    #[error("a packet lies too far ahead on the timeline")]
    TooFar,
    /// No such voice.
    #[error("unknown voice")]
    UnknownVoice,
}
