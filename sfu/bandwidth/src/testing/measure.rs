//! What happened in a run, and what that is worth.

use std::time::Duration;

use super::Nanos;
use super::link::LinkSetup;

/// A packet that came through.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// When it arrived, in nanoseconds.
    pub at: Nanos,
    /// When it left.
    pub sent: Nanos,
    /// On the wire.
    pub bytes: u64,
    /// In the bottleneck's queue.
    pub waited: Nanos,
}

/// What happened to one flow.
#[derive(Clone, Debug, Default)]
pub struct FlowLog {
    /// By arrival.
    pub delivered: Vec<Delivery>,
    /// Each change of the target, in bits per second.
    pub targets: Vec<(Nanos, u64)>,
    /// When packets left, all of them.
    pub sent: Vec<Nanos>,
    /// When nature took one.
    pub lost: Vec<Nanos>,
    /// When a queue or policer dropped one.
    pub dropped: Vec<Nanos>,
    /// Bursts sent.
    pub probes: u32,
}

/// What happened in a run.
#[derive(Clone, Debug)]
pub struct Log {
    /// By flow.
    pub flows: Vec<FlowLog>,
    /// What the path was.
    pub link: LinkSetup,
    /// How long it ran.
    pub duration: Duration,
}

fn seconds(at: Nanos) -> f64 {
    at as f64 / 1e9
}

impl FlowLog {
    /// Bits that arrived between two moments, in seconds.
    #[must_use]
    pub fn bits(&self, from: f64, to: f64) -> f64 {
        let inside = |delivery: &&Delivery| (from..to).contains(&seconds(delivery.at));
        self.delivered.iter().filter(inside).map(|delivery| delivery.bytes as f64 * 8.0).sum()
    }

    /// Bits per second that arrived between two moments, in seconds.
    #[must_use]
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        self.bits(from, to) / (to - from)
    }

    /// The p-th part of the queue's waiting between two moments, in milliseconds.
    #[must_use]
    pub fn queue(&self, p: f64, from: f64, to: f64) -> f64 {
        let inside = |delivery: &&Delivery| (from..to).contains(&seconds(delivery.at));
        let mut waits: Vec<f64> =
            self.delivered.iter().filter(inside).map(|delivery| delivery.waited as f64 / 1e6).collect();
        waits.sort_unstable_by(f64::total_cmp);
        at_share(&waits, p)
    }

    /// The target in force at a moment, in bits per second.
    #[must_use]
    pub fn target(&self, at: f64) -> f64 {
        self.targets.iter().take_while(|(time, _)| seconds(*time) <= at).last().map_or(0.0, |&(_, rate)| rate as f64)
    }

    /// The mean of the target between two moments.
    #[must_use]
    pub fn mean_target(&self, from: f64, to: f64) -> f64 {
        let mut sum = 0.0;
        let mut at = from;
        let mut rate = self.target(from);
        for &(time, next) in &self.targets {
            let time = seconds(time);
            if time <= from {
                continue;
            }
            if time >= to {
                break;
            }
            sum += rate * (time - at);
            at = time;
            rate = next as f64;
        }
        (sum + rate * (to - at)) / (to - from)
    }

    /// Share of packets dropped by the path for want of room between two moments.
    #[must_use]
    pub fn congestion_loss(&self, from: f64, to: f64) -> f64 {
        let count = |times: &[Nanos]| times.iter().filter(|at| (from..to).contains(&seconds(**at))).count() as f64;
        count(&self.dropped) / count(&self.sent).max(1.0)
    }
}

impl Log {
    /// Delivered bits of all flows against what the path carries, between two moments.
    #[must_use]
    pub fn utilisation(&self, from: f64, to: f64) -> f64 {
        let bits: f64 = self.flows.iter().map(|flow| flow.bits(from, to)).sum();
        bits / self.link.capacity_between(Duration::from_secs_f64(from), Duration::from_secs_f64(to))
    }

    /// The same over the last three tenths.
    #[must_use]
    pub fn tail(&self) -> f64 {
        let end = self.duration.as_secs_f64();
        self.utilisation(0.7 * end, end)
    }

    /// How many seconds after `from` one flow's delivery over one second first reaches `share` of the capacity, and
    /// is not below it in the three seconds after.
    #[must_use]
    pub fn used_within(&self, share: f64, from: f64) -> f64 {
        let step = 0.1;
        let end = self.duration.as_secs_f64();
        let steps = count((end - from - 1.0) / step);
        let good = |i: usize| {
            let begin = from + i as f64 * step;
            self.utilisation(begin, begin + 1.0) >= share
        };
        let goods: Vec<bool> = (0..steps).map(good).collect();
        let first = (0..steps).find(|&i| goods.iter().skip(i).step_by(10).take(4).all(|&good| good));
        first.map_or(f64::INFINITY, |i| i as f64 * step + 1.0)
    }

    /// How many seconds after `from` the first flow's target stays within 70 to 105 % of the capacity and its queue
    /// below 200 ms, until `to`. What must not exceed 105 % is the target's mean over a second: additive increase
    /// always passes the capacity for a moment, or it would not know it.
    #[must_use]
    pub fn settle(&self, from: f64, to: f64) -> f64 {
        let Some(flow) = self.flows.first() else { return f64::INFINITY };
        let mut last_bad = from;
        for delivery in &flow.delivered {
            let at = seconds(delivery.at);
            if (from..to).contains(&at) && delivery.waited > 200_000_000 {
                last_bad = last_bad.max(at);
            }
        }
        let mut at = from;
        while at < to {
            let capacity = self.link.capacity_at(Duration::from_secs_f64(at)).as_bps() as f64;
            let mean = flow.mean_target((at - 1.0).max(from), at.max(from + 0.01));
            if flow.target(at) < 0.70 * capacity || mean > 1.05 * capacity {
                last_bad = last_bad.max(at + 0.02);
            }
            at += 0.02;
        }
        if last_bad >= to - 0.02 { f64::INFINITY } else { last_bad - from }
    }

    /// Jain's index over the flows' rates.
    #[must_use]
    pub fn jain(&self, from: f64, to: f64) -> f64 {
        let rates: Vec<f64> = self.flows.iter().map(|flow| flow.rate(from, to)).collect();
        let sum: f64 = rates.iter().sum();
        let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
        sum * sum / (rates.len() as f64 * squares).max(1.0)
    }
}

/// The value below which lies the share `p` of a sorted list.
pub(super) fn at_share(sorted: &[f64], p: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(count(p * last as f64 + 0.5).min(last)).copied().unwrap_or(0.0)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
fn count(value: f64) -> usize {
    value.max(0.0) as usize
}
