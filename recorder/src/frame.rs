//! Whole frames out of ordered packets. A frame with a hole is not written: what a player would make of it is noise.

use bytes::{Bytes, BytesMut};
use wire::control::Codec;

use crate::jitter::Ordered;
use crate::packet::Micros;

mod h264;
#[cfg(test)]
mod tests;
mod vp8;
mod vp9;

/// The longest frame that is put together, in bytes; a longer one is dropped.
const MAX_FRAME: usize = 4 * 1024 * 1024;

/// After a loss pictures wait for a keyframe this long. Then they go on without: damaged pictures beat none.
const KEYFRAME_PATIENCE: Micros = 3_000_000;

/// One frame of picture or one packet of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Place of its first packet on the timeline.
    pub at: Micros,
    /// Decodable without those before.
    pub key: bool,
    /// Width and height, when this frame says.
    pub size: Option<(u16, u16)>,
    /// Codec bytes: a VP8 frame, an H.264 access unit with 4-byte lengths, or an Opus packet.
    pub data: Bytes,
    /// Packets lost since the last frame that came out.
    pub missing: u32,
}

/// Puts the frames of one Track together.
#[derive(Debug)]
pub struct Framer {
    codec: Codec,
    /// Payloads of the frame under way, all with one timestamp.
    parts: Vec<Bytes>,
    bytes: usize,
    timestamp: Option<u32>,
    at: Micros,
    /// The frame under way, or what came before it, has a hole.
    torn: bool,
    /// Since when a keyframe is awaited; none when pictures flow.
    awaiting: Option<Micros>,
    started: bool,
    missing: u32,
    sets: h264::ParameterSets,
}

impl Framer {
    /// For a Track of this codec.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            parts: Vec::new(),
            bytes: 0,
            timestamp: None,
            at: 0,
            torn: false,
            awaiting: None,
            started: false,
            missing: 0,
            sets: h264::ParameterSets::default(),
        }
    }

    /// Takes the next packet with its place, and gives the frame that it completes. Padding gives nothing and is no loss.
    pub fn push(&mut self, ordered: &Ordered, at: Micros) -> Option<Frame> {
        self.missing = self.missing.saturating_add(ordered.missing);
        let packet = &ordered.packet;
        if self.codec == Codec::Opus {
            if packet.payload.is_empty() {
                return None;
            }
            let missing = std::mem::take(&mut self.missing);
            return Some(Frame { at, key: true, size: None, data: packet.payload.clone(), missing });
        }
        if ordered.missing > 0 || ordered.restarted {
            // The hole may have eaten the end of the frame under way, the beginning of this one, or frames between.
            self.lose(at);
        }
        if packet.payload.is_empty() {
            return None;
        }
        if self.timestamp != Some(packet.timestamp) {
            if !self.parts.is_empty() {
                // A frame without its last packet's mark.
                self.lose(at);
                self.torn = false;
            }
            self.timestamp = Some(packet.timestamp);
            self.at = at;
        }
        self.bytes = self.bytes.saturating_add(packet.payload.len());
        if self.bytes > MAX_FRAME {
            self.lose(at);
        } else {
            self.parts.push(packet.payload.clone());
        }
        if packet.marker { self.complete() } else { None }
    }

    fn lose(&mut self, at: Micros) {
        self.parts.clear();
        self.torn = true;
        self.awaiting.get_or_insert(at);
    }

    fn complete(&mut self) -> Option<Frame> {
        let parts = std::mem::take(&mut self.parts);
        let torn = std::mem::take(&mut self.torn);
        self.bytes = 0;
        self.timestamp = None;
        if torn && self.codec == Codec::H264 {
            // Where a picture begins cannot be told from an H.264 packet.
            return None;
        }
        let built = match self.codec {
            Codec::Vp8 => vp8::build(&parts),
            Codec::H264 => h264::build(&parts, &mut self.sets),
            Codec::Vp9 => vp9::build(&parts),
            // The media node does not answer AV1.
            Codec::Opus | Codec::Av1 => None,
        };
        let Some(Built { key, size, data }) = built else {
            self.awaiting.get_or_insert(self.at);
            return None;
        };
        let waited = self.awaiting.map_or(0, |since| self.at - since);
        if !key && (!self.started || (self.awaiting.is_some() && waited < KEYFRAME_PATIENCE)) {
            return None;
        }
        self.started = true;
        self.awaiting = None;
        let missing = std::mem::take(&mut self.missing);
        Some(Frame { at: self.at, key, size, data: data.freeze(), missing })
    }
}

/// What a codec made of the payloads of one timestamp.
struct Built {
    key: bool,
    size: Option<(u16, u16)>,
    data: BytesMut,
}

/// Duration of an Opus packet (RFC 6716 section 3.1), in samples at 48 kHz; `None` for what is no Opus packet.
#[must_use]
pub fn opus_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880].get(usize::from(config % 4)),
        12..=15 => [480, 960].get(usize::from(config % 2)),
        _ => [120, 240, 480, 960].get(usize::from(config % 4)),
    }?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=5760).contains(samples))
}

/// Whether an Opus packet carries two channels.
#[must_use]
pub fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 4 != 0)
}
