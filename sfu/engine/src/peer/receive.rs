//! Packets from the browser: authenticated, read, bound to a Track.

use bytes::Bytes;

use super::{Binding, Peer, Received};
use crate::context::Context;
use crate::negotiate::Payload;
use crate::rtp::extension::{self, Found};
use crate::rtp::packet::{self, Header};
use crate::track::{Extras, Refused, Track};
use crate::transport::DropReason;

impl Peer {
    /// Authenticates, decrypts and reads one RTP packet; counts and drops what makes no sense.
    pub(crate) fn receive_rtp(&mut self, ctx: &mut Context, bytes: &[u8]) -> Option<Received> {
        if !self.allowance.takes_media(ctx.now) {
            ctx.counters.limited_media += 1;
            return None;
        }
        let packet = match self.transport.unprotect_rtp(bytes) {
            Ok(packet) => packet,
            Err(reason) => {
                count_refused(ctx, reason);
                return None;
            }
        };
        self.allowance.note_media(ctx.now, bytes.len());
        self.silence.note_rtp(ctx.now);
        self.note_authentic(ctx);
        let Some(header) = packet::read(&packet) else {
            ctx.counters.malformed += 1;
            return None;
        };
        match self.take(ctx, packet, &header) {
            Ok(received) => {
                ctx.counters.rtp_in += 1;
                // Most losses show when the packets after them come: the request for them need not wait for a tick.
                if self.tracks.get(received.track).is_some_and(Track::misses) {
                    self.ask_for_missing(ctx);
                    ctx.is_urgent = true;
                }
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
        let mut extras = Extras {
            audio_level: found.audio_level,
            descriptor: found.dependency.map(|bytes| packet.slice_ref(bytes)),
            red: None,
        };
        if let Some(number) = found.transport_number {
            self.feedback.note(number, now);
        }
        let mut payload = self.payloads.find(header.payload_type).ok_or(Refused::UnknownFormat)?;
        if let Payload::Red(of) = payload {
            extras.red = Some(of);
            payload = self.payloads.find(of).ok_or(Refused::UnknownFormat)?;
        }
        let is_rtx = matches!(payload, Payload::Rtx(_));
        let (binding, mut is_new) = match self.bindings.get(&header.ssrc) {
            Some(binding) if binding.is_rtx == is_rtx => (*binding, false),
            Some(_) => return Err(Refused::UnknownFormat),
            None => self.bind(ctx, header.ssrc, &found, is_rtx)?,
        };
        let Binding { track, layer, .. } = binding;
        let published = self.tracks.get_mut(track).ok_or(Refused::Unbound)?;
        match payload {
            Payload::Rtx(of) => {
                let incoming = published.take_repair(layer, &packet, header, (of, extras), now)?;
                ctx.counters.repaired_up += 1;
                Ok(Received { track, incoming, is_new })
            }
            Payload::Red(_) => Err(Refused::UnknownFormat),
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
                let incoming = published.take(layer, packet, header, extras, now)?;
                Ok(Received { track, incoming, is_new })
            }
        }
    }

    /// Binds an SSRC that the offer did not name, by its MID extension and, of simulcast, by the name of its Layer. Tells
    /// whether the Track became another one.
    fn bind(
        &mut self,
        ctx: &mut Context,
        ssrc: u32,
        found: &Found<'_>,
        is_rtx: bool,
    ) -> Result<(Binding, bool), Refused> {
        let mid = found.mid.ok_or(Refused::Unbound)?;
        let index = self
            .tracks
            .iter()
            .position(|track| track.is_sending && track.mid.as_bytes() == mid)
            .ok_or(Refused::Unbound)?;
        let track = self.tracks.get_mut(index).ok_or(Refused::Unbound)?;
        let name = if is_rtx { found.repaired_rid } else { found.rid };
        let is_named = |rid: Option<&str>| rid.is_none() || rid.map(str::as_bytes) == name;
        // A Layer without a name is the only one of its Track, or the offer named its SSRC.
        let place = track.streams.iter().position(|stream| is_named(stream.rid.as_deref()));
        let place = place.filter(|_| track.streams.len() == 1 || name.is_some()).ok_or(Refused::Unbound)?;
        let layer = u8::try_from(place).map_err(|_| Refused::Unbound)?;
        let stream = track.streams.get_mut(place).ok_or(Refused::Unbound)?;
        let mut is_new = false;
        if is_rtx {
            // Browsers probe with RTX before the stream that it repairs is known.
            if stream.ssrc.is_none() {
                return Err(Refused::NothingRepaired);
            }
            stream.rtx_ssrc = Some(ssrc);
        } else if stream.ssrc.is_some() {
            if !track.may_be_reborn(ctx.now) {
                return Err(Refused::Unbound);
            }
            *track = track.reborn(ctx.fresh_track(), track.coding, ctx.now);
            is_new = true;
            for (at, stream) in track.streams.iter_mut().enumerate() {
                stream.ssrc = (at == place).then_some(ssrc);
                stream.rtx_ssrc = None;
            }
        } else {
            stream.ssrc = Some(ssrc);
        }
        let streams = &track.streams;
        let is_known = |known: u32| streams.iter().any(|s| s.ssrc == Some(known) || s.rtx_ssrc == Some(known));
        // An SSRC that was replaced means nothing any more.
        self.bindings.retain(|known, binding| binding.track != index || is_known(*known));
        let binding = Binding { track: index, layer, is_rtx };
        self.bindings.insert(ssrc, binding);
        Ok((binding, is_new))
    }
}

/// Counts a packet that SRTP refused.
pub(crate) const fn count_refused(ctx: &mut Context, reason: DropReason) {
    match reason {
        DropReason::TooManySources => ctx.counters.limited_streams += 1,
        _ => ctx.counters.srtp_refused += 1,
    }
}
