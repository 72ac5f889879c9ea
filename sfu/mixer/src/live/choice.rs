//! Who is heard: the loudest voices, for a while longer than they speak.

use super::Voice;
use crate::FRAME;

/// Voices in a mix at a time: more at once are not understood anyway, and their noise adds up.
pub(super) const MOST: usize = 5;
/// Root mean square below which nobody speaks: -60 dB.
const SILENCE: f32 = 0.001;
/// Share of its loudness that a voice keeps with each frame: a pause of two seconds takes a usual voice out.
const KEPT: f32 = 0.955;
/// How much louder than a voice in the mix another must be to take its place: 3 dB.
const MARGIN: f32 = 1.4;

/// How loud a voice has been lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loudness(f32);

impl Loudness {
    /// Rises at once and falls slowly.
    pub(super) fn note(&mut self, frame: &[f32; FRAME]) {
        self.0 = mean(frame).max(self.0 * KEPT);
    }
}

/// Decides who is heard in the next frame.
pub(super) fn choose<V>(voices: &mut [Voice<V>]) {
    let weight = |voice: &Voice<V>| voice.loudness.0 * if voice.is_in { MARGIN } else { 1.0 };
    let mut order: Vec<(usize, f32)> = voices
        .iter()
        .enumerate()
        .filter(|(_, voice)| voice.loudness.0 >= SILENCE)
        .map(|(index, voice)| (index, weight(voice)))
        .collect();
    order.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    order.truncate(MOST);
    for (index, voice) in voices.iter_mut().enumerate() {
        voice.will_be_in = order.iter().any(|(chosen, _)| *chosen == index);
    }
}

/// Decibels below full scale, as RFC 6464 has it.
pub(super) fn level(frame: &[f32; FRAME]) -> u8 {
    let below = -20.0 * mean(frame).max(1e-9).log10();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 127")]
    let level = below.round().clamp(0.0, 127.0) as u8;
    level
}

/// Root mean square.
fn mean(frame: &[f32; FRAME]) -> f32 {
    #[allow(clippy::cast_precision_loss, reason = "960")]
    let length = FRAME as f32;
    (frame.iter().map(|sample| sample * sample).sum::<f32>() / length).sqrt()
}
