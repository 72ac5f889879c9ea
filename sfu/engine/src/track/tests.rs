#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use proptest::prelude::*;

use super::*;
use crate::rtp::packet::NewHeader;

fn track(now: Instant) -> Track {
    let coding = Coding { codec: Codec::Vp8, profile: None };
    let mut track = Track::new(TrackId::random(), "1".into(), Source::Camera, coding, now);
    track.ssrc = Some(7);
    track.rtx_ssrc = Some(8);
    track
}

fn rtp(ssrc: u32, payload_type: u8, sequence: u16, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let new = NewHeader { payload_type, marker: true, sequence, timestamp: 90, ssrc, has_extension: false };
    packet::write(&mut out, &new);
    out.extend_from_slice(payload);
    out.into()
}

const KEY: &[u8] = &[0x10, 0x00, 1, 2];
const DELTA: &[u8] = &[0x10, 0x01, 1, 2];

fn take(track: &mut Track, sequence: u16, payload: &[u8], now: Instant) -> Result<Incoming, Refused> {
    let packet = rtp(7, 96, sequence, payload);
    let header = packet::read(&packet).unwrap();
    track.take(packet, &header, None, now)
}

fn repair(track: &mut Track, original: u16, payload: &[u8], now: Instant) -> Result<Incoming, Refused> {
    let wrapped = rtp(8, 97, original.wrapping_add(999), &[&original.to_be_bytes(), payload].concat());
    let header = packet::read(&wrapped).unwrap();
    track.take_repair(&wrapped, &header, 96, now)
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
    assert_eq!(track.repaired, 1);
    assert!(track.nack.is_idle());
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
    assert_eq!(track.take_repair(&padding, &header, 96, now).unwrap_err(), Refused::NothingRepaired);
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
    let after: Vec<u64> = track.after(late.number).into_iter().map(|packet| packet.number - late.number).collect();
    assert_eq!(after, [1, 2]);
    for sequence in (16..300).filter(|sequence| *sequence != 150) {
        take(&mut track, sequence, DELTA, now).unwrap();
    }
    assert!(!repair(&mut track, 150, KEY, now).unwrap().starts_run, "what followed it is forgotten");
    assert!(track.keyframes.poll(now + Duration::from_secs(1), true), "who waits needs another one");
    assert!(track.recent.len() <= RECENT);
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
    assert!(!other.reception.is_started());
}

#[test]
fn sender_reports_go_on_with_spacing() {
    let now = Instant::now();
    let mut track = track(now);
    let gone: usize = (0..1000).filter(|ms| track.note_report(1, 2, now + Duration::from_millis(*ms))).count();
    assert_eq!(gone, 20);
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
