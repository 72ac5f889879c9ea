//! A packet on its way to a browser, put together but for its number and its encryption: it may have to wait.

use bytes::Bytes;

use crate::downlink::Sort;
use crate::history::Patch;
use crate::rtp::packet::NewHeader;

/// Everything that is needed to write the packet, whatever becomes of its slot meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct PacketOut {
    pub(crate) sort: Sort,
    pub(crate) header: NewHeader,
    /// The id under which the receiver wants transport-wide numbers.
    pub(crate) transport_id: Option<u8>,
    /// The dependency descriptor, under the receiver's id.
    pub(crate) dependency: Option<(u8, Bytes)>,
    /// Of a repair: the number of the original, which stands in front of the payload.
    pub(crate) original: Option<u16>,
    pub(crate) payload: Bytes,
    pub(crate) patch: Option<Patch>,
}

impl PacketOut {
    /// Appends what comes behind header and extensions.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.header.padding > 0 {
            // RFC 3550 section 5.1: the last byte counts them all.
            out.resize(out.len() + usize::from(self.header.padding) - 1, 0);
            out.push(self.header.padding);
            return;
        }
        if let Some(original) = self.original {
            out.extend_from_slice(&original.to_be_bytes());
        }
        let at = out.len();
        out.extend_from_slice(&self.payload);
        if let (Some(patch), Some(copy)) = (self.patch, out.get_mut(at..)) {
            patch.apply(copy);
        }
    }
}
