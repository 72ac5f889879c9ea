//! All voices as one, cut at the marks; where it is ordered, with the picture of whoever speaks, which changes at the marks.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mixer::{FRAME, Mix, SamplePos, VoiceId};
use wire::ParticipantId;
use wire::control::Codec;
use wire::delivery::Folder;

use super::file::{self, Look, Sample};
use super::{EARLY, Object, PIECE, absolute, samples};
use crate::assembly::{Piece, StreamKey};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::mux::Coding;
use crate::packet::Micros;

/// The mix is made this far behind the newest arrival: past reordering, looking ahead, and slow ways.
const LAG: Micros = 6_000_000;

/// One packet of the mix.
const PACKET: Micros = 20_000;

/// Packets of one piece.
const PER_PIECE: usize = 250;

const _: () = assert!(250 * PACKET == PIECE, "a piece has whole packets");

/// Somebody's camera, as far as it may still be shown.
#[derive(Debug)]
struct Camera {
    key: StreamKey,
    frames: VecDeque<Frame>,
    /// Where the last frame ended up.
    until: Micros,
}

/// The mix, and the piece of it under way.
#[derive(Debug)]
pub(super) struct Sound {
    mix: Mix,
    voices: BTreeMap<usize, VoiceId>,
    begins: Micros,
    packets: Vec<Bytes>,
    /// The end of the last sound that came.
    until: Micros,
    with_speaker: bool,
    cameras: BTreeMap<usize, Camera>,
    /// From when on who speaks, oldest first.
    speaking: VecDeque<(Micros, Option<ParticipantId>)>,
    shown: Option<ParticipantId>,
    /// Pieces that are joined must be coded alike: the first picture decides.
    codec: Option<Codec>,
}

impl Sound {
    pub(super) fn new(with_speaker: bool) -> Result<Self> {
        Ok(Self {
            mix: Mix::new()?,
            voices: BTreeMap::new(),
            begins: 0,
            packets: Vec::new(),
            until: 0,
            with_speaker,
            cameras: BTreeMap::new(),
            speaking: VecDeque::new(),
            shown: None,
            codec: None,
        })
    }

    /// Somebody's sound.
    pub(super) fn hear(&mut self, stream: usize, piece: Piece) -> Result<()> {
        let voice = match self.voices.get(&stream) {
            Some(voice) => *voice,
            None => {
                let voice = self.mix.add_voice()?;
                self.voices.insert(stream, voice);
                voice
            }
        };
        self.until = self.until.max(piece.frame.at + piece.duration);
        let frame = piece.frame;
        // What the codec refuses is left out.
        match self.mix.push(voice, samples(frame.at), &frame.data, frame.missing) {
            Err(mixer::Error::UnknownVoice) => Err(mixer::Error::UnknownVoice.into()),
            _ => Ok(()),
        }
    }

    /// Somebody's camera.
    pub(super) fn see(&mut self, stream: usize, key: StreamKey, frame: &Frame) {
        self.until = self.until.max(frame.at);
        if self.with_speaker {
            let camera =
                self.cameras.entry(stream).or_insert_with(|| Camera { key, frames: VecDeque::new(), until: 0 });
            camera.until = frame.at;
            camera.frames.push_back(frame.clone());
        }
    }

    /// Who speaks from now on.
    pub(super) fn speaks(&mut self, at: Micros, who: Option<ParticipantId>) {
        if self.with_speaker {
            self.speaking.push_back((at, who));
        }
    }

    /// Mixes what has surely come, and gives the pieces that are whole.
    pub(super) fn mix_until(&mut self, now: Micros, zero: u64, out: &mut Vec<Object>) -> Result<()> {
        self.take(samples(now - LAG), zero, out)
    }

    /// Mixes the rest.
    pub(super) fn finish(mut self, now: Micros, zero: u64, out: &mut Vec<Object>) -> Result<()> {
        let end = self.until.max(now.min(self.until + PIECE));
        let frame = SamplePos::try_from(FRAME).unwrap_or(SamplePos::MAX);
        self.take(samples(end) + frame - 1, zero, out)?;
        if !self.packets.is_empty() {
            out.push(self.close(zero)?);
        }
        Ok(())
    }

    fn take(&mut self, until: SamplePos, zero: u64, out: &mut Vec<Object>) -> Result<()> {
        let step = SamplePos::try_from(FRAME).unwrap_or(SamplePos::MAX);
        while self.mix.at() + step <= until {
            let packets = &mut self.packets;
            // One at a time, so that a piece ends where it should.
            self.mix.take_until(self.mix.at() + step, |_, packet| {
                packets.push(Bytes::copy_from_slice(packet));
                Ok::<_, Error>(())
            })?;
            if self.packets.len() >= PER_PIECE {
                out.push(self.close(zero)?);
            }
        }
        Ok(())
    }

    fn close(&mut self, zero: u64) -> Result<Object> {
        let packets = std::mem::take(&mut self.packets);
        let begins = self.begins;
        let lasts = Micros::try_from(packets.len()).unwrap_or(0) * PACKET;
        let end = begins + lasts;
        self.begins = end;
        let voice = (0..).zip(packets).map(|(n, data)| Sample { at: n * PACKET, lasts: PACKET, key: true, data });
        let mut streams = vec![(Coding::Audio { channels: 1, pre_skip: 0 }, voice.collect())];
        let mut codecs = vec![Codec::Opus];
        if let Some((codec, coding, frames)) = self.choose(begins, end) {
            codecs.insert(0, codec);
            streams.push((coding, frames));
        }
        for camera in self.cameras.values_mut() {
            while camera.frames.pop_front_if(|frame| frame.at < end - EARLY).is_some() {}
        }
        while self.speaking.len() > 1 && self.speaking.get(1).is_some_and(|(at, _)| *at <= end) {
            self.speaking.pop_front();
        }
        let body = file::write(streams)?;
        let (begins, lasts) = (absolute(zero, begins), absolute(0, lasts));
        Ok(Object { folder: Folder::Audio, whose: None, codecs, begins, lasts, body })
    }

    /// The picture of a piece: of who spoke longest, else of who was shown before, else of anybody.
    fn choose(&mut self, begins: Micros, end: Micros) -> Option<(Codec, Coding, Vec<Sample>)> {
        let mut spoken: BTreeMap<ParticipantId, Micros> = BTreeMap::new();
        for (index, (from, who)) in self.speaking.iter().enumerate() {
            let to = self.speaking.get(index + 1).map_or(end, |(to, _)| *to);
            let time = to.min(end) - (*from).max(begins);
            if let Some(who) = who.filter(|_| time > 0) {
                *spoken.entry(who).or_default() += time;
            }
        }
        let rank = |camera: &Camera| {
            let who = camera.key.participant;
            (spoken.get(&who).copied().unwrap_or(0), self.shown == Some(who))
        };
        let mut cameras: Vec<&Camera> = self.cameras.values().collect();
        cameras.sort_by_key(|camera| std::cmp::Reverse(rank(camera)));
        let mut cameras = cameras.into_iter().filter(|c| self.codec.is_none_or(|codec| codec == c.key.codec));
        let (key, coding, frames) = cameras.find_map(|camera| {
            let (coding, frames) = camera.cut(begins, end)?;
            Some((camera.key, coding, frames))
        })?;
        self.shown = Some(key.participant);
        self.codec = Some(key.codec);
        Some((key.codec, coding, frames))
    }
}

impl Camera {
    /// What it shows in a piece, from its first keyframe on. What came shortly before the piece is at its beginning.
    fn cut(&self, begins: Micros, end: Micros) -> Option<(Coding, Vec<Sample>)> {
        let is_inside = |frame: &&Frame| frame.at >= begins - EARLY && frame.at < end;
        let mut look = Look::default();
        let mut samples: Vec<Sample> = Vec::new();
        for frame in self.frames.iter().filter(is_inside).skip_while(|frame| !frame.key) {
            if samples.is_empty() {
                look.note(frame);
            }
            let earliest = samples.last().map_or(0, |last| last.at + 1_000);
            let at = (frame.at - begins).max(earliest).min(end - begins - 1);
            samples.push(Sample { at, lasts: end - begins - at, key: frame.key, data: frame.data.clone() });
        }
        let coding = look.to_coding(self.key.codec);
        (!samples.is_empty()).then_some((coding, samples))
    }
}
