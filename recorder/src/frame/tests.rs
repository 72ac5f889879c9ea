use super::*;
use crate::packet::Packet;
use proptest::prelude::*;

fn ordered(timestamp: u32, marker: bool, payload: &[u8], missing: u32) -> Ordered {
    let payload = Bytes::copy_from_slice(payload);
    let packet = Packet { ssrc: 1, sequence: 0, timestamp, marker, payload, arrival: 0 };
    Ordered { packet, missing, restarted: false }
}

const KEY: [u8; 10] = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00];

fn vp8(begins: bool, body: &[u8]) -> Vec<u8> {
    // Extended descriptor with a 15-bit picture id, as browsers send it.
    [&[0x80 | u8::from(begins) << 4, 0x80, 0x81, 0x02], body].concat()
}

#[test]
fn vp8_frames_come_whole_or_not_at_all() {
    let mut framer = Framer::new(Codec::Vp8);
    assert_eq!(framer.push(&ordered(1, true, &vp8(true, &[1, 2]), 0), 0), None, "nothing before a keyframe");
    assert_eq!(framer.push(&ordered(2, false, &vp8(true, &KEY), 0), 10), None);
    assert_eq!(framer.push(&ordered(2, false, &[], 0), 11), None, "padding");
    let frame = framer.push(&ordered(2, true, &vp8(false, &[7]), 0), 12).unwrap();
    assert!(frame.key && frame.size == Some((320, 180)) && frame.at == 10);
    assert_eq!(frame.data[..], [&KEY[..], &[7]].concat());
    // A lost packet inside a frame: that frame and those after it wait for a keyframe.
    assert_eq!(framer.push(&ordered(3, false, &vp8(true, &[1]), 0), 20), None);
    assert_eq!(framer.push(&ordered(3, true, &vp8(false, &[1]), 1), 20), None);
    assert_eq!(framer.push(&ordered(4, true, &vp8(true, &[1]), 0), 30), None);
    let frame = framer.push(&ordered(5, true, &vp8(true, &KEY), 0), 40).unwrap();
    assert_eq!((frame.missing, frame.at), (1, 40));
    // A lost frame right before a whole keyframe costs only itself.
    assert!(framer.push(&ordered(7, true, &vp8(true, &KEY), 3), 50).is_some());
    // Without a keyframe pictures go on after a while.
    assert_eq!(framer.push(&ordered(9, true, &vp8(true, &[1]), 2), 60), None);
    assert!(framer.push(&ordered(10, true, &vp8(true, &[1]), 0), 60 + KEYFRAME_PATIENCE).is_some());
}

#[test]
fn h264_units_get_lengths_and_parameter_sets() {
    let mut framer = Framer::new(Codec::H264);
    let sps = [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x17, 0xfc, 0xb8];
    let pps = [0x68, 0xce, 0x3c, 0x80];
    let stap = [&[24, 0, 11][..], &sps, &[0, 4], &pps].concat();
    assert_eq!(framer.push(&ordered(1, false, &stap, 0), 5), None);
    assert_eq!(framer.push(&ordered(1, false, &[0x7c, 0x85, 1, 2], 0), 5), None);
    let frame = framer.push(&ordered(1, true, &[0x7c, 0x45, 3], 0), 5).unwrap();
    assert!(frame.key);
    let expected = [&[0, 0, 0, 11][..], &sps, &[0, 0, 0, 4], &pps, &[0, 0, 0, 4, 0x65, 1, 2, 3]].concat();
    assert_eq!(frame.data[..], expected);
    let frame = framer.push(&ordered(2, true, &[0x41, 9], 0), 6).unwrap();
    assert_eq!((frame.key, &frame.data[..]), (false, &[0, 0, 0, 2, 0x41, 9][..]));
    // A later keyframe without sets gets the known ones.
    let frame = framer.push(&ordered(3, true, &[0x65, 9], 0), 7).unwrap();
    assert_eq!(frame.data[..4], [0, 0, 0, 11]);
    // A hole right before: where the picture began is unknown.
    assert_eq!(framer.push(&ordered(4, true, &[0x65, 9], 1), 8), None);
}

#[test]
fn opus_durations() {
    assert_eq!(opus_samples(&[0x78, 0]), Some(960));
    assert_eq!(opus_samples(&[0xd8, 0xff, 0xfe]), Some(960));
    assert_eq!(opus_samples(&[0x7b, 0x83]), Some(2880));
    assert_eq!(opus_samples(&[0x7b, 0x3f]), None);
    assert_eq!(opus_samples(&[]), None);
}

proptest! {
    #[test]
    fn noise_never_panics(
        h264: bool,
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>(), 0u32..3, 0u32..2), 0..60)
    ) {
        let mut framer = Framer::new(if h264 { Codec::H264 } else { Codec::Vp8 });
        for (payload, marker, timestamp, missing) in packets {
            drop(framer.push(&ordered(timestamp, marker, &payload, missing), 0));
        }
    }
}

/// A keyframe of 640 by 360: uncompressed header of profile 0.
const VP9_KEY: [u8; 10] = [0x82, 0x49, 0x83, 0x42, 0x20, 0x27, 0xf0, 0x16, 0x70, 0x55];

#[test]
fn vp9_frames_lose_their_descriptors_and_layers_become_a_superframe() {
    let mut framer = Framer::new(Codec::Vp9);
    // I L P B E in this order of bits from the top: 0x80 0x20 0x40 0x08 0x04.
    let plain = |flags: u8, body: &[u8]| [&[0x80 | flags, 0x81, 0x02][..], body].concat();
    assert_eq!(framer.push(&ordered(1, true, &plain(0x4c, &[0x86, 1]), 0), 0), None, "nothing before a keyframe");
    assert_eq!(framer.push(&ordered(2, false, &plain(0x08, &VP9_KEY), 0), 10), None);
    let frame = framer.push(&ordered(2, true, &plain(0x04, &[7]), 0), 12).unwrap();
    assert!(frame.key && frame.size == Some((640, 360)));
    assert_eq!(frame.data[..], [&VP9_KEY[..], &[7]].concat());
    let frame = framer.push(&ordered(3, true, &plain(0x4c, &[0x86, 1, 2]), 0), 20).unwrap();
    assert!(!frame.key && frame.data[..] == [0x86, 1, 2]);
    // Two spatial layers: the lower with the structure of both sizes, the upper built on it.
    let lower = [&[0xae, 0x81, 0x02, 0x00, 0x05, 0x30, 2, 128, 1, 104, 5, 0, 2, 208][..], &VP9_KEY].concat();
    let upper = [&[0xac, 0x81, 0x02, 0x03, 0x05][..], &[0x86, 9, 9]].concat();
    assert_eq!(framer.push(&ordered(4, false, &lower, 0), 30), None);
    let frame = framer.push(&ordered(4, true, &upper, 0), 30).unwrap();
    assert!(frame.key && frame.size == Some((1280, 720)));
    let index = [0xd9, 10, 0, 0, 0, 3, 0, 0, 0, 0xd9];
    assert_eq!(frame.data[..], [&VP9_KEY[..], &[0x86, 9, 9], &index].concat());
    // A picture whose layer frame did not end is torn.
    assert_eq!(framer.push(&ordered(5, true, &plain(0x48, &[0x86]), 0), 40), None);
}

proptest! {
    #[test]
    fn any_vp9_payload_is_survived(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)) {
        let mut framer = Framer::new(Codec::Vp9);
        for (at, payload) in (0i64..).zip(payloads) {
            let _frame = framer.push(&ordered(1, at % 2 == 1, &payload, 0), at);
        }
    }
}
