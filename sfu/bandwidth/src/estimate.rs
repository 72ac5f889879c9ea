//! What a peer's downlink carries, judged by the sender from the receiver's reports.

mod delay;
mod input;
mod limited;
mod loss;
mod probe;
mod rate;
mod receiver_report;
mod record;
mod silence;
mod throughput;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use input::{
    Ack, CarriedOver, EstimatorConfig, MAX_RATE, MIN_RATE, Path, Probe, ProbeId, ReceiverReport, Report, START_RATE,
    Sent, SentKind,
};

use self::delay::{Delay, Usage};
use self::limited::Limited;
use self::loss::Loss;
use self::probe::{Finding, Prober, Situation};
use self::rate::Rate;
use self::receiver_report::ReceiverReports;
use self::record::{Record, Resolved};
use self::silence::{Act, Silence};
use self::throughput::Throughput;
use crate::Bitrate;

/// Before anything is measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);
/// A round trip beyond this is not a path to talk over.
const HOPELESS_ROUND_TRIP: Duration = Duration::from_secs(3);
/// Loss beside a longer queue may be its overflow.
const QUEUED_MS: f64 = 30.0;
/// No probe into a longer queue.
const PROBE_BELOW_MS: f64 = 15.0;
const CALM: Duration = Duration::from_secs(3);
const WATCHDOG: Duration = Duration::from_secs(1);
/// Timeouts are not closer.
const GRAIN: Duration = Duration::from_millis(20);
const WATCHDOG_PACKETS: u32 = 20;

/// The controller of one path. Everything it knows arrives by `handle_`; `target` is what may be sent, audio included.
#[derive(Debug)]
pub struct Estimator {
    config: EstimatorConfig,
    floor: f64,
    desired: Option<f64>,
    next_step: Option<f64>,
    remb: Option<f64>,
    can_test: bool,
    record: Record,
    delay: Delay,
    throughput: Throughput,
    rate: Rate,
    loss: Loss,
    prober: Prober,
    limited: Limited,
    silence: Silence,
    receiver_reports: ReceiverReports,
    /// By receiver reports, as transport-wide ones do not come.
    blind: bool,
    numbered: u32,
    first_numbered: Option<Instant>,
    round_trip: Duration,
    measured: bool,
    restless: Option<Instant>,
    ticked: Option<Instant>,
    settled: Option<f64>,
    scratch: Vec<Resolved>,
}

impl Estimator {
    /// Knows nothing of the path but `config`.
    #[must_use]
    pub fn new(config: EstimatorConfig, _now: Instant) -> Self {
        let config = EstimatorConfig { max: config.max.max(config.min), ..config };
        let start = config.start.clamp(config.min, config.max);
        Self {
            config,
            floor: config.min.as_bps() as f64,
            desired: None,
            next_step: None,
            remb: None,
            can_test: true,
            record: Record::new(),
            delay: Delay::new(config.path),
            throughput: Throughput::new(),
            rate: Rate::new(start.as_bps() as f64),
            loss: Loss::new(config.seed),
            prober: Prober::new(),
            limited: Limited::new(),
            silence: Silence::new(),
            receiver_reports: ReceiverReports::new(),
            blind: false,
            numbered: 0,
            first_numbered: None,
            round_trip: FIRST_ROUND_TRIP,
            measured: false,
            restless: None,
            ticked: None,
            settled: None,
            scratch: Vec::new(),
        }
    }

    /// A packet with a transport-wide number left.
    pub fn handle_sent(&mut self, now: Instant, sent: Sent) {
        self.record.add(now, sent);
        self.limited.handle_sent(now, sent.bytes as f64, self.wanted());
        self.silence.handle_sent(now);
        self.prober.handle_sent(now, &sent);
        self.numbered = self.numbered.saturating_add(1);
        self.first_numbered.get_or_insert(now);
    }

    /// A packet without a transport-wide number left: it takes room, but no report will name it.
    pub fn handle_untracked(&mut self, now: Instant, bytes: usize) {
        self.record.add_untracked(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.limited.handle_sent(now, bytes as f64, self.wanted());
        self.first_numbered.get_or_insert(now);
    }

    /// A transport-wide feedback packet came.
    pub fn handle_report(&mut self, now: Instant, report: Report<'_>) {
        let mut resolved = std::mem::take(&mut self.scratch);
        resolved.clear();
        let gap = self.record.resolve(report, &mut resolved);
        if !resolved.is_empty() {
            self.handle_resolved(now, &mut resolved, gap);
        }
        self.scratch = resolved;
    }

    fn handle_resolved(&mut self, now: Instant, resolved: &mut [Resolved], gap: bool) {
        self.blind = false;
        let silent_before = self.silence.handle_report(now);
        if silent_before.is_some() {
            self.delay.forget_base();
        }
        let was_limited = self.limited.is_limited();
        self.limited.handle_report(now, self.wanted());

        // Loss is judged in the order of leaving, which is that of a report.
        if silent_before.is_none() && self.config.path == Path::Udp {
            let signals = self.loss_signals(now);
            self.loss.handle_resolved(now, resolved, signals);
        }
        resolved
            .sort_unstable_by(|a, b| a.arrival.unwrap_or(f64::INFINITY).total_cmp(&b.arrival.unwrap_or(f64::INFINITY)));
        self.measure_round_trip(now, resolved);
        self.delay.handle_arrivals(now, resolved);
        self.throughput.handle_arrivals(resolved, gap);

        let before = self.rate.rate();
        let inherent = self.inherent();
        let finding = self.prober.handle_resolved(now, resolved, inherent);
        if let Some(rate) = silent_before {
            let through = self.gross(self.throughput.moment()).unwrap_or_default();
            self.rate.set(now, through.max(0.5 * rate).min(rate.max(before)));
            self.prober.want(rate, now + Duration::from_secs(1));
        }
        self.rate.update(now, self.rate_signals(now, was_limited));
        if let Some(finding) = finding {
            self.apply(now, finding);
        }
        let after = self.rate.rate();
        if after < before {
            self.prober.handle_fall(now, before, after);
        }
        self.note_mood(now);
    }

    fn measure_round_trip(&mut self, now: Instant, resolved: &[Resolved]) {
        let newest = resolved.iter().filter_map(|packet| packet.arrival).fold(f64::NEG_INFINITY, f64::max);
        let Some((age, left)) =
            resolved.first().map(|first| (now.saturating_duration_since(first.sent).as_secs_f64(), first.left as f64))
        else {
            return;
        };
        let least = resolved
            .iter()
            .filter_map(|packet| {
                let whole = age - (packet.left as f64 - left) / 1e9;
                Some((whole - (newest - packet.arrival?) / 1e3).max(0.0))
            })
            .fold(f64::INFINITY, f64::min);
        if least.is_finite() {
            self.add_round_trip(Duration::from_secs_f64(least.min(60.0)));
        }
    }

    fn add_round_trip(&mut self, sample: Duration) {
        self.round_trip = if self.measured { (self.round_trip * 7 + sample) / 8 } else { sample };
        self.measured = true;
    }

    fn inherent(&self) -> f64 {
        self.loss.inherent().clamp(0.0, 0.9)
    }

    /// What would have come through had nature taken nothing: rates are of sending, and loss by nature is no reason
    /// to send less.
    fn gross(&self, through: Option<f64>) -> Option<f64> {
        through.map(|rate| rate / (1.0 - self.inherent()))
    }

    fn loss_signals(&self, now: Instant) -> loss::Signals {
        loss::Signals {
            queued: self.delay.queue().typical() > QUEUED_MS || self.delay.usage() == Usage::Over,
            limited: self.limited.is_limited(),
            answered: self.rate.answers(now, Duration::from_millis(500) + self.round_trip),
            acked: self.throughput.steady(),
            rate: self.rate.rate(),
            round_trip: self.round_trip,
            can_test: self.can_test,
        }
    }

    fn rate_signals(&self, now: Instant, was_limited: bool) -> rate::Signals {
        let limited = was_limited && self.limited.is_limited();
        rate::Signals {
            usage: self.delay.usage(),
            trend: self.delay.trend_usage(),
            queue: self.delay.queue().typical(),
            least: self.delay.queue().least(),
            acked: self.gross(self.throughput.steady()),
            arriving: self.gross(self.throughput.arriving()),
            round_trip: self.round_trip.as_secs_f64(),
            held: limited || self.loss.holds(now) || self.silence.is_running(),
            limited,
            max: self.most(),
        }
    }

    fn apply(&mut self, now: Instant, finding: Finding) {
        let rate = self.rate.rate();
        if self.rate.is_draining() {
            return;
        }
        self.loss.handle_probe_through(finding.rate);
        if finding.full {
            let first = !self.rate.knows_capacity();
            self.rate.handle_probe_capacity(finding.rate);
            let through = self.gross(self.throughput.steady()).unwrap_or_default();
            // Once the capacity is known, a short burst that meets another's does not lower it.
            let least = if first { rate.min(0.85 * through) } else { rate };
            self.rate.set(now, finding.rate.max(least).min(self.most().max(rate)));
        } else {
            self.rate.handle_probe_through(finding.rate);
            self.rate.set(now, finding.rate.min(self.most()).max(rate));
        }
    }

    fn note_mood(&mut self, now: Instant) {
        if self.rate.is_draining() || self.loss.is_testing() || self.loss.cap().is_some() || self.silence.is_running() {
            self.restless = Some(now);
        } else if self.is_calm(now) {
            self.settled = Some(self.rate.rate());
        }
    }

    /// A receiver report came; counts only while transport-wide reports do not come.
    pub fn handle_receiver_report(&mut self, now: Instant, report: ReceiverReport) {
        if let Some(round_trip) = report.round_trip.filter(|_| self.blind || !self.silence.was_ever_broken()) {
            self.add_round_trip(round_trip.min(Duration::from_secs(60)));
        }
        // The path lives, but transport-wide reports have stopped.
        self.blind |= self.silence.is_running() && report.expected > 0;
        if self.blind {
            self.silence.handle_report(now);
            let rate = self.receiver_reports.handle(now, report, self.round_trip, self.rate.rate());
            self.rate.set(now, rate.max(self.floor));
        }
    }

    /// The receiver says that it can take no more than `rate`; caps the target while transport-wide reports do not
    /// come.
    pub fn handle_remb(&mut self, rate: Bitrate) {
        self.remb = Some(rate.as_bps() as f64);
    }

    /// The sum of the best layers wanted: far beyond it nothing is explored.
    pub fn set_desired(&mut self, _now: Instant, desired: Bitrate) {
        self.desired = Some(desired.as_bps() as f64);
    }

    /// The rate at which the next desired layer would fit, while one does not: worth a probe from time to time even
    /// when little is sent. `None` when everything desired fits.
    pub fn set_next_step(&mut self, _now: Instant, step: Option<Bitrate>) {
        self.next_step = step.map(|step| step.as_bps() as f64);
    }

    /// More is wanted at once, `wanted` in all (a new subscription, a resumed track): worth a probe now.
    pub fn handle_more_wanted(&mut self, now: Instant, wanted: Bitrate) {
        let wanted = wanted.as_bps() as f64;
        if self.limited.is_limited() && wanted > self.rate.rate() {
            self.prober.want(wanted, now);
        }
    }

    /// Whether `video_scale` is heeded: there is video that can be sent at a lower rate for a second or two. Where it
    /// is not, no test is made, and loss beyond a fifth is taken for congestion.
    pub fn set_can_test(&mut self, can_test: bool) {
        self.can_test = can_test;
    }

    /// What audio needs: no target falls below it.
    pub fn set_audio_reserve(&mut self, reserve: Bitrate) {
        self.floor = reserve.clamp(self.config.min, self.config.max).as_bps() as f64;
    }

    /// The remote address changed: what was learnt belongs to another path.
    pub fn handle_route_change(&mut self, now: Instant) {
        let start = self.config.start.as_bps() as f64;
        self.rate.forget_capacity();
        self.rate.set(now, self.rate.rate().min((0.5 * self.rate.rate()).max(start.min(self.rate.rate()))));
        self.delay = Delay::new(self.config.path);
        self.throughput = Throughput::new();
        self.loss.forget();
        self.prober.begin_anew();
        self.round_trip = FIRST_ROUND_TRIP;
        self.measured = false;
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ticked = Some(now);
        self.record.forget(now);
        if !self.blind && !self.silence.was_ever_broken() && self.is_unheard(now) {
            self.blind = true;
        }
        if self.blind {
            let since = self.first_numbered.unwrap_or(now);
            if now >= self.receiver_reports.silent_from(since) {
                self.rate.back_off(now);
            }
            return;
        }
        match self.silence.handle_timeout(now, self.record.flying(), self.round_trip, self.rate.rate()) {
            Some(Act::Begin) => {
                self.prober.stop();
                self.loss.break_off();
                self.note_mood(now);
            }
            Some(Act::Step) => self.rate.set(now, (0.7 * self.rate.rate()).max(self.floor)),
            None => {}
        }
        if self.round_trip + self.silence.age(now) >= HOPELESS_ROUND_TRIP && self.silence.was_ever_broken() {
            self.rate.back_off(now);
        }
    }

    fn is_unheard(&self, now: Instant) -> bool {
        self.numbered >= WATCHDOG_PACKETS
            && self.first_numbered.is_some_and(|first| now.saturating_duration_since(first) >= WATCHDOG)
    }

    /// When `handle_timeout` wants to be called, or `poll_probe` may have a burst.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.find_due()?;
        // A probe may be due and yet not allowed: asking again at once would be asking for ever.
        Some(self.ticked.map_or(due, |ticked| due.max(ticked + GRAIN)))
    }

    fn find_due(&self) -> Option<Instant> {
        if self.blind {
            return self
                .first_numbered
                .map(|first| self.receiver_reports.silent_from(first).max(self.rate.backed_off().unwrap_or(first)));
        }
        let watchdog = (!self.silence.was_ever_broken() && self.numbered >= WATCHDOG_PACKETS)
            .then(|| self.first_numbered.map(|first| first + WATCHDOG))
            .flatten();
        let hopeless = self
            .silence
            .waiting_since()
            .filter(|_| self.silence.was_ever_broken())
            .map(|since| since + HOPELESS_ROUND_TRIP.saturating_sub(self.round_trip));
        let hopeless = hopeless.map(|at| self.rate.backed_off().map_or(at, |next| at.max(next)));
        let silence = self.silence.poll_timeout(self.record.flying(), self.round_trip);
        let probe = self.prober.poll_timeout(self.wants_more());
        [watchdog, silence, hopeless, probe].into_iter().flatten().min()
    }

    /// Whether a burst is under way or wanted as soon as it is allowed: then `poll_probe` should be asked often. Else it is enough to
    /// ask a few times in a second, and after each report.
    #[must_use]
    pub const fn is_probing(&self) -> bool {
        self.prober.is_busy()
    }

    /// A burst to be sent now; each is given once. One that cannot be sent may be forgotten.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        if self.numbered == 0 || self.blind {
            return None;
        }
        let situation = Situation {
            rate: self.wanted(),
            max: self.most(),
            loss: self.loss.weighted(),
            allowed: self.delay.usage() != Usage::Over
                && !self.rate.is_draining()
                && self.delay.queue().least() <= PROBE_BELOW_MS
                && !self.loss.is_testing()
                && (self.loss.cap().is_none() || self.limited.is_limited() && self.loss.is_over())
                && !self.silence.is_running(),
            was_limited: self.limited.was_limited(now),
            knows_capacity: self.rate.knows_capacity(),
            next_step: self.next_step,
            round_trip: self.round_trip,
        };
        self.prober.poll(now, situation)
    }

    /// Whether a burst from time to time is worth its bytes.
    fn wants_more(&self) -> bool {
        self.next_step.is_some() || (!self.rate.knows_capacity() && self.rate.rate() < 0.95 * self.most())
    }

    /// No rate is explored beyond.
    fn most(&self) -> f64 {
        let max = self.config.max.as_bps() as f64;
        self.desired.map_or(max, |desired| max.min(1.3 * desired + 100e3))
    }

    /// The rate that delay and loss allow, whatever is wanted.
    fn wanted(&self) -> f64 {
        self.loss.cap().map_or(self.rate.rate(), |cap| cap.min(self.rate.rate())).max(self.floor)
    }

    /// What may be sent, audio included.
    #[must_use]
    pub fn target(&self) -> Bitrate {
        let capped =
            if self.blind { self.remb.map_or(self.wanted(), |remb| remb.min(self.wanted())) } else { self.wanted() };
        Bitrate::bps(1).scale(capped.min(self.most()).max(self.floor)).clamp(self.config.min, self.config.max)
    }

    /// Whether anything has shown that the path carries no more than about the target. Otherwise the target is only what was
    /// tried so far: it limits nobody.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.blind || self.rate.knows_capacity() || self.loss.cap().is_some() || self.silence.is_running()
    }

    /// What the path was seen to carry when it was full; `None` while it never was, or more came through since. The target
    /// goes on to look for more, and whoever can be probed for instead has a steadier time here.
    #[must_use]
    pub fn capacity(&self) -> Option<Bitrate> {
        self.rate.capacity().map(|rate| Bitrate::bps(1).scale(rate).clamp(self.config.min, self.config.max))
    }

    /// What sound needs: no target is less.
    #[must_use]
    pub fn floor(&self) -> Bitrate {
        Bitrate::bps(1).scale(self.floor)
    }

    /// Multiplies what video and padding may have of the target: below 1 while a test runs whether loss answers to
    /// the rate. Audio is outside the test.
    #[must_use]
    pub fn video_scale(&self) -> f64 {
        self.loss.scale()
    }

    /// How long packets wait on the path beyond its shortest delay.
    #[must_use]
    pub fn queue_delay(&self) -> Duration {
        Duration::from_secs_f64((self.delay.queue().typical() / 1e3).clamp(0.0, 60.0))
    }

    /// Share of bytes lost of late, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "a share; its last digits do not matter")]
    pub fn loss(&self) -> f32 {
        if self.blind { self.receiver_reports.loss() } else { self.loss.weighted() as f32 }
    }

    /// The smoothed round trip.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether neither a drain, nor a test, nor a loss cap, nor a silence ruled in the last three seconds: a good
    /// moment to upgrade.
    #[must_use]
    pub fn is_calm(&self, now: Instant) -> bool {
        self.restless.is_none_or(|at| now.saturating_duration_since(at) > CALM)
    }

    /// Whether reports stopped for so long that video shall pause until they come again.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.silence.is_deaf()
    }

    /// One line of what is held, for a trace.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "rate {:.0} cap {:.0} p {:.3} L {:.3} q {:.0} qmin {:.0} acked {:.0} {:?} limited {} test {} C {}",
            self.rate.rate() / 1e3,
            self.loss.cap().unwrap_or(0.0) / 1e3,
            self.loss.inherent(),
            self.loss.weighted(),
            self.delay.queue().typical(),
            self.delay.queue().least(),
            self.throughput.steady().unwrap_or(0.0) / 1e3,
            self.delay.usage(),
            self.limited.is_limited(),
            self.loss.is_testing(),
            self.rate.knows_capacity(),
        )
    }

    /// What the next connection from the same address may begin with; `None` before anything settled.
    #[must_use]
    pub fn carry_over(&self) -> Option<CarriedOver> {
        self.settled.map(|rate| CarriedOver { target: Bitrate::bps(1).scale(rate) })
    }
}
