//! What a viewer wants at most: Layers, and ladders under a target.

use super::*;

const fn step(spatial: u8, kbits: u64) -> Step {
    Step { step: LayerStep { spatial, temporal: 0 }, rate: Bitrate::kbps(kbits), pixels: None }
}

#[test]
fn no_layer_above_the_one_that_is_wanted_unless_no_other_comes_in() {
    let kept = |mut steps: Vec<Step>, at_most| {
        keep_below(&mut steps, at_most);
        steps.iter().map(|step| step.step.spatial).collect::<Vec<_>>()
    };
    let all = vec![step(0, 150), step(1, 500), step(2, 1200)];
    assert_eq!(kept(all.clone(), 0), [0]);
    assert_eq!(kept(all.clone(), 1), [0, 1]);
    assert_eq!(kept(all.clone(), 7), [0, 1, 2]);
    assert_eq!(kept(vec![all[1], all[2]], 0), [1], "the small one rests");
    assert!(kept(Vec::new(), 0).is_empty());
}

#[test]
fn a_target_takes_the_dear_rungs_away_but_never_the_cheapest() {
    let steps = [step(2, 1200), step(0, 150), step(1, 500)];
    let rates =
        |target| ladder(&steps, Bitrate::kbps(target)).iter().map(|rung| rung.rate.as_kbps()).collect::<Vec<_>>();
    assert_eq!(rates(2500), [150, 500, 1200]);
    assert_eq!(rates(600), [150, 500]);
    assert_eq!(rates(500), [150, 500]);
    assert_eq!(rates(10), [150]);
}
