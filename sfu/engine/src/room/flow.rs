//! A packet's way through a Room: from its publisher past the door to the Tap and to everybody inside.

use wire::control::Source;

use super::Room;
use crate::context::Context;
use crate::door;
use crate::peer::Received;
use crate::track::{Incoming, Live, Track};

impl Room {
    /// Handles one SRTP packet of a Peer.
    pub(crate) fn handle_rtp(&mut self, ctx: &mut Context, index: usize, bytes: &[u8]) {
        self.stir(ctx.now);
        let Some(publisher) = self.peers.get_mut(index) else { return };
        publisher.bytes_in += bytes.len() as u64;
        let Some(Received { track, incoming, is_new }) = publisher.receive_rtp(ctx, bytes) else { return };
        let published = self.peers.get(index).and_then(|publisher| publisher.tracks.get(track));
        let is_first_sound = published.is_some_and(|track| self.mixing.is_first_sound(track, &incoming));
        if is_first_sound {
            self.mixing.note_sound(incoming.track);
        }
        if is_new || is_first_sound {
            self.reconcile(ctx);
        }
        if incoming.unwrapped.is_some() {
            let published = self.peers.get_mut(index).and_then(|peer| peer.tracks.get_mut(track));
            for earlier in published.map(Track::take_recovered).into_iter().flatten() {
                ctx.counters.recovered_up += 1;
                self.pass_on(ctx, index, track, &earlier);
            }
        }
        self.pass_on(ctx, index, track, &incoming);
        if let Some(track) = self.peers.get_mut(index).and_then(|publisher| publisher.tracks.get_mut(track)) {
            track.keep(&incoming);
        }
    }

    /// Gives a packet of a Peer's Track to the Tap and to everybody who may have it.
    fn pass_on(&mut self, ctx: &mut Context, index: usize, track: usize, incoming: &Incoming) {
        let Some(publisher) = self.peers.get(index) else { return };
        let Some(track) = publisher.tracks.get(track) else { return };
        let from = publisher.door;
        if !door::may_tap(from) {
            ctx.counters.held_by_door += 1;
            return;
        }
        let source = track.source;
        if !door::may_send(publisher.rights, source) {
            ctx.counters.held_by_rights += 1;
            return;
        }
        if track.is_muted || !track.is_sending {
            ctx.counters.held_by_mute += 1;
            return;
        }
        let participant = publisher.participant;
        if let Some(tap) = &mut self.tap
            && self.consents.holds(participant)
        {
            let live = if track.streams.len() > 1 { track.live(ctx.now) } else { Live::default() };
            tap.packet(ctx, &publisher.slot_track(track), live, incoming);
        }
        if let (Source::Microphone, Some(level)) = (source, incoming.audio_level) {
            self.speaker.note(participant, level, ctx.now);
        }
        self.mixing.feed(ctx, self.id, incoming);
        let clock = incoming.clock;
        // The first packet of a keyframe was overtaken: whoever begins with it gets what overtook it, too.
        let overtook = if incoming.starts_run && !incoming.is_newest {
            track.after(incoming.layer, incoming.number)
        } else {
            Vec::new()
        };
        for (other, receiver) in &mut self.peers {
            if other == index {
                continue;
            }
            if !door::may_forward(from, receiver.door) {
                ctx.counters.held_by_door += 1;
                continue;
            }
            if !door::may_be_sent(receiver.rights, source) {
                ctx.counters.held_by_rights += 1;
                continue;
            }
            if receiver.send_media(ctx, incoming) {
                // The publisher's next report may be seconds away, and lips and voice belong together from the start.
                if let Some(clock) = clock {
                    receiver.send_sender_report(ctx, (incoming.track, incoming.layer), clock);
                }
                for later in &overtook {
                    receiver.send_media(ctx, later);
                }
            }
        }
    }
}
