//! Packets to the browser: media from a slot, repairs, RTCP; the one way out of a Peer.

use wire::control::Kind;

use super::Peer;
use crate::context::Context;
use crate::passage::Held;
use crate::rtp::extension::{self, NewBlock};
use crate::rtp::packet::{self, NewHeader};
use crate::rtp::sequence::wire;
use crate::subscription::Leaving;
use crate::track::Incoming;

impl Peer {
    /// Sends one packet of a Track on the slot that carries it. True when the receiver begins with this packet.
    pub(crate) fn send_media(&mut self, ctx: &mut Context, incoming: &Incoming) -> bool {
        // Nothing is queued for a Peer without keys: it will ask for a keyframe when it has them.
        if !self.transport.is_connected() {
            return false;
        }
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.carries(incoming.track)) else { return false };
        let leaving = match slot.forward(incoming, ctx.now) {
            Ok(leaving) => leaving,
            Err(held) => {
                *match held {
                    Held::Switch => &mut ctx.counters.held_for_keyframe,
                    Held::Layer => &mut ctx.counters.held_by_layer,
                    Held::Codec => &mut ctx.counters.held_by_codec,
                    Held::Number => &mut ctx.counters.padding_or_repeated,
                } += 1;
                return false;
            }
        };
        let kind = slot.kind;
        let audio_level = slot.ids.audio_level.filter(|_| kind == Kind::Audio).zip(incoming.audio_level);
        let transport_number = next_number(slot.ids.transport_cc, &mut self.transport_number);
        let header = NewHeader {
            payload_type: leaving.payload_type,
            marker: leaving.marker,
            sequence: wire(leaving.number),
            timestamp: leaving.timestamp,
            ssrc: slot.sending.ssrc,
            has_extension: false,
        };
        let Leaving { payload, patch, dependency, is_start, .. } = leaving;
        let dependency = dependency.as_deref().and_then(|bytes| Some((slot.ids.dependency?, bytes)));
        let block = NewBlock { audio_level, transport_number, dependency };
        let has_left = self.send_rtp(ctx, header, &block, |out| {
            let at = out.len();
            out.extend_from_slice(&payload);
            if let (Some(patch), Some(copy)) = (patch, out.get_mut(at..)) {
                patch.apply(copy);
            }
        });
        if has_left {
            ctx.counters.forwarded += 1;
            match kind {
                Kind::Audio => ctx.counters.forwarded_audio += 1,
                Kind::Video => ctx.counters.forwarded_video += 1,
            }
        }
        is_start
    }

    /// Sends a packet of a slot again, RFC 4588: on the RTX stream, with the original number in front.
    pub(crate) fn replay(&mut self, ctx: &mut Context, slot: usize, number: u16) -> bool {
        let Some(slot) = self.slots.get_mut(slot) else { return false };
        let Some((kept, payload_type, rtx_number)) = slot.replay(number, self.round_trip, ctx.now) else {
            return false;
        };
        let transport_number = next_number(slot.ids.transport_cc, &mut self.transport_number);
        let header = NewHeader {
            payload_type,
            marker: kept.marker,
            sequence: rtx_number,
            timestamp: kept.timestamp,
            ssrc: slot.sending.rtx_ssrc,
            has_extension: false,
        };
        let dependency = kept.dependency.as_deref().and_then(|bytes| Some((slot.ids.dependency?, bytes)));
        let block = NewBlock { audio_level: None, transport_number, dependency };
        self.send_rtp(ctx, header, &block, |out| {
            out.extend_from_slice(&number.to_be_bytes());
            let at = out.len();
            out.extend_from_slice(&kept.payload);
            if let (Some(patch), Some(copy)) = (kept.patch, out.get_mut(at..)) {
                patch.apply(copy);
            }
        })
    }

    /// Puts a packet together, encrypts it and queues it.
    fn send_rtp(
        &mut self,
        ctx: &mut Context,
        mut header: NewHeader,
        block: &NewBlock<'_>,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let Some(to) = self.transport.path() else { return false };
        header.has_extension = !block.is_empty();
        let transport = &mut self.transport;
        ctx.write(to, |out, start| {
            packet::write(out, &header);
            extension::write(out, block);
            payload(out);
            transport.protect_rtp(out, start).is_ok()
        })
    }

    /// Encrypts and queues one RTCP packet of ours.
    pub(crate) fn send_rtcp(&mut self, ctx: &mut Context, plain: &[u8]) {
        let Some(to) = self.transport.path() else { return };
        if let Ok(bytes) = self.transport.protect_rtcp(plain) {
            ctx.send(to, &bytes);
        }
    }

    /// Queues what the transport has to send.
    pub(crate) fn flush(&mut self, ctx: &mut Context) {
        while let Some((to, bytes)) = self.transport.poll_transmit() {
            ctx.send(to, &bytes);
        }
    }
}

/// The next transport-wide number, where the receiver negotiated them.
fn next_number(id: Option<u8>, next: &mut u64) -> Option<(u8, u16)> {
    let id = id?;
    let number = wire(*next);
    *next += 1;
    Some((id, number))
}
