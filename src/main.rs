//! The `anteroom` command: every role of the product is one of its subcommands.

mod audit;
mod chime_bucket;
mod chime_key;
mod dev;
mod doctor;
mod init;
mod key;
mod load;
mod metrics;
mod place;
mod roles;
mod serve;
mod service_token;
mod signing_key;
mod stop;
mod telemetry;
mod token;
mod turn;
mod webhook;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use signaling::telemetry::export::{Exporter, TracingConfig};

/// Self-hosted video visits for health care.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything on this machine, with a database of its own and demo people: for trying and developing.
    Dev(dev::Options),
    /// Start everything in one process with your own database: the settings are in docs/operations.md.
    Serve(serve::Options),
    /// Prepare `serve` once: tables, keys, and a practice, whose id is printed.
    Init(init::Options),
    /// Print an access token of the development issuer.
    Token(token::Options),
    /// Make, list and revoke access keys for applications that speak the Chime API.
    ChimeKey(chime_key::Options),
    /// Rotate the keys that wrap the data keys of recordings and of clinical words, and see which are in use.
    Key(key::Options),
    /// Make, list and revoke tokens for programs, such as a scheduler that plans visits.
    ServiceToken(service_token::Options),
    /// Replace the key that tokens are signed by.
    SigningKey(signing_key::Options),
    /// Add, list and remove the addresses that an organisation's events are told to.
    Webhook(webhook::Options),
    /// Allow, list and revoke the buckets that captures of the Chime API may go to.
    ChimeBucket(chime_bucket::Options),
    /// Print a coturn configuration for this server: a relay that reaches its media ports and nothing else.
    TurnConfig(turn::Options),
    /// Check, export and review what was done: the audit chain and its anchors.
    Audit(audit::Options),
    /// Say what is missing or blocked on this machine, in words, and what to do.
    Doctor(doctor::Options),
    /// Open visits with synthetic media on a running server, and measure.
    Load(load::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Dev(options) => in_runtime(telemetry::Format::Human, dev::run(options)),
        Command::Serve(options) => serve::start(options),
        Command::Init(options) => in_runtime(telemetry::Format::Human, init::run(options)),
        Command::ChimeKey(options) => in_runtime(telemetry::Format::Human, chime_key::run(options)),
        Command::Audit(options) => in_runtime(telemetry::Format::Human, audit::run(options)),
        Command::SigningKey(options) => in_runtime(telemetry::Format::Human, signing_key::run(options)),
        Command::Key(options) => in_runtime(telemetry::Format::Human, key::run(options)),
        Command::ServiceToken(options) => in_runtime(telemetry::Format::Human, service_token::run(options)),
        Command::Webhook(options) => in_runtime(telemetry::Format::Human, webhook::run(options)),
        Command::ChimeBucket(options) => in_runtime(telemetry::Format::Human, chime_bucket::run(options)),
        Command::Token(options) => token::run(&options),
        Command::TurnConfig(options) => turn::run(&options),
        Command::Doctor(options) => in_runtime(telemetry::Format::Human, doctor::run(options)),
        Command::Load(options) => load::start(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes, each once: most of our errors already quote what they come from.
            eprintln!("anteroom: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a subcommand fails with: a sentence for the person at the terminal.
type Error = Box<dyn std::error::Error>;

/// Runs a server on this very thread (see `Postgres::start`) with workers beside it.
fn in_runtime(format: telemetry::Format, server: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    traced(format, &TracingConfig::default(), server)
}

/// The same, with its traces sent where the settings say.
fn traced(
    format: telemetry::Format,
    tracing: &TracingConfig,
    server: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exporter = Exporter::open(tracing, runtime.handle().clone())?;
    telemetry::start(format, exporter.as_ref());
    let result = runtime.block_on(server);
    if let Some(exporter) = exporter {
        exporter.close();
    }
    // Everything that must end in order has ended; a name lookup that hangs must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}
