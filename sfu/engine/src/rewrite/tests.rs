#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn late_packets_keep_their_place_around_a_skip() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(100);
    let first = (1 << 16) + 100;
    rewrite.start(1000, 0, 90_000, now);
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
    rewrite.start(10, 5000, 90_000, now);
    let a = rewrite.number(10).unwrap();
    assert_eq!(rewrite.timestamp(5000, now), 5000);
    let later = now + Duration::from_secs(2);
    rewrite.start(40_000, 77, 90_000, later);
    assert_eq!(rewrite.number(40_000), Some(a + 1));
    assert_eq!(rewrite.timestamp(77, later), 185_000);
}

#[test]
fn a_late_keyframe_does_not_reuse_sequence_numbers() {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(0);
    rewrite.start(10, 0, 90_000, now);
    let last = (10..20).filter_map(|n| rewrite.number(n)).last().unwrap();
    rewrite.start(15, 0, 90_000, now);
    assert_eq!(rewrite.number(15), Some(last + 1));
    assert_eq!(rewrite.number(14), None);
}

#[test]
fn picture_ids_run_on() {
    let mut pictures = Pictures::default();
    assert_eq!(pictures.translate(0x7fff, 9), (0x7fff, 9));
    pictures.start();
    assert!(!pictures.is_identity());
    assert_eq!(pictures.translate(500, 77), (0, 10));
    assert_eq!(pictures.translate(501, 77), (1, 10));
    assert_eq!(pictures.translate(500, 77), (0, 10));
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
            rewrite.start(first.number, 0, 90_000, now);
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
