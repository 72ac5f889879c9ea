//! Where log lines go: standard error, for a person or for a collector. Standard output belongs to the subcommands.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// One readable line.
    Human,
    /// One JSON object.
    Json,
}

/// Starts logging. `ANTEROOM_LOG` says what is logged, `info` if unset: for example `debug` or `info,sfu=debug`.
pub(crate) fn start(format: Format) {
    let filter = wire::settings::env("ANTEROOM_LOG")
        .and_then(|text| EnvFilter::try_new(text).ok())
        // The database library tells of slow statements with their text.
        .unwrap_or_else(|| EnvFilter::new("info,sqlx=warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Human => lines.compact().init(),
        Format::Json => lines.json().init(),
    }
}
