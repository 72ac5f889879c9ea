//! One run: opens visits, lets media flow, measures, and leaves.

mod api;
mod attend;
mod media;
mod process;
mod report;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use wire::Redacted;

use api::Api;
use attend::{Attendance, Seat};
pub use report::{Delays, Report, ServerCost, Times};

/// How many visits are opened at the same time.
const CONCURRENCY: usize = 8;
/// How long everybody may take until media flows.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between the last arrival and the measurement: encoders and caches come to rest.
const SETTLE: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// `http://host:port` of the server.
    pub url: String,
    /// An access token that may plan visits.
    pub token: Redacted<String>,
    /// Two-party visits at the same time.
    pub visits: usize,
    /// How long to measure.
    pub measure: Duration,
    /// The server's process, when it runs on this machine: its CPU time and memory are measured.
    pub server_pid: Option<u32>,
}

/// Why a run, or one participant of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The URL is not `http://host:port`.
    #[error("the URL must be http://host:port")]
    Url,
    /// The server cannot be reached or broke off.
    #[error("connection: {0}")]
    Connection(String),
    /// The server refused.
    #[error("{what} was refused: {status} {code}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// HTTP status, or 0 on the WebSocket.
        status: u16,
        /// The problem's code.
        code: String,
    },
    /// The server said something unexpected.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
    /// The client could not be made or did not like the answer.
    #[error(transparent)]
    Client(#[from] crate::client::ClientError),
    /// A local socket failed.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// `/proc` of the server cannot be read.
    #[error("the server's process cannot be measured: {0}")]
    Process(String),
}

/// What everybody does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Joining,
    Measuring,
    Leaving,
}

/// What a participant tells the run.
#[derive(Clone, Copy, Debug)]
enum Milestone {
    /// From the redemption of the link to the end of DTLS.
    Joined(Duration),
    /// From admission, or for the clinician from the patient's, to the first packet.
    Flowing(Duration),
    Failed,
}

/// What all participants share.
struct Shared {
    api: Api,
    /// Stamps in video packets count from here.
    origin: Instant,
    /// Microseconds from one generator socket to the other.
    delays: Mutex<Histogram<u64>>,
    /// Bounded by two participants and three milestones of each visit, so it never fills.
    milestones: mpsc::Sender<Milestone>,
    phase: watch::Receiver<Phase>,
}

#[expect(clippy::disallowed_methods, reason = "the generator runs in real time; the client below takes `now`")]
fn now() -> Instant {
    Instant::now()
}

/// Runs the load to its end. Visits that fail are counted, and only their absence from the averages shows otherwise.
///
/// # Errors
/// When the server cannot be reached or measured at all, or no visit came about.
pub async fn run(config: &RunConfig) -> Result<Report, RunError> {
    process::raise_file_limit();
    let api = Api::new(&config.url, config.token.clone())?;
    api.check().await?;
    let before = config.server_pid.map(process::read).transpose()?;
    let (milestones, mut arrived) = mpsc::channel(config.visits * 6 + 1);
    let (phase, watching) = watch::channel(Phase::Joining);
    let histogram = Histogram::new(3).map_err(|_| RunError::Protocol("no histogram"))?;
    let shared = Arc::new(Shared { api, origin: now(), delays: Mutex::new(histogram), milestones, phase: watching });

    let begin = now();
    let gate = Arc::new(Semaphore::new(CONCURRENCY));
    let mut tasks = JoinSet::new();
    for number in 0..config.visits {
        tasks.spawn(visit(number, Arc::clone(&shared), Arc::clone(&gate)));
    }
    let mut joined = Vec::new();
    let mut flowing = Vec::new();
    let mut failed = 0;
    let mut joining = Duration::ZERO;
    let everybody = config.visits * 2;
    while flowing.len() + failed < everybody {
        let left = PATIENCE.saturating_sub(begin.elapsed());
        match tokio::time::timeout(left, arrived.recv()).await {
            Ok(Some(Milestone::Joined(time))) => {
                joined.push(time);
                joining = begin.elapsed();
            }
            Ok(Some(Milestone::Flowing(time))) => flowing.push(time),
            Ok(Some(Milestone::Failed)) => failed += 1,
            Ok(None) | Err(_) => break,
        }
    }
    if flowing.is_empty() {
        return Err(first_failure(tasks).await);
    }
    tokio::time::sleep(SETTLE).await;
    let cpu_before = config.server_pid.map(process::read).transpose()?;
    let measured_from = now();
    // Receivers live as long as the run.
    let _ = phase.send(Phase::Measuring);
    tokio::time::sleep(config.measure).await;
    let cpu_after = config.server_pid.map(process::read).transpose()?;
    let seconds = measured_from.elapsed().as_secs_f64();
    let _ = phase.send(Phase::Leaving);

    let mut total = Attendance::default();
    while let Some(done) = tasks.join_next().await {
        if let Ok(Ok(attendances)) = done {
            for attendance in attendances {
                total.add(&attendance);
            }
        }
    }
    let delays = shared.delays.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let cost = match (before, cpu_before, cpu_after) {
        (Some(idle), Some(from), Some(to)) => Some(ServerCost::new(idle, from, to, total.received, flowing.len() / 2)),
        _ => None,
    };
    Ok(Report::new(config, everybody, &joined, joining, &flowing, seconds, &total, &delays, cost))
}

/// Plans one visit, lets both sides in and waits until both have left.
async fn visit(number: usize, shared: Arc<Shared>, gate: Arc<Semaphore>) -> Result<Vec<Attendance>, RunError> {
    let result = open(number, &shared, &gate).await;
    if result.is_err() {
        for _ in 0..2 {
            // The channel holds all milestones there can be.
            let _ = shared.milestones.try_send(Milestone::Failed);
        }
    }
    let seats = result?;
    let mut sides = JoinSet::new();
    for (side, seat) in seats.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        sides.spawn(async move {
            let seed = u64::try_from(number * 2 + side + 1).unwrap_or(1);
            let result = attend::attend(seat, seed, &shared).await;
            if result.is_err() {
                let _ = shared.milestones.try_send(Milestone::Failed);
            }
            result
        });
    }
    let mut attendances = Vec::new();
    let mut failure = None;
    while let Some(done) = sides.join_next().await {
        match done {
            Ok(Ok(attendance)) => attendances.push(attendance),
            Ok(Err(error)) => failure = Some(error),
            Err(_) => failure = Some(RunError::Protocol("a participant panicked")),
        }
    }
    match failure {
        Some(error) if attendances.is_empty() => Err(error),
        _ => Ok(attendances),
    }
}

async fn open(number: usize, shared: &Shared, gate: &Semaphore) -> Result<[Seat; 2], RunError> {
    let _turn = gate.acquire().await.map_err(|_| RunError::Protocol("closed"))?;
    let (visit, links) = shared.api.plan(number).await?;
    let mut seats = Vec::new();
    for token in links {
        let begin = now();
        let redeemed = shared.api.redeem(&token).await?;
        seats.push(Seat { visit: visit.clone(), cookie: redeemed, begin });
    }
    seats.try_into().map_err(|_| RunError::Protocol("two links"))
}

/// Nobody came through: the first reason there is.
async fn first_failure(mut tasks: JoinSet<Result<Vec<Attendance>, RunError>>) -> RunError {
    let waited = tokio::time::timeout(Duration::from_secs(1), async {
        while let Some(done) = tasks.join_next().await {
            if let Ok(Err(error)) = done {
                return Some(error);
            }
        }
        None
    });
    waited.await.ok().flatten().unwrap_or(RunError::Protocol("no media arrived in time"))
}
