//! Packets to the browser: media from a slot, repairs, RTCP; the one way out of a Peer.

use std::time::Instant;

use bandwidth::ProbeId;
use bytes::Bytes;
use wire::control::{Door, Kind};

use super::Peer;
use crate::context::Context;
use crate::downlink::{PROBE_BYTES, Sort};
use crate::history::Kept;
use crate::packet_out::PacketOut;
use crate::passage::Held;
use crate::rtp::extension::{self, NewBlock};
use crate::rtp::packet::{self, NewHeader};
use crate::rtp::sequence::wire;
use crate::sound::{Dress, SoundOut};
use crate::subscription::{Leaving, Slot};
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
        if kind == Kind::Audio {
            let is_start = leaving.is_start;
            let sound = slot.dress(leaving, incoming, self.downlink.reach());
            self.send_sound(ctx, &sound);
            return is_start;
        }
        let Leaving { number, timestamp, marker, payload_type, payload, patch, dependency, is_start } = leaving;
        let sort = Sort::Picture(slot.urgency());
        let header = NewHeader {
            payload_type,
            marker,
            sequence: wire(number),
            timestamp,
            ssrc: slot.sending.ssrc,
            has_extension: false,
            padding: 0,
        };
        let transport_id = slot.ids.transport_cc;
        let dependency = slot.ids.dependency.zip(dependency);
        let packet = PacketOut { sort, header, transport_id, dependency, original: None, payload, patch };
        self.send_or_wait(ctx, packet);
        is_start
    }

    /// Sends a packet of a slot again, RFC 4588: on the RTX stream, with the original number in front. True when it left, or
    /// waits for its turn.
    pub(crate) fn replay(&mut self, ctx: &mut Context, slot: usize, number: u16) -> bool {
        let Some(slot) = self.slots.get_mut(slot) else { return false };
        let Some(kept) = slot.history.find(number, self.round_trip, ctx.now) else { return false };
        let Some(payload_type) = slot.rtx_of(kept.payload_type) else { return false };
        // Asked before anything is noted: what was refused may be asked for again.
        if !self.downlink.may_repair(ctx.now, kept.payload.len()) {
            return false;
        }
        slot.history.note_waiting(number, ctx.now + self.downlink.repair_age());
        let packet = slot.repair(kept, number, payload_type, Sort::Repair);
        self.send_or_wait(ctx, packet);
        true
    }

    /// Sends a packet if the budget of the way allows it, else lets it wait.
    fn send_or_wait(&mut self, ctx: &mut Context, packet: PacketOut) {
        if self.downlink.admit(ctx.now, packet.sort, packet.payload.len()) {
            self.send_packet(ctx, &packet);
            return;
        }
        ctx.counters.paced += 1;
        let shed = self.downlink.park(ctx.now, packet);
        if !shed.dropped.is_empty() {
            ctx.counters.shed += shed.dropped.len() as u64;
            ctx.is_urgent = true;
            self.take_back(&shed.dropped);
        }
        // What is left of a stream with a hole is of no use: it begins again with a keyframe, when there is room.
        if shed.broken.is_some() {
            self.downlink.touch(ctx.now);
            ctx.is_urgent = true;
        }
        ctx.pace(self.key, self.downlink.poll_timeout(ctx.now));
    }

    /// Takes back the numbers of packets that were dropped before they left, so that the browser does not ask for them. Their
    /// streams begin again with a keyframe.
    fn take_back(&mut self, dropped: &[PacketOut]) {
        for slot in &mut self.slots {
            let of_slot = dropped.iter().filter(|packet| packet.header.ssrc == slot.sending.ssrc);
            let numbers: Vec<u16> = of_slot.map(|packet| packet.header.sequence).collect();
            if !numbers.is_empty() {
                slot.take_back(numbers);
            }
        }
    }

    /// Drops what waits of these streams, by the SSRCs of their slots.
    pub(crate) fn drop_waiting(&mut self, is_over: impl Fn(&Slot) -> bool) {
        let slots = &self.slots;
        let dropped = self.downlink.drop_waiting(|ssrc| {
            let is_of = |slot: &&Slot| slot.sending.ssrc == ssrc || slot.sending.rtx_ssrc == ssrc;
            slots.iter().find(is_of).is_none_or(&is_over)
        });
        self.take_back(&dropped);
    }

    /// Sends all that waits at once.
    pub(crate) fn flush_waiting(&mut self, ctx: &mut Context) {
        while let Some(packet) = self.downlink.unpark_any(ctx.now) {
            self.send_packet(ctx, &packet);
        }
    }

    /// Sends what waited for its time, and what a probe asks for.
    pub(crate) fn pace(&mut self, ctx: &mut Context) {
        if !self.is_connected() {
            return;
        }
        // Outside the door nothing is sent, not even padding.
        if self.door != Door::Admitted {
            self.downlink.forget_probe();
            return;
        }
        while let Some(packet) = self.downlink.unpark(ctx.now) {
            self.send_packet(ctx, &packet);
        }
        while let Some((probe, bytes)) = self.downlink.poll_probe(ctx.now) {
            // What waits anyway shows as much as padding does.
            if let Some(packet) = self.downlink.unpark_any(ctx.now) {
                self.send_packet(ctx, &packet);
                continue;
            }
            let Some(packet) = self.probe_packet(ctx.now, probe, bytes) else {
                self.downlink.forget_probe();
                break;
            };
            if !self.send_packet(ctx, &packet) {
                break;
            }
            ctx.counters.probe_packets += 1;
        }
        ctx.pace(self.key, self.downlink.poll_timeout(ctx.now));
    }

    /// A packet that shows what the way carries: something lately sent, else padding on a repair stream. Only where repairs
    /// are negotiated: elsewhere the browser would not know the stream, and report a loss.
    fn probe_packet(&mut self, now: Instant, probe: ProbeId, bytes: usize) -> Option<PacketOut> {
        let sort = Sort::Probe(probe);
        let usable = |slot: &&mut Slot| slot.can_probe();
        // What was sent before is rather large: on a narrow way padding is cut to measure.
        for slot in self.slots.iter_mut().filter(|slot| bytes >= PROBE_BYTES / 2 && usable(slot)) {
            if let Some((number, kept)) = slot.history.spare(PROBE_BYTES / 2, now)
                && let Some(rtx) = slot.rtx_of(kept.payload_type)
            {
                return Some(slot.repair(kept, number, rtx, sort));
            }
        }
        let slot = self.slots.iter_mut().find(|slot| slot.can_probe())?;
        let payload_type = slot.any_rtx()?;
        let kept =
            Kept { payload: Bytes::new(), timestamp: 0, marker: false, payload_type, patch: None, dependency: None };
        let mut packet = slot.repair(kept, 0, payload_type, sort);
        packet.original = None;
        packet.header.padding = u8::try_from(bytes).unwrap_or(u8::MAX).max(1);
        Some(packet)
    }

    /// Sends a packet of sound, which waits for nothing.
    fn send_sound(&mut self, ctx: &mut Context, sound: &SoundOut) {
        let number = sound.transport_id.map(|id| (id, self.downlink.number()));
        let transport_number = number.map(|(id, number)| (id, wire(number)));
        let block = NewBlock { audio_level: sound.audio_level, transport_number, dependency: None };
        let Some(length) = self.send_rtp(ctx, sound.header, &block, |out| sound.write(out)) else { return };
        self.downlink.note_sound(ctx.now, number.map(|(_, number)| number), length);
        ctx.counters.forwarded += 1;
        ctx.counters.forwarded_audio += 1;
        if matches!(sound.dress, Dress::Built { .. }) {
            ctx.counters.protected_down += 1;
        }
    }

    /// Numbers a packet that is not sound, and sends it.
    fn send_packet(&mut self, ctx: &mut Context, packet: &PacketOut) -> bool {
        let number = packet.transport_id.map(|id| (id, self.downlink.number()));
        let transport_number = number.map(|(id, number)| (id, wire(number)));
        let dependency = packet.dependency.as_ref().map(|(id, bytes)| (*id, &bytes[..]));
        let block = NewBlock { audio_level: None, transport_number, dependency };
        let mut header = packet.header;
        if matches!(packet.sort, Sort::Repair | Sort::Probe(_)) {
            // Numbered here and not earlier: what was dropped while it waited leaves no hole in the repair stream.
            let slot = self.slots.iter_mut().find(|slot| slot.sending.rtx_ssrc == header.ssrc);
            let Some(slot) = slot else { return false };
            header.sequence = slot.next_repair();
            if let (Sort::Repair, Some(original)) = (packet.sort, packet.original) {
                slot.history.note_replayed(original, ctx.now);
            }
        }
        let Some(length) = self.send_rtp(ctx, header, &block, |out| packet.write(out)) else { return false };
        self.downlink.note_sent(ctx.now, packet.sort, number.map(|(_, number)| number), length);
        if let Sort::Picture(_) = packet.sort {
            ctx.counters.forwarded += 1;
            ctx.counters.forwarded_video += 1;
        }
        true
    }

    /// Puts a packet together, encrypts it and queues it: the one way out. Gives the datagram's length.
    fn send_rtp(
        &mut self,
        ctx: &mut Context,
        mut header: NewHeader,
        block: &NewBlock<'_>,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let to = self.transport.path()?;
        header.has_extension = !block.is_empty();
        let transport = &mut self.transport;
        let mut length = 0;
        let has_left = ctx.write(to, |out, start| {
            packet::write(out, &header);
            extension::write(out, block);
            payload(out);
            let is_sealed = transport.protect_rtp(out, start).is_ok();
            length = out.len().saturating_sub(start);
            is_sealed
        });
        has_left.then_some(length)
    }

    /// Encrypts and queues one RTCP packet of ours.
    pub(crate) fn send_rtcp(&mut self, ctx: &mut Context, plain: &[u8]) {
        let Some(to) = self.transport.path() else { return };
        if let Ok(bytes) = self.transport.protect_rtcp(plain) {
            self.downlink.note_control(bytes.len());
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
