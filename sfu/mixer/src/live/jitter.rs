//! One live voice: brings packets into order, conceals what is lost, and lets no more sound wait than the jitter of its way asks for.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opus::{Channels, Decoder};

use super::Counts;
use crate::{Error, FRAME, RATE};

/// Packets that wait at most: more than a second of the usual ones. When full, the oldest goes.
const MOST_WAITING: usize = 64;
/// Sound that may wait at most: what is more was held up on its way, and goes at once instead of being played late.
const MOST_BEHIND: usize = 300 * MILLISECOND;
/// What is left of it then.
const LEFT_BEHIND: usize = 60 * MILLISECOND;
/// With so much waiting, sound is drawn together as often as [`HURRY`] says, not only when the jitter was seen to be small.
const MUCH: usize = 60 * MILLISECOND;
/// Frames between two of those.
const HURRY: u32 = 10;
/// Frames for which nothing may have been short before sound is drawn together: one second.
const CALM: u32 = 50;
/// Frames that are guessed in a row: 100 ms. Longer is a pause, and silence says so honestly.
const MOST_GUESSED: u32 = 5;
/// The longest Opus packet: 120 ms.
const LONGEST: usize = 120 * MILLISECOND;
/// Packets of silence that are still decoded: after them the decoder's own state is silence.
const SILENT_DECODED: u32 = 3;
/// A packet is on hand so long before it is needed, at least; it doubles with each packet that came too late.
const LEAST_GUARD: Duration = Duration::from_millis(4);
const MOST_GUARD: Duration = Duration::from_millis(80);
/// Frames after which a guard that was long enough is made shorter by a quarter.
const GUARD_EASES: u32 = 500;

const MILLISECOND: usize = RATE as usize / 1000;

/// Stretches between which sound is drawn together: the period of a voice lies among them.
const LEAST_PERIOD: usize = 5 * MILLISECOND;
const MOST_PERIOD: usize = 20 * MILLISECOND;
/// Samples over which one passes into the other.
const BLEND: usize = 10 * MILLISECOND;
/// Every so manieth sample is compared at first.
const COARSE: usize = 4;

/// A packet on its way into the mix.
#[derive(Clone, Debug)]
struct Waiting {
    number: u64,
    payload: Bytes,
    is_silent: bool,
    arrived: Instant,
}

/// Out of what sound is drawn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hurry {
    /// What is always left of a packet.
    Spare,
    /// One packet more.
    Packet,
}

/// See the top of the file.
pub(super) struct Jitter {
    decoder: Decoder,
    /// By number.
    waiting: VecDeque<Waiting>,
    /// The number that is decoded next; `None` before the first and in a pause.
    next: Option<u64>,
    /// Decoded, not yet taken.
    ready: VecDeque<f32>,
    /// When the oldest of what is ready came, and when the newest did.
    ages: Option<(Instant, Instant)>,
    /// Samples of the last packet.
    length: usize,
    /// Frames guessed since the last packet was decoded.
    guessed: u32,
    silent: u32,
    guard: Duration,
    /// Frames since the guard last changed.
    guarded: u32,
    /// Frames through which the next packet was always on hand, and the least time by which it was.
    calm: (u32, Duration),
    /// Frames through which a part of a packet was left over, and the least of it.
    spare: (u32, usize),
    hurry: Option<Hurry>,
    scratch: Vec<f32>,
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, ready) = (self.waiting.len(), self.ready.len());
        f.debug_struct("Jitter")
            .field("waiting", &waiting)
            .field("ready", &ready)
            .field("calm", &self.calm)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

impl Jitter {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            decoder: Decoder::new(RATE, Channels::Mono)?,
            waiting: VecDeque::new(),
            next: None,
            ready: VecDeque::new(),
            ages: None,
            length: FRAME,
            guessed: 0,
            silent: 0,
            guard: LEAST_GUARD,
            guarded: 0,
            calm: (0, Duration::MAX),
            spare: (0, usize::MAX),
            hurry: None,
            scratch: vec![0.0; LONGEST],
        })
    }

    /// Takes a packet. `number` does not roll over; `level` is what the sender says of its loudness (RFC 6464).
    pub(super) fn push(
        &mut self,
        arrived: Instant,
        number: u64,
        level: Option<u8>,
        payload: Bytes,
        counts: &mut Counts,
    ) {
        if self.next.is_some_and(|next| number < next) {
            counts.late += 1;
            return;
        }
        let place = self.waiting.partition_point(|packet| packet.number < number);
        if self.waiting.get(place).is_some_and(|packet| packet.number == number) {
            return;
        }
        if !self.decoder.get_nb_samples(&payload).is_ok_and(|samples| samples > 0 && samples <= LONGEST) {
            counts.refused += 1;
            return;
        }
        let is_silent = payload.len() <= 3 && level.is_some_and(|level| level & 0x7f == 0x7f);
        self.waiting.insert(place, Waiting { number, payload, is_silent, arrived });
        if self.waiting.len() > MOST_WAITING {
            self.skip_oldest(counts);
        }
    }

    /// Takes the next frame. Gives the moment at which the oldest sound in it came; `None` for silence.
    pub(super) fn pull(&mut self, now: Instant, out: &mut [f32], counts: &mut Counts) -> Option<Instant> {
        out.fill(0.0);
        if self.next.is_none() {
            let first = self.waiting.front()?;
            if now.saturating_duration_since(first.arrived) < self.guard && self.waiting.len() < 3 {
                return None;
            }
            self.next = Some(first.number);
            self.calm = (0, Duration::MAX);
            self.spare = (0, usize::MAX);
        }
        self.catch_up(counts);
        let hurry = self.hurry.take();
        if hurry == Some(Hurry::Packet) {
            self.fill(now, 2 * FRAME, false, counts);
        }
        self.fill(now, FRAME, true, counts);
        if hurry.is_some() && self.draw_together(self.ready.len().saturating_sub(FRAME)) {
            counts.hurried += 1;
        }
        let oldest = self.ages.map(|(oldest, _)| oldest);
        let has_sound = !self.ready.is_empty();
        for (sample, place) in self.ready.drain(..out.len().min(self.ready.len())).zip(out.iter_mut()) {
            *place = sample;
        }
        if let Some((oldest, newest)) = &mut self.ages
            && self.ready.len() <= self.length
        {
            *oldest = *newest;
        }
        self.note_calm(now);
        oldest.filter(|_| has_sound)
    }

    /// Drops what waited too long to be of use.
    fn catch_up(&mut self, counts: &mut Counts) {
        if self.behind() <= MOST_BEHIND {
            return;
        }
        while self.behind() > LEFT_BEHIND && self.waiting.len() > 1 {
            self.skip_oldest(counts);
        }
    }

    fn skip_oldest(&mut self, counts: &mut Counts) {
        counts.overflowed += 1;
        self.waiting.pop_front();
        if let (Some(_), Some(front)) = (self.next, self.waiting.front()) {
            self.next = Some(front.number);
        }
    }

    /// Samples that wait, decoded or not.
    fn behind(&self) -> usize {
        self.ready.len() + self.waiting.len() * self.length
    }

    /// Decodes until so many samples are ready, or nothing is left to decode; then, `with_guesses`, guesses for a while.
    fn fill(&mut self, now: Instant, samples: usize, with_guesses: bool, counts: &mut Counts) {
        while self.ready.len() < samples {
            let Some(next) = self.next else { return };
            let Some(front) = self.waiting.front() else {
                if !with_guesses {
                    return;
                }
                if self.guessed >= MOST_GUESSED || !self.guess() {
                    self.pause();
                    return;
                }
                self.guessed += 1;
                counts.concealed += 1;
                continue;
            };
            let missing = front.number.saturating_sub(next);
            if missing == 0 {
                if let Some(packet) = self.waiting.pop_front() {
                    self.take(now, &packet, counts);
                }
            } else if missing > u64::from(MOST_GUESSED) {
                self.next = Some(front.number);
            } else {
                self.next = Some(next + 1);
                // What was guessed while nothing at all came stood in for it already.
                if self.guessed > 0 {
                    self.guessed -= 1;
                } else {
                    counts.concealed += 1;
                    self.conceal(missing);
                }
            }
        }
    }

    fn take(&mut self, now: Instant, packet: &Waiting, counts: &mut Counts) {
        self.next = Some(packet.number + 1);
        counts.decoded += 1;
        counts.waited += now.saturating_duration_since(packet.arrived);
        if self.guessed > 0 {
            // It was not lost, only late. A packet after a pause of the sender is not: nothing was guessed for long.
            self.guard = (self.guard * 2).min(MOST_GUARD);
            self.guarded = 0;
            self.guessed = 0;
        }
        self.silent = if packet.is_silent { self.silent.saturating_add(1) } else { 0 };
        let Ok(length) = self.decoder.get_nb_samples(&packet.payload) else { return };
        self.length = length.clamp(FRAME / 8, LONGEST);
        self.note_age(packet.arrived);
        if self.silent > SILENT_DECODED {
            self.ready.extend(std::iter::repeat_n(0.0, self.length));
            return;
        }
        match self.decoder.decode_float(&packet.payload, &mut self.scratch, false) {
            Ok(samples) => self.lay(samples),
            Err(_) => {
                counts.refused += 1;
                self.guess();
            }
        }
    }

    /// Lays down what was decoded last. A decoder makes anything of a hostile packet, and one number that is none would silence
    /// the encoders of everybody for good.
    fn lay(&mut self, samples: usize) {
        let sane = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        self.ready.extend(self.scratch.iter().take(samples).map(sane));
    }

    fn note_age(&mut self, arrived: Instant) {
        self.ages = match self.ages {
            Some((oldest, _)) if !self.ready.is_empty() => Some((oldest.min(arrived), arrived)),
            _ => Some((arrived, arrived)),
        };
    }

    /// Stands in for a lost packet behind which others wait: right before the next one its copy, if that carries one.
    fn conceal(&mut self, missing: u64) {
        let next = self.waiting.front().filter(|_| missing == 1);
        let decoded = next.and_then(|next| {
            let length = self.decoder.get_nb_samples(&next.payload).ok()?;
            let out = self.scratch.get_mut(..length)?;
            self.decoder.decode_float(&next.payload, out, true).ok()
        });
        match decoded {
            Some(samples) => self.lay(samples),
            None => {
                self.guess();
            }
        }
    }

    /// The codec's own guess, as long as the last packet was.
    fn guess(&mut self) -> bool {
        let Some(out) = self.scratch.get_mut(..self.length.min(FRAME)) else { return false };
        let Ok(samples) = self.decoder.decode_float(&[], out, false) else { return false };
        self.lay(samples);
        samples > 0
    }

    /// Nothing comes: the next packet begins anew.
    fn pause(&mut self) {
        self.next = None;
        self.guessed = 0;
        self.ages = None;
    }

    /// Sees how long the packet that is needed next has been on hand: by so much sound could be played earlier.
    fn note_calm(&mut self, now: Instant) {
        self.guarded += 1;
        if self.guarded >= GUARD_EASES {
            self.guarded = 0;
            self.guard = (self.guard * 3 / 4).max(LEAST_GUARD);
        }
        if self.ready.len() >= FRAME {
            // A long packet: what comes next is not needed yet.
            return;
        }
        let (frames, least) = self.spare;
        self.spare = (frames + 1, least.min(self.ready.len()));
        if self.spare.0 >= CALM {
            if self.spare.1 >= LEAST_PERIOD {
                self.hurry = Some(Hurry::Spare);
            }
            self.spare = (0, usize::MAX);
        }
        let on_hand = self.waiting.front().filter(|front| Some(front.number) == self.next);
        let Some(front) = on_hand else {
            self.calm = (0, Duration::MAX);
            return;
        };
        let (frames, least) = self.calm;
        self.calm = (frames + 1, least.min(now.saturating_duration_since(front.arrived)));
        let is_much = self.behind() > MUCH;
        if self.calm.0 < if is_much { HURRY } else { CALM } {
            return;
        }
        if is_much || self.calm.1 >= self.guard {
            self.hurry = Some(Hurry::Packet);
            self.spare = (0, usize::MAX);
        }
        self.calm = (0, Duration::MAX);
    }

    /// Leaves out one period of what is ready, so that what follows comes earlier: the sound goes over from one period into the
    /// next where they are most alike. No period is longer than `most`.
    fn draw_together(&mut self, most: usize) -> bool {
        let pcm = self.ready.make_contiguous();
        let most = most.min(MOST_PERIOD).min(pcm.len().saturating_sub(BLEND));
        let coarse = (LEAST_PERIOD..=most).step_by(COARSE);
        let Some(near) = best(pcm, coarse, COARSE) else { return false };
        let fine = near.saturating_sub(COARSE).max(LEAST_PERIOD)..=(near + COARSE).min(most);
        let Some(period) = best(pcm, fine, 1) else { return false };
        let (first, second) = pcm.split_at_mut(period);
        // Where the period is shorter than the blend, the first part reaches into the second.
        let before: Vec<f32> = first.iter().chain(second.iter()).take(BLEND).copied().collect();
        for (place, (old, sample)) in before.into_iter().zip(second.iter_mut()).enumerate() {
            #[allow(clippy::cast_precision_loss, reason = "below a thousand")]
            let share = (place as f32 + 0.5) / BLEND as f32;
            *sample = old * (1.0 - share) + *sample * share;
        }
        self.ready.drain(..period);
        true
    }
}

/// The distance at which sound is most like itself.
fn best(pcm: &[f32], distances: impl Iterator<Item = usize>, step: usize) -> Option<usize> {
    let likeness = |distance: usize| {
        let (mut product, mut energy) = (0.0f32, 1e-9f32);
        let pairs = pcm.iter().zip(pcm.get(distance..)?.iter()).take(BLEND).step_by(step);
        for (one, other) in pairs {
            product += one * other;
            energy += other * other;
        }
        Some((distance, product / energy.sqrt()))
    };
    distances.filter_map(likeness).max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(distance, _)| distance)
}
