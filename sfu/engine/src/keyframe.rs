//! Keyframe requests towards one publisher: gathered from all who wait, and spaced out.

use std::time::{Duration, Instant};

/// How often one Layer may be asked for a keyframe.
/// Shorter recovers sooner; longer spares the uplink, where a keyframe costs many ordinary frames.
const SPACING: Duration = Duration::from_millis(300);
/// When a request is repeated that no keyframe answered.
const REPEAT: Duration = Duration::from_millis(500);

/// The requests for one Track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keyframes {
    wanted: bool,
    /// The last keyframe came too late for those who wait.
    missed: bool,
    asked: Option<Instant>,
}

impl Keyframes {
    /// Somebody needs a keyframe.
    pub(crate) const fn want(&mut self) {
        self.wanted = true;
    }

    /// A keyframe begins: whoever waited has it now.
    pub(crate) const fn note_keyframe(&mut self) {
        self.wanted = false;
        self.missed = false;
    }

    /// A keyframe came by repair: who waits could not begin with it.
    pub(crate) const fn want_again(&mut self) {
        self.missed = true;
    }

    /// True when a request should leave now; it counts as sent. `is_waited_for` says that somebody still has no picture.
    pub(crate) fn poll(&mut self, now: Instant, is_waited_for: bool) -> bool {
        let since = self.asked.map(|asked| now.saturating_duration_since(asked));
        let is_due = match since {
            None => self.wanted || is_waited_for,
            Some(since) => {
                let is_wanted = self.wanted || self.missed && is_waited_for;
                is_wanted && since >= SPACING || is_waited_for && since >= REPEAT
            }
        };
        if is_due {
            self.asked = Some(now);
            self.wanted = false;
            self.missed = false;
        }
        is_due
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_requests_is_one_each_spacing() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        let sent = (0..900)
            .filter(|ms| {
                keyframes.want();
                keyframes.poll(now + Duration::from_millis(*ms), false)
            })
            .count();
        assert_eq!(sent, 3);
    }

    #[test]
    fn one_request_is_enough_when_it_is_answered() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        keyframes.want();
        assert!(keyframes.poll(now, true));
        keyframes.note_keyframe();
        assert!(!keyframes.poll(now + Duration::from_secs(5), false));
    }
}
