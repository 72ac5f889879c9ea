//! The numbers under which pictures are offered to clients of a translated face.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use wire::ParticipantId;
use wire::control::{PublishedTrack, Source};

use crate::live::face::{Announced, Given, Stream};
use crate::live::roster::SocketId;

/// The most cameras that are on at once.
pub(crate) const MAX_CAMERAS: usize = 25;

/// The most encodings of one picture.
pub(crate) const MAX_ENCODINGS: usize = 3;

/// What an encoding takes at most when its sender does not say, in kilobits per second: alone, and as one of several.
const ALONE_KBITS: u32 = 1500;
const SEVERAL_KBITS: [u32; MAX_ENCODINGS] = [200, 600, 1500];

/// Frames a second when the sender does not say.
const FRAMERATE: u32 = 15;

/// Gives numbers, each once and each greater than all before.
#[derive(Debug, Default)]
pub(crate) struct Numbers(u32);

impl Numbers {
    /// The next one. After four thousand million of them the last one is given for ever.
    pub(crate) const fn next(&mut self) -> u32 {
        self.0 = self.0.saturating_add(1);
        self.0
    }
}

/// The pictures of a Room by their publishers.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    groups: BTreeMap<(ParticipantId, Source), Group>,
    tracks: Vec<PublishedTrack>,
}

/// The encodings of one picture.
#[derive(Debug)]
struct Group {
    number: u32,
    /// Whose announcement it is; none for a native client, which announces nothing.
    announced_by: Option<SocketId>,
    is_on: bool,
    encodings: Vec<Encoding>,
    /// Something of it came in, since it is on.
    has_flowed: bool,
}

#[derive(Debug)]
struct Encoding {
    number: u32,
    announced: Announced,
}

impl Group {
    fn new(numbers: &mut Numbers, announced_by: Option<SocketId>, announced: impl Iterator<Item = Announced>) -> Self {
        let encodings = announced.map(|announced| Encoding { number: numbers.next(), announced }).collect();
        Self { number: numbers.next(), announced_by, is_on: true, encodings, has_flowed: false }
    }
}

impl Streams {
    /// A client says what it is going to send of a source; nothing while that is off. Numbers hold as long as the connection does.
    pub(crate) fn announce(
        &mut self,
        numbers: &mut Numbers,
        place: (ParticipantId, Source),
        socket: SocketId,
        announced: &[Announced],
    ) -> Vec<Given> {
        let known = self.groups.get_mut(&place).filter(|group| group.announced_by == Some(socket));
        let group = match known {
            None if announced.is_empty() => {
                // Of an earlier connection, if there is any: it does not go on.
                self.groups.remove(&place);
                return Vec::new();
            }
            Some(group) if announced.is_empty() => {
                (group.is_on, group.has_flowed) = (false, false);
                return Vec::new();
            }
            Some(group) if group.encodings.len() == announced.len() => {
                group.is_on = true;
                for (encoding, announced) in group.encodings.iter_mut().zip(announced) {
                    encoding.announced = *announced;
                }
                &*group
            }
            _ => {
                let group = Group::new(numbers, Some(socket), announced.iter().copied());
                self.groups.insert(place, group);
                &self.groups[&place]
            }
        };
        group.encodings.iter().map(|e| Given { stream: e.number, group: group.number }).collect()
    }

    /// The media node says what is published.
    pub(crate) fn publish(&mut self, numbers: &mut Numbers, tracks: Vec<PublishedTrack>) {
        self.tracks = tracks;
        self.tracks.retain(|track| matches!(track.source, Source::Camera | Source::Screen));
        let tracks = &self.tracks;
        self.groups.retain(|place, group| {
            group.announced_by.is_some() || tracks.iter().any(|t| (t.participant, t.source) == *place)
        });
        for track in tracks {
            self.groups.entry((track.participant, track.source)).or_insert_with(|| {
                let count = track.kbits.len().clamp(1, MAX_ENCODINGS);
                Group::new(numbers, None, (0..count).map(|_| Announced { most_kbits: 0, framerate: FRAMERATE }))
            });
        }
        for track in tracks {
            if let Some(group) = self.groups.get_mut(&(track.participant, track.source)) {
                group.has_flowed |= flows(track);
            }
        }
    }

    /// True for a source of a translated client that is on and was sent, and of which nothing comes in any more: its encoder stands still,
    /// for want of bandwidth. A native client says so itself.
    pub(crate) fn is_stuck(&self, who: ParticipantId, source: Source) -> bool {
        let group = self.groups.get(&(who, source)).filter(|group| group.is_on && group.announced_by.is_some());
        let mut tracks = self.tracks.iter().filter(|track| (track.participant, track.source) == (who, source));
        group.is_some_and(|group| group.has_flowed) && tracks.all(|track| !flows(track))
    }

    /// Somebody's connection is gone, and its numbers with it.
    pub(crate) fn forget(&mut self, who: ParticipantId, source: Source) {
        self.groups.remove(&(who, source));
        self.tracks.retain(|track| (track.participant, track.source) != (who, source));
    }

    /// True when a source is announced by a translated client and on.
    pub(crate) fn is_announced(&self, who: ParticipantId, source: Source) -> bool {
        self.groups.get(&(who, source)).is_some_and(|group| group.is_on && group.announced_by.is_some())
    }

    /// Every picture that is on: its Track, its group and its encodings. Whether a native client's is on only the Room knows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PublishedTrack, u32, Vec<Stream>)> {
        self.tracks.iter().filter_map(|track| {
            let group = self.groups.get(&(track.participant, track.source)).filter(|group| group.is_on)?;
            Some((track, group.number, group.to_streams(track)))
        })
    }

    /// What each stream takes at present.
    pub(crate) fn rates(&self) -> Vec<(u32, u32)> {
        let rates = self.iter().flat_map(|(track, _, streams)| {
            streams.into_iter().filter_map(|s| Some((s.number, *track.kbits.get(usize::from(s.layer))?)))
        });
        rates.filter(|(_, kbits)| *kbits > 0).collect()
    }
}

fn flows(track: &PublishedTrack) -> bool {
    track.kbits.iter().any(|kbits| *kbits > 0)
}

impl Group {
    /// The encodings that are sent, each with a truthful bound: a client chooses by it.
    fn to_streams(&self, track: &PublishedTrack) -> Vec<Stream> {
        let is_one = self.encodings.len() == 1;
        let is_said = self.encodings.iter().any(|e| e.announced.most_kbits > 0);
        let flows = |layer: usize| track.kbits.get(layer).is_some_and(|kbits| *kbits > 0);
        let any_flows = (0..self.encodings.len()).any(flows);
        let encodings = self.encodings.iter().enumerate();
        let sent = encodings.filter(|(layer, encoding)| {
            is_one || if is_said { encoding.announced.most_kbits > 0 } else { !any_flows || flows(*layer) }
        });
        sent.map(|(layer, encoding)| {
            let usual = if is_one { ALONE_KBITS } else { SEVERAL_KBITS[layer.min(MAX_ENCODINGS - 1)] };
            let Announced { most_kbits, framerate } = encoding.announced;
            Stream {
                number: encoding.number,
                layer: u8::try_from(layer).unwrap_or(u8::MAX),
                most_kbits: if most_kbits == 0 { usual } else { most_kbits },
                framerate: if framerate == 0 { FRAMERATE } else { framerate },
                size: track.sizes.get(layer).copied().flatten(),
            }
        })
        .collect()
    }
}
