//! Networks that go away and come back elsewhere: what is told, what is kept, how soon media flows again.

use std::net::SocketAddr;
use std::time::Duration;

use load::client::ClientConfig;
use wire::ParticipantId;
use wire::control::{Door, Event};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn silences(world: &World, seat: usize) -> usize {
    let peer = world.seats[seat].peer;
    world.events.iter().filter(|event| matches!(event, Event::PeerSilent { peer: of, .. } if *of == peer)).count()
}

fn is_lost(world: &World) -> bool {
    world.events.iter().any(|event| matches!(event, Event::PeerLost { .. }))
}

/// Packets that the other one got since the mark.
fn heard(world: &World, seat: usize) -> usize {
    world.seats[seat].received.len()
}

#[test]
fn an_outage_of_twenty_seconds_and_another_address_end_in_an_ice_restart_on_the_same_connection() {
    let mut world = World::two_party(31);
    world.connect();
    world.run(3 * SECOND);
    world.loss = 1.0;
    world.run(2 * SECOND);
    assert_eq!(silences(&world, 0), 0, "two seconds are no silence yet");
    world.run(18 * SECOND);
    assert_eq!((silences(&world, 0), silences(&world, 1)), (1, 1), "each silence is told once");
    assert!(!is_lost(&world));
    // The person walked out of the Wi-Fi: other address, and the browser was told to restart.
    world.loss = 0.0;
    world.seats[0].address = SocketAddr::from(([203, 0, 113, 80], 4711));
    world.seats[0].client.restart_ice();
    let ufrag = |answer: &str| answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::to_owned);
    let restarted = world.negotiate(0);
    let repeated = world.negotiate(0);
    assert_eq!(ufrag(&restarted), ufrag(&repeated), "an offer that repeats its credentials restarts nothing");
    let (before, back) = (heard(&world, 0), heard(&world, 1));
    let media = world.run_until(SECOND, |world| heard(world, 0) > before && heard(world, 1) > back);
    assert!(media < Duration::from_millis(100), "media came back after {media:?}");
    world.run(5 * SECOND);
    assert!(!is_lost(&world));
    assert!(world.seats.iter().all(|seat| seat.client.is_connected()));
    assert_eq!(world.counters().stun_refused, 0);
    assert!(world.counters().rtp_in > 0);
    assert_eq!((silences(&world, 0), silences(&world, 1)), (1, 1));
}

#[test]
fn another_address_without_a_restart_has_media_back_within_one_stun_interval() {
    let mut world = World::two_party(32);
    world.connect();
    world.run(3 * SECOND);
    let counters = world.counters();
    let (asked, wanted) = (counters.keyframes_asked, counters.keyframes_wanted);
    // The NAT forgot its mapping: the browser notices nothing, and its next check comes from elsewhere.
    world.seats[0].address = SocketAddr::from(([203, 0, 113, 81], 4712));
    let (before, back) = (heard(&world, 0), heard(&world, 1));
    let media = world.run_until(3 * SECOND, |world| heard(world, 0) > before && heard(world, 1) > back);
    assert!(media <= Duration::from_millis(2100), "the load client checks every two seconds: {media:?}");
    assert!(!is_lost(&world));
    world.run(SECOND / 5);
    let counters = world.counters();
    assert_eq!(counters.keyframes_asked, asked + 2, "what each sees of the other begins anew");
    assert_eq!(counters.keyframes_wanted, wanted, "before anybody asks for it");
}

#[test]
fn one_that_waits_and_sends_is_told_too_and_one_that_never_sent_is_not() {
    let mut world = World::new(33);
    let waiting = world.join(ParticipantId::random(), Door::Waiting, ClientConfig::default());
    let quiet = world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    world.seats[quiet].is_sending = false;
    world.connect();
    world.run(2 * SECOND);
    world.loss = 1.0;
    world.run(10 * SECOND);
    assert_eq!(silences(&world, waiting), 1);
    assert_eq!(silences(&world, quiet), 0);
}

#[test]
fn tcp_candidates_are_announced_as_passive_and_below_udp() {
    let mut world = World::new(34);
    let seat = world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    let answer = world.negotiate(seat);
    let lines: Vec<Vec<&str>> =
        answer.lines().filter(|line| line.starts_with("a=candidate:")).map(|line| line.split(' ').collect()).collect();
    let priority = |transport: &str| {
        let of = lines.iter().filter(|words| words[2] == transport).map(|words| words[3].parse::<u64>().unwrap());
        of.collect::<Vec<_>>()
    };
    let (udp, tcp) = (priority("udp"), priority("tcp"));
    assert!(!udp.is_empty() && udp.len() == tcp.len());
    assert!(udp.iter().min() > tcp.iter().max());
    assert!(tcp.iter().all(|priority| u32::try_from(*priority).is_ok()));
    assert!(
        lines.iter().filter(|words| words[2] == "tcp").all(|words| words.ends_with(&["host", "tcptype", "passive"]))
    );
}
