//! What signaling is told of a Room in which somebody has a Chime client: which Tracks there are, and how loud people are.

use std::time::{Duration, Instant};

use wire::control::{Event, Manner, PublishedTrack};

use super::{Room, may_give};
use crate::context::Context;
use crate::door;

/// How often rates are told.
const RATES: Duration = Duration::from_secs(4);
/// Most voices whose loudness is told: more at a time are noise.
const VOICES: usize = 16;

/// What was told last.
#[derive(Debug)]
pub(super) struct Told {
    /// `None` until somebody with a Chime client came.
    tracks: Option<Vec<PublishedTrack>>,
    rates_due: Instant,
    has_levels: bool,
}

impl Told {
    pub(super) const fn new(now: Instant) -> Self {
        Self { tracks: None, rates_due: now, has_levels: false }
    }
}

/// The same but for what it takes.
fn is_same(a: &PublishedTrack, b: &PublishedTrack) -> bool {
    let named = |track: &PublishedTrack| (track.participant, track.source, track.track, track.codec, track.kbits.len());
    named(a) == named(b)
}

impl Room {
    fn has_chime(&self) -> bool {
        self.peers.iter().any(|(_, peer)| peer.manner != Manner::Native)
    }

    /// Tells what is published when it is not what was told, and the rates when their time has come.
    pub(super) fn tell_published(&mut self, ctx: &mut Context) {
        if !self.has_chime() {
            self.told.tracks = None;
            return;
        }
        let is_due = ctx.now >= self.told.rates_due;
        let tracks = self.list_published(ctx.now);
        let before = self.told.tracks.as_deref();
        let is_known = before.is_some_and(|before| {
            before.len() == tracks.len() && before.iter().zip(&tracks).all(|(a, b)| is_same(a, b))
        });
        if is_known && (!is_due || tracks.is_empty()) {
            return;
        }
        self.told.rates_due = ctx.now + RATES;
        self.told.tracks = Some(tracks.clone());
        ctx.tell(Event::Published { room: self.id, tracks });
    }

    /// The same for a Room to which nothing happened: only rates may have to be told.
    pub(super) fn tell_rates(&mut self, ctx: &mut Context) {
        if self.told.tracks.is_some() && ctx.now >= self.told.rates_due {
            self.tell_published(ctx);
        }
    }

    fn list_published(&mut self, now: Instant) -> Vec<PublishedTrack> {
        let mut all = Vec::new();
        for (_, peer) in &mut self.peers {
            if !may_give(peer) {
                continue;
            }
            let (generation, participant, rights) = (peer.generation, peer.participant, peer.rights);
            let sending = peer.tracks.iter_mut().filter(|track| track.is_sending);
            for track in sending.filter(|track| door::may_send(rights, track.source)) {
                let told = PublishedTrack {
                    participant,
                    source: track.source,
                    track: track.id,
                    codec: track.coding.codec,
                    kbits: track.kbits(now),
                    sizes: track.sizes(),
                };
                all.push(((generation, track.source), told));
            }
        }
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, told)| told).collect()
    }

    /// Tells how loud people are: while anybody is, and once when all are quiet.
    pub(super) fn tell_levels(&mut self, ctx: &mut Context) {
        if self.told.tracks.is_none() {
            return;
        }
        let levels = self.speaker.levels(VOICES);
        if self.told.has_levels || !levels.is_empty() {
            self.told.has_levels = !levels.is_empty();
            ctx.tell(Event::Levels { room: self.id, levels });
        }
    }
}
