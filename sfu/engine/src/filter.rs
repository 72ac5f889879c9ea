//! Which frames of one stream a receiver gets, when it gets fewer frames or a smaller picture than the stream has.

use std::collections::VecDeque;

use crate::layer::LayerStep;
use crate::rtp::dependency::{Dependency, Indication};
use crate::rtp::{vp8, vp9};
use crate::track::{Detail, Incoming};

/// Frames whose decision is remembered, so that all packets of a frame share it: a second of a stream with two spatial layers.
const DECISIONS: usize = 64;
/// Changes of what flows that are remembered for frames that come late: more than a receiver's limit moves while a repair is
/// on its way.
const TURNS: usize = 8;
/// Spatial layers of a picture that are told apart.
const SPATIAL: u64 = 8;

/// What flows from which frame on. A frame that comes late is judged by what flowed when it was its turn: what was sent after
/// it may build on it, and what it builds on may have been left out.
#[derive(Clone, Debug, Default)]
struct Turns<T> {
    /// Before the first turn.
    before: T,
    /// Oldest first.
    turns: VecDeque<(u64, T)>,
}

impl<T: Copy + PartialEq> Turns<T> {
    fn reset(&mut self, to: T) {
        self.turns.clear();
        self.before = to;
    }

    fn last(&self) -> T {
        self.turns.back().map_or(self.before, |(_, what)| *what)
    }

    fn at(&self, frame: u64) -> T {
        self.turns.iter().rev().find(|(from, _)| *from <= frame).map_or(self.before, |(_, what)| *what)
    }

    fn turn(&mut self, from: u64, to: T) {
        if self.last() == to {
            return;
        }
        if self.turns.len() == TURNS
            && let Some((_, what)) = self.turns.pop_front()
        {
            self.before = what;
        }
        self.turns.push_back((from, to));
    }
}

/// The filter of one receiver. Going down is legal at any frame, for no lower layer builds on a higher one. Going up is
/// legal where the codec says that nothing builds on what was left out.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    wanted: LayerStep,
    /// What flows.
    steps: Turns<LayerStep>,
    /// The decode target that flows, of streams with a dependency descriptor; `None` before the first frame.
    targets: Turns<Option<u8>>,
    /// The latest frame that came.
    newest: Option<u64>,
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
            steps: Turns { before: LayerStep::BEST, turns: VecDeque::new() },
            targets: Turns::default(),
            newest: None,
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
        self.steps.reset(self.wanted);
        self.targets.reset(None);
        self.newest = None;
        self.lacks_keyframe = false;
    }

    /// Decides about a packet. Only packets with a payload are asked about.
    pub(crate) fn decide(&mut self, incoming: &Incoming) -> Pass {
        if let Some(dependency) = incoming.dependency.as_deref() {
            return self.decide_by_dependency(incoming, dependency);
        }
        match &incoming.detail {
            Detail::Vp8(descriptor) => self.decide_vp8(incoming, descriptor),
            Detail::Vp9(descriptor) => self.decide_vp9(incoming, descriptor),
            Detail::Plain => Pass::Yes,
        }
    }

    fn decide_vp8(&mut self, incoming: &Incoming, descriptor: &vp8::Descriptor) -> Pass {
        let (Some(picture), Some((temporal, is_sync))) = (incoming.picture, descriptor.temporal) else {
            return Pass::Yes;
        };
        if self.passes_all(picture, incoming.starts_run, 1) {
            return Pass::Yes;
        }
        let passes = self.decision(picture).unwrap_or_else(|| {
            let current = self.steps.last();
            let is_next = temporal == current.temporal.saturating_add(1);
            if is_next && is_sync && temporal <= self.wanted.temporal && self.is_newest(picture) {
                self.steps.turn(picture, LayerStep { temporal, ..current });
            }
            temporal <= self.steps.at(picture).temporal
        });
        self.note(picture, passes);
        if passes { Pass::Yes } else { Pass::No }
    }

    fn decide_vp9(&mut self, incoming: &Incoming, descriptor: &vp9::Descriptor) -> Pass {
        let Some(picture) = incoming.picture else { return Pass::Yes };
        let frame = |spatial: u8| picture * SPATIAL + u64::from(spatial);
        let key = frame(descriptor.spatial);
        if self.passes_all(key, incoming.starts_run, SPATIAL) {
            return Pass::Yes;
        }
        let passes = self.decision(key).unwrap_or_else(|| {
            let current = self.steps.last();
            let next = current.spatial.saturating_add(1);
            let below = descriptor.spatial.checked_sub(1).and_then(|below| self.decision(frame(below)));
            if descriptor.spatial == next
                && next <= self.wanted.spatial
                && !descriptor.is_predicted
                && below == Some(true)
                && self.is_newest(key)
            {
                self.steps.turn(key, LayerStep { spatial: next, ..current });
            }
            let flows = self.steps.at(key);
            descriptor.spatial <= flows.spatial && descriptor.temporal <= flows.temporal
        });
        let is_newest = self.is_newest(key);
        let flows = self.steps.at(key);
        if is_newest {
            self.lacks_keyframe = flows.spatial < self.wanted.spatial && descriptor.spatial > flows.spatial;
        }
        let is_first = self.note(key, passes);
        // From the next picture on, more frames build on nothing that was left out.
        if passes && is_first && descriptor.is_switching_point && is_newest {
            let current = self.steps.last();
            self.steps.turn(key + 1, LayerStep { temporal: self.wanted.temporal, ..current });
        }
        match passes {
            false => Pass::No,
            true if descriptor.ends_frame && descriptor.spatial == flows.spatial => Pass::Last,
            true => Pass::Yes,
        }
    }

    /// Whether nothing is left out, neither now nor of what may still come late. Else what flows is brought in line with what is
    /// wanted, pictures being `apart`: up at a keyframe, down at once.
    fn passes_all(&mut self, frame: u64, starts_run: bool, apart: u64) -> bool {
        let is_past = |from: u64| self.newest.is_some_and(|newest| newest >= from + DECISIONS as u64 * apart);
        if self.steps.turns.back().is_some_and(|&(from, step)| step == LayerStep::BEST && is_past(from)) {
            self.steps.reset(LayerStep::BEST);
        }
        let all = LayerStep::BEST;
        if self.wanted == all && self.steps.before == all && self.steps.turns.is_empty() {
            self.reach(frame);
            return true;
        }
        if starts_run && self.is_newest(frame) {
            self.steps.turn(frame, self.wanted);
        }
        self.lower(apart);
        false
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
        let known = self.decision(frame);
        let is_newest = self.is_newest(frame);
        if is_newest && known.is_none() {
            let target = self.follow(frame, dependency, wanted);
            self.targets.turn(frame, Some(target));
        }
        let current = self.targets.at(frame).unwrap_or(wanted);
        let flows = structure.target(current);
        if is_newest {
            self.lacks_keyframe = flows.spatial < structure.target(wanted).spatial;
        }
        let passes = known.unwrap_or_else(|| dependency.indications.of(current) != Indication::NotPresent);
        self.note(frame, passes);
        match passes {
            false => Pass::No,
            true if dependency.ends_frame && dependency.spatial == flows.spatial => Pass::Last,
            true => Pass::Yes,
        }
    }

    /// The decode target from the newest frame on: down at once, up where the frame allows it.
    fn follow(&self, frame: u64, dependency: &Dependency, wanted: u8) -> u8 {
        let structure = &dependency.structure;
        let Some(current) = self.targets.last().filter(|current| *current != wanted) else { return wanted };
        let has_come = |distance: u16| {
            frame.checked_sub(u64::from(distance)).is_some_and(|before| self.decision(before) == Some(true))
        };
        if dependency.indications.of(wanted) == Indication::Switch && dependency.references.iter().all(has_come) {
            return wanted;
        }
        let (is, should) = (structure.target(current), structure.target(wanted));
        structure.find(is.spatial.min(should.spatial), is.temporal.min(should.temporal), self.active).unwrap_or(wanted)
    }

    /// Down goes at once: from the next picture on, pictures being `apart`.
    fn lower(&mut self, apart: u64) {
        let current = self.steps.last();
        let lower = LayerStep {
            spatial: current.spatial.min(self.wanted.spatial),
            temporal: current.temporal.min(self.wanted.temporal),
        };
        match self.newest {
            Some(newest) => self.steps.turn((newest / apart + 1) * apart, lower),
            None => self.steps.reset(lower),
        }
    }

    fn decision(&self, frame: u64) -> Option<bool> {
        self.decisions.iter().rev().find(|(known, _)| *known == frame).map(|(_, passes)| *passes)
    }

    fn is_newest(&self, frame: u64) -> bool {
        self.newest.is_none_or(|newest| newest <= frame)
    }

    fn reach(&mut self, frame: u64) {
        self.newest = self.newest.max(Some(frame));
    }

    /// True when it is the first word about this frame.
    fn note(&mut self, frame: u64, passes: bool) -> bool {
        self.reach(frame);
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
