//! `anteroom load`: visits with synthetic media against a running server, and what they cost.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use load::run::{RunConfig, run};
use wire::Redacted;

use crate::Error;

/// Open visits with synthetic media on a running server, and measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the server listens.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An access token of a scheduler or administrator.
    #[arg(long, env = "ANTEROOM_LOAD_TOKEN", hide_env_values = true)]
    token: String,
    /// Two-party visits at the same time.
    #[arg(long, default_value_t = 20)]
    visits: usize,
    /// How long to measure, once everybody is there.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The server's process id, to measure its CPU time and memory on the same machine.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Also write the result here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the load on one thread, so that it takes one core at most.
///
/// # Errors
/// When the server cannot be reached, or the result cannot be written.
pub(crate) fn start(options: Options) -> Result<(), Error> {
    let config = RunConfig {
        url: options.url,
        token: Redacted::new(options.token),
        visits: options.visits,
        measure: Duration::from_secs(options.seconds),
        server_pid: options.server_pid,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(&config))?;
    write!(std::io::stdout(), "{report}")?;
    if let Some(path) = options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}
