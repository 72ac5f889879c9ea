//! The scenarios by which a controller is judged, and what each must reach.

use std::time::{Duration, Instant};

use super::Controller;
use super::flow::{Phase, Source};
use super::link::{LinkSetup, Loss, Policer, Queue};
use super::measure::{Log, at_share};
use super::run::{Feedback, FlowSetup, Setup, run};
use crate::Bitrate;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Not lower.
    AtLeast(f64),
    /// Not higher.
    AtMost(f64),
}

impl Bar {
    /// Whether `value` passes when the bar is a share `slack` lower.
    #[must_use]
    pub fn is_met(self, value: f64, slack: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar * (1.0 - slack),
            Self::AtMost(bar) => value <= bar * (1.0 + slack),
        }
    }
}

/// One value of a run and its bar.
#[derive(Clone, Copy)]
pub struct Measure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// What it must be in the median.
    pub bar: Bar,
    /// Whether the worst seed must come within a tenth of the bar.
    pub judges_worst: bool,
    /// From the log.
    pub of: fn(&Log) -> f64,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measure").field("name", &self.name).field("bar", &self.bar).finish_non_exhaustive()
    }
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct Row {
    /// Short and stable.
    pub name: &'static str,
    /// The path and the flows.
    pub setup: Setup,
    /// What is judged.
    pub measures: Vec<Measure>,
}

/// What the seeds of one measure gave.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of the measure.
    pub name: &'static str,
    /// Of the measure.
    pub bar: Bar,
    /// The middle of all seeds.
    pub median: f64,
    /// The worst of all seeds.
    pub worst: f64,
    /// Whether the bar is met as the law has it.
    pub met: bool,
}

/// A row's values over all seeds.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Of the row.
    pub name: &'static str,
    /// By measure.
    pub seen: Vec<Seen>,
}

impl Row {
    /// Runs all seeds and judges: the median meets the bar, the worst comes within a tenth of it.
    pub fn judge<C: Controller>(
        &self,
        seeds: std::ops::RangeInclusive<u64>,
        epoch: Instant,
        mut make: impl FnMut(u64, &Setup, Bitrate, Instant) -> C,
    ) -> Judged {
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); self.measures.len()];
        for seed in seeds {
            let log = run(&self.setup, seed, epoch, |i, start, now| {
                make(seed.wrapping_mul(31).wrapping_add(i as u64), &self.setup, start, now)
            });
            for (values, measure) in values.iter_mut().zip(&self.measures) {
                values.push((measure.of)(&log));
            }
        }
        let seen = values.iter_mut().zip(&self.measures).map(|(values, measure)| judge(values, *measure)).collect();
        Judged { name: self.name, seen }
    }
}

fn judge(values: &mut [f64], measure: Measure) -> Seen {
    values.sort_unstable_by(f64::total_cmp);
    let median = at_share(values, 0.5);
    let worst = match measure.bar {
        Bar::AtLeast(_) => at_share(values, 0.0),
        Bar::AtMost(_) => at_share(values, 1.0),
    };
    let met = measure.bar.is_met(median, 0.0) && (!measure.judges_worst || measure.bar.is_met(worst, 0.1));
    Seen { name: measure.name, bar: measure.bar, median, worst, met }
}

fn at_least(name: &'static str, bar: f64, of: fn(&Log) -> f64) -> Measure {
    Measure { name, bar: Bar::AtLeast(bar), judges_worst: true, of }
}

fn at_most(name: &'static str, bar: f64, of: fn(&Log) -> f64) -> Measure {
    Measure { name, bar: Bar::AtMost(bar), judges_worst: true, of }
}

fn kbps(rate: u64) -> Bitrate {
    Bitrate::kbps(rate)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn row(name: &'static str, setup: Setup, measures: Vec<Measure>) -> Row {
    Row { name, setup, measures }
}

fn end(log: &Log) -> f64 {
    log.duration.as_secs_f64()
}

fn tail(log: &Log) -> f64 {
    100.0 * log.tail()
}

fn queue_p95(log: &Log) -> f64 {
    log.flows.first().map_or(0.0, |flow| flow.queue(0.95, 5.0, end(log)))
}

fn target(log: &Log, at: f64) -> f64 {
    log.flows.first().map_or(0.0, |flow| flow.target(at))
}

fn rate(log: &Log, flow: usize, from: f64, to: f64) -> f64 {
    log.flows.get(flow).map_or(0.0, |flow| flow.rate(from, to))
}

/// Falls of more than 100 kbit/s within half a second without a queue, in the last half: loss moved the rate.
fn dips(log: &Log) -> f64 {
    let mut at = end(log) / 2.0;
    let mut dips = 0.0;
    while at + 0.5 <= end(log) {
        let queued = log.flows.first().is_some_and(|flow| flow.queue(1.0, at - 0.5, at + 0.5) > 5.0);
        if !queued && target(log, at) - target(log, at + 0.5) > 100e3 {
            dips += 1.0;
        }
        at += 0.5;
    }
    dips
}

fn lossy(capacity: u64, loss: Loss) -> LinkSetup {
    LinkSetup { loss: vec![(Duration::ZERO, loss)], ..LinkSetup::plain(kbps(capacity)) }
}

fn steps(steps: &[(u64, u64)]) -> LinkSetup {
    let capacity = steps.iter().map(|&(at, rate)| (seconds(at), kbps(rate))).collect();
    LinkSetup { capacity, ..LinkSetup::plain(kbps(1)) }
}

fn with_round_trip(mut setup: Setup, milliseconds: u64) -> Setup {
    setup.link.propagation = Duration::from_millis(milliseconds / 2);
    setup.feedback.delay = Duration::from_millis(milliseconds / 2);
    setup
}

fn reported_every(mut setup: Setup, milliseconds: u64) -> Setup {
    setup.feedback.interval = Some(Duration::from_millis(milliseconds));
    setup
}

/// All scenarios.
#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows = steady();
    rows.extend(changing());
    rows.extend(shared());
    rows.extend(limited());
    rows.extend(reports());
    rows.extend(published());
    rows
}

fn steady() -> Vec<Row> {
    let clean = || Setup::new(LinkSetup::plain(kbps(3000)), 60);
    let clean_measures = || {
        vec![
            at_most("90 % used within, s", 5.0, |log| log.used_within(0.9, 0.0)),
            at_least("tail, %", 93.0, tail),
            at_most("queue p95, ms", 60.0, queue_p95),
        ]
    };
    let over = |capacity, loss| Setup::new(lossy(capacity, loss), 60);
    let bursts = |bar| vec![Measure { judges_worst: false, ..at_least("tail, %", bar, tail) }];
    let shallow =
        Setup::new(LinkSetup { queue: Queue::Time(Duration::from_millis(10)), ..LinkSetup::plain(kbps(3000)) }, 60);
    let policer = Policer { rate: kbps(1000), burst: 8000 };
    let policed = Setup::new(LinkSetup { policer: Some(policer), ..LinkSetup::plain(kbps(10_000)) }, 60);
    let congestion = |log: &Log| 100.0 * log.flows.first().map_or(0.0, |flow| flow.congestion_loss(0.0, end(log)));
    let jitter =
        |milliseconds| LinkSetup { jitter: Duration::from_millis(milliseconds), ..LinkSetup::plain(kbps(3000)) };
    let mut calm_dips = over(2000, Loss::Random(0.10));
    calm_dips.link.propagation = Duration::from_millis(10);
    let mut wild_dips = over(2000, Loss::Random(0.20));
    wild_dips.link.propagation = Duration::from_millis(10);
    let dipping = |bar| vec![at_least("tail, %", bar, tail), at_most("dips", 1.0, dips)];
    vec![
        row("1 clean", clean(), clean_measures()),
        row("1 clean, RTT 10", with_round_trip(clean(), 10), clean_measures()),
        row("1 clean, RTT 200", with_round_trip(clean(), 200), clean_measures()),
        row("1 clean, reports 100 ms", reported_every(clean(), 100), clean_measures()),
        row("1 clean, reports 250 ms", reported_every(clean(), 250), clean_measures()),
        row("2 loss 5 %, 1 in 20", over(3000, Loss::OneIn(20)), vec![at_least("tail, %", 85.0, tail)]),
        row("2 loss 5 %", over(3000, Loss::Random(0.05)), vec![at_least("tail, %", 85.0, tail)]),
        row("3 loss 20 %, 1 in 5", over(3000, Loss::OneIn(5)), vec![at_least("tail, %", 60.0, tail)]),
        row("3 loss 20 %", over(3000, Loss::Random(0.20)), vec![at_least("tail, %", 60.0, tail)]),
        row(
            "3 loss 20 %, RTT 200",
            with_round_trip(over(3000, Loss::Random(0.20)), 200),
            vec![at_least("tail, %", 60.0, tail)],
        ),
        row("4 loss 10 %, 2 Mbit/s", calm_dips, dipping(70.0)),
        row("4 loss 20 %, 2 Mbit/s", wild_dips, dipping(60.0)),
        row("5 wifi-bad", over(3000, Loss::Bursts(0.022, 0.25, 1.0)), bursts(65.0)),
        row("5 congested", over(3000, Loss::Bursts(0.05, 0.5, 1.0)), bursts(65.0)),
        row("5 storm", over(3000, Loss::Bursts(0.06, 0.2, 0.9)), bursts(45.0)),
        row(
            "10 queue 10 ms",
            shallow,
            vec![
                at_least("tail, %", 85.0, tail),
                Measure { judges_worst: false, ..at_most("congestion loss, %", 3.0, congestion) },
            ],
        ),
        row(
            "10 policer 1 Mbit/s",
            policed,
            vec![
                at_least("tail, %", 85.0, |log| 100.0 * rate(log, 0, 0.7 * end(log), end(log)) / 1e6),
                Measure { judges_worst: false, ..at_most("congestion loss, %", 3.0, congestion) },
            ],
        ),
        row("13 jitter 10 ms", Setup::new(jitter(10), 60), vec![at_least("tail, %", 90.0, tail)]),
        row("13 jitter 30 ms", Setup::new(jitter(30), 60), vec![at_least("tail, %", 75.0, tail)]),
    ]
}

fn changing() -> Vec<Row> {
    let drop = || Setup::new(steps(&[(0, 4000), (20, 1000)]), 40);
    let mut high = Setup::new(LinkSetup::plain(kbps(300)), 30);
    if let Some(flow) = high.flows.first_mut() {
        flow.start = kbps(1200);
    }
    let outage = LinkSetup { outage: Some((seconds(20), seconds(40))), ..LinkSetup::plain(kbps(3000)) };
    let mut ramp = with_round_trip(Setup::new(steps(&[(0, 500), (25, 800), (45, 100)]), 95), 200);
    ramp.link.queue = Queue::Time(seconds(2));
    vec![
        row(
            "6 4 to 1 Mbit/s",
            drop(),
            vec![
                at_most("settle, s", 2.0, |log| log.settle(20.0, 40.0)),
                at_most("queue p95 after, ms", 60.0, |log| {
                    log.flows.first().map_or(0.0, |flow| flow.queue(0.95, 22.0, 40.0))
                }),
            ],
        ),
        row(
            "6 4 to 1 Mbit/s, RTT 200",
            with_round_trip(drop(), 200),
            vec![
                at_most("settle, s", 2.5, |log| log.settle(20.0, 40.0)),
                at_most("queue p95 after, ms", 60.0, |log| {
                    log.flows.first().map_or(0.0, |flow| flow.queue(0.95, 22.5, 40.0))
                }),
            ],
        ),
        row(
            "7 10 to 0.8 to 10 Mbit/s",
            Setup::new(steps(&[(0, 10_000), (20, 800), (40, 10_000)]), 60),
            vec![
                at_least("of 0.8 Mbit/s, %", 85.0, |log| 100.0 * log.utilisation(25.0, 40.0)),
                at_most("3 Mbit/s after, s", 10.0, |log| 1.0 + log.used_within(0.3, 40.0) - 1.0),
            ],
        ),
        row(
            "8 0.6 to 3 Mbit/s",
            Setup::new(steps(&[(0, 600), (15, 3000)]), 40),
            vec![at_most("85 % used within, s", 5.0, |log| log.used_within(0.85, 15.0))],
        ),
        row(
            "9 start 4 x too high",
            high,
            vec![
                at_most("loss, %", 3.0, |log| {
                    100.0 * log.flows.first().map_or(0.0, |flow| flow.congestion_loss(0.0, end(log)))
                }),
                at_most("settle, s", 3.0, |log| log.settle(0.0, 30.0)),
            ],
        ),
        row(
            "17 ramp 500, 800, 100 kbit/s",
            ramp,
            vec![
                at_most("off 450 at 25 s, kbit/s", 100.0, |log| (target(log, 24.9) / 1e3 - 450.0).abs()),
                at_most("off 750 at 45 s, kbit/s", 150.0, |log| (target(log, 44.9) / 1e3 - 750.0).abs()),
                at_most("off 90 at 95 s, kbit/s", 25.0, |log| (target(log, 94.9) / 1e3 - 90.0).abs()),
            ],
        ),
        row(
            "21 outage of 20 s",
            Setup::new(outage, 60),
            vec![
                at_least("target after 3 s, %", 50.0, |log| 100.0 * target(log, 43.0) / target(log, 19.9)),
                at_least("target after 6 s, %", 90.0, |log| 100.0 * target(log, 46.0) / target(log, 19.9)),
            ],
        ),
    ]
}

fn shared() -> Vec<Row> {
    let two = || {
        let mut setup = Setup::new(LinkSetup::plain(kbps(3000)), 60);
        setup.flows.push(FlowSetup { from: seconds(10), source: Source::Greedy, start: kbps(300) });
        setup
    };
    let fair = || {
        vec![
            at_least("smaller of mean, %", 80.0, |log| {
                let (a, b) = (rate(log, 0, 30.0, 60.0), rate(log, 1, 30.0, 60.0));
                200.0 * a.min(b) / (a + b)
            }),
            at_least("Jain", 0.96, |log| log.jain(30.0, 60.0)),
            at_least("together, %", 85.0, |log| 100.0 * log.utilisation(30.0, 60.0)),
        ]
    };
    let mut tcp = with_round_trip(Setup::new(LinkSetup::plain(kbps(1000)), 60), 100);
    tcp.link.queue = Queue::Time(Duration::from_millis(300));
    tcp.tcp = Some(seconds(10));
    vec![
        row("11 two flows", two(), fair()),
        row("11 two flows, RTT 200", with_round_trip(two(), 200), fair()),
        row("11 two flows, reports 100 ms", reported_every(two(), 100), fair()),
        row(
            "12 beside TCP",
            tcp,
            vec![
                at_least("rate, kbit/s", 200.0, |log| rate(log, 0, 20.0, 60.0) / 1e3),
                at_most("rate, kbit/s", 750.0, |log| rate(log, 0, 20.0, 60.0) / 1e3),
            ],
        ),
    ]
}

fn limited() -> Vec<Row> {
    let with = |phases: &[(u64, u64)], length| {
        let mut setup = Setup::new(LinkSetup::plain(kbps(3000)), length);
        let phases = phases.iter().map(|&(at, most)| Phase { from: seconds(at), most: kbps(most) }).collect();
        if let Some(flow) = setup.flows.first_mut() {
            flow.source = Source::Limited(phases);
        }
        setup
    };
    vec![
        row(
            "14 a tenth for 10 min, then x 8",
            with(&[(0, 20_000), (20, 300), (620, 2400)], 640),
            vec![
                at_least("rate kept, %", 90.0, |log| 100.0 * target(log, 619.0) / target(log, 20.0)),
                at_least("of demand after 1 s, %", 90.0, |log| 100.0 * rate(log, 0, 621.0, 623.0) / 2.4e6),
            ],
        ),
        row(
            "14 video stops",
            with(&[(0, 20_000), (20, 32)], 30),
            vec![at_least("target after 4 s, kbit/s", 1000.0, |log| target(log, 24.0) / 1e3)],
        ),
    ]
}

fn reports() -> Vec<Row> {
    let with = |feedback, length| Setup { feedback, ..Setup::new(LinkSetup::plain(kbps(3000)), length) };
    let gap = Feedback { silence: Some((seconds(20), seconds(22))), ..Feedback::default() };
    let late = Feedback { late: Some((seconds(10), seconds(310))), ..Feedback::default() };
    let wrap = Feedback { first_count: 250, ..Feedback::default() };
    let mut blind = with(Feedback { interval: None, ..Feedback::default() }, 60);
    blind.link.capacity = vec![(Duration::ZERO, kbps(1000))];
    blind.link.loss.push((seconds(20), Loss::Random(0.15)));
    let mut wrapping = with(wrap, 40);
    wrapping.first_number = 65_000;
    vec![
        row(
            "15 reports lost 30 %",
            with(Feedback { loss: 0.3, ..Feedback::default() }, 60),
            vec![at_least("tail, %", 85.0, tail)],
        ),
        row(
            "15 no reports for 2 s",
            with(gap, 40),
            vec![at_least("from 3 s after, %", 85.0, |log| 100.0 * log.utilisation(25.0, 30.0))],
        ),
        row("15 counters wrap", wrapping, vec![at_least("tail, %", 93.0, tail)]),
        row(
            "15 a report 300 s late",
            with(late, 330),
            vec![at_least("after, %", 90.0, |log| 100.0 * log.utilisation(311.0, 330.0))],
        ),
        row(
            "16 receiver reports only, loss 15 % from 20 s",
            blind,
            vec![
                at_least("before, kbit/s", 500.0, |log| target(log, 19.9) / 1e3),
                at_most("after, kbit/s", 300.0, |log| target(log, 59.0) / 1e3),
            ],
        ),
    ]
}

/// The paths of the bench of rtc-interceptor, by its own parameters.
fn published() -> Vec<Row> {
    let path = |capacity: LinkSetup, queue_bits: u64, start, length| {
        let link = LinkSetup { queue: Queue::Bytes(queue_bits / 8), ..capacity };
        let mut setup = Setup::new(link, length);
        setup.feedback.interval = Some(Duration::from_millis(100));
        setup.feedback.delay = Duration::ZERO;
        if let Some(flow) = setup.flows.first_mut() {
            flow.start = kbps(start);
        }
        setup
    };
    vec![
        row("rtc_steady", path(lossy(3000, Loss::None), 3_000_000, 300, 30), vec![at_least("tail, %", 93.0, tail)]),
        row(
            "rtc_queue_building",
            path(lossy(300, Loss::None), 6_000_000, 1200, 30),
            vec![at_least("tail, %", 85.0, tail)],
        ),
        row("rtc_lossy", path(lossy(3000, Loss::OneIn(5)), 3_000_000, 1200, 30), vec![at_least("tail, %", 60.0, tail)]),
        row(
            "rtc_mildly_lossy",
            path(lossy(3000, Loss::OneIn(20)), 3_000_000, 1200, 30),
            vec![at_least("tail, %", 85.0, tail)],
        ),
        row(
            "rtc_recovering",
            path(steps(&[(0, 600), (15, 3000)]), 6_000_000, 1200, 40),
            vec![at_least("tail, %", 90.0, tail)],
        ),
    ]
}
