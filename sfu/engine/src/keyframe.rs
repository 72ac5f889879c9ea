//! Keyframe requests for one Layer: gathered from all who wait, and spaced out.

use std::time::{Duration, Instant};

/// How often one Layer may be asked for a keyframe.
/// Shorter recovers sooner; longer spares the uplink, where a keyframe costs many ordinary frames.
const SPACING: Duration = Duration::from_millis(300);
/// When a request is repeated that no keyframe answered.
const REPEAT: Duration = Duration::from_millis(500);
/// What a keyframe takes beyond the round trip until it is here.
const ENCODING: Duration = Duration::from_millis(100);
/// A Layer that was asked for [`OFTEN`] keyframes within this time is asked more rarely.
const WINDOW: Duration = Duration::from_secs(5);
/// See [`WINDOW`].
const OFTEN: usize = 3;
/// See [`WINDOW`].
const RARELY: Duration = Duration::from_secs(1);

/// The requests for one Layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keyframes {
    wanted: bool,
    /// The last keyframe came too late for those who wait.
    missed: bool,
    /// A keyframe came since the last request.
    is_answered: bool,
    /// The last requests, latest first.
    asked: [Option<Instant>; OFTEN],
}

impl Keyframes {
    /// Somebody needs a keyframe.
    pub(crate) const fn want(&mut self) {
        self.wanted = true;
    }

    /// True when somebody asked for one: else, and while nobody waits for one, none is due.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// A keyframe begins: whoever waited has it now.
    pub(crate) const fn note_keyframe(&mut self) {
        self.wanted = false;
        self.missed = false;
        self.is_answered = true;
    }

    /// A keyframe came by repair: who waits could not begin with it.
    pub(crate) const fn want_again(&mut self) {
        self.missed = true;
    }

    /// True when a request should leave now; it counts as sent. `is_waited_for` says that somebody still has no picture.
    pub(crate) fn poll(&mut self, now: Instant, is_waited_for: bool, round_trip: Option<Duration>) -> bool {
        let since = |asked: Option<Instant>| asked.map(|asked| now.saturating_duration_since(asked));
        let [latest, .., oldest] = self.asked;
        let is_due = match since(latest) {
            None => self.wanted || is_waited_for,
            Some(passed) => {
                let is_often = since(oldest).is_some_and(|passed| passed < WINDOW);
                let spacing = if is_often { RARELY } else { SPACING };
                let repeat = round_trip.map_or(REPEAT, |trip| REPEAT.max(trip + ENCODING)).max(spacing);
                // Who began to wait after the last keyframe need not wait for a request to be given up.
                let is_wanted = self.wanted || (self.missed || self.is_answered) && is_waited_for;
                is_wanted && passed >= spacing || is_waited_for && passed >= repeat
            }
        };
        if is_due {
            let [latest, middle, _] = self.asked;
            self.asked = [Some(now), latest, middle];
            *self = Self { wanted: false, missed: false, is_answered: false, ..*self };
        }
        is_due
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_requests_is_spaced_and_then_slowed() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        let sent: Vec<u64> = (0..4000)
            .filter(|ms| {
                keyframes.want();
                keyframes.poll(now + Duration::from_millis(*ms), false, None)
            })
            .collect();
        assert_eq!(sent, [0, 300, 600, 1600, 2600, 3600]);
    }

    #[test]
    fn a_request_without_answer_is_repeated_by_the_round_trip() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        let trip = Some(Duration::from_millis(700));
        let mut poll = |ms| keyframes.poll(now + Duration::from_millis(ms), true, trip);
        let sent: Vec<u64> = (0..2000).filter(|ms| poll(*ms)).collect();
        assert_eq!(sent, [0, 800, 1600]);
    }

    #[test]
    fn who_waits_after_a_keyframe_is_served_at_the_spacing() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        assert!(keyframes.poll(now, true, None));
        keyframes.note_keyframe();
        let at = |ms| now + Duration::from_millis(ms);
        assert!(!keyframes.poll(at(299), true, None));
        assert!(keyframes.poll(at(300), true, None));
    }

    #[test]
    fn one_request_is_enough_when_it_is_answered() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        keyframes.want();
        assert!(keyframes.poll(now, true, None));
        keyframes.note_keyframe();
        assert!(!keyframes.poll(now + Duration::from_secs(5), false, None));
    }
}
