//! How much redundancy the sound of one listener is owed: what gets lost on the way to it asks, what fits allows.

mod loss;

use std::time::{Duration, Instant};

use bandwidth::{Ack, Bitrate};

use crate::rtp::red::REACH;
use crate::sound::Reach;
use loss::Losses;

/// From this share lost on, each packet says the frame before it again; from that on, two.
const ONE: f32 = 0.03;
const TWO: f32 = 0.10;
/// Losses that come in longer runs than this need two frames as well: one would be lost with what it repeats.
const RUN: f32 = 1.5;
/// Less redundancy when the loss stayed under half of what asked for it, for so long.
const CALM: Duration = Duration::from_secs(10);
/// Sound with redundancy takes no more than this share of what the way carries, ...
const SHARE: f64 = 0.5;
/// ... unless no picture flows and sound gets lost: then it may have all but this.
const RESERVE: Bitrate = Bitrate::kbps(5);
/// More redundancy must fit with some room, or a voice that gets louder would end it again.
const ROOM: f64 = 0.95;
/// The estimate counts smoothed by this much a second: it breathes, and redundancy should not with it. Below this share of
/// what was thought it is believed at once.
const SMOOTH: f64 = 0.25;
const FALL: f64 = 0.6;
/// RTP header, extensions, tag of a packet; and what a block adds to its frame.
const AROUND: usize = 40;
const BLOCK: usize = 4;
/// Reports older than this say nothing of the present.
const FRESH: Duration = Duration::from_secs(3);

/// What the decision is made from, about once a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Packets and bytes of frames that left since the last one, and IP and UDP in front of each.
    pub(crate) amount: (u32, usize),
    pub(crate) overhead: usize,
    /// What the way carries.
    pub(crate) target: Bitrate,
    /// Share lost as receiver reports say it: of use where transport-wide reports do not cover sound.
    pub(crate) reported: f32,
    /// Some picture flows.
    pub(crate) has_picture: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Guard {
    losses: Losses,
    reach: Reach,
    calm: Option<Instant>,
    polled: Option<Instant>,
    /// Sound without redundancy, and what one frame back adds: a voice that pauses does not count as small at once.
    plain: Bitrate,
    again: Bitrate,
    target: Option<Bitrate>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            losses: Losses::default(),
            // Every way begins with room for a voice as its publisher sends it.
            reach: Reach { wanted: 0, most: 1 },
            calm: None,
            polled: None,
            plain: Bitrate::ZERO,
            again: Bitrate::ZERO,
            target: None,
        }
    }
}

impl Guard {
    /// A packet of sound left under this transport-wide number.
    pub(crate) fn note_sent(&mut self, number: u64) {
        self.losses.note_sent(number);
    }

    /// A transport-wide report came.
    pub(crate) fn note_acks(&mut self, now: Instant, acks: &[Ack]) {
        self.losses.note_acks(now, acks);
    }

    pub(crate) const fn reach(&self) -> Reach {
        self.reach
    }

    /// Share of sound lost on the way to the listener, and the mean length of a run of losses.
    pub(crate) fn loss(&self, now: Instant, reported: f32) -> (f32, f32) {
        self.losses.read(now, FRESH).unwrap_or((reported, 1.0))
    }

    /// What the way carries, as it counts while redundancy is owed.
    pub(crate) fn target(&self) -> Option<Bitrate> {
        self.target.filter(|_| self.reach.wanted > 0)
    }

    /// Decides anew.
    pub(crate) fn poll(&mut self, now: Instant, measure: &Measure) {
        let since = self.polled.replace(now).map(|before| now.saturating_duration_since(before));
        self.want(now, self.loss(now, measure.reported));
        let Some(since) = since.filter(|since| !since.is_zero()) else { return };
        let (packets, bytes) = measure.amount;
        let packets = packets as usize;
        let slow = |before: Bitrate, bytes: usize| Bitrate::of(bytes as u64, since).max(before.scale(0.8));
        self.plain = slow(self.plain, bytes + packets * (AROUND + measure.overhead));
        self.again = slow(self.again, bytes + packets * BLOCK);
        let now_carries = measure.target;
        let target = match self.target {
            Some(before) if now_carries >= before.scale(FALL) => before.scale(1.0 - SMOOTH) + now_carries.scale(SMOOTH),
            _ => now_carries,
        };
        self.target = Some(target);
        let most = if self.reach.wanted > 0 && !measure.has_picture {
            target.saturating_sub(RESERVE)
        } else {
            target.scale(SHARE)
        };
        let fits = |reach: usize| {
            let whole = (0..reach).fold(self.plain, |sum, _| sum + self.again);
            whole <= if reach > self.reach.most { most.scale(ROOM) } else { most }
        };
        self.reach.most = (1..=REACH).rev().find(|reach| fits(*reach)).unwrap_or_default();
    }

    fn want(&mut self, now: Instant, (share, run): (f32, f32)) {
        let asked = |part: f32| match share {
            _ if share > TWO * part || share > ONE * part && run > RUN => REACH,
            _ if share > ONE * part => 1,
            _ => 0,
        };
        if asked(1.0) > self.reach.wanted {
            self.reach.wanted = asked(1.0);
        }
        let kept = asked(0.5);
        if kept >= self.reach.wanted {
            self.calm = None;
            return;
        }
        let since = *self.calm.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.reach.wanted = kept;
            self.calm = None;
        }
    }
}

#[cfg(test)]
mod tests;
