//! Two people in a call: what arrives, what is repaired, what is reported.

use std::net::SocketAddr;
use std::time::Duration;

use engine::Input;
use load::client::ClientConfig;
use wire::ParticipantId;
use wire::control::{Command, Door, Event, Manner, Source};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn both_hear_and_see_each_other() {
    let mut world = World::two_party(1);
    world.connect();
    world.run(5 * SECOND);
    for (seat, other) in [(0, 1), (1, 0)] {
        let stats = world.seats[seat].client.stats();
        let frames = world.seats[other].frames_sent;
        let whole = u32::try_from(world.seats[seat].whole_frames("1")).unwrap();
        assert!(whole + 5 >= frames, "{whole} of {frames} frames");
        assert!(world.seats[seat].packets("0").len() >= 240);
        for mid in ["0", "1"] {
            let packets = world.seats[seat].packets(mid);
            let (first, last) = (packets.keys().next().unwrap(), packets.keys().next_back().unwrap());
            assert_eq!(usize::try_from(last - first).unwrap() + 1, packets.len(), "a hole in {mid}");
            assert!(first & 0xffff < 32_768);
        }
        assert_eq!((stats.lost, stats.recovered, stats.undecryptable, stats.unknown_ssrc), (0, 0, 0, 0));
        assert!(stats.sender_reports >= 4, "{} sender reports", stats.sender_reports);
        assert!(stats.report_blocks >= 8, "{} report blocks", stats.report_blocks);
        assert!(stats.twcc_reports >= 90, "{} transport feedbacks", stats.twcc_reports);
        assert_eq!(stats.twcc_missing, 0);
    }
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
    let bars: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| if let Event::Quality { bars, rtt_ms, .. } = event { Some((*bars, *rtt_ms)) } else { None })
        .collect();
    assert!(bars.len() >= 4 && bars.iter().all(|(bars, _)| *bars == 4), "{bars:?}");
    assert!(bars.last().unwrap().1.is_some(), "the round trip is known");
}

#[test]
fn first_feedback_leaves_within_50_ms_of_media() {
    let mut world = World::two_party(2);
    for seat in &mut world.seats {
        seat.is_sending = false;
    }
    world.connect();
    world.run(SECOND);
    world.seats[0].is_sending = true;
    world.run_until(SECOND, |world| world.seats[0].frames_sent > 0);
    let took = world.run_until(SECOND, |world| world.seats[0].client.stats().twcc_reports > 0);
    assert!(took <= Duration::from_millis(50), "{took:?}");
}

#[test]
fn ten_percent_random_loss_both_ways_leaves_whole_frames() {
    for seed in [3, 5, 6] {
        let mut world = World::two_party(seed);
        world.delay = Duration::from_millis(15);
        world.loss = 0.1;
        world.connect();
        // The first keyframe may be the one that is lost: what counts is the call once there is a picture.
        world.run(2 * SECOND);
        let begun = [0, 1].map(|seat| (world.seats[1 - seat].frames_sent, world.seats[seat].whole_frames("1")));
        assert!(begun.iter().all(|(_, whole)| *whole > 10), "seed {seed}: {begun:?}");
        world.run(10 * SECOND);
        let counters = world.counters();
        for (seat, (sent, whole)) in begun.into_iter().enumerate() {
            let frames = f64::from(world.seats[1 - seat].frames_sent - sent);
            let whole = f64::from(u32::try_from(world.seats[seat].whole_frames("1") - whole).unwrap());
            let stats = world.seats[seat].client.stats();
            assert!(whole / frames > 0.98, "seed {seed}: {whole} of {frames} frames came whole, {stats:?}");
            assert!(stats.recovered > 60, "{stats:?}");
        }
        assert!(counters.repaired_up > 120 && counters.retransmitted > 200, "{counters:?}");
        assert!(counters.nacks_sent > 150 && counters.nacks_received > 200, "{counters:?}");
    }
}

#[test]
fn packets_that_overtake_each_other_leave_no_hole_and_few_requests() {
    let mut world = World::two_party(13);
    world.delay = Duration::from_millis(20);
    world.jitter = Duration::from_millis(8);
    world.connect();
    world.run(5 * SECOND);
    for seat in 0..2 {
        let frames = world.seats[1 - seat].frames_sent;
        let whole = u32::try_from(world.seats[seat].whole_frames("1")).unwrap();
        assert!(whole + 8 >= frames, "{whole} of {frames} frames");
        let packets = world.seats[seat].packets("1");
        let (first, last) = (packets.keys().next().unwrap(), packets.keys().next_back().unwrap());
        // What is still under way is the only thing missing.
        assert!(usize::try_from(last - first).unwrap() + 1 - packets.len() <= 8);
    }
    let counters = world.counters();
    assert!(counters.nacks_sent * 20 < counters.rtp_in, "{} asked of {}", counters.nacks_sent, counters.rtp_in);
}

#[test]
fn a_lost_picture_is_asked_for_with_spacing() {
    let mut world = World::two_party(6);
    world.connect();
    world.run(2 * SECOND);
    let before = world.seats[0].client.stats().plis_received;
    for _ in 0..100 {
        world.seats[1].client.request_keyframe("1");
        world.run(Duration::from_millis(10));
    }
    let asked = world.seats[0].client.stats().plis_received - before;
    // The one at the beginning counts: after three in five seconds it is one a second.
    assert!((2..=3).contains(&asked), "{asked} in a second");
}

#[test]
fn a_muted_source_stops_at_once_and_comes_back() {
    let mut world = World::two_party(7);
    world.connect();
    world.run(2 * SECOND);
    let (room, peer) = (world.room, world.seats[0].peer);
    for source in [Source::Microphone, Source::Camera] {
        let mid = if source == Source::Microphone { "0" } else { "1" };
        world.command(Command::Mute { room, peer, source, muted: true }).unwrap();
        let before = world.seats[1].packets(mid).len();
        world.run(2 * SECOND);
        assert_eq!(world.seats[1].packets(mid).len(), before, "{source:?} after mute");
        world.command(Command::Mute { room, peer, source, muted: false }).unwrap();
        world.run(SECOND);
        let packets = world.seats[1].packets(mid);
        assert!(packets.len() > before + 40, "{source:?} after unmute");
        let (first, last) = (packets.keys().next().unwrap(), packets.keys().next_back().unwrap());
        assert_eq!(usize::try_from(last - first).unwrap() + 1, packets.len(), "numbers run on over the mute");
    }
    assert!(world.counters().held_by_mute > 0);
}

#[test]
fn the_loudest_voice_is_told() {
    let mut world = World::two_party(8);
    world.seats[1].is_sending = false;
    world.connect();
    world.run(2 * SECOND);
    let voices: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| if let Event::Speaking { participant, .. } = event { Some(*participant) } else { None })
        .collect();
    assert_eq!(voices, [Some(world.seats[0].participant)]);
    world.seats[0].is_sending = false;
    world.run(3 * SECOND);
    assert!(matches!(
        world.events.iter().rev().find(|e| matches!(e, Event::Speaking { .. })),
        Some(Event::Speaking { participant: None, .. })
    ));
}

#[test]
fn after_removal_every_datagram_is_junk() {
    let mut world = World::two_party(9);
    world.connect();
    world.run(SECOND);
    world.remove(0);
    let before = world.counters();
    let sent = world.media_sent.get(&0).copied();
    // What still comes from its address is looked at no more.
    let from = world.seats[0].address.into();
    for first in [0x80, 0x90, 0x16, 0x17] {
        for second in 0..=255 {
            let mut bytes = vec![0; 60];
            bytes[0] = first;
            bytes[1] = second;
            world.input(Input::Datagram { from, bytes: &bytes });
        }
    }
    world.run(3 * SECOND);
    let after = world.counters();
    assert_eq!(after.forwarded, before.forwarded);
    assert_eq!((after.srtp_refused, after.malformed), (before.srtp_refused, before.malformed));
    assert!(after.junk >= before.junk + 1024, "{} junk", after.junk - before.junk);
    assert_eq!(world.media_sent.get(&0).copied(), sent);
    assert_eq!(after.peers, 1);
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn a_reconnection_takes_over_when_it_connects() {
    let mut world = World::two_party(10);
    world.connect();
    world.run(SECOND);
    let who = world.seats[0].participant;
    world.join(who, Door::Admitted, ClientConfig::default());
    let carried = |world: &World| world.events.iter().filter(|e| matches!(e, Event::SlotChanged { .. })).count();
    let before = carried(&world);
    world.run_until(SECOND, |world| world.seats[2].client.is_connected());
    world.run(SECOND);
    assert_eq!(world.counters().peers, 2, "the old peer is gone");
    assert!(carried(&world) > before);
    let whole = world.seats[1].whole_frames("1");
    world.run(SECOND);
    assert!(world.seats[1].whole_frames("1") >= whole + 20, "the other one sees the new connection");
    assert!(world.seats[2].whole_frames("1") >= 40);
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
    // The new connection's media continues the numbers of the slot.
    let packets = world.seats[1].packets("1");
    let (first, last) = (packets.keys().next().unwrap(), packets.keys().next_back().unwrap());
    assert_eq!(usize::try_from(last - first).unwrap() + 1, packets.len());
}

#[test]
fn a_silent_peer_is_lost_after_the_consent_time() {
    let mut world = World::two_party(11);
    world.connect();
    world.run(SECOND);
    world.loss = 1.0;
    world.run(32 * SECOND);
    let lost = world.events.iter().filter(|e| matches!(e, Event::PeerLost { .. })).count();
    assert_eq!(lost, 2);
    assert_eq!(world.counters().peers, 0);
}

#[test]
fn malformed_input_is_counted_and_survived() {
    let mut world = World::two_party(12);
    world.connect();
    world.run(SECOND);
    let from = world.seats[0].address.into();
    for len in 0..200 {
        for first in [0x80, 0x16, 0x00, 0xff, 0x90] {
            let mut bytes = vec![0x5a; len];
            if let Some(place) = bytes.first_mut() {
                *place = first;
            }
            world.input(Input::Datagram { from, bytes: &bytes });
            world.input(Input::Datagram { from: SocketAddr::from(([203, 0, 113, 9], 9)).into(), bytes: &bytes });
        }
    }
    let before = world.seats[1].whole_frames("1");
    world.run(SECOND);
    assert!(world.seats[1].whole_frames("1") >= before + 24);
    let stranger = ParticipantId::random();
    let room = world.room;
    let sdp = wire::Redacted::new("v=0\r\n".repeat(20_000));
    let peer = wire::PeerId::random();
    world
        .command(Command::AddPeer { room, peer, participant: stranger, door: Door::Waiting, manner: Manner::Native })
        .unwrap();
    let refusal = world.command(Command::Offer { room, peer, sdp }).unwrap_err();
    assert_eq!(refusal.reason, wire::control::Reason::BadOffer);
}

/// One look at the Room does for everybody in it.
#[test]
fn reports_on_everybodys_sending_leave_at_one_beat() {
    let mut world = World::two_party(14);
    world.connect();
    world.run(5 * SECOND);
    let told = |world: &World| [0, 1].map(|seat| world.seats[seat].client.stats().twcc_reports);
    let mut before = told(&world);
    let mut beats = Vec::new();
    for ms in 0..1000 {
        world.run(Duration::from_millis(1));
        let now = told(&world);
        match (now[0] - before[0], now[1] - before[1]) {
            (0, 0) => {}
            (1, 1) => beats.push(ms),
            apart => panic!("{apart:?} reports came in one millisecond"),
        }
        before = now;
    }
    assert_eq!(beats.len(), 20, "{beats:?}");
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] == 50), "{beats:?}");
}
