//! Packets from the browser: authenticated, read, bound to a Track.

use bytes::Bytes;

use super::{Binding, Peer, Received};
use crate::context::Context;
use crate::negotiate::Payload;
use crate::rtp::extension;
use crate::rtp::packet::{self, Header};
use crate::track::Refused;

impl Peer {
    /// Authenticates, decrypts and reads one RTP packet; counts and drops what makes no sense.
    pub(crate) fn receive_rtp(&mut self, ctx: &mut Context, bytes: &[u8]) -> Option<Received> {
        let Ok(packet) = self.transport.unprotect_rtp(bytes) else {
            ctx.counters.srtp_refused += 1;
            return None;
        };
        self.silence.note_rtp(ctx.now);
        self.note_authentic(ctx);
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
}
