//! Ladders under a target.

use super::*;

#[test]
fn a_target_takes_the_dear_rungs_away_but_never_the_cheapest() {
    let step =
        |spatial, kbits| Step { step: LayerStep { spatial, temporal: 0 }, rate: Bitrate::kbps(kbits), pixels: None };
    let steps = [step(2, 1200), step(0, 150), step(1, 500)];
    let rates =
        |target| ladder(&steps, Bitrate::kbps(target)).iter().map(|rung| rung.rate.as_kbps()).collect::<Vec<_>>();
    assert_eq!(rates(2500), [150, 500, 1200]);
    assert_eq!(rates(600), [150, 500]);
    assert_eq!(rates(500), [150, 500]);
    assert_eq!(rates(10), [150]);
}
