//! `estimator`: ours and others over the same virtual paths, in one table; fails when ours misses a bar.
#![allow(clippy::print_stdout, reason = "a report on the terminal is what it is for")]

mod rtc;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bandwidth::testing::{Bar, Judged, Row, Setup, rows, run};
use bandwidth::{Bitrate, Estimator, EstimatorConfig};
use clap::Parser;
use serde_json::{Value, json};

use self::rtc::Rtc;
use self::trace::Trace;

/// Compares bandwidth estimators over a virtual path.
#[derive(Parser)]
struct Arguments {
    /// Where to write all figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only rows whose name begins so.
    #[arg(long, default_value = "")]
    row: String,
    /// Only our own.
    #[arg(long)]
    ours: bool,
    /// Seeds 1 to n.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Instead of judging, prints each report of this seed's run of each row.
    #[arg(long)]
    trace: Option<u64>,
}

fn ours(seed: u64, setup: &Setup, start: Bitrate, now: Instant) -> Estimator {
    Estimator::new(EstimatorConfig { start, max: setup.max, seed, ..EstimatorConfig::default() }, now)
}

const NAMES: [&str; 2] = ["ours", "rtc-interceptor"];

#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of virtual time")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let epoch = Instant::now();
    let mut missed = 0;
    let mut figures = Vec::new();
    let chosen = rows().into_iter().filter(|row| row.name.starts_with(&arguments.row));
    for row in chosen {
        if let Some(seed) = arguments.trace {
            run(&row.setup, seed, epoch, |i, start, now| {
                Trace::new(ours(seed.wrapping_mul(31).wrapping_add(i as u64), &row.setup, start, now), epoch)
            });
            continue;
        }
        let seeds = 1..=arguments.seeds;
        let mut judged = vec![row.judge(seeds.clone(), epoch, ours)];
        if !arguments.ours {
            judged.push(row.judge(seeds, epoch, |_, setup, start, _| Rtc::new(start, setup.max)));
        }
        missed += judged.first().map_or(0, |ours| ours.seen.iter().filter(|seen| !seen.met).count());
        print(&row, &judged);
        figures.push(to_json(&judged));
    }
    if let Some(path) = arguments.json
        && let Err(error) = std::fs::write(&path, json!({ "rows": figures, "missed": missed }).to_string())
    {
        println!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if missed > 0 {
        println!("{missed} bars missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn print(row: &Row, judged: &[Judged]) {
    for (i, measure) in row.measures.iter().enumerate() {
        let bar = match measure.bar {
            Bar::AtLeast(bar) => format!(">= {bar}"),
            Bar::AtMost(bar) => format!("<= {bar}"),
        };
        let mark =
            if judged.first().and_then(|ours| ours.seen.get(i)).is_some_and(|seen| seen.met) { "  " } else { "! " };
        print!("{mark}{:<34} {:<26} {bar:<9}", if i == 0 { row.name } else { "" }, measure.name);
        for (name, judged) in NAMES.iter().zip(judged) {
            if let Some(seen) = judged.seen.get(i) {
                print!("  {name} {} ({})", Short(seen.median), Short(seen.worst));
            }
        }
        println!();
    }
}

/// Two decimals below ten, none above a hundred.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value.is_infinite() => f.pad("never"),
            value if value < 10.0 => f.pad(&format!("{value:.2}")),
            value if value < 100.0 => f.pad(&format!("{value:.1}")),
            value => f.pad(&format!("{value:.0}")),
        }
    }
}

fn to_json(judged: &[Judged]) -> Value {
    let by_name = |(name, judged): (&&str, &Judged)| {
        let seen: Vec<Value> = judged
            .seen
            .iter()
            .map(|seen| json!({ "measure": seen.name, "median": finite(seen.median), "worst": finite(seen.worst), "met": seen.met }))
            .collect();
        ((*name).to_owned(), Value::from(seen))
    };
    let all: serde_json::Map<String, Value> = NAMES.iter().zip(judged).map(by_name).collect();
    json!({ "row": judged.first().map_or("", |judged| judged.name), "by": all })
}

fn finite(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { Value::Null }
}
