//! What a run found, as JSON and as a table for people.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::RunConfig;
use super::attend::Attendance;
use super::process::Usage;

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// The median.
    pub p50: f64,
    /// One in twenty took longer.
    pub p95: f64,
}

/// Delays in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Delays {
    /// The median.
    pub p50: u64,
    /// One in a hundred took longer.
    pub p99: u64,
}

/// What the server's process used.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerCost {
    /// CPU time in user mode per forwarded packet, in microseconds. Includes signaling when it runs in the same process.
    pub user_micros_per_packet: f64,
    /// CPU time in the kernel per forwarded packet, in microseconds.
    pub system_micros_per_packet: f64,
    /// Resident memory before the first visit, in bytes.
    pub resident_before: u64,
    /// Resident memory at the end of the measurement, in bytes.
    pub resident_after: u64,
    /// The difference, per visit, in bytes.
    pub memory_per_visit: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run fit a double")]
const fn float(count: u64) -> f64 {
    count as f64
}

impl ServerCost {
    pub(super) fn new(idle: Usage, from: Usage, to: Usage, packets: u64, visits: usize) -> Self {
        let each = |seconds: f64| seconds * 1e6 / float(packets.max(1));
        let grown = to.resident.saturating_sub(idle.resident);
        Self {
            user_micros_per_packet: each(to.user - from.user),
            system_micros_per_packet: each(to.system - from.system),
            resident_before: idle.resident,
            resident_after: to.resident,
            memory_per_visit: grown / u64::try_from(visits.max(1)).unwrap_or(1),
        }
    }
}

/// The whole result.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Visits asked for.
    pub visits: usize,
    /// Participants whose media never flowed.
    pub failed: usize,
    /// Participants that joined, per second of the joining phase.
    pub joins_per_second: f64,
    /// From the redemption of a link to the end of DTLS, in milliseconds.
    pub join_ms: Times,
    /// From admission to the first packet, in milliseconds.
    pub admit_to_media_ms: Times,
    /// How long was measured.
    pub seconds: f64,
    /// RTP packets that participants received, repaired ones included.
    pub forwarded: u64,
    /// The same per second.
    pub forwarded_per_second: f64,
    /// Packets that never arrived, of all expected.
    pub loss: f64,
    /// Packets that came by RTX.
    pub recovered: u64,
    /// Datagrams that the generator's own sockets did not take.
    pub unsent: u64,
    /// From the generator's sending of a video packet to its receiving it, in microseconds.
    pub delay_us: Delays,
    /// Only when the server's process was given.
    pub server: Option<ServerCost>,
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "called once, with everything a run knows")]
    pub(super) fn new(
        config: &RunConfig,
        everybody: usize,
        joined: &[Duration],
        joining: Duration,
        flowing: &[Duration],
        seconds: f64,
        total: &Attendance,
        delays: &Histogram<u64>,
        server: Option<ServerCost>,
    ) -> Self {
        let joins = float(u64::try_from(joined.len()).unwrap_or(0));
        Self {
            visits: config.visits,
            failed: everybody.saturating_sub(flowing.len()),
            joins_per_second: joins / joining.as_secs_f64().max(0.001),
            join_ms: percentiles(joined),
            admit_to_media_ms: percentiles(flowing),
            seconds,
            forwarded: total.received,
            forwarded_per_second: float(total.received) / seconds,
            loss: float(total.lost) / float((total.received + total.lost).max(1)),
            recovered: total.recovered,
            unsent: total.unsent,
            delay_us: Delays { p50: delays.value_at_quantile(0.5), p99: delays.value_at_quantile(0.99) },
            server,
        }
    }
}

fn percentiles(times: &[Duration]) -> Times {
    let mut millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let at = |percent: usize| millis.get(millis.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0.0);
    Times { p50: at(50), p95: at(95) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<34} {value}");
        line("visits (failed participants)", format!("{} ({})", self.visits, self.failed))?;
        line("joins per second", format!("{:.1}", self.joins_per_second))?;
        line("join p50 / p95", format!("{:.1} / {:.1} ms", self.join_ms.p50, self.join_ms.p95))?;
        let admit = self.admit_to_media_ms;
        line("admission to media p50 / p95", format!("{:.1} / {:.1} ms", admit.p50, admit.p95))?;
        line("packets forwarded per second", format!("{:.0}", self.forwarded_per_second))?;
        line("loss (repaired, unsent)", format!("{:.3} % ({}, {})", self.loss * 100.0, self.recovered, self.unsent))?;
        line("added delay p50 / p99", format!("{} / {} µs", self.delay_us.p50, self.delay_us.p99))?;
        if let Some(server) = self.server {
            let (user, system) = (server.user_micros_per_packet, server.system_micros_per_packet);
            let mut cpu = String::new();
            write!(cpu, "{:.2} µs ({user:.2} user, {system:.2} system)", user + system)?;
            line("server CPU per forwarded packet", cpu)?;
            line("server memory per visit", format!("{} kB", server.memory_per_visit / 1024))?;
        }
        Ok(())
    }
}
