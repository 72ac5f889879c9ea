//! The pacer on virtual time.

#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn waiting(urgency: Urgency, stream: u32, packet: u32) -> Waiting<u32> {
    Waiting { urgency, stream, is_discardable: false, bytes: 1000, packet }
}

fn send(pacer: &mut Pacer<u32>, now: Instant, urgency: Urgency, packet: u32) -> bool {
    let passes = pacer.admit(now, 1000);
    if !passes {
        pacer.push(now, waiting(urgency, 1, packet));
    }
    passes
}

#[test]
fn what_keeps_to_the_target_never_waits() {
    let start = Instant::now();
    let mut pacer = Pacer::new(Bitrate::kbps(1000), start);
    // 8 ms a packet at 1 Mbit/s.
    for i in 0..1000 {
        assert!(send(&mut pacer, start + 8 * i * MS, Urgency::Face, i), "packet {i}");
    }
}

#[test]
fn a_burst_leaves_at_the_rate_and_in_order() {
    let start = Instant::now();
    let mut pacer = Pacer::new(Bitrate::kbps(1000), start);
    pacer.note_unpaced(4800);
    let at_once = (0..11).filter(|i| send(&mut pacer, start, Urgency::Face, *i)).count();
    assert_eq!(at_once, 5);
    let mut left = Vec::new();
    let mut now = start;
    while let Some(at) = pacer.poll_timeout() {
        now = at.max(now);
        while let Some(waiting) = pacer.pop(now) {
            left.push(waiting.packet);
        }
        now += MS / 4;
    }
    assert_eq!(left, [5, 6, 7, 8, 9, 10]);
    let took = now - start;
    assert!((30 * MS..60 * MS).contains(&took), "{took:?}");
}

#[test]
fn repairs_leave_first_then_screens_then_faces_then_padding() {
    let start = Instant::now();
    let mut pacer = Pacer::new(Bitrate::kbps(1000), start);
    pacer.note_unpaced(15_000);
    let order = [Urgency::Padding, Urgency::Face, Urgency::Screen, Urgency::Repair];
    for (packet, urgency) in (0u32..).zip(order) {
        assert!(!send(&mut pacer, start, urgency, packet));
    }
    let mut left = Vec::new();
    for i in 0..200 {
        left.extend(pacer.pop(start + i * MS).map(|waiting| waiting.urgency));
    }
    assert_eq!(left, [Urgency::Repair, Urgency::Screen, Urgency::Face, Urgency::Padding]);
}

#[test]
fn sound_costs_the_others_and_is_never_held() {
    let start = Instant::now();
    let mut pacer = Pacer::<u32>::new(Bitrate::kbps(64), start);
    for i in 0..1000u32 {
        // 64 kbit/s of sound alone.
        let now = start + i * 20 * MS;
        pacer.note_unpaced(160);
        if i > 50 {
            assert!(pacer.credit <= 4800, "{}", pacer.credit);
        }
        let _video = pacer.admit(now, 1000);
    }
    // All of the target went to sound: what video gets is the tenth above it.
    assert!(pacer.credit < 1000);
}

#[test]
fn repairs_that_come_too_late_are_not_sent() {
    let start = Instant::now();
    let mut pacer = Pacer::new(Bitrate::kbps(100), start);
    pacer.set_target(start, Bitrate::kbps(100), 40 * MS);
    pacer.note_unpaced(30_000);
    pacer.push(start, waiting(Urgency::Repair, 1, 1));
    let left = (0..1000).filter_map(|i| pacer.pop(start + i * MS)).count();
    assert_eq!(left, 0);
    assert_eq!(pacer.bytes(), 0);
}

#[test]
fn a_queue_that_is_too_old_drops_what_nobody_needs_and_then_one_whole_stream() {
    let start = Instant::now();
    let mut pacer = Pacer::new(Bitrate::kbps(100), start);
    pacer.note_unpaced(100_000);
    for (packet, stream, is_discardable) in [(0, 7, false), (1, 7, true), (2, 8, false)] {
        let shed = pacer.push(start, Waiting { is_discardable, ..waiting(Urgency::Face, stream, packet) });
        assert_eq!((shed.dropped, shed.broken), (vec![], None));
    }
    pacer.push(start, waiting(Urgency::Screen, 9, 3));
    let late = start + 300 * MS;
    let shed = pacer.push(late, waiting(Urgency::Face, 8, 4));
    assert_eq!(
        (shed.dropped, shed.broken),
        (vec![1, 2, 4], Some(8)),
        "the one that fills the queue, not the one in front"
    );
    let shed = pacer.push(late, waiting(Urgency::Face, 8, 5));
    assert_eq!((shed.dropped, shed.broken), (vec![0], Some(7)));
}

#[test]
fn a_keyframe_is_worked_off_faster_than_the_target() {
    let start = Instant::now();
    let mut pacer = Pacer::new(Bitrate::kbps(300), start);
    pacer.note_unpaced(4800);
    for i in 0..12 {
        send(&mut pacer, start, Urgency::Face, i);
    }
    let mut last = start;
    for i in 0..600 {
        let now = start + i * MS;
        while pacer.pop(now).is_some() {
            last = now;
        }
    }
    // 12 kB are 320 ms at 300 kbit/s.
    assert!(last - start < 200 * MS, "{:?}", last - start);
}

proptest! {
    #[test]
    fn any_input_keeps_bounds_and_never_runs_far_over_the_rate(
        kbits in 30u64..4000,
        steps in prop::collection::vec((0u64..30, 0usize..5, 40usize..1300), 1..400),
    ) {
        let start = Instant::now();
        let target = Bitrate::kbps(kbits);
        let mut pacer = Pacer::new(target, start);
        let mut now = start;
        let mut left = 0u64;
        for (i, (wait, kind, bytes)) in steps.into_iter().enumerate() {
            now += Duration::from_millis(wait);
            while let Some(waiting) = pacer.pop(now) {
                left += waiting.bytes as u64;
            }
            let urgency = match kind {
                0 => Urgency::Repair,
                1 => Urgency::Screen,
                2 => Urgency::Face,
                3 => Urgency::Padding,
                _ => {
                    pacer.note_unpaced(bytes);
                    continue;
                }
            };
            if pacer.admit(now, bytes) {
                left += bytes as u64;
            } else {
                let stream = u32::try_from(i % 3).unwrap();
                pacer.push(now, Waiting { urgency, stream, is_discardable: i % 5 == 0, bytes, packet: i });
            }
            prop_assert!(pacer.bytes() <= MOST_BYTES + 1300 + pacer.queues[0].iter().map(|e| e.waiting.bytes).sum::<usize>());
            let sum: usize = pacer.queues.iter().flatten().map(|entry| entry.waiting.bytes).sum();
            prop_assert_eq!(sum, pacer.bytes());
            let most = target.scale(HASTE).bytes_in(now - start + 2 * BURST) + 4 * 4800 + 1300;
            prop_assert!(left <= most, "{} of {}", left, most);
        }
    }
}
