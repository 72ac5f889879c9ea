//! What a run found: for JSON, and as a table for people.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::leg::Marks;
use super::process::Usage;
use super::{RunConfig, Scenario};

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// How many were timed.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// One in twenty took longer.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

impl Times {
    fn new(times: impl Iterator<Item = Duration>) -> Self {
        let mut millis: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        millis.sort_by(f64::total_cmp);
        let at = |percent: usize| millis.get(millis.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0.0);
        Self { count: millis.len(), p50: at(50), p95: at(95), max: at(100) }
    }
}

/// Delays in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Delays {
    /// The median.
    pub p50: u64,
    /// One in twenty took longer.
    pub p95: u64,
    /// One in a hundred took longer.
    pub p99: u64,
    /// One in a thousand took longer.
    pub p999: u64,
}

/// How long joining took, by its parts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinTimes {
    /// From the offer to its answer.
    pub offer_to_answer_ms: Times,
    /// From the answer to the end of DTLS.
    pub answer_to_connected_ms: Times,
    /// The two together.
    pub join_ms: Times,
    /// From the answer, or being let in where that is later, to the first forwarded packet; the other side's joining is in it.
    pub answer_to_media_ms: Times,
    /// The same without what a leg that was connected already waited until the other side sent its next packet: the generator sends
    /// sound every 20 ms, and when in that rhythm somebody joins is no matter of the server's.
    pub answer_to_media_served_ms: Times,
}

impl JoinTimes {
    pub(super) fn new(marks: &[Marks]) -> Self {
        let between = |from: fn(&Marks) -> Option<Instant>, to: fn(&Marks) -> Option<Instant>| {
            Times::new(marks.iter().filter_map(|marks| Some(to(marks)?.saturating_duration_since(from(marks)?))))
        };
        Self {
            offer_to_answer_ms: between(|m| m.offered, |m| m.answered),
            answer_to_connected_ms: between(|m| m.answered, |m| m.connected),
            join_ms: between(|m| m.offered, |m| m.connected),
            answer_to_media_ms: between(|m| m.answered.max(m.admitted), |m| m.flowing),
            answer_to_media_served_ms: Times::new(marks.iter().filter_map(served)),
        }
    }
}

/// From the answer, or being let in, to the first packet, without the wait for the other side to send one.
fn served(marks: &Marks) -> Option<Duration> {
    let (begin, flowing) = (marks.answered.max(marks.admitted)?, marks.flowing?);
    let ready = marks.connected.max(Some(begin))?;
    let waited = marks.spoken.map_or(Duration::ZERO, |sent| sent.saturating_duration_since(ready));
    Some(flowing.saturating_duration_since(begin).saturating_sub(waited))
}

/// What the server's process used while it was measured.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// CPU time in user mode per forwarded packet, in microseconds, of the whole process.
    pub user_micros_per_packet: f64,
    /// CPU time in the kernel per forwarded packet, in microseconds, of the whole process.
    pub system_micros_per_packet: f64,
    /// As above, of the threads named `shard-…` alone; 0 where there are none.
    pub media_user_micros_per_packet: f64,
    /// As above, of the threads named `shard-…` alone; 0 where there are none.
    pub media_system_micros_per_packet: f64,
    /// Cores that the whole process used: 0.5 is half of one.
    pub cores: f64,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// Threads at the end.
    pub threads: u64,
    /// Open files and sockets at the end.
    pub descriptors: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run fit a double")]
const fn float(count: u64) -> f64 {
    count as f64
}

impl Cost {
    pub(super) fn new(from: Usage, to: Usage, packets: u64, seconds: f64) -> Self {
        let each = |seconds: f64| seconds * 1e6 / float(packets.max(1));
        Self {
            user_micros_per_packet: each(to.user - from.user),
            system_micros_per_packet: each(to.system - from.system),
            media_user_micros_per_packet: each(to.media_user - from.media_user),
            media_system_micros_per_packet: each(to.media_system - from.media_system),
            cores: (to.user + to.system - from.user - from.system) / seconds,
            resident: to.resident,
            threads: to.threads,
            descriptors: to.descriptors,
        }
    }

    /// User and kernel together, of the whole process.
    #[must_use]
    pub const fn micros_per_packet(&self) -> f64 {
        self.user_micros_per_packet + self.system_micros_per_packet
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Visits that were open.
    pub visits: usize,
    /// How long was measured.
    pub seconds: f64,
    /// RTP packets that participants received, repaired ones included.
    pub forwarded: u64,
    /// The same per second.
    pub forwarded_per_second: f64,
    /// Packets received of those sent, times their receivers: below 1 the server held some back, whether or not it calls that loss.
    pub delivered: f64,
    /// Packets that never arrived, of all expected by their numbers.
    pub loss: f64,
    /// Packets that did not arrive at the first try, on either way, of all expected.
    pub loss_before_repair: f64,
    /// Packets that came by RTX.
    pub recovered: u64,
    /// Datagrams that the generator's own sockets did not take.
    pub unsent: u64,
    /// From the generator's sending of a video packet to the kernel's taking it in on the other side.
    pub delay_us: Delays,
    /// Cores that the generator's media thread used.
    pub generator_cpu: f64,
    /// Only when the server's process was given.
    pub server: Option<Cost>,
}

/// What visits take of the server's memory.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Resident before the first visit, in bytes.
    pub before: u64,
    /// Added by a visit whose participants are connected and silent.
    pub per_idle_visit: u64,
    /// Added by a visit at the end of the measurement.
    pub per_active_visit: u64,
}

impl Memory {
    pub(super) fn new(before: Usage, idle: Usage, active: Usage, visits: usize) -> Self {
        let each =
            |usage: Usage| usage.resident.saturating_sub(before.resident) / u64::try_from(visits.max(1)).unwrap_or(1);
        Self { before: before.resident, per_idle_visit: each(idle), per_active_visit: each(active) }
    }
}

/// One step of a ramp.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was measured.
    #[serde(flatten)]
    pub window: Window,
    /// Loss below 0.1 %, p99 below 5 ms, and nothing held back.
    pub good: bool,
    /// The generator's thread used its whole core: it may be the one that cannot follow.
    pub generator_is_full: bool,
}

/// The server during churn.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChurnSample {
    /// Since the beginning.
    pub seconds: f64,
    /// Visits open.
    pub visits: usize,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and sockets.
    pub descriptors: u64,
}

impl ChurnSample {
    pub(super) const fn new(at: Duration, usage: Usage, visits: usize) -> Self {
        Self {
            seconds: at.as_secs_f64(),
            visits,
            resident: usage.resident,
            threads: usage.threads,
            descriptors: usage.descriptors,
        }
    }
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name.
    pub scenario: &'static str,
    /// Visits asked for.
    pub visits: usize,
    /// Visits that did not come about.
    pub failed: usize,
    /// How long joining took.
    pub join: JoinTimes,
    /// The measurement, unless it was a ramp.
    pub window: Option<Window>,
    /// What visits take of memory, where that was measured.
    pub memory: Option<Memory>,
    /// From the moment when all answers were put to use until the last participant was connected.
    pub overlap_ms: Option<f64>,
    /// The steps of a ramp, by visits.
    pub steps: Vec<Step>,
    /// After a ramp: the quarters of the knee, the knee last.
    pub quarters: Vec<Window>,
    /// The most visits that were served well.
    pub knee: Option<usize>,
    /// The ramp ended before the server did.
    pub knee_is_lower_bound: bool,
    /// The server during churn.
    pub churn: Vec<ChurnSample>,
}

impl Report {
    pub(super) const fn new(config: &RunConfig) -> Self {
        Self {
            scenario: config.scenario.name(),
            visits: config.visits,
            failed: 0,
            join: JoinTimes {
                offer_to_answer_ms: NONE,
                answer_to_connected_ms: NONE,
                join_ms: NONE,
                answer_to_media_ms: NONE,
                answer_to_media_served_ms: NONE,
            },
            window: None,
            memory: None,
            overlap_ms: None,
            steps: Vec::new(),
            quarters: Vec::new(),
            knee: None,
            knee_is_lower_bound: false,
            churn: Vec::new(),
        }
    }

    /// How far the CPU at the quarters of the knee is from a straight line through them (which need not meet the origin), at most, as
    /// a share of the line; `None` below three.
    #[must_use]
    pub fn bend(&self) -> Option<f64> {
        let points =
            self.quarters.iter().filter_map(|window| Some((float(window.visits as u64), window.server?.cores)));
        bend(&points.collect::<Vec<_>>())
    }

    /// Growth during churn: memory in bytes, threads and descriptors, from the second quarter of the time to the last.
    #[must_use]
    pub fn growth(&self) -> Option<(f64, f64, f64)> {
        let quarter = self.churn.len() / 4;
        if quarter == 0 {
            return None;
        }
        let (early, late) = (self.churn.get(quarter..quarter * 2)?, self.churn.get(self.churn.len() - quarter..)?);
        let grown = |of: fn(&ChurnSample) -> u64| {
            let mean = |samples: &[ChurnSample]| {
                samples.iter().map(|sample| float(of(sample))).sum::<f64>() / float(samples.len() as u64)
            };
            mean(late) - mean(early)
        };
        Some((grown(|s| s.resident), grown(|s| s.threads), grown(|s| s.descriptors)))
    }
}

const NONE: Times = Times { count: 0, p50: 0.0, p95: 0.0, max: 0.0 };

fn bend(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let count = float(points.len() as u64);
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = above / below;
    let line = |at: f64| y + slope * (at - x);
    points.iter().map(|point| (point.1 - line(point.0)).abs() / line(point.0)).max_by(f64::total_cmp)
}

impl Scenario {
    /// As it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwoParty => "two-party",
            Self::Group => "group",
            Self::Audio => "audio",
            Self::Screen => "screen",
            Self::Recording => "recording",
            Self::Churn => "churn",
            Self::Joins => "joins",
            Self::Overlap => "overlap",
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "{name:<36} {value}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "scenario", self.scenario)?;
        line(f, "visits (failed)", &format!("{} ({})", self.visits, self.failed))?;
        let times =
            |times: Times| format!("{:.1} / {:.1} / {:.1} ms of {}", times.p50, times.p95, times.max, times.count);
        line(f, "join p50 / p95 / max", &times(self.join.join_ms))?;
        line(f, "  offer to answer", &times(self.join.offer_to_answer_ms))?;
        line(f, "  answer to connected", &times(self.join.answer_to_connected_ms))?;
        if self.join.answer_to_media_ms.count > 0 {
            line(f, "  answer to first packet", &times(self.join.answer_to_media_ms))?;
            line(f, "  the same, other's pauses left out", &times(self.join.answer_to_media_served_ms))?;
        }
        if let Some(overlap) = self.overlap_ms {
            line(f, "all connected after", &format!("{overlap:.1} ms"))?;
        }
        if let Some(window) = &self.window {
            window.fmt(f)?;
        }
        if let Some(memory) = self.memory {
            let value = format!("{} / {} kB", memory.per_idle_visit / 1024, memory.per_active_visit / 1024);
            line(f, "memory per idle / active visit", &value)?;
        }
        self.fmt_steps(f)?;
        if let Some((memory, threads, descriptors)) = self.growth() {
            let value = format!("{:.0} kB, {threads:.1} threads, {descriptors:.1} descriptors", memory / 1024.0);
            line(f, "growth during churn", &value)?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:>7} {:>10} {:>7} {:>9} {:>11} {:>9} {:>7} {:>9} {:>9} {:>6}",
            "visits", "packets/s", "CPU %", "µs/packet", "CPU %/visit", "loss %", "got %", "p50 µs", "p99 µs", "gen %"
        )?;
        for step in &self.steps {
            let window = &step.window;
            let (cores, each) = window.server.map_or((0.0, 0.0), |cost| (cost.cores, cost.micros_per_packet()));
            writeln!(
                f,
                "{:>7} {:>10.0} {:>7.1} {:>9.2} {:>11.3} {:>9.3} {:>7.1} {:>9} {:>9} {:>6.0}{}",
                window.visits,
                window.forwarded_per_second,
                cores * 100.0,
                each,
                cores * 100.0 / float(window.visits.max(1) as u64),
                window.loss_before_repair * 100.0,
                window.delivered * 100.0,
                window.delay_us.p50,
                window.delay_us.p99,
                window.generator_cpu * 100.0,
                if step.good { "" } else { "  too much" },
            )?;
        }
        if let Some(knee) = self.knee {
            let bound = if self.knee_is_lower_bound { " at least: the generator or the limit ended it" } else { "" };
            line(f, "knee", &format!("{knee} visits{bound}"))?;
        }
        for window in &self.quarters {
            let Some(server) = window.server else { continue };
            let each = server.cores * 100.0 / float(window.visits.max(1) as u64);
            let value = format!("{:.1} % of a core, {each:.3} % a visit", server.cores * 100.0);
            line(f, &format!("  CPU at {} visits", window.visits), &value)?;
        }
        if let Some(bend) = self.bend() {
            line(f, "CPU off a straight line by", &format!("{:.1} % at most", bend * 100.0))?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "packets forwarded per second", &format!("{:.0}", self.forwarded_per_second))?;
        let loss = format!(
            "{:.3} % (before repair {:.3} %; {} repaired, {} unsent)",
            self.loss * 100.0,
            self.loss_before_repair * 100.0,
            self.recovered,
            self.unsent
        );
        line(f, "loss", &loss)?;
        line(f, "received of what was sent", &format!("{:.2} %", self.delivered * 100.0))?;
        let delay = self.delay_us;
        let delays = format!("{} / {} / {} / {} µs", delay.p50, delay.p95, delay.p99, delay.p999);
        line(f, "added delay p50 / p95 / p99 / p99.9", &delays)?;
        line(f, "generator's media thread", &format!("{:.0} % of a core", self.generator_cpu * 100.0))?;
        let Some(server) = self.server else { return Ok(()) };
        let (user, system) = (server.user_micros_per_packet, server.system_micros_per_packet);
        let cpu = format!("{:.2} µs ({user:.2} user, {system:.2} system)", user + system);
        line(f, "server CPU per packet, whole process", &cpu)?;
        let (user, system) = (server.media_user_micros_per_packet, server.media_system_micros_per_packet);
        if user + system > 0.0 {
            let cpu = format!("{:.2} µs ({user:.2} user, {system:.2} system)", user + system);
            line(f, "  media thread alone", &cpu)?;
        }
        line(f, "server CPU", &format!("{:.1} % of a core", server.cores * 100.0))?;
        let (resident, threads) = (server.resident / 1024, server.threads);
        line(f, "server memory, threads, descriptors", &format!("{resident} kB, {threads}, {}", server.descriptors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "an origin for instants that are made up")]
    fn the_others_pause_is_left_out_and_nothing_else() {
        let origin = Instant::now();
        let at = |millis| Some(origin + Duration::from_millis(millis));
        let marks = Marks {
            offered: at(0),
            answered: at(2),
            connected: at(5),
            admitted: at(3),
            flowing: at(20),
            spoken: at(18),
        };
        // From 3 to 20, but for 5 to 18.
        assert_eq!(served(&marks), Some(Duration::from_millis(4)));
        // It spoke before the leg was connected, or nobody knows when: all of it counts.
        assert_eq!(served(&Marks { spoken: at(4), ..marks }), Some(Duration::from_millis(17)));
        assert_eq!(served(&Marks { spoken: None, ..marks }), Some(Duration::from_millis(17)));
        assert_eq!(served(&Marks { flowing: None, ..marks }), None);
    }

    #[test]
    fn times_and_bends() {
        let times = Times::new((1..=100).map(Duration::from_millis));
        assert_eq!((times.count, times.p50, times.p95, times.max), (100, 50.0, 95.0, 100.0));
        assert_eq!(Times::new(std::iter::empty()).p95, 0.0);
        assert!(bend(&[(10.0, 1.0), (20.0, 2.0), (30.0, 3.0)]).unwrap() < 1e-9);
        assert!(bend(&[(10.0, 1.0), (20.0, 2.0), (30.0, 9.0)]).unwrap() > 0.1);
        assert!(bend(&[(10.0, 1.0), (20.0, 2.0)]).is_none());
    }
}
