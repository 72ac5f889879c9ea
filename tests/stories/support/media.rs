//! Pictures and sound that can be recognised: a test picture of ffmpeg as VP8, and Opus silence.

use std::path::Path;

use bytes::Bytes;
use tokio::process::Command;

/// A 20 ms Opus packet of silence (CELT, 48 kHz, RFC 6716 section 3.1).
pub(crate) const OPUS_SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

pub(crate) const FRAMES_PER_SECOND: u32 = 30;

/// Three seconds of 320x180 at 30 frames a second, a keyframe each half second, all in this colour.
pub(crate) async fn vp8_frames(colour: &str) -> Vec<Bytes> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picture.ivf");
    let source = format!("color={colour}:size=320x180:rate={FRAMES_PER_SECOND}");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &source, "-t", "3", "-c:v", "libvpx", "-deadline", "realtime"])
        .args(["-g", "15", "-b:v", "300k", "-y"])
        .arg(&file)
        .output()
        .await
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{output:?}");
    ivf_frames(&std::fs::read(file).unwrap())
}

/// IVF: a 32-byte header, then for each frame a length, a timestamp of 8 bytes, and the frame.
fn ivf_frames(file: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut rest = &file[32..];
    while let Some((header, tail)) = rest.split_at_checked(12) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        frames.push(Bytes::copy_from_slice(&tail[..length]));
        rest = &tail[length..];
    }
    assert!(frames.len() > 60);
    frames
}

/// What ffprobe says of a file.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Codec name of each stream.
    pub(crate) codecs: Vec<String>,
    /// Seconds.
    pub(crate) duration: f64,
}

pub(crate) async fn probe(file: &Path) -> Probe {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name:format=duration", "-of", "json"])
        .arg(file)
        .output()
        .await
        .expect("ffprobe is installed");
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let streams = report["streams"].as_array().unwrap();
    Probe {
        codecs: streams.iter().map(|stream| stream["codec_name"].as_str().unwrap().to_owned()).collect(),
        duration: report["format"]["duration"].as_str().unwrap().parse().unwrap(),
    }
}

/// Red, green and blue in the middle of the picture one second in.
pub(crate) async fn middle_colour(file: &Path) -> [u8; 3] {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-ss", "1", "-i"])
        .arg(file)
        .args(["-frames:v", "1", "-vf", "crop=2:2", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .await
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{output:?}");
    output.stdout[..3].try_into().unwrap()
}
