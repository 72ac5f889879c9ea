//! One direction of the network, without any I/O: packets and time go in, and the same packets come out when they are due.

#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::conditions::{Conditions, Loss, millis};
use crate::packet;

/// Packets on their way at once. At 200,000 packets a second this is a third of a second; a longer line drops the newest.
const MAX_WAITING: usize = 65_536;
/// Bytes on their way at once: 60 s at 8 Mbit/s.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Draws summed for one jitter: their sum is near enough to a normal distribution, and cut off at 3.5 deviations.
const JITTER_DRAWS: u32 = 12;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Packets that came in.
    pub offered: u64,
    /// Packets that went out, copies included.
    pub delivered: u64,
    /// Bytes that went out.
    pub delivered_bytes: u64,
    /// Lost by nature.
    pub lost: u64,
    /// Dropped at the tail of the bottleneck's queue.
    pub overflowed: u64,
    /// Stopped by the firewall.
    pub blocked: u64,
    /// Sent while nothing passed.
    pub outage: u64,
    /// Second copies.
    pub duplicated: u64,
    /// Packets that others were let past.
    pub reordered: u64,
    /// Dropped because too many were on their way: a sign of a badly chosen test.
    pub crowded: u64,
}

/// One direction.
#[derive(Debug)]
pub struct Link {
    conditions: Conditions,
    dice: StdRng,
    /// Gilbert and Elliott's state.
    in_burst: bool,
    /// When the bottleneck has sent what it holds.
    free_at: Option<Instant>,
    /// When the last packet in order is due: jitter alone never overtakes it.
    last_due: Option<Instant>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    waiting_bytes: usize,
    next_number: u64,
    counters: Counters,
}

#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    due: Instant,
    /// Breaks ties, so that order holds among packets due at one instant.
    number: u64,
    bytes: Vec<u8>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Link {
    /// A perfect link. The same seed and the same packets at the same times give the same fate, bit for bit.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            conditions: Conditions::default(),
            dice: StdRng::seed_from_u64(seed),
            in_burst: false,
            free_at: None,
            last_due: None,
            waiting: BinaryHeap::new(),
            waiting_bytes: 0,
            next_number: 0,
            counters: Counters::default(),
        }
    }

    /// From now on the link is like this. What is on its way arrives as it was going to.
    pub fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        self.in_burst = false;
        // A new bottleneck begins with an empty queue.
        self.free_at = None;
    }

    /// What it is like at present.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A packet enters.
    pub fn offer(&mut self, now: Instant, bytes: &[u8]) {
        self.counters.offered += 1;
        if self.conditions.down {
            self.counters.outage += 1;
            return;
        }
        if self.conditions.block.iter().any(|by| packet::is_stopped(*by, bytes)) {
            self.counters.blocked += 1;
            return;
        }
        if self.is_lost() {
            self.counters.lost += 1;
            return;
        }
        let Some(sent) = self.pass_bottleneck(now, bytes.len()) else {
            self.counters.overflowed += 1;
            return;
        };
        let mut due = sent + self.delay();
        if self.chance(self.conditions.reorder) {
            self.counters.reordered += 1;
            due += millis(self.conditions.reorder_by_ms);
        } else {
            due = self.last_due.map_or(due, |last| due.max(last));
            self.last_due = Some(due);
        }
        if self.chance(self.conditions.duplicate) && self.keep(due, bytes) {
            self.counters.duplicated += 1;
        }
        if !self.keep(due, bytes) {
            self.counters.crowded += 1;
        }
    }

    /// The next packet that is due by now.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(Waiting { bytes, .. }) = self.waiting.pop()?;
        self.waiting_bytes -= bytes.len();
        self.counters.delivered += 1;
        self.counters.delivered_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Some(bytes)
    }

    /// When `poll` will have something.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    fn keep(&mut self, due: Instant, bytes: &[u8]) -> bool {
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes + bytes.len() > MAX_WAITING_BYTES {
            return false;
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push(Reverse(Waiting { due, number: self.next_number, bytes: bytes.to_vec() }));
        self.next_number += 1;
        true
    }

    fn chance(&mut self, probability: f64) -> bool {
        // No draw where there is no choice, so that a link that only delays does not depend on the seed.
        probability > 0.0 && self.dice.random::<f64>() < probability
    }

    fn is_lost(&mut self) -> bool {
        match self.conditions.loss {
            Loss::Random(probability) => self.chance(probability),
            Loss::Bursts { enter, leave, bad, good } => {
                let turns = if self.in_burst { leave } else { enter };
                self.in_burst ^= self.chance(turns);
                self.chance(if self.in_burst { bad } else { good })
            }
        }
    }

    /// When the packet has left the bottleneck; `None` when its queue is full.
    fn pass_bottleneck(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.conditions.kbps.is_none() {
            return Some(now);
        }
        let begins = self.free_at.map_or(now, |free| free.max(now));
        if begins - now > self.conditions.queue() {
            return None;
        }
        let ends = begins + self.conditions.time_on_wire(bytes);
        self.free_at = Some(ends);
        Some(ends)
    }

    fn delay(&mut self) -> Duration {
        let mut delay = self.conditions.delay_ms;
        if self.conditions.jitter_ms > 0.0 {
            let sum: f64 = (0..JITTER_DRAWS).map(|_| self.dice.random::<f64>()).sum();
            let deviations = (sum - f64::from(JITTER_DRAWS) / 2.0).clamp(-3.5, 3.5);
            delay += deviations * self.conditions.jitter_ms;
        }
        millis(delay.max(0.0))
    }
}
