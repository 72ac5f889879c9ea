//! The first reading: sizes and times of every frame, the mix, and from them the plan of every file.

use std::collections::BTreeMap;

use bytes::Bytes;
use mixer::{FRAME, Mix, PRE_SKIP, SamplePos, VoiceId};
use wire::ParticipantId;
use wire::control::{Codec, Source};
use wire::manifest::Content;

use super::File;
use crate::assembly::{Assembly, Piece, StreamKey};
use crate::error::{Error, Result};
use crate::frame::is_stereo;
use crate::mux::{Coding, Entry, Plan, Stream, parameter_sets};
use crate::packet::Micros;

/// The mix is made this far behind the newest arrival: past reordering, looking ahead, and slow ways.
const MIX_LAG: Micros = 6_000_000;

/// Duration of the last picture when nothing tells.
const LAST_PICTURE: Micros = 33_333;

/// What is noted of one stream.
#[derive(Debug, Default)]
struct Noted {
    entries: Vec<Entry>,
    size: Option<(u16, u16)>,
    sets: Option<(Vec<u8>, Vec<u8>)>,
    stereo: bool,
    voice: Option<VoiceId>,
}

/// The first reading's notes.
#[derive(Debug)]
pub(super) struct Survey {
    /// By the assembly's stream numbers.
    streams: BTreeMap<usize, Noted>,
    mix: Mix,
    /// The mixed track, 48 kbit/s: 22 MB for each hour.
    mixed: Vec<Bytes>,
}

/// Every person's files, then the mix with its packets.
type Planned = (Vec<File>, (File, Vec<Bytes>));

impl Survey {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { streams: BTreeMap::new(), mix: Mix::new()?, mixed: Vec::new() })
    }

    pub(super) fn note(&mut self, piece: Piece) -> Result<()> {
        let noted = self.streams.entry(piece.stream).or_default();
        let frame = piece.frame;
        if piece.duration > 0 {
            noted.stereo |= is_stereo(&frame.data);
            let voice = match noted.voice {
                Some(voice) => voice,
                None => *noted.voice.insert(self.mix.add_voice()?),
            };
            // What the codec refuses is left out of the mix; the person's own file has the packet all the same.
            if let Err(mixer::Error::UnknownVoice) = self.mix.push(voice, samples(frame.at), &frame.data, frame.missing)
            {
                return Err(mixer::Error::UnknownVoice.into());
            }
        } else if frame.key {
            noted.size = noted.size.or(frame.size);
            if noted.sets.is_none() {
                noted.sets = parameter_sets(&frame.data);
            }
        }
        let size = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
        noted.entries.push(Entry { at: frame.at, duration: piece.duration, size, key: frame.key });
        Ok(())
    }

    pub(super) fn mix_until(&mut self, now: Micros) -> Result<()> {
        let mixed = &mut self.mixed;
        self.mix.take_until(samples(now - MIX_LAG), |_, packet| {
            mixed.push(Bytes::copy_from_slice(packet));
            Ok::<_, Error>(())
        })
    }

    /// Every person's files, and the mix with its packets.
    pub(super) fn plan(mut self, assembly: &Assembly) -> Result<Planned> {
        let keys: Vec<StreamKey> = assembly.streams().collect();
        let mut people: BTreeMap<ParticipantId, Vec<(usize, StreamKey)>> = BTreeMap::new();
        for number in self.streams.keys() {
            if let Some(key) = keys.get(*number) {
                people.entry(key.participant).or_default().push((*number, *key));
            }
        }
        let mut files = Vec::new();
        for (participant, streams) in people {
            self.plan_person(participant, &streams, &mut files);
        }
        let end = files.iter().map(|file: &File| file.offset + file.plan.duration()).max().unwrap_or(0);
        // To the end of the last frame that anybody has, and one more for what the encoder still holds.
        let frame = SamplePos::try_from(FRAME).unwrap_or(SamplePos::MAX);
        let mixed = &mut self.mixed;
        self.mix.take_until(samples(end) + 2 * frame - 1, |_, packet| {
            mixed.push(Bytes::copy_from_slice(packet));
            Ok::<_, Error>(())
        })?;
        let entry = |(number, packet): (usize, &Bytes)| Entry {
            at: i64::try_from(number).unwrap_or(i64::MAX) * 20_000,
            duration: 20_000,
            size: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            key: true,
        };
        let entries = self.mixed.iter().enumerate().map(entry).collect();
        let coding = Coding::Audio { channels: 1, pre_skip: PRE_SKIP };
        let plan = Plan::new(vec![Stream { coding, entries }]);
        let mix = File { name: "mix.mp4".to_owned(), content: Content::Mix, streams: vec![0], offset: 0, plan };
        Ok((files, (mix, self.mixed)))
    }

    /// One person's files: the first camera stream with the voice; every other picture stream alone; a voice without any
    /// camera alone.
    fn plan_person(&self, participant: ParticipantId, streams: &[(usize, StreamKey)], files: &mut Vec<File>) {
        let begin =
            |number: usize| self.streams.get(&number).and_then(|noted| noted.entries.first()).map(|entry| entry.at);
        let mut pictures: Vec<_> = streams.iter().filter(|(_, key)| key.source != Source::Microphone).collect();
        pictures.sort_by_key(|(number, key)| (key.source != Source::Camera, begin(*number)));
        let mut voice = streams.iter().find(|(_, key)| key.source == Source::Microphone);
        if pictures.first().is_none_or(|(_, key)| key.source != Source::Camera)
            && let Some(voice) = voice.take()
        {
            files.extend(self.file(participant, &participant.to_string(), &[voice]));
        }
        let mut counts: BTreeMap<Source, u32> = BTreeMap::new();
        for picture in pictures {
            let count = counts.entry(picture.1.source).or_default();
            *count += 1;
            let name = match (picture.1.source, *count) {
                (Source::Camera | Source::Microphone, 1) => participant.to_string(),
                (Source::Camera | Source::Microphone, n) => format!("{participant}-camera-{n}"),
                (Source::Screen | Source::ScreenSound, 1) => format!("{participant}-screen"),
                (Source::Screen | Source::ScreenSound, n) => format!("{participant}-screen-{n}"),
            };
            let together: Vec<_> = std::iter::once(picture).chain(voice.take()).collect();
            files.extend(self.file(participant, &name, &together));
        }
    }

    fn file(&self, participant: ParticipantId, stem: &str, streams: &[&(usize, StreamKey)]) -> Option<File> {
        let noted = |number: &usize| self.streams.get(number).filter(|noted| !noted.entries.is_empty());
        let offset = streams.iter().filter_map(|(number, _)| noted(number)?.entries.first()).map(|e| e.at).min()?;
        let mut planned = Vec::new();
        for (number, key) in streams {
            let noted = noted(number)?;
            let coding = match key.codec {
                Codec::Opus => Coding::Audio { channels: if noted.stereo { 2 } else { 1 }, pre_skip: 0 },
                codec => {
                    let (width, height) = noted.size.unwrap_or((0, 0));
                    Coding::Video { codec, width, height, sets: noted.sets.clone() }
                }
            };
            planned.push(Stream { coding, entries: timed(&noted.entries, offset) });
        }
        let ending =
            if streams.iter().any(|(_, key)| matches!(key.codec, Codec::Vp8 | Codec::Vp9)) { "webm" } else { "mp4" };
        let sources = streams.iter().map(|(_, key)| key.source).collect();
        Some(File {
            name: format!("{stem}.{ending}"),
            content: Content::Participant { participant, sources },
            streams: streams.iter().map(|(number, _)| *number).collect(),
            offset,
            plan: Plan::new(planned),
        })
    }
}

/// Entries on the file's own timeline, each lasting until the next.
fn timed(entries: &[Entry], offset: Micros) -> Vec<Entry> {
    let mut typical = LAST_PICTURE;
    let mut timed: Vec<Entry> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let until = entries.get(index + 1).map(|next| next.at - entry.at);
        let own = if entry.duration > 0 { entry.duration } else { typical };
        let duration = until.unwrap_or(own);
        typical = duration.min(100_000);
        timed.push(Entry { at: entry.at - offset, duration, ..*entry });
    }
    timed
}

fn samples(at: Micros) -> SamplePos {
    at * 48 / 1000
}
