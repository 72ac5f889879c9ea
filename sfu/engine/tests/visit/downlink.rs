//! The way to a browser, narrow, lossy or away: sound stays, pictures give way, and come back.

use std::time::Duration;

use engine::Input;
use load::client::ClientConfig;
use wire::ParticipantId;
use wire::control::{Command, Door, Encoding, Event, View};

use crate::world::{Link, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Two people whose encoders follow what they are told, 20 ms from the server.
fn call(seed: u8) -> World {
    let mut world = World::two_party(seed);
    world.delay = 20 * MS;
    for seat in &mut world.seats {
        seat.encoder = Some(2_500_000);
    }
    world.connect();
    world
}

fn paused(world: &World, seat: usize) -> Vec<bool> {
    let peer = world.seats[seat].peer;
    let told = world.events.iter().filter_map(|event| match event {
        Event::VideoPaused { peer: who, paused, .. } if *who == peer => Some(*paused),
        _ => None,
    });
    told.collect()
}

fn encodings(world: &World, seat: usize) -> Vec<Encoding> {
    let peer = world.seats[seat].peer;
    let told = world.events.iter().filter_map(|event| match event {
        Event::EncodingWanted { peer: who, encoding, .. } if *who == peer => Some(*encoding),
        _ => None,
    });
    told.collect()
}

/// Kilobits per second that came down to a seat in so many seconds.
fn rate_down(world: &mut World, seat: usize, seconds: u32) -> u64 {
    let before = world.seats[seat].client.stats();
    let bytes = |stats: &load::client::ClientStats| stats.sections.values().map(|section| section.bytes).sum::<u64>();
    world.run(seconds * SECOND);
    let after = world.seats[seat].client.stats();
    (bytes(&after) - bytes(&before)) * 8 / 1000 / u64::from(seconds)
}

/// Share of sound of the last seconds that did not come.
fn sound_missing(world: &World, seat: usize, from: u64) -> f64 {
    let came: std::collections::BTreeSet<u64> =
        world.seats[seat].audio_arrivals.iter().map(|(_, number)| *number).filter(|number| *number >= from).collect();
    let last = came.last().copied().unwrap_or(from);
    1.0 - came.len() as f64 / (last - from + 1) as f64
}

fn last_sound(world: &World, seat: usize) -> u64 {
    world.seats[seat].audio_arrivals.iter().map(|(_, number)| *number).max().unwrap_or_default()
}

#[test]
fn two_people_who_start_low_reach_two_megabits_within_five_seconds() {
    let mut world = call(20);
    for seat in &mut world.seats {
        seat.down = Link::kbits(4000, 300);
        seat.up = Link::kbits(4000, 300);
    }
    world.run(5 * SECOND);
    let rates = [world.seats[0].making, world.seats[1].making];
    assert!(rates.iter().all(|rate| *rate >= 2_000_000), "{rates:?}");
}

#[test]
fn a_receiver_with_half_a_megabit_limits_the_sender_and_sees_no_freeze() {
    let mut world = call(21);
    world.seats[1].down = Link::kbits(500, 300);
    world.run(10 * SECOND);
    let from = world.seats[1].down.waits.len();
    let frames = world.seats[1].video_arrivals.len();
    let rate = rate_down(&mut world, 1, 30);
    let gaps = world.seats[1].video_arrivals[frames..].windows(2).map(|pair| pair[1].0 - pair[0].0);
    // Mean gap 40 ms: the rule of webrtc-stats is max(3 x mean, mean + 150 ms).
    let freezes = gaps.filter(|gap| *gap > 190 * MS).count();
    let queue = world.seats[1].down.percentile(0.95, from);
    assert!(freezes <= 1, "{freezes} freezes in half a minute");
    assert!(queue <= 200 * MS, "95 % of the packets waited less than {queue:?}");
    // Headers are about a tenth at this rate.
    assert!(rate >= 360, "{rate} kbit/s of payload");
    assert!(paused(&world, 1).is_empty());
}

#[test]
fn with_64_kilobits_in_all_sound_is_whole_and_the_picture_pauses() {
    for (seed, loss, bar) in [(22, 0.0, 0.005), (23, 0.1, 0.12), (24, 0.3, 0.33)] {
        let mut world = call(seed);
        world.seats[0].voice = (20, 80);
        world.seats[1].down = Link { loss, ..Link::kbits(64, 300) };
        world.run(15 * SECOND);
        // Where a third is lost, what is left of a short burst may read as room for a picture once.
        let tries = if loss > 0.2 { 1 } else { 0 };
        assert_eq!(paused(&world, 1).last(), Some(&true), "loss {loss}");
        assert!(paused(&world, 1).len() <= 1 + 2 * tries, "loss {loss}");
        assert_eq!(encodings(&world, 0).last(), Some(&Encoding::Asleep), "nobody can see it");
        let sound = last_sound(&world, 1);
        let from = world.seats[1].down.waits.len();
        world.run(20 * SECOND);
        let queue = world.seats[1].down.percentile(0.95, from);
        assert!(queue < 150 * MS, "loss {loss}: 95 % of the packets waited less than {queue:?}");
        let missing = sound_missing(&world, 1, sound);
        // Without RED in the clients nothing repairs sound: what is missing is what the way lost.
        assert!(missing <= bar, "loss {loss}: {missing}");
        let budget = world.events.iter().any(|event| matches!(event, Event::AudioBudget { ptime_ms: 40.., .. }));
        assert!(budget, "the voice is asked to be smaller");
    }
}

#[test]
fn the_picture_comes_back_when_the_way_does() {
    let mut world = call(25);
    world.seats[1].down = Link::kbits(64, 300);
    world.run(15 * SECOND);
    assert_eq!(paused(&world, 1), [true]);
    world.seats[1].down = Link::kbits(1000, 300);
    world.run_until(10 * SECOND, |world| paused(world, 1) == [true, false]);
    world.run(5 * SECOND);
    assert_eq!(encodings(&world, 0), [Encoding::Asleep, Encoding::Single]);
    let before = world.seats[1].whole_frames("1");
    world.run(2 * SECOND);
    assert!(world.seats[1].whole_frames("1") >= before + 45);
}

#[test]
fn nobody_sleeps_while_somebody_connected_waits_at_the_door() {
    let mut world = World::new(31);
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    world.run(6 * SECOND);
    assert_eq!(encodings(&world, 0), [Encoding::Asleep], "nobody is there");
    world.join(ParticipantId::random(), Door::Waiting, ClientConfig::default());
    world.run(10 * SECOND);
    assert_eq!(encodings(&world, 0), [Encoding::Asleep, Encoding::Single]);
    assert!(world.seats[1].packets("1").is_empty(), "nothing leaves the door");
}

#[test]
fn what_nobody_looks_at_sleeps_and_wakes_at_once() {
    let mut world = call(27);
    world.run(4 * SECOND);
    let (room, viewer) = (world.room, world.seats[1].peer);
    let view = |view| Command::View { room, peer: viewer, mid: "1".into(), view };
    world.command(view(View::Hidden)).unwrap();
    world.run(100 * MS);
    let before = world.seats[1].packets("1").len();
    world.run(2 * SECOND);
    assert_eq!(world.seats[1].packets("1").len(), before, "nothing is sent for a hidden tile");
    assert!(encodings(&world, 0).is_empty(), "a page may be hidden for a moment");
    world.run(2 * SECOND);
    assert_eq!(encodings(&world, 0), [Encoding::Asleep]);
    assert!(paused(&world, 1).is_empty(), "it is not the network");
    let asked = world.seats[0].client.stats().plis_received;
    world.run(5 * SECOND);
    assert_eq!(world.seats[0].client.stats().plis_received, asked, "who sleeps is not asked");
    world.command(view(View::Full)).unwrap();
    let took = world.run_until(SECOND, |world| world.seats[1].packets("1").len() > before);
    assert!(took < 600 * MS, "{took:?}");
    assert_eq!(encodings(&world, 0), [Encoding::Asleep, Encoding::Single]);
}

#[test]
fn six_people_with_a_megabit_and_a_half_hear_everybody_and_see_what_fits() {
    let mut world = World::new(28);
    world.delay = 20 * MS;
    for _ in 0..6 {
        let config = ClientConfig { extra_audio: 4, extra_video: 4, ..ClientConfig::default() };
        world.join(ParticipantId::random(), Door::Admitted, config);
    }
    for seat in &mut world.seats {
        seat.encoder = Some(600_000);
    }
    world.seats[0].down = Link::kbits(1500, 300);
    world.connect();
    world.run(10 * SECOND);
    let sound = world.seats[0].down.dropped;
    let events = world.events.len();
    world.run(30 * SECOND);
    assert_eq!(world.seats[0].down.dropped - sound, 0, "nothing is lost at the bottleneck");
    let peer = world.seats[0].peer;
    let changes = world.events[events..]
        .iter()
        .filter(|event| matches!(event, Event::VideoPaused { peer: who, .. } if *who == peer))
        .count();
    assert!(changes <= 6, "{changes} changes in half a minute");
    for mid in ["0", "2", "3", "4", "5"] {
        let stats = world.seats[0].client.stats();
        assert!(stats.sections[mid].lost == 0, "sound of {mid}");
    }
    let video: u64 = world.seats[0].client.stats().sections.values().map(|section| section.bytes).sum();
    assert!(video * 8 / 40 > 500_000, "{} kbit/s", video * 8 / 40 / 1000);
}

#[test]
fn a_quiet_room_costs_no_probe() {
    let mut world = call(29);
    world.seats[1].down = Link::kbits(3500, 300);
    world.run(20 * SECOND);
    for seat in &mut world.seats {
        seat.encoder = Some(150_000);
    }
    world.run(20 * SECOND);
    let before = world.counters().probe_packets;
    world.run(30 * SECOND);
    assert_eq!(world.counters().probe_packets, before);
}

#[test]
fn any_bytes_as_transport_feedback_change_nothing_for_the_others() {
    let mut world = call(30);
    world.run(2 * SECOND);
    for len in 0..40usize {
        let bytes = vec![0x8f; len];
        let from = world.seats[0].address.into();
        world.input(Input::Datagram { from, bytes: &bytes });
    }
    let before = world.seats[0].whole_frames("1");
    world.run(SECOND);
    assert!(world.seats[0].whole_frames("1") >= before + 20);
}
