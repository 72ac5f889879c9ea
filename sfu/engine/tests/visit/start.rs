//! The beginning of a call on a good way: everything that is sent comes, at once, and nothing is dropped on the server.

use std::time::Duration;

use load::client::ClientConfig;
use wire::ParticipantId;
use wire::control::Door;

use crate::world::{Link, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// People whose cameras send 1.2 Mbit/s whatever they are told, 1 ms from the server on ways of 50 Mbit/s.
fn meeting(seed: u8, people: usize) -> World {
    let mut world = World::new(seed);
    world.delay = MS;
    for _ in 0..people {
        let others = people - 2;
        let stamp_from = Some(world.now);
        let config = ClientConfig { stamp_from, extra_audio: others, extra_video: others, ..ClientConfig::default() };
        world.join(ParticipantId::random(), Door::Admitted, config);
    }
    for seat in &mut world.seats {
        seat.encoder = None;
        seat.frames = (18_000, 6000);
        seat.down = Link::kbits(50_000, 300);
        seat.up = Link::kbits(50_000, 300);
    }
    world
}

/// What the server added to each packet of video that came to a seat since its `from`th packet: the way there and back is 2 ms.
fn added(world: &World, seat: usize, from: usize) -> Vec<Duration> {
    let origin = world.origin;
    let packets = world.seats[seat].received[from..].iter();
    let mut delays: Vec<Duration> = packets
        .filter_map(|packet| {
            let sent = Duration::from_micros(packet.sent_micros?);
            Some((packet.at - origin).saturating_sub(sent).saturating_sub(2 * MS))
        })
        .collect();
    delays.sort_unstable();
    delays
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(Duration::MAX)
}

/// Runs for a while and gives, for each seat, the frames of others that did not come whole of those sent meanwhile, and the
/// delays that the server added.
fn watch(world: &mut World, time: Duration) -> Vec<(usize, Vec<Duration>)> {
    let sent = |world: &World| world.seats.iter().map(|seat| seat.frames_sent as usize).sum::<usize>();
    let whole = |world: &World, seat: usize| {
        let seat = &world.seats[seat];
        seat.client.stats().sections.keys().map(|mid| seat.whole_frames(mid)).sum::<usize>()
    };
    let people = world.seats.len();
    let before: Vec<_> = (0..people).map(|seat| (whole(world, seat), world.seats[seat].received.len())).collect();
    let (frames, own): (usize, Vec<u32>) = (sent(world), world.seats.iter().map(|seat| seat.frames_sent).collect());
    world.run(time);
    let frames = sent(world) - frames;
    (0..people)
        .map(|seat| {
            let of_others = frames - (world.seats[seat].frames_sent - own[seat]) as usize;
            let missing = of_others.saturating_sub(whole(world, seat) - before[seat].0);
            (missing, added(world, seat, before[seat].1))
        })
        .collect()
}

#[test]
fn two_people_see_each_other_whole_from_the_first_frame_and_at_once_after_a_second_and_a_half() {
    for seed in 1..=5 {
        let mut world = meeting(seed, 2);
        world.connect();
        world.run(1500 * MS);
        for (missing, delays) in watch(&mut world, 3 * SECOND) {
            // One frame may be on its way at each end.
            assert!(missing <= 1, "seed {seed}: {missing} frames");
            let late = percentile(&delays, 99);
            assert!(late < 5 * MS, "seed {seed}: {late:?}");
        }
        let counters = world.counters();
        assert_eq!((counters.shed, counters.nacks_received), (0, 0), "seed {seed}");
        for seat in &world.seats {
            let frames = seat.whole_frames("1");
            assert!(frames >= 110, "seed {seed}: {frames} of 112 frames");
        }
    }
}

#[test]
fn six_people_on_good_ways_get_everything_of_everybody() {
    for seed in 1..=5 {
        let mut world = meeting(seed, 6);
        world.connect();
        world.run(1500 * MS);
        for (missing, delays) in watch(&mut world, 3 * SECOND) {
            assert!(missing <= 5, "seed {seed}: {missing} frames");
            let late = percentile(&delays, 99);
            assert!(late < 5 * MS, "seed {seed}: {late:?}");
        }
        assert_eq!((world.counters().shed, world.counters().nacks_received), (0, 0), "seed {seed}");
    }
}

/// Six people, of whom nobody tells when packets arrive: the estimate stays at its start, and pictures are dropped on the server.
fn crowded(seed: u8) -> World {
    let mut world = World::new(seed);
    world.delay = MS;
    for _ in 0..6 {
        let config = ClientConfig { feedback: None, extra_audio: 5, extra_video: 5, ..ClientConfig::default() };
        world.join(ParticipantId::random(), Door::Admitted, config);
    }
    for seat in &mut world.seats {
        seat.encoder = None;
        seat.frames = (18_000, 6000);
    }
    world.connect();
    world
}

#[test]
fn what_the_server_drops_before_it_left_is_missed_by_nobody() {
    for seed in 1..=5 {
        let mut world = crowded(seed);
        world.run(5 * SECOND);
        assert!(world.counters().shed > 50, "seed {seed}: the queues are full");
        for seat in &world.seats {
            let stats = seat.client.stats();
            assert_eq!((stats.nacks_sent, stats.lost), (0, 0), "seed {seed}");
        }
    }
}

#[test]
fn a_door_that_moves_costs_those_inside_no_packet_that_waits() {
    for seed in 1..=5 {
        let mut world = crowded(seed);
        let config = || ClientConfig { feedback: None, extra_audio: 5, extra_video: 5, ..ClientConfig::default() };
        for _ in 0..4 {
            let seat = world.join(ParticipantId::random(), Door::Waiting, config());
            world.seats[seat].is_sending = false;
            world.run(300 * MS);
            world.admit(seat).unwrap();
            world.run(170 * MS);
            world.send_back(seat).unwrap();
            world.run(90 * MS);
            world.remove(seat);
            world.run(130 * MS);
        }
        for seat in world.seats.iter().take(6) {
            let stats = seat.client.stats();
            assert_eq!((stats.nacks_sent, stats.lost), (0, 0), "seed {seed}");
        }
        // Somebody goes while pictures of theirs wait for everybody: the numbers of the slot run on.
        world.send_back(2).unwrap();
        world.run(200 * MS);
        world.admit(2).unwrap();
        world.run(2 * SECOND);
        for (index, seat) in world.seats.iter().enumerate().take(6).filter(|(index, _)| *index != 2) {
            assert_eq!(seat.client.stats().nacks_sent, 0, "seed {seed}: seat {index}");
        }
    }
}

#[test]
fn what_the_network_loses_from_the_first_packet_on_comes_back() {
    for (loss, most) in [(0.02, 0.001), (0.1, 0.005), (0.2, 0.02)] {
        for seed in 1..=5 {
            let mut world = meeting(seed, 2);
            world.delay = 10 * MS;
            world.connect();
            for seat in &mut world.seats {
                seat.down.loss = loss;
            }
            world.run(10 * SECOND);
            for seat in &world.seats {
                let video = seat.client.stats().sections["1"];
                let expected = video.received + video.lost;
                let share = video.lost as f64 / expected as f64;
                assert!(share <= most, "loss {loss}, seed {seed}: {} of {expected}", video.lost);
                assert!(video.recovered as f64 > 0.5 * loss * expected as f64);
            }
        }
    }
}

#[test]
fn a_node_on_which_nobody_sends_sleeps() {
    let mut world = meeting(1, 2);
    world.connect();
    world.run(SECOND);
    for seat in &mut world.seats {
        seat.is_sending = false;
    }
    world.run(3 * SECOND);
    let before = world.wakes;
    world.run(10 * SECOND);
    let wakes = world.wakes - before;
    assert!(wakes <= 230, "{wakes} in ten seconds");
    // Who speaks again is heard at once, and what was lost then is asked for at once.
    world.loss = 0.1;
    world.seats[0].is_sending = true;
    let before = world.seats[1].received.len();
    world.run(500 * MS);
    assert!(world.seats[1].received.len() > before + 70);
    assert!(world.counters().repaired_up > 0);
}

#[test]
fn clients_that_read_late_are_no_narrow_way() {
    // Every 20 ms, or not at all for about 50 ms, a fifth of the time: from the beginning on.
    for (busy, stall, share) in [(20, 0, 0.0), (0, 50, 0.2)] {
        for seed in 1..=3 {
            let mut world = meeting(seed, 6);
            world.connect();
            world.busy = busy * MS;
            world.stalls = (stall * MS, share);
            world.run(4 * SECOND);
            let sent = 6 * 25 * 5;
            let missing: usize = watch(&mut world, 6 * SECOND).iter().map(|(missing, _)| missing).sum();
            // Taken for narrow ways they lost half and more, for good.
            assert!(missing * 100 <= 6 * 10 * sent, "every {busy} ms, {stall} ms of {share}, seed {seed}: {missing}");
        }
    }
}
