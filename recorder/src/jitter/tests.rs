use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn packet(sequence: u16, arrival: Micros) -> Packet {
    let payload = Bytes::copy_from_slice(&sequence.to_be_bytes());
    Packet { ssrc: 1, sequence, timestamp: 0, marker: false, payload, arrival }
}

fn drained(jitter: &mut Jitter, now: Micros) -> Vec<(u16, u32)> {
    std::iter::from_fn(|| jitter.pop(now)).map(|o| (o.packet.sequence, o.missing)).collect()
}

#[test]
fn a_repaired_packet_takes_its_place() {
    let mut jitter = Jitter::default();
    jitter.push(packet(65_534, 0));
    assert_eq!(drained(&mut jitter, 0), []);
    jitter.push(packet(0, 40_000));
    jitter.push(packet(1, 60_000));
    assert_eq!(drained(&mut jitter, 200_000), [(65_534, 0)]);
    jitter.push(packet(65_535, 300_000));
    assert_eq!(drained(&mut jitter, 300_000), [(65_535, 0), (0, 0), (1, 0)]);
}

#[test]
fn a_packet_that_never_comes_is_counted_once() {
    let mut jitter = Jitter::default();
    jitter.push(packet(10, 0));
    jitter.push(packet(14, 100_000));
    assert_eq!(drained(&mut jitter, 1_500_000), [(10, 0)]);
    assert_eq!(drained(&mut jitter, 1_600_000), [(14, 3)]);
    jitter.push(packet(12, 1_700_000));
    jitter.push(packet(14, 1_700_000));
    assert_eq!(drained(&mut jitter, 9_000_000), []);
}

#[test]
fn a_new_sequence_is_no_loss() {
    let mut jitter = Jitter::default();
    jitter.push(packet(10, 0));
    jitter.push(packet(30_000, 1));
    jitter.push(Packet { ssrc: 2, ..packet(30_001, 2) });
    jitter.drain();
    let all: Vec<_> =
        std::iter::from_fn(|| jitter.pop(3)).map(|o| (o.packet.sequence, o.missing, o.restarted)).collect();
    assert_eq!(all, [(10, 0, false), (30_000, 0, true), (30_001, 0, true)]);
}

proptest! {
    #[test]
    fn any_order_within_the_hold_comes_out_in_order(
        start: u16,
        shifts in prop::collection::vec(0i64..900_000, 2..300),
        lost in prop::collection::vec(prop::bool::weighted(0.05), 300),
        twice in prop::collection::vec(prop::bool::weighted(0.1), 300),
    ) {
        // Sent each 5 ms; arrives up to 0.9 s late; some are lost, some come twice.
        let mut arrivals = Vec::new();
        for (n, shift) in shifts.iter().enumerate() {
            let sequence = start.wrapping_add(u16::try_from(n).unwrap());
            let at = i64::try_from(n).unwrap() * 5_000 + if n == 0 { 0 } else { *shift };
            if n == 0 || !lost[n] {
                arrivals.push(packet(sequence, at));
                if twice[n] {
                    arrivals.push(packet(sequence, at + 100_000));
                }
            }
        }
        arrivals.sort_by_key(|p| p.arrival);
        let mut jitter = Jitter::default();
        let mut out = Vec::new();
        for packet in arrivals {
            let now = packet.arrival;
            jitter.push(packet);
            out.extend(drained(&mut jitter, now));
        }
        jitter.drain();
        out.extend(drained(&mut jitter, i64::MAX));
        let mut at = start;
        for (k, (sequence, missing)) in out.iter().enumerate() {
            prop_assert_eq!(u32::from(sequence.wrapping_sub(at)), *missing, "{}", k);
            at = sequence.wrapping_add(1);
        }
        let sent = shifts.len() - lost.iter().take(shifts.len()).skip(1).filter(|l| **l).count();
        prop_assert_eq!(out.len(), sent);
    }

    #[test]
    fn noise_keeps_the_bound(packets in prop::collection::vec((any::<u16>(), 0u32..3, 0i64..10), 0..2000)) {
        let mut jitter = Jitter::default();
        let mut now = 0;
        for (sequence, ssrc, step) in packets {
            now += step;
            jitter.push(Packet { ssrc, ..packet(sequence, now) });
            while jitter.pop(now).is_some() {}
            prop_assert!(jitter.waiting.len() <= MAX_WAITING && jitter.ready.is_empty());
        }
    }
}
