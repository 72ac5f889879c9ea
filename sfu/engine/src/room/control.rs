//! RTCP of a Room's Peers: reports, requests for repairs and keyframes, each only as far as the door allows.

use wire::TrackId;
use wire::control::Kind;

use super::Room;
use crate::context::Context;
use crate::door;
use crate::layer::Layer;
use crate::peer::count_refused;
use crate::rtp::rtcp::{self, Block, Compound, Rtcp};
use crate::subscription::Slot;
use crate::tap::Tap;
use crate::track::Live;

/// Numbers answered of one NACK packet. Browsers ask for a handful; more is a flood or a stream beyond repair.
const REPAIRS: usize = 512;
/// Parts looked at of one compound packet. Browsers put together a handful; each part may cost a search.
const PARTS: usize = 64;
/// The weight of a new round trip against the smoothed one: one in eight, as in TCP.
const SMOOTHING: u32 = 8;

impl Room {
    /// Handles one SRTCP packet of a Peer.
    pub(crate) fn handle_rtcp(&mut self, ctx: &mut Context, index: usize, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        if !peer.allowance.reports.is_open(ctx.now) {
            ctx.counters.limited_reports += 1;
            return;
        }
        let plain = match peer.transport.unprotect_rtcp(bytes) {
            Ok(plain) => plain,
            Err(reason) => return count_refused(ctx, reason),
        };
        peer.allowance.reports.take(ctx.now, 1);
        peer.note_authentic(ctx);
        let mut is_told = false;
        let mut compound = Compound::new(&plain);
        for (number, part) in compound.by_ref().enumerate() {
            if number >= PARTS {
                ctx.counters.limited_reports += 1;
                return;
            }
            match part {
                Rtcp::SenderReport { ssrc, ntp, rtp, packets, blocks } => {
                    self.handle_sender_report(ctx, index, ssrc, (ntp, rtp, packets));
                    self.handle_blocks(ctx, index, rtcp::blocks(blocks));
                }
                Rtcp::ReceiverReport { blocks } => self.handle_blocks(ctx, index, rtcp::blocks(blocks)),
                Rtcp::Nack { media, items } => self.handle_nack(ctx, index, media, rtcp::lost_numbers(items)),
                Rtcp::PictureLoss { media } => self.handle_keyframe_wish(ctx, index, media),
                Rtcp::FullIntra { entries } => {
                    for media in rtcp::intra_sources(entries).take(REPAIRS) {
                        self.handle_keyframe_wish(ctx, index, media);
                    }
                }
                Rtcp::TransportFeedback { body } => {
                    ctx.counters.transport_feedback_received += 1;
                    let now = ctx.now;
                    is_told = true;
                    if self.peers.get_mut(index).is_some_and(|peer| !peer.downlink.handle_report(now, body)) {
                        ctx.counters.malformed += 1;
                    }
                }
                Rtcp::ReceiverLimit { bits } => {
                    if let Some(peer) = self.peers.get_mut(index) {
                        peer.downlink.handle_limit(bits);
                    }
                }
                Rtcp::Other => {}
            }
        }
        if compound.is_malformed {
            ctx.counters.malformed += 1;
        }
        if is_told {
            self.tend(ctx, index);
        }
    }

    /// A publisher's report goes on to its receivers with their time base and our counts, so that lips and voice stay
    /// together without a clock of our own.
    fn handle_sender_report(&mut self, ctx: &mut Context, index: usize, ssrc: u32, report: (u64, u32, u32)) {
        let Some(publisher) = self.peers.get_mut(index) else { return };
        let Some(binding) = publisher.find_binding(ssrc).filter(|binding| !binding.is_rtx) else { return };
        let from = publisher.door;
        let (participant, rights) = (publisher.participant, publisher.rights);
        let Some(track) = publisher.tracks.get_mut(binding.track) else { return };
        let (id, source) = (track.id, track.source);
        let is_stopped = track.is_muted || !track.is_sending || !door::may_send(rights, source);
        let (ntp, rtp, _) = report;
        let Some(stream) = track.streams.get_mut(usize::from(binding.layer)) else { return };
        if !stream.note_report(ntp, rtp, ctx.now) || is_stopped {
            return;
        }
        if door::may_tap(from)
            && self.consents.holds(participant)
            && let Some(tap) = &self.tap
        {
            tap.report(ctx, (id, binding.layer), report);
        }
        for (other, receiver) in &mut self.peers {
            let may = door::may_forward(from, receiver.door) && door::may_be_sent(receiver.rights, source);
            if other != index && may {
                receiver.send_sender_report(ctx, (id, binding.layer), (ntp, rtp));
            }
        }
    }

    fn handle_blocks(&mut self, ctx: &Context, index: usize, blocks: impl Iterator<Item = Block>) {
        let Some(receiver) = self.peers.get_mut(index) else { return };
        let (mut lost, mut expected) = (0, 0);
        for block in blocks {
            let Some(slot) = receiver.slots.iter_mut().find(|slot| slot.sending.ssrc == block.ssrc) else { continue };
            slot.loss = block.fraction_lost;
            // Each SSRC is one of our slots, so the list is as long as those.
            let place = receiver.reported_highest.iter_mut().find(|(ssrc, _)| *ssrc == block.ssrc);
            let since = match place {
                Some((_, highest)) => block.highest.wrapping_sub(std::mem::replace(highest, block.highest)),
                None => {
                    receiver.reported_highest.push((block.ssrc, block.highest));
                    0
                }
            };
            // More cannot leave between two reports: it is a hostile number, or another stream.
            if since < 1 << 16 {
                expected += since;
                lost += since * u32::from(block.fraction_lost) / 256;
            }
            if let Some(trip) = slot.sent_reports.round_trip(block.last_sender_report, block.delay, ctx.now) {
                let before = receiver.round_trip.unwrap_or(trip);
                receiver.round_trip = Some((before * (SMOOTHING - 1) + trip) / SMOOTHING);
            }
        }
        if expected > 0 {
            let permille = u16::try_from(u64::from(lost) * 1000 / u64::from(expected)).unwrap_or(1000);
            let share = f32::from(permille) / 1000.0;
            let trip = receiver.round_trip;
            receiver.downlink.handle_receiver_report(ctx.now, share, expected, trip);
        }
    }

    fn handle_nack(&mut self, ctx: &mut Context, index: usize, media: u32, numbers: impl Iterator<Item = u16>) {
        let Some(receiver) = self.peers.get_mut(index) else { return };
        if !door::may_ask(receiver.door) {
            return;
        }
        let Some(slot) = receiver.slots.iter().position(|slot| slot.sending.ssrc == media) else { return };
        for number in numbers.take(REPAIRS) {
            if !receiver.allowance.repairs.try_take(ctx.now) {
                ctx.counters.limited_repairs += 1;
                return;
            }
            ctx.counters.nacks_received += 1;
            if receiver.replay(ctx, slot, number) {
                ctx.counters.retransmitted += 1;
            } else {
                ctx.counters.not_retransmitted += 1;
            }
        }
    }

    /// A receiver lost the picture.
    fn handle_keyframe_wish(&mut self, ctx: &mut Context, index: usize, media: u32) {
        ctx.counters.keyframes_wanted += 1;
        let Some(receiver) = self.peers.get_mut(index).filter(|peer| door::may_ask(peer.door)) else { return };
        // Each wish makes us look at everybody's slots.
        if !receiver.allowance.keyframes.try_take(ctx.now) {
            ctx.counters.limited_keyframes += 1;
            return;
        }
        let Some(slot) = receiver.slots.iter().find(|slot| slot.sending.ssrc == media) else { return };
        let Some(wanted) = slot.layer_in_need() else { return };
        self.want_keyframes(&[wanted]);
        self.request_keyframes(ctx);
        self.hurry();
    }

    /// Marks every picture in the slots of one Peer as wanted.
    pub(super) fn want_keyframes_for(&mut self, index: usize) {
        let Some(receiver) = self.peers.get(index) else { return };
        let carried: Vec<_> = receiver.slots.iter().filter_map(Slot::layer_in_need).collect();
        self.want_keyframes(&carried);
    }

    /// Wants the pictures anew that a Peer on another path sees, and those it sends: what was lost on the old one is too old to be
    /// repaired, and browsers ask for a keyframe only three seconds after their last picture.
    pub(super) fn renew_pictures(&mut self) {
        let mut moved = Vec::new();
        let mut sent = Vec::new();
        for (index, peer) in &mut self.peers {
            if std::mem::take(&mut peer.has_moved) {
                moved.push(index);
                sent.extend(peer.tracks.iter().map(|track| track.id));
            }
        }
        if moved.is_empty() {
            return;
        }
        let carried = self.peers.iter().flat_map(|(index, receiver)| {
            let (sees, sent) = (moved.contains(&index), &sent);
            receiver.slots.iter().filter_map(Slot::layer_in_need).filter(move |(track, _)| sees || sent.contains(track))
        });
        let wanted: Vec<_> = carried.collect();
        self.want_keyframes(&wanted);
    }

    /// Marks these Layers as wanted.
    pub(super) fn want_keyframes(&mut self, wanted: &[(TrackId, Layer)]) {
        for (_, publisher) in &mut self.peers {
            for track in &mut publisher.tracks {
                let id = track.id;
                for (_, layer) in wanted.iter().filter(|(wanted, _)| *wanted == id) {
                    track.want_keyframe(*layer);
                }
            }
        }
    }

    /// Tells every way of a Track with several Layers which of them come in, so that none waits for one that does not.
    pub(super) fn settle(&mut self, ctx: &Context) {
        let mut all: Vec<(TrackId, Live)> = Vec::new();
        for (_, publisher) in &self.peers {
            let layered = publisher.tracks.iter().filter(|track| track.streams.len() > 1);
            all.extend(layered.map(|track| (track.id, track.live(ctx.now))));
        }
        for (track, live) in all {
            for (_, receiver) in &mut self.peers {
                for slot in receiver.slots.iter_mut().filter(|slot| slot.carries(track)) {
                    slot.passage.settle(live, ctx.now);
                }
            }
            if let Some(tap) = &mut self.tap {
                tap.settle(track, live, ctx.now);
            }
        }
    }

    /// Sends the keyframe requests that are due: those wished for, and repeats while somebody inside has no picture.
    pub(super) fn request_keyframes(&mut self, ctx: &mut Context) {
        let mut waiting: Vec<(TrackId, Layer)> = self
            .peers
            .iter()
            .filter(|(_, receiver)| door::may_ask(receiver.door) && receiver.is_connected())
            .flat_map(|(_, receiver)| &receiver.slots)
            .filter_map(Slot::waits_for)
            .collect();
        waiting.extend(self.tap.iter().flat_map(Tap::waits_for));
        for (_, publisher) in &mut self.peers {
            if !door::may_ask(publisher.door) {
                continue;
            }
            for index in 0..publisher.tracks.len() {
                let Some(track) = publisher.tracks.get(index) else { continue };
                let id = track.id;
                let is_awake = !publisher.is_asleep(id);
                if track.source.kind() == Kind::Video && track.is_sending && !track.is_muted && is_awake {
                    publisher.request_keyframes(ctx, index, |layer| waiting.contains(&(id, layer)));
                }
            }
        }
    }
}
