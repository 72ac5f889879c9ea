//! Real coded media, made by `ffmpeg` and libopus, cut into RTP packets as a browser does, and laid out as Tap frames.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use opus::{Application, Channels, Encoder};
use wire::control::{Codec, Source, TapEnd};
use wire::tap::{NodeMicros, TapFrame};
use wire::{ParticipantId, RecordingId, RoomId, TrackId};

/// The node's clock at the recording's zero.
pub(crate) const ZERO: u64 = 1_790_000_000_000_000;

const MTU: usize = 1100;

/// One coded picture.
pub(crate) struct Picture {
    pub(crate) data: Vec<u8>,
}

pub(crate) fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let out = Command::new(program).args(args).output().expect("ffmpeg is installed");
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// VP8 test pictures at 30 per second, a keyframe each second.
pub(crate) fn vp8(size: &str, seconds: u32) -> Vec<Picture> {
    let source = format!("testsrc2=size={size}:rate=30:duration={seconds}");
    let args =
        ["-v", "error", "-f", "lavfi", "-i", &source, "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"];
    let more = ["-b:v", "400k", "-g", "30", "-auto-alt-ref", "0", "-f", "ivf", "-"];
    let ivf = run("ffmpeg", &[&args[..], &more[..]].concat());
    let mut rest = &ivf[32..];
    let mut pictures = Vec::new();
    while rest.len() > 12 {
        let length = usize::try_from(u32::from_le_bytes(rest[..4].try_into().unwrap())).unwrap();
        pictures.push(Picture { data: rest[12..12 + length].to_vec() });
        rest = &rest[12 + length..];
    }
    pictures
}

/// H.264 constrained baseline at 30 per second, parameter sets before each keyframe; each picture in Annex B form.
pub(crate) fn h264(size: &str, seconds: u32) -> Vec<Picture> {
    let source = format!("testsrc2=size={size}:rate=30:duration={seconds}");
    let args =
        ["-v", "error", "-f", "lavfi", "-i", &source, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"];
    let more = ["-tune", "zerolatency", "-profile:v", "baseline", "-g", "30", "-x264-params", "aud=1:slices=1"];
    let end = ["-b:v", "400k", "-f", "h264", "-"];
    let stream = run("ffmpeg", &[&args[..], &more[..], &end[..]].concat());
    let mut pictures: Vec<Picture> = Vec::new();
    for unit in annex_b(&stream) {
        if unit[0] & 0x1f == 9 || pictures.is_empty() {
            pictures.push(Picture { data: Vec::new() });
        }
        let picture = pictures.last_mut().unwrap();
        picture.data.extend([0, 0, 0, 1]);
        picture.data.extend(unit);
    }
    pictures
}

fn annex_b(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    for at in 0..stream.len().saturating_sub(3) {
        if stream[at..at + 3] == [0, 0, 1] {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).map(|next| if stream[next - 1] == 0 { next - 1 } else { *next });
    starts.iter().zip(ends.chain([stream.len()])).map(|(start, end)| &stream[start + 3..end]).collect()
}

/// Opus packets of a tone, 20 ms each.
pub(crate) fn tone(hertz: f32, seconds: usize) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
    let wave = |n: usize| 0.4 * (std::f32::consts::TAU * hertz * (n as f32) / 48_000.0).sin();
    let frame = |k: usize| (k * 960..(k + 1) * 960).map(wave).collect::<Vec<_>>();
    (0..seconds * 50).map(|k| encoder.encode_vec_float(&frame(k), 1275).unwrap()).collect()
}

/// Lays media out in time. Frames are sorted by arrival at the end.
pub(crate) struct Script {
    pub(crate) recording: RecordingId,
    pub(crate) room: RoomId,
    frames: Vec<(u64, TapFrame)>,
}

/// A publisher's Track while it is scripted.
pub(crate) struct Sender {
    track: TrackId,
    codec: Codec,
    pub(crate) sequence: u16,
    base: u32,
    packets: u32,
}

impl Script {
    pub(crate) fn new() -> Self {
        let (recording, room) = (RecordingId::random(), RoomId::random());
        let frames = vec![(0, TapFrame::Started { recording, room, at: NodeMicros(ZERO) })];
        Self { recording, room, frames }
    }

    pub(crate) fn track(&mut self, at: u64, participant: ParticipantId, source: Source, codec: Codec) -> Sender {
        let track = TrackId::random();
        self.frames.push((at, TapFrame::Track { track, participant, source, codec, at: NodeMicros(ZERO + at) }));
        Sender { track, codec, sequence: 65_500, base: 4_294_900_000, packets: 0 }
    }

    /// A note of the Room.
    #[allow(dead_code, reason = "only deliveries have notes")]
    pub(crate) fn note(&mut self, at: u64, note: &wire::delivery::Note) {
        let note = wire::Redacted::new(serde_json::to_string(note).unwrap());
        self.frames.push((at, TapFrame::Note { note, at: NodeMicros(ZERO + at) }));
    }

    /// One picture or packet of sound, captured at `made` (microseconds), on its way for 20 ms.
    pub(crate) fn send(&mut self, sender: &mut Sender, made: u64, data: &[u8]) {
        let payloads = match sender.codec {
            Codec::Opus => vec![data.to_vec()],
            Codec::Vp8 => vp8_payloads(data, sender.packets),
            Codec::H264 => h264_payloads(data),
            Codec::Vp9 | Codec::Av1 => Vec::new(),
        };
        let last = payloads.len() - 1;
        for (index, payload) in payloads.iter().enumerate() {
            let arrival = made + 20_000 + index as u64 * 100;
            let marker = sender.codec != Codec::Opus && index == last;
            self.packet(sender, made, arrival, marker, payload);
        }
    }

    fn packet(&mut self, sender: &mut Sender, made: u64, arrival: u64, marker: bool, payload: &[u8]) {
        let mut packet = vec![0x90, 96 | u8::from(marker) << 7];
        packet.extend(sender.sequence.to_be_bytes());
        packet.extend(sender.timestamp(made).to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        packet.extend(payload);
        sender.sequence = sender.sequence.wrapping_add(1);
        sender.packets += 1;
        let frame = TapFrame::Rtp { track: sender.track, at: NodeMicros(ZERO + arrival), packet: packet.into() };
        self.frames.push((arrival, frame));
    }

    pub(crate) fn report(&mut self, sender: &Sender, made: u64) {
        let (seconds, rest) = (made / 1_000_000, made % 1_000_000);
        let ntp = ((3_900_000_000 + seconds) << 32) | ((rest << 32) / 1_000_000);
        let at = made + 20_000;
        let (track, rtp, packets) = (sender.track, sender.timestamp(made), sender.packets);
        self.frames.push((at, TapFrame::SenderReport { track, at: NodeMicros(ZERO + at), ntp, rtp, packets }));
    }

    /// Pictures at 30 per second from `from` on, with reports.
    pub(crate) fn show(&mut self, sender: &mut Sender, from: u64, pictures: &[Picture]) {
        for (k, picture) in (0u64..).zip(pictures) {
            let made = from + k * 1_000_000 / 30;
            self.send(sender, made, &picture.data);
            if k % 15 == 10 {
                self.report(sender, made);
            }
        }
    }

    /// Sound from `from` on, with reports.
    pub(crate) fn say(&mut self, sender: &mut Sender, from: u64, packets: &[Vec<u8>]) {
        for (k, packet) in (0u64..).zip(packets) {
            self.send(sender, from + k * 20_000, packet);
            if k % 250 == 115 {
                self.report(sender, from + k * 20_000);
            }
        }
    }

    /// Everything in order of arrival, with or without an orderly end.
    pub(crate) fn frames(mut self, ended: bool) -> Vec<TapFrame> {
        self.frames.sort_by_key(|(at, _)| *at);
        let end = self.frames.last().map_or(0, |(at, _)| *at);
        let mut frames: Vec<TapFrame> = self.frames.into_iter().map(|(_, frame)| frame).collect();
        if ended {
            frames.push(TapFrame::Ended { reason: TapEnd::Stopped, at: NodeMicros(ZERO + end) });
        }
        frames
    }
}

impl Sender {
    fn timestamp(&self, made: u64) -> u32 {
        let ticks = made * u64::from(self.codec.clock_rate()) / 1_000_000;
        self.base.wrapping_add(u32::try_from(ticks % (1 << 32)).unwrap())
    }
}

fn vp8_payloads(data: &[u8], picture: u32) -> Vec<Vec<u8>> {
    let [.., high, low] = (picture & 0x7fff | 0x8000).to_be_bytes();
    let payload = |(index, part): (usize, &[u8])| [&[0x80 | u8::from(index == 0) << 4, 0x80, high, low], part].concat();
    data.chunks(MTU).enumerate().map(payload).collect()
}

fn h264_payloads(data: &[u8]) -> Vec<Vec<u8>> {
    let units: Vec<&[u8]> = annex_b(data);
    let mut payloads = Vec::new();
    let (sets, rest): (Vec<&[u8]>, Vec<&[u8]>) = units.into_iter().partition(|unit| matches!(unit[0] & 0x1f, 7 | 8));
    if !sets.is_empty() {
        let mut stap = vec![24];
        for set in sets {
            stap.extend(u16::try_from(set.len()).unwrap().to_be_bytes());
            stap.extend(set);
        }
        payloads.push(stap);
    }
    for unit in rest {
        if unit.len() <= MTU {
            payloads.push(unit.to_vec());
            continue;
        }
        let parts: Vec<&[u8]> = unit[1..].chunks(MTU).collect();
        for (index, part) in parts.iter().enumerate() {
            let bits = u8::from(index == 0) << 7 | u8::from(index + 1 == parts.len()) << 6 | unit[0] & 0x1f;
            payloads.push([&[unit[0] & 0x60 | 28, bits], *part].concat());
        }
    }
    payloads
}

/// What `ffprobe` says of one stream of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Probed {
    pub(crate) codec: String,
    pub(crate) frames: usize,
    /// Of the first and the last packet, in seconds.
    pub(crate) first: f64,
    pub(crate) last: f64,
}

/// Counts the packets of one stream (`v:0` or `a:0`).
pub(crate) fn probe(file: &Path, stream: &str) -> Option<Probed> {
    let path = file.to_str().unwrap();
    let args = ["-v", "error", "-select_streams", stream, "-of", "csv=p=0", "-show_entries"];
    let text = |what: &str| String::from_utf8(run("ffprobe", &[&args[..], &[what, path]].concat())).unwrap();
    let codec = text("stream=codec_name").trim().trim_end_matches(',').to_owned();
    let times = text("packet=pts_time");
    let times: Vec<f64> = times.lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect();
    let (first, last) = (*times.first()?, *times.last()?);
    Some(Probed { codec, frames: times.len(), first, last })
}

/// Decodes every frame and fails on any complaint.
pub(crate) fn decode_all(file: &Path) {
    let args = ["-v", "warning", "-xerror", "-i", file.to_str().unwrap(), "-f", "null", "-"];
    let out = Command::new("ffmpeg").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.trim().is_empty(), "{}: {said}", file.display());
}

/// Duration of the file as its header says it, in seconds.
pub(crate) fn duration(file: &Path) -> f64 {
    let args = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file.to_str().unwrap()];
    String::from_utf8(run("ffprobe", &args)).unwrap().trim().parse().unwrap()
}

/// The decoded sound, mono 48 kHz.
pub(crate) fn sound(file: &Path) -> Vec<f32> {
    let args =
        ["-v", "error", "-i", file.to_str().unwrap(), "-map", "a:0", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"];
    run("ffmpeg", &args).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Strength of one frequency (Goertzel), as an amplitude.
pub(crate) fn strength(pcm: &[f32], hertz: f32) -> f32 {
    let w = std::f32::consts::TAU * hertz / 48_000.0;
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        re += sample * (w * n as f32).cos();
        im += sample * (w * n as f32).sin();
    }
    2.0 * (re * re + im * im).sqrt() / pcm.len() as f32
}

/// The payload bytes that must never lie in the clear: the end of every packet that is long enough to be unmistakable.
pub(crate) fn needles(frames: &[TapFrame]) -> Vec<Bytes> {
    let long = |frame: &TapFrame| match frame {
        TapFrame::Rtp { packet, .. } if packet.len() > 60 => Some(packet.slice(packet.len() - 32..)),
        _ => None,
    };
    frames.iter().filter_map(long).collect()
}
