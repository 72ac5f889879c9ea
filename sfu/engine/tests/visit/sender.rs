//! A browser's own idea of its uplink, as libwebrtc has it: starts at 300 kbit/s, probes, grows by 8 % a second, and obeys
//! a limit at once.

use std::time::{Duration, Instant};

const START: f64 = 300e3;
const MOST: f64 = 5e6;
/// From a burst to what it has shown.
const PROBE: Duration = Duration::from_millis(150);
/// A sender with too little to send probes so often.
const PERIOD: Duration = Duration::from_secs(5);

/// The estimate of one sender.
#[derive(Debug)]
pub(crate) struct Sender {
    estimate: f64,
    /// The burst under way: when it shows something, and how fast it was.
    probe: Option<(Instant, f64)>,
    /// Bursts at three and six times the start, whatever happens; further ones follow success alone.
    bursts: u32,
    last: Option<Instant>,
    probed: Option<Instant>,
}

impl Sender {
    pub(crate) const fn new() -> Self {
        Self { estimate: START, probe: None, bursts: 0, last: None, probed: None }
    }

    /// What may be sent now: `path` is what the uplink carries, `limit` what the other side allows, `sent` what is sent at
    /// the moment.
    pub(crate) fn allow(&mut self, now: Instant, path: Option<u64>, limit: u64, sent: u64) -> u64 {
        #[allow(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
        let (path, limit, sent) = (path.map_or(MOST, |path| path as f64 * 0.95), limit as f64, sent as f64);
        let seconds = self.last.replace(now).map_or(0.0, |last| (now - last).as_secs_f64());
        if let Some((_, rate)) = self.probe.take_if(|(due, _)| *due <= now) {
            let through = rate.min(path);
            self.estimate = self.estimate.max(through);
            let goes_on = through >= 0.7 * rate && limit > self.estimate && rate < MOST;
            self.probe = match self.bursts {
                1 => Some((now + PROBE, 6.0 * START)),
                _ if goes_on => Some((now + PROBE, 2.0 * through)),
                _ => None,
            };
            self.bursts += 1;
        } else if self.bursts == 0 {
            self.bursts = 1;
            self.probe = Some((now + PROBE, 3.0 * START));
            self.probed = Some(now);
        }
        // What is not sent shows nothing: growth ends above it, and bursts take its place.
        if self.estimate < 1.5 * sent + 10e3 {
            self.estimate *= 1.08f64.powf(seconds);
        } else if self.probe.is_none() && limit > self.estimate && self.probed.is_none_or(|at| now - at >= PERIOD) {
            self.probed = Some(now);
            self.probe = Some((now + PROBE, 2.0 * self.estimate));
        }
        self.estimate = self.estimate.min(path).min(MOST);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate between 0 and 5e6")]
        let allowed = self.estimate.min(limit) as u64;
        allowed
    }
}
