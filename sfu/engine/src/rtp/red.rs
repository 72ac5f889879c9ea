//! Redundant audio, RFC 2198: a packet with the frames of earlier packets in front of its own.

use std::ops::Range;

/// Most blocks of one payload. Browsers write one or two and read 32; more headers than this are not walked.
const BLOCKS: usize = 32;
/// How many packets back a block may reach to be of use here: what is older would be played too late.
pub(crate) const REACH: usize = 2;
/// A block's length has 10 bits, its distance in time 14.
pub(crate) const MOST_BYTES: usize = (1 << 10) - 1;
pub(crate) const MOST_OFFSET: u32 = (1 << 14) - 1;

/// An earlier frame inside a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its timestamp is the packet's less this.
    pub(crate) offset: u32,
    /// Where its bytes are.
    pub(crate) at: Range<usize>,
}

/// Where things are in a payload; all ranges lie inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Red {
    /// Of all blocks: a payload that mixes codecs is none of ours.
    pub(crate) payload_type: u8,
    /// The packet's own frame.
    pub(crate) primary: Range<usize>,
    /// The frames of the packet before, and of that before it.
    pub(crate) near: [Option<Block>; REACH],
    /// How many packets back the payload reaches.
    pub(crate) count: usize,
}

/// Reads a payload; `None` when lengths do not fit together or blocks are of different codecs.
pub(crate) fn read(payload: &[u8]) -> Option<Red> {
    // Headers first, then the blocks in the same order, oldest first: the first walk finds where they begin.
    let mut count = 0;
    let mut rest = payload;
    let payload_type = loop {
        let (&first, after) = rest.split_first()?;
        if first & 0x80 == 0 {
            break first;
        }
        let (_, after) = after.split_first_chunk::<3>()?;
        count += 1;
        if count > BLOCKS {
            return None;
        }
        rest = after;
    };
    let mut at = count * 4 + 1;
    let mut near = [const { None }; REACH];
    for (index, header) in payload.chunks_exact(4).take(count).enumerate() {
        let &[first, a, b, c] = header else { return None };
        if first & 0x7f != payload_type {
            return None;
        }
        let length = usize::from(b & 3) << 8 | usize::from(c);
        let end = at + length;
        payload.get(at..end)?;
        if let Some(place) = near.get_mut(count - 1 - index)
            && length > 0
        {
            *place = Some(Block { offset: u32::from(a) << 6 | u32::from(b >> 2), at: at..end });
        }
        at = end;
    }
    Some(Red { payload_type, primary: at..payload.len(), near, count })
}

/// Names the codec anew in a payload that was read: receivers number their payload types themselves.
pub(crate) fn rename(payload: &mut [u8], payload_type: u8) {
    for header in payload.chunks_mut(4) {
        let Some(first) = header.first_mut() else { return };
        *first = *first & 0x80 | payload_type & 0x7f;
        if *first & 0x80 == 0 {
            return;
        }
    }
}

/// True when a frame of so many bytes, so long before, can stand in a block.
pub(crate) fn fits(bytes: usize, offset: u32) -> bool {
    (1..=MOST_BYTES).contains(&bytes) && (1..=MOST_OFFSET).contains(&offset)
}

/// Appends a payload: earlier frames with their distances in time, oldest first, each of which [`fits`], then the own one.
pub(crate) fn write<'a>(
    out: &mut Vec<u8>,
    payload_type: u8,
    earlier: impl Iterator<Item = (u32, &'a [u8])> + Clone,
    primary: &[u8],
) {
    let payload_type = payload_type & 0x7f;
    for (offset, bytes) in earlier.clone() {
        let length = u32::try_from(bytes.len() & MOST_BYTES).unwrap_or_default();
        let word = (offset & MOST_OFFSET) << 10 | length;
        let [_, a, b, c] = word.to_be_bytes();
        out.extend_from_slice(&[0x80 | payload_type, a, b, c]);
    }
    out.push(payload_type);
    for (_, bytes) in earlier {
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(primary);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_chromium_is_read() {
        // One block of three bytes from 960 ticks before, then four bytes of its own.
        let payload = [0x80 | 111, 0x0f, 0x00, 0x03, 111, 1, 2, 3, 4, 5, 6, 7];
        let red = read(&payload).unwrap();
        assert_eq!((red.payload_type, red.count, red.primary), (111, 1, 8..12));
        assert_eq!(red.near, [Some(Block { offset: 960, at: 5..8 }), None]);
    }

    #[test]
    fn the_first_packet_has_no_block() {
        let red = read(&[111, 9, 9]).unwrap();
        assert_eq!((red.count, red.primary, red.near), (0, 1..3, [None, None]));
    }

    #[test]
    fn only_the_nearest_two_are_kept() {
        let mut out = Vec::new();
        let frames: Vec<Vec<u8>> = (1..=5u8).map(|n| vec![n; usize::from(n)]).collect();
        let earlier = frames.iter().enumerate().map(|(i, frame)| (960 * (5 - u32::try_from(i).unwrap()), &frame[..]));
        write(&mut out, 63, earlier, b"own");
        let red = read(&out).unwrap();
        assert_eq!((red.count, &out[red.primary]), (5, &b"own"[..]));
        let near = red.near.map(|block| block.map(|block| (block.offset, out[block.at].to_vec())));
        assert_eq!(near, [Some((960, vec![5; 5])), Some((1920, vec![4; 4]))]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for payload in [
            &[][..],
            &[0x80 | 111],
            &[0x80 | 111, 0, 0],
            &[0x80 | 111, 0x0f, 0, 3],
            &[0x80 | 111, 0x0f, 0, 3, 111, 1, 2],
            &[0x80 | 111, 0x0f, 0, 1, 96, 1, 2],
        ] {
            assert_eq!(read(payload), None, "{payload:?}");
        }
        let mut many = [0x80 | 111, 0x0f, 0, 0].repeat(BLOCKS + 1);
        many.push(111);
        assert_eq!(read(&many), None);
    }

    proptest! {
        #[test]
        fn written_reads_back(
            frames in prop::collection::vec((1u32..=MOST_OFFSET, prop::collection::vec(any::<u8>(), 1..=60)), 0..=REACH),
            primary in prop::collection::vec(any::<u8>(), 0..100),
            (payload_type, other) in (0u8..128, 0u8..128),
        ) {
            let mut out = vec![7; 5];
            write(&mut out, payload_type, frames.iter().map(|(offset, frame)| (*offset, &frame[..])), &primary);
            let mut payload = out.split_off(5);
            for expected in [payload_type, other] {
                rename(&mut payload, expected);
                let red = read(&payload).unwrap();
                prop_assert_eq!((red.payload_type, red.count), (expected, frames.len()));
                prop_assert_eq!(&payload[red.primary], &primary[..]);
                for (block, (offset, frame)) in red.near.iter().flatten().zip(frames.iter().rev()) {
                    prop_assert_eq!((block.offset, &payload[block.at.clone()]), (*offset, &frame[..]));
                }
            }
        }

        #[test]
        fn any_bytes_give_ranges_inside_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(red) = read(&bytes) {
                prop_assert!(bytes.get(red.primary.clone()).is_some());
                for block in red.near.iter().flatten() {
                    prop_assert!(block.at.end <= red.primary.start && bytes.get(block.at.clone()).is_some());
                }
            }
        }
    }
}
