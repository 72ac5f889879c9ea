//! What a Peer is owed as time passes: transport feedback, receiver reports, requests for what is missing, its bars.

use std::time::Duration;

use bandwidth::Bitrate;
use wire::control::{Door, Event, Kind};
use wire::{RoomId, TrackId};

use super::Peer;
use crate::context::Context;
use crate::door;
use crate::layer::Layer;
use crate::rewrite::Clock;
use crate::rtp::{feedback, nack, report, rtcp};
use crate::track::Track;

/// Time between receiver reports: browsers expect about one a second.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Peer {
    /// Does what is due. A waiting Peer gets feedback on its own sending, so that its estimate is ready when it is
    /// admitted; nothing in it is about others.
    pub(crate) fn attend(&mut self, ctx: &mut Context, room: RoomId, is_beat: bool) {
        if !self.is_connected() {
            return;
        }
        if self.silence.poll(ctx.now) {
            ctx.tell(Event::PeerSilent { room, peer: self.id });
        }
        self.send_feedback(ctx, is_beat);
        self.ask_for_missing(ctx);
        if ctx.now.saturating_duration_since(self.reported) >= REPORT_INTERVAL {
            self.reported = ctx.now;
            self.send_reports(ctx);
            self.guard_sound(ctx);
            for slot in &mut self.slots {
                slot.history.trim(ctx.now);
            }
        }
        if self.quality.is_due(ctx.now) {
            self.tell_quality(ctx, room);
        }
    }

    /// Tells the browser which instant a timestamp of this Track is, in the time base of the slot that carries it.
    pub(crate) fn send_sender_report(
        &mut self,
        ctx: &mut Context,
        (track, layer): (TrackId, Layer),
        (ntp, rtp): Clock,
    ) {
        if !self.is_connected() {
            return;
        }
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.carries(track)) else { return };
        let Some(rtp) = slot.passage.translate(layer, rtp) else { return };
        slot.sent_reports.note(ntp, ctx.now);
        if let Some(packet) = report::sender_report(slot.sending.ssrc, ntp, rtp, slot.packets, slot.octets) {
            self.send_rtcp(ctx, &packet);
        }
    }

    /// Everybody's leaves at the same beat, so that one tick does for all: at the beat that is nearest to when it is due.
    fn send_feedback(&mut self, ctx: &mut Context, is_beat: bool) {
        if !self.feedback.is_due() {
            return;
        }
        let interval = feedback::interval(self.downlink.target());
        let early = if is_beat { feedback::INTERVAL / 2 } else { Duration::ZERO };
        if self.feedback_sent.is_some_and(|at| ctx.now.saturating_duration_since(at) + early < interval) {
            return;
        }
        self.feedback_sent = Some(ctx.now);
        let media =
            self.tracks.iter().flat_map(|track| &track.streams).find_map(|stream| stream.ssrc).unwrap_or_default();
        while let Some(packet) = self.feedback.poll(self.ssrc, media) {
            ctx.counters.transport_feedback_sent += 1;
            self.send_rtcp(ctx, &packet);
        }
    }

    /// Asks for what is missing and has not been asked for just now.
    pub(super) fn ask_for_missing(&mut self, ctx: &mut Context) {
        for index in 0..self.tracks.len() {
            let layers = self.tracks.get(index).map_or(0, |track| track.streams.len());
            for layer in 0..layers {
                let Some(track) = self.tracks.get_mut(index) else { continue };
                let is_muted = track.is_muted || !door::may_send(self.rights, track.source);
                let Some(stream) = track.streams.get_mut(layer).filter(|stream| !stream.nack.is_idle()) else {
                    continue;
                };
                // Nobody waits for what a Peer outside, or a muted Track, lost.
                if self.door != Door::Admitted || is_muted {
                    stream.nack.forget();
                    continue;
                }
                let due = stream.nack.poll(ctx.now, self.round_trip);
                let (Some(media), false) = (stream.ssrc, due.is_empty()) else { continue };
                if let Some(packet) = nack::request(self.ssrc, media, &due) {
                    ctx.counters.nacks_sent += due.len() as u64;
                    self.send_rtcp(ctx, &packet);
                }
            }
        }
    }

    fn send_reports(&mut self, ctx: &mut Context) {
        let mut blocks = Vec::new();
        for track in &mut self.tracks {
            let is_voice = track.source.kind() == Kind::Audio;
            for stream in &mut track.streams {
                if let Some(ssrc) = stream.ssrc.filter(|_| stream.reception.is_started()) {
                    let mut block = stream.reception.block(ssrc, ctx.now);
                    if is_voice {
                        // The fraction is what encoders turn their redundancy by, the total is what browsers estimate
                        // their uplink by: the listeners' losses belong to the one and not to the other.
                        block.fraction_lost = block.fraction_lost.max(self.hearing.fraction());
                    }
                    blocks.push(block);
                }
                if let Some(ssrc) = stream.rtx_ssrc.filter(|_| stream.rtx_reception.is_started()) {
                    blocks.push(stream.rtx_reception.block(ssrc, ctx.now));
                }
            }
        }
        if let Some(packet) = report::receiver_reports(self.ssrc, &blocks) {
            self.send_rtcp(ctx, &packet);
        }
    }

    /// Asks the publisher of a Track for keyframes of the Layers that need one, unless that was done just now.
    pub(crate) fn request_keyframes(&mut self, ctx: &mut Context, track: usize, is_waited_for: impl Fn(Layer) -> bool) {
        if !self.is_connected() {
            return;
        }
        let layers = self.tracks.get(track).map_or(0, |track| track.streams.len());
        for layer in (0u8..).take(layers) {
            let Some(track) = self.tracks.get_mut(track) else { return };
            let Some(stream) = track.streams.get_mut(usize::from(layer)) else { return };
            let Some(media) = stream.ssrc else { continue };
            let is_waited_for = is_waited_for(layer);
            if !is_waited_for && !stream.keyframes.is_wanted() {
                continue;
            }
            if stream.keyframes.poll(ctx.now, is_waited_for, self.round_trip)
                && let Some(packet) = rtcp::picture_loss(self.ssrc, media)
            {
                ctx.counters.keyframes_asked += 1;
                self.send_rtcp(ctx, &packet);
            }
        }
    }

    /// Tells the browser what it may send in all, on all its pictures together.
    pub(crate) fn send_limit(&mut self, ctx: &mut Context, limit: Bitrate) {
        let pictures = self.tracks.iter().filter(|track| track.source.kind() == Kind::Video && track.is_sending);
        let ssrcs: Vec<u32> = pictures.flat_map(Track::media_ssrcs).collect();
        if !ssrcs.is_empty()
            && let Some(packet) = rtcp::receiver_limit(self.ssrc, limit.as_bps(), ssrcs)
        {
            ctx.counters.limits_sent += 1;
            self.send_rtcp(ctx, &packet);
        }
    }

    fn tell_quality(&mut self, ctx: &mut Context, room: RoomId) {
        let streams = self.tracks.iter().flat_map(|track| &track.streams);
        let totals = streams.fold((0, 0), |(expected, received), stream| {
            let (e, r) = stream.reception.totals();
            (expected + e, received + r + stream.repaired)
        });
        let busy = self.slots.iter().filter(|slot| slot.subscription.is_some());
        let worst = busy.map(|slot| u32::from(slot.loss)).max().unwrap_or_default();
        let down = u16::try_from(worst * 1000 / 256).unwrap_or(1000);
        let bytes = (self.bytes_in, self.downlink.bytes());
        let weighed = self.quality.weigh(ctx.now, totals, bytes, self.round_trip, down);
        let jitter_ms = self.tracks.iter().map(Track::jitter_ms).max().unwrap_or_default();
        // Nothing is estimated for somebody who is sent nothing.
        let target = (self.door == Door::Admitted).then(|| self.downlink.target().as_kbps());
        let target_kbits = target.and_then(|kbits| u32::try_from(kbits).ok());
        let round_trip = self.round_trip.map(|trip| u32::try_from(trip.as_millis()).unwrap_or(u32::MAX));
        ctx.tell(Event::Quality {
            room,
            peer: self.id,
            bars: weighed.bars,
            rtt_ms: round_trip,
            loss_up_permille: weighed.loss_up_permille,
            loss_down_permille: down,
            jitter_ms,
            kbits_up: weighed.kbits_up,
            kbits_down: weighed.kbits_down,
            target_kbits,
        });
    }
}
