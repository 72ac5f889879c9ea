//! VP9 payloads, RFC 9628: where a keyframe starts, the picture id, and the layers.

/// The payload descriptor of section 4.2, as far as forwarding needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// First packet of a layer frame.
    pub(crate) starts_frame: bool,
    /// Last packet of a layer frame.
    pub(crate) ends_frame: bool,
    /// Builds on an earlier picture.
    pub(crate) is_predicted: bool,
    /// Builds on the spatial layer below in the same picture.
    pub(crate) is_layered: bool,
    /// Later pictures of higher temporal layers build on nothing before this one but on its layer and those below.
    pub(crate) is_switching_point: bool,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Where the picture id begins in the payload, and whether it has 15 bits.
    pub(crate) picture_id: Option<(usize, bool)>,
    /// Where TL0PICIDX stands.
    pub(crate) tl0picidx: Option<usize>,
    /// Width and height of the largest layer, where the scalability structure tells them.
    pub(crate) size: Option<(u16, u16)>,
}

impl Descriptor {
    /// First packet of a keyframe.
    pub(crate) const fn starts_keyframe(&self) -> bool {
        self.starts_frame && !self.is_predicted && self.spatial == 0 && !self.is_layered
    }
}

/// Reads the descriptor; `None` when the payload ends inside it.
pub(crate) fn read(payload: &[u8]) -> Option<Descriptor> {
    let first = *payload.first()?;
    let is_flexible = first & 0x10 != 0;
    let mut at = 1;
    let mut descriptor = Descriptor {
        starts_frame: first & 0x08 != 0,
        ends_frame: first & 0x04 != 0,
        is_predicted: first & 0x40 != 0,
        ..Descriptor::default()
    };
    if first & 0x80 != 0 {
        let is_long = *payload.get(at)? & 0x80 != 0;
        descriptor.picture_id = Some((at, is_long));
        at += if is_long { 2 } else { 1 };
    }
    if first & 0x20 != 0 {
        let layer = *payload.get(at)?;
        at += 1;
        descriptor.temporal = layer >> 5;
        descriptor.is_switching_point = layer & 0x10 != 0;
        descriptor.spatial = layer >> 1 & 7;
        descriptor.is_layered = layer & 1 != 0;
        if !is_flexible {
            descriptor.tl0picidx = Some(at);
            at += 1;
        }
    }
    if is_flexible && descriptor.is_predicted {
        for _ in 0..3 {
            let more = *payload.get(at)? & 1 != 0;
            at += 1;
            if !more {
                break;
            }
        }
    }
    if first & 0x02 != 0 {
        let structure = *payload.get(at)?;
        at += 1;
        if structure & 0x10 != 0 {
            for _ in 0..=structure >> 5 {
                let &[w1, w0, h1, h0] = payload.get(at..)?.first_chunk()?;
                descriptor.size = Some((u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0])));
                at += 4;
            }
        }
        if structure & 0x08 != 0 {
            let pictures = *payload.get(at)?;
            at += 1;
            for _ in 0..pictures {
                at += 1 + usize::from(*payload.get(at)? >> 2 & 3);
            }
        }
    }
    // The frame itself begins here; without a byte of it the packet is broken.
    payload.get(at)?;
    Some(descriptor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_keyframe_with_its_structure_is_read() {
        // I L B V, 15 bits of picture id, TL0PICIDX, two spatial layers with sizes, one picture in the group.
        let key = [
            0xaa, 0x80, 0x07, 0x00, 0x09, 0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x01, 0x14, 0x01, 0x82,
        ];
        let read = read(&key).unwrap();
        assert!(read.starts_keyframe() && !read.ends_frame);
        assert_eq!((read.picture_id, read.tl0picidx, read.size), (Some((1, true)), Some(4), Some((640, 360))));
        for end in 0..key.len() {
            assert!(super::read(&key[..end]).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn layers_are_read_in_both_modes() {
        let plain = read(&[0xec, 0x85, 0x05, 0x53, 0x09, 0x82]).unwrap();
        assert_eq!((plain.temporal, plain.spatial, plain.is_switching_point, plain.is_layered), (2, 1, true, true));
        assert!(plain.starts_frame && plain.ends_frame && plain.is_predicted && !plain.starts_keyframe());
        let flexible = read(&[0xfc, 0x05, 0x40, 0x03, 0x04, 0x82]).unwrap();
        assert_eq!((flexible.temporal, flexible.spatial, flexible.tl0picidx), (2, 0, None));
        assert_eq!(flexible.picture_id, Some((1, false)));
        // The upper layer of a keyframe is no place to begin.
        assert!(!read(&[0xa8, 0x05, 0x03, 0x09, 0x82]).unwrap().starts_keyframe());
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(payload in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(descriptor) = read(&payload) {
                if let Some((at, _)) = descriptor.picture_id {
                    prop_assert!(at < payload.len());
                }
                prop_assert!(descriptor.tl0picidx.is_none_or(|at| at < payload.len()));
            }
        }
    }
}
