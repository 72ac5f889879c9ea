//! Which frames of one stream a receiver gets, when it gets fewer frames or a smaller picture than the stream has.

use std::collections::VecDeque;

use crate::layer::LayerStep;
use crate::rtp::dependency::{Dependency, Indication};
use crate::track::{Detail, Incoming};

/// Frames whose decision is remembered, so that all packets of a frame share it: a second of a stream with two spatial layers.
const DECISIONS: usize = 64;

/// The filter of one receiver. Going down is legal at any frame, for no lower layer builds on a higher one. Going up is
/// legal where the codec says that nothing builds on what was left out.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    wanted: LayerStep,
    /// What flows.
    current: LayerStep,
    /// The decode target that flows, of streams with a dependency descriptor; `None` for everything.
    target: Option<u8>,
    active: u32,
    /// What is wanted has more pixels than what flows: only a keyframe helps.
    lacks_keyframe: bool,
    /// Frames, oldest first, and whether they were let through.
    decisions: VecDeque<(u64, bool)>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It is left out.
    No,
    /// It goes on.
    Yes,
    /// It goes on as the last one of its picture.
    Last,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            wanted: LayerStep::BEST,
            current: LayerStep::BEST,
            target: None,
            active: u32::MAX,
            lacks_keyframe: false,
            decisions: VecDeque::new(),
        }
    }
}

impl Filter {
    /// At most this from now on.
    pub(crate) const fn want(&mut self, step: LayerStep) {
        self.wanted = step;
    }

    /// True while a larger picture waits for a keyframe.
    pub(crate) const fn lacks_keyframe(&self) -> bool {
        self.lacks_keyframe
    }

    /// Everything of the stream flows again: its first packet is that of a keyframe.
    pub(crate) fn start(&mut self) {
        self.decisions.clear();
        self.current = self.wanted;
        self.target = None;
        self.lacks_keyframe = false;
    }

    /// Decides about a packet. Only packets with a payload are asked about.
    pub(crate) fn decide(&mut self, incoming: &Incoming) -> Pass {
        if let Some(dependency) = incoming.dependency.as_deref() {
            return self.decide_by_dependency(incoming, dependency);
        }
        if self.wanted == LayerStep::BEST && self.current == LayerStep::BEST {
            return Pass::Yes;
        }
        if incoming.starts_run {
            self.start();
        }
        match &incoming.detail {
            Detail::Vp8(descriptor) => {
                let (Some(picture), Some((temporal, is_sync))) = (incoming.picture, descriptor.temporal) else {
                    return Pass::Yes;
                };
                self.current = self.lower();
                let passes = self.decision(picture).unwrap_or_else(|| {
                    let is_next = temporal == self.current.temporal.saturating_add(1);
                    if is_next && is_sync && temporal <= self.wanted.temporal && self.is_newest(picture) {
                        self.current.temporal = temporal;
                    }
                    temporal <= self.current.temporal
                });
                self.note(picture, passes);
                if passes { Pass::Yes } else { Pass::No }
            }
            Detail::Vp9(descriptor) => {
                let Some(picture) = incoming.picture else { return Pass::Yes };
                self.current = self.lower();
                let frame = |spatial: u8| picture * 8 + u64::from(spatial);
                let key = frame(descriptor.spatial);
                let passes = self.decision(key).unwrap_or_else(|| {
                    let next = self.current.spatial.saturating_add(1);
                    let below = descriptor.spatial.checked_sub(1).and_then(|below| self.decision(frame(below)));
                    if descriptor.spatial == next
                        && next <= self.wanted.spatial
                        && !descriptor.is_predicted
                        && below == Some(true)
                    {
                        self.current.spatial = next;
                    }
                    descriptor.spatial <= self.current.spatial && descriptor.temporal <= self.current.temporal
                });
                self.lacks_keyframe =
                    self.current.spatial < self.wanted.spatial && descriptor.spatial > self.current.spatial;
                let is_first = self.note(key, passes);
                // From the next picture on, more frames build on nothing that was left out.
                if passes && is_first && descriptor.is_switching_point && self.is_newest(key) {
                    self.current.temporal = self.wanted.temporal;
                }
                match passes {
                    false => Pass::No,
                    true if descriptor.ends_frame && descriptor.spatial == self.current.spatial => Pass::Last,
                    true => Pass::Yes,
                }
            }
            Detail::Plain => Pass::Yes,
        }
    }

    /// Exactly the packets of one decode target.
    fn decide_by_dependency(&mut self, incoming: &Incoming, dependency: &Dependency) -> Pass {
        if let Some(active) = dependency.active {
            self.active = active;
        }
        if incoming.starts_run || dependency.is_new_structure && dependency.starts_frame {
            self.start();
        }
        let structure = &dependency.structure;
        let find = |step: LayerStep| structure.find(step.spatial, step.temporal, self.active);
        let Some(wanted) = find(self.wanted) else { return Pass::Yes };
        let Some(frame) = incoming.frame else { return Pass::Yes };
        let mut current = self.target.unwrap_or(wanted);
        let (is, should) = (structure.target(current), structure.target(wanted));
        let known = self.decision(frame);
        if current != wanted && known.is_none() {
            let meet =
                LayerStep { spatial: is.spatial.min(should.spatial), temporal: is.temporal.min(should.temporal) };
            current = find(meet).unwrap_or(wanted);
            let has_come = |distance: u16| {
                frame.checked_sub(u64::from(distance)).is_some_and(|before| self.decision(before) == Some(true))
            };
            if dependency.indications.of(wanted) == Indication::Switch && dependency.references.iter().all(has_come) {
                current = wanted;
            }
        }
        self.target = Some(current);
        let flows = structure.target(current);
        self.lacks_keyframe = flows.spatial < should.spatial;
        let passes = known.unwrap_or_else(|| dependency.indications.of(current) != Indication::NotPresent);
        self.note(frame, passes);
        match passes {
            false => Pass::No,
            true if dependency.ends_frame && dependency.spatial == flows.spatial => Pass::Last,
            true => Pass::Yes,
        }
    }

    /// Down goes at once.
    fn lower(&self) -> LayerStep {
        LayerStep {
            spatial: self.current.spatial.min(self.wanted.spatial),
            temporal: self.current.temporal.min(self.wanted.temporal),
        }
    }

    fn decision(&self, frame: u64) -> Option<bool> {
        self.decisions.iter().rev().find(|(known, _)| *known == frame).map(|(_, passes)| *passes)
    }

    fn is_newest(&self, frame: u64) -> bool {
        self.decisions.iter().all(|(known, _)| *known <= frame)
    }

    /// True when it is the first word about this frame.
    fn note(&mut self, frame: u64, passes: bool) -> bool {
        if self.decision(frame).is_some() {
            return false;
        }
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back((frame, passes));
        true
    }
}
