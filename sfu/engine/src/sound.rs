//! Sound on its way to one listener: as it came, plain, or with frames of before that are added here.

use bytes::Bytes;

use crate::rtp::packet::NewHeader;
use crate::rtp::red::{self, REACH};
use crate::track::Unwrapped;

/// How a payload leaves.
#[derive(Clone, Debug)]
pub(crate) enum Dress {
    /// The frame alone.
    Plain,
    /// As the publisher wrapped it. The receiver may call the codec otherwise: then its name is written over the
    /// publisher's.
    Whole { payload: Bytes, rename: Option<u8> },
    /// With frames that left before, the nearest one first, and how long before.
    Built { codec: u8, earlier: [Option<(u32, Bytes)>; REACH] },
}

/// A packet of sound, put together but for its number and its encryption. Sound never waits.
#[derive(Debug)]
pub(crate) struct SoundOut {
    pub(crate) header: NewHeader,
    pub(crate) transport_id: Option<u8>,
    pub(crate) audio_level: Option<(u8, u8)>,
    pub(crate) payload: Bytes,
    pub(crate) dress: Dress,
}

impl SoundOut {
    /// Appends what comes behind header and extensions.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.dress {
            Dress::Plain => out.extend_from_slice(&self.payload),
            Dress::Whole { payload, rename } => {
                let at = out.len();
                out.extend_from_slice(payload);
                if let (Some(codec), Some(copy)) = (rename, out.get_mut(at..)) {
                    red::rename(copy, *codec);
                }
            }
            Dress::Built { codec, earlier } => {
                let oldest_first = earlier.iter().rev().flatten().map(|(offset, frame)| (*offset, &frame[..]));
                red::write(out, *codec, oldest_first, &self.payload);
            }
        }
    }
}

/// What left on a slot lately: the frames that are put in front of the next ones. Empty while none are wanted.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The newest first.
    frames: [Option<(u32, Bytes)>; REACH],
    /// Packets and bytes of frames since the last [`Self::take_amount`].
    amount: (u32, usize),
}

impl Past {
    /// Nothing that left before is said again.
    pub(crate) fn forget(&mut self) {
        self.frames = Default::default();
    }

    /// Packets and bytes of frames that left since the last call.
    pub(crate) fn take_amount(&mut self) -> (u32, usize) {
        std::mem::take(&mut self.amount)
    }

    /// Decides how a frame leaves. `codec` is what the receiver calls it, `reach` how many frames back it is owed.
    pub(crate) fn dress(
        &mut self,
        (timestamp, frame): (u32, &Bytes),
        codec: u8,
        reach: Reach,
        unwrapped: Option<&Unwrapped>,
    ) -> Dress {
        self.amount.0 += 1;
        self.amount.1 += frame.len();
        let whole = unwrapped.and_then(|how| Some((how.payload_type, how.whole.as_ref()?)));
        let wanted = reach.wanted.min(reach.most);
        let dress = match whole {
            // What the publisher added costs us nothing to make, and is as good as one frame of ours.
            Some((theirs, payload)) if wanted < REACH && reach.most > 0 => {
                Dress::Whole { payload: payload.clone(), rename: (theirs != codec).then_some(codec) }
            }
            _ if wanted > 0 => self.build(timestamp, codec, wanted),
            _ => Dress::Plain,
        };
        if wanted > 0 {
            self.keep(timestamp, frame);
        } else if self.frames[0].is_some() {
            self.forget();
        }
        dress
    }

    fn build(&self, timestamp: u32, codec: u8, wanted: usize) -> Dress {
        let mut places = self.frames.iter().take(wanted).map(|place| {
            let (at, frame) = place.as_ref()?;
            let offset = timestamp.wrapping_sub(*at);
            red::fits(frame.len(), offset).then(|| (offset, frame.clone()))
        });
        let earlier = std::array::from_fn(|_| places.next().flatten());
        if earlier.iter().all(Option::is_none) { Dress::Plain } else { Dress::Built { codec, earlier } }
    }

    fn keep(&mut self, timestamp: u32, frame: &Bytes) {
        let [newest, older] = &mut self.frames;
        // What comes late is not before what comes next.
        let is_newer = newest.as_ref().is_none_or(|(at, _)| (timestamp.wrapping_sub(*at) as i32) > 0);
        if is_newer {
            *older = newest.replace((timestamp, frame.clone()));
        }
    }
}

/// How many frames back a listener's packets reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// What the loss asks for.
    pub(crate) wanted: usize,
    /// What the way can carry.
    pub(crate) most: usize,
}

#[cfg(test)]
mod tests;
