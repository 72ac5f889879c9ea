//! Our cipher against `rtc-srtp`, packet by packet.

use std::collections::HashSet;

use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::option::srtp_replay_protection;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;

const KEYS: ([u8; 16], [u8; 12]) = ([7; 16], [9; 12]);

fn ours() -> Gcm {
    let crypto = rtc_crypto::default_provider().unwrap();
    Gcm::new((&KEYS.0, &KEYS.1), (&KEYS.0, &KEYS.1), crypto.crypto()).unwrap()
}

fn theirs(window: Option<usize>) -> Context {
    let crypto = rtc_crypto::default_provider().unwrap();
    let window = window.map(srtp_replay_protection);
    Context::new(&KEYS.0, &KEYS.1, ProtectionProfile::AeadAes128Gcm, window, None, crypto.crypto()).unwrap()
}

/// A packet with `csrcs` contributing sources and an extension block of `words`, when there is one.
fn plain(ssrc: u32, sequence: u16, csrcs: u8, words: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | csrcs | u8::from(words.is_some()) << 4, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 1, 0]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend(std::iter::repeat_n(1, usize::from(csrcs) * 4));
    if let Some(words) = words {
        packet.extend_from_slice(&[0xbe, 0xde, 0, words]);
        // Elements of four bytes: the id, and three of value.
        packet.extend(std::iter::repeat_n([0x12, 1, 2, 3], usize::from(words)).flatten());
    }
    packet.extend_from_slice(payload);
    packet
}

fn open(gcm: &mut Gcm, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut copy = packet.to_vec();
    let length = gcm.open(Clear::read(packet).unwrap(), &mut copy)?;
    copy.truncate(length);
    Ok(copy)
}

fn seal(gcm: &mut Gcm, plain: &[u8]) -> Vec<u8> {
    // Something lies in front of it, as in a batch.
    let mut batch = vec![0xee; 5];
    batch.extend_from_slice(plain);
    gcm.seal(&mut batch, 5).unwrap();
    batch.split_off(5)
}

proptest! {
    #[test]
    fn sealed_packets_are_those_of_the_crate(
        first in 0..0x8000_u16,
        steps in prop::collection::vec((0..3_u32, -20..400_i32, 0..4_u8, prop::option::of(0..4_u8), 0..60_usize), 1..400),
    ) {
        let (mut ours, mut theirs) = (ours(), theirs(None));
        let mut at = [i64::from(first); 3];
        let mut used = HashSet::new();
        for (ssrc, step, csrcs, words, length) in steps {
            let number = &mut at[ssrc as usize];
            // Three streams run through several rounds of 16 bits, now and then back a little.
            *number = (*number + i64::from(step) * 20).max(i64::from(first));
            if !used.insert((ssrc, *number)) {
                continue;
            }
            let packet = plain(ssrc, (*number & 0xffff) as u16, csrcs, words, &vec![3; length]);
            prop_assert_eq!(seal(&mut ours, &packet), theirs.encrypt_rtp(&packet).unwrap());
        }
    }

    #[test]
    fn what_the_crate_opens_is_opened_and_nothing_else(
        first in 0..0x8000_u64,
        steps in prop::collection::vec((prop_oneof![Just(1_u64), 2..30_u64, 900..1200_u64, 5000..20_000_u64], 0..1300_u64, any::<bool>()), 1..300),
    ) {
        let (mut ours, mut theirs, mut sender) = (ours(), theirs(Some(1024)), ours_sender());
        let mut highest = first;
        for (step, back, is_late) in steps {
            let number = if is_late { highest.saturating_sub(back).max(first) } else { highest + step };
            highest = highest.max(number);
            let packet = sender(number);
            let expected = theirs.decrypt_rtp(&packet);
            let got = open(&mut ours, &packet);
            prop_assert_eq!(got.is_ok(), expected.is_ok(), "number {} of {}", number, highest);
            if let Ok(expected) = expected {
                prop_assert_eq!(got.unwrap(), expected);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut gcm = ours();
        if let Some(clear) = Clear::read(&bytes) {
            prop_assert!(open(&mut gcm, &bytes).is_err());
            prop_assert!(clear.length <= bytes.len());
        }
        let _ = gcm.seal(&mut bytes.clone(), 0);
        prop_assert_eq!(gcm.known(), 0);
    }
}

/// Seals the packet of any number, in any order: one that is far back in a fresh state of its own.
fn ours_sender() -> impl FnMut(u64) -> Vec<u8> {
    let session = ours().outward;
    move |number| {
        let mut packet = plain(5, (number & 0xffff) as u16, 0, Some(1), &number.to_be_bytes());
        let nonce = session.nonce(5, number);
        let (head, body) = packet.split_at_mut(20);
        let tag = session.key.seal_in_place_separate_tag(nonce, Aad::from(&*head), body).unwrap();
        packet.extend_from_slice(tag.as_ref());
        packet
    }
}

#[test]
fn a_window_of_1024_wraps_with_the_numbers() {
    let (mut gcm, mut send) = (ours(), ours_sender());
    for number in 65_000..66_500_u64 {
        if number % 7 != 0 {
            assert!(open(&mut gcm, &send(number)).is_ok());
        }
    }
    let newest = 66_499;
    for number in 65_000..66_500_u64 {
        let result = open(&mut gcm, &send(number));
        if number % 7 == 0 && newest - number < WINDOW {
            assert!(result.is_ok(), "{number} was missing and comes late");
        } else {
            assert_eq!(result, Err(DropReason::Replayed), "{number}");
        }
    }
}

#[test]
fn forged_packets_leave_no_trace() {
    let (mut gcm, mut send) = (ours(), ours_sender());
    for ssrc in 0..10_000 {
        let forged = plain(ssrc, 30_000, 0, None, &[0; 40]);
        assert_eq!(open(&mut gcm, &forged), Err(DropReason::Forged));
    }
    assert_eq!(gcm.known(), 0);
    assert!(open(&mut gcm, &send(5)).is_ok());
    // One far ahead, of a known stream, does not move its window.
    assert_eq!(open(&mut gcm, &plain(5, 20_000, 0, Some(1), &[0; 40])), Err(DropReason::Forged));
    assert!(open(&mut gcm, &send(6)).is_ok());
}

#[test]
fn no_key_seals_more_packets_than_it_may() {
    let mut gcm = ours();
    gcm.sent.push((5, LAST));
    let mut packet = plain(5, 0, 0, None, b"x");
    assert_eq!(gcm.seal(&mut packet, 0), Err(DropReason::NotProtected));
}
