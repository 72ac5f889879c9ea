//! One RTP packet of a Tap, as far as a recording needs it (RFC 3550 section 5.1).

use bytes::Bytes;

/// Microseconds since the recording's zero; of an arrival or of a place on the timeline.
pub type Micros = i64;

/// The parts of an RTP packet, and when it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in the codec's clock.
    pub timestamp: u32,
    /// Last packet of a picture; first after silence in audio.
    pub marker: bool,
    /// Codec bytes, without padding. Empty for a packet of padding alone.
    pub payload: Bytes,
    /// When it was read from the socket.
    pub arrival: Micros,
}

impl Packet {
    /// Reads a packet; `None` when it is none.
    #[must_use]
    pub fn parse(bytes: &Bytes, arrival: Micros) -> Option<Self> {
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *bytes.first_chunk::<12>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut begin = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let words = bytes.get(begin + 2..begin + 4)?;
            begin += 4 + 4 * usize::from(u16::from_be_bytes(words.try_into().ok()?));
        }
        let padding = if first & 0x20 != 0 { usize::from(*bytes.last()?) } else { 0 };
        let end = bytes.len().checked_sub(padding).filter(|end| *end >= begin)?;
        if first & 0x20 != 0 && padding == 0 {
            return None;
        }
        Some(Self {
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            marker: second & 0x80 != 0,
            payload: bytes.slice(begin..end),
            arrival,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extensions_and_padding_are_no_payload() {
        let mut bytes = vec![0xb1, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1];
        bytes.extend([0, 0, 0, 5]); // one CSRC
        bytes.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]); // one word of extension
        bytes.extend(b"abc");
        bytes.extend([0, 0, 3]); // padding
        let packet = Packet::parse(&bytes.into(), 4).unwrap();
        assert_eq!(&packet.payload[..], b"abc");
        assert!(packet.marker && packet.sequence == 7 && packet.timestamp == 9 && packet.ssrc == 1);
        let padding = Bytes::from(vec![0xa0, 0x60, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 4]);
        assert!(Packet::parse(&padding, 0).unwrap().payload.is_empty());
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(Packet::parse(&bytes.into(), 0));
        }
    }
}
