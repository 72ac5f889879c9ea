//! VP8-shaped payloads: the payload descriptor (RFC 7741 section 4.2) and a frame header that tells keyframes from others.

/// Cuts a frame into payloads of at most `limit` bytes. With a stamp, the body of every packet starts with it.
#[must_use]
pub fn packetize(picture: u16, keyframe: bool, body: &[u8], limit: usize, stamp: Option<u64>) -> Vec<Vec<u8>> {
    let [high, low] = (picture & 0x7fff).to_be_bytes();
    let stamp = stamp.map(u64::to_be_bytes);
    let mut packets = Vec::new();
    let mut rest = body;
    loop {
        let first = packets.is_empty();
        let mut packet = vec![if first { 0x90 } else { 0x80 }, 0x80, 0x80 | high, low];
        if first && keyframe {
            // A key frame of 640 by 480 (RFC 6386 section 9.1).
            packet.extend_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]);
        } else if first {
            packet.extend_from_slice(&[0x11, 0, 0]);
        }
        packet.extend_from_slice(stamp.as_ref().map_or(&[][..], |stamp| &stamp[..]));
        let (now, later) = rest.split_at(rest.len().min(limit.saturating_sub(packet.len()).max(1)));
        packet.extend_from_slice(now);
        packets.push(packet);
        rest = later;
        if rest.is_empty() {
            return packets;
        }
    }
}

/// What a payload says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// 7 or 15 bits.
    pub picture: Option<u16>,
    /// The first packet of its frame.
    pub starts_frame: bool,
    /// The first packet of a keyframe.
    pub starts_keyframe: bool,
    /// Behind the descriptor and, in a first packet, the frame header.
    pub body: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Reads a payload; `None` when it is too short for what its flags announce.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let flags = *payload.first()?;
        let mut at = 1;
        let mut picture = None;
        if flags & 0x80 != 0 {
            let extension = *payload.get(at)?;
            at += 1;
            if extension & 0x80 != 0 {
                let first = *payload.get(at)?;
                at += 1;
                picture = Some(u16::from(first & 0x7f));
                if first & 0x80 != 0 {
                    picture = Some((u16::from(first & 0x7f) << 8) | u16::from(*payload.get(at)?));
                    at += 1;
                }
            }
            at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
        }
        let starts_frame = flags & 0x10 != 0 && flags & 0x07 == 0;
        let mut body = payload.get(at..)?;
        let mut starts_keyframe = false;
        if starts_frame {
            starts_keyframe = body.first()? & 1 == 0;
            body = body.get(if starts_keyframe { 10 } else { 3 }..)?;
        }
        Some(Self { picture, starts_frame, starts_keyframe, body })
    }
}

/// The stamp of [`packetize`].
#[must_use]
pub fn read_stamp(payload: &[u8]) -> Option<u64> {
    Payload::read(payload)?.body.first_chunk().map(|stamp| u64::from_be_bytes(*stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_back_as_the_frame() {
        let frame: Vec<u8> = (0..5_000u32).map(|at| at.to_le_bytes()[0]).collect();
        for keyframe in [false, true] {
            let packets = packetize(0x1234, keyframe, &frame, 1150, Some(77));
            assert!(packets.len() > 4 && packets.iter().all(|packet| packet.len() <= 1150));
            let mut body = Vec::new();
            for (number, packet) in packets.iter().enumerate() {
                let payload = Payload::read(packet).unwrap();
                assert_eq!(payload.picture, Some(0x1234));
                assert_eq!((payload.starts_frame, payload.starts_keyframe), (number == 0, number == 0 && keyframe));
                assert_eq!(read_stamp(packet), Some(77));
                body.extend_from_slice(&payload.body[8..]);
            }
            assert_eq!(body, frame);
            assert!(Payload::read(&packets[0][..4]).is_none());
        }
    }
}
