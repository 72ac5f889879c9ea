//! One direction of a path: capacity, queue, loss, delay, jitter.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Nanos, nanos};
use crate::Bitrate;

const SECOND: f64 = 1e9;

/// What a queue holds before it drops the newest.
#[derive(Clone, Copy, Debug)]
pub enum Queue {
    /// So much waiting.
    Time(Duration),
    /// So many bytes.
    Bytes(u64),
}

/// Loss before the queue, by nature.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// None.
    None,
    /// The n-th, the 2n-th and so on.
    OneIn(u64),
    /// Each alone, with this probability.
    Random(f64),
    /// Gilbert-Elliott: good to bad, bad to good, loss in bad.
    Bursts(f64, f64, f64),
}

/// Drops what exceeds a rate, without a queue.
#[derive(Clone, Copy, Debug)]
pub struct Policer {
    /// The rate let through.
    pub rate: Bitrate,
    /// Bytes of credit at rest.
    pub burst: u64,
}

/// How a link behaves.
#[derive(Clone, Debug)]
pub struct LinkSetup {
    /// From when on which capacity; the first at zero.
    pub capacity: Vec<(Duration, Bitrate)>,
    /// The shortest delay.
    pub propagation: Duration,
    /// What waits.
    pub queue: Queue,
    /// From when on which loss; the first at zero.
    pub loss: Vec<(Duration, Loss)>,
    /// Standard deviation of a normal delay added after the queue, never negative, never reordering.
    pub jitter: Duration,
    /// Before the queue.
    pub policer: Option<Policer>,
    /// Nothing passes from the first to the second.
    pub outage: Option<(Duration, Duration)>,
}

impl LinkSetup {
    /// A plain link of `capacity`, one second of queue, 20 ms of delay.
    #[must_use]
    pub fn plain(capacity: Bitrate) -> Self {
        Self {
            capacity: vec![(Duration::ZERO, capacity)],
            propagation: Duration::from_millis(20),
            queue: Queue::Time(Duration::from_secs(1)),
            loss: vec![(Duration::ZERO, Loss::None)],
            jitter: Duration::ZERO,
            policer: None,
            outage: None,
        }
    }

    /// The capacity in force at `at`.
    #[must_use]
    pub fn capacity_at(&self, at: Duration) -> Bitrate {
        in_force(&self.capacity, at).unwrap_or_default()
    }

    /// Bits that the link could carry between two moments.
    #[must_use]
    pub fn capacity_between(&self, from: Duration, to: Duration) -> f64 {
        let mut bits = 0.0;
        for (i, &(begin, rate)) in self.capacity.iter().enumerate() {
            let end = self.capacity.get(i + 1).map_or(Duration::MAX, |next| next.0);
            let span = end.min(to).saturating_sub(begin.max(from));
            bits += rate.as_bps() as f64 * span.as_secs_f64();
        }
        bits
    }
}

fn in_force<T: Copy>(steps: &[(Duration, T)], at: Duration) -> Option<T> {
    steps.iter().take_while(|(from, _)| *from <= at).last().map(|&(_, what)| what)
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then, and waited so long in the queue.
    Arrives {
        /// When.
        at: Nanos,
        /// How long it stood in the queue.
        waited: Nanos,
    },
    /// Nature took it.
    Lost,
    /// The queue or the policer had no room.
    Dropped,
}

/// A link in motion.
#[derive(Debug)]
pub struct Link {
    setup: LinkSetup,
    random: StdRng,
    offered: u64,
    bad: bool,
    free_at: f64,
    waiting: VecDeque<(f64, u64)>,
    waiting_bytes: u64,
    last_arrival: f64,
    credit: f64,
    credit_at: Nanos,
}

impl Link {
    /// A link at rest.
    #[must_use]
    pub fn new(setup: LinkSetup, seed: u64, id: u64) -> Self {
        let credit = setup.policer.map_or(0.0, |policer| policer.burst as f64);
        Self {
            setup,
            random: StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(id)),
            offered: 0,
            bad: false,
            free_at: 0.0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_arrival: 0.0,
            credit,
            credit_at: 0,
        }
    }

    /// Gives the link a packet; packets are offered in the order of time.
    pub fn offer(&mut self, now: Nanos, bytes: u64) -> Fate {
        let at = Duration::from_nanos(now);
        self.offered += 1;
        if self.setup.outage.is_some_and(|(from, to)| at >= from && at < to) || self.is_lost(at) {
            return Fate::Lost;
        }
        if !self.is_policed(now, bytes) {
            return Fate::Dropped;
        }
        let time = now as f64;
        while let Some(&(leaves, size)) = self.waiting.front() {
            if leaves > time {
                break;
            }
            self.waiting.pop_front();
            self.waiting_bytes -= size;
        }
        let full = match self.setup.queue {
            Queue::Time(longest) => self.free_at - time > nanos(longest) as f64,
            Queue::Bytes(most) => self.waiting_bytes + bytes > most,
        };
        if full {
            return Fate::Dropped;
        }
        let begins = self.free_at.max(time);
        let leaves = self.serve(begins, bytes);
        self.free_at = leaves;
        self.waiting.push_back((leaves, bytes));
        self.waiting_bytes += bytes;
        let arrival = leaves + nanos(self.setup.propagation) as f64 + self.jitter();
        self.last_arrival = self.last_arrival.max(arrival);
        Fate::Arrives { at: whole(self.last_arrival), waited: whole(begins - time) }
    }

    /// When the last bit leaves, over all changes of capacity.
    fn serve(&self, begins: f64, bytes: u64) -> f64 {
        let mut bits = bytes as f64 * 8.0;
        let mut at = begins;
        for (i, &(_, rate)) in self.setup.capacity.iter().enumerate() {
            let end = self.setup.capacity.get(i + 1).map_or(f64::INFINITY, |next| nanos(next.0) as f64);
            if end <= at {
                continue;
            }
            let rate = (rate.as_bps() as f64).max(1.0);
            let room = (end - at) / SECOND * rate;
            if bits <= room {
                return at + bits / rate * SECOND;
            }
            bits -= room;
            at = end;
        }
        at
    }

    fn is_lost(&mut self, at: Duration) -> bool {
        match in_force(&self.setup.loss, at).unwrap_or(Loss::None) {
            Loss::None => false,
            Loss::OneIn(n) => self.offered.is_multiple_of(n.max(1)),
            Loss::Random(share) => self.random.random_bool(share),
            Loss::Bursts(worse, better, loss) => {
                let turn = if self.bad { better } else { worse };
                self.bad ^= self.random.random_bool(turn);
                self.bad && self.random.random_bool(loss)
            }
        }
    }

    fn is_policed(&mut self, now: Nanos, bytes: u64) -> bool {
        let Some(policer) = self.setup.policer else { return true };
        let since = now.saturating_sub(self.credit_at) as f64 / SECOND;
        self.credit_at = now;
        self.credit = (self.credit + since * policer.rate.as_bps() as f64 / 8.0).min(policer.burst as f64);
        if self.credit < bytes as f64 {
            return false;
        }
        self.credit -= bytes as f64;
        true
    }

    /// Half a normal curve, by the sum of twelve; cut at three deviations.
    fn jitter(&mut self) -> f64 {
        if self.setup.jitter.is_zero() {
            return 0.0;
        }
        let normal: f64 = (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0;
        normal.abs().min(3.0) * nanos(self.setup.jitter) as f64
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "virtual time, far below 2^53")]
fn whole(time: f64) -> Nanos {
    time as Nanos
}
