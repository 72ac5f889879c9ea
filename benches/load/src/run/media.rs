//! What one participant sends: frames of video, an Opus packet every 20 ms, perhaps a screen.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::client::Client;

/// 30 frames a second of 5,000 bytes are 1.2 Mbit/s.
const FRAME_INTERVAL: Duration = Duration::from_nanos(33_333_333);
const FRAME_BYTES: usize = 5_000;
const KEYFRAME_BYTES: usize = 15_000;
/// A screen changes seldom, and much at once: 5 frames a second of 40,000 bytes are 1.6 Mbit/s.
const SCREEN_INTERVAL: Duration = Duration::from_millis(200);
const SCREEN_BYTES: usize = 40_000;
/// 80 bytes in 20 ms are 32 kbit/s.
const VOICE_INTERVAL: Duration = Duration::from_millis(20);
const VOICE_BYTES: usize = 80;
/// A generator that fell behind by more than this skips instead of sending a burst.
const LATEST: Duration = Duration::from_millis(200);

/// Which media a participant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    pub(super) voice: bool,
    pub(super) camera: bool,
    pub(super) screen: bool,
}

/// The clockwork of one participant's media.
pub(super) struct Media {
    next_voice: Option<Instant>,
    next_frame: Option<Instant>,
    next_screen: Option<Instant>,
    keyframe: bool,
    screen_keyframe: bool,
}

/// What everybody's packets hold.
static BODY: LazyLock<Vec<u8>> = LazyLock::new(|| (0..SCREEN_BYTES).map(|at| at.to_le_bytes()[0]).collect());

impl Media {
    /// Begins at a phase of its own within a frame, so that participants do not send in step.
    pub(super) fn new(now: Instant, seed: u64, mix: Mix) -> Self {
        let first = now + Duration::from_micros(seed.wrapping_mul(7_919) % 33_333);
        Self {
            next_voice: mix.voice.then_some(first),
            next_frame: mix.camera.then_some(first),
            next_screen: mix.screen.then_some(first),
            keyframe: true,
            screen_keyframe: true,
        }
    }

    pub(super) const fn request_keyframe(&mut self) {
        self.keyframe = true;
        self.screen_keyframe = true;
    }

    pub(super) fn next(&self) -> Instant {
        let next = [self.next_voice, self.next_frame, self.next_screen].into_iter().flatten().min();
        next.expect("a participant sends something")
    }

    /// Sends what is due; false when nothing was.
    pub(super) fn send(&mut self, now: Instant, client: &mut Client) -> bool {
        let is_due = now >= self.next();
        let due = |at: Option<Instant>| at.filter(|at| now >= *at);
        if let Some(at) = due(self.next_voice) {
            client.send_audio(now, BODY.get(..VOICE_BYTES).unwrap_or(&[]), 30);
            self.next_voice = Some(advance(at, VOICE_INTERVAL, now));
        }
        if let Some(at) = due(self.next_frame) {
            let length = if self.keyframe { KEYFRAME_BYTES } else { FRAME_BYTES };
            client.send_video_frame(now, BODY.get(..length).unwrap_or(&[]), self.keyframe);
            self.keyframe = false;
            self.next_frame = Some(advance(at, FRAME_INTERVAL, now));
        }
        if let Some(at) = due(self.next_screen) {
            client.send_screen_frame(now, &BODY, self.screen_keyframe);
            self.screen_keyframe = false;
            self.next_screen = Some(advance(at, SCREEN_INTERVAL, now));
        }
        is_due
    }
}

fn advance(from: Instant, by: Duration, now: Instant) -> Instant {
    let next = from + by;
    if now.saturating_duration_since(next) > LATEST { now + by } else { next }
}
