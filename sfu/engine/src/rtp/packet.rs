//! The RTP header, RFC 3550 section 5.1, as a view: where things are in the packet's bytes.

use std::ops::Range;

/// A read header. The ranges lie inside the packet that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// 0 to 127.
    pub(crate) payload_type: u8,
    /// End of a video frame, start of a talk spurt.
    pub(crate) marker: bool,
    /// As on the wire.
    pub(crate) sequence: u16,
    /// In units of the codec's clock rate.
    pub(crate) timestamp: u32,
    /// The source.
    pub(crate) ssrc: u32,
    /// The extension block's profile, when there is a block.
    pub(crate) profile: Option<u16>,
    /// The extension block's elements.
    pub(crate) extension: Range<usize>,
    /// The payload without padding; empty when there is nothing but padding.
    pub(crate) payload: Range<usize>,
}

/// Length of the fixed header.
pub(crate) const FIXED: usize = 12;

/// Reads a decrypted packet; `None` when lengths do not fit together.
pub(crate) fn read(packet: &[u8]) -> Option<Header> {
    let (fixed, _) = packet.split_first_chunk::<FIXED>()?;
    let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
    if first >> 6 != 2 {
        return None;
    }
    let mut at = FIXED + usize::from(first & 0x0f) * 4;
    let mut profile = None;
    let mut extension = at..at;
    if first & 0x10 != 0 {
        let block = packet.get(at..at + 4)?;
        let (p, len) = (word(block, 0)?, word(block, 2)?);
        at += 4;
        let end = at + usize::from(len) * 4;
        packet.get(at..end)?;
        profile = Some(p);
        extension = at..end;
        at = end;
    }
    let mut end = packet.len();
    if first & 0x20 != 0 {
        let padding = usize::from(*packet.last()?);
        end = end.checked_sub(padding)?;
        if padding == 0 {
            return None;
        }
    }
    if end < at {
        return None;
    }
    Some(Header {
        payload_type: second & 0x7f,
        marker: second & 0x80 != 0,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        profile,
        extension,
        payload: at..end,
    })
}

/// Two bytes in network order.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Four bytes in network order.
pub(crate) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What goes into a header that we write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewHeader {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) has_extension: bool,
    /// Bytes of padding, which the caller appends; 0 for none.
    pub(crate) padding: u8,
}

/// Appends the fixed header: no contributing sources.
pub(crate) fn write(out: &mut Vec<u8>, header: &NewHeader) {
    out.push(0x80 | u8::from(header.padding > 0) << 5 | u8::from(header.has_extension) << 4);
    out.push(u8::from(header.marker) << 7 | header.payload_type & 0x7f);
    out.extend_from_slice(&header.sequence.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&header.ssrc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written_reads_back() {
        let mut out = Vec::new();
        let new = NewHeader {
            payload_type: 111,
            marker: true,
            sequence: 7,
            timestamp: 0x0102_0304,
            ssrc: 9,
            has_extension: false,
            padding: 0,
        };
        write(&mut out, &new);
        out.extend_from_slice(b"abc");
        let header = read(&out).unwrap();
        assert_eq!((header.payload_type, header.marker, header.sequence), (111, true, 7));
        assert_eq!((header.timestamp, header.ssrc, header.payload), (0x0102_0304, 9, 12..15));
    }

    #[test]
    fn padding_only_has_an_empty_payload_and_too_much_padding_is_no_packet() {
        let mut packet = vec![0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4];
        assert!(read(&packet).unwrap().payload.is_empty());
        *packet.last_mut().unwrap() = 5;
        assert!(read(&packet).is_none());
        *packet.last_mut().unwrap() = 0;
        assert!(read(&packet).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_give_ranges_inside_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(header) = read(&bytes) {
                prop_assert!(bytes.get(header.payload.clone()).is_some());
                prop_assert!(bytes.get(header.extension).is_some());
            }
        }
    }
}
