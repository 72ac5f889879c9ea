//! The visits that are open now: opening, closing, counting, measuring.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::fleet::Fleet;
use super::front::{Front, Shape, Visit};
use super::leg::{Leg, Marks};
use super::process::{self, Usage};
use super::report::{Cost, Delays, Window};
use super::{RunConfig, RunError, now};

/// How many visits are opened at the same time.
const CONCURRENCY: usize = 8;

/// Sums over legs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) recovered: u64,
    /// Packets that the server asked for again: lost on the way to it.
    pub(super) repaired: u64,
}

impl Totals {
    fn of(leg: &Leg) -> Self {
        let stats = leg.stats();
        Self {
            sent: stats.rtp_sent,
            received: stats.rtp_received,
            lost: stats.lost,
            recovered: stats.recovered,
            repaired: stats.rtx_sent,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            lost: self.lost + other.lost,
            recovered: self.recovered + other.recovered,
            repaired: self.repaired + other.repaired,
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(other.sent),
            received: self.received.saturating_sub(other.received),
            lost: self.lost.saturating_sub(other.lost),
            recovered: self.recovered.saturating_sub(other.recovered),
            repaired: self.repaired.saturating_sub(other.repaired),
        }
    }
}

/// Where the server and the generator stood when a measurement began.
pub(super) struct Begin {
    at: std::time::Instant,
    totals: Totals,
    server: Option<Usage>,
    generator: f64,
}

pub(super) struct Site {
    pub(super) front: Arc<Front>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) shape: Shape,
    /// Opens the gate of [`Shape`].
    pub(super) gate: watch::Sender<bool>,
    pub(super) visits: Vec<Visit>,
    pub(super) failed: usize,
    /// Media began later than joining would have allowed, so the times until the first packet say nothing.
    pub(super) held_media: bool,
    pub(super) first_failure: Option<RunError>,
    server_pid: Option<u32>,
    progress: bool,
    next: usize,
    /// Of visits that have ended.
    gone: Totals,
    marks: Vec<Marks>,
}

impl Site {
    pub(super) async fn new(config: &RunConfig, mut shape: Shape) -> Result<Self, RunError> {
        let fleet = Fleet::start()?;
        let front = Arc::new(Front::open(&config.url, config.token.clone()).await?);
        let (gate, watching) = watch::channel(true);
        shape.gate = watching;
        Ok(Self {
            front,
            fleet,
            shape,
            gate,
            visits: Vec::new(),
            failed: 0,
            held_media: false,
            first_failure: None,
            server_pid: config.server_pid,
            progress: config.progress && std::io::stderr().is_terminal(),
            next: 0,
            gone: Totals::default(),
            marks: Vec::new(),
        })
    }

    /// One line that replaces the one before, on a terminal.
    pub(super) fn tell(&self, text: &str) {
        if self.progress {
            // A terminal that went away is no reason to stop measuring.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}").and_then(|()| std::io::stderr().flush());
        }
    }

    pub(super) fn usage(&self) -> Result<Option<Usage>, RunError> {
        self.server_pid.map(Usage::read).transpose()
    }

    pub(super) const fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Opens visits until there are so many; those that fail are counted and not tried again.
    pub(super) async fn open(&mut self, wanted: usize) {
        let turn = Arc::new(Semaphore::new(CONCURRENCY));
        let mut joining = JoinSet::new();
        for _ in self.visits.len()..wanted {
            let number = self.number();
            let (front, fleet, shape) = (Arc::clone(&self.front), Arc::clone(&self.fleet), self.shape.clone());
            let turn = Arc::clone(&turn);
            joining.spawn(async move {
                let _turn = turn.acquire().await.map_err(|_| RunError::Protocol("closed"))?;
                front.join(front.plan(number).await?, &shape, &fleet).await
            });
        }
        while let Some(joined) = joining.join_next().await {
            self.take(joined.unwrap_or(Err(RunError::Protocol("a visit panicked"))));
            self.tell(&format!("{} of {wanted} visits open, {} failed", self.visits.len(), self.failed));
        }
    }

    pub(super) fn take(&mut self, joined: Result<Visit, RunError>) {
        match joined {
            Ok(visit) => self.visits.push(visit),
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert(error);
            }
        }
    }

    /// Ends the oldest visits until there are so many.
    pub(super) async fn close(&mut self, wanted: usize) {
        let excess = self.visits.len().saturating_sub(wanted);
        let mut leaving = JoinSet::new();
        for visit in self.visits.drain(..excess) {
            for leg in &visit.legs {
                self.gone = self.gone.plus(Totals::of(leg));
                self.marks.push(leg.state().marks);
            }
            leaving.spawn(visit.leave());
        }
        while leaving.join_next().await.is_some() {}
    }

    /// Of all legs so far.
    pub(super) fn marks(&self) -> Vec<Marks> {
        let legs = self.visits.iter().flat_map(|visit| &visit.legs).map(|leg| leg.state().marks);
        self.marks.iter().copied().chain(legs).collect()
    }

    fn totals(&self) -> Totals {
        let legs = self.visits.iter().flat_map(|visit| &visit.legs);
        legs.fold(self.gone, |sum, leg| sum.plus(Totals::of(leg)))
    }

    pub(super) fn begin(&self) -> Result<Begin, RunError> {
        let totals = self.totals();
        self.fleet.measure();
        let generator = self.fleet.thread().map_or(0.0, process::own_thread);
        Ok(Begin { at: now(), totals, server: self.usage()?, generator })
    }

    pub(super) fn end(&self, begin: &Begin) -> Result<Window, RunError> {
        let seconds = begin.at.elapsed().as_secs_f64();
        let server = self.usage()?;
        let generator = self.fleet.thread().map_or(0.0, process::own_thread);
        let (delays, unsent) = self.fleet.measured();
        let totals = self.totals().minus(begin.totals);
        // Everybody else of a visit gets what one sends.
        let others = u64::try_from(self.shape.people.saturating_sub(1)).unwrap_or(1);
        let expected = (totals.received + totals.lost).max(1);
        let share = |count: u64| (float(count) / float(expected)).min(1.0);
        Ok(Window {
            visits: self.visits.len(),
            seconds,
            forwarded: totals.received,
            forwarded_per_second: float(totals.received) / seconds,
            delivered: float(totals.received) / float((totals.sent * others).max(1)),
            loss: share(totals.lost),
            loss_before_repair: share(totals.lost + totals.recovered + totals.repaired),
            recovered: totals.recovered,
            unsent,
            delay_us: Delays {
                p50: delays.value_at_quantile(0.5),
                p95: delays.value_at_quantile(0.95),
                p99: delays.value_at_quantile(0.99),
                p999: delays.value_at_quantile(0.999),
            },
            generator_cpu: (generator - begin.generator) / seconds,
            server: begin.server.zip(server).map(|(from, to)| Cost::new(from, to, totals.received, seconds)),
        })
    }

    pub(super) async fn window(&self, measure: Duration, label: &str) -> Result<Window, RunError> {
        let begin = self.begin()?;
        let whole = measure.as_secs();
        for second in 0..whole {
            self.tell(&format!("{label}: measuring, {} of {whole} s", second + 1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(measure.saturating_sub(Duration::from_secs(whole))).await;
        self.end(&begin)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run fit a double")]
const fn float(count: u64) -> f64 {
    count as f64
}
