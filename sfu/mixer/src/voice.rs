//! One person's sound: decodes packets in order, conceals losses, and lays the samples on the timeline.

use std::collections::VecDeque;
use std::fmt;

use opus::{Channels, Decoder};

use crate::{Error, FRAME, RATE, SamplePos};

/// Frames of loss that are concealed: 100 ms. Longer is a gap, and silence says so honestly.
const MAX_CONCEALED: u32 = 5;

/// The longest Opus packet: 120 ms.
const MAX_PACKET: usize = 5760;

/// A packet this near to where the last one ended belongs right behind it: drift moves it by one sample at a time.
const NEAR: SamplePos = 480;

/// Differences that are only rounding.
const DEADBAND: SamplePos = 8;

/// How far sound may be laid ahead of what was taken: 30 s, 5.8 MB. A packet beyond is refused.
const MAX_AHEAD: SamplePos = 30 * RATE as SamplePos;

/// One person's decoder and the samples not yet taken.
pub struct Voice {
    decoder: Decoder,
    /// Samples from `begin` on.
    pub(crate) ready: VecDeque<f32>,
    begin: SamplePos,
    scratch: Vec<f32>,
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice").field("begin", &self.begin).field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl Voice {
    /// A voice that is silent before `begin`.
    ///
    /// # Errors
    /// When the decoder cannot be made.
    pub fn new(begin: SamplePos) -> Result<Self, Error> {
        let decoder = Decoder::new(RATE, Channels::Mono)?;
        Ok(Self { decoder, ready: VecDeque::new(), begin, scratch: vec![0.0; MAX_PACKET] })
    }

    /// Where the next sample would be laid.
    #[must_use]
    pub fn end(&self) -> SamplePos {
        self.begin + SamplePos::try_from(self.ready.len()).unwrap_or(SamplePos::MAX / 2)
    }

    /// Decodes one packet whose first sample belongs at `at`. `missing` frames of 20 ms are known to be lost right before it.
    /// Packets come in order.
    ///
    /// # Errors
    /// When it is not an Opus packet, which leaves the decoder as it was, or lies more than 30 s ahead.
    pub fn push(&mut self, at: SamplePos, packet: &[u8], missing: u32) -> Result<(), Error> {
        let length = self.decoder.get_nb_samples(packet)?;
        if at > self.begin + MAX_AHEAD {
            return Err(Error::TooFar);
        }
        if missing > 0 && at > self.end() {
            self.conceal(at, packet, missing, length);
        }
        let mut pcm = std::mem::take(&mut self.scratch);
        let decoded = self.decoder.decode_float(packet, &mut pcm, false);
        if let Ok(samples) = decoded {
            self.lay(at, pcm.get_mut(..samples).unwrap_or_default());
        }
        self.scratch = pcm;
        decoded?;
        Ok(())
    }

    /// Adds the next samples to `sum` and forgets them.
    pub(crate) fn take_into(&mut self, from: SamplePos, sum: &mut [f32]) {
        for (place, out) in (from..).zip(sum.iter_mut()) {
            while self.begin < place && self.ready.pop_front().is_some() {
                self.begin += 1;
            }
            if self.begin == place
                && let Some(sample) = self.ready.pop_front()
            {
                self.begin += 1;
                *out += sample;
            }
        }
        if self.ready.is_empty() {
            self.begin = self.begin.max(from + SamplePos::try_from(sum.len()).unwrap_or(0));
        }
    }

    /// Fills a loss: the codec's own guess after the last sound, and right before the packet the copy that it may carry.
    fn conceal(&mut self, at: SamplePos, packet: &[u8], missing: u32, length: usize) {
        let mut pcm = std::mem::take(&mut self.scratch);
        let guesses = missing.saturating_sub(1).min(MAX_CONCEALED);
        for _ in 0..guesses {
            let end = self.end();
            let room = usize::try_from(at - end).unwrap_or(0);
            if room < FRAME {
                break;
            }
            match self.decoder.decode_float(&[], pcm.get_mut(..FRAME).unwrap_or_default(), false) {
                Ok(samples) => self.lay(end, pcm.get_mut(..samples).unwrap_or_default()),
                Err(_) => break,
            }
        }
        // The copy of the frame before covers as much as this packet does. Without one in the packet this is a guess too.
        let before = at - SamplePos::try_from(length).unwrap_or(0);
        if before + NEAR >= self.end()
            && let Some(out) = pcm.get_mut(..length)
            && let Ok(samples) = self.decoder.decode_float(packet, out, true)
        {
            self.lay(before, pcm.get_mut(..samples).unwrap_or_default());
        }
        self.scratch = pcm;
    }

    /// Lays samples at their place: right behind the last when near, else with silence between, or without what overlaps.
    fn lay(&mut self, at: SamplePos, pcm: &mut [f32]) {
        let gap = at - self.end();
        if gap > NEAR {
            self.ready.extend(std::iter::repeat_n(0.0, usize::try_from(gap).unwrap_or(0)));
            self.ready.extend(pcm.iter());
        } else if gap < -NEAR {
            self.ready.extend(pcm.iter().skip(usize::try_from(-gap).unwrap_or(usize::MAX)));
        } else if gap.abs() <= DEADBAND || pcm.len() < 2 {
            self.ready.extend(pcm.iter());
        } else {
            // The sender's clock drifts against ours: one sample more or less, where the ear minds least.
            let quiet = quietest(pcm);
            let (head, tail) = pcm.split_at(quiet);
            self.ready.extend(head);
            if gap > 0 {
                self.ready.extend(tail.first());
                self.ready.extend(tail);
            } else {
                self.ready.extend(tail.iter().skip(1));
            }
        }
    }
}

/// The index around which the sound is smallest.
fn quietest(pcm: &[f32]) -> usize {
    let loudness = |pair: &[f32]| pair.iter().map(|sample| sample.abs()).sum::<f32>();
    let quiet = pcm.windows(2).enumerate().min_by(|(_, a), (_, b)| loudness(a).total_cmp(&loudness(b)));
    quiet.map_or(0, |(index, _)| index)
}
