//! VP8 payloads, RFC 7741: where a keyframe starts, and the picture id.

/// The payload descriptor of section 4.2, as far as forwarding needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// First packet of a frame's first partition.
    pub(crate) starts_frame: bool,
    /// First packet of a keyframe.
    pub(crate) starts_keyframe: bool,
    /// Where the picture id begins in the payload, and whether it has 15 bits.
    pub(crate) picture_id: Option<(usize, bool)>,
    /// Where TL0PICIDX stands.
    pub(crate) tl0picidx: Option<usize>,
    /// Temporal layer, and whether the frame builds on the lowest one alone.
    pub(crate) temporal: Option<(u8, bool)>,
    /// Of a keyframe's first packet: width and height.
    pub(crate) size: Option<(u16, u16)>,
}

/// Reads the descriptor; `None` when the payload ends inside it.
pub(crate) fn read(payload: &[u8]) -> Option<Descriptor> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut descriptor = Descriptor { starts_frame: first & 0x10 != 0 && first & 0x07 == 0, ..Descriptor::default() };
    if first & 0x80 != 0 {
        let bits = *payload.get(at)?;
        at += 1;
        if bits & 0x80 != 0 {
            let long = *payload.get(at)? & 0x80 != 0;
            descriptor.picture_id = Some((at, long));
            at += if long { 2 } else { 1 };
        }
        if bits & 0x40 != 0 {
            descriptor.tl0picidx = Some(at);
            at += 1;
        }
        if bits & 0x30 != 0 {
            let layer = *payload.get(at)?;
            descriptor.temporal = (bits & 0x20 != 0).then_some((layer >> 6, layer & 0x20 != 0));
            at += 1;
        }
    }
    // Section 4.3: the inverse keyframe bit is the lowest of the frame's first byte.
    let frame = *payload.get(at)?;
    descriptor.starts_keyframe = descriptor.starts_frame && frame & 1 == 0;
    if descriptor.starts_keyframe
        && let Some([_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1]) = payload.get(at..at + 10)
    {
        // RFC 6386 section 9.1: 14 bits each, above them how to scale.
        descriptor.size = Some((u16::from_le_bytes([*w0, *w1]) & 0x3fff, u16::from_le_bytes([*h0, *h1]) & 0x3fff));
    }
    Some(descriptor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keyframes_are_told_from_others() {
        assert!(read(&[0x90, 0x80, 0x81, 0x02, 0x10]).unwrap().starts_keyframe);
        assert!(!read(&[0x90, 0x80, 0x81, 0x02, 0x11]).unwrap().starts_keyframe);
        assert!(!read(&[0x80, 0x80, 0x81, 0x02, 0x10]).unwrap().starts_keyframe);
        assert!(read(&[0x10, 0x00]).unwrap().starts_keyframe);
        assert!(!read(&[0x11, 0x00]).unwrap().starts_keyframe);
        assert_eq!(read(&[0x90, 0xe0, 0x81]), None);
        let all = read(&[0x90, 0xe0, 0x05, 0x09, 0x20, 0x00]).unwrap();
        assert_eq!((all.picture_id, all.tl0picidx, all.starts_keyframe), (Some((2, false)), Some(3), true));
        assert_eq!(all.temporal, Some((0, true)));
        assert_eq!(read(&[0x90, 0x10, 0xff, 0x01]).unwrap().temporal, None);
        let key = [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x01];
        assert_eq!(read(&key).unwrap().size, Some((640, 360)));
        assert_eq!(read(&key[..10]).unwrap().size, None);
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(payload in prop::collection::vec(any::<u8>(), 0..12)) {
            let _descriptor = read(&payload);
        }
    }
}
