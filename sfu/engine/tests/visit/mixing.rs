//! Who is sent a mix instead of voices, and what a mix may hold. The mixer is played by the tests.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use engine::{Input, MixPlan, MixedPacket};
use load::client::{ClientConfig, Received, Redundancy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::control::{Command, Door, Manner, Rights, Source};
use wire::{ParticipantId, PeerId, TrackId};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(20);
/// What stands at the front of packets of the mix; behind it the number of the plan.
const MIXED: u8 = 0xf0;

fn sound_only() -> ClientConfig {
    ClientConfig { video: false, ..ClientConfig::default() }
}

fn attend(world: &mut World) -> usize {
    world.join_as(Manner::Chime, ParticipantId::random(), Door::Admitted, sound_only())
}

/// So many Chime clients, connected and sending.
fn meeting(seed: u8, people: usize) -> World {
    let mut world = World::new(seed);
    for _ in 0..people {
        attend(&mut world);
    }
    world.connect();
    world.run(SECOND / 2);
    world
}

/// A packet of the mix by this plan, for everybody in it.
fn packet(plan: &MixPlan, timestamp: u32) -> MixedPacket {
    let number = u32::try_from(plan.number).unwrap().to_be_bytes();
    // The last byte is who speaks, for the world's own checks: the first seat, which stays inside.
    let payload: Bytes = [&[MIXED][..], &number, &[0; 20]].concat().into();
    let listeners = plan.listeners.iter().map(|listener| listener.peer).collect();
    MixedPacket { plan: plan.number, timestamp, level: 30, payload, listeners }
}

fn plan(world: &World) -> MixPlan {
    world.mixer.plans.last().cloned().unwrap_or_default()
}

fn give(world: &mut World, packet: MixedPacket) {
    let room = world.room;
    world.input(Input::Mixed { room, packet });
}

/// Lets time pass while the mixer mixes.
fn mix(world: &mut World, time: Duration) {
    let end = world.now + time;
    while world.now < end {
        world.run(FRAME);
        let plan = plan(world);
        if !plan.listeners.is_empty() {
            let timestamp = u32::try_from((world.now - world.origin).as_millis() * 48).unwrap();
            give(world, packet(&plan, timestamp));
        }
    }
}

fn sound(world: &World, seat: usize) -> Vec<&Received> {
    world.seats[seat].received.iter().filter(|packet| &*packet.mid == "0").collect()
}

/// Of which plan a packet is; `None` of one that was forwarded.
fn plan_of(packet: &Received) -> Option<u64> {
    let [MIXED, number @ ..] = &packet.payload[..] else { return None };
    Some(u64::from(u32::from_be_bytes(number[..4].try_into().unwrap())))
}

/// Every number once and in order, and time in whole frames, none of which begins before the last one ended.
fn assert_unbroken(packets: &[&Received]) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(step >= 960 && step % 960 == 0 && step < 48_000, "{step}");
    }
}

fn voices(world: &World) -> BTreeSet<TrackId> {
    world.mixer.voices.iter().map(|(_, packet)| packet.voice).collect()
}

fn peer(world: &World, seat: usize) -> PeerId {
    world.seats[seat].peer
}

#[test]
fn two_are_not_mixed_and_three_are() {
    let mut world = meeting(1, 2);
    assert!(world.mixer.plans.is_empty() && world.mixer.voices.is_empty());
    attend(&mut world);
    world.connect();
    world.run(SECOND / 2);
    let plan = plan(&world);
    assert_eq!((plan.voices.len(), plan.listeners.len()), (3, 3));
    for listener in &plan.listeners {
        assert_eq!(listener.without.len(), 1, "everybody but oneself");
    }
    let left_out: BTreeSet<TrackId> = plan.listeners.iter().flat_map(|listener| listener.without.clone()).collect();
    assert_eq!(left_out, voices(&world));
    world.mixer.voices.clear();
    mix(&mut world, 2 * SECOND);
    let given = world.mixer.voices.len();
    assert!((290..=310).contains(&given), "{given} packets of three voices");
    assert!(
        world
            .mixer
            .voices
            .iter()
            .all(|(_, voice)| voice.level.is_some_and(|level| level & 0x7f == 40) && voice.payload.len() == 60)
    );
    for seat in 0..3 {
        let lately: Vec<_> = sound(&world, seat).into_iter().rev().take(90).rev().collect();
        assert!(lately.iter().all(|packet| plan_of(packet) == Some(plan.number)));
        assert!(lately.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 960));
        assert_unbroken(&sound(&world, seat));
    }
    assert!(world.counters().mixed >= 290);
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn a_voice_flows_until_the_mix_does_and_again_after_it() {
    let mut world = meeting(2, 2);
    attend(&mut world);
    world.connect();
    // The mixer takes its time.
    let before = sound(&world, 0).len();
    world.run(SECOND);
    assert!(sound(&world, 0).len() >= before + 49, "the other's voice goes on");
    assert!(sound(&world, 2).is_empty(), "who is new has heard nobody alone");
    mix(&mut world, SECOND);
    world.remove(2);
    assert!(plan(&world).listeners.is_empty(), "two need no mix");
    world.seats[2].is_sending = false;
    world.run(SECOND);
    for seat in 0..2 {
        let all = sound(&world, seat);
        assert_unbroken(&all);
        let mixed = all.iter().filter(|packet| plan_of(packet).is_some()).count();
        assert!((48..=51).contains(&mixed), "{mixed}");
        let turns = all.windows(2).filter(|pair| plan_of(pair[0]).is_some() != plan_of(pair[1]).is_some()).count();
        assert_eq!(turns, 2, "there and back");
        // From one to the other no time is lost or won: a frame at most.
        let (first, last) = (all[0], all[all.len() - 1]);
        let by_clock = (last.at - first.at).as_millis() * 48;
        let by_stamp = u128::from(last.timestamp.wrapping_sub(first.timestamp));
        assert!(by_clock.abs_diff(by_stamp) <= 2 * 960, "{by_clock} {by_stamp}");
    }
    assert!(sound(&world, 2).iter().all(|packet| plan_of(packet).is_some()));
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn what_was_mixed_before_a_door_moved_or_a_voice_was_muted_is_not_sent_after_it() {
    let mut world = meeting(3, 4);
    mix(&mut world, SECOND);
    let old = plan(&world);
    let heard = |world: &World, seat: usize| sound(world, seat).len();
    let (room, muted) = (world.room, peer(&world, 3));
    world.command(Command::Mute { room, peer: muted, source: Source::Microphone, muted: true }).unwrap();
    assert!(plan(&world).number > old.number);
    assert_eq!(plan(&world).voices.len(), 3);
    let before: Vec<usize> = (0..4).map(|seat| heard(&world, seat)).collect();
    give(&mut world, packet(&old, 5));
    // The one who is muted may hear the others still, in packets of before too: nothing of its own is in them.
    let after: Vec<usize> = (0..4).map(|seat| heard(&world, seat)).collect();
    assert_eq!(after, [before[0], before[1], before[2], before[3] + 1]);
    mix(&mut world, SECOND / 10);
    assert!(heard(&world, 0) > before[0]);

    let old = plan(&world);
    world.send_back(2).unwrap();
    let before: Vec<usize> = (0..4).map(|seat| heard(&world, seat)).collect();
    give(&mut world, packet(&old, 6));
    assert_eq!(heard(&world, 2), before[2]);
    world.admit(2).unwrap();
    give(&mut world, packet(&old, 7));
    assert_eq!(heard(&world, 2), before[2], "what was said while it was outside is not for it");
    let now = plan(&world);
    give(&mut world, packet(&now, 8));
    assert_eq!(heard(&world, 2), before[2] + 1);
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn rights_decide_who_is_in_the_mix_and_who_hears_it() {
    let mut world = meeting(4, 4);
    let room = world.room;
    let set = |world: &mut World, seat: usize, rights: Rights| {
        let participant = world.seats[seat].participant;
        world.command(Command::SetRights { room, participant, rights }).unwrap();
    };
    set(&mut world, 1, Rights { sends_audio: false, ..Rights::default() });
    assert_eq!((plan(&world).voices.len(), plan(&world).listeners.len()), (3, 4));
    world.mixer.voices.clear();
    world.run(SECOND / 5);
    assert_eq!(voices(&world).len(), 3);
    set(&mut world, 2, Rights { receives_audio: false, ..Rights::default() });
    let plan = plan(&world);
    assert_eq!((plan.voices.len(), plan.listeners.len()), (3, 3));
    assert!(plan.listeners.iter().all(|listener| listener.peer != peer(&world, 2)));
    let before = sound(&world, 2).len();
    mix(&mut world, SECOND / 5);
    assert_eq!(sound(&world, 2).len(), before);
}

#[test]
fn a_silent_screen_needs_no_mix_and_one_that_sounds_is_heard_by_all_but_its_sharer() {
    let mut world = meeting(5, 2);
    let sharer = world.seats[0].participant;
    let share = world.join_as(Manner::ChimeShare, sharer, Door::Admitted, sound_only());
    world.seats[share].level = 127;
    world.connect();
    world.run(SECOND);
    assert!(world.mixer.plans.is_empty(), "the other voice is forwarded as it is");
    world.seats[share].level = 30;
    world.run(SECOND / 10);
    let plan = plan(&world);
    assert_eq!(plan.voices.len(), 2, "the sharer's voice and the screen's");
    let [listener] = &plan.listeners[..] else { panic!("{plan:?}") };
    assert_eq!((listener.peer, listener.without.len()), (peer(&world, 1), 0));
    mix(&mut world, SECOND);
    assert!(sound(&world, 0).iter().all(|packet| plan_of(packet).is_none() && packet.payload.last() == Some(&1)));
    assert!(sound(&world, share).is_empty());
    world.remove(share);
    assert!(self::plan(&world).listeners.is_empty());
}

#[test]
fn native_clients_speak_into_the_mix_and_hear_each_voice_by_itself() {
    let mut world = World::new(6);
    let slots = ClientConfig { extra_audio: 1, ..sound_only() };
    let native = world.join(ParticipantId::random(), Door::Admitted, slots);
    let chime = [attend(&mut world), attend(&mut world)];
    world.connect();
    mix(&mut world, SECOND);
    let plan = plan(&world);
    assert_eq!((plan.voices.len(), plan.listeners.len()), (3, 2));
    let senders: BTreeSet<u8> = world.seats[native].received.iter().filter_map(|p| p.payload.last().copied()).collect();
    assert_eq!(senders, BTreeSet::from([1, 2]));
    assert!(world.seats[native].received.iter().all(|packet| plan_of(packet).is_none()));
    assert!(chime.iter().all(|seat| sound(&world, *seat).iter().any(|packet| plan_of(packet).is_some())));
}

#[test]
fn redundancy_is_taken_off_for_the_mixer_and_put_on_for_a_listener_behind_loss() {
    let mut world = World::new(7);
    for red in [Redundancy::Sends, Redundancy::Reads, Redundancy::Unknown] {
        let config = ClientConfig { red, ..sound_only() };
        world.join_as(Manner::Chime, ParticipantId::random(), Door::Admitted, config);
    }
    world.connect();
    mix(&mut world, 2 * SECOND);
    assert!(world.mixer.voices.iter().all(|(_, voice)| voice.payload.len() == 60), "the frames alone");
    // What is lost on the way here comes back to the mixer as well.
    world.seats[0].up.loss = 0.1;
    world.seats[1].down.loss = 0.15;
    world.delay = FRAME;
    mix(&mut world, 15 * SECOND);
    let red = sound(&world, 1).iter().filter(|packet| packet.payload_type == 63).count();
    assert!(red > 200, "{red}");
    assert!(sound(&world, 2).iter().all(|packet| packet.payload_type == 111));
    let recovered = world.counters().recovered_up;
    assert!(recovered > 40, "{recovered}");
}

#[test]
fn a_room_that_closes_is_not_mixed_any_more() {
    let mut world = meeting(8, 3);
    assert_eq!(plan(&world).listeners.len(), 3);
    let room = world.room;
    world.command(Command::CloseRoom { room }).unwrap();
    assert!(plan(&world).listeners.is_empty() && plan(&world).voices.is_empty());
    let late = MixPlan { number: 1, ..MixPlan::default() };
    give(&mut world, packet(&late, 9));
}

#[test]
fn a_listener_learns_what_time_it_is_in_the_mix() {
    let mut world = meeting(9, 3);
    let before = world.seats[0].client.stats().sender_reports;
    mix(&mut world, 5 * SECOND);
    let reports = world.seats[0].client.stats().sender_reports - before;
    assert!((4..=7).contains(&reports), "{reports}");
}

/// People come, go, are sent back, muted and let in at random, while the mixer is always some plans behind.
#[test]
fn nobody_is_ever_sent_a_mix_of_what_they_may_not_hear() {
    for seed in 0..12u8 {
        let mut world = meeting(seed, 5);
        let mut rng = StdRng::seed_from_u64(seed.into());
        let mut muted = [false; 5];
        let mut timestamp = 0;
        let mut sent = 0;
        for _ in 0..150 {
            let seat = rng.random_range(1..5);
            let room = world.room;
            match rng.random_range(0..4) {
                0 => drop(world.admit(seat)),
                1 => drop(world.send_back(seat)),
                2 => {
                    muted[seat] = !muted[seat];
                    let (peer, muted) = (peer(&world, seat), muted[seat]);
                    world.command(Command::Mute { room, peer, source: Source::Microphone, muted }).unwrap();
                }
                _ => world.run(FRAME),
            }
            let from = world.mixer.plans.len().saturating_sub(4);
            if world.mixer.plans.len() == from {
                continue;
            }
            let made = world.mixer.plans[rng.random_range(from..world.mixer.plans.len())].clone();
            let before: Vec<usize> = (0..5).map(|seat| sound(&world, seat).len()).collect();
            timestamp += 960;
            give(&mut world, packet(&made, timestamp));
            for (listener, before) in before.into_iter().enumerate() {
                let new = &sound(&world, listener)[before..];
                if !new.iter().any(|packet| plan_of(packet).is_some()) {
                    continue;
                }
                sent += 1;
                let door = |seat: usize| world.doors.get(&peer(&world, seat)).copied();
                assert_eq!(door(listener), Some(Door::Admitted), "seed {seed}");
                let heard = made.listeners.iter().find(|one| one.peer == peer(&world, listener)).unwrap();
                // Whose voices those are, the present plan knows: it names only what may be heard.
                let now = plan(&world);
                let may = now.listeners.iter().find(|one| one.peer == peer(&world, listener)).unwrap();
                for voice in made.voices.iter().filter(|voice| !heard.without.contains(voice)) {
                    let is_allowed = now.voices.contains(voice) && !may.without.contains(voice);
                    assert!(is_allowed, "seed {seed}: a voice that is out of the mix");
                }
                let inside = (0..5).filter(|seat| door(*seat) == Some(Door::Admitted) && !muted[*seat]).count();
                assert!(now.voices.len() <= inside, "seed {seed}");
            }
        }
        assert!(sent > 20, "seed {seed}: {sent}");
        assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
    }
}
