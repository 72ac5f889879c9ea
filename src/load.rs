//! `anteroom load`: visits with synthetic media against a running server, and what they cost.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use load::run::{Ramp, RunConfig, Scenario, run};
use wire::Redacted;

use crate::Error;

/// Open visits with synthetic media on a running server, and measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to play.
    #[arg(value_enum, default_value_t = Scenario::TwoParty)]
    scenario: Scenario,
    /// Where the server listens. `line://` and `janus://` addresses are for comparisons, see docs/operations.md.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An access token of a clinician, scheduler or administrator.
    #[arg(long, env = "ANTEROOM_LOAD_TOKEN", hide_env_values = true, default_value = "")]
    token: String,
    /// Visits at the same time. For `joins` and `overlap` half the participants.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    visits: u32,
    /// How long to measure, once everybody is there; with --ramp, in each step.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Add so many visits at a time, beginning with as many, until packets are lost (0.1 %) or come late (p99 of 5 ms).
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ramp: Option<u32>,
    /// A ramp goes no further.
    #[arg(long, default_value_t = 1_000, value_name = "VISITS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    most: u32,
    /// After a ramp, also measure at 25, 50, 75 and 100 % of the knee: does the CPU grow in a straight line?
    #[arg(long, requires = "ramp")]
    quarters: bool,
    /// Participants that join in a second, for `joins`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// The server's process id, to measure its CPU time and memory on the same machine.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Keep the generator on this core.
    #[arg(long, value_name = "CORE")]
    pin: Option<usize>,
    /// Also write the result here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw the result here, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Runs the load: signaling on this thread, media on one of its own; both keep to one core when told to.
///
/// # Errors
/// When the server cannot be reached, or the result cannot be written.
pub(crate) fn start(options: Options) -> Result<(), Error> {
    if options.url.starts_with("http") && options.token.is_empty() {
        return Err(
            "an access token is missing: give --token or ANTEROOM_LOAD_TOKEN (`anteroom token` makes one)".into()
        );
    }
    if let Some(core) = options.pin {
        load::run::pin(core)?;
    }
    let step = options.ramp.map(as_usize);
    let config = RunConfig {
        url: options.url,
        token: Redacted::new(options.token),
        scenario: options.scenario,
        visits: as_usize(options.visits),
        measure: Duration::from_secs(options.seconds),
        ramp: step.map(|step| Ramp { from: step, step, most: as_usize(options.most), quarters: options.quarters }),
        rate: as_usize(options.rate),
        server_pid: options.server_pid,
        progress: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(&config))?;
    write!(std::io::stdout(), "{report}")?;
    if let Some(path) = options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(path) = options.svg {
        std::fs::write(path, report.svg())?;
    }
    Ok(())
}

fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
