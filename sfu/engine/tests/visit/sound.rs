//! Sound on bad networks: redundancy as it comes, as it is added, and as it is taken off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use load::client::{ClientConfig, Received, Redundancy};
use wire::ParticipantId;
use wire::control::{Command, Door, Event, Source};
use wire::tap::TapFrame;

use crate::world::{Link, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// What a listener's jitter buffer holds.
const BUFFER: Duration = Duration::from_millis(120);
const OPUS: u8 = 111;
const RED: u8 = 63;
/// The time of the clients' first instant.
const ORIGIN: u32 = 10_000;

/// A speaker and a listener, 20 ms from the server, without pictures that would wait for anybody.
fn call(seed: u8, speaker: Redundancy, listener: Redundancy) -> World {
    let mut world = World::new(seed);
    world.delay = 20 * MS;
    for red in [speaker, listener] {
        world.join(ParticipantId::random(), Door::Admitted, ClientConfig { red, ..ClientConfig::default() });
    }
    world.connect();
    world
}

/// The frames of a packet with their times: RFC 2198 read once more, by the letter.
fn frames(packet: &Received) -> Vec<(u32, Vec<u8>)> {
    if packet.payload_type == OPUS {
        return vec![(packet.timestamp, packet.payload.to_vec())];
    }
    assert_eq!(packet.payload_type, RED);
    let (mut at, mut headers) = (0, Vec::new());
    while packet.payload[at] & 0x80 != 0 {
        let word = u32::from_be_bytes(packet.payload[at..at + 4].try_into().unwrap());
        assert_eq!(packet.payload[at] & 0x7f, OPUS);
        headers.push(((word >> 10) & 0x3fff, usize::try_from(word & 0x3ff).unwrap()));
        at += 4;
    }
    assert_eq!(packet.payload[at], OPUS);
    at += 1;
    let mut frames = Vec::new();
    for (offset, length) in headers {
        frames.push((packet.timestamp.wrapping_sub(offset), packet.payload[at..at + length].to_vec()));
        at += length;
    }
    frames.push((packet.timestamp, packet.payload[at..].to_vec()));
    frames
}

/// Share of the 20 ms of sound that the speaker said since `from` and the listener could not play out of a fixed buffer.
fn gaps(world: &World, from: Instant, buffer: Duration) -> f64 {
    let (speaker, listener) = (&world.seats[0], &world.seats[1]);
    let mut came: BTreeMap<Instant, Instant> = BTreeMap::new();
    for packet in listener.received.iter().filter(|packet| &*packet.mid == "0") {
        for (timestamp, _) in frames(packet) {
            let said = speaker.joined + Duration::from_micros(u64::from(timestamp - ORIGIN) * 1000 / 48);
            came.entry(said).and_modify(|first| *first = packet.at.min(*first)).or_insert(packet.at);
        }
    }
    let until = world.now - 2 * SECOND;
    let spoken = speaker.spoken.iter().filter(|(said, _)| (from..until).contains(said));
    let arrival = |said: &Instant| came.range(*said - MS..=*said + MS).map(|(_, at)| *at).min();
    let way = spoken.clone().filter_map(|(said, _)| Some(arrival(said)? - *said)).min().unwrap();
    let (mut whole, mut lost) = (0u32, 0u32);
    for (said, length) in spoken {
        for part in 0..u32::try_from(*length).unwrap() / 20 {
            let deadline = *said + way + buffer + part * 20 * MS;
            whole += 1;
            lost += u32::from(arrival(said).is_none_or(|at| at > deadline));
        }
    }
    assert!(whole > 500, "{whole} frames");
    f64::from(lost) / f64::from(whole)
}

fn sound(world: &World, seat: usize) -> Vec<&Received> {
    world.seats[seat].received.iter().filter(|packet| &*packet.mid == "0").collect()
}

#[test]
fn two_who_know_redundancy_pass_it_untouched_and_one_who_does_not_gets_the_frames_alone() {
    let mut world = call(40, Redundancy::Sends, Redundancy::Reads);
    world.run(3 * SECOND);
    let there = sound(&world, 1);
    assert!(there.len() > 140);
    let red = there.iter().filter(|packet| packet.payload_type == RED).count();
    assert!(there.len() - red <= 3, "the first one has nothing to repeat");
    assert!(there.iter().rev().take(100).all(|packet| frames(packet).len() == 2));
    assert!(sound(&world, 0).iter().all(|packet| packet.payload_type == OPUS), "nothing is lost: nothing is added");
    assert_eq!(world.counters().protected_down, 0);

    let mut world = call(41, Redundancy::Sends, Redundancy::Unknown);
    world.run(3 * SECOND);
    let there = sound(&world, 1);
    assert!(there.len() > 140);
    assert!(there.iter().all(|packet| packet.payload_type == OPUS && packet.payload[..] == [0; 60]));
}

#[test]
fn what_is_lost_on_the_way_here_comes_back_under_its_own_number() {
    for (seed, listener) in [(42, Redundancy::Unknown), (43, Redundancy::Reads)] {
        let mut world = call(seed, Redundancy::Sends, listener);
        world.run(SECOND);
        world.seats[0].up.loss = 0.1;
        let from = world.now;
        world.run(20 * SECOND);
        assert!(world.counters().recovered_up > 60, "{:?}", world.counters().recovered_up);
        let numbers: Vec<u64> = sound(&world, 1).iter().map(|packet| packet.sequence).collect();
        let mut unique = numbers.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), numbers.len(), "no number twice");
        assert!(numbers.is_sorted(), "what comes back comes before what brought it");
        let missing = 1.0 - unique.len() as f64 / (unique[unique.len() - 1] - unique[0] + 1) as f64;
        assert!(missing < 0.02, "{missing} of the numbers are missing");
        let gaps = gaps(&world, from, BUFFER);
        assert!(gaps < 0.02, "{gaps}");
        // The publisher hears of its own loss, whatever came back.
        assert!(world.seats[1].client.stats().sections["0"].duplicates == 0);
    }
}

#[test]
fn a_listener_behind_loss_is_owed_redundancy_by_how_much_is_lost_and_for_ten_seconds_after() {
    let mut world = call(44, Redundancy::Unknown, Redundancy::Reads);
    let reach = |world: &World| {
        let last = sound(world, 1).into_iter().rev().take(20).map(|packet| frames(packet).len() - 1);
        last.max().unwrap()
    };
    world.run(5 * SECOND);
    assert_eq!(reach(&world), 0);
    world.seats[1].down = Link { loss: 0.06, ..Link::kbits(5000, 300) };
    world.run(10 * SECOND);
    assert_eq!(reach(&world), 1);
    world.seats[1].down.loss = 0.2;
    world.run(8 * SECOND);
    assert_eq!(reach(&world), 2);
    world.seats[1].down.loss = 0.0;
    world.run(5 * SECOND);
    assert_eq!(reach(&world), 2, "it may come again at once");
    world.run(25 * SECOND);
    assert_eq!(reach(&world), 0);
    assert!(sound(&world, 0).iter().all(|packet| packet.payload_type == OPUS));
}

#[test]
fn with_64_kilobits_in_all_sound_has_hardly_a_gap() {
    for (seed, loss, bar) in [(45, 0.0, 0.005), (46, 0.1, 0.01), (47, 0.3, 0.05)] {
        let mut world = call(seed, Redundancy::Unknown, Redundancy::Reads);
        world.seats[1].down = Link { loss, ..Link::kbits(64, 300) };
        // The voice becomes smaller after ten seconds, and again once the loss is known.
        world.run(40 * SECOND);
        let from = world.now;
        world.run(40 * SECOND);
        // Probes fill the queue for a moment now and then: what comes late by that is no loss.
        let gaps = gaps(&world, from, 500 * MS);
        assert!(gaps < bar, "loss {loss}: {gaps}");
    }
}

#[test]
fn without_a_bottleneck_a_third_of_the_packets_lost_are_few_gaps() {
    for (seed, speaker) in [(48, Redundancy::Unknown), (49, Redundancy::Sends)] {
        let mut world = call(seed, speaker, Redundancy::Reads);
        world.seats[1].down = Link { loss: 0.3, ..Link::kbits(3000, 300) };
        world.run(10 * SECOND);
        let from = world.now;
        world.run(30 * SECOND);
        let gaps = gaps(&world, from, BUFFER);
        assert!(gaps < 0.05, "{speaker:?}: {gaps}");
    }
}

#[test]
fn redundancy_that_does_not_fit_is_left_out() {
    let mut world = call(50, Redundancy::Sends, Redundancy::Reads);
    world.seats[1].down = Link::kbits(64, 300);
    world.run(40 * SECOND);
    let last = sound(&world, 1).into_iter().rev().take(50);
    assert!(last.clone().all(|packet| packet.payload_type == OPUS), "half of 64 kbit/s hold a voice once");
}

#[test]
fn nothing_that_was_said_before_a_door_opened_comes_in_with_what_is_said_after() {
    let mut world = World::new(51);
    let red = Redundancy::Sends;
    let config = ClientConfig { red, ..ClientConfig::default() };
    world.join(ParticipantId::random(), Door::Waiting, config.clone());
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig { red: Redundancy::Reads, ..config });
    world.connect();
    world.run(2 * SECOND);
    let opened = world.now;
    world.admit(0).unwrap();
    world.run(SECOND);
    let first = sound(&world, 1).into_iter().flat_map(frames).map(|(timestamp, _)| timestamp).min().unwrap();
    let said = world.seats[0].joined + Duration::from_micros(u64::from(first - ORIGIN) * 1000 / 48);
    assert!(said >= opened, "{:?} before", opened - said);
    // And what is said while muted by the clinician stays unsaid.
    let (room, peer) = (world.room, world.seats[0].peer);
    let mute = |muted| Command::Mute { room, peer, source: Source::Microphone, muted };
    world.command(mute(true)).unwrap();
    world.run(SECOND);
    let (unmuted, before) = (world.now, sound(&world, 1).len());
    world.command(mute(false)).unwrap();
    world.run(SECOND);
    let shift = frames(sound(&world, 1)[before]).last().unwrap().0;
    assert!(sound(&world, 1)[before..].iter().flat_map(|packet| frames(packet)).all(|(at, _)| at >= shift));
    assert!(sound(&world, 1)[before].at >= unmuted);
}

#[test]
fn the_recorder_gets_plain_sound_in_order_with_what_came_back() {
    let mut world = call(52, Redundancy::Sends, Redundancy::Unknown);
    for seat in 0..2 {
        world.consent(world.seats[seat].participant, true);
    }
    let recording = wire::RecordingId::random();
    world.start_tap(recording).unwrap();
    world.seats[0].up.loss = 0.1;
    world.run(10 * SECOND);
    let ssrc = world.seats[0].client.ssrc(load::client::sdp::SectionKind::Audio).unwrap().to_be_bytes();
    let packets = world.tap_frames.iter().filter_map(|(_, frame)| match frame {
        TapFrame::Rtp { packet, .. } if packet[8..12] == ssrc => Some(packet.clone()),
        _ => None,
    });
    let packets: Vec<_> = packets.into_iter().collect();
    assert!(world.counters().recovered_up > 20 && packets.len() > 480, "{}", packets.len());
    let mut last = None;
    for packet in packets {
        assert_eq!((packet[0], packet[1] & 0x7f), (0x80, OPUS));
        assert_eq!(packet[12..], [0; 60], "the frame alone");
        let number = u16::from_be_bytes([packet[2], packet[3]]);
        assert!(last.is_none_or(|last: u16| (number.wrapping_sub(last) as i16) > 0), "in order");
        last = Some(number);
    }
}

#[test]
fn a_publisher_is_told_of_the_loss_of_its_worst_listener_on_its_voice_alone() {
    let mut world = call(53, Redundancy::Unknown, Redundancy::Unknown);
    world.run(2 * SECOND);
    world.seats[1].down = Link { loss: 0.2, ..Link::kbits(5000, 300) };
    world.run(20 * SECOND);
    let reports = world.seats[0].client.reported_loss();
    let of = |kind| reports[&world.seats[0].client.ssrc(kind).unwrap()];
    let voice = of(load::client::sdp::SectionKind::Audio);
    assert!((0.12..0.28).contains(&(f64::from(voice.0) / 256.0)), "{voice:?}");
    assert_eq!(voice.1, 0, "in all nothing was lost on the way here");
    assert_eq!(of(load::client::sdp::SectionKind::Video), (0, 0));
    assert!(world.events.iter().all(|event| !matches!(event, Event::PeerLost { .. })));
}
