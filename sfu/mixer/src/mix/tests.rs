use std::f32::consts::TAU;

use super::*;
use crate::PRE_SKIP;
use opus::Decoder;
use proptest::prelude::*;

/// Packets of a tone, 20 ms each.
fn tone(hertz: f32, frames: usize, level: f32) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Voip).unwrap();
    let wave = |n: usize| level * (TAU * hertz * (n as f32) / 48_000.0).sin();
    let frame = |k: usize| (k * FRAME..(k + 1) * FRAME).map(wave).collect::<Vec<_>>();
    (0..frames).map(|k| encoder.encode_vec_float(&frame(k), MAX_PACKET).unwrap()).collect()
}

/// What a player hears of the mix.
fn hear(mix: &mut Mix, until: SamplePos) -> Vec<f32> {
    let mut decoder = Decoder::new(RATE, Channels::Mono).unwrap();
    let mut heard = Vec::new();
    let mut frame = [0.0; FRAME];
    mix.take_until::<Error>(until, |_, packet| {
        let samples = decoder.decode_float(packet, &mut frame, false)?;
        heard.extend_from_slice(&frame[..samples]);
        Ok(())
    })
    .unwrap();
    heard.drain(..usize::from(PRE_SKIP));
    heard
}

/// Strength of one frequency (Goertzel), as an amplitude.
fn strength(pcm: &[f32], hertz: f32) -> f32 {
    let w = TAU * hertz / 48_000.0;
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        re += sample * (w * n as f32).cos();
        im += sample * (w * n as f32).sin();
    }
    2.0 * (re * re + im * im).sqrt() / pcm.len() as f32
}

fn pos(frame: usize) -> SamplePos {
    SamplePos::try_from(frame * FRAME).unwrap()
}

#[test]
fn two_tones_are_both_heard_at_their_places() {
    let mut mix = Mix::new().unwrap();
    let (a, b) = (mix.add_voice().unwrap(), mix.add_voice().unwrap());
    let (low, high) = (tone(440.0, 100, 0.3), tone(1000.0, 50, 0.3));
    for (k, packet) in low.iter().enumerate() {
        mix.push(a, pos(k), packet, 0).unwrap();
    }
    for (k, packet) in high.iter().enumerate() {
        mix.push(b, pos(50 + k), packet, 0).unwrap();
    }
    let heard = hear(&mut mix, pos(100));
    let (early, late) = (&heard[10 * FRAME..45 * FRAME], &heard[60 * FRAME..95 * FRAME]);
    assert!(strength(early, 440.0) > 0.2 && strength(early, 1000.0) < 0.01);
    assert!(strength(late, 440.0) > 0.2 && strength(late, 1000.0) > 0.2);
}

#[test]
fn loud_voices_do_not_clip_hard() {
    let mut mix = Mix::new().unwrap();
    for _ in 0..4 {
        let voice = mix.add_voice().unwrap();
        for (k, packet) in tone(300.0, 25, 0.6).iter().enumerate() {
            mix.push(voice, pos(k), packet, 0).unwrap();
        }
    }
    let heard = hear(&mut mix, pos(25));
    assert!(heard.iter().all(|s| s.abs() < 1.2));
}

#[test]
fn a_loss_is_concealed_and_a_gap_is_silent() {
    let packets = tone(440.0, 100, 0.4);
    let mut mix = Mix::new().unwrap();
    let voice = mix.add_voice().unwrap();
    for (k, packet) in packets.iter().enumerate() {
        match k {
            30..32 => {}
            32 => mix.push(voice, pos(k), packet, 2).unwrap(),
            50..80 => {}
            80 => mix.push(voice, pos(k), packet, 30).unwrap(),
            _ => mix.push(voice, pos(k), packet, 0).unwrap(),
        }
    }
    let heard = hear(&mut mix, pos(100));
    assert!(strength(&heard[30 * FRAME..32 * FRAME], 440.0) > 0.1, "two lost frames are guessed");
    assert!(strength(&heard[60 * FRAME..75 * FRAME], 440.0) < 0.01, "a long loss is silence");
    assert!(strength(&heard[85 * FRAME..99 * FRAME], 440.0) > 0.3);
}

#[test]
fn drift_is_absorbed_without_a_click() {
    // A sender whose clock is 200 ppm slow: each packet belongs a fifth of a sample later than the last one ended.
    let packets = tone(440.0, 1000, 0.4);
    let mut mix = Mix::new().unwrap();
    let voice = mix.add_voice().unwrap();
    let mut heard = Vec::new();
    let mut decoder = Decoder::new(RATE, Channels::Mono).unwrap();
    let mut frame = [0.0; FRAME];
    for (k, packet) in packets.iter().enumerate() {
        let at = pos(k) + SamplePos::try_from(k / 5).unwrap();
        mix.push(voice, at, packet, 0).unwrap();
        let end = mix.voices[0].end();
        assert!((at + 960 - end).abs() <= DEADBAND_BOUND, "{k}: {}", at + 960 - end);
        mix.take_until::<Error>(at, |_, packet| {
            let samples = decoder.decode_float(packet, &mut frame, false)?;
            heard.extend_from_slice(&frame[..samples]);
            Ok(())
        })
        .unwrap();
    }
    let steady = &heard[5000..heard.len() - 2000];
    let jump = steady.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f32::max);
    // The tone itself bends by 0.4 * w^2 = 0.0013 per sample.
    assert!(jump < 0.05, "{jump}");
}

const DEADBAND_BOUND: SamplePos = 10;

#[test]
fn the_same_input_gives_the_same_bytes() {
    let run = || {
        let mut mix = Mix::new().unwrap();
        let voice = mix.add_voice().unwrap();
        for (k, packet) in tone(440.0, 20, 0.4).iter().enumerate() {
            mix.push(voice, pos(k) + 3, packet, 0).unwrap();
        }
        let mut out = Vec::new();
        mix.take_until::<Error>(pos(20), |at, packet| {
            out.push((at, packet.to_vec()));
            Ok(())
        })
        .unwrap();
        out
    };
    assert_eq!(run(), run());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn noise_never_panics_and_never_lags(
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), -100_000i64..3_000_000, 0u32..9), 0..40)
    ) {
        let mut mix = Mix::new().unwrap();
        let voice = mix.add_voice().unwrap();
        for (packet, at, missing) in packets {
            // Whether it is refused is the codec's affair; what must hold is the bound.
            drop(mix.push(voice, at, &packet, missing));
            prop_assert!(mix.voices[0].ready.len() <= 31 * 48_000);
        }
        mix.take_until::<Error>(pos(50), |_, _| Ok(())).unwrap();
        prop_assert_eq!(mix.at(), pos(50));
    }
}
