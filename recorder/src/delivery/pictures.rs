//! One picture stream, cut at keyframes.

use bytes::Bytes;
use wire::control::Codec;

use super::file::{self, Look, Sample};
use super::{EARLY, PIECE, mark_after};
use crate::error::Result;
use crate::frame::Frame;
use crate::packet::Micros;

/// The most bytes of one piece. A sender that gives no keyframe although it is asked is cut all the same.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long a picture is taken to last when nothing tells.
const TYPICAL: Micros = 33_333;

/// One piece that is whole.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) at: Micros,
    pub(super) lasts: Micros,
    pub(super) body: Bytes,
}

/// The piece under way.
#[derive(Debug)]
pub(super) struct Pictures {
    codec: Codec,
    frames: Vec<Frame>,
    bytes: usize,
    /// Where the piece is over.
    mark: Micros,
    /// As the piece began, and as the newest keyframe is.
    look: Look,
    newest: Look,
}

impl Pictures {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, frames: Vec::new(), bytes: 0, mark: 0, look: Look::default(), newest: Look::default() }
    }

    /// Takes the next frame, and gives the piece that it ends.
    pub(super) fn push(&mut self, frame: Frame) -> Result<Option<Cut>> {
        let is_due = (frame.key && frame.at >= self.mark - EARLY) || self.bytes > MAX_BYTES;
        let cut = if is_due { self.close(Some(frame.at))? } else { None };
        self.newest.note(&frame);
        if self.frames.is_empty() {
            self.mark = mark_after(frame.at);
            self.look = self.newest.clone();
        }
        self.bytes += frame.data.len();
        self.frames.push(frame);
        Ok(cut)
    }

    /// Gives what is left.
    pub(super) fn finish(mut self) -> Result<Option<Cut>> {
        self.close(None)
    }

    /// The last picture is held until the next piece begins, as far as that is near: files that are joined one behind the other then
    /// keep their time. Over a longer break it is held to the mark.
    fn close(&mut self, next: Option<Micros>) -> Result<Option<Cut>> {
        self.bytes = 0;
        let frames = std::mem::take(&mut self.frames);
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(None) };
        let (at, end) = (first.at, last.at);
        let lasts = match next {
            Some(next) if next - end <= PIECE => next - end,
            Some(_) if self.mark > end => self.mark - end,
            Some(_) | None => TYPICAL,
        };
        let sample = |frame: Frame| Sample { at: frame.at - at, lasts, key: frame.key, data: frame.data };
        let samples = frames.into_iter().map(sample).collect();
        let body = file::write(vec![(self.look.to_coding(self.codec), samples)])?;
        Ok(Some(Cut { at, lasts: end + lasts - at, body }))
    }
}
