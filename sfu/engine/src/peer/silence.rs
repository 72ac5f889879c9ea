//! When a Peer that was sending falls silent, so that its browser is told to restart ICE before consent runs out.

use std::time::{Duration, Instant};

/// How long a Peer may be silent in the middle of sending. Browsers send voice fifty times a second.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// RTP this long before the last sign of life counts as "in the middle of sending". One that sends nothing on purpose reports and checks
/// every few seconds only, and its end is the end of consent.
const WAS_SENDING: Duration = Duration::from_secs(1);

/// What was heard of one Peer.
#[derive(Debug)]
pub(crate) struct Silence {
    heard: Instant,
    rtp: Option<Instant>,
    is_told: bool,
}

impl Silence {
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: now, rtp: None, is_told: false }
    }

    /// Something authentic came.
    pub(crate) fn note(&mut self, now: Instant) {
        self.heard = now;
        self.is_told = false;
    }

    /// An authentic RTP packet came.
    pub(crate) fn note_rtp(&mut self, now: Instant) {
        self.note(now);
        self.rtp = Some(now);
    }

    /// True once for each silence.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        if self.is_told || now < self.heard + SILENT_AFTER {
            return false;
        }
        let is_due = self.rtp.is_some_and(|rtp| self.heard.saturating_duration_since(rtp) <= WAS_SENDING);
        self.is_told |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silence_in_the_middle_of_sending_is_told_once() {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let mut silence = Silence::new(now);
        assert!(!silence.poll(now + 10 * SECOND), "it never sent");
        silence.note_rtp(now + 10 * SECOND);
        assert!(!silence.poll(now + 12 * SECOND));
        assert!(silence.poll(now + 13 * SECOND));
        assert!(!silence.poll(now + 20 * SECOND));
        silence.note(now + 21 * SECOND);
        assert!(!silence.poll(now + 30 * SECOND), "it is heard again but does not send");
        silence.note_rtp(now + 31 * SECOND);
        assert!(silence.poll(now + 34 * SECOND), "another silence");
    }

    #[test]
    fn one_that_stopped_sending_on_purpose_is_left_alone() {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let mut silence = Silence::new(now);
        silence.note_rtp(now);
        silence.note(now + 2 * SECOND);
        assert!(!silence.poll(now + 8 * SECOND));
    }
}
