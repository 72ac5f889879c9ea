//! The sum of voices, and its encoder.

use std::fmt;

use opus::{Application, Bitrate, Channels, Encoder, SoftClip};

use crate::voice::Voice;
use crate::{Error, FRAME, RATE, SamplePos};

/// Bits per second of the mixed track. Wide-band speech of several people without audible loss.
const BITRATE: i32 = 48_000;

/// Audio mode at this complexity stays in CELT: 35 µs for each frame, a quarter of what speech mode costs.
const COMPLEXITY: i32 = 5;

/// The longest packet of one frame (RFC 6716 section 3.4).
const MAX_PACKET: usize = 1275;

/// One voice of a [`Mix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceId(usize);

/// Voices and the encoder of their sum.
pub struct Mix {
    voices: Vec<Voice>,
    encoder: Encoder,
    clip: SoftClip,
    at: SamplePos,
    packet: Vec<u8>,
}

impl fmt::Debug for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mix").field("voices", &self.voices).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Mix {
    /// A silent mix that begins at the timeline's zero.
    ///
    /// # Errors
    /// When the encoder cannot be made.
    pub fn new() -> Result<Self, Error> {
        let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Audio)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
        encoder.set_complexity(COMPLEXITY)?;
        encoder.set_inband_fec(false)?;
        encoder.set_dtx(false)?;
        let clip = SoftClip::new(Channels::Mono);
        Ok(Self { voices: Vec::new(), encoder, clip, at: 0, packet: vec![0; MAX_PACKET] })
    }

    /// Where the next frame begins.
    #[must_use]
    pub const fn at(&self) -> SamplePos {
        self.at
    }

    /// Adds a voice.
    ///
    /// # Errors
    /// When the decoder cannot be made.
    pub fn add_voice(&mut self) -> Result<VoiceId, Error> {
        self.voices.push(Voice::new(self.at)?);
        Ok(VoiceId(self.voices.len() - 1))
    }

    /// Gives one packet to a voice, as [`Voice::push`].
    ///
    /// # Errors
    /// As [`Voice::push`], or when the voice is not of this mix.
    pub fn push(&mut self, voice: VoiceId, at: SamplePos, packet: &[u8], missing: u32) -> Result<(), Error> {
        self.voices.get_mut(voice.0).ok_or(Error::UnknownVoice)?.push(at, packet, missing)
    }

    /// Encodes every whole frame before `until` and hands each packet out with its place.
    ///
    /// # Errors
    /// When the encoder fails, or as `sink` does.
    pub fn take_until<E: From<Error>>(
        &mut self,
        until: SamplePos,
        mut sink: impl FnMut(SamplePos, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = SamplePos::try_from(FRAME).unwrap_or(SamplePos::MAX);
        while self.at + step <= until {
            let mut sum = [0.0; FRAME];
            for voice in &mut self.voices {
                voice.take_into(self.at, &mut sum);
            }
            self.clip.apply(&mut sum);
            let length = self.encoder.encode_float(&sum, &mut self.packet).map_err(Error::from)?;
            sink(self.at, self.packet.get(..length).unwrap_or_default())?;
            self.at += step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
