//! One Peer: its path, its tracks, its slots, and every packet in and out of it.

mod duties;
mod session;

pub(crate) use session::Wanted;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use wire::control::{Door, Kind, SlotTrack, Source};
use wire::{ParticipantId, PeerId};

use crate::context::Context;
use crate::negotiate::{Payload, PayloadTable};
use crate::quality::Quality;
use crate::rtp::extension::{self, Ids, NewBlock};
use crate::rtp::feedback::Feedback;
use crate::rtp::packet::{self, Header, NewHeader};
use crate::rtp::sequence::wire;
use crate::subscription::{Held, Leaving, Slot};
use crate::track::{Incoming, Refused, Track};
use crate::transport::{IceCredentials, Transport};

/// Where packets of one SSRC go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) track: usize,
    pub(crate) is_rtx: bool,
}

/// One media connection of a Participant.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) participant: ParticipantId,
    pub(crate) door: Door,
    /// Grows with each Peer of the Room: of two Peers of one Participant the younger one takes over.
    pub(crate) generation: u64,
    /// An older Peer of the same Participant still carries the media, until this one connects.
    pub(crate) is_successor: bool,
    /// The gauge of connected Peers counts this one.
    pub(crate) is_counted: bool,
    /// Sources that signaling muted, published or not.
    pub(crate) muted: Vec<Source>,
    pub(crate) transport: Transport,
    pub(crate) tracks: Vec<Track>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) round_trip: Option<Duration>,
    /// Slots last asked for, so that signaling hears of each need once.
    slots_wanted: (u8, u8),
    ours: IceCredentials,
    session_id: u64,
    /// Version of the last answer.
    version: u64,
    /// Whether an offer was answered.
    pub(crate) is_negotiated: bool,
    /// At most two for each Track, plus what the offer names.
    bindings: FxHashMap<u32, Binding>,
    payloads: PayloadTable,
    ids: Ids,
    /// The SSRC of our own feedback.
    ssrc: u32,
    feedback: Feedback,
    feedback_sent: Option<Instant>,
    reported: Instant,
    quality: Quality,
    /// Next transport-wide number towards the browser, RTX included.
    transport_number: u64,
}

/// One packet from a publisher, and the place of its Track.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) track: usize,
    pub(crate) incoming: Incoming,
    /// The Track is not what it was: who receives it must be found anew.
    pub(crate) is_new: bool,
}

/// What signaling said of a new Peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewPeer {
    pub(crate) id: PeerId,
    pub(crate) participant: ParticipantId,
    pub(crate) door: Door,
    pub(crate) generation: u64,
    pub(crate) is_successor: bool,
}

impl Peer {
    pub(crate) fn new(ctx: &mut Context, ours: IceCredentials, new: NewPeer) -> Self {
        let now = ctx.now;
        Self {
            id: new.id,
            participant: new.participant,
            door: new.door,
            generation: new.generation,
            is_successor: new.is_successor,
            is_counted: false,
            muted: Vec::new(),
            transport: Transport::new(Arc::clone(&ctx.identity), ours.clone(), now),
            tracks: Vec::new(),
            slots: Vec::new(),
            round_trip: None,
            slots_wanted: (0, 0),
            ours,
            // RFC 8829 section 5.2.1: 63 bits at most.
            session_id: u64::from(ctx.fresh_ssrc()) << 20,
            version: 0,
            is_negotiated: false,
            bindings: FxHashMap::default(),
            payloads: PayloadTable::default(),
            ids: Ids::default(),
            ssrc: ctx.fresh_ssrc(),
            feedback: Feedback::new(now),
            feedback_sent: None,
            reported: now,
            quality: Quality::new(now),
            transport_number: 1,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    /// The Track whose main or RTX stream this SSRC is.
    pub(crate) fn find_binding(&self, ssrc: u32) -> Option<Binding> {
        self.bindings.get(&ssrc).copied()
    }

    /// What signaling calls this Track in a slot.
    pub(crate) fn slot_track(&self, track: &Track) -> SlotTrack {
        SlotTrack { participant: self.participant, source: track.source, track: track.id }
    }

    /// Authenticates, decrypts and reads one RTP packet; counts and drops what makes no sense.
    pub(crate) fn receive_rtp(&mut self, ctx: &mut Context, bytes: &[u8]) -> Option<Received> {
        let Ok(packet) = self.transport.unprotect_rtp(bytes) else {
            ctx.counters.srtp_refused += 1;
            return None;
        };
        let packet = packet.freeze();
        let Some(header) = packet::read(&packet) else {
            ctx.counters.malformed += 1;
            return None;
        };
        match self.take(ctx, packet, &header) {
            Ok(received) => {
                ctx.counters.rtp_in += 1;
                Some(received)
            }
            Err(Refused::Repeated | Refused::NothingRepaired) => {
                ctx.counters.padding_or_repeated += 1;
                None
            }
            Err(Refused::UnknownFormat | Refused::Unbound) => {
                ctx.counters.unbound += 1;
                None
            }
        }
    }

    fn take(&mut self, ctx: &mut Context, packet: Bytes, header: &Header) -> Result<Received, Refused> {
        let now = ctx.now;
        let found = extension::read(&packet, header, &self.ids);
        let audio_level = found.audio_level;
        if let Some(number) = found.transport_number {
            self.feedback.note(number, now);
        }
        let payload = self.payloads.find(header.payload_type).ok_or(Refused::UnknownFormat)?;
        let is_rtx = matches!(payload, Payload::Rtx(_));
        let (track, mut is_new) = match self.bindings.get(&header.ssrc) {
            Some(binding) if binding.is_rtx == is_rtx => (binding.track, false),
            Some(_) => return Err(Refused::UnknownFormat),
            None => self.bind(ctx, header.ssrc, found.mid.ok_or(Refused::Unbound)?, is_rtx)?,
        };
        let published = self.tracks.get_mut(track).ok_or(Refused::Unbound)?;
        match payload {
            Payload::Rtx(of) => {
                let incoming = published.take_repair(&packet, header, of, now)?;
                ctx.counters.repaired_up += 1;
                Ok(Received { track, incoming, is_new })
            }
            Payload::Media(coding) => {
                if coding.codec.kind() != published.source.kind() {
                    return Err(Refused::UnknownFormat);
                }
                if coding != published.coding {
                    if !published.may_be_reborn(now) {
                        return Err(Refused::UnknownFormat);
                    }
                    *published = published.reborn(ctx.fresh_track(), coding, now);
                    is_new = true;
                }
                let incoming = published.take(packet, header, audio_level, now)?;
                Ok(Received { track, incoming, is_new })
            }
        }
    }

    /// Binds an SSRC that the offer did not name, by its MID extension. Tells whether the Track became another one.
    fn bind(&mut self, ctx: &mut Context, ssrc: u32, mid: &[u8], is_rtx: bool) -> Result<(usize, bool), Refused> {
        let index = self
            .tracks
            .iter()
            .position(|track| track.is_sending && track.mid.as_bytes() == mid)
            .ok_or(Refused::Unbound)?;
        let track = self.tracks.get_mut(index).ok_or(Refused::Unbound)?;
        let mut is_new = false;
        if is_rtx {
            // Browsers probe with RTX before the stream that it repairs is known.
            if track.ssrc.is_none() {
                return Err(Refused::NothingRepaired);
            }
            track.rtx_ssrc = Some(ssrc);
        } else {
            if track.ssrc.is_some() {
                if !track.may_be_reborn(ctx.now) {
                    return Err(Refused::Unbound);
                }
                *track = track.reborn(ctx.fresh_track(), track.coding, ctx.now);
                track.rtx_ssrc = None;
                is_new = true;
            }
            track.ssrc = Some(ssrc);
        }
        let (main, rtx) = (track.ssrc, track.rtx_ssrc);
        // An SSRC that was replaced means nothing any more.
        self.bindings.retain(|known, binding| binding.track != index || Some(*known) == main || Some(*known) == rtx);
        self.bindings.insert(ssrc, Binding { track: index, is_rtx });
        Ok((index, is_new))
    }

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
        let Leaving { payload, patch, is_start, .. } = leaving;
        let block = NewBlock { audio_level, transport_number };
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
        let block = NewBlock { audio_level: None, transport_number };
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
        block: &NewBlock,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let Some(to) = self.transport.address() else { return false };
        header.has_extension = !block.is_empty();
        ctx.scratch.clear();
        packet::write(&mut ctx.scratch, &header);
        extension::write(&mut ctx.scratch, block);
        payload(&mut ctx.scratch);
        let Ok(bytes) = self.transport.protect_rtp(&ctx.scratch) else { return false };
        ctx.send(to, bytes.freeze());
        true
    }

    /// Encrypts and queues one RTCP packet of ours.
    pub(crate) fn send_rtcp(&mut self, ctx: &mut Context, plain: &[u8]) {
        let Some(to) = self.transport.address() else { return };
        if let Ok(bytes) = self.transport.protect_rtcp(plain) {
            ctx.send(to, bytes.freeze());
        }
    }

    /// Queues what the transport has to send.
    pub(crate) fn flush(&mut self, ctx: &mut Context) {
        while let Some((to, bytes)) = self.transport.poll_transmit() {
            ctx.send(to, bytes);
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
