//! Packets that left together are judged together: the step from one group to the next.

use std::time::{Duration, Instant};

/// What leaves within this belongs to one group; also what arrives as close behind and faster than it was sent.
const BURST_MS: f64 = 5.0;
const LONGEST_BURST_MS: f64 = 100.0;
/// A receiver's clock that runs so far ahead of ours has jumped.
const JUMP_MS: f64 = 3000.0;
const REORDERED_IN_A_ROW: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Group {
    /// In nanoseconds.
    first_sent: u64,
    last_sent: u64,
    first_arrival: f64,
    last_arrival: f64,
    seen: Instant,
}

/// From one group to the next, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The arrival of the later.
    pub arrival: f64,
    pub sent: f64,
    pub received: f64,
}

#[derive(Debug)]
pub(super) struct Groups {
    current: Option<Group>,
    previous: Option<Group>,
    reordered: u32,
    reset: bool,
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Milliseconds from one time of leaving to another.
fn between(earlier: u64, later: u64) -> f64 {
    later.saturating_sub(earlier) as f64 / 1e6
}

impl Groups {
    pub(super) fn new() -> Self {
        Self { current: None, previous: None, reordered: 0, reset: false }
    }

    /// True once after the receiver's clock made no sense and everything began anew.
    pub(super) fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.reset)
    }

    fn begin_anew(&mut self) {
        *self = Self { reset: true, ..Self::new() };
    }

    /// Adds a packet that left `sent` nanoseconds after the first of all; a step when it ends a group that has one before it.
    pub(super) fn add(&mut self, sent: u64, arrival: f64, now: Instant) -> Option<Step> {
        let fresh =
            Group { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival, seen: now };
        let Some(group) = &mut self.current else {
            self.current = Some(fresh);
            return None;
        };
        if sent < group.first_sent {
            return None;
        }
        let since_last = arrival - group.last_arrival;
        let stretched = since_last - between(group.last_sent, sent);
        let burst = sent == group.last_sent
            || (stretched < 0.0 && since_last <= BURST_MS && arrival - group.first_arrival < LONGEST_BURST_MS);
        if burst || between(group.first_sent, sent) <= BURST_MS {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            group.seen = now;
            return None;
        }
        let ended = *group;
        self.current = Some(fresh);
        let before = self.previous.replace(ended)?;
        let step = Step {
            arrival: ended.last_arrival,
            sent: between(before.last_sent, ended.last_sent),
            received: ended.last_arrival - before.last_arrival,
        };
        if step.received - milliseconds(ended.seen.saturating_duration_since(before.seen)) >= JUMP_MS {
            self.begin_anew();
            return None;
        }
        if step.received < 0.0 {
            self.reordered += 1;
            if self.reordered >= REORDERED_IN_A_ROW {
                self.begin_anew();
            }
            return None;
        }
        self.reordered = 0;
        Some(step)
    }
}
