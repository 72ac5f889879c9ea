#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use proptest::prelude::*;

use wire::control::Codec;

use super::*;
use crate::rtp::packet::{self, NewHeader};

fn track(now: Instant) -> Track {
    let coding = Coding { codec: Codec::Vp8, profile: None };
    let mut track = Track::new(TrackId::random(), "1".into(), Source::Camera, coding, now);
    assert!(!track.set_sources(&Sources { named: vec![(7, Some(8))], ..Sources::default() }, now));
    track
}

fn rtp(ssrc: u32, payload_type: u8, sequence: u16, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let new = NewHeader { payload_type, marker: true, sequence, timestamp: 90, ssrc, has_extension: false, padding: 0 };
    packet::write(&mut out, &new);
    out.extend_from_slice(payload);
    out.into()
}

const KEY: &[u8] = &[0x10, 0x00, 1, 2];
const DELTA: &[u8] = &[0x10, 0x01, 1, 2];

fn take(track: &mut Track, sequence: u16, payload: &[u8], now: Instant) -> Result<Incoming, Refused> {
    let packet = rtp(7, 96, sequence, payload);
    let header = packet::read(&packet).unwrap();
    let incoming = track.take(0, packet, &header, Extras::default(), now)?;
    track.keep(&incoming);
    Ok(incoming)
}

fn repair(track: &mut Track, original: u16, payload: &[u8], now: Instant) -> Result<Incoming, Refused> {
    let wrapped = rtp(8, 97, original.wrapping_add(999), &[&original.to_be_bytes(), payload].concat());
    let header = packet::read(&wrapped).unwrap();
    track.take_repair(0, &wrapped, &header, (96, Extras::default()), now)
}

#[test]
fn a_repair_is_unwrapped_to_what_was_lost() {
    let now = Instant::now();
    let mut track = track(now);
    take(&mut track, 65_534, DELTA, now).unwrap();
    take(&mut track, 0, DELTA, now).unwrap();
    let incoming = repair(&mut track, 65_535, DELTA, now).unwrap();
    assert_eq!(incoming.packet, rtp(7, 96, 65_535, DELTA));
    assert_eq!((&incoming.payload[..], incoming.marker, incoming.timestamp), (DELTA, true, 90));
    assert_eq!(repair(&mut track, 65_535, DELTA, now).unwrap_err(), Refused::Repeated);
    assert_eq!(take(&mut track, 65_535, DELTA, now).unwrap_err(), Refused::Repeated);
    assert_eq!(track.streams[0].repaired, 1);
    assert!(track.streams[0].nack.is_idle());
}

#[test]
fn probing_by_rtx_repairs_nothing() {
    let now = Instant::now();
    let mut track = track(now);
    assert!(repair(&mut track, 5, DELTA, now).is_err(), "nothing came yet");
    take(&mut track, 10, DELTA, now).unwrap();
    assert!(repair(&mut track, 11, DELTA, now).is_err(), "not missed");
    let padding = rtp(8, 97, 1, &[]);
    let header = packet::read(&padding).unwrap();
    assert_eq!(
        track.take_repair(0, &padding, &header, (96, Extras::default()), now).unwrap_err(),
        Refused::NothingRepaired
    );
}

#[test]
fn a_keyframe_that_comes_late_starts_a_run_as_long_as_the_rest_is_here() {
    let now = Instant::now();
    let mut track = track(now);
    assert!(take(&mut track, 10, KEY, now).unwrap().starts_run);
    assert!(!take(&mut track, 11, DELTA, now).unwrap().starts_run);
    take(&mut track, 14, DELTA, now).unwrap();
    take(&mut track, 13, DELTA, now).unwrap();
    let late = repair(&mut track, 12, KEY, now).unwrap();
    assert!(late.starts_run && !late.is_newest);
    let after: Vec<u64> = track.after(0, late.number).into_iter().map(|packet| packet.number - late.number).collect();
    assert_eq!(after, [1, 2]);
    for sequence in (16..300).filter(|sequence| *sequence != 150) {
        take(&mut track, sequence, DELTA, now).unwrap();
    }
    assert!(!repair(&mut track, 150, KEY, now).unwrap().starts_run, "what followed it is forgotten");
    assert!(track.streams[0].keyframes.poll(now + Duration::from_secs(1), true, None), "who waits needs another one");
    assert!(track.after(0, 0).len() <= 128);
}

#[test]
fn packets_are_remembered_only_while_something_is_missing() {
    let now = Instant::now();
    let mut track = track(now);
    for sequence in 1..=200 {
        take(&mut track, sequence, DELTA, now).unwrap();
    }
    assert!(track.streams[0].recent.is_empty());
    take(&mut track, 202, DELTA, now).unwrap();
    take(&mut track, 203, DELTA, now).unwrap();
    let late = repair(&mut track, 201, KEY, now).unwrap();
    assert!(late.starts_run);
    assert_eq!(track.after(0, late.number).len(), 2);
    take(&mut track, 204, DELTA, now).unwrap();
    assert!(track.streams[0].recent.is_empty(), "nothing is missing any more");
}

#[test]
fn a_track_becomes_another_one_at_most_once_a_second() {
    let now = Instant::now();
    let mut track = track(now);
    assert!(track.may_be_reborn(now), "before its first packet");
    take(&mut track, 1, KEY, now).unwrap();
    assert!(!track.may_be_reborn(now + Duration::from_millis(900)));
    let later = now + REBIRTH;
    assert!(track.may_be_reborn(later));
    let id = TrackId::random();
    let coding = Coding { codec: Codec::H264, profile: None };
    let other = track.reborn(id, coding, later);
    assert_eq!((other.id, other.coding, other.source), (id, coding, Source::Camera));
    assert!(!other.is_started());
}

#[test]
fn sender_reports_go_on_with_spacing() {
    let now = Instant::now();
    let mut track = track(now);
    let gone: usize =
        (0..1000).filter(|ms| track.streams[0].note_report(1, 2, now + Duration::from_millis(*ms))).count();
    assert_eq!(gone, 20);
}

fn layered(now: Instant) -> Track {
    let coding = Coding { codec: Codec::Vp8, profile: None };
    let mut track = Track::new(TrackId::random(), "1".into(), Source::Camera, coding, now);
    let rids = ["q", "h", "f"].map(Arc::from).to_vec();
    assert!(!track.set_sources(&Sources { rids, ..Sources::default() }, now), "nothing came of it before");
    track
}

/// A first packet of a frame in temporal layer `temporal`, a keyframe of this size or none.
fn frame(temporal: u8, size: Option<(u16, u16)>, len: usize) -> Vec<u8> {
    let mut payload = vec![0x90, 0xe0, 0x80, 0x01, 0x07, temporal << 6 | 0x20];
    match size {
        Some((width, height)) => {
            payload.extend_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a]);
            payload.extend_from_slice(&width.to_le_bytes());
            payload.extend_from_slice(&height.to_le_bytes());
        }
        None => payload.push(0x11),
    }
    payload.resize(len, 0);
    payload
}

#[test]
fn steps_are_what_flows_with_what_it_costs() {
    let now = Instant::now();
    let mut track = layered(now);
    assert!(track.steps(now).is_empty());
    // Layer h stops after two seconds, q and f go on; each has a base and twice as much above it.
    for ms in (0..4000u32).step_by(20) {
        let at = now + Duration::from_millis(ms.into());
        for (layer, size, len) in [(0u8, (320, 180), 100), (1, (640, 360), 300), (2, (1280, 720), 1000)] {
            if layer == 1 && ms >= 2000 {
                continue;
            }
            let temporal = u8::from(ms % 40 != 0);
            let payload = frame(temporal, (ms == 0).then_some(size), len);
            let packet = rtp(u32::from(layer) + 50, 96, u16::try_from(ms / 20).unwrap(), &payload);
            let header = packet::read(&packet).unwrap();
            track.take(layer, packet, &header, Extras::default(), at).unwrap();
        }
    }
    let steps = track.steps(now + Duration::from_secs(4));
    let found: Vec<_> = steps.iter().map(|s| (s.step.spatial, s.step.temporal, s.pixels.unwrap())).collect();
    assert_eq!(found, [(0, 0, 57_600), (0, 1, 57_600), (2, 0, 921_600), (2, 1, 921_600)]);
    // 25 frames a second in each temporal layer, with 12 bytes of header.
    let rates: Vec<_> = steps.iter().map(|s| s.rate.as_kbps()).collect();
    assert_eq!(rates, [22, 44, 202, 405]);
    assert_eq!(track.live(now + Duration::from_secs(4)), Live { count: 3, mask: 0b101 });
}

#[test]
fn the_best_live_layer_that_is_not_too_much_is_found() {
    let live = Live { count: 3, mask: 0b101 };
    assert_eq!([0, 1, 2, 255].map(|most| live.find(most)), [Some(0), Some(0), Some(2), Some(2)]);
    assert_eq!(Live { count: 3, mask: 0b100 }.find(0), Some(2), "rather too much than nothing");
    assert_eq!(Live { count: 3, mask: 0 }.find(2), None);
}

#[test]
fn layers_that_change_in_an_offer_make_another_track() {
    let now = Instant::now();
    let mut track = layered(now);
    let same = Sources { rids: ["q", "h", "f"].map(Arc::from).to_vec(), ..Sources::default() };
    let packet = rtp(7, 96, 1, KEY);
    let header = packet::read(&packet).unwrap();
    track.take(2, packet, &header, Extras::default(), now).unwrap();
    assert!(!track.set_sources(&same, now));
    assert!(track.set_sources(&Sources::default(), now));
    assert_eq!(track.streams.len(), 1);
}

proptest! {
    /// Any payload on either stream is taken or refused, and what is taken has the Track's own SSRC.
    #[test]
    fn any_packets_are_survived(packets in prop::collection::vec((any::<bool>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 1..60)) {
        let now = Instant::now();
        let mut track = track(now);
        for (is_rtx, sequence, payload) in packets {
            let taken = if is_rtx {
                repair(&mut track, sequence, &payload, now)
            } else {
                take(&mut track, sequence, &payload, now)
            };
            if let Ok(incoming) = taken {
                prop_assert_eq!(packet::read(&incoming.packet).unwrap().ssrc, 7);
            }
        }
    }
}
