//! The gate by itself: what it reassembles, what it refuses, what it never lets through.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use proptest::prelude::*;

use super::super::testing::{fragment, record};
use super::*;

/// A ClientHello body as Chromium's is built, with an unknown extension of `padding` bytes in front.
fn hello(cookie: &[u8], profiles: &[u16], padding: usize) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let list = |items: &[u16]| {
        let mut bytes = u16::try_from(items.len() * 2).unwrap().to_be_bytes().to_vec();
        bytes.extend(items.iter().flat_map(|item| item.to_be_bytes()));
        bytes
    };
    let mut extensions = extension(0x1a1a, &vec![0; padding]);
    extensions.extend(extension(10, &list(&[29, 23])));
    extensions.extend(extension(23, &[]));
    let mut srtp = list(profiles);
    srtp.push(0);
    extensions.extend(extension(14, &srtp));
    let mut body = vec![0xfe, 0xfd];
    body.extend_from_slice(&[9; 32]);
    body.push(0);
    body.push(u8::try_from(cookie.len()).unwrap());
    body.extend_from_slice(cookie);
    body.extend(list(&[0xc02b, 0xc02f]));
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    body
}

const COOKIE: Cookie = [3; 20];

/// The second ClientHello as it was passed, and whether GCM is offered.
fn passed_hello(gate: &mut Gate) -> Option<(BytesMut, bool)> {
    match gate.poll(false) {
        Some(Step::Hello { second, gcm, .. }) => Some((second, gcm)),
        Some(Step::Record(_) | Step::Verify(_)) | None => None,
    }
}

fn whole(kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    record(22, 0, u32::from(sequence) + 40, &fragment(kind, body.len(), sequence, 0, body))
}

#[test]
fn a_torn_client_hello_passes_whole_in_any_order() {
    let body = hello(&COOKIE, &[0x0001, 0x0008, 0x0007], 1_200);
    let pieces: Vec<(usize, &[u8])> =
        body.chunks(211).scan(0, |at, piece| Some((std::mem::replace(at, *at + piece.len()), piece))).collect();
    for rotation in 0..pieces.len() {
        let mut gate = Gate::new(COOKIE);
        let mut order = pieces.clone();
        order.rotate_left(rotation);
        for (number, (offset, piece)) in order.iter().enumerate() {
            assert_eq!(passed_hello(&mut gate), None);
            let bytes = record(22, 0, number as u32, &fragment(1, body.len(), 1, *offset, piece));
            assert_eq!(gate.handle_datagram(&bytes), Seen::default());
        }
        let (passed, gcm) = passed_hello(&mut gate).unwrap();
        assert!(gcm);
        assert_eq!(passed[..], record(22, 0, 1, &fragment(1, body.len(), 1, 0, &body))[..]);
        assert_eq!(gate.held_bytes(), 0);
    }
}

#[test]
fn use_srtp_decides_and_a_hello_that_could_only_fail_is_not_passed() {
    for (profiles, expected) in
        [(&[7u16, 1][..], Some(true)), (&[1, 8][..], Some(false)), (&[8][..], None), (&[][..], None)]
    {
        let mut gate = Gate::new(COOKIE);
        gate.handle_datagram(&whole(1, 1, &hello(&COOKIE, profiles, 0)));
        assert_eq!(passed_hello(&mut gate).map(|(_, gcm)| gcm), expected);
        assert_eq!(gate.passed(), if expected.is_some() { 2 } else { 0 });
    }
}

#[test]
fn hellos_without_cookie_are_answered_and_forgotten_and_only_our_cookie_passes() {
    let mut gate = Gate::new(COOKIE);
    for _ in 0..100 {
        gate.handle_datagram(&whole(1, 0, &hello(b"", &[7], 0)));
        let Some(Step::Verify(request)) = gate.poll(false) else { panic!("no answer") };
        assert_eq!(request[28..], COOKIE);
        assert_eq!((gate.poll(false), gate.held_bytes(), gate.passed()), (None, 0, 0));
    }
    for cookie in [&b""[..], b"theirs", &[3; 19], &[4; 20]] {
        gate.handle_datagram(&whole(1, 1, &hello(cookie, &[7], 0)));
        assert_eq!((gate.poll(false), gate.passed()), (None, 0));
    }
    gate.handle_datagram(&whole(1, 1, &hello(&COOKIE, &[7], 0)));
    let Some(Step::Hello { first, second, gcm: true }) = gate.poll(false) else { panic!("not passed") };
    assert_eq!(first[25..], hello(b"", &[7], 0));
    assert_eq!(second[25..], hello(&COOKIE, &[7], 0));
    assert_eq!(gate.passed(), 2);
    assert!(gate.handle_datagram(&whole(1, 1, &hello(&COOKIE, &[7], 0))).repeated);
}

#[test]
fn finished_waits_for_the_keys_and_for_change_cipher_spec() {
    let mut gate = Gate { next: 5, ..Gate::new(COOKIE) };
    let finished = record(22, 1, 0, &[1; FINISHED_LENGTH]);
    gate.handle_datagram(&finished);
    assert_eq!(gate.poll(true), None);
    gate.handle_datagram(&record(20, 0, 9, &[1]));
    assert_eq!(gate.poll(false), None);
    assert_eq!(gate.poll(true), Some(Step::Record(BytesMut::from(&record(20, 0, 0, &[1])[..]))));
    assert_eq!(gate.poll(true), Some(Step::Record(BytesMut::from(&finished[..]))));
    gate.handle_datagram(&record(20, 0, 9, &[1]));
    assert_eq!(gate.poll(true), None);
    for number in 0..1_000 {
        gate.handle_datagram(&record(22, 1, number, &[2; FINISHED_LENGTH]));
        gate.poll(true);
    }
    assert_eq!(gate.finished_passed, MAX_FINISHED);
}

#[test]
fn after_the_handshake_only_encrypted_alerts_and_data_pass() {
    let mut gate = Gate::new(COOKIE);
    gate.connect();
    for (kind, epoch, passes) in
        [(20, 0, false), (22, 0, false), (22, 1, false), (21, 0, false), (23, 0, false), (21, 1, true), (23, 1, true)]
    {
        gate.handle_datagram(&record(kind, epoch, 1, &[0; 30]));
        assert_eq!(gate.poll(true).is_some(), passes, "type {kind}, epoch {epoch}");
    }
    gate.close();
    gate.handle_datagram(&record(23, 1, 1, &[0; 30]));
    assert_eq!(gate.poll(true), None);
}

#[test]
fn a_forged_length_only_delays_the_message() {
    let body = hello(&COOKIE, &[7], 300);
    let mut gate = Gate::new(COOKIE);
    gate.handle_datagram(&record(22, 0, 1, &fragment(1, 9_000, 1, 500, &[1; 50])));
    gate.handle_datagram(&whole(1, 1, &body));
    assert!(passed_hello(&mut gate).is_some());
}

/// A datagram with the shape of DTLS: records with consistent lengths and mostly plausible fragments inside.
fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0u8..25, 0usize..40_000, 0u16..8, 0usize..20_000, proptest::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(kind, length, sequence, offset, body)| fragment(kind, length, sequence, offset, &body));
    let one = (19u8..25, 0u16..3, any::<u32>(), proptest::collection::vec(piece, 0..6))
        .prop_map(|(kind, epoch, number, pieces)| record(kind, epoch, number, &pieces.concat()));
    proptest::collection::vec(one, 1..5).prop_map(|records| records.concat())
}

proptest! {
    #[test]
    fn whatever_comes_memory_is_bounded_and_only_whole_expected_records_pass(
        datagrams in proptest::collection::vec(prop_oneof![shaped(), proptest::collection::vec(any::<u8>(), 0..120)], 0..60),
        keys_ready in any::<bool>(),
    ) {
        let mut gate = Gate::new(COOKIE);
        let mut expected = 2;
        for datagram in &datagrams {
            gate.handle_datagram(datagram);
            prop_assert!(gate.held_bytes() <= MAX_PENDING + MAX_HELD * 61);
            while let Some(step) = gate.poll(keys_ready) {
                let Step::Record(record) = step else { continue };
                let (parsed, tail) = Record::read(&record).unwrap();
                prop_assert!(tail.is_empty());
                if parsed.kind == HANDSHAKE && parsed.epoch == 0 {
                    let (message, tail) = Fragment::read(parsed.body).unwrap();
                    prop_assert!(tail.is_empty());
                    prop_assert_eq!((message.sequence, message.offset, message.length), (expected, 0, message.body.len()));
                    expected += 1;
                } else {
                    prop_assert!(matches!((parsed.kind, parsed.epoch), (CHANGE_CIPHER_SPEC, 0) | (HANDSHAKE, 1)));
                }
            }
        }
    }

    #[test]
    fn a_hello_reader_never_reads_past_its_input(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ClientHello::read(&bytes);
        let _ = hello::without_cookie(&bytes);
    }
}

#[test]
fn a_cut_hello_is_refused() {
    let body = hello(b"cookie", &[7, 1], 0);
    for cut in 0..body.len() {
        assert_eq!(ClientHello::read(&body[..cut]).filter(|hello| hello.gcm), None, "cut at {cut}");
    }
}
