//! What anybody may send: random datagrams, forged media, hellos of others, crafted records.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::net::{Net, SECOND, is_srtp, megabytes_since, resident, stranger};

/// Memory is measured for the process, so one test of this file runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_million_random_datagrams_leave_a_call_and_the_memory_alone() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(11);
    let mut throw = |net: &mut Net, times: u32| {
        for _ in 0..times {
            let mut bytes = match (rng.random_range(0..4), net.captured.len()) {
                // A genuine datagram of a moment ago, damaged.
                (0 | 1, captured @ 1..) => {
                    let mut bytes = net.captured[rng.random_range(0..captured)].1.clone();
                    for _ in 0..rng.random_range(1..6) {
                        let at = rng.random_range(0..bytes.len());
                        bytes[at] ^= 1 << rng.random_range(0..8);
                    }
                    if rng.random_bool(0.2) {
                        bytes.truncate(rng.random_range(0..bytes.len()));
                    }
                    bytes
                }
                _ => {
                    let mut bytes = vec![0; rng.random_range(0..300)];
                    rng.fill(&mut bytes[..]);
                    bytes
                }
            };
            if rng.random_bool(0.1)
                && let [first, major, minor, ..] = &mut bytes[..]
            {
                (*first, *major, *minor) = (rng.random_range(20..24), 254, 253);
            }
            let from = if rng.random_bool(0.5) { net.sides[0].address } else { stranger(&mut rng) };
            net.attack(from, &bytes);
        }
    };
    net.run(SECOND, |net| throw(net, 50));
    let (before, memory) = (net.received(), resident());
    net.run(10 * SECOND, |net| throw(net, 95));
    net.assert_call(&before, 10 * SECOND);
    let grown = megabytes_since(memory);
    assert!(grown < 8, "{grown} MB more");
    assert!(net.engine.counters().datagrams_in > 1_000_000);
}

#[test]
fn forged_ssrcs_and_flipped_bits_are_never_forwarded() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(12);
    let mut forge = |net: &mut Net, times: u32| {
        let packets: Vec<_> = net.captured.iter().filter(|(_, bytes)| is_srtp(bytes)).cloned().collect();
        for number in 0..times {
            let (from, mut bytes) = packets[rng.random_range(0..packets.len())].clone();
            if number % 2 == 0 {
                bytes[8..12].copy_from_slice(&rng.random::<[u8; 4]>());
            } else {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            net.attack(from, &bytes);
        }
    };
    net.run(SECOND, |net| forge(net, 100));
    let (before, memory) = (net.received(), resident());
    let accepted = net.engine.counters().rtp_in;
    net.run(3 * SECOND, |net| forge(net, 100));
    net.assert_call(&before, 3 * SECOND);
    // 200 packets a second of each side and nothing else.
    let accepted = net.engine.counters().rtp_in - accepted;
    assert!((1_180..=1_220).contains(&accepted), "{accepted} packets accepted");
    assert!(megabytes_since(memory) < 4);
}

/// Forged ClientHellos race genuine joins, from anywhere and from the very addresses that are joining.
#[test]
fn asvs_17_2_6_a_client_hello_race_stops_no_join_and_no_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What a genuine client of another call said.
    let mut other = Net::new();
    other.open_call();
    other.run(SECOND / 5, |_| {});
    let hellos: Vec<Vec<u8>> = other
        .captured
        .iter()
        .filter(|(_, bytes)| bytes.first() == Some(&22) && bytes.get(13) == Some(&1))
        .map(|(_, bytes)| bytes.clone())
        .collect();
    assert!(hellos.len() >= 4, "both hellos of both sides");

    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(13);
    let memory = resident();
    let before = net.received();
    for _ in 0..10 {
        net.open_call();
        net.run(SECOND / 2, |net| {
            for number in 0..40 {
                let hello = hellos[rng.random_range(0..hellos.len())].clone();
                let joining = net.sides.len() - 2 + number % 2;
                let from = if number % 4 < 2 { net.sides[joining].address } else { stranger(&mut rng) };
                net.attack(from, &hello);
            }
        });
    }
    for (number, side) in net.sides.iter().enumerate() {
        assert!(side.client.is_connected() && !side.failed, "side {number}");
    }
    let (first_call, before) = (net.sides.drain(..2).collect::<Vec<_>>(), before);
    net.sides = first_call;
    net.assert_call(&before, 5 * SECOND);
    let grown = megabytes_since(memory);
    assert!(grown < 30, "{grown} MB more for twenty more sides");
}

/// Each of these aborted the process or grew without limit in the DTLS crate alone (sent by a participant, or in its name).
#[test]
fn crafted_handshake_records_change_nothing_for_a_running_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let mut bytes = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 9];
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let fragments = |offsets: &[u32], length: u32, body: &[u8]| -> Vec<u8> {
        let mut bytes = Vec::new();
        for offset in offsets {
            bytes.push(1);
            bytes.extend_from_slice(&length.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[0, 5]);
            bytes.extend_from_slice(&offset.to_be_bytes()[1..]);
            bytes.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(body);
        }
        bytes
    };
    let mut net = Net::running_call();
    let (before, memory) = (net.received(), resident());
    let mut next = 40_000u32;
    net.run(3 * SECOND, |net| {
        let from = net.sides[0].address;
        for _ in 0..10 {
            let offsets: Vec<u32> = (0..90).map(|back| next.saturating_sub(back)).collect();
            next = next.saturating_sub(90);
            net.attack(from, &record(22, 0, &fragments(&offsets, 40_001, b"x")));
            net.attack(from, &record(22, 0, &fragments(&[7; 100], 900, b"")));
        }
        net.attack(from, &record(22, 0, &fragments(&[0], 40_001, b"x")));
        for alert in [[2, 40], [1, 0], [2, 80]] {
            net.attack(from, &record(21, 0, &alert));
        }
        for _ in 0..20 {
            net.attack(from, &record(22, 1, &[7; 48]));
            net.attack(from, &record(23, 1, &[7; 1_200]));
        }
    });
    net.assert_call(&before, 3 * SECOND);
    assert!(megabytes_since(memory) < 4);
}
