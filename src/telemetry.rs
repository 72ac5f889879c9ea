//! Where log lines go: standard error, for a person or for a collector. Standard output belongs to the subcommands. Traces go to whom the
//! settings name, and to nobody otherwise.

use std::io::IsTerminal as _;

use signaling::telemetry::export::Exporter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How a log line looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// One readable line.
    Human,
    /// One JSON object.
    Json,
}

/// They log what a stranger sends; so they are silent whatever is asked for, and our own counters say how much of it came.
/// So are the AWS clients, which log whole requests: numbers, addresses and links of patients are in them.
const SILENT: [&str; 11] = [
    "rtc_dtls",
    "rtc_srtp",
    "rtc_rtp",
    "rtc_rtcp",
    "rtc_sdp",
    "rtc_stun",
    "rtc_shared",
    "rtc_crypto",
    "aws_smithy",
    "aws_sdk",
    "aws_sigv4",
];

/// Starts logging, and traces if there is somebody to take them. `ANTEROOM_LOG` says what is logged, `info` if unset: for example `debug`
/// or `info,sfu=debug`.
pub(crate) fn start(format: Format, exporter: Option<&Exporter>) {
    let filter = wire::settings::env("ANTEROOM_LOG")
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new("info,sqlx=warn"));
    let filter =
        SILENT.iter().filter_map(|name| format!("{name}=off").parse().ok()).fold(filter, EnvFilter::add_directive);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Human => lines.compact().with_filter(filter).boxed(),
        Format::Json => lines.json().with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(exporter.map(Exporter::layer)).init();
}
