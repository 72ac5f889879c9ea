//! One encoder of a live mix, for everybody who is to leave out the same voices.

use std::fmt;

use opus::{Application, Bitrate, Channels, Encoder, SoftClip};

use crate::{Error, FRAME, RATE};

/// Bits per second: wide-band speech of several people without audible loss.
const BITRATE: i32 = 48_000;
/// Audio mode at this complexity stays in CELT: a quarter of what speech mode costs.
const COMPLEXITY: i32 = 5;
/// The longest packet of one frame (RFC 6716 section 3.4).
const MAX_PACKET: usize = 1275;

/// See the top of the file.
pub(super) struct Stream<V> {
    /// The voices that are left out, in order.
    pub(super) without: Vec<V>,
    /// Frames since it was last needed.
    pub(super) idle: u32,
    encoder: Encoder,
    clip: SoftClip,
    packet: Vec<u8>,
}

impl<V: fmt::Debug> fmt::Debug for Stream<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("without", &self.without).field("idle", &self.idle).finish_non_exhaustive()
    }
}

impl<V> Stream<V> {
    pub(super) fn new(without: Vec<V>) -> Result<Self, Error> {
        let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Audio)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
        encoder.set_complexity(COMPLEXITY)?;
        encoder.set_inband_fec(false)?;
        encoder.set_dtx(false)?;
        Ok(Self { without, idle: 0, encoder, clip: SoftClip::new(Channels::Mono), packet: vec![0; MAX_PACKET] })
    }

    /// Forgets what it encoded: what comes next does not follow it.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        self.clip = SoftClip::new(Channels::Mono);
        Ok(self.encoder.reset_state()?)
    }

    /// Encodes one frame.
    pub(super) fn encode(&mut self, sum: &mut [f32; FRAME]) -> Result<&[u8], Error> {
        self.clip.apply(sum);
        let length = self.encoder.encode_float(sum, &mut self.packet)?;
        Ok(self.packet.get(..length).unwrap_or_default())
    }
}
