//! What a sender has to send, and how it leaves.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Nanos;
use crate::{Bitrate, Probe};

const PACKET: u64 = 1200;
const FRAME: Nanos = 40_000_000;
const LAG: Nanos = 200_000_000;

/// A limit on what there is to send, from a moment on.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// From when.
    pub from: Duration,
    /// At most so much.
    pub most: Bitrate,
}

/// What there is to send.
#[derive(Clone, Debug)]
pub enum Source {
    /// As much as may be.
    Greedy,
    /// As much as may be up to a limit that changes.
    Limited(Vec<Phase>),
    /// 25 frames per second that follow the target 200 ms late, a tenth of noise, a keyframe of eight now and then.
    Encoder,
}

/// A packet that may leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub bytes: u64,
    pub probe: bool,
    pub padding: bool,
}

#[derive(Debug)]
pub(super) struct Sender {
    source: Source,
    random: StdRng,
    /// Bits owed before the next packet may leave.
    debt: f64,
    paid_at: Nanos,
    rate: f64,
    waiting: VecDeque<u64>,
    waiting_bytes: u64,
    next_frame: Nanos,
    frames: u64,
    targets: VecDeque<(Nanos, f64)>,
    probe: Option<(Probe, Nanos, u64, u32)>,
}

impl Sender {
    pub(super) fn new(source: Source, seed: u64, at: Nanos) -> Self {
        Self {
            source,
            random: StdRng::seed_from_u64(seed ^ 0x5EED),
            debt: 0.0,
            paid_at: at,
            rate: 0.0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next_frame: at,
            frames: 0,
            targets: VecDeque::new(),
            probe: None,
        }
    }

    /// The controller has spoken.
    pub(super) fn set_rate(&mut self, now: Nanos, rate: Bitrate) {
        self.pay(now);
        let rate = rate.as_bps() as f64;
        self.targets.push_back((now, rate));
        while self.targets.len() > 1 && self.targets.get(1).is_some_and(|&(at, _)| at + LAG <= now) {
            self.targets.pop_front();
        }
        self.rate = rate;
    }

    pub(super) fn begin_probe(&mut self, now: Nanos, probe: Probe) {
        self.probe = Some((probe, now, 0, 0));
    }

    fn pace(&self, now: Nanos) -> f64 {
        match &self.source {
            Source::Greedy => self.rate,
            Source::Limited(phases) => {
                let at = Duration::from_nanos(now);
                let most = phases.iter().take_while(|phase| phase.from <= at).last().map(|phase| phase.most);
                self.rate.min(most.unwrap_or_default().as_bps() as f64)
            }
            Source::Encoder => {
                let queued = self.waiting_bytes as f64 * 8.0 / 0.1;
                (1.1 * self.rate).max(queued.min(2.0 * self.rate))
            }
        }
    }

    fn pay(&mut self, now: Nanos) {
        let since = now.saturating_sub(self.paid_at) as f64 / 1e9;
        self.paid_at = now;
        self.debt = (self.debt - self.pace(now) * since).max(if matches!(self.source, Source::Encoder) {
            0.0
        } else {
            -9600.0
        });
    }

    /// When the next packet may leave.
    pub(super) fn poll_timeout(&self, now: Nanos) -> Nanos {
        if let Some((probe, began, bytes, _)) = self.probe {
            return (began + to_nanos(bytes as f64 * 8.0 / probe.rate.as_bps().max(1) as f64 * 1e9)).max(now);
        }
        let pace = self.pace(now);
        // A limit may change: look again.
        let wait = if pace <= 0.0 { 1e7 } else { (self.debt.max(0.0) / pace * 1e9).min(1e8) };
        let mut due = now + to_nanos(wait) + 1;
        if matches!(self.source, Source::Encoder) {
            due = if self.waiting.is_empty() { self.next_frame } else { due.min(self.next_frame.max(now + 1)) };
        }
        due.max(now)
    }

    /// The packets that leave now.
    pub(super) fn poll_packets(&mut self, now: Nanos, out: &mut Vec<Leaving>) {
        self.pay(now);
        if matches!(self.source, Source::Encoder) {
            self.encode(now);
        }
        if let Some((probe, began, mut sent, mut packets)) = self.probe {
            while now >= began + to_nanos(sent as f64 * 8.0 / probe.rate.as_bps().max(1) as f64 * 1e9) {
                let media = self.debt <= 0.0 && self.take(true);
                sent += PACKET;
                packets += 1;
                out.push(Leaving { bytes: PACKET, probe: true, padding: !media });
                if sent >= probe.bytes as u64 && packets >= probe.packets {
                    self.probe = None;
                    return;
                }
            }
            self.probe = Some((probe, began, sent, packets));
            return;
        }
        while self.debt <= 0.0 && self.pace(now) > 0.0 && self.take(true) {
            out.push(Leaving { bytes: PACKET, probe: false, padding: false });
        }
    }

    fn take(&mut self, owe: bool) -> bool {
        if matches!(self.source, Source::Encoder) {
            let Some(bytes) = self.waiting.pop_front() else { return false };
            self.waiting_bytes -= bytes;
        }
        if owe {
            self.debt += PACKET as f64 * 8.0;
        }
        true
    }

    fn encode(&mut self, now: Nanos) {
        while now >= self.next_frame {
            let rate = self.targets.front().map_or(self.rate, |&(_, rate)| rate);
            let size = rate / 25.0 / 8.0 * self.random.random_range(0.9..1.1);
            let size = if self.frames.is_multiple_of(500) { 8.0 * size } else { size };
            self.frames += 1;
            self.next_frame += FRAME;
            let packets = (size / PACKET as f64).round().max(1.0);
            let mut left = packets;
            while left > 0.0 {
                self.waiting.push_back(PACKET);
                self.waiting_bytes += PACKET;
                left -= 1.0;
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "virtual time, far below 2^53")]
fn to_nanos(time: f64) -> Nanos {
    time as Nanos
}
