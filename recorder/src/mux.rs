//! Frames to a container. A file is planned whole from sizes and times, then written chunk by chunk: cluster or fragment,
//! each complete. So the index stands at its front, and the same frames give the same bytes.

use bytes::Bytes;
use wire::control::Codec;

use crate::packet::Micros;

pub mod mp4;
#[cfg(test)]
mod tests;
pub mod webm;

/// The longest chunk without a keyframe: what a seek costs, and what a block's 16-bit time can span many times over.
const CHUNK: Micros = 1_000_000;

/// One frame as the plan knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Since the file's zero.
    pub at: Micros,
    /// Until the next frame of its stream; of the last frame, its own.
    pub duration: Micros,
    /// Bytes.
    pub size: u32,
    /// Decodable without those before.
    pub key: bool,
}

/// What a stream's frames are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Pictures.
    Video {
        /// VP8, VP9 or H.264.
        codec: Codec,
        /// Of the first picture.
        width: u16,
        /// Of the first picture.
        height: u16,
        /// First sequence and picture parameter set, of H.264.
        sets: Option<(Vec<u8>, Vec<u8>)>,
    },
    /// Opus.
    Audio {
        /// One or two.
        channels: u8,
        /// Samples at 48 kHz that a player skips first.
        pre_skip: u16,
    },
}

impl Coding {
    const fn is_video(&self) -> bool {
        matches!(self, Self::Video { .. })
    }
}

/// One stream of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What its frames are.
    pub coding: Coding,
    /// Its frames, each later than the one before.
    pub entries: Vec<Entry>,
}

/// One cluster or fragment: frames of all streams in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Time of its first frame.
    pub at: Micros,
    /// Stream and frame, by their numbers.
    pub items: Vec<(usize, usize)>,
    /// A player may begin here.
    pub key: bool,
}

/// A whole file before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its streams.
    pub streams: Vec<Stream>,
    /// Its chunks in order.
    pub chunks: Vec<Chunk>,
}

/// Which container a plan goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// VP8 or VP9 with Opus.
    Webm,
    /// H.264 with Opus, or Opus alone.
    Mp4,
}

/// Why a file could not be written. All of them are broken plans or absurd sizes, none comes from the network alone.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// A number does not fit its field.
    #[error("a number does not fit its field in the container")]
    Size,
    /// The payloads are not those of the plan.
    #[error("a frame differs from the plan")]
    Plan,
    /// A box could not be written.
    #[error("mp4: {0}")]
    Mp4(#[from] mp4_atom::Error),
}

impl Plan {
    /// Plans the chunks: a new one at each keyframe of video and after a second. Video comes first.
    #[must_use]
    pub fn new(mut streams: Vec<Stream>) -> Self {
        streams.sort_by_key(|stream| !stream.coding.is_video());
        Self::in_order(streams)
    }

    /// The same, with the streams in the order in which they are given.
    #[must_use]
    pub fn in_order(streams: Vec<Stream>) -> Self {
        let mut order: Vec<(Micros, usize, usize)> = Vec::new();
        for (number, stream) in streams.iter().enumerate() {
            order.extend(stream.entries.iter().enumerate().map(|(frame, entry)| (entry.at, number, frame)));
        }
        order.sort_unstable();
        let has_video = streams.iter().any(|stream| stream.coding.is_video());
        let mut chunks: Vec<Chunk> = Vec::new();
        for (at, number, frame) in order {
            let stream = streams.get(number);
            let video_key = stream.is_some_and(|s| s.coding.is_video() && s.entries.get(frame).is_some_and(|e| e.key));
            match chunks.last_mut() {
                Some(chunk) if !video_key && at - chunk.at < CHUNK => chunk.items.push((number, frame)),
                _ => chunks.push(Chunk { at, items: vec![(number, frame)], key: video_key || !has_video }),
            }
        }
        Self { streams, chunks }
    }

    /// From the file's zero to the end of its last frame.
    #[must_use]
    pub fn duration(&self) -> Micros {
        let ends = self.streams.iter().filter_map(|stream| stream.entries.last());
        ends.map(|entry| entry.at + entry.duration).max().unwrap_or(0)
    }

    /// Everything before the first chunk.
    ///
    /// # Errors
    /// When a number does not fit.
    pub fn head(&self, container: Container) -> Result<Vec<u8>, MuxError> {
        match container {
            Container::Webm => webm::head(self),
            Container::Mp4 => mp4::head(self),
        }
    }

    /// One chunk with the payloads of its items, in their order.
    ///
    /// # Errors
    /// When the payloads are not those planned.
    pub fn chunk(&self, container: Container, number: usize, payloads: &[Bytes]) -> Result<Vec<u8>, MuxError> {
        let chunk = self.chunks.get(number).ok_or(MuxError::Plan)?;
        let planned = chunk.items.iter().filter_map(|item| self.entry(*item)).map(|entry| entry.size as usize);
        if !planned.eq(payloads.iter().map(Bytes::len)) {
            return Err(MuxError::Plan);
        }
        match container {
            Container::Webm => webm::chunk(self, chunk, payloads),
            Container::Mp4 => mp4::chunk(self, chunk, number, payloads),
        }
    }

    fn entry(&self, (stream, frame): (usize, usize)) -> Option<&Entry> {
        self.streams.get(stream)?.entries.get(frame)
    }
}

/// The sets that stand before a keyframe, in 4-byte length form.
pub(crate) fn parameter_sets(data: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let unit = |rest: &mut &[u8]| -> Option<Vec<u8>> {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let unit = tail.get(..length)?.to_vec();
        *rest = tail.get(length..)?;
        Some(unit)
    };
    let mut rest = data;
    let (sps, pps) = (unit(&mut rest)?, unit(&mut rest)?);
    let kind = |unit: &[u8]| unit.first().map_or(0, |first| first & 0x1f);
    (kind(&sps) == 7 && kind(&pps) == 8).then_some((sps, pps))
}
