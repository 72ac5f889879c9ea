//! Frames to one small MP4 file.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::Result;
use crate::frame::Frame;
use crate::mux::{Coding, Container, Entry, MuxError, Plan, Stream};
use crate::packet::Micros;

/// One frame on the file's own timeline.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Micros,
    /// Of the last one; the others last until the next.
    pub(super) lasts: Micros,
    pub(super) key: bool,
    pub(super) data: Bytes,
}

/// A whole file of these streams in this order.
pub(super) fn write(streams: Vec<(Coding, Vec<Sample>)>) -> Result<Bytes> {
    let mut planned = Vec::new();
    let mut data: Vec<Vec<Bytes>> = Vec::new();
    for (coding, samples) in streams {
        let mut entries = Vec::with_capacity(samples.len());
        for (index, sample) in samples.iter().enumerate() {
            let duration = samples.get(index + 1).map_or(sample.lasts, |next| next.at - sample.at);
            let size = u32::try_from(sample.data.len()).map_err(|_| MuxError::Size)?;
            entries.push(Entry { at: sample.at, duration, size, key: sample.key });
        }
        planned.push(Stream { coding, entries });
        data.push(samples.into_iter().map(|sample| sample.data).collect());
    }
    let plan = Plan::in_order(planned);
    let mut body = BytesMut::new();
    body.put_slice(&plan.head(Container::Mp4)?);
    for (number, chunk) in plan.chunks.iter().enumerate() {
        let payload = |(stream, frame): &(usize, usize)| data.get(*stream)?.get(*frame).cloned();
        let payloads: Vec<Bytes> = chunk.items.iter().filter_map(payload).collect();
        body.put_slice(&plan.chunk(Container::Mp4, number, &payloads)?);
    }
    Ok(body.freeze())
}

/// What the header of a file says of its pictures: of the keyframe that it begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    size: (u16, u16),
    sets: Option<(Vec<u8>, Vec<u8>)>,
}

impl Look {
    /// Takes what a keyframe says.
    pub(super) fn note(&mut self, frame: &Frame) {
        if frame.key {
            self.size = frame.size.unwrap_or(self.size);
            self.sets = crate::mux::parameter_sets(&frame.data).or_else(|| self.sets.take());
        }
    }

    pub(super) fn to_coding(&self, codec: wire::control::Codec) -> Coding {
        Coding::Video { codec, width: self.size.0, height: self.size.1, sets: self.sets.clone() }
    }
}
