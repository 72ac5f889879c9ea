//! What of the sound on one way gets lost, and in how long runs, by transport-wide reports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bandwidth::Ack;

/// Packets that no report covered yet: ten seconds of one voice. When full the oldest go, as if nothing was known of them.
const OPEN: usize = 512;
/// Packets over which the share is smoothed: two seconds of one voice.
const SMOOTH: f32 = 100.0;
/// No judgement before so many.
const LEAST: f32 = 50.0;

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Losses {
    open: VecDeque<u64>,
    count: f32,
    share: f32,
    /// Share of packets with which a run of losses began.
    begun: f32,
    was_lost: bool,
    reported: Option<Instant>,
}

impl Losses {
    pub(super) fn note_sent(&mut self, number: u64) {
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back(number);
    }

    /// `acks` are in the order of their numbers. Packets before the first of them were in a report that was lost itself.
    pub(super) fn note_acks(&mut self, now: Instant, acks: &[Ack]) {
        let (Some(first), Some(last)) = (acks.first(), acks.last()) else { return };
        let mut acks = acks.iter();
        while let Some(number) = self.open.front().copied().filter(|number| *number <= last.number) {
            self.open.pop_front();
            if number < first.number {
                continue;
            }
            if let Some(ack) = acks.find(|ack| ack.number >= number).filter(|ack| ack.number == number) {
                self.reported = Some(now);
                self.note(ack.arrival.is_none());
            }
        }
    }

    fn note(&mut self, is_lost: bool) {
        self.count = (self.count + 1.0).min(SMOOTH);
        let one = |is: bool| if is { 1.0 } else { 0.0 };
        self.share += (one(is_lost) - self.share) / self.count;
        self.begun += (one(is_lost && !self.was_lost) - self.begun) / self.count;
        self.was_lost = is_lost;
    }

    /// Share lost and mean run, when they are known and no older than `fresh`.
    pub(super) fn read(&self, now: Instant, fresh: Duration) -> Option<(f32, f32)> {
        let at = self.reported.filter(|_| self.count >= LEAST)?;
        let run = if self.begun > 0.0 { self.share / self.begun } else { 1.0 };
        (now.saturating_duration_since(at) <= fresh).then_some((self.share, run))
    }
}
