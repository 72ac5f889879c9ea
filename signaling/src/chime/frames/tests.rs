//! Every recorded frame of a real client is read, and written again byte for byte.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// A frame as it was recorded.
struct Golden {
    kind: String,
    bytes: Vec<u8>,
    decoded: Value,
}

fn golden() -> Vec<Golden> {
    let lines = include_str!("../../../tests/chime/golden-frames.jsonl").lines();
    lines
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            Golden {
                kind: value["type"].as_str().unwrap().to_owned(),
                bytes: hex::decode(value["hex"].as_str().unwrap()).unwrap(),
                decoded: value["decoded"].clone(),
            }
        })
        .collect()
}

#[test]
fn every_golden_frame_is_read_as_what_it_is_and_written_again_the_same() {
    let frames = golden();
    assert!(frames.len() > 50, "the recording is there");
    for Golden { kind, bytes, decoded } in frames {
        let frame = decode(&bytes).unwrap();
        assert_eq!(frame.kind().unwrap().as_str_name(), kind);
        let timestamp = decoded["timestampMs"].as_str().unwrap();
        assert_eq!(frame.timestamp_ms.to_string(), timestamp, "{kind}");
        assert_eq!(hex::encode(encode(&frame)), hex::encode(&bytes), "{kind}");
    }
}

#[test]
fn presence_survives() {
    let frames = golden();
    let of =
        |kind: &str| frames.iter().filter(|f| f.kind == kind).map(|f| decode(&f.bytes).unwrap()).collect::<Vec<_>>();
    let join = of("JOIN")[0].join.clone().unwrap();
    assert_eq!(join.audio_session_id, Some(3_751_638_962));
    assert_eq!(join.flags, Some(2));
    let index = of("INDEX")[0].index.clone().unwrap();
    assert_eq!((index.at_capacity, index.num_participants), (Some(false), Some(1)));
    let roster = of("AUDIO_STREAM_ID_INFO")[0].audio_stream_id_info.clone().unwrap();
    assert_eq!(roster.streams[0].muted, Some(false), "an explicit false is not an absent one");
    assert_eq!(roster.streams[0].dropped, None);
    let changed = of("AUDIO_STREAM_ID_INFO").into_iter().find_map(|f| {
        let stream = f.audio_stream_id_info.unwrap().streams.into_iter().next().unwrap();
        stream.attendee_id.is_none().then_some(stream)
    });
    assert_eq!(changed.unwrap().muted, Some(true));
    let message = of("DATA_MESSAGE")[1].data_message.clone().unwrap().messages.into_iter().next().unwrap();
    assert_eq!(message.data.unwrap(), b"hello");
    // The recorded server counted in floating point.
    assert_eq!(message.ingest_time_ns, Some(1_795_224_116_080_999_936));
}

#[test]
fn what_is_too_large_or_has_too_many_parts_is_not_built() {
    assert_eq!(decode(&[]), Err(FrameError::Malformed));
    assert_eq!(decode(&vec![5; MAX_FRAME_BYTES + 1]), Err(FrameError::TooLarge));
    let empty = |count: usize| {
        let sub = Subscribe { send_streams: vec![StreamDescriptor::default(); count], ..Subscribe::default() };
        encode(&Frame { sub: Some(sub), ..Frame::new(FrameType::Subscribe, 1) })
    };
    assert!(decode(&empty(300)).is_ok());
    assert_eq!(decode(&empty(20_000)), Err(FrameError::Malformed));
    // The same, hidden in many bodies of one frame.
    let mut many = vec![PREFIX];
    many.extend([0x32, 0x00].repeat(20_000));
    assert_eq!(decode(&many), Err(FrameError::Malformed));
}

#[test]
fn an_unknown_type_is_told_from_a_known_one() {
    let frame = decode(&encode(&Frame { r#type: 99, ..Frame::new(FrameType::Join, 1) })).unwrap();
    assert_eq!(frame.kind(), None);
}

/// Inputs that a fuzzer found worth keeping, and the recorded ones that it begins with.
#[test]
fn the_kept_inputs_are_read_or_refused() {
    let kept = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/frames")).unwrap();
    let count = kept.map(|entry| fuzz(&std::fs::read(entry.unwrap().path()).unwrap())).count();
    assert!(count > 8);
}

proptest! {
    #[test]
    fn noise_is_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz(&data);
    }

    /// Golden frames with a few bytes changed reach deeper than noise.
    #[test]
    fn damaged_frames_are_read_or_refused(which in 0usize..56, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        let mut bytes = golden()[which].bytes.clone();
        for (at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        fuzz(&bytes);
    }
}
