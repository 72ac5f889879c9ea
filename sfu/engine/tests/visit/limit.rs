//! What two people are told not to exceed: nothing while nothing is known, the receiver's way when it is narrow, and nothing
//! again when it is not.

use std::time::Duration;

use crate::world::{Link, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const MOST: u64 = 2_500_000;

/// Two people with good ways to a server 20 ms away.
fn call(seed: u8) -> World {
    let mut world = World::two_party(seed);
    world.delay = 20 * MS;
    for seat in &mut world.seats {
        seat.encoder = Some(MOST);
        seat.down = Link::kbits(50_000, 300);
        seat.up = Link::kbits(50_000, 300);
    }
    world.connect();
    world
}

/// The lowest and the highest rate that somebody makes in this time.
fn range(world: &mut World, seat: usize, time: Duration) -> (u64, u64) {
    let (mut least, mut most) = (u64::MAX, 0);
    let end = world.now + time;
    while world.now < end {
        world.run(20 * MS);
        least = least.min(world.seats[seat].making);
        most = most.max(world.seats[seat].making);
    }
    (least, most)
}

#[test]
fn on_good_ways_both_reach_the_full_rate_and_nobody_is_limited() {
    for seed in 40..50 {
        let mut world = call(seed);
        let took = world.run_until(5 * SECOND, |world| world.seats.iter().all(|seat| seat.making >= MOST * 98 / 100));
        assert!(took < 3 * SECOND, "{took:?}");
        world.run(10 * SECOND);
        let limits = [world.seats[0].least_limit, world.seats[1].least_limit];
        assert!(limits.iter().all(|limit| *limit >= MOST), "{limits:?}");
        assert_eq!(world.counters().shed, 0);
    }
}

#[test]
fn a_receiver_with_a_megabit_limits_the_publisher_to_what_fits() {
    for seed in 50..60 {
        let mut world = call(seed);
        world.seats[1].down = Link::kbits(1000, 300);
        world.run(4 * SECOND);
        let from = world.seats[1].down.waits.len();
        let (least, most) = range(&mut world, 0, 20 * SECOND);
        assert!(least >= 650_000 && most <= 1_000_000, "{least} to {most}");
        let queue = world.seats[1].down.percentile(0.99, from);
        assert!(queue < 200 * MS, "{queue:?}");
        assert!(world.seats[1].making >= MOST * 98 / 100, "the other way is not narrow");
    }
}

#[test]
fn a_way_that_widens_gives_the_rate_back() {
    for seed in 60..70 {
        let mut world = call(seed);
        world.seats[1].down = Link::kbits(500, 300);
        world.run(15 * SECOND);
        assert!(world.seats[0].making <= 500_000);
        world.seats[1].down = Link::kbits(4000, 300);
        let took = world.run_until(10 * SECOND, |world| world.seats[0].making >= 2_000_000);
        assert!(took <= 8 * SECOND, "{took:?}");
        world.run(10 * SECOND);
        assert!(world.seats[0].limit >= MOST, "nothing limits any more: {}", world.seats[0].limit);
    }
}

#[test]
fn a_publisher_with_little_to_send_is_not_limited_by_it() {
    for seed in 70..75 {
        let mut world = call(seed);
        world.seats[0].encoder = Some(200_000);
        world.run(20 * SECOND);
        assert!(world.seats[0].least_limit >= MOST, "{}", world.seats[0].least_limit);
        world.seats[0].encoder = Some(MOST);
        let took = world.run_until(8 * SECOND, |world| world.seats[0].making >= MOST * 95 / 100);
        assert!(took <= 6 * SECOND, "{took:?}");
        assert_eq!(world.counters().shed, 0);
    }
}
