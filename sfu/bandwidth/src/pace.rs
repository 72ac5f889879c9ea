//! When packets leave: a little faster than the path is estimated to carry, so that bursts wait here and not in the network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Bitrate;

/// Packets leave at this share of the target: what the publisher sends at the target must not pile up here.
const FACTOR: f64 = 1.1;
/// The same while a queue is worked off. Half of the excess of a keyframe then stands in the network instead of here.
const HASTE: f64 = 2.0;
/// A queue that takes longer than this at the target is worked off in this time.
const COMFORT: Duration = Duration::from_millis(100);
/// What may leave at once after a pause. Longer bursts read as a queue at the receiver.
const BURST: Duration = Duration::from_millis(25);
/// The same in bytes at least: a frame of a few packets, else low rates would send one packet at a time with a timer each.
const LEAST_BURST: i64 = 4800;
/// What may leave at once at the very beginning: the first keyframe, for which somebody waits.
const FIRST_BURST: i64 = 9600;
/// Sound never waits and may overdraw; what it overdrew beyond this is forgiven.
const DEBT: Duration = Duration::from_millis(500);
/// Longest that video may wait. Older pictures are worth less than the keyframe that replaces them.
const LONGEST: Duration = Duration::from_millis(250);
/// Most bytes that wait: the first keyframes of five faces, before it is known what the path carries.
const MOST_BYTES: usize = 128 * 1024;
/// A repair is of no use to a receiver this long after the round trip in which it could have come.
const REPAIR_PATIENCE: Duration = Duration::from_millis(150);

/// What a packet is, in the order in which packets leave. Sound and RTCP do not wait and have no place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Sent before and asked for again.
    Repair,
    /// A shared screen.
    Screen,
    /// A face.
    Face,
    /// Nothing but bytes.
    Padding,
}

const CLASSES: usize = 4;

/// A packet in the queue.
#[derive(Debug)]
pub struct Waiting<P> {
    /// What it is.
    pub urgency: Urgency,
    /// Its stream: streams are dropped as a whole.
    pub stream: u32,
    /// No other frame refers to it.
    pub is_discardable: bool,
    /// Bytes on the wire.
    pub bytes: usize,
    /// The packet.
    pub packet: P,
}

/// What had to go because the queue was full.
#[derive(Debug)]
pub struct Shed<P> {
    /// The packets dropped, in the order in which they came.
    pub dropped: Vec<P>,
    /// Of this stream everything that waited was dropped: its receiver needs a keyframe.
    pub broken: Option<u32>,
}

#[derive(Debug)]
struct Entry<P> {
    waiting: Waiting<P>,
    since: Instant,
}

/// The queue of one path, and the budget that empties it.
#[derive(Debug)]
pub struct Pacer<P> {
    target: Bitrate,
    /// Bytes that may leave; below zero when something that does not wait overdrew.
    credit: i64,
    filled: Instant,
    repair_age: Duration,
    queues: [VecDeque<Entry<P>>; CLASSES],
    bytes: usize,
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl<P> Pacer<P> {
    /// An empty queue.
    #[must_use]
    pub fn new(target: Bitrate, now: Instant) -> Self {
        Self {
            target,
            credit: FIRST_BURST,
            filled: now,
            repair_age: REPAIR_PATIENCE,
            queues: std::array::from_fn(|_| VecDeque::new()),
            bytes: 0,
        }
    }

    /// What the path carries from now on, and its round trip.
    pub fn set_target(&mut self, now: Instant, target: Bitrate, round_trip: Duration) {
        if target != self.target {
            self.refill(now);
            self.target = target;
        }
        self.repair_age = round_trip + REPAIR_PATIENCE;
    }

    /// True when a packet may leave at once; its bytes are taken off the budget. The common case: nothing waits and the
    /// budget allows it.
    pub fn admit(&mut self, now: Instant, bytes: usize) -> bool {
        if self.bytes > 0 {
            return false;
        }
        if self.credit <= 0 {
            self.refill(now);
            if self.credit <= 0 {
                return false;
            }
        }
        self.credit -= signed(bytes as u64);
        true
    }

    /// Sound and RTCP leave at once, whatever the budget says, and cost the others.
    pub fn note_unpaced(&mut self, bytes: usize) {
        let debt = -signed(self.target.bytes_in(DEBT));
        self.credit = self.credit.saturating_sub(signed(bytes as u64)).max(debt);
    }

    /// Lets a packet wait that was not admitted. When the queue is full, first what nobody refers to is dropped, then the
    /// longest queue of the least urgent class.
    pub fn push(&mut self, now: Instant, waiting: Waiting<P>) -> Shed<P> {
        self.bytes += waiting.bytes;
        if let Some(queue) = self.queues.get_mut(waiting.urgency as usize) {
            queue.push_back(Entry { waiting, since: now });
        }
        self.shed(now)
    }

    /// The next packet that may leave now.
    pub fn pop(&mut self, now: Instant) -> Option<Waiting<P>> {
        if self.bytes == 0 {
            return None;
        }
        self.refill(now);
        if self.credit <= 0 {
            return None;
        }
        let waiting = self.pop_any(now)?;
        self.credit -= signed(waiting.bytes as u64);
        Some(waiting)
    }

    /// The next packet, whatever the budget, and without a charge to it: for a probe, which has a budget of its own.
    pub fn pop_any(&mut self, now: Instant) -> Option<Waiting<P>> {
        for urgency in [Urgency::Repair, Urgency::Screen, Urgency::Face, Urgency::Padding] {
            while let Some(entry) = self.queues.get_mut(urgency as usize).and_then(VecDeque::pop_front) {
                self.bytes -= entry.waiting.bytes;
                if urgency == Urgency::Repair && now.saturating_duration_since(entry.since) > self.repair_age {
                    continue;
                }
                return Some(entry.waiting);
            }
        }
        None
    }

    /// When [`Self::pop`] has something again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.bytes == 0 {
            return None;
        }
        let lacking = u64::try_from(1 - self.credit).unwrap_or_default();
        // A path always has a target; without one the queue is only ever shed.
        self.filled.checked_add(self.rate().time_for(lacking).min(Duration::from_secs(1)))
    }

    /// How long what waits takes at the target.
    #[must_use]
    pub fn delay(&self) -> Duration {
        if self.bytes == 0 { Duration::ZERO } else { self.target.time_for(self.bytes as u64) }
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops whatever waits and `is_over` holds for, and gives it back.
    pub fn drop_where(&mut self, mut is_over: impl FnMut(&Waiting<P>) -> bool) -> Vec<P> {
        let mut dropped = Vec::new();
        for queue in &mut self.queues {
            if !queue.iter().any(|entry| is_over(&entry.waiting)) {
                continue;
            }
            for entry in std::mem::take(queue) {
                if is_over(&entry.waiting) {
                    self.bytes -= entry.waiting.bytes;
                    dropped.push(entry.waiting.packet);
                } else {
                    queue.push_back(entry);
                }
            }
        }
        dropped
    }

    /// How long a repair may wait before it is dropped.
    #[must_use]
    pub const fn repair_age(&self) -> Duration {
        self.repair_age
    }

    fn rate(&self) -> Bitrate {
        let usual = self.target.scale(FACTOR);
        if self.bytes == 0 {
            return usual;
        }
        usual.max(Bitrate::of(self.bytes as u64, COMFORT).min(self.target.scale(HASTE)))
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        // Less than a bit would be lost to rounding again and again.
        if passed < Duration::from_micros(250) {
            return;
        }
        self.filled = now;
        let rate = self.rate();
        let most = signed(rate.bytes_in(BURST)).max(LEAST_BURST);
        self.credit = self.credit.saturating_add(signed(rate.bytes_in(passed))).min(most);
    }

    fn is_full(&self, now: Instant) -> bool {
        let oldest = self.queues.iter().skip(1).filter_map(VecDeque::front).map(|entry| entry.since).min();
        self.bytes > MOST_BYTES || oldest.is_some_and(|since| now.saturating_duration_since(since) > LONGEST)
    }

    /// The stream of which most bytes of this class wait. The one in front may be a neighbour of the one that fills the queue.
    fn longest(&self, urgency: Urgency) -> Option<u32> {
        let mut streams: Vec<(u32, usize)> = Vec::new();
        for Entry { waiting, .. } in self.queues.get(urgency as usize)? {
            match streams.iter_mut().find(|(stream, _)| *stream == waiting.stream) {
                Some((_, bytes)) => *bytes += waiting.bytes,
                None => streams.push((waiting.stream, waiting.bytes)),
            }
        }
        let most = streams.iter().map(|(_, bytes)| *bytes).max()?;
        streams.into_iter().find(|(_, bytes)| *bytes == most).map(|(stream, _)| stream)
    }

    fn shed(&mut self, now: Instant) -> Shed<P> {
        let mut shed = Shed { dropped: Vec::new(), broken: None };
        if !self.is_full(now) {
            return shed;
        }
        shed.dropped = self.drop_where(|waiting| waiting.urgency == Urgency::Padding || waiting.is_discardable);
        if !self.is_full(now) {
            return shed;
        }
        for urgency in [Urgency::Face, Urgency::Screen, Urgency::Repair] {
            let Some(stream) = self.longest(urgency) else { continue };
            let dropped = self.drop_where(|waiting| waiting.urgency == urgency && waiting.stream == stream);
            shed.dropped.extend(dropped);
            shed.broken = (urgency != Urgency::Repair).then_some(stream);
            return shed;
        }
        shed
    }
}

#[cfg(test)]
mod tests;
