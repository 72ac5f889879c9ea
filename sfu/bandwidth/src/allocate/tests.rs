//! The allocator on virtual time.

#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const LADDER: [Rung; 3] = [rung(0, 150, 1), rung(1, 500, 4), rung(2, 1500, 16)];
const SLIDES: [Rung; 2] = [rung(0, 200, 8), rung(1, 800, 16)];

const fn rung(id: u16, kbits: u64, worth: u64) -> Rung {
    Rung { id, rate: Bitrate::kbps(kbits), worth }
}

fn budget(kbits: u64) -> Budget {
    Budget {
        target: Bitrate::kbps(kbits),
        sound: Bitrate::kbps(40),
        loss: 0.0,
        queue: Duration::ZERO,
        is_calm: true,
        video_scale: 1.0,
    }
}

fn face(key: u64) -> Claim<'static> {
    Claim { key, class: Class::Face, emphasis: Emphasis::Plain, shape: Shape::Ladder(&LADDER) }
}

fn screen(key: u64) -> Claim<'static> {
    Claim { key, class: Class::Screen, emphasis: Emphasis::Plain, shape: Shape::Ladder(&SLIDES) }
}

fn elastic(key: u64, class: Class) -> Claim<'static> {
    Claim {
        key,
        class,
        emphasis: Emphasis::Plain,
        shape: Shape::Elastic { most: Bitrate::kbps(2500), least: Bitrate::ZERO },
    }
}

struct Run {
    allocator: Allocator,
    now: Instant,
}

impl Run {
    fn new() -> Self {
        let now = Instant::now();
        Self { allocator: Allocator::new(now), now }
    }

    /// Lets time pass in steps of 100 ms, and tells the last division.
    fn pass(&mut self, time: Duration, budget: &Budget, claims: &[Claim<'_>]) -> Vec<Granted> {
        let end = self.now + time;
        while self.now < end {
            if self.allocator.is_due(self.now, budget.target, budget.sound) {
                self.allocator.allocate(self.now, budget, claims);
            }
            self.now += 100 * MS;
        }
        self.allocator.granted.clone()
    }

    fn rungs(&mut self, millis: u32, kbits: u64, claims: &[Claim<'_>]) -> Vec<Option<u16>> {
        let granted = self.pass(millis * MS, &budget(kbits), claims);
        granted.iter().map(|g| if let Grant::Rung(id) = g.grant { id } else { None }).collect()
    }
}

#[test]
fn the_screen_comes_before_faces_and_every_face_has_its_lowest_before_one_has_more() {
    let claims = [face(1), face(2), face(3), face(4), screen(5)];
    let mut run = Run::new();
    // 1500 less sound and reserve: 600 for the lowest of all faces, 800 for the screen.
    assert_eq!(run.rungs(20_000, 1500, &claims), [Some(0), Some(0), Some(0), Some(0), Some(1)]);
    let mut run = Run::new();
    assert_eq!(run.rungs(20_000, 560, &claims), [Some(0), Some(0), None, None, Some(0)]);
    let mut run = Run::new();
    assert_eq!(run.rungs(20_000, 240, &claims), [Some(0), None, None, None, None], "a screen that does not fit");
}

#[test]
fn less_comes_at_once_and_more_when_it_lasts() {
    let claims = [face(1)];
    let mut run = Run::new();
    assert_eq!(run.rungs(15_000, 2000, &claims), [Some(2)]);
    assert_eq!(run.rungs(100, 900, &claims), [Some(1)]);
    assert_eq!(run.rungs(1800, 2000, &claims), [Some(1)]);
    assert_eq!(run.rungs(1000, 2000, &claims), [Some(2)]);
}

#[test]
fn a_target_that_swings_does_not_make_the_picture_swing() {
    let claims = [face(1)];
    let mut run = Run::new();
    run.rungs(15_000, 1000, &claims);
    let (mut before, mut changes) = (Some(1), 0);
    for _ in 0..30 {
        for kbits in [1000, 2000] {
            let now = run.rungs(1000, kbits, &claims)[0];
            changes += usize::from(now != before);
            before = now;
        }
    }
    assert_eq!((before, changes), (Some(1), 0));
}

#[test]
fn an_upgrade_that_had_to_be_undone_waits_longer_each_time() {
    let claims = [face(1)];
    let mut run = Run::new();
    run.rungs(15_000, 1000, &claims);
    let mut upgrades = 0;
    for _ in 0..120 {
        // As soon as it sends more, the path shows that it cannot.
        let now = run.rungs(500, 2000, &claims)[0];
        if now == Some(2) {
            upgrades += 1;
            run.rungs(500, 700, &claims);
        }
    }
    assert!((1..=5).contains(&upgrades), "{upgrades} in a minute");
}

#[test]
fn a_face_is_paused_below_its_floor_and_resumes_with_a_margin() {
    let claims = [elastic(1, Class::Face)];
    let mut run = Run::new();
    let mut grant = |millis: u32, kbits| run.pass(millis * MS, &budget(kbits), &claims)[0].grant;
    assert_eq!(grant(1000, 300), Grant::Elastic(budget(300).video()));
    // First its publisher is asked for less, then it pauses.
    assert!(matches!(grant(1500, 64), Grant::Elastic(rate) if rate <= Bitrate::kbps(24)));
    assert_eq!(grant(1500, 64), Grant::Paused);
    assert_eq!(grant(20_000, 135), Grant::Paused, "80 would fit, but not 1.3 times as much");
    assert_eq!(grant(2500, 160), Grant::Paused);
    assert!(matches!(grant(1500, 160), Grant::Elastic(_)));
}

#[test]
fn what_another_receiver_keeps_up_is_paused_at_once_when_it_does_not_fit() {
    let shape = Shape::Elastic { most: Bitrate::kbps(2500), least: Bitrate::kbps(700) };
    let claims = [Claim { shape, ..elastic(1, Class::Face) }];
    let mut run = Run::new();
    assert!(matches!(run.pass(1000 * MS, &budget(1000), &claims)[0].grant, Grant::Elastic(_)));
    assert_eq!(run.pass(100 * MS, &budget(500), &claims)[0].grant, Grant::Paused);
    // The other one left: now it may be as small as it must.
    assert!(matches!(run.pass(5000 * MS, &budget(500), &[elastic(1, Class::Face)])[0].grant, Grant::Elastic(_)));
}

#[test]
fn beside_a_screen_a_face_keeps_a_share() {
    let claims = [elastic(1, Class::Face), elastic(2, Class::Screen)];
    let mut run = Run::new();
    let granted = run.pass(1000 * MS, &budget(1000), &claims);
    let video = budget(1000).video();
    assert_eq!(granted[0].rate, video.scale(0.15));
    assert_eq!(granted[0].rate + granted[1].rate, video);
    let granted = run.pass(1000 * MS, &budget(4000), &claims);
    assert_eq!(granted[1].rate, Bitrate::kbps(2500));
    assert_eq!(granted[0].rate, budget(4000).video().saturating_sub(Bitrate::kbps(2500)));
}

#[test]
fn who_is_pinned_takes_from_the_others() {
    let mut claims = [face(1), face(2)];
    let mut run = Run::new();
    assert_eq!(run.rungs(20_000, 900, &claims), [Some(1), Some(0)]);
    claims[1].emphasis = Emphasis::Pinned;
    assert_eq!(run.rungs(5000, 900, &claims), [Some(0), Some(1)]);
    claims[1].emphasis = Emphasis::Thumbnail;
    assert_eq!(run.rungs(8000, 2000, &claims), [Some(2), Some(0)]);
}

#[test]
fn a_layer_that_dies_is_replaced_by_the_one_below() {
    let mut run = Run::new();
    assert_eq!(run.rungs(20_000, 2500, &[face(1)]), [Some(2)]);
    let poor = [Claim { shape: Shape::Ladder(&LADDER[..2]), ..face(1) }];
    assert_eq!(run.rungs(300, 2500, &poor), [Some(1)]);
    let none = [Claim { shape: Shape::Ladder(&[]), ..face(1) }];
    let granted = run.pass(300 * MS, &budget(2500), &none);
    assert_eq!((granted[0].grant, granted[0].rate), (Grant::Rung(None), Bitrate::kbps(80)));
}

#[test]
fn the_next_step_is_told_while_there_is_one() {
    let mut run = Run::new();
    run.rungs(20_000, 1000, &[face(1)]);
    let next = run.allocator.next_step().unwrap();
    assert!(next > Bitrate::kbps(1500 * 115 / 100) && next < Bitrate::kbps(1900), "{next:?}");
    assert_eq!(run.rungs(20_000, next.as_kbps() + 30, &[face(1)]), [Some(2)], "with that it has it");
    assert_eq!(run.allocator.next_step(), None);
}

fn any_claims() -> impl Strategy<Value = Vec<(u64, bool, u8, Vec<u64>)>> {
    prop::collection::vec((0u64..12, any::<bool>(), 0u8..4, prop::collection::vec(1u64..900, 0..5)), 0..12)
}

proptest! {
    #[test]
    fn never_more_than_the_target_and_nobody_starves_on_a_wide_path(
        rounds in prop::collection::vec((any_claims(), 0u64..4000, 0u64..100, 0.0f32..1.5, 0u64..700), 1..12),
    ) {
        let mut run = Run::new();
        for (drawn, kbits, sound, loss, wait) in rounds {
            let mut ladders = Vec::new();
            for (_, _, _, steps) in &drawn {
                let mut total = 0;
                let ladder: Vec<Rung> = (0u16..).zip(steps).map(|(id, more)| {
                    total += more;
                    rung(id, total, u64::from(id) + 1)
                }).collect();
                ladders.push(ladder);
            }
            let mut claims: Vec<Claim<'_>> = Vec::new();
            for ((key, is_screen, emphasis, steps), ladder) in drawn.iter().zip(&ladders) {
                if claims.iter().any(|claim| claim.key == *key) {
                    continue;
                }
                let emphasis = [Emphasis::Thumbnail, Emphasis::Plain, Emphasis::Speaker, Emphasis::Pinned][usize::from(*emphasis)];
                let class = if *is_screen { Class::Screen } else { Class::Face };
                let shape = if steps.len() == 4 { Shape::Elastic { most: Bitrate::kbps(steps[0] * 4), least: Bitrate::kbps(steps[1]) } } else { Shape::Ladder(ladder) };
                claims.push(Claim { key: *key, class, emphasis, shape });
            }
            let budget = Budget { sound: Bitrate::kbps(sound), loss, ..budget(kbits) };
            run.now += Duration::from_millis(wait);
            let granted = run.allocator.allocate(run.now, &budget, &claims).to_vec();
            prop_assert_eq!(granted.len(), claims.len());
            let total: Bitrate = granted.iter().map(|granted| granted.rate).sum();
            prop_assert!(total <= budget.target.saturating_sub(budget.sound), "{:?} of {:?}", total, budget);
            for (granted, claim) in granted.iter().zip(&claims) {
                prop_assert_eq!(granted.key, claim.key);
                prop_assert!(matches!(granted.grant, Grant::Paused) == (granted.rate == Bitrate::ZERO) || matches!(granted.grant, Grant::Elastic(_)));
            }
            // A path that carries everything: after two minutes everybody has the best that he asks for.
            let wide = Budget { target: Bitrate::kbps(200_000), sound: Bitrate::ZERO, loss: 0.0, ..budget };
            let mut wide_run = Run { allocator: Allocator::new(run.now), now: run.now };
            wide_run.allocator.allocate(run.now, &budget, &claims);
            let granted = wide_run.pass(Duration::from_secs(240), &wide, &claims);
            for (granted, claim) in granted.iter().zip(&claims) {
                match claim.shape {
                    Shape::Elastic { most, .. } => prop_assert_eq!(granted.grant, Grant::Elastic(most.max(claim.lowest()))),
                    Shape::Ladder([]) => prop_assert_eq!(granted.grant, Grant::Rung(None)),
                    Shape::Ladder(ladder) => {
                        let best = if claim.emphasis == Emphasis::Thumbnail && claim.class == Class::Face { 0 } else { ladder.len() - 1 };
                        prop_assert_eq!(granted.grant, Grant::Rung(Some(ladder[best].id)));
                    }
                }
            }
        }
    }
}
