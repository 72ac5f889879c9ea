#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use std::time::Instant;

use wire::TrackId;
use wire::control::{Codec, Source};

use super::super::*;
use crate::rtp::packet::{self, NewHeader};

const OPUS: u8 = 111;

struct Speaker {
    track: Track,
    now: Instant,
}

impl Speaker {
    fn new() -> Self {
        let now = Instant::now();
        let coding = Coding { codec: Codec::Opus, profile: None };
        let mut track = Track::new(TrackId::random(), "0".into(), Source::Microphone, coding, now);
        track.set_sources(&Sources { named: vec![(7, None)], ..Sources::default() }, now);
        Self { track, now }
    }

    /// The `n`th packet, with the frames of the `back` packets before it. What it brought back, and itself.
    fn take(&mut self, n: u16, back: u16) -> Option<(Vec<Incoming>, Incoming)> {
        let frame = |n: u16| n.to_be_bytes();
        let frames: Vec<(u32, [u8; 2])> =
            (1..=back).rev().map(|k| (960 * u32::from(k), frame(n.wrapping_sub(k)))).collect();
        let mut payload = Vec::new();
        crate::rtp::red::write(
            &mut payload,
            OPUS,
            frames.iter().map(|(offset, frame)| (*offset, &frame[..])),
            &frame(n),
        );
        self.raw(n, u32::from(n) * 960, &payload, Some(OPUS))
    }

    fn raw(&mut self, n: u16, timestamp: u32, payload: &[u8], red: Option<u8>) -> Option<(Vec<Incoming>, Incoming)> {
        let mut packet = Vec::new();
        let header = NewHeader {
            payload_type: 63,
            marker: false,
            sequence: n,
            timestamp,
            ssrc: 7,
            has_extension: false,
            padding: 0,
        };
        packet::write(&mut packet, &header);
        packet.extend_from_slice(payload);
        let packet = Bytes::from(packet);
        let header = packet::read(&packet).unwrap();
        let extras = Extras { red, ..Extras::default() };
        let incoming = self.track.take(0, packet, &header, extras, self.now).ok()?;
        Some((self.track.take_recovered(), incoming))
    }
}

fn wire(incoming: &Incoming) -> u16 {
    crate::rtp::sequence::wire(incoming.number)
}

#[test]
fn a_packet_is_its_own_frame_and_what_came_goes_on_beside_it() {
    let mut speaker = Speaker::new();
    speaker.take(10, 0);
    let (recovered, incoming) = speaker.take(11, 1).unwrap();
    assert!(recovered.is_empty());
    assert_eq!(&incoming.payload[..], 11u16.to_be_bytes());
    let whole = incoming.unwrapped.unwrap().whole.unwrap();
    assert_eq!(whole.len(), 4 + 1 + 2 + 2);
    assert!(incoming.packet.as_ptr_range().contains(&whole.as_ptr()), "nothing was copied");
}

#[test]
fn up_to_two_lost_packets_come_back_in_order_once_and_no_third() {
    let mut speaker = Speaker::new();
    speaker.take(100, 2);
    let (recovered, _) = speaker.take(104, 3).unwrap();
    let found: Vec<_> = recovered.iter().map(|one| (wire(one), one.timestamp, one.payload.to_vec())).collect();
    let frame = |n: u16| (n, u32::from(n) * 960, n.to_be_bytes().to_vec());
    assert_eq!(found, [frame(102), frame(103)], "101 would be played too late");
    assert!(recovered.iter().all(|one| one.unwrapped.as_ref().unwrap().whole.is_none() && one.audio_level.is_none()));
    assert!(speaker.take(105, 2).unwrap().0.is_empty());
    assert!(speaker.take(103, 1).is_none(), "its original is a repetition");
}

#[test]
fn an_original_that_is_late_is_not_lost() {
    let mut speaker = Speaker::new();
    for n in [1, 2, 4, 3, 5] {
        speaker.take(n, 1);
    }
    assert_eq!(speaker.track.streams[0].reception.totals(), (5, 5));
    speaker.take(7, 1);
    assert_eq!(speaker.track.streams[0].reception.totals(), (7, 6), "what came back was lost all the same");
    speaker.take(6, 1);
    speaker.take(6, 1);
    assert_eq!(speaker.track.streams[0].reception.totals(), (7, 7), "a repetition counts once");
}

#[test]
fn nothing_from_before_the_first_packet_or_a_door_comes_back_or_goes_on() {
    let mut speaker = Speaker::new();
    let (recovered, first) = speaker.take(50, 2).unwrap();
    assert!(recovered.is_empty() && first.unwrapped.unwrap().whole.is_none());
    speaker.take(51, 0);
    speaker.track.forget_recent();
    let (recovered, incoming) = speaker.take(53, 2).unwrap();
    assert!(recovered.is_empty() && incoming.unwrapped.unwrap().whole.is_none());
    let (_, incoming) = speaker.take(54, 1).unwrap();
    assert!(incoming.unwrapped.unwrap().whole.is_some());
    let (_, incoming) = speaker.take(55, 3).unwrap();
    assert!(incoming.unwrapped.unwrap().whole.is_none(), "it reaches behind the door");
}

#[test]
fn another_codec_inside_or_a_broken_payload_is_no_sound() {
    let mut speaker = Speaker::new();
    assert!(speaker.raw(1, 0, &[0x80 | 9, 0x0f, 0, 1, 9, 1, 2], Some(OPUS)).is_none());
    assert!(speaker.raw(2, 0, &[0x80 | OPUS, 0x0f, 0, 200, OPUS, 1], Some(OPUS)).is_none());
    assert!(speaker.raw(3, 0, &[], Some(OPUS)).is_some(), "padding alone is none, and fills its place");
    assert!(speaker.raw(4, 0, &[1, 2, 3], None).unwrap().1.unwrapped.is_none());
}

#[test]
fn a_time_that_contradicts_its_number_brings_nothing_back() {
    let mut speaker = Speaker::new();
    speaker.take(20, 0);
    let payload = [0x80 | OPUS, 0xff, 0xfc, 1, OPUS, 1, 2];
    assert!(speaker.raw(22, 22 * 960, &payload, Some(OPUS)).unwrap().0.is_empty(), "long before the one before it");
}
