//! A Room in virtual time: people who speak tones, ways that delay and lose, ears that decode.

use std::collections::BTreeMap;
use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use opus::{Application, Channels, Decoder, Encoder};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

/// Somebody with a microphone.
pub(super) struct Speaker {
    pub(super) hertz: f32,
    /// Amplitude.
    pub(super) level: f32,
    /// Nothing is sent at all.
    pub(super) is_gone: bool,
    encoder: Encoder,
    number: u64,
    sample: usize,
    next: Instant,
}

/// What came to somebody.
pub(super) struct Ear {
    decoder: Decoder,
    pub(super) heard: Vec<f32>,
    /// When each frame came.
    pub(super) came: Vec<Instant>,
    last: Option<u32>,
}

pub(super) struct World {
    pub(super) live: Live<u32, u32>,
    pub(super) now: Instant,
    pub(super) speakers: BTreeMap<u32, Speaker>,
    pub(super) ears: BTreeMap<u32, Ear>,
    /// Share of packets that are lost.
    pub(super) loss: f64,
    pub(super) jitter: Duration,
    /// Packets arrive at the end of this at the earliest.
    pub(super) stall: Option<Instant>,
    flying: Vec<(Instant, u32, Spoken)>,
    rng: StdRng,
}

impl World {
    /// So many people, all of whom could speak and listen, quiet so far.
    pub(super) fn new(people: u32) -> Self {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let start = Instant::now();
        let mut world = Self {
            live: Live::new(start, 5),
            now: start,
            speakers: BTreeMap::new(),
            ears: BTreeMap::new(),
            loss: 0.0,
            jitter: Duration::ZERO,
            stall: None,
            flying: Vec::new(),
            rng: StdRng::seed_from_u64(7),
        };
        for id in 0..people {
            // Packets of different people come at different times.
            let next = start + MS * (id * 7 % 20);
            let encoder = Encoder::new(RATE, Channels::Mono, Application::Voip).unwrap();
            let hertz = 400.0 + 230.0 * id as f32;
            let speaker = Speaker { hertz, level: 0.0, is_gone: false, encoder, number: 100, sample: 0, next };
            world.speakers.insert(id, speaker);
            world.ears.insert(
                id,
                Ear {
                    decoder: Decoder::new(RATE, Channels::Mono).unwrap(),
                    heard: Vec::new(),
                    came: Vec::new(),
                    last: None,
                },
            );
        }
        world.plan();
        world
    }

    /// Everybody hears everybody but themselves.
    pub(super) fn plan(&mut self) {
        let voices: Vec<u32> = self.speakers.keys().copied().collect();
        let listeners = self.ears.keys().map(|id| (*id, vec![*id])).collect();
        self.live.plan(self.now, &voices, listeners).unwrap();
    }

    pub(super) fn chance(&mut self) -> f64 {
        self.rng.random()
    }

    pub(super) fn speak(&mut self, id: u32, level: f32) {
        self.speakers.get_mut(&id).unwrap().level = level;
    }

    pub(super) fn run(&mut self, millis: u32) {
        for _ in 0..millis {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += MS;
        let due: Vec<u32> = self.speakers.iter().filter(|(_, s)| s.next <= self.now).map(|(id, _)| *id).collect();
        for id in due {
            let (lost, delay) = (self.chance() < self.loss, self.jitter.mul_f64(self.chance()));
            let speaker = self.speakers.get_mut(&id).unwrap();
            let wave = |n: usize| speaker.level * (TAU * speaker.hertz * n as f32 / 48_000.0).sin();
            let frame: Vec<f32> = (speaker.sample..speaker.sample + FRAME).map(wave).collect();
            let payload = speaker.encoder.encode_vec_float(&frame, 1275).unwrap();
            speaker.next += INTERVAL;
            if speaker.is_gone {
                continue;
            }
            speaker.sample += FRAME;
            speaker.number += 1;
            let level = if speaker.level > 0.0 { 20 } else { 127 };
            let mut arrived = self.now + delay;
            if let Some(stall) = self.stall {
                arrived = arrived.max(stall);
            }
            let packet = Spoken { arrived, number: speaker.number, level: Some(level), payload: payload.into() };
            if !lost {
                self.flying.push((arrived, id, packet));
            }
        }
        self.flying.sort_by_key(|(at, ..)| *at);
        while self.flying.first().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, id, packet) = self.flying.remove(0);
            self.live.push(id, packet);
        }
        let (now, ears) = (self.now, &mut self.ears);
        self.live
            .take_until(now, |mixed| {
                for id in mixed.listeners {
                    let ear = ears.get_mut(id).unwrap();
                    if let Some(last) = ear.last {
                        assert_eq!(mixed.timestamp.wrapping_sub(last), 960, "one frame after the other");
                    }
                    ear.last = Some(mixed.timestamp);
                    let mut frame = [0.0; FRAME];
                    let samples = ear.decoder.decode_float(mixed.payload, &mut frame, false).unwrap();
                    assert_eq!(samples, FRAME);
                    ear.heard.extend_from_slice(&frame);
                    ear.came.push(now);
                }
            })
            .unwrap();
    }

    /// What somebody heard in the last milliseconds.
    pub(super) fn lately(&self, id: u32, millis: usize) -> &[f32] {
        let heard = &self.ears[&id].heard;
        &heard[heard.len() - millis * 48..]
    }

    /// How loud a person's tone was at somebody's ear in the last milliseconds.
    pub(super) fn hears(&self, ear: u32, speaker: u32, millis: usize) -> f32 {
        strength(self.lately(ear, millis), self.speakers[&speaker].hertz)
    }

    /// How long packets waited on average since these counts.
    pub(super) fn waited(&self, since: &Counts) -> Duration {
        let counts = self.live.counts();
        let packets = u32::try_from(counts.decoded - since.decoded).unwrap();
        (counts.waited - since.waited) / packets
    }
}

/// Strength of one frequency (Goertzel), as an amplitude. Under a window, so that a neighbour is not mistaken for it.
pub(super) fn strength(pcm: &[f32], hertz: f32) -> f32 {
    let w = TAU * hertz / 48_000.0;
    let (mut re, mut im, mut sum) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * n as f32 / pcm.len() as f32).cos();
        re += window * sample * (w * n as f32).cos();
        im += window * sample * (w * n as f32).sin();
        sum += window;
    }
    2.0 * (re * re + im * im).sqrt() / sum
}

/// The sharpest bend: what a click is, and a tone is not.
pub(super) fn sharpest(pcm: &[f32]) -> f32 {
    pcm.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f32::max)
}
