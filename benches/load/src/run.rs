//! One run: opens visits, lets media flow, measures, and leaves.

mod chart;
mod fleet;
mod front;
mod leg;
mod media;
mod process;
mod report;
mod scenario;
mod site;

use std::time::{Duration, Instant};

use wire::Redacted;

pub use report::{ChurnSample, Cost, Delays, JoinTimes, Memory, Report, Step, Times, Window};

/// Which visits a run opens; on the command line under these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Two people with camera and microphone.
    TwoParty,
    /// Six people; only against a media node alone (line://), because a visit has two seats.
    Group,
    /// Two people with microphones alone.
    Audio,
    /// Two people, one of whom shares a screen as well.
    Screen,
    /// Two people, recorded.
    Recording,
    /// Two people; every second one visit begins and the oldest ends.
    Churn,
    /// Participants join at a steady rate.
    Joins,
    /// Participants whose offers were answered connect all at the same moment.
    Overlap,
}

/// Adding visits until the server cannot take more.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    /// Visits in the first step.
    pub from: usize,
    /// Visits added in each.
    pub step: usize,
    /// Never more than these.
    pub most: usize,
    /// Afterwards measures at each quarter of the knee, to see whether the CPU grows in a straight line.
    pub quarters: bool,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// `http://host:port` of the server; `line://` of a forwarder of the benches, `janus://` of Janus's WebSocket.
    pub url: String,
    /// An access token that may plan visits.
    pub token: Redacted<String>,
    /// Which visits.
    pub scenario: Scenario,
    /// Visits at the same time; for [`Scenario::Joins`] and [`Scenario::Overlap`] half the participants.
    pub visits: usize,
    /// How long to measure; in a ramp, each step.
    pub measure: Duration,
    /// Adds visits until the knee instead of opening a fixed number.
    pub ramp: Option<Ramp>,
    /// Participants that join in a second, for [`Scenario::Joins`].
    pub rate: usize,
    /// The server's process, when it runs on this machine: its CPU time and memory are measured.
    pub server_pid: Option<u32>,
    /// Shows on standard error how far the run is.
    pub progress: bool,
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
    /// The server cannot play this scenario.
    #[error("{0}")]
    Scenario(&'static str),
    /// The client could not be made or did not like the answer.
    #[error(transparent)]
    Client(#[from] crate::client::ClientError),
    /// A local socket failed.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// `/proc` of the server cannot be read, or a core cannot be had.
    #[error("cannot be measured: {0}")]
    Process(String),
}

#[expect(clippy::disallowed_methods, reason = "the generator runs in real time; the client takes `now`")]
fn now() -> Instant {
    Instant::now()
}

/// Runs the load to its end. Visits that fail are counted, and only their absence from the averages shows otherwise.
///
/// # Errors
/// When the server cannot be reached or measured at all, or no visit came about.
pub async fn run(config: &RunConfig) -> Result<Report, RunError> {
    process::raise_file_limit();
    scenario::play(config).await
}

/// Keeps this process on one core, threads that it starts later included.
///
/// # Errors
/// When there is no such core.
pub fn pin(core: usize) -> Result<(), RunError> {
    process::pin(core)
}
