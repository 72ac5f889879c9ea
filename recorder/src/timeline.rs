//! RTP time to one wall clock for all Tracks, in integers: the same journal gives the same places, always.
//!
//! Stage A maps a Track's timestamps to its sender's clock through sender reports ([`Line`]); stage B maps each sender's
//! clock to the media node's as the lower envelope of arrival minus sent ([`SenderClocks`]). All Tracks of one sender share
//! stage B, so lips stay in sync whatever the network does.

use std::collections::VecDeque;

use crate::packet::Micros;

mod line;
#[cfg(test)]
mod tests;

pub use line::{Line, Placed};

/// Over how long the envelope runs.
const ENVELOPE_SECONDS: i64 = 30;

/// Senders' clocks that differ by more than this are different clocks: another device of the same person.
const SAME_CLOCK: Micros = 500_000;

/// Clocks kept for one participant; one more device replaces the oldest.
const MAX_CLOCKS: usize = 8;

/// One sender's clock against the node's: the smallest arrival minus sent of the last 30 s, kept by seconds.
#[derive(Debug, Default)]
struct Envelope {
    seconds: VecDeque<(i64, Micros)>,
}

impl Envelope {
    fn offset(&self) -> Option<Micros> {
        self.seconds.iter().map(|(_, least)| *least).min()
    }

    fn note(&mut self, arrival: Micros, sent: Micros) {
        let (second, delay) = (arrival.div_euclid(1_000_000), arrival - sent);
        match self.seconds.back_mut() {
            // A late packet of an earlier second counts in the newest: the window is about age, not about order.
            Some((newest, least)) if *newest >= second => *least = delay.min(*least),
            _ => self.seconds.push_back((second, delay)),
        }
        while self.seconds.front().is_some_and(|(oldest, _)| second - oldest >= ENVELOPE_SECONDS) {
            self.seconds.pop_front();
        }
    }
}

/// The clocks of one participant's devices.
#[derive(Debug, Default)]
pub struct SenderClocks {
    clocks: VecDeque<(u32, Envelope)>,
    made: u32,
}

/// One clock of a [`SenderClocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockId(u32);

impl SenderClocks {
    /// The clock that shows `sent` at `arrival`: the one given if it still agrees, another that agrees, or a new one.
    fn find(&mut self, given: Option<ClockId>, arrival: Micros, sent: Micros) -> ClockId {
        let agrees = |envelope: &Envelope| envelope.offset().is_none_or(|o| (arrival - sent - o).abs() <= SAME_CLOCK);
        let own = self.clocks.iter().find(|(id, envelope)| given == Some(ClockId(*id)) && agrees(envelope));
        let any = own.or_else(|| self.clocks.iter().find(|(_, envelope)| agrees(envelope)));
        if let Some((id, _)) = any {
            return ClockId(*id);
        }
        if self.clocks.len() >= MAX_CLOCKS {
            self.clocks.pop_front();
        }
        self.made += 1;
        self.clocks.push_back((self.made, Envelope::default()));
        ClockId(self.made)
    }

    fn note(&mut self, clock: ClockId, arrival: Micros, sent: Micros) {
        if let Some((_, envelope)) = self.clocks.iter_mut().find(|(id, _)| *id == clock.0) {
            envelope.note(arrival, sent);
        }
    }

    fn offset(&self, clock: ClockId) -> Option<Micros> {
        self.clocks.iter().find(|(id, _)| *id == clock.0).and_then(|(_, envelope)| envelope.offset())
    }
}

/// A sender report as the timeline uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// When it arrived.
    pub arrival: Micros,
    /// The sender's clock, NTP 32.32.
    pub ntp: u64,
    /// The Track's timestamp at that instant.
    pub rtp: u32,
    /// Packets sent so far.
    pub packets: u32,
}

impl Report {
    /// The sender's clock in microseconds since 1900.
    fn sent(&self) -> Micros {
        let fraction = ((self.ntp & 0xffff_ffff) * 1_000_000) >> 32;
        i64::try_from((self.ntp >> 32) * 1_000_000 + fraction).unwrap_or(i64::MAX)
    }
}
