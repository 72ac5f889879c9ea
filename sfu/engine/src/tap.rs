//! The recorder as one more subscriber: frames of every admitted, unmuted Track, while everybody's consent holds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::control::{Event, Kind, SlotTrack, TapEnd};
use wire::tap::{CUT, CUT_EARLY, TapFrame};
use wire::{RecordingId, Redacted, RoomId, TrackId};

use crate::context::Context;
use crate::layer::Layer;
use crate::passage::{Passage, Passed};
use crate::rtp::packet::{self, FIXED, NewHeader};
use crate::rtp::sequence::wire;
use crate::track::{Incoming, Live};

/// How long before a piece is over the keyframes are asked for with which the next one begins. Browsers answer with their next picture.
const ASK_BEFORE: Duration = Duration::from_millis(300);

const _: () = assert!(ASK_BEFORE.as_millis() < CUT_EARLY.as_millis(), "what is asked for may begin a piece");

/// A running Tap.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) recording: RecordingId,
    room: RoomId,
    is_flowing: bool,
    /// When the next keyframes are asked for, of a capture that is cut into pieces.
    next_cut: Option<Instant>,
    /// Tracks that the recorder was told of.
    tracks: Vec<Tapped>,
}

#[derive(Debug)]
struct Tapped {
    id: TrackId,
    /// Of a Track with several Layers: the best that comes in flows, as one stream.
    passage: Option<Passage>,
    is_picture: bool,
    /// The Layer that flows, as far as is known.
    layer: Layer,
    /// The next piece begins with a keyframe that has not come yet.
    wants_keyframe: bool,
}

impl Tap {
    pub(crate) fn start(ctx: &mut Context, room: RoomId, recording: RecordingId, is_cut: bool) -> Self {
        ctx.counters.taps += 1;
        ctx.taps.insert(recording, room);
        let at = ctx.node_time();
        ctx.tap(recording, TapFrame::Started { recording, room, at });
        let next_cut = is_cut.then(|| ctx.now + CUT - ASK_BEFORE);
        Self { recording, room, is_flowing: false, next_cut, tracks: Vec::new() }
    }

    /// One packet of a Track. Tells of the Track first, when it is new here. `live` is empty for a Track with one Layer.
    pub(crate) fn packet(&mut self, ctx: &mut Context, of: &SlotTrack, live: Live, incoming: &Incoming) {
        let at = ctx.node_time();
        if !self.tracks.iter().any(|tapped| tapped.id == of.track) {
            let passage = (live.count > 1).then(|| {
                let mut passage = Passage::new(0);
                passage.begin(true);
                passage.settle(live, ctx.now);
                passage
            });
            let is_picture = of.source.kind() == Kind::Video;
            let layer = incoming.layer;
            self.tracks.push(Tapped { id: of.track, passage, is_picture, layer, wants_keyframe: false });
            let frame = TapFrame::Track {
                track: of.track,
                participant: of.participant,
                source: of.source,
                codec: incoming.coding.codec,
                at,
            };
            ctx.tap(self.recording, frame);
        }
        let Some(tapped) = self.tracks.iter_mut().find(|tapped| tapped.id == of.track) else { return };
        if incoming.starts_run {
            tapped.wants_keyframe = false;
        }
        let packet = match &mut tapped.passage {
            None => plain(incoming),
            Some(passage) => match passage.pass(incoming, ctx.now) {
                Ok(passed) => rewrite(incoming, &passed),
                Err(_) => return,
            },
        };
        tapped.layer = incoming.layer;
        ctx.tap(self.recording, TapFrame::Rtp { track: of.track, at, packet });
        if !self.is_flowing {
            self.is_flowing = true;
            ctx.tell(Event::TapFlowing { room: self.room, recording: self.recording });
        }
    }

    /// Learns which Layers of a Track come in.
    pub(crate) fn settle(&mut self, track: TrackId, live: Live, now: Instant) {
        if let Some(tapped) = self.tracks.iter_mut().find(|tapped| tapped.id == track)
            && let Some(passage) = &mut tapped.passage
        {
            passage.settle(live, now);
        }
    }

    /// The Layers of which a keyframe is waited for.
    pub(crate) fn waits_for(&self) -> impl Iterator<Item = (TrackId, Layer)> {
        self.tracks.iter().filter_map(|tapped| {
            let awaited = tapped.passage.as_ref().and_then(Passage::waits_for);
            Some((tapped.id, awaited.or_else(|| tapped.wants_keyframe.then_some(tapped.layer))?))
        })
    }

    /// Time passed: when a piece is nearly over, every picture needs a keyframe to begin the next one with. Returns the Layers of
    /// which one is to be asked for.
    pub(crate) fn poll_cut(&mut self, now: Instant) -> Vec<(TrackId, Layer)> {
        let Some(next) = self.next_cut.filter(|next| now >= *next) else { return Vec::new() };
        // Marks are counted from the beginning, so that they stay where they are though a tick came late.
        let missed = now.saturating_duration_since(next).as_nanos() / CUT.as_nanos();
        self.next_cut = Some(next + CUT * u32::try_from(missed + 1).unwrap_or(1));
        let pictures = self.tracks.iter_mut().filter(|tapped| tapped.is_picture);
        pictures
            .map(|tapped| {
                tapped.wants_keyframe = true;
                (tapped.id, tapped.layer)
            })
            .collect()
    }

    /// When [`Self::poll_cut`] is due.
    pub(crate) const fn next_cut(&self) -> Option<Instant> {
        self.next_cut
    }

    /// Words of signaling, at their place among the media.
    pub(crate) fn note(&self, ctx: &mut Context, note: Redacted<String>) {
        let at = ctx.node_time();
        ctx.tap(self.recording, TapFrame::Note { note, at });
    }

    /// A sender report of a Layer of a Track that the recorder knows.
    pub(crate) fn report(
        &self,
        ctx: &mut Context,
        (track, layer): (TrackId, Layer),
        (ntp, rtp, packets): (u64, u32, u32),
    ) {
        let Some(tapped) = self.tracks.iter().find(|tapped| tapped.id == track) else { return };
        let rtp = match &tapped.passage {
            None => rtp,
            Some(passage) => match passage.translate(layer, rtp) {
                Some(rtp) => rtp,
                None => return,
            },
        };
        let at = ctx.node_time();
        ctx.tap(self.recording, TapFrame::SenderReport { track, at, ntp, rtp, packets });
    }

    /// Ends every Track for which `is_tapped` no longer holds.
    pub(crate) fn retain(&mut self, ctx: &mut Context, is_tapped: impl Fn(TrackId) -> bool) {
        let at = ctx.node_time();
        let recording = self.recording;
        self.tracks.retain(|tapped| {
            let keep = is_tapped(tapped.id);
            if !keep {
                ctx.tap(recording, TapFrame::TrackEnded { track: tapped.id, at });
            }
            keep
        });
    }

    /// The last frame, and the event.
    pub(crate) fn end(self, ctx: &mut Context, reason: TapEnd) {
        end(ctx, self.room, self.recording, reason);
    }
}

/// A packet as it would have come without redundancy.
fn plain(incoming: &Incoming) -> Bytes {
    let (Some(unwrapped), Some(fixed)) = (&incoming.unwrapped, incoming.packet.first_chunk::<FIXED>()) else {
        return incoming.packet.clone();
    };
    let header = NewHeader {
        payload_type: unwrapped.payload_type,
        marker: incoming.marker,
        sequence: wire(incoming.number),
        timestamp: incoming.timestamp,
        ssrc: packet::long(fixed, 8).unwrap_or_default(),
        has_extension: false,
        padding: 0,
    };
    let mut out = Vec::with_capacity(FIXED + incoming.payload.len());
    packet::write(&mut out, &header);
    out.extend_from_slice(&incoming.payload);
    out.into()
}

/// The publisher's packet under the numbers of the one stream that the recorder sees.
fn rewrite(incoming: &Incoming, passed: &Passed) -> Bytes {
    let mut packet = incoming.packet.to_vec();
    if let Some([first, second, s0, s1, t0, t1, t2, t3, ..]) = packet.first_chunk_mut::<FIXED>() {
        [*s0, *s1] = wire(passed.number).to_be_bytes();
        [*t0, *t1, *t2, *t3] = passed.timestamp.to_be_bytes();
        *second = *second & 0x7f | u8::from(passed.marker) << 7;
        if passed.is_filler {
            // Without a payload nothing is padded either.
            *first &= !0x20;
        }
    }
    let Some(header) = packet::read(&incoming.packet) else { return incoming.packet.clone() };
    if passed.is_filler {
        packet.truncate(header.payload.start);
    } else if let (Some(patch), Some(payload)) = (passed.patch, packet.get_mut(header.payload)) {
        patch.apply(payload);
    }
    packet.into()
}

/// Ends a Tap of which nothing but the name is left.
pub(crate) fn end(ctx: &mut Context, room: RoomId, recording: RecordingId, reason: TapEnd) {
    if ctx.taps.remove(&recording).is_none() {
        return;
    }
    ctx.counters.taps = ctx.counters.taps.saturating_sub(1);
    let at = ctx.node_time();
    ctx.tap(recording, TapFrame::Ended { reason, at });
    ctx.tell(Event::TapEnded { room, recording, reason });
}
