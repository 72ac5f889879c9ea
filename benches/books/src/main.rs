//! `bench-books`: how many visits a second are planned, links redeemed and audit events appended, each against `pgbench` doing the same
//! number and kinds of statements on the same cluster in the same run. The cluster waits for the disk, as a clinic's does.
#![allow(clippy::print_stdout, reason = "a report on the terminal is what it is for")]

mod acts;
mod house;
mod plain;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use test_postgres::TestDatabase;

use crate::acts::Act;
use crate::house::House;

/// What a run fails with: a sentence for the person at the terminal.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Measures the database side of the server.
#[derive(Parser)]
struct Arguments {
    /// Where to write all figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Requests under way at a time, and connections to the database.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Writers of the audit part.
    #[arg(long, default_value_t = 64)]
    writers: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(measure(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-books: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Error> {
    let span = Duration::from_secs(arguments.seconds);
    println!(
        "{:32} {:>10} {:>9} {:>9} {:>12} {:>10} {:>7}",
        "", "a second", "p50 ms", "p99 ms", "statements", "pgbench", "ratio"
    );
    let mut rows = Vec::new();
    for act in Act::ALL {
        // Each in a database of its own, so that none pays for the rows of another.
        let database = TestDatabase::fresh_durable().await;
        let clients = if act.is_append() { arguments.writers } else { arguments.clients };
        let house = Arc::new(House::open(&database, act.practices(), clients).await?);
        let statements = plain::statements_of(&database, *act).await?;
        acts::prepare(&house, *act, span, clients).await?;
        let ours = run::run(&house, *act, span, clients).await?;
        house.close().await;
        let theirs = plain::run(&database, &statements, act.practices(), span, clients).await?;
        let ratio = ours.rate / theirs;
        println!(
            "{:32} {:>10.0} {:>9.1} {:>9.1} {:>12} {:>10.0} {:>7.2}",
            act.name(),
            ours.rate,
            ours.p50,
            ours.p99,
            statements.len(),
            theirs,
            ratio
        );
        rows.push(json!({
            "act": act.name(), "clients": clients, "practices": act.practices(), "rate": ours.rate, "p50Ms": ours.p50,
            "p99Ms": ours.p99, "done": ours.done, "statements": statements.len(), "pgbenchRate": theirs, "ratio": ratio,
        }));
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, json!({"books": rows}).to_string())?;
    }
    Ok(())
}
