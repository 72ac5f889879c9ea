//! Tap frames in, frames on one timeline out: order, place and wholeness of every Track. Pure, and a function of its input.

use std::collections::{BTreeMap, VecDeque};

use wire::control::{Codec, Source};
use wire::manifest::Gap;
use wire::tap::TapFrame;
use wire::{ParticipantId, TrackId};

use crate::frame::{Frame, Framer, opus_samples};
use crate::jitter::{Jitter, Ordered};
use crate::packet::{Micros, Packet};
use crate::timeline::{Line, Report, SenderClocks};

/// Packets are placed this long after they came, so that a jump of the clock can be told from a stall.
const LOOK_AHEAD: Micros = 1_000_000;

/// Tracks of one recording; of more, nothing is recorded. A visit of six has about twenty.
const MAX_TRACKS: usize = 512;

/// Gaps that are told one by one.
const MAX_GAPS: usize = 1000;

/// A loss of sound that is concealed and not worth telling: 100 ms.
const QUIET_LOSS: u32 = 5;

/// How often quiet Tracks are looked at.
const TICK: Micros = 100_000;

/// What belongs together in a file: one source of one person in one codec, over all their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Whose.
    pub participant: ParticipantId,
    /// Of what.
    pub source: Source,
    /// How coded.
    pub codec: Codec,
}

/// One frame in its stream.
#[derive(Debug)]
pub struct Piece {
    /// Number of its stream, in order of appearance.
    pub stream: usize,
    /// The frame; later than the stream's frame before.
    pub frame: Frame,
    /// Of sound.
    pub duration: Micros,
}

#[derive(Debug)]
struct Stream {
    key: StreamKey,
    /// The newest Track that gave a frame.
    newest: usize,
    /// Place of the last frame, and its end.
    last: Option<(Micros, Micros)>,
}

#[derive(Debug)]
enum Held {
    Packet(Ordered),
    Report(Report),
}

#[derive(Debug)]
struct Track {
    stream: usize,
    participant: ParticipantId,
    /// Order of announcement.
    serial: usize,
    jitter: Jitter,
    held: VecDeque<Held>,
    line: Line,
    framer: Framer,
}

/// Assembles the Tracks of one recording.
#[derive(Debug, Default)]
pub struct Assembly {
    zero: Option<u64>,
    now: Micros,
    ticked: Micros,
    tracks: BTreeMap<TrackId, Track>,
    streams: Vec<Stream>,
    clocks: BTreeMap<ParticipantId, SenderClocks>,
    gaps: Vec<Gap>,
}

impl Assembly {
    /// The recording's zero on the node's clock, in microseconds; 0 before the first frame.
    #[must_use]
    pub fn zero(&self) -> u64 {
        self.zero.unwrap_or(0)
    }

    /// The newest time seen.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// The streams, by number.
    pub fn streams(&self) -> impl Iterator<Item = StreamKey> {
        self.streams.iter().map(|stream| stream.key)
    }

    /// What is known to be missing.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Takes the next frame of the Tap and gives out what has become whole.
    ///
    /// # Errors
    /// As `sink` does.
    pub fn feed<E>(&mut self, frame: TapFrame, sink: &mut impl FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        match frame {
            TapFrame::Started { at, .. }
            | TapFrame::Ended { at, .. }
            | TapFrame::TrackEnded { at, .. }
            | TapFrame::Note { at, .. } => {
                self.time(at.0);
            }
            TapFrame::Gap { packets, at } => {
                let at = self.time(at.0);
                self.note_gap(None, at, at, packets);
            }
            TapFrame::Track { track, participant, source, codec, at } => {
                self.time(at.0);
                if codec.kind() == source.kind() && self.tracks.len() < MAX_TRACKS {
                    self.announce(track, StreamKey { participant, source, codec });
                }
            }
            TapFrame::Rtp { track, at, packet } => {
                let at = self.time(at.0);
                if let Some(state) = self.tracks.get_mut(&track)
                    && let Some(packet) = Packet::parse(&packet, at)
                {
                    state.jitter.push(packet);
                    self.pump(track, sink)?;
                }
            }
            TapFrame::SenderReport { track, at, ntp, rtp, packets } => {
                let arrival = self.time(at.0);
                if let Some(state) = self.tracks.get_mut(&track) {
                    state.held.push_back(Held::Report(Report { arrival, ntp, rtp, packets }));
                    self.pump(track, sink)?;
                }
            }
        }
        if self.now - self.ticked >= TICK {
            self.ticked = self.now;
            for track in self.tracks.keys().copied().collect::<Vec<_>>() {
                self.pump(track, sink)?;
            }
        }
        Ok(())
    }

    /// Gives out everything that is left: no more will come.
    ///
    /// # Errors
    /// As `sink` does.
    pub fn finish<E>(&mut self, sink: &mut impl FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        // Past every patience: what was held for a second and a half is due.
        self.now += 60_000_000;
        for track in self.tracks.keys().copied().collect::<Vec<_>>() {
            if let Some(state) = self.tracks.get_mut(&track) {
                state.jitter.drain();
            }
            self.pump(track, sink)?;
        }
        self.now -= 60_000_000;
        Ok(())
    }

    /// The node's clock never goes back here: frames of one Tap arrive in order.
    fn time(&mut self, at: u64) -> Micros {
        let zero = *self.zero.get_or_insert(at);
        let now = i64::try_from(at.saturating_sub(zero)).unwrap_or(i64::MAX / 4);
        self.now = self.now.max(now);
        self.now
    }

    fn announce(&mut self, track: TrackId, key: StreamKey) {
        let serial = self.tracks.len();
        let stream = self.streams.iter().position(|stream| stream.key == key).unwrap_or_else(|| {
            self.streams.push(Stream { key, newest: 0, last: None });
            self.streams.len() - 1
        });
        self.tracks.entry(track).or_insert_with(|| Track {
            stream,
            participant: key.participant,
            serial,
            jitter: Jitter::default(),
            held: VecDeque::new(),
            line: Line::new(key.codec.clock_rate()),
            framer: Framer::new(key.codec),
        });
    }

    fn pump<E>(&mut self, track: TrackId, sink: &mut impl FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        let now = self.now;
        loop {
            let Some(track) = self.tracks.get_mut(&track) else { return Ok(()) };
            while let Some(ordered) = track.jitter.pop(now) {
                track.held.push_back(Held::Packet(ordered));
            }
            let clocks = self.clocks.entry(track.participant).or_default();
            let due = track.held.pop_front_if(|held| {
                let arrival = match held {
                    Held::Packet(ordered) => ordered.packet.arrival,
                    Held::Report(report) => report.arrival,
                };
                now - arrival >= LOOK_AHEAD
            });
            let ordered = match due {
                None => return Ok(()),
                Some(Held::Report(report)) => {
                    track.line.report(&report, clocks);
                    continue;
                }
                Some(Held::Packet(ordered)) => ordered,
            };
            if ordered.restarted {
                track.line.restart();
            }
            let (timestamp, arrival) = (ordered.packet.timestamp, ordered.packet.arrival);
            let ahead = track.held.iter().filter_map(|held| match held {
                Held::Packet(next) if !next.restarted && next.packet.arrival <= arrival + LOOK_AHEAD => {
                    Some((next.packet.timestamp, next.packet.arrival))
                }
                Held::Packet(_) | Held::Report(_) => None,
            });
            let placed = track.line.place(timestamp, arrival, ahead, clocks);
            let (stream, serial, participant) = (track.stream, track.serial, track.participant);
            let frame = track.framer.push(&ordered, placed.at.max(0));
            if let Some(step) = placed.step {
                self.note_gap(Some(participant), placed.at, placed.at + step.abs(), 0);
            }
            if let Some(piece) = frame.and_then(|frame| self.settle(stream, serial, frame)) {
                sink(piece)?;
            }
        }
    }

    /// Fits a frame behind the last one of its stream, or drops it.
    fn settle(&mut self, number: usize, serial: usize, mut frame: Frame) -> Option<Piece> {
        let stream = self.streams.get_mut(number)?;
        if serial < stream.newest {
            // Left over from a connection that has been replaced.
            return None;
        }
        stream.newest = serial;
        let sound = stream.key.codec == Codec::Opus;
        let duration = if sound { i64::from(opus_samples(&frame.data)?) * 1000 / 48 } else { 0 };
        let key = stream.key;
        let before = stream.last;
        if let Some((at, end)) = before {
            if sound && frame.at < end - duration.min(10_000) {
                // Sound twice at one place: the first stays.
                return None;
            }
            frame.at = frame.at.max(at + if sound { 1 } else { 1_000 });
        }
        stream.last = Some((frame.at, frame.at + duration));
        if let Some((_, end)) = before
            && (frame.missing > QUIET_LOSS || (!sound && frame.missing > 0))
        {
            self.note_gap(Some(key.participant), end, frame.at, u64::from(frame.missing));
        }
        Some(Piece { stream: number, frame, duration })
    }

    fn note_gap(&mut self, participant: Option<ParticipantId>, from: Micros, to: Micros, packets: u64) {
        if self.gaps.len() < MAX_GAPS {
            let millis = |at: Micros| u64::try_from(at / 1000).unwrap_or(0);
            let duration_ms = millis(to).saturating_sub(millis(from));
            self.gaps.push(Gap { participant, offset_ms: millis(from), duration_ms, packets });
        }
    }
}
