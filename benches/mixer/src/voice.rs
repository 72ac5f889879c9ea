//! Something that an encoder takes for speech: syllables of a buzz through two formants, and hisses between them.

use std::f32::consts::TAU;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const RATE: f32 = 48_000.0;

/// A resonance.
#[derive(Clone, Copy, Default)]
struct Formant {
    y1: f32,
    y2: f32,
}

impl Formant {
    fn next(&mut self, x: f32, hertz: f32) -> f32 {
        let r = (-TAU / 2.0 * 90.0 / RATE).exp();
        let y = x + 2.0 * r * (TAU * hertz / RATE).cos() * self.y1 - r * r * self.y2;
        (self.y1, self.y2) = (y, self.y1);
        y * (1.0 - r) * 2.0
    }
}

/// One person.
pub(crate) struct Speech {
    rng: StdRng,
    pitch: f32,
    phase: f32,
    formants: [Formant; 2],
    vowel: [f32; 2],
    /// Samples left of the syllable, of how many, and whether it is a hiss.
    syllable: (u32, u32, bool),
}

impl Speech {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let pitch = rng.random_range(95.0..220.0);
        Self { rng, pitch, phase: 0.0, formants: Default::default(), vowel: [500.0, 1500.0], syllable: (0, 1, false) }
    }

    /// The next samples.
    pub(crate) fn fill(&mut self, out: &mut [f32]) {
        for sample in out {
            if self.syllable.0 == 0 {
                let is_hiss = !self.syllable.2 && self.rng.random_bool(0.4);
                let length =
                    if is_hiss { self.rng.random_range(2400..6000) } else { self.rng.random_range(6000..14_000) };
                self.syllable = (length, length, is_hiss);
                self.vowel = [self.rng.random_range(280.0..800.0), self.rng.random_range(900.0..2400.0)];
            }
            self.syllable.0 -= 1;
            #[allow(clippy::cast_precision_loss, reason = "some thousands")]
            let place = self.syllable.0 as f32 / self.syllable.1 as f32;
            let strength = (place * TAU / 2.0).sin();
            let noise: f32 = self.rng.random_range(-1.0..1.0);
            *sample = if self.syllable.2 {
                0.05 * strength * noise
            } else {
                self.phase += self.pitch * (1.0 + 0.1 * place) / RATE;
                self.phase -= self.phase.floor();
                let buzz = self.phase * 2.0 - 1.0 + 0.02 * noise;
                let [low, high] = self.vowel;
                let first = self.formants[0].next(buzz, low);
                let second = self.formants[1].next(buzz, high);
                (strength * (first + 0.5 * second)).clamp(-0.6, 0.6)
            };
        }
    }
}
