use super::*;

const CODEC: u8 = 109;

fn frame(n: u8) -> Bytes {
    Bytes::from(vec![n; usize::from(n) + 1])
}

fn reach(wanted: usize, most: usize) -> Reach {
    Reach { wanted, most }
}

/// What leaves of the `n`th frame, as bytes.
fn leaves(past: &mut Past, n: u8, reach: Reach, unwrapped: Option<&Unwrapped>) -> (bool, Vec<u8>) {
    let payload = frame(n);
    let dress = past.dress((u32::from(n) * 960, &payload), CODEC, reach, unwrapped);
    let header = NewHeader {
        payload_type: 0,
        marker: false,
        sequence: 0,
        timestamp: 0,
        ssrc: 0,
        has_extension: false,
        padding: 0,
    };
    let is_red = !matches!(dress, Dress::Plain);
    let mut out = vec![9, 9];
    SoundOut { header, transport_id: None, audio_level: None, payload, dress }.write(&mut out);
    (is_red, out.split_off(2))
}

fn read(payload: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let red = red::read(payload).unwrap();
    assert_eq!(red.payload_type, CODEC);
    let blocks = red.near.into_iter().flatten().map(|block| (block.offset, payload[block.at].to_vec()));
    blocks.chain([(0, payload[red.primary].to_vec())]).collect()
}

#[test]
fn frames_that_left_are_said_again_as_far_back_as_is_owed() {
    let mut past = Past::default();
    assert_eq!(leaves(&mut past, 1, reach(0, 2), None), (false, frame(1).to_vec()));
    assert!(!leaves(&mut past, 2, reach(1, 2), None).0, "nothing was kept before");
    let (_, three) = leaves(&mut past, 3, reach(1, 2), None);
    assert_eq!(read(&three), [(960, frame(2).to_vec()), (0, frame(3).to_vec())]);
    let (_, four) = leaves(&mut past, 4, reach(2, 2), None);
    assert_eq!(read(&four), [(960, frame(3).to_vec()), (1920, frame(2).to_vec()), (0, frame(4).to_vec())]);
    let (_, five) = leaves(&mut past, 5, reach(2, 1), None);
    assert_eq!(read(&five).len(), 2, "no more than fits");
    assert!(!leaves(&mut past, 6, reach(2, 0), None).0);
    assert_eq!(past.take_amount(), (6, 2 + 3 + 4 + 5 + 6 + 7));
}

#[test]
fn nothing_of_before_is_said_after_it_was_forgotten() {
    let mut past = Past::default();
    leaves(&mut past, 1, reach(2, 2), None);
    past.forget();
    assert!(!leaves(&mut past, 2, reach(2, 2), None).0);
}

#[test]
fn what_comes_late_or_after_a_long_silence_repeats_nothing() {
    let mut past = Past::default();
    leaves(&mut past, 10, reach(1, 2), None);
    assert!(!leaves(&mut past, 9, reach(1, 2), None).0);
    let (_, next) = leaves(&mut past, 11, reach(1, 2), None);
    assert_eq!(read(&next)[0], (960, frame(10).to_vec()));
    assert!(!leaves(&mut past, 60, reach(1, 2), None).0, "a second before does not fit into 14 bits");
}

#[test]
fn what_the_publisher_added_goes_on_under_the_receivers_name_unless_more_is_owed_or_less_fits() {
    let mut whole = Vec::new();
    red::write(&mut whole, 111, std::iter::once((960, &[7u8, 7][..])), &frame(5));
    let whole = Bytes::from(whole);
    let how = Unwrapped { payload_type: 111, whole: Some(whole.clone()) };
    let mut past = Past::default();
    let (_, renamed) = leaves(&mut past, 5, reach(0, 1), Some(&how));
    assert_eq!(read(&renamed), [(960, vec![7, 7]), (0, frame(5).to_vec())]);
    let same = past.dress((0, &frame(5)), 111, reach(0, 2), Some(&how));
    assert!(matches!(same, Dress::Whole { payload, rename: None } if payload.as_ptr() == whole.as_ptr()), "not copied");
    assert!(!leaves(&mut past, 5, reach(0, 0), Some(&how)).0);
    leaves(&mut past, 3, reach(2, 2), Some(&how));
    leaves(&mut past, 4, reach(2, 2), Some(&how));
    let (_, ours) = leaves(&mut past, 5, reach(2, 2), Some(&how));
    assert_eq!(read(&ours).len(), 3);
    let brought_back = Unwrapped { payload_type: 111, whole: None };
    assert!(!leaves(&mut Past::default(), 5, reach(0, 2), Some(&brought_back)).0);
}
