//! The door, against a model: over random schedules not one packet goes to or from anybody outside.

use std::time::Duration;

use engine::Input;
use load::client::ClientConfig;
use proptest::prelude::*;
use wire::ParticipantId;
use wire::control::{Command, Door, Reason};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_waits_receives_nothing_and_is_not_heard_until_admitted() {
    let mut world = World::new(1);
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    world.join(ParticipantId::random(), Door::Waiting, ClientConfig::default());
    world.connect();
    world.run(3 * SECOND);
    for seat in 0..2 {
        assert_eq!(world.seats[seat].client.stats().rtp_received, 0, "seat {seat}");
        assert_eq!(world.media_sent.get(&seat).copied().unwrap_or_default(), 0, "seat {seat}");
    }
    let counters = world.counters();
    assert_eq!(counters.forwarded, 0);
    assert!(counters.held_by_door > 500);
    assert_eq!(counters.keyframes_asked, 0, "nobody inside waits for a picture");
    // Admission is instant: no negotiation, and a picture with the next keyframe.
    world.admit(1).unwrap();
    assert_eq!(world.counters().keyframes_asked, 2, "one request to each publisher");
    let took = world.run_until(SECOND, |world| {
        world.seats.iter().all(|seat| seat.whole_frames("1") > 0 && !seat.packets("0").is_empty())
    });
    // A frame's time, and that of a whole keyframe of 28 kB on a way of which nothing is known yet.
    assert!(took <= Duration::from_millis(150), "{took:?}");
    world.send_back(1).unwrap();
    let before = (world.seats[0].received.len(), world.seats[1].received.len());
    world.run(SECOND);
    assert_eq!((world.seats[0].received.len(), world.seats[1].received.len()), before);
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn who_is_denied_is_gone() {
    let mut world = World::new(2);
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    world.join(ParticipantId::random(), Door::Waiting, ClientConfig::default());
    world.connect();
    assert_eq!(world.deny(0).unwrap_err().reason, Reason::Door, "who is inside is removed, not denied");
    world.deny(1).unwrap();
    assert_eq!(world.admit(1).unwrap_err().reason, Reason::UnknownPeer);
    let (junk, from) = (world.counters().junk, world.seats[1].address);
    world.input(Input::Datagram { from: from.into(), bytes: &[0x80; 60] });
    assert_eq!(world.counters().junk, junk + 1);
    world.run(SECOND);
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
    let room = world.room;
    world.command(Command::CloseRoom { room }).unwrap();
    let counters = world.counters();
    assert_eq!((counters.rooms, counters.peers, counters.connected), (0, 0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Join { waiting: bool },
    Reconnect(prop::sample::Index),
    Admit(prop::sample::Index),
    Deny(prop::sample::Index),
    SendBack(prop::sample::Index),
    Leave(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = any::<prop::sample::Index>;
    prop_oneof![
        3 => any::<bool>().prop_map(|waiting| Step::Join { waiting }),
        2 => who().prop_map(Step::Reconnect),
        4 => who().prop_map(Step::Admit),
        1 => who().prop_map(Step::Deny),
        3 => who().prop_map(Step::SendBack),
        1 => who().prop_map(Step::Leave),
        6 => (5u64..250).prop_map(Step::Wait),
    ]
}

/// The commands of one schedule, with everybody sending all the time.
fn play(world: &mut World, steps: &[Step]) {
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    for step in steps {
        let seats = world.seats.len();
        match step {
            Step::Join { waiting } if seats < 6 => {
                let door = if *waiting { Door::Waiting } else { Door::Admitted };
                let config = ClientConfig { extra_audio: 1, extra_video: 1, ..ClientConfig::default() };
                world.join(ParticipantId::random(), door, config);
            }
            Step::Reconnect(who) if seats < 6 => {
                let who = who.index(seats);
                let participant = world.seats[who].participant;
                // Signaling brings somebody back to where they were.
                let door = match world.doors.get(&world.seats[who].peer) {
                    Some(Door::Admitted) => Door::Admitted,
                    Some(Door::Waiting | Door::Removed) | None => Door::Waiting,
                };
                world.join(participant, door, ClientConfig::default());
            }
            Step::Join { .. } | Step::Reconnect(_) => {}
            Step::Admit(who) => drop(world.admit(who.index(seats))),
            Step::Deny(who) => drop(world.deny(who.index(seats))),
            Step::SendBack(who) => drop(world.send_back(who.index(seats))),
            Step::Leave(who) => world.remove(who.index(seats)),
            Step::Wait(millis) => world.run(Duration::from_millis(*millis)),
        }
    }
    world.run(Duration::from_millis(300));
}

/// Schedules: raised by PROPTEST_CASES for a long run.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: if config.cases == 256 { 60 } else { config.cases }, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn not_one_packet_passes_a_closed_door(steps in prop::collection::vec(step(), 5..40), seed: u8, is_lossy: bool) {
        let mut world = World::new(seed);
        world.loss = if is_lossy { 0.05 } else { 0.0 };
        world.uplink_jitter = if is_lossy { Duration::from_millis(6) } else { Duration::ZERO };
        play(&mut world, &steps);
        prop_assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
        // It is a door, not a wall: whoever ends up inside with company gets media.
        let inside: Vec<usize> = (0..world.seats.len())
            .filter(|seat| world.doors.get(&world.seats[*seat].peer) == Some(&Door::Admitted))
            .collect();
        let people: std::collections::BTreeSet<_> = inside.iter().map(|seat| world.seats[*seat].participant).collect();
        if people.len() == inside.len() && inside.len() >= 2 && !is_lossy {
            world.run(Duration::from_millis(500));
            let before: Vec<usize> = inside.iter().map(|seat| world.seats[*seat].received.len()).collect();
            world.run(Duration::from_millis(700));
            for (seat, before) in inside.iter().zip(before) {
                prop_assert!(world.seats[*seat].received.len() > before + 20, "seat {} got nothing", seat);
            }
            prop_assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
        }
    }
}
