//! The recorder as one more subscriber: frames of every admitted, unmuted Track, while everybody's consent holds.

use wire::control::{Event, SlotTrack, TapEnd};
use wire::tap::TapFrame;
use wire::{RecordingId, RoomId, TrackId};

use crate::context::Context;
use crate::track::Incoming;

/// A running Tap.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) recording: RecordingId,
    room: RoomId,
    is_flowing: bool,
    /// Tracks that the recorder was told of.
    announced: Vec<TrackId>,
}

impl Tap {
    pub(crate) fn start(ctx: &mut Context, room: RoomId, recording: RecordingId) -> Self {
        ctx.counters.taps += 1;
        ctx.taps.insert(recording, room);
        let at = ctx.node_time();
        ctx.tap(recording, TapFrame::Started { recording, room, at });
        Self { recording, room, is_flowing: false, announced: Vec::new() }
    }

    /// One packet of a Track. Tells of the Track first, when it is new here.
    pub(crate) fn packet(&mut self, ctx: &mut Context, of: &SlotTrack, incoming: &Incoming) {
        let at = ctx.node_time();
        if !self.announced.contains(&of.track) {
            self.announced.push(of.track);
            let frame = TapFrame::Track {
                track: of.track,
                participant: of.participant,
                source: of.source,
                codec: incoming.coding.codec,
                at,
            };
            ctx.tap(self.recording, frame);
        }
        ctx.tap(self.recording, TapFrame::Rtp { track: of.track, at, packet: incoming.packet.clone() });
        if !self.is_flowing {
            self.is_flowing = true;
            ctx.tell(Event::TapFlowing { room: self.room, recording: self.recording });
        }
    }

    /// A sender report of a Track that the recorder knows.
    pub(crate) fn report(&self, ctx: &mut Context, track: TrackId, (ntp, rtp, packets): (u64, u32, u32)) {
        if self.announced.contains(&track) {
            let at = ctx.node_time();
            ctx.tap(self.recording, TapFrame::SenderReport { track, at, ntp, rtp, packets });
        }
    }

    /// Ends every Track for which `is_tapped` no longer holds.
    pub(crate) fn retain(&mut self, ctx: &mut Context, is_tapped: impl Fn(TrackId) -> bool) {
        let at = ctx.node_time();
        let recording = self.recording;
        self.announced.retain(|track| {
            let keep = is_tapped(*track);
            if !keep {
                ctx.tap(recording, TapFrame::TrackEnded { track: *track, at });
            }
            keep
        });
    }

    /// The last frame, and the event.
    pub(crate) fn end(self, ctx: &mut Context, reason: TapEnd) {
        end(ctx, self.room, self.recording, reason);
    }
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
