//! Fragmented MP4: H.264 as `avc3` (parameter sets in band), VP8 or VP9, with Opus, or Opus alone; `sidx` and durations at the front.

use bytes::Bytes;
use mp4_atom::{
    Audio, Avc3, Avcc, Codec, Dinf, Dops, Dref, DrefEntry, Encode, FixedPoint, Ftyp, Hdlr, Mdhd, Mdia, Mehd, Mfhd,
    Minf, Moof, Moov, Mvex, Mvhd, Opus, SegmentReference, Sidx, Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak,
    Trex, Trun, TrunEntry, TrunSamples, Url, Visual, Vmhd, Vp08, Vp09,
};
use wire::control::Codec as Coded;

use super::{Chunk, Coding, MuxError, Plan, Stream};
use crate::packet::Micros;

const MOVIE_SCALE: u32 = 1000;
const KEY: u32 = 0x0200_0000;
const NOT_KEY: u32 = 0x0101_0000;

fn scale(stream: &Stream) -> u32 {
    if stream.coding.is_video() { 90_000 } else { 48_000 }
}

/// A time in a track's own units. Durations are differences of these, so that rounding never adds up.
fn ticks(at: Micros, scale: u32) -> u64 {
    u64::try_from(i128::from(at) * i128::from(scale) / 1_000_000).unwrap_or(0)
}

fn track_id(index: usize) -> Result<u32, MuxError> {
    u32::try_from(index + 1).map_err(|_| MuxError::Size)
}

fn sample_entry(coding: &Coding) -> Result<Codec, MuxError> {
    Ok(match coding {
        Coding::Video { codec, width, height, sets } => {
            let visual = Visual { data_reference_index: 1, width: *width, height: *height, ..Visual::default() };
            match codec {
                Coded::Vp8 => Codec::Vp08(Vp08 { visual, ..Vp08::default() }),
                Coded::Vp9 => Codec::Vp09(Vp09 { visual, ..Vp09::default() }),
                Coded::H264 => {
                    let (sps, pps) = sets.as_ref().ok_or(MuxError::Plan)?;
                    Codec::Avc3(Avc3 { visual, avcc: Avcc::new(sps, pps)?, ..Avc3::default() })
                }
                Coded::Opus | Coded::Av1 => return Err(MuxError::Plan),
            }
        }
        Coding::Audio { channels, pre_skip } => Codec::Opus(Opus {
            audio: Audio {
                data_reference_index: 1,
                channel_count: u16::from(*channels),
                sample_size: 16,
                sample_rate: FixedPoint::new(48_000, 0),
            },
            dops: Dops {
                output_channel_count: *channels,
                pre_skip: *pre_skip,
                input_sample_rate: 48_000,
                output_gain: 0,
                channel_mapping: None,
            },
            btrt: None,
        }),
    })
}

fn trak(index: usize, stream: &Stream) -> Result<Trak, MuxError> {
    let (width, height) = match stream.coding {
        Coding::Video { width, height, .. } => (width, height),
        Coding::Audio { .. } => (0, 0),
    };
    let video = stream.coding.is_video();
    Ok(Trak {
        tkhd: Tkhd {
            track_id: track_id(index)?,
            enabled: true,
            in_movie: true,
            volume: u8::from(!video).into(),
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale: scale(stream), language: "und".to_owned(), ..Mdhd::default() },
            hdlr: Hdlr { handler: if video { b"vide".into() } else { b"soun".into() }, name: String::new() },
            minf: Minf {
                vmhd: video.then(Vmhd::default),
                smhd: (!video).then(Smhd::default),
                dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![sample_entry(&stream.coding)?] },
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                ..Minf::default()
            },
        },
        ..Trak::default()
    })
}

/// The fragment's description, and the bytes of its data.
fn moof(plan: &Plan, chunk: &Chunk, number: usize) -> Result<(Moof, u64), MuxError> {
    let mut traf = Vec::new();
    let mut offset = 0;
    for (index, stream) in plan.streams.iter().enumerate() {
        let frames = chunk.items.iter().filter(|(number, _)| *number == index).map(|(_, frame)| *frame);
        let mut samples = Vec::new();
        let mut begin = None;
        let mut bytes = 0;
        for frame in frames {
            let entry = stream.entries.get(frame).ok_or(MuxError::Plan)?;
            let end = stream.entries.get(frame + 1).map_or(entry.at + entry.duration, |next| next.at);
            let start = ticks(entry.at, scale(stream));
            begin.get_or_insert(start);
            bytes += u64::from(entry.size);
            samples.push(TrunEntry {
                duration: Some(u32::try_from(ticks(end, scale(stream)) - start).map_err(|_| MuxError::Size)?),
                size: Some(entry.size),
                flags: Some(if entry.key { KEY } else { NOT_KEY }),
                cts: None,
            });
        }
        if let Some(begin) = begin {
            traf.push(Traf {
                tfhd: Tfhd { track_id: track_id(index)?, default_base_is_moof: true, ..Tfhd::default() },
                tfdt: Some(Tfdt { base_media_decode_time: begin }),
                trun: vec![Trun {
                    data_offset: Some(i32::try_from(offset).map_err(|_| MuxError::Size)?),
                    samples: TrunSamples::Explicit(samples),
                }],
                ..Traf::default()
            });
            offset += bytes;
        }
    }
    let sequence_number = u32::try_from(number + 1).map_err(|_| MuxError::Size)?;
    Ok((Moof { mfhd: Mfhd { sequence_number }, traf }, offset))
}

fn encoded(atom: &impl Encode) -> Result<Vec<u8>, MuxError> {
    let mut bytes = Vec::new();
    atom.encode(&mut bytes)?;
    Ok(bytes)
}

/// `ftyp`, `moov` and `sidx`.
pub(super) fn head(plan: &Plan) -> Result<Vec<u8>, MuxError> {
    let ftyp = Ftyp {
        major_brand: b"iso6".into(),
        minor_version: 0,
        compatible_brands: vec![b"iso6".into(), b"mp41".into(), b"dash".into()],
    };
    let mut mvex =
        Mvex { mehd: Some(Mehd { fragment_duration: ticks(plan.duration(), MOVIE_SCALE) }), trex: Vec::new() };
    let mut trak_boxes = Vec::new();
    for (index, stream) in plan.streams.iter().enumerate() {
        mvex.trex.push(Trex { track_id: track_id(index)?, default_sample_description_index: 1, ..Trex::default() });
        trak_boxes.push(trak(index, stream)?);
    }
    let moov = Moov {
        mvhd: Mvhd {
            timescale: MOVIE_SCALE,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: track_id(plan.streams.len())?,
            ..Mvhd::default()
        },
        mvex: Some(mvex),
        trak: trak_boxes,
        ..Moov::default()
    };
    let mut bytes = [encoded(&ftyp)?, encoded(&moov)?].concat();
    if let Some(sidx) = sidx(plan)? {
        bytes.extend(encoded(&sidx)?);
    }
    Ok(bytes)
}

/// The index of fragments. Its count has 16 bits: a file of more (18 hours) goes without.
fn sidx(plan: &Plan) -> Result<Option<Sidx>, MuxError> {
    let (Some(first), Ok(_)) = (plan.chunks.first(), u16::try_from(plan.chunks.len())) else { return Ok(None) };
    // ffmpeg 5.1 reads these times in the track's own units, whatever unit the box names.
    let timescale = plan.streams.first().map_or(90_000, scale);
    let mut references = Vec::new();
    for (number, chunk) in plan.chunks.iter().enumerate() {
        let (moof, data) = moof(plan, chunk, number)?;
        let size = encoded(&moof)?.len() as u64 + 8 + data;
        let end = plan.chunks.get(number + 1).map_or(plan.duration(), |next| next.at);
        references.push(SegmentReference {
            reference_type: false,
            referenced_size: u32::try_from(size).map_err(|_| MuxError::Size)?,
            subsegment_duration: u32::try_from(ticks(end, timescale) - ticks(chunk.at, timescale))
                .map_err(|_| MuxError::Size)?,
            starts_with_sap: chunk.key,
            sap_type: u8::from(chunk.key),
            sap_delta_time: 0,
        });
    }
    let earliest_presentation_time = ticks(first.at, timescale);
    Ok(Some(Sidx { reference_id: 1, timescale, earliest_presentation_time, first_offset: 0, references }))
}

/// `moof` and `mdat`.
pub(super) fn chunk(plan: &Plan, chunk: &Chunk, number: usize, payloads: &[Bytes]) -> Result<Vec<u8>, MuxError> {
    let (mut moof, data) = moof(plan, chunk, number)?;
    // The offsets count from the fragment's first byte; only now is the length of what precedes them known.
    let before = i32::try_from(encoded(&moof)?.len() + 8).map_err(|_| MuxError::Size)?;
    for trun in moof.traf.iter_mut().flat_map(|traf| traf.trun.iter_mut()) {
        trun.data_offset = trun.data_offset.and_then(|offset| offset.checked_add(before));
    }
    let mut bytes = encoded(&moof)?;
    bytes.extend(u32::try_from(data + 8).map_err(|_| MuxError::Size)?.to_be_bytes());
    bytes.extend(b"mdat");
    for index in 0..plan.streams.len() {
        for ((stream, _), payload) in chunk.items.iter().zip(payloads) {
            if *stream == index {
                bytes.extend(payload);
            }
        }
    }
    Ok(bytes)
}
