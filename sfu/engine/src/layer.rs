//! The switch machine of a Subscription: which Layer of its Track flows, and when another may take over.

use std::time::{Duration, Instant};

use bandwidth::Bitrate;

/// How long the old Layer flows while a smaller one has no keyframe yet: what is too much for the way must stop.
const PATIENCE: Duration = Duration::from_millis(500);

/// An encoding of a Track, by its place among the Track's Layers: 0 has the smallest picture.
pub(crate) type Layer = u8;

/// How much of a Track a receiver gets: a size of the picture and a share of its frames. Ordered as viewers prefer: more
/// pixels before more frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LayerStep {
    /// 0 is the smallest picture.
    pub(crate) spatial: u8,
    /// 0 has the fewest frames.
    pub(crate) temporal: u8,
}

impl LayerStep {
    /// Whatever is best.
    pub(crate) const BEST: Self = Self { spatial: u8::MAX, temporal: u8::MAX };
}

/// A [`LayerStep`] that flows at present, and what it costs: everything that it builds on is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) step: LayerStep,
    pub(crate) rate: Bitrate,
    /// Width times height, once a keyframe told it.
    pub(crate) pixels: Option<u32>,
}

/// What flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Paused,
    /// `old` flows, if any, until a keyframe of `new` begins, or until that instant.
    SwitchingAtKeyframe { old: Option<(Layer, Option<Instant>)>, new: Layer },
    /// This Layer flows.
    Forwarding(Layer),
}

/// What to do with one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not for this receiver.
    Drop,
    /// Forward it as the next of what flows already.
    Forward,
    /// Forward it; from here on another Layer flows, so the rewriter starts a new run.
    Start,
}

/// The machine of one Subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch {
    state: State,
    /// Audio starts anywhere, video at a keyframe.
    at_keyframes: bool,
}

impl Switch {
    /// Nothing flows yet, and `layer` should.
    pub(crate) const fn new(layer: Layer, at_keyframes: bool) -> Self {
        Self { state: State::SwitchingAtKeyframe { old: None, new: layer }, at_keyframes }
    }

    /// Stops the flow.
    pub(crate) const fn pause(&mut self) {
        self.state = State::Paused;
    }

    /// Starts the flow, or moves it to another Layer. Down waits for a keyframe a short while only.
    pub(crate) fn switch_to(&mut self, layer: Layer, now: Instant) {
        let until = |old: Layer| (layer < old).then(|| now + PATIENCE);
        self.state = match self.state {
            State::Forwarding(old) if old == layer => return,
            State::SwitchingAtKeyframe { new, .. } if new == layer => return,
            State::SwitchingAtKeyframe { old: Some((old, _)), .. } if old == layer => State::Forwarding(old),
            State::Forwarding(old) => State::SwitchingAtKeyframe { old: Some((old, until(old))), new: layer },
            State::SwitchingAtKeyframe { old, .. } => State::SwitchingAtKeyframe {
                // What had to stop at some time still has to.
                old: old.map(|(old, earlier)| (old, earlier.or(until(old)))),
                new: layer,
            },
            State::Paused => State::SwitchingAtKeyframe { old: None, new: layer },
        };
    }

    /// The Layer of which a keyframe is waited for, so that requests are repeated.
    pub(crate) const fn waits_for(&self) -> Option<Layer> {
        match self.state {
            State::SwitchingAtKeyframe { new, .. } if self.at_keyframes => Some(new),
            State::SwitchingAtKeyframe { .. } | State::Paused | State::Forwarding(_) => None,
        }
    }

    /// The Layer that flows.
    pub(crate) const fn flows(&self) -> Option<Layer> {
        match self.state {
            State::Forwarding(layer) | State::SwitchingAtKeyframe { old: Some((layer, _)), .. } => Some(layer),
            State::SwitchingAtKeyframe { old: None, .. } | State::Paused => None,
        }
    }

    /// Decides about one packet. `starts_run` is true for the first packet of a keyframe, if everything that came after it
    /// is still at hand: the receiver would wait in vain for what was dropped.
    pub(crate) fn decide(&mut self, layer: Layer, starts_run: bool, now: Instant) -> Verdict {
        match self.state {
            State::Forwarding(current) if current == layer => Verdict::Forward,
            State::SwitchingAtKeyframe { new, .. } if new == layer && (starts_run || !self.at_keyframes) => {
                self.state = State::Forwarding(layer);
                Verdict::Start
            }
            State::SwitchingAtKeyframe { old: Some((old, until)), new } if old == layer => {
                if until.is_some_and(|until| now >= until) {
                    self.state = State::SwitchingAtKeyframe { old: None, new };
                    return Verdict::Drop;
                }
                Verdict::Forward
            }
            State::Paused | State::Forwarding(_) | State::SwitchingAtKeyframe { .. } => Verdict::Drop,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn video_starts_at_a_keyframe_and_audio_anywhere() {
        let now = Instant::now();
        let mut video = Switch::new(0, true);
        assert_eq!(video.decide(0, false, now), Verdict::Drop);
        assert_eq!(video.waits_for(), Some(0));
        assert_eq!(video.decide(0, true, now), Verdict::Start);
        assert_eq!(video.decide(0, true, now), Verdict::Forward);
        let mut audio = Switch::new(0, false);
        assert_eq!(audio.decide(0, false, now), Verdict::Start);
    }

    #[test]
    fn the_old_layer_flows_until_the_new_one_has_a_keyframe() {
        let now = Instant::now();
        let mut switch = Switch::new(0, true);
        switch.decide(0, true, now);
        switch.switch_to(1, now);
        let later = now + 10 * PATIENCE;
        assert_eq!(switch.decide(0, false, later), Verdict::Forward);
        assert_eq!(switch.decide(1, false, later), Verdict::Drop);
        assert_eq!(switch.decide(1, true, later), Verdict::Start);
        assert_eq!(switch.decide(0, true, later), Verdict::Drop);
    }

    #[test]
    fn down_the_old_layer_flows_for_half_a_second_at_most() {
        let now = Instant::now();
        let mut switch = Switch::new(2, true);
        switch.decide(2, true, now);
        switch.switch_to(1, now);
        // Another wish on the way does not lengthen it.
        switch.switch_to(0, now + PATIENCE / 2);
        assert_eq!(switch.decide(2, false, now + PATIENCE - Duration::from_millis(1)), Verdict::Forward);
        assert_eq!(switch.decide(2, true, now + PATIENCE), Verdict::Drop);
        assert_eq!((switch.flows(), switch.waits_for()), (None, Some(0)));
        assert_eq!(switch.decide(0, true, now + PATIENCE), Verdict::Start);
    }

    #[test]
    fn a_switch_that_is_taken_back_needs_no_keyframe() {
        let now = Instant::now();
        let mut switch = Switch::new(0, true);
        switch.decide(0, true, now);
        switch.switch_to(1, now);
        switch.switch_to(0, now);
        assert_eq!(switch.waits_for(), None);
        assert_eq!(switch.decide(0, false, now), Verdict::Forward);
    }

    #[test]
    fn a_pause_ends_at_a_keyframe() {
        let now = Instant::now();
        let mut switch = Switch::new(0, true);
        switch.decide(0, true, now);
        switch.pause();
        assert_eq!(switch.decide(0, true, now), Verdict::Drop);
        switch.switch_to(0, now);
        assert_eq!(switch.decide(0, false, now), Verdict::Drop);
        assert_eq!(switch.decide(0, true, now), Verdict::Start);
    }
}
