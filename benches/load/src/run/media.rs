//! What one participant sends: a frame of video thirty times a second, an Opus packet every 20 ms.

use std::time::{Duration, Instant};

use crate::client::Client;

/// 30 frames a second of 5,000 bytes are 1.2 Mbit/s.
const FRAME_INTERVAL: Duration = Duration::from_nanos(33_333_333);
const FRAME_BYTES: usize = 5_000;
const KEYFRAME_BYTES: usize = 15_000;
/// 80 bytes in 20 ms are 32 kbit/s.
const VOICE_INTERVAL: Duration = Duration::from_millis(20);
const VOICE_BYTES: usize = 80;
/// A generator that fell behind by more than this skips instead of sending a burst.
const LATEST: Duration = Duration::from_millis(200);

/// The clockwork of one participant's media.
pub(super) struct Media {
    next_frame: Instant,
    next_voice: Instant,
    keyframe: bool,
    body: Vec<u8>,
}

impl Media {
    /// Begins at a phase of its own within a frame, so that participants do not send in step.
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        let phase = Duration::from_micros(seed.wrapping_mul(7_919) % 33_333);
        let body = (0..KEYFRAME_BYTES).map(|at| at.to_le_bytes()[0]).collect();
        Self { next_frame: now + phase, next_voice: now + phase, keyframe: true, body }
    }

    pub(super) fn request_keyframe(&mut self) {
        self.keyframe = true;
    }

    pub(super) fn next(&self) -> Instant {
        self.next_frame.min(self.next_voice)
    }

    /// Sends what is due.
    pub(super) fn send(&mut self, now: Instant, client: &mut Client) {
        if now >= self.next_voice {
            client.send_audio(now, self.body.get(..VOICE_BYTES).unwrap_or(&[]), 30);
            self.next_voice = advance(self.next_voice, VOICE_INTERVAL, now);
        }
        if now >= self.next_frame {
            let length = if self.keyframe { KEYFRAME_BYTES } else { FRAME_BYTES };
            client.send_video_frame(now, self.body.get(..length).unwrap_or(&[]), self.keyframe);
            self.keyframe = false;
            self.next_frame = advance(self.next_frame, FRAME_INTERVAL, now);
        }
    }
}

fn advance(from: Instant, by: Duration, now: Instant) -> Instant {
    let next = from + by;
    if now.saturating_duration_since(next) > LATEST { now + by } else { next }
}
