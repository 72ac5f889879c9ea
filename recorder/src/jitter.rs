//! Puts the packets of one Track back in order, waits for repaired ones, and counts those that never came.

use std::collections::{BTreeMap, VecDeque};

use crate::packet::{Micros, Packet};

#[cfg(test)]
mod tests;

/// How long a missing packet is awaited. Repair by retransmission takes a few round trips; nothing plays live here, so patience is free.
pub const HOLD: Micros = 1_500_000;

/// How long the very first packets are held, so that the earliest of them begins the Track.
const START_HOLD: Micros = 100_000;

/// Packets that wait behind a missing one: 8 s of 4 Mbit/s. When full, the missing one is given up.
const MAX_WAITING: usize = 4096;

/// A jump of the sequence beyond this is another sequence, not loss (RFC 3550 appendix A.1).
const MAX_JUMP: i64 = 3000;

/// A packet in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The packet.
    pub packet: Packet,
    /// Packets that never came between the one before and this one.
    pub missing: u32,
    /// The sender began anew: another SSRC or another sequence.
    pub restarted: bool,
}

/// The reorder buffer of one Track.
#[derive(Debug, Default)]
pub struct Jitter {
    ssrc: Option<u32>,
    /// The extended sequence number awaited next; none before the first release.
    next: Option<i64>,
    highest: i64,
    waiting: BTreeMap<i64, Packet>,
    ready: VecDeque<Ordered>,
    restarted: bool,
}

impl Jitter {
    /// Takes a packet as it came. A duplicate, or one that was given up already, is dropped.
    pub fn push(&mut self, packet: Packet) {
        let wide = i64::from(packet.sequence);
        if self.ssrc != Some(packet.ssrc) {
            self.restart(packet.ssrc, wide);
        }
        // The extended number nearest to the highest so far.
        let highest = self.highest;
        let step = (wide - highest).rem_euclid(1 << 16);
        let mut place = highest + if step < 1 << 15 { step } else { step - (1 << 16) };
        if (place - highest).abs() > MAX_JUMP {
            self.restart(packet.ssrc, wide);
            place = wide;
        }
        self.highest = self.highest.max(place);
        if self.next.is_none_or(|next| place >= next) {
            self.waiting.entry(place).or_insert(packet);
        }
    }

    /// The next packet in order, or none until more comes or time passes. `now` never goes back.
    pub fn pop(&mut self, now: Micros) -> Option<Ordered> {
        if let Some(ordered) = self.ready.pop_front() {
            return Some(ordered);
        }
        let (&place, first) = self.waiting.first_key_value()?;
        let due = match self.next {
            Some(next) if place == next => true,
            Some(_) => now - first.arrival >= HOLD || self.waiting.len() > MAX_WAITING,
            None => now - first.arrival >= START_HOLD || self.waiting.len() > MAX_WAITING,
        };
        if due { self.release() } else { None }
    }

    /// Gives up on everything that is missing: no more will come.
    pub fn drain(&mut self) {
        while let Some(ordered) = self.release() {
            self.ready.push_back(ordered);
        }
    }

    fn release(&mut self) -> Option<Ordered> {
        let (place, packet) = self.waiting.pop_first()?;
        let missing = self.next.map_or(0, |next| u32::try_from(place - next).unwrap_or(0));
        self.next = Some(place + 1);
        Some(Ordered { packet, missing, restarted: std::mem::take(&mut self.restarted) })
    }

    fn restart(&mut self, ssrc: u32, place: i64) {
        self.drain();
        self.restarted = self.ssrc.is_some();
        self.ssrc = Some(ssrc);
        self.next = None;
        self.highest = place;
    }
}
