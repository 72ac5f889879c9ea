//! The switch machine of a Subscription: which Layer of its Track flows, and when another may take over.

use bandwidth::Bitrate;

/// An encoding of a Track, by its place among the Track's Layers. Tracks have one Layer until simulcast is negotiated.
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
    #[allow(dead_code, reason = "what a receiver gets before the allocator spoke, once there are layers")]
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
    /// `old` flows, if any, until a keyframe of `new` begins.
    SwitchingAtKeyframe { old: Option<Layer>, new: Layer },
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

    /// Starts the flow, or moves it to another Layer.
    pub(crate) const fn switch_to(&mut self, layer: Layer) {
        let old = match self.state {
            State::Forwarding(old) if old == layer => return,
            State::Forwarding(old) => Some(old),
            State::SwitchingAtKeyframe { old, .. } => old,
            State::Paused => None,
        };
        self.state = State::SwitchingAtKeyframe { old, new: layer };
    }

    /// True while a keyframe is waited for, so that requests are repeated.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.at_keyframes && matches!(self.state, State::SwitchingAtKeyframe { .. })
    }

    /// Decides about one packet. `starts_run` is true for the first packet of a keyframe, if everything that came after it
    /// is still at hand: the receiver would wait in vain for what was dropped.
    pub(crate) const fn decide(&mut self, layer: Layer, starts_run: bool) -> Verdict {
        match self.state {
            State::Forwarding(current) if current == layer => Verdict::Forward,
            State::SwitchingAtKeyframe { new, .. } if new == layer && (starts_run || !self.at_keyframes) => {
                self.state = State::Forwarding(layer);
                Verdict::Start
            }
            State::SwitchingAtKeyframe { old: Some(old), .. } if old == layer => Verdict::Forward,
            State::Paused | State::Forwarding(_) | State::SwitchingAtKeyframe { .. } => Verdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_starts_at_a_keyframe_and_audio_anywhere() {
        let mut video = Switch::new(0, true);
        assert_eq!(video.decide(0, false), Verdict::Drop);
        assert!(video.is_waiting());
        assert_eq!(video.decide(0, true), Verdict::Start);
        assert_eq!(video.decide(0, true), Verdict::Forward);
        let mut audio = Switch::new(0, false);
        assert_eq!(audio.decide(0, false), Verdict::Start);
    }

    #[test]
    fn the_old_layer_flows_until_the_new_one_has_a_keyframe() {
        let mut switch = Switch::new(0, true);
        switch.decide(0, true);
        switch.switch_to(1);
        assert_eq!(switch.decide(0, false), Verdict::Forward);
        assert_eq!(switch.decide(1, false), Verdict::Drop);
        assert_eq!(switch.decide(1, true), Verdict::Start);
        assert_eq!(switch.decide(0, true), Verdict::Drop);
    }

    #[test]
    fn a_pause_ends_at_a_keyframe() {
        let mut switch = Switch::new(0, true);
        switch.decide(0, true);
        switch.pause();
        assert_eq!(switch.decide(0, true), Verdict::Drop);
        switch.switch_to(0);
        assert_eq!(switch.decide(0, false), Verdict::Drop);
        assert_eq!(switch.decide(0, true), Verdict::Start);
    }
}
