//! A journal to the pieces that an order asks for: mixed sound, cameras, shares, events and words, cut every five seconds. Pure: the
//! same journal gives the same objects.
//!
//! Marks are counted from the capture's zero. Sound is cut at the marks; a picture at the first keyframe at or shortly before one,
//! because a piece has to begin with a keyframe. The names carry the true beginnings.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use wire::ParticipantId;
use wire::control::{Codec, Source};
use wire::delivery::{Folder, Note, Order, SHARED};
use wire::tap::{CUT, CUT_EARLY, TapFrame};

use crate::assembly::{Assembly, Piece, StreamKey};
use crate::error::Result;
use crate::packet::Micros;

mod file;
pub mod joined;
pub mod name;
mod pictures;
mod sound;
mod words;

use pictures::Pictures;
use sound::Sound;
use words::Words;

/// How long a piece lasts.
const PIECE: Micros = to_micros(CUT);

/// A keyframe so shortly before a mark begins the next piece.
const EARLY: Micros = to_micros(CUT_EARLY);

#[allow(clippy::cast_possible_truncation, reason = "these are seconds")]
const fn to_micros(span: Duration) -> Micros {
    span.as_micros() as Micros
}

/// The first mark after a place at which a piece may begin.
const fn mark_after(at: Micros) -> Micros {
    ((at + EARLY).div_euclid(PIECE) + 1) * PIECE
}

/// One object of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it goes.
    pub folder: Folder,
    /// Whose camera or share.
    pub whose: Option<String>,
    /// What it is coded in, pictures first.
    pub codecs: Vec<Codec>,
    /// Microseconds since the Unix epoch.
    pub begins: u64,
    /// Microseconds.
    pub lasts: u64,
    /// The whole object.
    pub body: Bytes,
}

/// Who is called what.
#[derive(Debug, Default)]
struct People {
    known: BTreeMap<ParticipantId, (String, String)>,
}

impl People {
    fn alias(&self, participant: ParticipantId) -> String {
        self.known.get(&participant).map_or_else(|| participant.to_string(), |(alias, _)| alias.clone())
    }

    /// Whether an order names this person.
    fn is_among(&self, only: &[String], participant: ParticipantId) -> bool {
        let own = participant.to_string();
        let (alias, name) = self.known.get(&participant).map_or(("", own.as_str()), |(a, n)| (a.as_str(), n.as_str()));
        only.iter().any(|one| *one == alias || *one == name)
    }
}

/// Cuts one capture.
#[derive(Debug)]
pub struct Cutter {
    order: Order,
    assembly: Assembly,
    keys: Vec<StreamKey>,
    pictures: BTreeMap<usize, Pictures>,
    sound: Sound,
    words: Words,
    people: People,
    /// Something was seen or heard.
    has_media: bool,
    has_ended: bool,
}

impl Cutter {
    /// Of one capture.
    ///
    /// # Errors
    /// When the mix cannot be made.
    pub fn new(order: Order) -> Result<Self> {
        let sound = Sound::new(order.with_speaker)?;
        Ok(Self {
            order,
            assembly: Assembly::default(),
            keys: Vec::new(),
            pictures: BTreeMap::new(),
            sound,
            words: Words::default(),
            people: People::default(),
            has_media: false,
            has_ended: false,
        })
    }

    /// Takes the next frame of the journal and gives out what has become whole.
    ///
    /// # Errors
    /// When something cannot be written in its container.
    pub fn feed(&mut self, frame: TapFrame, out: &mut Vec<Object>) -> Result<()> {
        let (mut note, mut is_begin, mut is_end) = (None, false, false);
        match &frame {
            // What is no note of a version that we know says nothing to us.
            TapFrame::Note { note: text, .. } => note = serde_json::from_str::<Note>(text.reveal()).ok(),
            TapFrame::Started { .. } => is_begin = true,
            TapFrame::Ended { .. } => is_end = true,
            TapFrame::Track { .. }
            | TapFrame::Rtp { .. }
            | TapFrame::SenderReport { .. }
            | TapFrame::TrackEnded { .. }
            | TapFrame::Gap { .. } => {}
        }
        let mut pieces = Vec::new();
        self.assembly.feed(frame, &mut |piece| {
            pieces.push(piece);
            Ok::<_, crate::Error>(())
        })?;
        let (zero, now) = (self.assembly.zero(), self.assembly.now());
        if is_begin {
            self.words.begin(zero, now, out);
        }
        if let Some(note) = note {
            self.note(now, note, out);
        }
        self.take(pieces, out)?;
        self.sound.mix_until(now, zero, out)?;
        if is_end {
            self.has_ended = true;
            self.words.end(zero, now, out);
        }
        Ok(())
    }

    /// Gives out what is left: no more will come.
    ///
    /// # Errors
    /// When something cannot be written in its container.
    pub fn finish(mut self, out: &mut Vec<Object>) -> Result<()> {
        let mut pieces = Vec::new();
        self.assembly.finish(&mut |piece| {
            pieces.push(piece);
            Ok::<_, crate::Error>(())
        })?;
        self.take(pieces, out)?;
        let (zero, now) = (self.assembly.zero(), self.assembly.now());
        for (number, pictures) in std::mem::take(&mut self.pictures) {
            let cut = pictures.finish()?;
            out.extend(cut.and_then(|cut| self.to_object(number, cut)));
        }
        if self.has_media {
            self.sound.finish(now, zero, out)?;
        }
        if !self.has_ended {
            // The capture was cut off: this is as far as it came.
            self.words.end(zero, now, out);
        }
        self.words.finish(zero, out);
        Ok(())
    }

    fn take(&mut self, pieces: Vec<Piece>, out: &mut Vec<Object>) -> Result<()> {
        for piece in pieces {
            self.has_media = true;
            if self.keys.len() <= piece.stream {
                self.keys = self.assembly.streams().collect();
            }
            let Some(key) = self.keys.get(piece.stream).copied() else { continue };
            if piece.duration > 0 {
                self.sound.hear(piece.stream, piece)?;
                continue;
            }
            if key.source == Source::Camera {
                self.sound.see(piece.stream, key, &piece.frame);
            }
            let is_wanted = match key.source {
                Source::Camera => self.order.cameras,
                Source::Screen => self.order.shares,
                Source::Microphone | Source::ScreenSound => false,
            };
            if is_wanted {
                let pictures = self.pictures.entry(piece.stream).or_insert_with(|| Pictures::new(key.codec));
                let cut = pictures.push(piece.frame)?;
                out.extend(cut.and_then(|cut| self.to_object(piece.stream, cut)));
            }
        }
        Ok(())
    }

    fn to_object(&self, stream: usize, cut: pictures::Cut) -> Option<Object> {
        let key = self.keys.get(stream)?;
        let is_share = key.source == Source::Screen;
        if !is_share && !self.order.only.is_empty() && !self.people.is_among(&self.order.only, key.participant) {
            return None;
        }
        let alias = self.people.alias(key.participant);
        let whose = Some(if is_share { format!("{alias}{SHARED}") } else { alias });
        let (begins, lasts) = (absolute(self.assembly.zero(), cut.at), absolute(0, cut.lasts));
        Some(Object { folder: Folder::Video, whose, codecs: vec![key.codec], begins, lasts, body: cut.body })
    }

    fn note(&mut self, now: Micros, note: Note, out: &mut Vec<Object>) {
        match &note {
            Note::Joined { participant, alias, name, is_share: false } => {
                self.people.known.insert(*participant, (alias.clone(), name.reveal().clone()));
            }
            Note::Speaking { participant } => self.sound.speaks(now, *participant),
            Note::Joined { .. }
            | Note::Left { .. }
            | Note::PictureOn { .. }
            | Note::PictureOff { .. }
            | Note::Muted { .. }
            | Note::Posted { .. } => {}
        }
        self.words.note(self.assembly.zero(), now, note, &self.people, out);
    }
}

/// A place of a capture on the clock.
fn absolute(zero: u64, at: Micros) -> u64 {
    zero.saturating_add(u64::try_from(at).unwrap_or(0))
}

/// The samples of the mix up to a place.
const fn samples(at: Micros) -> mixer::SamplePos {
    at * 48 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_shortly_before_a_mark_begins_the_next_piece() {
        assert_eq!(mark_after(0), PIECE);
        assert_eq!(mark_after(PIECE - EARLY - 1), PIECE);
        assert_eq!(mark_after(PIECE - EARLY), 2 * PIECE);
        assert_eq!(mark_after(PIECE), 2 * PIECE);
    }
}
