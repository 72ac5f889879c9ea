//! The binary frames of Chime's browser protocol: one type byte, then one protobuf message of `proto/chime.proto`.

use prost::Message;

/// The messages, as the build makes them of the schema.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    clippy::allow_attributes_without_reason,
    reason = "generated; the schema has the comments"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/chime.rs"));
}

pub use generated::*;

/// The type byte that we send, and the one that clients send.
pub const PREFIX: u8 = 0x05;

/// The longest frame that is read, in bytes: the longest offer and what comes beside it.
pub const MAX_FRAME_BYTES: usize = wire::control::MAX_SDP_BYTES + 16 * 1024;

/// The most fields in one body: more than the largest meeting has streams. An empty message takes two bytes on the wire and a
/// hundred times that in memory, so this is counted before anything is built.
const MAX_FIELDS: usize = 1024;

/// Why a frame was not taken. It says nothing of the content, so it may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Over [`MAX_FRAME_BYTES`].
    #[error("the frame is too large")]
    TooLarge,
    /// Not one type byte and one message, or one with too many parts.
    #[error("the frame cannot be read")]
    Malformed,
}

/// Reads one frame. Whatever the type byte says, a message follows it, as the client itself sees it.
///
/// # Errors
/// When the frame is too large or no message.
pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge);
    }
    let (_, message) = bytes.split_first().ok_or(FrameError::Malformed)?;
    if !is_modest(message) {
        return Err(FrameError::Malformed);
    }
    Frame::decode(message).map_err(|_| FrameError::Malformed)
}

/// Writes one frame.
///
/// # Panics
/// Never: there is room in a vector.
#[must_use]
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + frame.encoded_len());
    bytes.push(PREFIX);
    frame.encode(&mut bytes).expect("a vector grows as it must");
    bytes
}

impl Frame {
    /// A frame without a body.
    #[must_use]
    pub fn new(kind: FrameType, timestamp_ms: u64) -> Self {
        Self { timestamp_ms, r#type: kind.into(), ..Self::default() }
    }

    /// Of which type it is, if we know it.
    #[must_use]
    pub fn kind(&self) -> Option<FrameType> {
        FrameType::try_from(self.r#type).ok()
    }
}

/// True when neither the frame nor any of its bodies has too many fields.
fn is_modest(message: &[u8]) -> bool {
    let mut fields = Fields { rest: message };
    for count in 0.. {
        match fields.next() {
            Err(()) => return false,
            Ok(None) => return true,
            Ok(Some(_)) if count >= MAX_FIELDS => return false,
            Ok(Some(body)) => {
                // A text looks like anything here, and then the count ends early; texts have no parts to be built.
                let mut inner = Fields { rest: body };
                if (0..).take_while(|_| matches!(inner.next(), Ok(Some(_)))).nth(MAX_FIELDS).is_some() {
                    return false;
                }
            }
        }
    }
    true
}

/// Walks over the fields of a message without building any.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The content of the next field; empty for one that is a number.
    fn next(&mut self) -> Result<Option<&'a [u8]>, ()> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        match self.varint()? & 7 {
            0 => self.varint().map(|_| Some(&[][..])),
            1 => self.skip(8).map(|_| Some(&[][..])),
            2 => {
                let length = self.varint()?;
                self.skip(length).map(Some)
            }
            5 => self.skip(4).map(|_| Some(&[][..])),
            _ => Err(()),
        }
    }

    fn varint(&mut self) -> Result<usize, ()> {
        prost::decode_length_delimiter(&mut self.rest).map_err(|_| ())
    }

    fn skip(&mut self, length: usize) -> Result<&'a [u8], ()> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(())?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The door of the fuzz target: whatever comes, it is read or refused, and what is read can be written and read again.
///
/// # Panics
/// When what was written is not read as the same, which is a defect.
pub fn fuzz(data: &[u8]) {
    let Ok(frame) = decode(data) else { return };
    let written = encode(&frame);
    // Packed numbers grow when they are written apart, and so may what is near the bound.
    if let Ok(again) = decode(&written) {
        assert_eq!(encode(&again), written, "what is written reads as itself");
    } else {
        assert!(written.len() > MAX_FRAME_BYTES || !is_modest(written.get(1..).unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests;
