//! A `TapFrame` as bytes: one tag, fixed fields big-endian, a length where one is needed. Version 1, inside version 1 records.

use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;
use wire::control::{Codec, Source, TapEnd};
use wire::tap::{NodeMicros, TapFrame};
use wire::{Redacted, RoomId, TrackId};

const SOURCES: [Source; 4] = [Source::Microphone, Source::Camera, Source::Screen, Source::ScreenSound];
const CODECS: [Codec; 5] = [Codec::Opus, Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1];
const ENDS: [TapEnd; 4] = [TapEnd::Stopped, TapEnd::ConsentLost, TapEnd::RoomClosed, TapEnd::RecorderGone];

fn place<T: PartialEq>(of: &T, among: &[T]) -> u8 {
    among.iter().position(|one| one == of).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

pub(super) fn encode(frame: &TapFrame, out: &mut Vec<u8>) {
    let head = |out: &mut Vec<u8>, tag: u8, at: &NodeMicros| {
        out.put_u8(tag);
        out.put_u64(at.0);
    };
    match frame {
        TapFrame::Started { recording, room, at } => {
            head(out, 1, at);
            out.put_slice(recording.as_uuid().as_bytes());
            out.put_slice(room.as_uuid().as_bytes());
        }
        TapFrame::Track { track, participant, source, codec, at } => {
            head(out, 2, at);
            out.put_slice(track.as_uuid().as_bytes());
            out.put_slice(participant.as_uuid().as_bytes());
            out.put_u8(place(source, &SOURCES));
            out.put_u8(place(codec, &CODECS));
        }
        TapFrame::Rtp { track, at, packet } => {
            head(out, 3, at);
            out.put_slice(track.as_uuid().as_bytes());
            // A datagram has less than 64 KiB.
            let packet = packet.get(..usize::from(u16::MAX)).unwrap_or(packet);
            out.put_u16(u16::try_from(packet.len()).unwrap_or(0));
            out.put_slice(packet);
        }
        TapFrame::SenderReport { track, at, ntp, rtp, packets } => {
            head(out, 4, at);
            out.put_slice(track.as_uuid().as_bytes());
            out.put_u64(*ntp);
            out.put_u32(*rtp);
            out.put_u32(*packets);
        }
        TapFrame::TrackEnded { track, at } => {
            head(out, 5, at);
            out.put_slice(track.as_uuid().as_bytes());
        }
        TapFrame::Gap { packets, at } => {
            head(out, 6, at);
            out.put_u64(*packets);
        }
        TapFrame::Ended { reason, at } => {
            head(out, 7, at);
            out.put_u8(place(reason, &ENDS));
        }
        TapFrame::Note { note, at } => {
            head(out, 8, at);
            // Words of a participant have at most a few kilobytes.
            let note = note.reveal().as_bytes();
            let note = note.get(..usize::from(u16::MAX)).unwrap_or(note);
            out.put_u16(u16::try_from(note.len()).unwrap_or(0));
            out.put_slice(note);
        }
    }
}

/// The next frame; `None` at the end, or where the bytes make no sense.
pub(super) fn decode(rest: &mut Bytes) -> Option<TapFrame> {
    let uuid = |rest: &mut Bytes| -> Option<Uuid> {
        let mut id = [0; 16];
        rest.try_copy_to_slice(&mut id).ok()?;
        Some(Uuid::from_bytes(id))
    };
    let track = |rest: &mut Bytes| uuid(rest).map(TrackId::from_uuid);
    let tag = rest.try_get_u8().ok()?;
    let at = NodeMicros(rest.try_get_u64().ok()?);
    Some(match tag {
        1 => TapFrame::Started { recording: uuid(rest)?.into(), room: RoomId::from_uuid(uuid(rest)?), at },
        2 => TapFrame::Track {
            track: track(rest)?,
            participant: uuid(rest)?.into(),
            source: *SOURCES.get(usize::from(rest.try_get_u8().ok()?))?,
            codec: *CODECS.get(usize::from(rest.try_get_u8().ok()?))?,
            at,
        },
        3 => {
            let track = track(rest)?;
            let length = usize::from(rest.try_get_u16().ok()?);
            if rest.len() < length {
                return None;
            }
            TapFrame::Rtp { track, at, packet: rest.split_to(length) }
        }
        4 => TapFrame::SenderReport {
            track: track(rest)?,
            at,
            ntp: rest.try_get_u64().ok()?,
            rtp: rest.try_get_u32().ok()?,
            packets: rest.try_get_u32().ok()?,
        },
        5 => TapFrame::TrackEnded { track: track(rest)?, at },
        6 => TapFrame::Gap { packets: rest.try_get_u64().ok()?, at },
        8 => {
            let length = usize::from(rest.try_get_u16().ok()?);
            if rest.len() < length {
                return None;
            }
            let note = String::from_utf8_lossy(&rest.split_to(length)).into_owned();
            TapFrame::Note { note: Redacted::new(note), at }
        }
        7 => TapFrame::Ended { reason: *ENDS.get(usize::from(rest.try_get_u8().ok()?))?, at },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::{ParticipantId, RecordingId};

    #[test]
    fn every_frame_comes_back() {
        let at = NodeMicros(1_700_000_000_000_000);
        let track = TrackId::random();
        let mut frames = vec![
            TapFrame::Started { recording: RecordingId::random(), room: RoomId::random(), at },
            TapFrame::Rtp { track, at, packet: Bytes::from_static(b"packet") },
            TapFrame::Rtp { track, at, packet: Bytes::new() },
            TapFrame::SenderReport { track, at, ntp: u64::MAX, rtp: 7, packets: 9 },
            TapFrame::TrackEnded { track, at },
            TapFrame::Gap { packets: 3, at },
            TapFrame::Note { note: Redacted::new("{\"note\":\"left\",\"alias\":\"\u{e9}\"}".to_owned()), at },
        ];
        for (source, codec) in SOURCES.into_iter().cycle().zip(CODECS) {
            frames.push(TapFrame::Track { track, participant: ParticipantId::random(), source, codec, at });
        }
        frames.extend(ENDS.map(|reason| TapFrame::Ended { reason, at }));
        let mut out = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut out));
        let mut rest = Bytes::from(out);
        let back: Vec<_> = std::iter::from_fn(|| decode(&mut rest)).collect();
        assert_eq!(back, frames);
        assert!(rest.is_empty());
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut rest = Bytes::from(bytes);
            while decode(&mut rest).is_some() {}
        }
    }
}
