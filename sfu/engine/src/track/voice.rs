//! Sound that comes with redundancy: each packet becomes a plain one, and what was lost on the way here comes back.

use bytes::Bytes;

use super::{Incoming, Refused};
use crate::rtp::red::{self, REACH, Red};

/// Numbers that redundancy brought back and that are remembered for their originals, which may only be late.
const BROUGHT: usize = 8;

/// How sound with redundancy came.
#[derive(Clone, Debug)]
pub(crate) struct Unwrapped {
    /// What the publisher calls the codec of all blocks.
    pub(crate) payload_type: u8,
    /// The payload as it came, for receivers who read it too. `None` where it may not go on: of a frame that was brought
    /// back, or when it reaches behind a door that moved.
    pub(crate) whole: Option<Bytes>,
}

/// What is known of a stream of sound beside its numbers.
#[derive(Debug, Default)]
pub(super) struct Voice {
    /// The first packet since the start, or since a door moved: nothing of before may be brought back.
    first: Option<u64>,
    /// The newest packet and its time.
    newest: Option<(u64, u32)>,
    /// Numbers that were brought back, the last ones; empty until something was lost.
    brought: Vec<u64>,
    /// Frames that the last packet brought back, oldest first: at most [`REACH`].
    recovered: Vec<Incoming>,
}

impl Voice {
    /// Reads a payload: the own frame of the packet, how it came, and where the earlier frames are.
    pub(super) fn unwrap(payload: &Bytes, payload_type: u8) -> Result<(Bytes, Unwrapped, Red), Refused> {
        let red = red::read(payload).filter(|red| red.payload_type == payload_type).ok_or(Refused::UnknownFormat)?;
        let own = payload.slice(red.primary.clone());
        Ok((own, Unwrapped { payload_type, whole: Some(payload.clone()) }, red))
    }

    /// Notes a packet of sound. With redundancy, finds the frames before it that did not come; `is_missing` says so of a
    /// number, and counts it as come.
    pub(super) fn note(&mut self, incoming: &mut Incoming, red: Option<&Red>, mut is_missing: impl FnMut(u64) -> bool) {
        let first = *self.first.get_or_insert(incoming.number);
        let before = self.newest;
        if before.is_none_or(|(number, _)| incoming.number > number) {
            self.newest = Some((incoming.number, incoming.timestamp));
        }
        let (Some(red), Some(whole)) = (red, incoming.unwrapped.as_ref().and_then(|one| one.whole.clone())) else {
            return;
        };
        if incoming.number.checked_sub(red.count as u64).is_none_or(|oldest| oldest < first)
            && let Some(unwrapped) = &mut incoming.unwrapped
        {
            unwrapped.whole = None;
        }
        for (back, block) in (1u64..=REACH as u64).rev().zip(red.near.iter().rev()) {
            let Some(block) = block else { continue };
            let Some(number) = incoming.number.checked_sub(back).filter(|number| *number >= first) else { continue };
            let timestamp = incoming.timestamp.wrapping_sub(block.offset);
            // Blocks are counted as packets, which all browsers do; time must agree where it can be compared.
            let agrees = before.is_none_or(|(other, at)| {
                other == number || (number > other) == ((timestamp.wrapping_sub(at) as i32) > 0)
            });
            if !agrees || !is_missing(number) {
                continue;
            }
            if self.brought.len() == BROUGHT {
                self.brought.remove(0);
            }
            self.brought.push(number);
            self.recovered.push(Incoming {
                number,
                timestamp,
                marker: false,
                payload: whole.slice(block.at.clone()),
                audio_level: None,
                is_newest: false,
                unwrapped: Some(Unwrapped { payload_type: red.payload_type, whole: None }),
                ..incoming.clone()
            });
        }
    }

    /// True, once, of a packet that was brought back before it came itself: it is late, not lost.
    pub(super) fn is_late(&mut self, number: u64) -> bool {
        let place = self.brought.iter().position(|brought| *brought == number);
        place.map(|place| self.brought.remove(place)).is_some()
    }

    /// What the last packet brought back.
    pub(super) fn take_recovered(&mut self) -> Vec<Incoming> {
        std::mem::take(&mut self.recovered)
    }

    /// A door moved: what was said before it stays before it.
    pub(super) fn forget(&mut self) {
        self.first = None;
        self.recovered.clear();
    }
}

const _: () = assert!(REACH == 2, "a third frame back would be played too late");

#[cfg(test)]
mod tests;
