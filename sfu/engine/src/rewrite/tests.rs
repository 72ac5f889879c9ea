#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn numbers(sequence: u64, timestamp: u32) -> Numbers {
    Numbers { sequence, timestamp, picture: None, tl0: 0, frame: None, clock: None }
}

#[test]
fn late_packets_keep_their_place_around_a_skip() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(100);
    let first = (1 << 16) + 100;
    rewrite.start(numbers(1000, 0), 90_000, false, now);
    assert_eq!(rewrite.number(1000), Some(first));
    assert_eq!(rewrite.number(1002), Some(first + 2));
    assert!(rewrite.skip(1003));
    assert_eq!(rewrite.number(1004), Some(first + 3));
    assert_eq!(rewrite.number(1001), Some(first + 1));
    assert_eq!(rewrite.number(1003), None);
    assert_eq!(rewrite.number(999), None);
    assert!(!rewrite.skip(1001));
}

#[test]
fn a_new_source_continues_numbers_and_time() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(7);
    rewrite.start(numbers(10, 5000), 90_000, false, now);
    let a = rewrite.number(10).unwrap();
    assert_eq!(rewrite.timestamp(5000, now), 5000);
    let later = now + Duration::from_secs(2);
    rewrite.start(numbers(40_000, 77), 90_000, false, later);
    assert_eq!(rewrite.number(40_000), Some(a + 1));
    assert_eq!(rewrite.timestamp(77, later), 185_000);
}

#[test]
fn sound_goes_on_in_whole_frames_and_never_before_the_last_one_ended() {
    let now = Instant::now();
    for (millis, step) in [(0, 960), (3, 960), (29, 960), (31, 1920), (20, 960), (1000, 48_000)] {
        let mut rewrite = Rewrite::new(7);
        rewrite.start(numbers(10, 5000), 48_000, false, now);
        rewrite.number(10);
        assert_eq!(rewrite.timestamp(5000, now), 5000);
        let later = now + Duration::from_millis(millis);
        rewrite.start(numbers(700, 77), 48_000, false, later);
        assert_eq!(rewrite.timestamp(77, later), 5000 + step, "{millis}");
        assert_eq!(rewrite.timestamp(77 + 960, later), 5000 + step + 960);
    }
}

#[test]
fn a_late_keyframe_does_not_reuse_sequence_numbers() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(0);
    rewrite.start(numbers(10, 0), 90_000, false, now);
    let last = (10..20).filter_map(|n| rewrite.number(n)).last().unwrap();
    rewrite.start(numbers(15, 0), 90_000, false, now);
    assert_eq!(rewrite.number(15), Some(last + 1));
    assert_eq!(rewrite.number(14), None);
}

#[test]
fn picture_ids_run_on() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(0);
    let from = |picture, tl0| Numbers { picture: Some(picture), tl0, ..numbers(1, 0) };
    rewrite.start(from(0x7fff, 9), 90_000, false, now);
    assert_eq!(rewrite.picture(0x7fff, 9), Some((0x7fff, 9)), "the first source keeps its own");
    rewrite.timestamp(0, now);
    rewrite.start(from(500, 77), 90_000, true, now);
    assert_eq!(rewrite.picture(500, 77), Some((0x8000, 10)));
    rewrite.skip_picture(501);
    assert_eq!(rewrite.picture(502, 77), Some((0x8001, 10)));
    assert_eq!(rewrite.picture(500, 77), Some((0x8000, 10)));
    assert_eq!(rewrite.picture(503, 78), Some((0x8002, 11)));
}

#[test]
fn late_packets_of_the_layer_before_keep_their_place() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(100);
    rewrite.start(numbers(1000, 0), 90_000, false, now);
    let first = rewrite.number(1000).unwrap();
    rewrite.number(1003).unwrap();
    rewrite.timestamp(3000, now);
    rewrite.start(numbers(50, 9), 90_000, true, now);
    assert_eq!(rewrite.number(50), Some(first + 4));
    let late = rewrite.late(numbers(1002, 3000)).unwrap();
    assert_eq!((late.sequence, late.timestamp), (first + 2, 3000));
    assert_eq!(rewrite.late(numbers(1004, 6000)), None, "what would come after the switch has no place");
}

#[test]
fn sender_reports_tell_the_distance_between_two_layers() {
    let now = Instant::now();
    let second = 1u64 << 32;
    let clock = |ntp, rtp| Some((ntp, rtp));
    let mut rewrite = Rewrite::new(0);
    rewrite.start(Numbers { clock: clock(1000 * second, 90_000), ..numbers(1, 90_000) }, 90_000, false, now);
    assert_eq!(rewrite.timestamp(90_000, now), 90_000);
    // The other Layer's clock stands at 7 when this one's stands at 90,000 and a half second later.
    let other = Numbers { clock: clock(1000 * second + second / 2, 7), ..numbers(9, 7 + 4_500) };
    // It was captured 550 ms after, and came 30 ms too late.
    let later = now + Duration::from_millis(580);
    rewrite.start(other, 90_000, true, later);
    assert_eq!(rewrite.timestamp(other.timestamp, later), 90_000 + 49_500);
    // A report that contradicts the time that passed is not believed.
    let liar = Numbers { clock: clock(2000 * second, 7), ..numbers(9, 7) };
    let latest = later + Duration::from_millis(100);
    rewrite.start(liar, 90_000, true, latest);
    assert_eq!(rewrite.timestamp(7, latest), 90_000 + 49_500 + 9_000);
    // Nor does time stand still or run back.
    let early = Numbers { clock: clock(2000 * second, 7), ..numbers(9, 0) };
    rewrite.start(early, 90_000, true, latest);
    assert_eq!(rewrite.timestamp(0, latest), 90_000 + 49_500 + 9_001);
}

proptest! {
    /// Whatever is left out, what goes on has no holes but those of lost numbers, and late ones keep their place.
    #[test]
    fn numbering_is_dense(steps in prop::collection::vec((0u8..4, any::<bool>()), 1..400)) {
        let mut numbering = Numbering::from(7);
        let mut model = BTreeMap::new();
        numbering.start(1000);
        let mut next = 7;
        for (number, (kind, is_skipped)) in (1000..).zip(steps) {
            if kind == 0 {
                // Lost: its place is kept.
                next += 1;
            } else if is_skipped {
                prop_assert!(numbering.skip(number));
                model.insert(number, None);
            } else {
                prop_assert_eq!(numbering.number(number), Some(next));
                model.insert(number, Some(next));
                next += 1;
            }
            for (number, leaves) in model.iter().rev().take(40) {
                prop_assert_eq!(numbering.late(*number), *leaves);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Packet {
    number: u64,
    is_padding: bool,
    is_lost: bool,
    lateness: u8,
}

fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let one = (prop::bool::weighted(0.05), prop::bool::weighted(0.1), prop_oneof![8 => Just(0u8), 1 => 1..6u8]);
    (65_000u64..140_000, prop::collection::vec(one, 1..500)).prop_map(|(start, packets)| {
        let packet =
            |(i, (is_padding, is_lost, lateness))| Packet { number: start + i as u64, is_padding, is_lost, lateness };
        packets.into_iter().enumerate().map(packet).collect()
    })
}

proptest! {
    /// Over any runs with loss, reordering and padding: no number leaves twice, order is kept, and the only holes are
    /// numbers that were lost or filled.
    #[test]
    fn numbers_are_unique_ordered_and_dense(runs in prop::collection::vec(packets(), 1..4)) {
        let now = Instant::now();
        let mut rewrite = Rewrite::new(32_767);
        let mut left = BTreeMap::new();
        let mut order = 0u64;
        for run in runs {
            let mut arriving: Vec<_> = run.iter().enumerate().filter(|(i, p)| *i == 0 || !p.is_lost).map(|(_, p)| p.clone()).collect();
            arriving.sort_by_key(|p| p.number + u64::from(p.lateness) * u64::from(p.number != run[0].number));
            let Some(first) = run.first() else { continue };
            rewrite.start(numbers(first.number, 0), 90_000, false, now);
            for packet in arriving {
                if packet.is_padding && packet.number != first.number && rewrite.skip(packet.number) {
                    continue;
                }
                if let Some(number) = rewrite.number(packet.number) {
                    prop_assert!(left.insert(number, order + packet.number).is_none(), "a number left twice");
                }
            }
            order += 1 << 32;
        }
        let in_order: Vec<_> = left.values().copied().collect();
        prop_assert!(in_order.is_sorted());
        let (low, high) = (*left.keys().next().unwrap(), *left.keys().next_back().unwrap());
        prop_assert_eq!(low, (1 << 16) + 32_767);
        prop_assert!(high - low < 4 * 500);
    }
}
