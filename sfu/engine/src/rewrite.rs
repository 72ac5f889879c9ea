//! Unbroken sequence numbers, timestamps, picture ids and frame numbers on a slot, whatever it carries one after the other.

mod numbering;

use std::time::{Duration, Instant};

use wire::control::Codec;

pub(crate) use numbering::Numbering;

/// What sender reports may say of the distance between two Layers, against the time that passed: more is not believed.
const BELIEVED: Duration = Duration::from_millis(500);

/// Sound comes in frames of so many ticks: a receiver drops what begins before the last one ended, and has to invent what lies between.
const SOUND_FRAME: u32 = 960;

/// The clock rate of all sound.
const SOUND_HERTZ: u32 = Codec::Opus.clock_rate();

/// Which instant an RTP timestamp is: NTP time and RTP time of a sender report.
pub(crate) type Clock = (u64, u32);

/// What a packet that leaves is numbered by, as far as its source has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Unrolled sequence number.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    /// Unrolled picture id of VP8 and VP9.
    pub(crate) picture: Option<u64>,
    pub(crate) tl0: u8,
    /// Unrolled frame number of the dependency descriptor.
    pub(crate) frame: Option<u64>,
    /// The last sender report of its Layer.
    pub(crate) clock: Option<Clock>,
}

/// The numbers of one source, as they leave.
#[derive(Clone, Debug, Default)]
struct Lines {
    sequences: Numbering,
    pictures: Numbering,
    frames: Numbering,
    /// Added to incoming timestamps.
    timestamp_shift: u32,
    tl0_shift: u8,
}

/// The numbering of one slot.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    lines: Lines,
    /// Of the source before: what comes late of it still has its place.
    before: Option<Lines>,
    /// The timestamp with which the present run began.
    begin: u32,
    /// The last new timestamp that left, and when.
    last: Option<(u32, Instant)>,
    last_tl0: Option<u8>,
    clock: Option<Clock>,
}

impl Rewrite {
    /// `first` numbers the first packet that ever leaves: below 32,768, so that no receiver takes a roll-over for a loss.
    pub(crate) fn new(first: u16) -> Self {
        // One cycle above zero, so that wire numbers unroll the same way here and in the history.
        let sequences = Numbering::from((1 << 16) + u64::from(first & 0x7fff));
        let lines = Lines { sequences, ..Lines::default() };
        Self { lines, before: None, begin: 0, last: None, last_tl0: None, clock: None }
    }

    /// Begins a run with the first packet of a new source. Its number leaves as the next one. Its timestamp leaves as the
    /// last one plus the time that passed since, in the clock rate `hertz`, and at least one: of sound, as whole frames. `is_same` says that the source
    /// before was another Layer of the same Track: then the sender reports of both tell the distance better.
    pub(crate) fn start(&mut self, numbers: Numbers, hertz: u32, is_same: bool, now: Instant) {
        self.before = self.last.is_some().then(|| self.lines.clone());
        let passed = self.last.map(|(last, at)| (last, now.saturating_duration_since(at)));
        let lines = &mut self.lines;
        lines.sequences.start(numbers.sequence);
        if let Some(picture) = numbers.picture {
            lines.pictures.start(picture);
            lines.tl0_shift = self.last_tl0.map_or(0, |last| last.wrapping_add(1).wrapping_sub(numbers.tl0));
        }
        if let Some(frame) = numbers.frame {
            lines.frames.start(frame);
        }
        if let Some((last, passed)) = passed {
            let units = ticks(passed, hertz);
            let by_report = self.clock.zip(numbers.clock).filter(|_| is_same).and_then(|(old, new)| {
                let leaves = self.same_instant(old, new, numbers.timestamp, hertz);
                let step = leaves.wrapping_sub(last) as i32;
                let tolerance = i64::from(ticks(BELIEVED, hertz));
                ((i64::from(step) - i64::from(units)).abs() <= tolerance).then_some(step)
            });
            let step = by_report.map_or(units, |step| u32::try_from(step).unwrap_or_default()).max(1);
            let step = if hertz == SOUND_HERTZ { whole_frames(step) } else { step };
            self.lines.timestamp_shift = last.wrapping_add(step).wrapping_sub(numbers.timestamp);
        }
        self.begin = self.translate(numbers.timestamp);
        self.clock = numbers.clock;
    }

    /// Where a timestamp of the new Layer lies in the slot's time, by the reports of both.
    fn same_instant(&self, old: Clock, new: Clock, timestamp: u32, hertz: u32) -> u32 {
        // 32.32 fixed point seconds between the reports, in ticks.
        let apart = ((i128::from(new.0) - i128::from(old.0)) * i128::from(hertz)) >> 32;
        let since = timestamp.wrapping_sub(new.1);
        let old_time = old.1.wrapping_add((apart & 0xffff_ffff) as u32).wrapping_add(since);
        old_time.wrapping_add(self.lines.timestamp_shift)
    }

    /// The number under which `number` leaves; `None` for what lies before the run, was left out, or is too old to know.
    pub(crate) fn number(&mut self, number: u64) -> Option<u64> {
        self.lines.sequences.number(number)
    }

    /// The number under which the next packet leaves, once something did.
    pub(crate) const fn next(&self) -> Option<u64> {
        self.lines.sequences.next()
    }

    /// What was numbered from `next` on never left: the next run begins there.
    pub(crate) fn take_back(&mut self, next: u64) {
        self.before = None;
        self.lines.sequences.take_back(next);
    }

    /// Leaves `number` out: everything after it moves up. False when that is impossible because later packets left
    /// already: then its place must be filled.
    pub(crate) fn skip(&mut self, number: u64) -> bool {
        self.lines.sequences.skip(number)
    }

    /// The timestamp under which `timestamp` leaves.
    pub(crate) fn timestamp(&mut self, timestamp: u32, now: Instant) -> u32 {
        let leaves = self.translate(timestamp);
        let is_newer = self.last.is_none_or(|(last, _)| (leaves.wrapping_sub(last) as i32) > 0);
        if is_newer {
            self.last = Some((leaves, now));
        }
        leaves
    }

    /// The same without moving on: for sender reports.
    pub(crate) const fn translate(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.lines.timestamp_shift)
    }

    /// The picture id and TL0PICIDX under which a frame leaves: RFC 7741 wants them to run on within one SSRC.
    pub(crate) fn picture(&mut self, picture: u64, tl0: u8) -> Option<(u64, u8)> {
        let leaves = self.lines.pictures.number(picture)?;
        let tl0 = tl0.wrapping_add(self.lines.tl0_shift);
        if self.last_tl0.is_none_or(|last| tl0.wrapping_sub(last) < 0x80) {
            self.last_tl0 = Some(tl0);
        }
        Some((leaves, tl0))
    }

    /// Leaves a picture out whose frame is not forwarded: a receiver takes a missing id for a frame that is still to come.
    pub(crate) fn skip_picture(&mut self, picture: u64) {
        self.lines.pictures.skip(picture);
    }

    /// The frame number of the dependency descriptor. Frames that are left out leave their holes: references count them.
    pub(crate) fn frame(&mut self, frame: u64) -> Option<u64> {
        self.lines.frames.number(frame)
    }

    /// Learns the last sender report of the Layer that flows.
    pub(crate) const fn note_clock(&mut self, clock: Option<Clock>) {
        if clock.is_some() {
            self.clock = clock;
        }
    }

    /// What a late packet of the source before leaves as; `None` when it was left out, or would come after what left of that
    /// source.
    pub(crate) fn late(&self, numbers: Numbers) -> Option<Late> {
        let lines = self.before.as_ref()?;
        let tl0 = numbers.tl0.wrapping_add(lines.tl0_shift);
        let timestamp = numbers.timestamp.wrapping_add(lines.timestamp_shift);
        Some(Late {
            sequence: lines.sequences.late(numbers.sequence)?,
            timestamp,
            is_in_time: (self.begin.wrapping_sub(timestamp) as i32) > 0,
            picture: numbers.picture.and_then(|picture| lines.pictures.late(picture)).map(|picture| (picture, tl0)),
            frame: numbers.frame.and_then(|frame| lines.frames.late(frame)),
        })
    }
}

/// See [`Rewrite::late`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    /// It is from before the present run. What was encoded at the same time or after cannot be shown any more: the new
    /// source's first picture may itself have come late.
    pub(crate) is_in_time: bool,
    /// Picture id and TL0PICIDX, unless the picture was left out.
    pub(crate) picture: Option<(u64, u8)>,
    pub(crate) frame: Option<u64>,
}

const fn whole_frames(step: u32) -> u32 {
    let frames = step.saturating_add(SOUND_FRAME / 2) / SOUND_FRAME;
    if frames == 0 { SOUND_FRAME } else { frames * SOUND_FRAME }
}

fn ticks(time: Duration, hertz: u32) -> u32 {
    ((time.as_micros() * u128::from(hertz) / 1_000_000) & 0x7fff_ffff) as u32
}

#[cfg(test)]
mod tests;
