//! WebM: VP8 or VP9 and Opus, clusters of known size, Cues and Duration at the front (RFC 9559, RFC 8794).

use bytes::Bytes;
use wire::control::Codec;

use super::{Chunk, Coding, MuxError, Plan, Stream};
use crate::packet::Micros;

const SEEK_HEAD: &[u8] = &[0x11, 0x4d, 0x9b, 0x74];
const INFO: &[u8] = &[0x15, 0x49, 0xa9, 0x66];
const TRACKS: &[u8] = &[0x16, 0x54, 0xae, 0x6b];
const CUES: &[u8] = &[0x1c, 0x53, 0xbb, 0x6b];
const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];

/// What a decoder needs before a seek point to sound right, in nanoseconds (RFC 7845 section 4.6).
const OPUS_PRE_ROLL: u64 = 80_000_000;

/// An element whose size takes eight bytes, so that its length does not depend on what is inside.
fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let size = (1u64 << 56) | body.len() as u64;
    [id, &size.to_be_bytes(), body].concat()
}

fn number(id: &[u8], value: u64) -> Vec<u8> {
    [id, &[0x88], &value.to_be_bytes()].concat()
}

fn float(id: &[u8], value: f64) -> Vec<u8> {
    [id, &[0x88], &value.to_be_bytes()].concat()
}

fn millis(at: Micros) -> u64 {
    u64::try_from((at + 500) / 1000).unwrap_or(0)
}

fn cluster_size(plan: &Plan, chunk: &Chunk) -> u64 {
    let blocks = chunk.items.iter().filter_map(|item| plan.entry(*item)).map(|entry| 9 + u64::from(entry.size));
    12 + 10 + blocks.sum::<u64>()
}

fn track(index: usize, stream: &Stream) -> Vec<u8> {
    let number_of = index as u64 + 1;
    let mut body = [number(&[0xd7], number_of), number(&[0x73, 0xc5], number_of), number(&[0x9c], 0)].concat();
    match &stream.coding {
        Coding::Video { codec, width, height, .. } => {
            body.extend(number(&[0x83], 1));
            body.extend(element(&[0x86], if *codec == Codec::Vp9 { b"V_VP9" } else { b"V_VP8" }));
            let size = [number(&[0xb0], u64::from(*width)), number(&[0xba], u64::from(*height))].concat();
            body.extend(element(&[0xe0], &size));
        }
        Coding::Audio { channels, pre_skip } => {
            let [low, high] = pre_skip.to_le_bytes();
            let head =
                [b"OpusHead".as_slice(), &[1, *channels, low, high], &48_000u32.to_le_bytes(), &[0, 0, 0]].concat();
            body.extend(number(&[0x83], 2));
            body.extend(element(&[0x86], b"A_OPUS"));
            body.extend(element(&[0x63, 0xa2], &head));
            body.extend(number(&[0x56, 0xaa], u64::from(*pre_skip) * 1_000_000 / 48));
            body.extend(number(&[0x56, 0xbb], OPUS_PRE_ROLL));
            let sound = [float(&[0xb5], 48_000.0), number(&[0x9f], u64::from(*channels))].concat();
            body.extend(element(&[0xe1], &sound));
        }
    }
    element(&[0xae], &body)
}

fn cues(plan: &Plan, first_cluster: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let mut at = first_cluster;
    for chunk in &plan.chunks {
        if chunk.key {
            let place = [number(&[0xf7], 1), number(&[0xf1], at)].concat();
            let point = [number(&[0xb3], millis(chunk.at)), element(&[0xb7], &place)].concat();
            body.extend(element(&[0xbb], &point));
        }
        at += cluster_size(plan, chunk);
    }
    element(CUES, &body)
}

/// Everything before the first cluster.
pub(super) fn head(plan: &Plan) -> Result<Vec<u8>, MuxError> {
    let text = |id: &[u8]| element(id, b"anteroom");
    let name = [
        number(&[0x42, 0x86], 1),
        number(&[0x42, 0xf7], 1),
        number(&[0x42, 0xf2], 4),
        number(&[0x42, 0xf3], 8),
        element(&[0x42, 0x82], b"webm"),
        number(&[0x42, 0x87], 4),
        number(&[0x42, 0x85], 2),
    ]
    .concat();
    let duration = f64::from(u32::try_from(millis(plan.duration())).map_err(|_| MuxError::Size)?);
    let info = [
        number(&[0x2a, 0xd7, 0xb1], 1_000_000),
        float(&[0x44, 0x89], duration),
        text(&[0x4d, 0x80]),
        text(&[0x57, 0x41]),
    ];
    let info = element(INFO, &info.concat());
    let tracks: Vec<u8> = plan.streams.iter().enumerate().flat_map(|(index, stream)| track(index, stream)).collect();
    let tracks = element(TRACKS, &tracks);
    let seek =
        |id: &[u8], at: u64| element(&[0x4d, 0xbb], &[element(&[0x53, 0xab], id), number(&[0x53, 0xac], at)].concat());
    let seek_head = |info_at: u64, tracks_at: u64, cues_at: u64| {
        element(SEEK_HEAD, &[seek(INFO, info_at), seek(TRACKS, tracks_at), seek(CUES, cues_at)].concat())
    };
    // Positions count from the segment's first byte; every size is known, for all fields have fixed widths.
    let info_at = seek_head(0, 0, 0).len() as u64;
    let tracks_at = info_at + info.len() as u64;
    let cues_at = tracks_at + tracks.len() as u64;
    let first_cluster = cues_at + cues(plan, 0).len() as u64;
    let segment = first_cluster + plan.chunks.iter().map(|chunk| cluster_size(plan, chunk)).sum::<u64>();
    let open = [&[0x18, 0x53, 0x80, 0x67][..], &((1u64 << 56) | segment).to_be_bytes()].concat();
    let name = element(&[0x1a, 0x45, 0xdf, 0xa3], &name);
    Ok([name, open, seek_head(info_at, tracks_at, cues_at), info, tracks, cues(plan, first_cluster)].concat())
}

/// One cluster.
pub(super) fn chunk(plan: &Plan, chunk: &Chunk, payloads: &[Bytes]) -> Result<Vec<u8>, MuxError> {
    let begin = millis(chunk.at);
    let mut body = number(&[0xe7], begin);
    for (item, payload) in chunk.items.iter().zip(payloads) {
        let entry = plan.entry(*item).ok_or(MuxError::Plan)?;
        let stream = u8::try_from(item.0 + 1).ok().filter(|n| *n < 0x7f).ok_or(MuxError::Size)?;
        let since = i16::try_from(millis(entry.at).saturating_sub(begin)).map_err(|_| MuxError::Size)?;
        let size = u32::try_from(payload.len() + 4).ok().filter(|n| *n < 1 << 28).ok_or(MuxError::Size)?;
        body.push(0xa3);
        body.extend((size | 1 << 28).to_be_bytes());
        body.push(0x80 | stream);
        body.extend(since.to_be_bytes());
        body.push(if entry.key { 0x80 } else { 0 });
        body.extend(payload);
    }
    Ok(element(CLUSTER, &body))
}
