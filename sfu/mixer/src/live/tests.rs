mod world;

use proptest::prelude::*;

use super::*;
use world::{MS, World, sharpest};

#[test]
fn each_of_three_hears_the_two_others_and_not_themselves() {
    let mut world = World::new(3);
    for id in 0..3 {
        world.speak(id, 0.2);
    }
    world.run(2000);
    for ear in 0..3 {
        for speaker in 0..3 {
            let strength = world.hears(ear, speaker, 1000);
            if ear == speaker {
                assert!(strength < 0.002, "{ear} hears itself: {strength}");
            } else {
                assert!((0.15..0.25).contains(&strength), "{ear} hears {speaker}: {strength}");
            }
        }
    }
    let counts = world.live.counts();
    assert_eq!((counts.concealed, counts.late, counts.skipped), (0, 0, 0));
}

#[test]
fn all_who_are_silent_share_one_encoder() {
    let mut world = World::new(10);
    world.run(1000);
    let before = *world.live.counts();
    world.run(1000);
    let silent = *world.live.counts();
    assert_eq!((silent.frames - before.frames, silent.encoded - before.encoded), (50, 50));
    world.speak(3, 0.2);
    world.speak(7, 0.2);
    world.run(1000);
    let before = *world.live.counts();
    world.run(1000);
    let speaking = *world.live.counts();
    assert_eq!(speaking.encoded - before.encoded, 150, "the two speakers have one each");
    assert!(world.hears(3, 7, 500) > 0.15 && world.hears(3, 3, 500) < 0.002);
    assert!(world.hears(0, 3, 500) > 0.15 && world.hears(0, 7, 500) > 0.15);
    assert_eq!(world.ears[&0].heard, world.ears[&9].heard);
}

#[test]
fn only_the_loudest_five_are_heard() {
    let mut world = World::new(8);
    for (id, level) in [(0, 0.02), (1, 0.1), (2, 0.11), (3, 0.12), (4, 0.03), (5, 0.13), (6, 0.14)] {
        world.speak(id, level);
    }
    world.run(2000);
    for id in [1, 2, 3, 5, 6] {
        assert!(world.hears(7, id, 1000) > 0.07, "{id}");
    }
    for id in [0, 4] {
        assert!(world.hears(7, id, 1000) < 0.003, "{id} {}", world.hears(7, id, 1000));
    }
    // Who raises the voice is heard.
    world.speak(0, 0.3);
    world.run(2000);
    assert!(world.hears(7, 0, 1000) > 0.2);
}

/// The sharpest bend of what came from here on, against that of the same sound long after.
fn click(world: &mut World, ear: u32, change: impl FnOnce(&mut World)) -> f32 {
    let from = world.ears[&ear].heard.len();
    change(world);
    world.run(500);
    let at_change = sharpest(&world.ears[&ear].heard[from..]);
    world.run(1000);
    at_change / sharpest(world.lately(ear, 900))
}

#[test]
fn nobody_hears_a_click_when_somebody_begins_to_speak() {
    let mut world = World::new(4);
    world.speak(0, 0.2);
    world.run(2000);
    let before = *world.live.counts();
    // The one who begins moves to an encoder of their own, the others hear a voice come in.
    for ear in [1, 2] {
        let mut world = World::new(4);
        world.speak(0, 0.2);
        world.run(2000);
        let ratio = click(&mut world, ear, |world| world.speak(1, 0.2));
        assert!(ratio < 1.5, "ear {ear}: {ratio}");
    }
    // And back: after a pause of some seconds they share again.
    world.speak(1, 0.2);
    world.run(1500);
    let ratio = click(&mut world, 1, |world| {
        world.speak(1, 0.0);
        world.run(4000);
    });
    assert!(ratio < 1.5, "{ratio}");
    assert_eq!(before.late, world.live.counts().late);
}

#[test]
fn an_encoder_that_is_not_warm_would_be_heard() {
    // What the frame of warming up is for: the same switch to a fresh encoder and without it.
    let click = |is_warm: bool| {
        let mut streams = [Stream::<u32>::new(Vec::new()).unwrap(), Stream::new(vec![1]).unwrap()];
        let mut decoder = opus::Decoder::new(RATE, opus::Channels::Mono).unwrap();
        let mut heard = Vec::new();
        for frame in 0..60usize {
            let wave = |n: usize| 0.2 * (std::f32::consts::TAU * 400.0 * n as f32 / 48_000.0).sin();
            let mut sum: [f32; FRAME] = std::array::from_fn(|n| wave(frame * FRAME + n));
            if is_warm && frame == 29 {
                streams[1].encode(&mut sum).unwrap();
            }
            let packet = streams[usize::from(frame >= 30)].encode(&mut sum).unwrap();
            let mut pcm = [0.0; FRAME];
            decoder.decode_float(packet, &mut pcm, false).unwrap();
            heard.extend_from_slice(&pcm);
        }
        sharpest(&heard[29 * FRAME..34 * FRAME]) / sharpest(&heard[45 * FRAME..])
    };
    let (warm, cold) = (click(true), click(false));
    assert!(warm < 1.1 && cold > 1.4, "{warm} {cold}");
}

#[test]
fn a_loss_is_concealed() {
    let mut world = World::new(3);
    world.speak(0, 0.2);
    world.run(1000);
    world.loss = 0.05;
    let before = *world.live.counts();
    world.run(10_000);
    let counts = world.live.counts();
    let concealed = counts.concealed - before.concealed;
    assert!((40..160).contains(&concealed), "{concealed} of 1500");
    assert!(world.hears(1, 0, 9000) > 0.14, "{}", world.hears(1, 0, 9000));
    // No frame is silent, and none clicks as a hole would.
    let quietest =
        world.lately(1, 9000).chunks(FRAME).map(|frame| frame.iter().fold(0.0f32, |most, s| most.max(s.abs())));
    assert!(quietest.fold(1.0, f32::min) > 0.05);
    assert!(world.waited(&before) < 40 * MS, "{:?}", world.waited(&before));
}

#[test]
fn jitter_makes_sound_wait_as_long_as_it_must_and_no_longer() {
    let mut world = World::new(3);
    world.speak(0, 0.2);
    world.run(1000);
    let calm = *world.live.counts();
    world.run(2000);
    assert!(world.waited(&calm) < 25 * MS, "{:?}", world.waited(&calm));
    world.jitter = 45 * MS;
    world.run(10_000);
    let before = *world.live.counts();
    world.run(20_000);
    let counts = *world.live.counts();
    let bad = counts.concealed + counts.late - before.concealed - before.late;
    assert!(bad <= 60, "{bad} of 3000");
    assert!(world.waited(&before) < 75 * MS, "{:?}", world.waited(&before));
    // The way is calm again: nothing waits longer than before.
    world.jitter = Duration::ZERO;
    world.run(60_000);
    let before = *world.live.counts();
    world.run(2000);
    assert!(world.waited(&before) < 40 * MS, "{:?}", world.waited(&before));
}

#[test]
fn what_was_held_up_does_not_stay_late() {
    let mut world = World::new(3);
    world.speak(0, 0.2);
    world.run(1000);
    world.stall = Some(world.now + 400 * MS);
    world.run(400);
    world.stall = None;
    world.run(3000);
    let before = *world.live.counts();
    assert!(before.overflowed > 0 && before.hurried > 0, "{before:?}");
    world.run(1000);
    assert!(world.waited(&before) < 60 * MS, "{:?}", world.waited(&before));
}

#[test]
fn sound_is_drawn_together_without_a_click() {
    let mut world = World::new(3);
    world.speak(0, 0.2);
    world.run(1000);
    world.stall = Some(world.now + 150 * MS);
    world.run(150);
    world.stall = None;
    world.run(100);
    let before = *world.live.counts();
    let from = world.ears[&1].heard.len();
    world.run(4000);
    assert!(world.live.counts().hurried > before.hurried);
    let ratio = sharpest(&world.ears[&1].heard[from..]) / sharpest(world.lately(1, 300));
    assert!(ratio < 2.0, "{ratio}");
}

#[test]
fn who_comes_later_hears_nothing_of_before() {
    for offset in 0..20 {
        let mut world = World::new(3);
        world.ears.remove(&2);
        world.plan();
        world.speak(0, 0.3);
        world.run(1000 + offset);
        // What was said is on its way through the mix when somebody new listens, and the speaker says no more.
        let decoder = World::new(3).ears.remove(&2).unwrap();
        world.ears.insert(2, decoder);
        world.speakers.get_mut(&0).unwrap().is_gone = true;
        world.plan();
        world.run(500);
        let loudest = world.ears[&2].heard.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
        assert!(!world.ears[&2].heard.is_empty());
        // The codec's guesses of what would have come are all that is left, and they are made of what came before.
        assert!(loudest < 0.001, "{offset}: {loudest}");
    }
}

#[test]
fn a_voice_that_is_taken_out_is_gone_with_the_next_frame() {
    let mut world = World::new(3);
    world.speak(0, 0.2);
    world.speak(1, 0.2);
    world.run(1000);
    world.live.plan(world.now, &[1, 2], (0..3).map(|id| (id, vec![id])).collect()).unwrap();
    world.run(60);
    assert!(world.hears(2, 0, 20) < 0.02, "{}", world.hears(2, 0, 20));
    world.run(500);
    assert!(world.hears(2, 0, 400) < 0.002 && world.hears(2, 1, 400) > 0.15);
}

#[test]
fn a_pause_of_the_sender_is_a_pause_and_no_loss_of_time() {
    let mut world = World::new(3);
    world.speak(0, 0.2);
    world.run(1000);
    world.speakers.get_mut(&0).unwrap().is_gone = true;
    world.run(2000);
    assert!(world.hears(1, 0, 1000) < 0.002);
    world.speakers.get_mut(&0).unwrap().is_gone = false;
    let before = *world.live.counts();
    world.run(1000);
    assert!(world.hears(1, 0, 500) > 0.15);
    assert!(world.waited(&before) < 30 * MS, "{:?}", world.waited(&before));
}

#[test]
fn a_first_word_is_heard_within_three_frames() {
    let mut world = World::new(3);
    world.run(1000);
    world.speak(0, 0.3);
    let (before, began) = (world.ears[&1].heard.len(), world.now);
    world.run(300);
    let heard = &world.ears[&1].heard[before..];
    let first = heard.iter().position(|sample| sample.abs() > 0.02).unwrap();
    let came = world.ears[&1].came[(before + first) / FRAME];
    // A frame to fill the packet, at most one until the mixer's turn, one until the voice is let in.
    assert!(came - began <= 61 * MS, "{:?}", came - began);
}

#[test]
fn a_mixer_that_was_held_up_leaves_out_what_is_over() {
    let mut world = World::new(3);
    world.run(100);
    let mut frames = 0;
    world.live.take_until(world.now + Duration::from_secs(5), |_| frames += 1).unwrap();
    assert!(frames <= 1 + MOST_BEHIND, "{frames}");
    assert!(world.live.counts().skipped >= 245);
    assert!(world.live.due() > world.now + Duration::from_secs(5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_comes_the_mixer_goes_on(
        packets in prop::collection::vec(
            (0u32..3, 0u64..400, prop::option::of(any::<u8>()), prop::collection::vec(any::<u8>(), 0..60), 0u32..30), 0..200)
    ) {
        let mut world = World::new(3);
        for (voice, number, level, payload, wait) in packets {
            world.live.push(voice, Spoken { arrived: world.now, number, level, payload: payload.into() });
            world.run(wait);
        }
        world.run(100);
        prop_assert!(world.ears[&0].heard.len() >= 4 * FRAME);
        prop_assert!(world.ears[&0].heard.iter().all(|sample| sample.is_finite() && sample.abs() < 4.0));
    }
}
