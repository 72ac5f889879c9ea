//! A Track on its way to one place: which Layer of it flows, which frames of that, and under which numbers. A slot has one
//! for whatever it carries, the Tap one for each Track.

use std::time::Instant;

use bytes::Bytes;

use crate::filter::{Filter, Pass};
use crate::history::Patch;
use crate::layer::{Layer, LayerStep, Switch, Verdict};
use crate::rewrite::{Numbers, Rewrite};
use crate::rtp::dependency;
use crate::rtp::sequence::wire;
use crate::track::{Detail, Incoming, Live};

/// Why a packet does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A keyframe is waited for.
    Switch,
    /// Of a Layer or a frame that the receiver does not get.
    Layer,
    /// The receiver did not negotiate the codec.
    Codec,
    /// Padding, or too old to have a number.
    Number,
}

/// A packet that goes on, and how it is numbered.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Only its number is sent: the place of something left out must be filled.
    pub(crate) is_filler: bool,
    pub(crate) patch: Option<Patch>,
    /// The dependency descriptor with its own frame number.
    pub(crate) dependency: Option<Bytes>,
    /// The receiver begins with it: what came before it out of order is for it as well.
    pub(crate) is_start: bool,
}

/// See the top of the file.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    switch: Switch,
    filter: Filter,
    rewrite: Rewrite,
    /// At most this flows; `None` for nothing.
    wanted: Option<LayerStep>,
    /// No Layer above this one, whatever is wanted.
    at_most: Layer,
    is_muted: bool,
    live: Live,
    /// Something of the present Track left already.
    has_begun: bool,
    /// The Layer before the present one, and what flowed of it.
    before: Option<(Layer, Filter)>,
}

impl Passage {
    /// `first` numbers the first packet that leaves; only its low 15 bits count.
    pub(crate) fn new(first: u16) -> Self {
        Self {
            switch: Switch::new(0, true),
            filter: Filter::default(),
            rewrite: Rewrite::new(first),
            wanted: Some(LayerStep::BEST),
            at_most: Layer::MAX,
            is_muted: false,
            live: Live::default(),
            has_begun: false,
            before: None,
        }
    }

    /// Another Track comes this way from now on; the numbers run on.
    pub(crate) fn begin(&mut self, is_video: bool) {
        self.switch = Switch::new(0, is_video);
        self.filter = Filter::default();
        self.wanted = Some(LayerStep::BEST);
        self.is_muted = false;
        self.live = Live::default();
        self.has_begun = false;
        self.before = None;
    }

    /// Lets at most this much flow, `None` for nothing.
    pub(crate) fn select(&mut self, wanted: Option<LayerStep>, now: Instant) {
        self.wanted = wanted;
        self.steer(now);
    }

    /// Lets no Layer above this one flow, whatever is selected; `None` for no such limit. It stays when another Track comes this way.
    pub(crate) fn limit(&mut self, at_most: Option<Layer>, now: Instant) {
        let at_most = at_most.unwrap_or(Layer::MAX);
        if self.at_most != at_most {
            self.at_most = at_most;
            self.steer(now);
        }
    }

    /// These numbers were given to packets that never left. As far as they are the newest they are given again: the flow
    /// stops, and what comes next begins a run. The first number that is given again.
    pub(crate) fn take_back(&mut self, mut dropped: Vec<u16>) -> Option<u64> {
        dropped.sort_unstable();
        let end = self.rewrite.next()?;
        let mut next = end;
        while next > 0 && dropped.binary_search(&wire(next - 1)).is_ok() && end - next < dropped.len() as u64 {
            next -= 1;
        }
        self.wanted = None;
        self.switch.pause();
        self.before = None;
        self.rewrite.take_back(next);
        Some(next)
    }

    /// Stops the flow or resumes it, whatever was selected.
    pub(crate) fn set_muted(&mut self, is_muted: bool, now: Instant) {
        self.is_muted = is_muted;
        self.steer(now);
    }

    /// Learns which Layers of the Track come in at present.
    pub(crate) fn settle(&mut self, live: Live, now: Instant) {
        self.live = live;
        self.steer(now);
    }

    /// What was selected last.
    pub(crate) const fn wanted(&self) -> Option<LayerStep> {
        self.wanted
    }

    /// The Layer that flows.
    pub(crate) const fn flows(&self) -> Option<Layer> {
        self.switch.flows()
    }

    /// The Layer of which a keyframe is waited for.
    pub(crate) fn waits_for(&self) -> Option<Layer> {
        self.switch.waits_for().or_else(|| self.switch.flows().filter(|_| self.filter.lacks_keyframe()))
    }

    fn is_before(&self, layer: Layer) -> bool {
        self.switch.flows().is_some() && self.before.as_ref().is_some_and(|(before, _)| *before == layer)
    }

    fn steer(&mut self, now: Instant) {
        let Some(wanted) = self.wanted.filter(|_| !self.is_muted) else {
            self.switch.pause();
            return;
        };
        if self.live.count > 1 {
            // Each size is a stream of its own.
            self.filter.want(LayerStep { spatial: u8::MAX, ..wanted });
            if let Some(layer) = self.live.find(wanted.spatial.min(self.at_most)) {
                self.switch.switch_to(layer, now);
            } else if self.switch.flows().is_none() && self.switch.waits_for().is_none() {
                self.switch.switch_to(0, now);
            }
        } else {
            self.filter.want(wanted);
            self.switch.switch_to(0, now);
        }
    }

    /// Decides about one packet of the Track, and numbers it.
    pub(crate) fn pass(&mut self, incoming: &Incoming, now: Instant) -> Result<Passed, Held> {
        if incoming.payload.is_empty() {
            return self.fill(incoming, now);
        }
        let flowed = self.switch.flows();
        let verdict = self.switch.decide(incoming.layer, incoming.starts_run, now);
        let numbers = numbers(incoming);
        match verdict {
            Verdict::Drop if self.is_before(incoming.layer) => {
                return self.pass_late(incoming, numbers);
            }
            Verdict::Drop if self.switch.waits_for() == Some(incoming.layer) => return Err(Held::Switch),
            Verdict::Drop => return Err(Held::Layer),
            Verdict::Forward => {}
            Verdict::Start => {
                let hertz = incoming.coding.codec.clock_rate();
                self.rewrite.start(numbers, hertz, self.has_begun, now);
                self.before =
                    flowed.filter(|before| *before != incoming.layer).map(|layer| (layer, self.filter.clone()));
                self.filter.start();
                self.has_begun = true;
            }
        }
        let pass = self.filter.decide(incoming);
        if pass == Pass::No {
            if let (Detail::Vp8(_), Some(picture)) = (&incoming.detail, incoming.picture) {
                self.rewrite.skip_picture(picture);
            }
            if self.rewrite.skip(incoming.number) {
                return Err(Held::Layer);
            }
            return self.filler(incoming, now);
        }
        let number = self.rewrite.number(incoming.number).ok_or(Held::Number)?;
        let timestamp = self.rewrite.timestamp(incoming.timestamp, now);
        self.rewrite.note_clock(incoming.clock);
        let picture = numbers.picture.and_then(|picture| self.rewrite.picture(picture, numbers.tl0));
        let frame = numbers.frame.and_then(|frame| self.rewrite.frame(frame));
        Ok(Passed {
            number,
            timestamp,
            marker: incoming.marker || pass == Pass::Last,
            is_filler: false,
            patch: patch(incoming, picture),
            dependency: frame.and_then(|frame| renumber(incoming, frame)),
            is_start: verdict == Verdict::Start,
        })
    }

    /// A packet of the Layer that flowed before, which the switch overtook: it completes a frame that is shown still. Where it
    /// does not, its number would be a hole that viewers ask for until they give up.
    fn pass_late(&mut self, incoming: &Incoming, numbers: Numbers) -> Result<Passed, Held> {
        let (_, filter) = self.before.as_mut().ok_or(Held::Layer)?;
        let late = self.rewrite.late(numbers).ok_or(Held::Layer)?;
        let pass = filter.decide(incoming);
        let is_lost = !late.is_in_time || numbers.picture.is_some() && late.picture.is_none();
        let is_filler = pass == Pass::No || is_lost;
        Ok(Passed {
            number: late.sequence,
            timestamp: late.timestamp,
            marker: !is_filler && (incoming.marker || pass == Pass::Last),
            is_filler,
            patch: patch(incoming, late.picture).filter(|_| !is_filler),
            dependency: late.frame.filter(|_| !is_filler).and_then(|frame| renumber(incoming, frame)),
            is_start: false,
        })
    }

    /// Padding is never forwarded: its number is left out. When later packets left already, an empty packet fills the
    /// hole, which the receiver would otherwise ask for until it gives up.
    fn fill(&mut self, incoming: &Incoming, now: Instant) -> Result<Passed, Held> {
        if self.switch.flows() != Some(incoming.layer) || self.rewrite.skip(incoming.number) {
            return Err(Held::Number);
        }
        self.filler(incoming, now)
    }

    fn filler(&mut self, incoming: &Incoming, now: Instant) -> Result<Passed, Held> {
        let number = self.rewrite.number(incoming.number).ok_or(Held::Number)?;
        Ok(Passed {
            number,
            timestamp: self.rewrite.timestamp(incoming.timestamp, now),
            marker: false,
            is_filler: true,
            patch: None,
            dependency: None,
            is_start: false,
        })
    }

    /// The time of a Layer's sender report as it stands here; `None` for a Layer that does not flow.
    pub(crate) fn translate(&self, layer: Layer, timestamp: u32) -> Option<u32> {
        let is_flowing = self.has_begun && self.switch.flows() == Some(layer);
        is_flowing.then(|| self.rewrite.translate(timestamp))
    }
}

fn numbers(incoming: &Incoming) -> Numbers {
    let tl0 = incoming.detail.tl0picidx().and_then(|at| incoming.payload.get(at).copied());
    Numbers {
        sequence: incoming.number,
        timestamp: incoming.timestamp,
        picture: incoming.picture,
        tl0: tl0.unwrap_or_default(),
        frame: incoming.frame,
        clock: incoming.clock,
    }
}

/// What is written over the ids in the payload; nothing when they leave as they came.
fn patch(incoming: &Incoming, leaves: Option<(u64, u8)>) -> Option<Patch> {
    let (at, is_long) = incoming.detail.picture_id()?;
    let (id, tl0) = leaves?;
    let byte = |at: usize| incoming.payload.get(at).copied().unwrap_or_default();
    let id = wire(id) & if is_long { 0x7fff } else { 0x7f };
    let came = if is_long { u16::from_be_bytes([byte(at) & 0x7f, byte(at + 1)]) } else { u16::from(byte(at) & 0x7f) };
    // Descriptors are a few bytes long.
    let place = |at: usize| u8::try_from(at).ok();
    let tl0 = incoming.detail.tl0picidx().filter(|at| byte(*at) != tl0).and_then(|at| Some((place(at)?, tl0)));
    let id = place(at).filter(|_| id != came).map(|at| (at, id.to_be_bytes(), is_long));
    (id.is_some() || tl0.is_some()).then_some(Patch { id, tl0 })
}

fn renumber(incoming: &Incoming, frame: u64) -> Option<Bytes> {
    let mut bytes = incoming.descriptor.as_ref()?.to_vec();
    dependency::renumber(&mut bytes, wire(frame));
    Some(bytes.into())
}

#[cfg(test)]
mod tests;
