//! Slots: Tracks come and go without negotiation, and what is lacking is told.

use std::time::Duration;

use load::client::ClientConfig;
use wire::ParticipantId;
use wire::control::{Door, Event, SlotTrack, Source};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// What each mid of a Peer carries after all events.
fn carried(world: &World, seat: usize) -> Vec<(String, SlotTrack)> {
    let mut slots = std::collections::BTreeMap::new();
    for event in &world.events {
        if let Event::SlotChanged { peer, mid, carries, .. } = event
            && *peer == world.seats[seat].peer
        {
            slots.insert(mid.clone(), carries.clone());
        }
    }
    slots.into_iter().filter_map(|(mid, carries)| Some((mid, carries?))).collect()
}

fn wanted(world: &World, seat: usize) -> Vec<(u8, u8)> {
    let of = |event: &Event| match event {
        Event::SlotsWanted { peer, audio, video, .. } if *peer == world.seats[seat].peer => Some((*audio, *video)),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

#[test]
fn a_third_person_needs_slots_and_gets_them_by_a_later_offer() {
    let mut world = World::two_party(1);
    world.connect();
    world.run(SECOND);
    world.join(ParticipantId::random(), Door::Waiting, ClientConfig::default());
    world.run(SECOND);
    assert!(wanted(&world, 0).is_empty(), "who waits takes no slot");
    world.admit(2).unwrap();
    world.run(SECOND);
    for seat in 0..3 {
        assert_eq!(wanted(&world, seat), [(2, 2)], "seat {seat}");
        assert_eq!(carried(&world, seat).len(), 2);
    }
    let first = world.negotiate(0);
    for seat in 0..3 {
        world.seats[seat].client.set_slots(2, 2);
        let answer = world.negotiate(seat);
        if seat == 0 {
            // Credentials, SSRCs and msids of the first sections are what they were.
            let lines = |text: &str, key: &str| -> Vec<String> {
                text.lines().filter(|line| line.starts_with(key)).map(str::to_owned).collect()
            };
            for key in ["a=ssrc", "a=msid:", "a=ice-ufrag", "a=ice-pwd", "a=mid"] {
                let (before, after) = (lines(&first, key), lines(&answer, key));
                assert!(before.iter().all(|line| after.contains(line)), "{key}");
            }
        }
    }
    world.run(2 * SECOND);
    for seat in 0..3 {
        let slots = carried(&world, seat);
        assert_eq!(slots.len(), 4, "{slots:?}");
        for (mid, carries) in &slots {
            let packets = world.seats[seat].packets(mid);
            let least = if carries.source == Source::Microphone { 90 } else { 150 };
            assert!(packets.len() > least, "seat {seat}, mid {mid}: {} packets", packets.len());
            assert_ne!(carries.participant, world.seats[seat].participant, "nobody gets their own");
        }
    }
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn a_slot_is_given_to_the_next_with_numbers_that_run_on() {
    let mut world = World::two_party(2);
    world.connect();
    world.run(SECOND);
    world.remove(1);
    assert!(carried(&world, 0).is_empty());
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    world.run(2 * SECOND);
    assert_eq!(carried(&world, 0).len(), 2);
    let mut pictures = Vec::new();
    for mid in ["0", "1"] {
        let packets = world.seats[0].packets(mid);
        let (first, last) = (packets.keys().next().unwrap(), packets.keys().next_back().unwrap());
        assert_eq!(usize::try_from(last - first).unwrap() + 1, packets.len());
        assert!(packets.values().map(|p| p.timestamp).is_sorted_by(|a, b| b.wrapping_sub(*a) < 1 << 31));
        if mid == "1" {
            pictures.extend(packets.values().filter_map(|p| load::client::vp8::Payload::read(&p.payload)?.picture));
        }
    }
    // Picture ids run on as well, although the second publisher began with ids of its own.
    pictures.dedup();
    assert!(pictures.windows(2).all(|pair| pair[1] == (pair[0] + 1) & 0x7fff), "{pictures:?}");
}

#[test]
fn lips_and_voice_of_one_person_share_a_stream() {
    let mut world = World::new(3);
    let config = ClientConfig { extra_audio: 2, extra_video: 2, ..ClientConfig::default() };
    for _ in 0..4 {
        world.join(ParticipantId::random(), Door::Admitted, config.clone());
    }
    world.connect();
    world.run(SECOND);
    let answer = world.negotiate(0);
    let stream = |mid: &str| {
        let section = answer.split("m=").find(|section| section.contains(&format!("a=mid:{mid}\r\n"))).unwrap();
        let msid = section.lines().find_map(|line| line.strip_prefix("a=msid:")).unwrap();
        msid.split(' ').next().unwrap().to_owned()
    };
    let slots = carried(&world, 0);
    assert_eq!(slots.len(), 6);
    for (mid, carries) in &slots {
        for (other, carried) in &slots {
            assert_eq!(carries.participant == carried.participant, stream(mid) == stream(other), "{mid} and {other}");
        }
    }
}

#[test]
fn streams_that_the_offer_does_not_name_are_found_by_mid() {
    let mut world = World::new(4);
    world.loss = 0.05;
    world.delay = Duration::from_millis(5);
    world.edit_offer = |_, offer| offer.split_inclusive("\r\n").filter(|line| !line.starts_with("a=ssrc")).collect();
    for _ in 0..2 {
        world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    }
    world.connect();
    world.run(6 * SECOND);
    for seat in 0..2 {
        assert!(world.seats[seat].whole_frames("1") > 110, "{}", world.seats[seat].whole_frames("1"));
        assert!(world.seats[seat].packets("0").len() > 200);
    }
    assert!(world.counters().repaired_up > 20, "RTX is found as well");
}

#[test]
fn a_codec_that_a_receiver_does_not_have_is_not_attached() {
    let mut world = World::new(5);
    // The second one has H.264 alone, and the first one sends VP8.
    world.edit_offer = |seat, offer| if seat == 1 { offer.replace("VP8/90000", "VP9/90000") } else { offer };
    for _ in 0..2 {
        world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    }
    world.connect();
    world.run(2 * SECOND);
    let slots = carried(&world, 1);
    assert_eq!(slots.len(), 1, "{slots:?}");
    assert_eq!(slots[0].1.source, Source::Microphone);
    assert!(wanted(&world, 1).is_empty(), "more slots would not help");
    assert!(world.seats[1].packets("1").is_empty() && world.seats[1].packets("0").len() > 80);
    assert!(world.counters().forwarded_video < 200);
}
