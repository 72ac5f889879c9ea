//! OWASP ASVS 5.0, chapter V17.2: the requirements on a media server that one engine can prove by itself. `docs/security.md` has all.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};
use wire::control::{Event, Lost};

use crate::net::{Net, SECOND, is_srtp, stranger};

/// The bodies of the server's plaintext handshake messages of this type.
fn handshake_messages(datagrams: &[Vec<u8>], kind: u8) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for datagram in datagrams {
        let mut rest = &datagram[..];
        while let [22, 254, 253, 0, 0, _, _, _, _, _, _, high, low, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (record, next) = tail.split_at(length);
            if record[0] == kind {
                found.push(record[12..].to_vec());
            }
            rest = next;
        }
    }
    found
}

/// The certificate in a Certificate message, the first of its list.
fn certificate(message: &[u8]) -> &[u8] {
    let length = usize::from(message[4]) << 8 | usize::from(message[5]);
    &message[6..6 + length]
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// An Engine that made one call, and what it said meanwhile.
fn overheard_call(offer: fn(String) -> String) -> (Net, Vec<Vec<u8>>) {
    let mut net = Net::new();
    net.open_call();
    net.overheard = Some(Vec::new());
    net.join(0, true, offer);
    net.run(SECOND, |_| {});
    let overheard = net.overheard.take().unwrap();
    (net, overheard)
}

/// The policy: each process (each shard of it) makes an ECDSA P-256 key of its own, keeps it in memory only, and it ends with it.
#[test]
fn asvs_17_2_1_each_engine_has_a_fresh_p256_key_that_is_shown_nowhere() {
    let mut fingerprints = Vec::new();
    for _ in 0..3 {
        let (net, overheard) = overheard_call(|offer| offer);
        let messages = handshake_messages(&overheard, 11);
        assert!(!messages.is_empty());
        let certificate = certificate(&messages[0]);
        // id-ecPublicKey with prime256v1, signed with ecdsa-with-SHA256 (RFC 5480, RFC 5758).
        assert!(contains(certificate, &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]));
        assert!(contains(certificate, &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]));
        assert!(contains(certificate, &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
        // One key for all connections of this engine, and the one that the answers announce.
        assert!(messages.iter().all(|message| self::certificate(message) == certificate));
        let digest = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
        assert!(net.answer.contains(&format!("a=fingerprint:sha-256 {digest}")));
        assert!(!format!("{:?}", net.engine).to_ascii_lowercase().contains("private"));
        fingerprints.push(digest);
    }
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 3, "no two engines share a key");
}

#[test]
fn asvs_17_2_2_the_server_chooses_an_approved_suite_and_profile() {
    let (_, overheard) = overheard_call(|offer| offer);
    let hellos = handshake_messages(&overheard, 2);
    assert!(!hellos.is_empty());
    for hello in &hellos {
        assert_eq!(hello[..2], [254, 253], "DTLS 1.2");
        let after_session = 35 + usize::from(hello[34]);
        // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
        assert_eq!(hello[after_session..after_session + 3], [0xc0, 0x2b, 0]);
        // use_srtp with SRTP_AEAD_AES_128_GCM and no MKI; extended_master_secret.
        assert!(contains(hello, &[0, 14, 0, 5, 0, 2, 0, 7, 0]));
        assert!(contains(hello, &[0, 23, 0, 0]));
    }
}

/// Each byte of genuine media and reports, one bit wrong: nothing is taken. The same bytes unharmed are.
#[test]
fn asvs_17_2_3_media_that_is_not_authentic_is_never_taken() {
    let mut net = Net::running_call();
    let address = net.sides[0].address;
    let now = net.now;
    net.sides[0].client.send_audio(now, &[5; 60], 20);
    net.sides[0].client.send_raw_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
    let mut genuine = Vec::new();
    while let Some((_, bytes)) = net.sides[0].client.poll_transmit() {
        genuine.push(bytes);
    }
    let genuine: Vec<_> = genuine.into_iter().filter(|bytes| is_srtp(bytes)).collect();
    assert_eq!(genuine.len(), 2);
    let before = *net.engine.counters();
    let mut forged = 0;
    for bytes in &genuine {
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            net.attack(address, &bytes);
            forged += 1;
        }
    }
    let after = *net.engine.counters();
    assert_eq!((after.rtp_in, after.forwarded, after.malformed), (before.rtp_in, before.forwarded, before.malformed));
    let dropped = after.srtp_refused + after.junk - before.srtp_refused - before.junk;
    // Two wrong bits make a packet no SRTP at all, and those are DTLS or STUN by their first byte: dropped there.
    assert!(forged - dropped <= 4, "{dropped} of {forged}");
    for bytes in &genuine {
        net.attack(address, bytes);
    }
    assert_eq!(net.engine.counters().rtp_in, before.rtp_in + 1);
    assert_eq!(net.engine.counters().forwarded, before.forwarded + 1);
}

/// A participant encrypts nonsense with keys of its own.
#[test]
fn asvs_17_2_4_malformed_media_of_a_participant_stops_no_media() {
    let mut net = Net::running_call();
    let mut rng = StdRng::seed_from_u64(24);
    let ssrcs: Vec<u32> = [load::client::sdp::SectionKind::Audio, load::client::sdp::SectionKind::Video]
        .into_iter()
        .filter_map(|kind| net.sides[0].client.ssrc(kind))
        .collect();
    assert_eq!(ssrcs.len(), 2);
    net.open_call();
    net.run(SECOND, |_| {});
    let before = net.received();
    let counted = *net.engine.counters();
    net.run(3 * SECOND, |net| {
        // Known streams and unknown ones, any payload type, padding and extensions that lie about their length.
        let ssrc = if rng.random_bool(0.9) { ssrcs[rng.random_range(0..2)] } else { rng.random_range(1..9) };
        let has_extension = rng.random_bool(0.4);
        let first = 0x80 | u8::from(rng.random_bool(0.3)) << 5 | u8::from(has_extension) << 4;
        let mut packet = vec![first, rng.random::<u8>() & 0x9f];
        packet.extend_from_slice(&rng.random::<[u8; 6]>());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        if has_extension {
            // A profile that is neither form of RFC 8285 is copied as it is.
            packet.extend_from_slice(&[0x12, 0x34, 0, 2]);
            packet.extend_from_slice(&rng.random::<[u8; 8]>());
        }
        let mut payload = vec![0; rng.random_range(0..60)];
        rng.fill(&mut payload[..]);
        packet.extend_from_slice(&payload);
        net.sides[0].client.send_raw_rtp(&packet);
        let mut report = vec![0x80 | rng.random::<u8>() & 0x3f, rng.random_range(192..224), 0, rng.random_range(0..9)];
        report.extend_from_slice(&rng.random::<[u8; 24]>());
        net.sides[0].client.send_raw_rtcp(&report);
    });
    let after = *net.engine.counters();
    assert_eq!((after.room_panics, net.lost.len()), (0, 0));
    assert!(after.malformed > counted.malformed + 100, "{}", after.malformed);
    assert!(after.unbound > counted.unbound + 100, "{}", after.unbound);
    // What the other one says reaches even the attacker; the other Room notices nothing.
    for side in [0, 2, 3] {
        let received = net.received()[side] - before[side];
        assert!(received > 594, "{received} of 600 at side {side}");
    }
}

#[test]
fn asvs_17_2_8_another_certificate_than_the_offer_announced_gets_no_keys() {
    let lie = |offer: String| {
        let at = offer.find("a=fingerprint:sha-256 ").unwrap() + "a=fingerprint:sha-256 ".len();
        let other = if offer[at..].starts_with('0') { "1" } else { "0" };
        let lines = offer.lines().map(|line| match line.strip_prefix("a=fingerprint:sha-256 ") {
            Some(digest) => format!("a=fingerprint:sha-256 {other}{}", &digest[1..]),
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\r\n") + "\r\n"
    };
    let (net, _) = overheard_call(lie);
    assert!(matches!(net.lost[..], [Event::PeerLost { reason: Lost::Fingerprint, .. }]), "{:?}", net.lost);
    assert!(!net.sides[2].client.is_connected() || net.sides[2].failed);
    assert_eq!(net.engine.counters().connected, 2, "the others talk");
    let (net, _) = overheard_call(|offer| offer);
    assert_eq!((net.lost.len(), net.engine.counters().connected), (0, 3));
}

/// What a stranger may send: anything, or something genuine with a few bits wrong.
fn junk() -> impl Strategy<Value = (prop::sample::Index, Vec<(prop::sample::Index, u8)>, Vec<u8>)> {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4);
    (any::<prop::sample::Index>(), flips, prop::collection::vec(any::<u8>(), 0..200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Nothing at all is sent to a path whose ICE is not authenticated, so nobody can be flooded through us.
    #[test]
    fn nothing_is_answered_before_ice_is_authenticated(pieces in prop::collection::vec(junk(), 1..60), seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut net = Net::new();
        net.open_call();
        // The very first datagrams of the two, which never arrive as they are: STUN with our ufrag in it.
        let mut genuine = Vec::new();
        for side in &mut net.sides {
            side.client.handle_timeout(net.now);
            while let Some((_, bytes)) = side.client.poll_transmit() {
                genuine.push(bytes);
            }
        }
        prop_assert!(!genuine.is_empty());
        // Hellos, too.
        genuine.push([&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 254, 253][..], &[7; 46]].concat());
        for (which, flips, bytes) in pieces {
            let mut damaged = which.get(&genuine).clone();
            for (at, bit) in flips {
                let at = at.index(damaged.len());
                damaged[at] ^= 1 << bit;
            }
            let is_genuine = genuine.contains(&damaged);
            for bytes in [damaged, bytes] {
                if !is_genuine {
                    net.attack(stranger(&mut rng), &bytes);
                    prop_assert_eq!(net.bytes_out, 0);
                }
            }
        }
        // The same unharmed is answered, with no more than what came.
        let request = genuine[0].clone();
        net.attack("198.51.100.77:9".parse().unwrap(), &request);
        prop_assert!(net.bytes_out > 0 && net.bytes_out <= request.len());
    }
}
