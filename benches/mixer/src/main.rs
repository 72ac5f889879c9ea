//! `bench-mixer`: what the live mixer costs in meetings of several sizes, and how much later its sound comes than a packet that is
//! forwarded as it is.
#![allow(clippy::print_stdout, reason = "a report on the terminal is what it is for")]

mod voice;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use mixer::live::{Counts, INTERVAL, Live, Spoken};
use mixer::{FRAME, RATE};
use opus::{Application, Bitrate, Channels, Decoder, Encoder};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use self::voice::Speech;

/// Measures the live mixer in virtual time: only its own work counts.
#[derive(Parser)]
struct Arguments {
    /// Where to write all figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds of each meeting.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq)]
enum Talk {
    /// One after the other, four seconds each; the others are muted.
    Turns,
    /// Everybody, all the time.
    All,
}

struct Meeting {
    people: u32,
    talk: Talk,
    /// Packets come up to so much later than the fastest.
    jitter: Duration,
}

struct Outcome {
    /// Share of a core for the whole meeting.
    share: f64,
    counts: Counts,
    /// How much later sound leaves the mixer than it came.
    delay: f64,
}

const MS: Duration = Duration::from_millis(1);
/// The listener whose ears are used: it says nothing while the first one speaks.
const EAR: u32 = 1;

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Packets as browsers send speech: 32 kbit/s with a copy of each frame in the next one.
fn encode(seed: u64, frames: u32, speaks: impl Fn(u32) -> bool) -> Result<Vec<(Bytes, Option<u8>)>, opus::Error> {
    let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::Bits(32_000))?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(5)?;
    let mut speech = Speech::new(seed);
    (0..frames)
        .map(|frame| {
            let mut pcm = [0.0; FRAME];
            if speaks(frame) {
                speech.fill(&mut pcm);
            }
            let level = if speaks(frame) { 30 } else { 127 };
            Ok((encoder.encode_vec_float(&pcm, 1275)?.into(), Some(level)))
        })
        .collect()
}

/// Sound laid where it can be heard, in samples since the start.
fn lay(line: &mut Vec<f32>, at: Duration, pcm: &[f32]) {
    let place = usize::try_from(at.as_micros() * u128::from(RATE) / 1_000_000).unwrap_or(usize::MAX);
    if place > line.len() {
        line.resize(place, 0.0);
    }
    line.extend_from_slice(pcm);
}

/// By how many milliseconds the second line is later: where the two are most alike.
fn lag(first: &[f32], second: &[f32]) -> f64 {
    const STEP: usize = 6;
    const MOST: usize = 200 * 48;
    let from = 48_000;
    let part = |line: &[f32], at: usize| -> Vec<f32> {
        line.iter().skip(at).step_by(STEP).take(2 * 48_000 / STEP).copied().collect()
    };
    let reference = part(first, from);
    let likeness = |lag: usize| {
        let other = part(second, from + lag);
        let product: f32 = reference.iter().zip(&other).map(|(a, b)| a * b).sum();
        let energy: f32 = other.iter().map(|b| b * b).sum();
        product / energy.max(1e-9).sqrt()
    };
    let best = (0..MOST).step_by(STEP).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap_or_default();
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let millis = best as f64 / 48.0;
    millis
}

#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of virtual time")]
fn hold(meeting: &Meeting, seconds: u32) -> Result<Outcome, Box<dyn std::error::Error>> {
    let start = Instant::now();
    let frames = seconds * 50;
    let turn = |frame: u32| frame / 200 % meeting.people;
    let voices: Vec<_> = (0..meeting.people)
        .map(|id| encode(u64::from(id) + 1, frames, |frame| meeting.talk == Talk::All || turn(frame) == id))
        .collect::<Result<_, _>>()?;
    let mut rng = StdRng::seed_from_u64(5);
    // What comes when, in order.
    let mut packets: Vec<(Duration, u32, u64)> = Vec::new();
    for id in 0..meeting.people {
        for number in 0..frames {
            let sent = INTERVAL * number + MS * (id * 7 % 20) + 20 * MS;
            packets.push((sent + meeting.jitter.mul_f64(rng.random()), id, u64::from(number)));
        }
    }
    packets.sort_unstable();
    let mut packets = VecDeque::from(packets);

    let mut live = Live::new(start, 0);
    let all: Vec<u32> = (0..meeting.people).collect();
    live.plan(start, &all, all.iter().map(|id| (*id, vec![*id])).collect())?;
    let (mut plain, mut heard) = (Decoder::new(RATE, Channels::Mono)?, Decoder::new(RATE, Channels::Mono)?);
    let (mut came, mut left) = (Vec::new(), Vec::new());
    let mut pcm = [0.0; FRAME];
    let mut spent = Duration::ZERO;
    let mut now = Duration::ZERO;
    while now < INTERVAL * frames {
        now += MS;
        let mut work = Vec::new();
        while let Some((arrived, id, number)) = packets.pop_front_if(|(arrived, ..)| *arrived <= now) {
            let voice = voices.get(id as usize).and_then(|packets| packets.get(usize::try_from(number).ok()?));
            let Some((payload, level)) = voice else { continue };
            if id == 0 && meeting.jitter.is_zero() {
                let samples = plain.decode_float(payload, &mut pcm, false)?;
                lay(&mut came, arrived, pcm.get(..samples).unwrap_or_default());
            }
            work.push((id, Spoken { arrived: start + arrived, number, level: *level, payload: payload.clone() }));
        }
        let mut ear = None;
        let before = thread_time();
        work.into_iter().for_each(|(id, packet)| live.push(id, packet));
        live.take_until(start + now, |mixed| {
            if mixed.listeners.contains(&EAR) {
                ear = Some(mixed.payload.to_vec());
            }
        })?;
        spent += thread_time().saturating_sub(before);
        if let Some(payload) = ear {
            let samples = heard.decode_float(&payload, &mut pcm, false)?;
            lay(&mut left, now, pcm.get(..samples).unwrap_or_default());
        }
    }
    let delay = if meeting.jitter.is_zero() && meeting.talk == Talk::Turns { lag(&came, &left) } else { f64::NAN };
    Ok(Outcome { share: spent.as_secs_f64() / now.as_secs_f64(), counts: *live.counts(), delay })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    println!("people  who speaks  jitter   core     per attendee  encodes/frame  waits    later by  guessed");
    let mut figures = Vec::new();
    for people in [3, 6, 10] {
        for (talk, jitter) in [(Talk::Turns, Duration::ZERO), (Talk::All, Duration::ZERO), (Talk::Turns, 30 * MS)] {
            let meeting = Meeting { people, talk, jitter };
            let outcome = match hold(&meeting, arguments.seconds) {
                Ok(outcome) => outcome,
                Err(error) => {
                    println!("the meeting failed: {error}");
                    return ExitCode::FAILURE;
                }
            };
            let Outcome { share, counts, delay } = outcome;
            #[allow(clippy::cast_precision_loss, reason = "some thousands")]
            let (encodes, waits, guessed) = (
                counts.encoded as f64 / counts.frames as f64,
                counts.waited.as_secs_f64() * 1000.0 / counts.decoded as f64,
                counts.concealed as f64 / counts.decoded as f64,
            );
            let name = if talk == Talk::All { "all" } else { "one" };
            let each = share / f64::from(people);
            let later = if delay.is_nan() { "-".to_owned() } else { format!("{delay:.1} ms") };
            println!(
                "{people:>6}  {name:<10}  {:>3} ms  {:>6.2} %  {:>9.3} %   {encodes:>8.2}       {waits:>5.1} ms  {later:>8}  {:.2} %",
                jitter.as_millis(),
                share * 100.0,
                each * 100.0,
                guessed * 100.0,
            );
            figures.push(json!({
                "people": people,
                "speaking": name,
                "jitter_ms": u64::try_from(jitter.as_millis()).unwrap_or_default(),
                "core": share,
                "core_per_attendee": each,
                "encodes_per_frame": encodes,
                "wait_ms": waits,
                "delay_ms": if delay.is_nan() { None } else { Some(delay) },
                "guessed": guessed,
            }));
        }
    }
    if let Some(path) = arguments.json
        && let Err(error) = std::fs::write(&path, json!({ "mixer": figures }).to_string())
    {
        println!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
