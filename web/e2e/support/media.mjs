// Test pictures and tones, made fresh and never committed, and what ffprobe and ffmpeg say about recordings.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What each person shows and hums. */
export const CLINICIAN = { name: 'clinician', colour: [42, 111, 219], tone: 440 };
export const PATIENT = { name: 'patient', colour: [222, 120, 40], tone: 880 };

const run = (tool, args, options = {}) => execFileSync(tool, ['-v', 'error', ...args], { maxBuffer: 1 << 28, ...options });

/** A plain colour with a small moving pattern in its corner, so that it costs what a talking head costs; and a tone. */
export function makeSources() {
  const folder = mkdtempSync(join(tmpdir(), 'anteroom-sources-'));
  const make = ({ name, colour, tone }) => {
    const video = join(folder, `${name}.y4m`);
    const audio = join(folder, `${name}.wav`);
    const hex = `0x${colour.map((part) => part.toString(16).padStart(2, '0')).join('')}`;
    run('ffmpeg', [
      '-y', '-f', 'lavfi', '-i', `color=c=${hex}:size=640x360:rate=30`, '-f', 'lavfi', '-i', 'testsrc2=size=160x90:rate=30',
      '-filter_complex', '[0][1]overlay=8:8', '-t', '3', '-pix_fmt', 'yuv420p', video,
    ]);
    // Whole periods, so that the loop has no click.
    run('ffmpeg', ['-y', '-f', 'lavfi', '-i', `sine=frequency=${tone}:sample_rate=48000`, '-t', '4', '-ac', '1', audio]);
    return { video, audio };
  };
  return { clinician: make(CLINICIAN), patient: make(PATIENT), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Streams and duration of a file in seconds. */
export function probe(file) {
  const text = execFileSync('ffprobe', ['-v', 'error', '-print_format', 'json', '-show_format', '-show_streams', file], { encoding: 'utf8' });
  const { streams, format } = JSON.parse(text);
  return { video: streams.filter((one) => one.codec_type === 'video'), audio: streams.filter((one) => one.codec_type === 'audio'), seconds: Number(format.duration) };
}

/** Duration by decoding: the time of the last frame of each kind, in seconds. */
export function decodedSpan(file, kind) {
  const select = kind === 'video' ? 'v:0' : 'a:0';
  const text = execFileSync('ffprobe', ['-v', 'error', '-select_streams', select, '-show_entries', 'frame=best_effort_timestamp_time', '-of', 'csv=p=0', file], {
    encoding: 'utf8', maxBuffer: 1 << 28,
  });
  const times = text.split('\n').map((line) => Number.parseFloat(line)).filter(Number.isFinite);
  return { frames: times.length, first: times[0] ?? NaN, last: times.at(-1) ?? NaN };
}

/** Mean colour of the middle of the picture at `second`. */
export function colourAt(file, second) {
  const bytes = run('ffmpeg', ['-ss', String(second), '-i', file, '-frames:v', '1', '-vf', 'crop=iw/3:ih/3,scale=1:1', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']);
  return [...bytes.subarray(0, 3)];
}

export function colourDistance(a, b) {
  return Math.max(...a.map((part, index) => Math.abs(part - b[index])));
}

/**
 * How strong a tone is against the whole of a second of sound, 0 to 1: Goertzel over each tenth of it, and the middle of those.
 * A tenth at a time, because the fake microphone starts its file again every few seconds: a tone whose two halves are out of
 * phase would cancel itself over a longer span.
 */
export function toneShare(file, frequency, fromSecond) {
  const rate = 48_000;
  const bytes = run('ffmpeg', ['-ss', String(fromSecond), '-i', file, '-t', '1', '-ac', '1', '-ar', String(rate), '-f', 'f32le', '-']);
  const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.byteLength & ~3)));
  const shares = [];
  for (let from = 0; from + rate / 10 <= samples.length; from += rate / 10) {
    shares.push(goertzel(samples.subarray(from, from + rate / 10), frequency, rate));
  }
  shares.sort((a, b) => a - b);
  return shares[shares.length >> 1] ?? 0;
}

/** The part of a span's power that lies at one frequency. */
function goertzel(samples, frequency, rate) {
  const k = 2 * Math.cos((2 * Math.PI * frequency) / rate);
  let [total, before, earlier] = [0, 0, 0];
  for (const sample of samples) {
    total += sample * sample;
    [before, earlier] = [sample + k * before - earlier, before];
  }
  const power = before * before + earlier * earlier - k * before * earlier;
  return Math.min(1, (2 * power) / (samples.length * Math.max(total, 1e-12)));
}
