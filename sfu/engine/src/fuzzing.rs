//! Doors for the fuzz targets into what parses bytes of a Peer. Not part of the crate's face.

use std::io::Cursor;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::control::{Codec, Manner, SlotTrack, Source};
use wire::{ParticipantId, TrackId};

use crate::history::Patch;
use crate::negotiate::{self, Answer, Coding, Format, FormatFeedback, RedFormat, SectionAnswer, Sending, Sources};
use crate::rtp::arrivals;
use crate::rtp::extension::{self, Ids, NewBlock};
use crate::rtp::feedback::Feedback;
use crate::rtp::rtcp::{self, Compound, Rtcp};
use crate::rtp::{av1, dependency, h264, packet, red, vp8, vp9};
use crate::sound::Reach;
use crate::subscription::Slot;
use crate::track::{Extras, Track};

/// The ids for which the seeds are made.
const IDS: Ids = Ids {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    dependency: Some(6),
    one_way: 0,
};

/// An offer: refused, or answered by something that is SDP again.
pub fn sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(offer) = negotiate::read(text) else { return };
    let sending = Sending { stream: "pair-0".into(), track: "slot-0".into(), ssrc: 1, rtx_ssrc: 2 };
    let parts = offer.sections.iter().map(|section| SectionAnswer {
        section,
        receives: section.sends,
        sending: section.receives.then(|| sending.clone()),
    });
    let answer = Answer {
        session_id: 1,
        version: 1,
        ufrag: "ufrag",
        pwd: "pwd",
        fingerprint: "AA",
        addresses: &[([192, 0, 2, 1], 5000).into()],
        tcp_addresses: &[([192, 0, 2, 1], 5000).into()],
        mixes_extensions: offer.mixes_extensions,
        manner: Manner::Chime,
        sections: parts.collect(),
    };
    let text = negotiate::write(&answer);
    let parsed = rtc_sdp::SessionDescription::unmarshal(&mut Cursor::new(&text)).expect("an answer is SDP");
    assert_eq!(parsed.media_descriptions.len(), offer.sections.len(), "one section for each that was offered");
}

/// One decrypted RTP packet: header, extensions, both video payload formats.
pub fn rtp(data: &[u8]) {
    let Some(header) = packet::read(data) else { return };
    let _found = extension::read(data, &header, &IDS);
    let payload = data.get(header.payload).expect("the payload lies inside the packet");
    let _descriptor = vp8::read(payload);
    let _starts = h264::starts_keyframe(payload) || av1::starts_keyframe(payload);
    if let Some(descriptor) = vp9::read(payload) {
        assert!(descriptor.picture_id.is_none_or(|(at, is_long)| at + usize::from(is_long) < payload.len()));
    }
}

/// A VP8 payload: what is said to be there is there, and ids written over it are read back.
pub fn vp8(data: &[u8]) {
    let Some(descriptor) = vp8::read(data) else { return };
    if let Some((at, is_long)) = descriptor.picture_id {
        assert!(at + usize::from(is_long) < data.len(), "a picture id lies inside the payload");
        let mut copy = data.to_vec();
        let place = |at: usize| u8::try_from(at).expect("a descriptor is a few bytes long");
        let tl0 = descriptor.tl0picidx.map(|at| (place(at), 0xa5));
        Patch { id: Some((place(at), 0x1234u16.to_be_bytes(), is_long)), tl0 }.apply(&mut copy);
        assert_eq!(vp8::read(&copy), Some(descriptor), "new ids change nothing else");
        assert!(descriptor.tl0picidx.is_none_or(|at| copy.get(at) == Some(&0xa5)));
    }
    assert!(!descriptor.starts_keyframe || descriptor.starts_frame);
    assert!(descriptor.temporal.is_none_or(|(layer, _)| layer < 4));
}

/// A VP9 payload.
pub fn vp9(data: &[u8]) {
    let Some(descriptor) = vp9::read(data) else { return };
    assert!(descriptor.picture_id.is_none_or(|(at, is_long)| at + usize::from(is_long) < data.len()));
    assert!(descriptor.tl0picidx.is_none_or(|at| at < data.len()));
    assert!(descriptor.spatial < 8 && descriptor.temporal < 8);
    assert!(!descriptor.starts_keyframe() || descriptor.starts_frame);
}

/// An H.264 payload.
pub fn h264(data: &[u8]) {
    assert!(!h264::starts_keyframe(data) || data.len() > 1, "a keyframe is more than a header");
}

/// An AV1 payload.
pub fn av1(data: &[u8]) {
    assert!(!av1::starts_keyframe(data) || data.len() > 1);
}

/// Redundant audio: what is said to be there is there, another name changes nothing else, and the two frames before can be
/// written again.
pub fn red(data: &[u8]) {
    let Some(read) = red::read(data) else { return };
    let primary = data.get(read.primary.clone()).expect("the own frame lies inside the payload");
    let mut copy = data.to_vec();
    red::rename(&mut copy, 5);
    assert_eq!(red::read(&copy), Some(red::Red { payload_type: 5, ..read.clone() }));
    let earlier = || {
        let blocks = read.near.iter().rev().flatten();
        blocks
            .filter_map(|block| Some((block.offset, data.get(block.at.clone())?)))
            .filter(|(o, b)| red::fits(b.len(), *o))
    };
    let mut written = Vec::new();
    red::write(&mut written, read.payload_type, earlier(), primary);
    let again = red::read(&written).expect("what we write can be read");
    assert_eq!(written.get(again.primary), Some(primary));
    assert_eq!(again.count, earlier().count());
}

/// A voice in any order, with redundancy or without, through a Track and onto a slot: no number leaves twice. Each four bytes
/// are one packet: its number, how many frames it repeats and what else happens, the time that passes.
pub fn voice(data: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
    let mut now = Instant::now();
    let coding = Coding { codec: Codec::Opus, profile: None };
    let id = TrackId::from_uuid(uuid::Uuid::from_u128(1));
    let mut track = Track::new(id, "0".into(), Source::Microphone, coding, now);
    track.set_sources(&Sources { named: vec![(7, None)], ..Sources::default() }, now);
    let sending = Sending { stream: String::new(), track: String::new(), ssrc: 1, rtx_ssrc: 2 };
    let mut slot = Slot::new("0".into(), wire::control::Kind::Audio, 0, sending, 0, 0);
    let red = Some(RedFormat { payload_type: 63, is_first: true });
    let feedback = FormatFeedback::default();
    slot.formats = vec![Format {
        codec: Codec::Opus,
        payload_type: 111,
        rtx: None,
        red,
        profile: None,
        parameters: None,
        feedback,
    }];
    let participant = ParticipantId::from_uuid(uuid::Uuid::from_u128(2));
    slot.attach(SlotTrack { participant, source: Source::Microphone, track: id }, coding);
    let mut left = rustc_hash::FxHashSet::default();
    for operation in data.chunks_exact(4) {
        let &[high, low, what, wait] = operation else { return };
        now += Duration::from_millis(u64::from(wait));
        let sequence = u16::from_be_bytes([high, low]);
        let mut bytes = vec![0x80, 63, high, low];
        bytes.extend_from_slice(&(u32::from(sequence) * 960).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 7]);
        let frame = [low, what];
        let repeated = (1..=u32::from(what & 3)).rev().map(|back| (960 * back, &frame[..]));
        red::write(&mut bytes, 111, repeated, &frame);
        let bytes = Bytes::from(bytes);
        let header = packet::read(&bytes).expect("a header of ours");
        let extras = Extras { red: (what & 4 == 0).then_some(111), ..Extras::default() };
        if let Ok(incoming) = track.take(0, bytes, &header, extras, now) {
            let recovered = track.take_recovered();
            assert!(recovered.len() <= red::REACH);
            for one in recovered.iter().chain([&incoming]) {
                let Ok(leaving) = slot.forward(one, now) else { continue };
                assert!(left.insert(leaving.number), "a number left twice");
                let reach = Reach { wanted: usize::from(what >> 3 & 3), most: usize::from(what >> 5 & 3) };
                let sound = slot.dress(leaving, one, reach);
                let mut out = Vec::new();
                sound.write(&mut out);
                let is_red = sound.header.payload_type == 63;
                assert!(!is_red || red::read(&out).is_some(), "what we write can be read");
            }
        }
        if what & 128 != 0 {
            track.forget_recent();
        }
    }
}

/// An extension block of either form, and one of ours read back.
pub fn extension(data: &[u8]) {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    packet.extend_from_slice(data);
    if let Some(header) = packet::read(&packet) {
        let found = extension::read(&packet, &header, &IDS);
        let named = [found.mid, found.rid, found.repaired_rid, found.dependency];
        assert!(named.into_iter().flatten().map(<[u8]>::len).sum::<usize>() <= data.len());
    }
    let (Some((&level, rest)), Some(number)) = (data.split_first(), packet::word(data, 1)) else { return };
    let dependency = rest.get(2..rest.len().min(200)).filter(|bytes| !bytes.is_empty());
    let block = NewBlock {
        audio_level: Some((4, level)),
        transport_number: Some((5, number)),
        dependency: dependency.map(|bytes| (6, bytes)),
    };
    let mut ours = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    extension::write(&mut ours, &block);
    ours.push(1);
    let header = packet::read(&ours).expect("what we write can be read");
    let found = extension::read(&ours, &header, &IDS);
    assert_eq!((found.audio_level, found.transport_number, found.dependency), (Some(level), Some(number), dependency));
}

/// The body of transport-wide feedback: bounded, and no number without a status.
pub fn arrivals(data: &[u8]) {
    let mut statuses = Vec::new();
    if arrivals::read(data, &mut statuses).is_some() {
        let total = packet::word(data, 10).expect("a report that was read has a count");
        assert_eq!(statuses.len(), usize::from(total));
        assert!(statuses.len() <= 4096, "a report has a bound");
    }
}

/// Dependency descriptors of one stream, one after the other: a byte says how long each is.
pub fn dependency(data: &[u8]) {
    let mut structure = None;
    let mut rest = data;
    while let Some((&len, after)) = rest.split_first() {
        let Some((bytes, after)) = after.split_at_checked(usize::from(len)) else { return };
        rest = after;
        let Some(read) = dependency::read(bytes, structure.as_ref()) else { continue };
        let targets = &read.structure.targets;
        assert!((1..=32).contains(&targets.len()) && read.spatial < 8 && read.temporal < 8);
        let active = read.active.unwrap_or(u32::MAX);
        for spatial in 0..4 {
            let found = read.structure.find(spatial, 3, active);
            assert!(found.is_none_or(|target| usize::from(target) < targets.len()));
        }
        structure = Some(read.structure);
    }
}

/// One decrypted RTCP compound.
pub fn rtcp(data: &[u8]) {
    for part in Compound::new(data) {
        match part {
            Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks } => {
                assert!(rtcp::blocks(blocks).count() <= 31, "a report has at most 31 blocks");
            }
            Rtcp::Nack { items, .. } => assert!(rtcp::lost_numbers(items).count() <= items.len() / 4 * 17),
            Rtcp::FullIntra { entries } => drop(rtcp::intra_sources(entries).count()),
            Rtcp::TransportFeedback { body } => {
                let mut statuses = Vec::new();
                if arrivals::read(body, &mut statuses).is_some() {
                    assert!(statuses.len() <= 4096, "a report has a bound");
                }
            }
            Rtcp::PictureLoss { .. } | Rtcp::ReceiverLimit { .. } | Rtcp::Other => {}
        }
    }
}

/// A publisher's packets in any order, through a Track and onto a slot: no number leaves twice. Each five bytes are one
/// packet: what it is, its sequence number, the time that passes.
pub fn flow(data: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
    let mut now = Instant::now();
    let coding = Coding { codec: Codec::Vp8, profile: None };
    let id = TrackId::from_uuid(uuid::Uuid::from_u128(1));
    let mut track = Track::new(id, "1".into(), Source::Camera, coding, now);
    track.set_sources(&Sources { named: vec![(7, Some(8))], ..Sources::default() }, now);
    let sending = Sending { stream: String::new(), track: String::new(), ssrc: 1, rtx_ssrc: 2 };
    let mut slot = Slot::new("1".into(), wire::control::Kind::Video, 0, sending, 0, 0);
    let feedback = FormatFeedback::default();
    slot.formats = vec![Format {
        codec: Codec::Vp8,
        payload_type: 96,
        rtx: Some(97),
        red: None,
        profile: None,
        parameters: None,
        feedback,
    }];
    let participant = ParticipantId::from_uuid(uuid::Uuid::from_u128(2));
    slot.attach(SlotTrack { participant, source: Source::Camera, track: id }, coding);
    let mut reports = Feedback::new(now);
    let mut left = rustc_hash::FxHashSet::default();
    for operation in data.chunks_exact(5) {
        let &[what, high, low, wait, _] = operation else { return };
        now += Duration::from_millis(u64::from(wait));
        let sequence = u16::from_be_bytes([high, low]);
        reports.note(sequence, now);
        let payload: &[u8] = match what & 3 {
            0 => &[0x90, 0x80, 0x81, low, 0x10],
            1 => &[0x90, 0x80, 0x81, low, 0x11],
            2 => &[0x80, 0x80, 0x81, low, 0x11],
            _ => &[],
        };
        let mut bytes = vec![0x80, if what & 4 == 0 { 96 } else { 97 }];
        bytes.extend_from_slice(&[high, low, 0, 0, high, low, 0, 0, 0, 7]);
        if what & 4 != 0 {
            bytes.extend_from_slice(&[high, low]);
        }
        bytes.extend_from_slice(payload);
        let bytes = Bytes::from(bytes);
        let header = packet::read(&bytes).expect("a header of ours");
        let taken = if what & 4 == 0 {
            track.take(0, bytes, &header, Extras::default(), now)
        } else {
            track.take_repair(0, &bytes, &header, (96, Extras::default()), now)
        };
        if let Ok(incoming) = taken
            && let Ok(leaving) = slot.forward(&incoming, now)
        {
            assert!(left.insert(leaving.number), "a number left twice");
        }
        let _due = track.streams.first_mut().map(|stream| stream.nack.poll(now, None));
        if slot.history.find(sequence, None, now).is_some() {
            slot.history.note_replayed(sequence, now);
        }
        if what & 64 != 0 {
            while reports.poll(1, 2).is_some_and(|report| report.len() <= 1200) {}
        }
        if what & 128 != 0 {
            slot.set_muted(what & 32 != 0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 13] = [
        ("sdp", sdp),
        ("rtp", rtp),
        ("rtcp", rtcp),
        ("flow", flow),
        ("vp8", vp8),
        ("vp9", vp9),
        ("h264", h264),
        ("av1", av1),
        ("extension", extension),
        ("arrivals", arrivals),
        ("dependency", dependency),
        ("red", red),
        ("voice", voice),
    ];

    /// What fuzzing found or began with.
    #[test]
    fn the_corpus_is_survived() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (name, target) in TARGETS {
            let mut inputs = 0;
            for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(entry.unwrap().path()).unwrap());
                inputs += 1;
            }
            assert!(inputs >= 2, "{inputs} inputs for {name}");
        }
    }

    proptest! {
        #[test]
        fn any_flow_is_survived(data in prop::collection::vec(any::<u8>(), 0..600)) {
            flow(&data);
            voice(&data);
        }

        #[test]
        fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..120)) {
            for (name, target) in TARGETS {
                if name != "flow" {
                    target(&data);
                }
            }
        }
    }
}
