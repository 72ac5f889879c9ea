//! The whole path against a browser's end, in virtual time: joins under loss, and what strangers and participants may try.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::testing::*;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How soon a join must be complete although a datagram was lost.
const JOIN: Duration = Duration::from_millis(250);

#[test]
fn gcm_is_chosen_where_offered_and_cm_otherwise() {
    assert!(Pair::connected_by(vec![CM, GCM]).browser.profile_is_gcm());
    assert!(!Pair::connected_by(vec![CM]).browser.profile_is_gcm());
}

#[test]
fn media_flows_both_ways_with_either_profile() {
    for profiles in [vec![GCM], vec![CM]] {
        let mut pair = Pair::connected_by(profiles);
        assert_eq!(pair.events, [TransportEvent::Connected]);
        let plain = rtp(7, 1, b"hello");
        let packet = pair.browser.protect(&plain);
        assert_eq!(pair.transport.unprotect_rtp(&packet).unwrap(), plain);
        let report = pair.browser.protect_rtcp(&rtcp(7));
        assert_eq!(pair.transport.unprotect_rtcp(&report).unwrap(), rtcp(7));
        let back = pair.protect(&plain).unwrap();
        assert_eq!(pair.browser.srtp.as_mut().unwrap().1.decrypt_rtp(&back).unwrap(), plain);
        let back = pair.transport.protect_rtcp(&rtcp(7)).unwrap();
        assert_eq!(pair.browser.srtp.as_mut().unwrap().1.decrypt_rtcp(&back).unwrap(), rtcp(7));
    }
}

#[test]
fn any_single_lost_datagram_delays_a_join_by_less_than_250_ms() {
    let whole = Pair::connected().sent.len();
    assert!(whole >= 6, "{whole} datagrams");
    for lost in 0..whole {
        let mut pair = Pair::new(vec![GCM]);
        pair.lost = vec![lost];
        pair.run(SECOND);
        assert!(pair.is_connected(), "never connected without datagram {lost}");
        assert!(pair.elapsed() < JOIN, "{:?} without datagram {lost}", pair.elapsed());
    }
}

/// The certificate flight carries HelloDone; the crate alone would never send it again.
#[test]
fn a_lost_certificate_flight_still_connects_within_250_ms() {
    let flight = {
        let pair = Pair::connected();
        pair.sent.iter().position(|(to_server, bytes)| !to_server && bytes.get(13) == Some(&2)).unwrap()
    };
    for lost in [vec![flight], vec![flight, flight + 1]] {
        let mut pair = Pair::new(vec![GCM]);
        pair.lost = lost;
        pair.run(SECOND);
        assert!(pair.is_connected());
        assert!(pair.elapsed() < JOIN, "{:?}", pair.elapsed());
    }
}

#[test]
fn a_silent_browser_ends_the_handshake_at_its_deadline() {
    let mut pair = Pair::new(vec![GCM]);
    pair.loses = |to_server, bytes| to_server && bytes.get(13) != Some(&1);
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.events, [TransportEvent::Lost(Lost::Dtls)]);
    assert_eq!(pair.transport.poll_timeout(), None);
    let repeats = pair.sent.iter().filter(|(to_server, bytes)| !to_server && bytes.get(13) == Some(&2)).count();
    assert!((2..=17).contains(&repeats), "{repeats} certificate flights");
}

#[test]
fn another_certificate_than_the_offers_gives_no_keys() {
    let mut pair = Pair::with_fingerprint(vec![GCM], Some([7; 32]));
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.events, [TransportEvent::Lost(Lost::Fingerprint)]);
    assert!(!pair.transport.is_connected());
    assert_eq!(pair.protect(&rtp(1, 1, b"x")), Err(DropReason::NoKeys));
    assert!(pair.browser.srtp.is_none());
}

#[test]
fn a_later_offer_may_not_change_the_certificate() {
    let mut pair = Pair::connected();
    let fingerprint = pair.browser.fingerprint;
    let remote = |fingerprint| RemoteParameters { ufrag: "new".to_owned(), pwd: "p".repeat(24), fingerprint };
    assert!(pair.transport.set_remote(remote(fingerprint)).is_ok());
    assert!(pair.transport.set_remote(remote([0; 32])).is_err());
}

#[test]
fn thirty_seconds_without_stun_are_the_end() {
    let mut pair = Pair::connected();
    let renewed = pair.now + 20 * SECOND;
    let request = binding_request(&pair.credentials, false);
    assert_eq!(
        pair.transport.handle_stun(renewed, browser_address(), &request),
        StunVerdict::Bound { nominated: false }
    );
    pair.transport.handle_timeout(renewed + 29 * SECOND);
    assert_eq!(pair.transport.poll_event(), None);
    assert_eq!(pair.transport.poll_timeout(), Some(renewed + 30 * SECOND));
    pair.transport.handle_timeout(renewed + 30 * SECOND);
    assert_eq!(pair.transport.poll_event(), Some(TransportEvent::Lost(Lost::Silent)));
    let after = pair.transport.handle_stun(renewed + 31 * SECOND, browser_address(), &request);
    assert_eq!(after, StunVerdict::Dropped(DropReason::Ended));
}

#[test]
fn a_goodbye_of_the_browser_ends_the_path() {
    let mut pair = Pair::connected();
    for datagram in pair.browser.say_goodbye(pair.now) {
        pair.transport.handle_dtls(pair.now, &datagram);
    }
    pair.collect();
    assert_eq!(pair.events.last(), Some(&TransportEvent::Lost(Lost::Dtls)));
}

#[test]
fn our_goodbye_reaches_the_browser() {
    let mut pair = Pair::connected();
    pair.transport.close(pair.now);
    let (to, bytes) = pair.transport.poll_transmit().unwrap();
    assert_eq!((to, bytes.first()), (browser_address().into(), Some(&21)));
    assert_eq!(pair.protect(&rtp(1, 1, b"x")), Err(DropReason::NoKeys));
}

#[test]
fn forged_alerts_do_not_disturb_a_join_or_a_call() {
    let alerts = [[1u8, 0], [2, 0], [2, 40], [1, 90], [2, 80]];
    let mut pair = Pair::new(vec![GCM]);
    pair.run_with(SECOND, |pair| {
        for (number, alert) in alerts.iter().enumerate() {
            for epoch in [0, 1] {
                pair.transport.handle_dtls(pair.now, &record(21, epoch, 900 + number as u32, alert));
            }
        }
    });
    assert!(pair.is_connected());
    assert!(pair.elapsed() < JOIN);
    for alert in alerts {
        pair.transport.handle_dtls(pair.now, &record(21, 0, 5000, &alert));
        pair.transport.handle_dtls(pair.now, &record(21, 1, 5000, &[&alert[..], &[0; 24]].concat()));
    }
    pair.collect();
    assert_eq!(pair.events, [TransportEvent::Connected]);
    assert!(pair.dropped(DropReason::RefusedDtls) >= 20);
}

#[test]
fn an_epoch_1_flood_is_not_kept_and_does_not_stop_the_join() {
    let mut pair = Pair::new(vec![GCM]);
    let mut most = 0;
    pair.run_with(SECOND, |pair| {
        for number in 0..2_000u32 {
            pair.transport.handle_dtls(pair.now, &record(22, 1, number, &[number as u8; 48]));
            pair.transport.handle_dtls(pair.now, &record(23, 1, number, &[0; 1_300]));
        }
        most = most.max(pair.transport.dtls.as_ref().unwrap().held_bytes());
    });
    assert!(most <= 8 * 61, "{most} bytes held");
    assert!(pair.is_connected());
}

#[test]
fn empty_fragments_are_not_kept() {
    let mut pair = Pair::new(vec![GCM]);
    let body: Vec<u8> = (0..100).flat_map(|_| fragment(1, 900, 0, 3, b"")).collect();
    for number in 0..2_000 {
        pair.transport.handle_dtls(pair.now, &record(22, 0, number, &body));
    }
    assert_eq!(pair.transport.dtls.as_ref().unwrap().held_bytes(), 0);
    pair.run(SECOND);
    assert!(pair.is_connected());
}

/// In the crate alone these inputs overflow the stack and abort the process.
#[test]
fn fragments_that_would_recurse_are_harmless_before_and_during_a_call() {
    let flood = |length: usize, sequence: u16, kind: u8| -> Vec<Vec<u8>> {
        let mut offsets: Vec<usize> = (1..length).rev().collect();
        offsets.push(0);
        let pieces = offsets.chunks(50).enumerate();
        pieces
            .map(|(number, offsets)| {
                let body: Vec<u8> =
                    offsets.iter().flat_map(|offset| fragment(kind, length, sequence, *offset, b"x")).collect();
                record(22, 0, 10_000 + number as u32, &body)
            })
            .collect()
    };
    let mut pair = Pair::new(vec![GCM]);
    for datagram in flood(40_000, 0, 1).iter().chain(&flood(16_000, 0, 1)).chain(&flood(16_000, 1, 1)) {
        pair.transport.handle_dtls(pair.now, datagram);
    }
    assert!(pair.transport.dtls.as_ref().unwrap().held_bytes() <= gate::MAX_PENDING);
    pair.run(SECOND);
    assert!(pair.is_connected());
    for datagram in flood(40_000, 5, 20).iter().chain(&flood(40_000, 6, 20)) {
        pair.transport.handle_dtls(pair.now, datagram);
    }
    assert_eq!(pair.transport.dtls.as_ref().unwrap().held_bytes(), 0);
    let packet = pair.browser.protect(&rtp(1, 1, b"still here"));
    assert!(pair.transport.unprotect_rtp(&packet).is_ok());
}

/// Forged ClientHellos that name a wrong cookie, or could only fail, must not end the genuine handshake.
#[test]
fn forged_client_hellos_from_the_same_address_do_not_stop_a_join() {
    let mut pair = Pair::new(vec![GCM]);
    pair.run_with(SECOND, |pair| {
        let Some((_, hello)) = pair.sent.first().cloned() else { return };
        let mut forged = hello.to_vec();
        // As if it were the second one, with an empty cookie.
        forged[18] = 1;
        for number in 0..20u8 {
            forged[10] = 100 + number;
            pair.transport.handle_dtls(pair.now, &forged);
        }
        pair.transport.handle_dtls(pair.now, &record(22, 0, 999, &fragment(1, 60, 0, 0, &[0xfe; 60])));
        pair.transport.handle_dtls(pair.now, &record(22, 0, 998, &fragment(1, 5_000, 1, 10, &[3; 100])));
    });
    assert!(pair.is_connected());
    assert!(pair.elapsed() < JOIN, "{:?}", pair.elapsed());
}

#[test]
fn repeats_of_a_finished_handshake_are_answered_at_most_eight_times() {
    let mut pair = Pair::connected();
    let before = pair.sent.len();
    let last = pair.sent.iter().rev().find(|(to_server, _)| *to_server).unwrap().1.clone();
    for _ in 0..50 {
        pair.now += Duration::from_millis(30);
        pair.transport.handle_dtls(pair.now, &last);
    }
    pair.collect();
    assert_eq!(pair.sent.len() - before, 8);
}

#[test]
fn no_flipped_bit_in_srtp_is_accepted() {
    for profiles in [vec![GCM], vec![CM]] {
        let mut pair = Pair::connected_by(profiles);
        let media = pair.browser.protect(&rtp(7, 1, &[5; 60]));
        let report = pair.browser.protect_rtcp(&rtcp(7));
        for bit in 0..8 {
            for at in 0..media.len() {
                let mut forged = media.clone();
                forged[at] ^= 1 << bit;
                assert!(pair.transport.unprotect_rtp(&forged).is_err(), "byte {at}, bit {bit}");
            }
            for at in 0..report.len() {
                let mut forged = report.clone();
                forged[at] ^= 1 << bit;
                assert!(pair.transport.unprotect_rtcp(&forged).is_err(), "report byte {at}, bit {bit}");
            }
        }
        assert!(pair.transport.unprotect_rtp(&media).is_ok());
        assert!(pair.transport.unprotect_rtcp(&report).is_ok());
        let next = pair.browser.protect(&rtp(7, 2, &[5; 60]));
        for at in 0..next.len() {
            let mut forged = next.clone();
            forged[at] ^= 0x10;
            assert!(pair.transport.unprotect_rtp(&forged).is_err(), "byte {at} of a known stream");
        }
        assert!(pair.transport.unprotect_rtp(&next).is_ok());
    }
}

#[test]
fn replayed_packets_are_refused() {
    let mut pair = Pair::connected();
    let packets: Vec<Vec<u8>> = (100..140).map(|number| pair.browser.protect(&rtp(7, number, b"x"))).collect();
    for packet in &packets {
        assert!(pair.transport.unprotect_rtp(packet).is_ok());
    }
    for packet in &packets {
        assert_eq!(pair.transport.unprotect_rtp(packet), Err(DropReason::Replayed));
    }
    let report = pair.browser.protect_rtcp(&rtcp(7));
    assert!(pair.transport.unprotect_rtcp(&report).is_ok());
    assert_eq!(pair.transport.unprotect_rtcp(&report), Err(DropReason::Replayed));
}

#[test]
fn forged_ssrcs_cost_no_memory_and_shut_nobody_out() {
    let mut pair = Pair::connected();
    let mut rng = StdRng::seed_from_u64(2);
    for round in 0..300_000u32 {
        let (ssrc, sequence): (u32, u16) = (rng.random(), rng.random());
        assert_eq!(pair.transport.unprotect_rtp(&rtp(ssrc, sequence, &[0; 40])), Err(DropReason::Forged));
        if round % 10_000 == 0 {
            // A stream that nobody announced and that a forger named first.
            let ssrc = 0x1000_0000 + round;
            assert!(pair.transport.unprotect_rtp(&rtp(ssrc, 30_000, &[0; 40])).is_err());
            let packet = pair.browser.protect(&rtp(ssrc, 5, b"genuine"));
            assert!(pair.transport.unprotect_rtp(&packet).is_ok());
        }
    }
    let (known, strangers) = pair.transport.remembered_ssrcs();
    assert_eq!(known, 30);
    assert!(strangers < MAX_STRANGERS);
    assert_eq!(pair.dropped(DropReason::Forged), 300_030);
}

#[test]
fn a_hostile_participant_may_not_open_streams_without_end() {
    let mut pair = Pair::connected();
    for ssrc in 0..1_000 {
        let packet = pair.browser.protect(&rtp(ssrc, 1, b"x"));
        let _ = pair.transport.unprotect_rtp(&packet);
    }
    assert_eq!(pair.transport.remembered_ssrcs().0, MAX_SSRCS);
    assert_eq!(pair.dropped(DropReason::TooManySources), 1_000 - MAX_SSRCS as u64);
}

#[test]
fn a_ragged_packet_of_ours_is_refused_instead_of_panicking() {
    // The block's last element is longer than the block: harmless to our own cipher, fatal to the other one if it got there.
    let ragged = [0xb0, 0x60, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0x10, 0, 0, 1, 0xf1, 3, 2, 1, 2];
    let mut too_long = ragged;
    too_long[15] = 3;
    for profile in [GCM, CM] {
        let mut pair = Pair::connected_by(vec![profile]);
        assert_eq!(pair.protect(&ragged).is_err(), profile == CM);
        assert!(pair.protect(&too_long).is_err());
        assert!(pair.protect(&[]).is_err());
        assert!(pair.transport.protect_rtcp(&[]).is_err());
    }
}

#[test]
fn stun_with_anything_wrong_is_refused() {
    let mut pair = Pair::new(vec![GCM]);
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], 9));
    let mut refused = |bytes: &[u8], reason: DropReason| {
        let verdict = pair.transport.handle_stun(pair.now, elsewhere, bytes);
        assert_eq!(verdict, StunVerdict::Dropped(reason));
        assert_eq!(pair.transport.path(), Some(browser_address().into()));
    };
    let ours = pair.credentials.clone();
    let wrong_password = IceCredentials { pwd: "x".repeat(32), ..ours.clone() };
    refused(&binding_request(&wrong_password, true), DropReason::BadIntegrity);
    let wrong_user = IceCredentials { ufrag: "somebodyelse".to_owned(), ..ours.clone() };
    refused(&binding_request(&wrong_user, true), DropReason::UnknownUser);
    let good = binding_request(&ours, true);
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    refused(&broken, DropReason::BadFingerprint);
    refused(&[&good[..], &[0; 4]].concat(), DropReason::MalformedStun);
    refused(&good[..good.len() - 4], DropReason::MalformedStun);
    let without_fingerprint = good.len() - 8;
    let mut cut = good[..without_fingerprint].to_vec();
    cut[3] -= 8;
    refused(&cut, DropReason::BadFingerprint);
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 0x40;
        let verdict = pair.transport.handle_stun(pair.now, elsewhere, &forged);
        assert!(matches!(verdict, StunVerdict::Dropped(_)), "byte {at}");
    }
    assert_eq!(pair.transport.counters().stun, 1);
}

#[test]
fn a_request_copied_from_the_wire_does_not_move_the_call() {
    let mut pair = Pair::new(vec![GCM]);
    let request = binding_request(&pair.credentials, true);
    let bound = StunVerdict::Bound { nominated: true };
    assert_eq!(pair.transport.handle_stun(pair.now, browser_address(), &request), bound);
    assert_eq!(pair.transport.handle_stun(pair.now, browser_address(), &request), bound);
    let thief = SocketAddr::from(([198, 51, 100, 9], 9));
    let verdict = pair.transport.handle_stun(pair.now, thief, &request);
    assert_eq!(verdict, StunVerdict::Dropped(DropReason::CopiedRequest));
    assert_eq!(pair.transport.path(), Some(browser_address().into()));
}

#[test]
fn a_nat_that_gave_another_port_is_followed_without_nomination_once_the_old_path_is_quiet() {
    let mut pair = Pair::connected();
    let (old, moved) = (Path::from(browser_address()), SocketAddr::from(([192, 0, 2, 7], 40_001)));
    let check = binding_request(&pair.credentials, false);
    let kept = StunVerdict::Bound { nominated: false };
    let begin = pair.now + 5 * SECOND;
    assert!(!pair.transport.note_heard(begin, old), "the path in use stays");
    // A spare path is checked while the other one carries media.
    assert_eq!(pair.transport.handle_stun(begin + PATH_QUIET / 2, moved, &check), kept);
    assert!(!pair.transport.note_heard(begin + PATH_QUIET / 2, moved.into()), "one overtaken packet moves nothing");
    assert_eq!(pair.transport.path(), Some(old));
    // The old one is quiet: whatever is authentic moves the connection, media or the next check.
    assert!(pair.transport.note_heard(begin + PATH_QUIET, moved.into()));
    assert_eq!(pair.transport.path(), Some(moved.into()));
    let third = SocketAddr::from(([192, 0, 2, 7], 40_002));
    let check = binding_request(&pair.credentials, false);
    let verdict = pair.transport.handle_stun(begin + 2 * PATH_QUIET, third, &check);
    assert_eq!(verdict, StunVerdict::Bound { nominated: true });
    assert_eq!(pair.transport.path(), Some(third.into()));
}

#[test]
fn an_ice_restart_keeps_the_old_credentials_until_the_new_ones_nominate() {
    let mut pair = Pair::connected();
    let old = pair.credentials.clone();
    let [skipped, new] = [7, 8].map(|seed| IceCredentials::generate(&mut StdRng::seed_from_u64(seed), 0));
    pair.transport.restart(skipped.clone());
    assert_eq!(pair.transport.poll_retired(), None);
    pair.transport.restart(new.clone());
    assert_eq!(pair.transport.poll_retired(), Some(skipped.clone()), "a restart that was never used is forgotten");
    let moved = SocketAddr::from(([203, 0, 113, 5], 1234));
    let ask = |pair: &mut Pair, by: &IceCredentials, from: SocketAddr, nominate: bool| {
        pair.transport.handle_stun(pair.now, from, &binding_request(by, nominate))
    };
    let gone = StunVerdict::Dropped(DropReason::UnknownUser);
    assert_eq!(ask(&mut pair, &skipped, moved, true), gone);
    assert_eq!(ask(&mut pair, &old, browser_address(), true), StunVerdict::Bound { nominated: true });
    assert_eq!(ask(&mut pair, &new, moved, false), StunVerdict::Bound { nominated: false });
    assert_eq!(pair.transport.path(), Some(browser_address().into()), "media goes on where it flows");
    assert_eq!(ask(&mut pair, &old, browser_address(), false), StunVerdict::Bound { nominated: false });
    assert_eq!(ask(&mut pair, &new, moved, true), StunVerdict::Bound { nominated: true });
    assert_eq!(pair.transport.path(), Some(moved.into()));
    assert_eq!(pair.transport.poll_retired(), Some(old.clone()));
    assert_eq!(ask(&mut pair, &old, browser_address(), true), gone);
    assert!(pair.transport.is_connected(), "DTLS and its keys stay");
}

#[test]
fn other_remote_credentials_restart_ice_and_another_certificate_does_not() {
    let mut pair = Pair::new(vec![GCM]);
    let mut remote =
        RemoteParameters { ufrag: "them".into(), pwd: "p".repeat(24), fingerprint: pair.browser.fingerprint };
    let _first = pair.transport.set_remote(remote.clone()).unwrap();
    assert_eq!(pair.transport.set_remote(remote.clone()), Ok(false), "an offer that repeats them");
    remote.ufrag = "anew".into();
    remote.pwd = "q".repeat(24);
    assert_eq!(pair.transport.set_remote(remote.clone()), Ok(true));
    remote.pwd = "r".repeat(24);
    remote.fingerprint = [9; 32];
    assert!(pair.transport.set_remote(remote.clone()).is_err());
    remote.fingerprint = pair.browser.fingerprint;
    assert_eq!(pair.transport.set_remote(remote), Ok(true), "a refused offer changed nothing");
}

#[test]
fn a_browser_that_changed_its_network_is_followed() {
    let mut pair = Pair::connected();
    let moved = SocketAddr::from(([203, 0, 113, 5], 1234));
    let check = binding_request(&pair.credentials, false);
    assert_eq!(pair.transport.handle_stun(pair.now, moved, &check), StunVerdict::Bound { nominated: false });
    assert_eq!(pair.transport.path(), Some(browser_address().into()));
    let nominated = binding_request(&pair.credentials, true);
    assert_eq!(pair.transport.handle_stun(pair.now, moved, &nominated), StunVerdict::Bound { nominated: true });
    assert_eq!(pair.transport.path(), Some(moved.into()));
}

#[test]
fn random_datagrams_during_join_and_call_change_nothing() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut throw = |pair: &mut Pair, times: u32| {
        for _ in 0..times {
            let mut bytes = vec![0u8; rng.random_range(0..200)];
            rng.fill(&mut bytes[..]);
            // Half of them look like something at first sight.
            if rng.random_bool(0.5)
                && let [kind, major, minor, ..] = &mut bytes[..]
            {
                (*kind, *major, *minor) = (rng.random_range(20..24), 254, 253);
            }
            match classify(&bytes) {
                Class::Stun => {
                    pair.transport.handle_stun(pair.now, browser_address(), &bytes);
                }
                Class::Dtls => pair.transport.handle_dtls(pair.now, &bytes),
                Class::Rtp => assert!(pair.transport.unprotect_rtp(&bytes).is_err()),
                Class::Rtcp => assert!(pair.transport.unprotect_rtcp(&bytes).is_err()),
                Class::Junk => {}
            }
        }
    };
    let mut pair = Pair::new(vec![GCM]);
    pair.run_with(SECOND, |pair| throw(pair, 5_000));
    assert!(pair.is_connected());
    throw(&mut pair, 50_000);
    let packet = pair.browser.protect(&rtp(1, 1, b"still here"));
    assert!(pair.transport.unprotect_rtp(&packet).is_ok());
    assert_eq!(pair.events, [TransportEvent::Connected]);
}

#[test]
fn credentials_are_long_random_and_of_ice_characters() {
    let mut rng = StdRng::seed_from_u64(4);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10_000 {
        let credentials = IceCredentials::generate(&mut rng, 0);
        assert!(credentials.ufrag.len() >= 8 && credentials.pwd.len() >= 24);
        assert!(credentials.pwd.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)));
        assert!(seen.insert(credentials.ufrag));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_path_survives_any_datagrams(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..40)) {
        let identity = IDENTITY.with(Arc::clone);
        let now = begin();
        let mut transport = Transport::new(identity, IceCredentials::generate(&mut StdRng::seed_from_u64(1), 0), now);
        let remote = RemoteParameters { ufrag: "u".to_owned(), pwd: "p".to_owned(), fingerprint: [0; 32] };
        prop_assert!(transport.set_remote(remote).is_ok());
        for bytes in &datagrams {
            let verdict = transport.handle_stun(now, browser_address(), bytes);
            prop_assert!(matches!(verdict, StunVerdict::Dropped(_)));
            transport.handle_dtls(now, bytes);
            prop_assert!(transport.unprotect_rtp(bytes).is_err());
            prop_assert!(transport.unprotect_rtcp(bytes).is_err());
        }
        prop_assert_eq!(transport.poll_event(), None);
    }
}

/// The client of the load generator speaks to this path; the engine's tests build on it.
#[test]
fn the_load_client_connects_and_its_media_passes() {
    use load::client::{Client, ClientConfig, ClientEvent};

    for without_gcm in [false, true] {
        let mut now = begin();
        let identity = IDENTITY.with(Arc::clone);
        let ours = IceCredentials::generate(&mut StdRng::seed_from_u64(5), 0);
        let mut transport = Transport::new(Arc::clone(&identity), ours.clone(), now);
        let mut client = Client::new(ClientConfig { without_gcm, ..ClientConfig::default() }, now).unwrap();
        let offer = client.offer();
        let digest = offer.lines().find_map(|line| line.strip_prefix("a=fingerprint:sha-256 ")).unwrap();
        let digest: Vec<u8> = digest.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let remote =
            RemoteParameters { ufrag: "u".to_owned(), pwd: "p".to_owned(), fingerprint: digest.try_into().unwrap() };
        transport.set_remote(remote).unwrap();
        let section = |kind: &str, mid: u8| {
            format!(
                "m={kind}\r\na=mid:{mid}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\n\
                 a=candidate:1 1 udp 1 192.0.2.1 7000 typ host\r\na=ssrc:{}\r\n\
                 a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
                ours.ufrag,
                ours.pwd,
                identity.fingerprint(),
                100 + u32::from(mid),
            )
        };
        let answer = [section("audio 9 UDP/TLS/RTP/SAVPF 111", 0), section("video 9 UDP/TLS/RTP/SAVPF 96 97", 1)];
        client.set_answer(&answer.concat(), now).unwrap();
        let mut arrived = 0;
        let mut exchange = |client: &mut Client, transport: &mut Transport, now| {
            for _ in 0..20 {
                while let Some((_, bytes)) = client.poll_transmit() {
                    match classify(&bytes) {
                        Class::Stun => {
                            let verdict = transport.handle_stun(now, browser_address(), &bytes);
                            assert_eq!(verdict, StunVerdict::Bound { nominated: true });
                        }
                        Class::Dtls => transport.handle_dtls(now, &bytes),
                        Class::Rtp => arrived += u32::from(transport.unprotect_rtp(&bytes).is_ok()),
                        Class::Rtcp => assert!(transport.unprotect_rtcp(&bytes).is_ok()),
                        Class::Junk => panic!("the client sent junk"),
                    }
                }
                while let Some((_, bytes)) = transport.poll_transmit() {
                    client.handle_datagram(now, browser_address(), &bytes);
                }
            }
            arrived
        };
        exchange(&mut client, &mut transport, now);
        assert!(client.is_connected() && transport.is_connected());
        assert!(matches!(client.poll_event(), Some(ClientEvent::Connected)));
        client.send_audio(now, b"opus", 10);
        client.send_video_frame(now, &[7; 3_000], true);
        assert_eq!(exchange(&mut client, &mut transport, now), 4);
        now += Duration::from_millis(1_100);
        client.handle_timeout(now);
        exchange(&mut client, &mut transport, now);
        let mut video = rtp(101, 9, &[0x90, 0x80, 0x81, 2, 0x10, 0, 0, 0x9d, 1, 0x2a, 0, 0, 0, 0, 1]);
        transport.protect_rtp(&mut video, 0).unwrap();
        client.handle_datagram(now, browser_address(), &video);
        let Some(ClientEvent::Rtp(received)) = client.poll_event() else { panic!("no packet") };
        assert_eq!((&*received.mid, received.sequence & 0xffff), ("1", 9));
        client.close(now);
        exchange(&mut client, &mut transport, now);
        assert!(!transport.is_connected());
    }
}

thread_local! {
    static IDENTITY: Arc<Identity> = Arc::new(Identity::generate().unwrap());
}
