//! One Track's line: where its timestamps lie on the recording's timeline.

use std::collections::VecDeque;

use super::{ClockId, Report, SenderClocks};
use crate::packet::Micros;

/// A timestamp step that differs this much from the arrival step, and stays so, begins a new line: the sender's clock
/// stood still or jumped. Chromium's does when a microphone's track is replaced by none for a while.
const NEW_LINE: Micros = 200_000;

/// A difference above this is a step, told to the caller; below it is slewed.
const STEP: Micros = 80_000;

/// Slew: 500 ppm, two and a half times the worst clock drift.
const SLEW_PER_MILLION: i64 = 500;

/// A place may not lie further from its arrival than this; a report that says so is not believed.
const FURTHEST: Micros = 2_000_000;

/// Reports are thinned to one each second and kept this long.
const FIT_WINDOW: Micros = 60_000_000;
const FIT_REPORTS: usize = 64;

/// A fit needs three reports over this span; with less the nominal rate goes through the last one.
const FIT_SPAN: Micros = 8_000_000;

/// Reports further from the fit are left out.
const OUTLIER: i128 = 5_000;

/// The worst clock that is believed: 1000 ppm, in parts per billion.
const MAX_SLOPE: i128 = 1_000_000;

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// On the recording's timeline.
    pub at: Micros,
    /// The line was moved here by this much, too much to slew.
    pub step: Option<Micros>,
}

/// One Track's line.
#[derive(Debug)]
pub struct Line {
    clock_rate: u32,
    /// The timestamp last seen, unwrapped.
    unwrapped: Option<i64>,
    /// Smallest arrival minus nominal since the line began: the line until a report says better.
    anchor: Option<Micros>,
    /// (nominal, sender's clock) of the reports of this line.
    reports: VecDeque<(Micros, Micros)>,
    fit: Option<Fit>,
    last_count: Option<u32>,
    clock: Option<ClockId>,
    /// Arrival minus nominal, nominal time, and place of the packet before.
    last: Option<(Micros, Micros, Micros)>,
}

/// `sent = sent0 + (nominal - nominal0) * (1 + slope / 1e9)`.
#[derive(Clone, Copy, Debug)]
struct Fit {
    nominal0: Micros,
    sent0: Micros,
    slope: i64,
}

impl Fit {
    fn sent(&self, nominal: Micros) -> Micros {
        let x = nominal - self.nominal0;
        let drift = i128::from(x) * i128::from(self.slope) / 1_000_000_000;
        self.sent0 + x + i64::try_from(drift).unwrap_or(0)
    }
}

impl Line {
    /// A line for a Track with this RTP clock rate in hertz.
    #[must_use]
    pub const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            unwrapped: None,
            anchor: None,
            reports: VecDeque::new(),
            fit: None,
            last_count: None,
            clock: None,
            last: None,
        }
    }

    /// Forgets everything but the sender: it began anew.
    pub fn restart(&mut self) {
        *self = Self { clock: self.clock, ..Self::new(self.clock_rate) };
    }

    /// Places one packet. `ahead` are the packets after it in order, for about a second: (timestamp, arrival). They tell a
    /// clock that jumped from a network that stalled, after which the delay falls back to what it was.
    pub fn place(
        &mut self,
        timestamp: u32,
        arrival: Micros,
        ahead: impl Iterator<Item = (u32, Micros)>,
        clocks: &mut SenderClocks,
    ) -> Placed {
        let unwrapped = self.unwrapped.map_or(i64::from(timestamp), |before| near(before, timestamp));
        self.unwrapped = Some(unwrapped);
        let nominal = self.nominal(unwrapped);
        let delay = arrival - nominal;
        let jumped = self.last.is_some_and(|(before, ..)| (delay - before).abs() > NEW_LINE);
        if self.anchor.is_none() || jumped {
            let least = ahead.map(|(t, a)| a - self.nominal(near(unwrapped, t))).fold(delay, Micros::min);
            if self.anchor.is_none_or(|anchor| (least - anchor).abs() > NEW_LINE) {
                self.begin(least);
            }
        }
        let anchor = self.anchor.map_or(delay, |anchor| anchor.min(delay));
        self.anchor = Some(anchor);
        let mut target = nominal + anchor;
        if let (Some(fit), Some(clock)) = (self.fit, self.clock) {
            clocks.note(clock, arrival, fit.sent(nominal));
            let told = clocks.offset(clock).map(|offset| fit.sent(nominal) + offset);
            // A report that puts sound seconds away from its arrival is wrong or forged: the anchor stays in force.
            target = told.filter(|told| (told - arrival).abs() <= FURTHEST).unwrap_or(target);
        }
        let (at, step) = self.approach(nominal, target);
        self.last = Some((delay, nominal, at));
        Placed { at, step }
    }

    /// Takes a sender report in its place among the packets.
    pub fn report(&mut self, report: &Report, clocks: &mut SenderClocks) {
        // While nothing is sent a report only extrapolates, on a clock that may stand still.
        let grew = self.last_count != Some(report.packets);
        self.last_count = Some(report.packets);
        let Some(unwrapped) = self.unwrapped.filter(|_| grew) else { return };
        let nominal = self.nominal(near(unwrapped, report.rtp));
        let sent = report.sent();
        // A report far from where the packets are speaks of another line.
        let anchored = self.anchor.map_or(0, |anchor| nominal + anchor - report.arrival);
        if anchored.abs() > FURTHEST {
            return;
        }
        let clock = clocks.find(self.clock, report.arrival, sent);
        if self.clock != Some(clock) {
            self.reports.clear();
        }
        self.clock = Some(clock);
        clocks.note(clock, report.arrival, sent);
        // One each second: of four a second the newest 64 would span too little.
        let before = self.reports.len().checked_sub(2).and_then(|at| self.reports.get(at));
        if before.is_some_and(|(before, _)| nominal - before < 1_000_000) {
            self.reports.pop_back();
        }
        self.reports.push_back((nominal, sent));
        while self.reports.len() > FIT_REPORTS
            || self.reports.front().is_some_and(|(first, _)| nominal - first > FIT_WINDOW)
        {
            self.reports.pop_front();
        }
        self.fit = Some(fit(&self.reports, (nominal, sent)));
    }

    /// From the place of the packet before towards the target: slewed, or stepped when too far.
    fn approach(&self, nominal: Micros, target: Micros) -> (Micros, Option<Micros>) {
        let Some((_, nominal_before, at_before)) = self.last else { return (target, None) };
        let elapsed = nominal - nominal_before;
        let wrong = target - (at_before + elapsed);
        if wrong.abs() > STEP {
            return (target, Some(wrong));
        }
        let most = (elapsed.abs() * SLEW_PER_MILLION / 1_000_000).max(1);
        (at_before + elapsed + wrong.clamp(-most, most), None)
    }

    fn begin(&mut self, anchor: Micros) {
        self.anchor = Some(anchor);
        self.reports.clear();
        self.fit = None;
        self.last = None;
    }

    fn nominal(&self, unwrapped: i64) -> Micros {
        let micros = i128::from(unwrapped) * 1_000_000 / i128::from(self.clock_rate.max(1));
        i64::try_from(micros).unwrap_or(i64::MAX)
    }
}

/// The unwrapped timestamp nearest to `before`.
fn near(before: i64, timestamp: u32) -> i64 {
    let step = (i64::from(timestamp) - before).rem_euclid(1 << 32);
    before + if step < 1 << 31 { step } else { step - (1 << 32) }
}

/// The line through the reports, by least squares in whole numbers.
fn fit(reports: &VecDeque<(Micros, Micros)>, newest: (Micros, Micros)) -> Fit {
    let nominal = Fit { nominal0: newest.0, sent0: newest.1, slope: 0 };
    let span = reports.front().map_or(0, |(first, _)| newest.0 - first);
    if reports.len() < 3 || span < FIT_SPAN {
        return nominal;
    }
    let point = |(x, y): &(Micros, Micros)| {
        let (x, y) = (x - newest.0, y - newest.1);
        (i128::from(x), i128::from(y - x))
    };
    let all: Vec<(i128, i128)> = reports.iter().map(point).collect();
    let Some((a, slope)) = squares(&all) else { return nominal };
    let close = |(x, d): &&(i128, i128)| (d - a - x * slope / 1_000_000_000).abs() <= OUTLIER;
    let kept: Vec<(i128, i128)> = all.iter().filter(close).copied().collect();
    let Some((a, slope)) = squares(&kept).filter(|_| kept.len() >= 3) else { return nominal };
    let (Ok(a), Ok(slope)) = (i64::try_from(a), i64::try_from(slope)) else { return nominal };
    Fit { nominal0: newest.0, sent0: newest.1 + a, slope }
}

/// Intercept and slope (per billion, clamped) of `d = a + slope * x`.
fn squares(points: &[(i128, i128)]) -> Option<(i128, i128)> {
    let n = i128::try_from(points.len()).ok().filter(|n| *n > 0)?;
    let (mut sx, mut sd, mut sxx, mut sxd) = (0, 0, 0, 0);
    for (x, d) in points {
        sx += x;
        sd += d;
        sxx += x * x;
        sxd += x * d;
    }
    let spread = n * sxx - sx * sx;
    if spread == 0 {
        return None;
    }
    let slope = ((n * sxd - sx * sd) * 1_000_000_000 / spread).clamp(-MAX_SLOPE, MAX_SLOPE);
    Some(((sd - slope * sx / 1_000_000_000) / n, slope))
}
