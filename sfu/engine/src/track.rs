//! A published Track: its streams, what is missing of them, and each packet made ready for forwarding.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::TrackId;
use wire::control::{Codec, Source};

use crate::keyframe::Keyframes;
use crate::layer::{LayerStep, Step};
use crate::meter::Meter;
use crate::negotiate::Coding;
use crate::rtp::nack::{Nack, Noted};
use crate::rtp::packet::{FIXED, Header};
use crate::rtp::report::Reception;
use crate::rtp::sequence::{Unroll, Window};
use crate::rtp::vp8::Descriptor;
use crate::rtp::{h264, packet, vp8};

/// How often a Track may become another one by a new SSRC or codec. Browsers do it once in a call, if at all; without a
/// bound one Peer could make everybody else renew their slots with every packet.
const REBIRTH: Duration = Duration::from_secs(1);
/// How often a Track's sender report goes on to its receivers. Browsers send one or a few a second.
const REPORT_SPACING: Duration = Duration::from_millis(50);

/// Packets of a video Track that are remembered for a keyframe whose first packet comes late: more than the keyframe of a
/// 720p camera has. The oldest go first.
const RECENT: usize = 128;
/// A layer that was silent for so long is not offered to receivers: browsers stop the large ones when their uplink or their
/// processor is short.
const SILENCE: Duration = Duration::from_millis(500);

/// One packet of a Track on its way to its receivers. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) track: TrackId,
    /// The publisher's plaintext packet, unwrapped when it was repaired.
    pub(crate) packet: Bytes,
    /// Unrolled sequence number.
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) coding: Coding,
    /// Shares the packet's memory; empty when there is only padding.
    pub(crate) payload: Bytes,
    /// RFC 6464, as the publisher sent it.
    pub(crate) audio_level: Option<u8>,
    /// First packet of a keyframe, with which a receiver may begin.
    pub(crate) starts_run: bool,
    /// Nothing after it came before it.
    pub(crate) is_newest: bool,
    pub(crate) vp8: Option<Descriptor>,
}

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It came before.
    Repeated,
    /// Its payload type means nothing here.
    UnknownFormat,
    /// It is a repair of nothing: padding on the RTX stream, or of a stream not known yet.
    NothingRepaired,
    /// Of no known Track.
    Unbound,
}

/// One published source of a Peer.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) mid: Arc<str>,
    pub(crate) source: Source,
    pub(crate) coding: Coding,
    /// The last offer says that it is sent.
    pub(crate) is_sending: bool,
    /// Forwarding was stopped by signaling.
    pub(crate) is_muted: bool,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) nack: Nack,
    pub(crate) keyframes: Keyframes,
    pub(crate) reception: Reception,
    pub(crate) rtx_reception: Reception,
    /// Packets that came back on RTX.
    pub(crate) repaired: u64,
    unroll: Unroll,
    rtx_unroll: Unroll,
    window: Window,
    origin: Instant,
    reported: Option<Instant>,
    /// NTP and RTP time of the last sender report.
    pub(crate) clock: Option<(u64, u32)>,
    /// Of video: the last packets in the order in which they came, at most [`RECENT`].
    recent: VecDeque<Incoming>,
    /// Highest number that is no longer among them.
    forgotten: u64,
    meter: Meter,
    /// Width and height of the last keyframe that told them.
    size: Option<(u16, u16)>,
}

impl Track {
    pub(crate) fn new(id: TrackId, mid: Arc<str>, source: Source, coding: Coding, now: Instant) -> Self {
        Self {
            id,
            mid,
            source,
            coding,
            is_sending: true,
            is_muted: false,
            ssrc: None,
            rtx_ssrc: None,
            nack: Nack::default(),
            keyframes: Keyframes::default(),
            reception: Reception::default(),
            rtx_reception: Reception::default(),
            repaired: 0,
            unroll: Unroll::default(),
            rtx_unroll: Unroll::default(),
            window: Window::default(),
            origin: now,
            reported: None,
            clock: None,
            recent: VecDeque::new(),
            forgotten: 0,
            meter: Meter::default(),
            size: None,
        }
    }

    /// What of the Track flows at present, cheapest first; empty when nothing does.
    #[allow(dead_code, reason = "the allocator asks")]
    pub(crate) fn steps(&mut self, now: Instant) -> Vec<Step> {
        let is_live = self.meter.last().is_some_and(|at| now.saturating_duration_since(at) < SILENCE);
        let pixels = self.size.map(|(width, height)| u32::from(width) * u32::from(height));
        let step = Step { step: LayerStep::default(), rate: self.meter.rate(now), pixels };
        is_live.then_some(step).into_iter().collect()
    }

    /// Whether the Track may become another one now: see [`REBIRTH`].
    pub(crate) fn may_be_reborn(&self, now: Instant) -> bool {
        !self.reception.is_started() || now.saturating_duration_since(self.origin) >= REBIRTH
    }

    /// Another SSRC or codec: its numbers have nothing to do with the old ones, so it is another Track for whoever
    /// receives or stores it.
    pub(crate) fn reborn(&self, id: TrackId, coding: Coding, now: Instant) -> Self {
        let id = if self.reception.is_started() { id } else { self.id };
        let fresh = Self::new(id, Arc::clone(&self.mid), self.source, coding, now);
        Self {
            is_sending: self.is_sending,
            is_muted: self.is_muted,
            ssrc: self.ssrc,
            rtx_ssrc: self.rtx_ssrc,
            keyframes: self.keyframes,
            ..fresh
        }
    }

    /// Notes a sender report; true when it should go on to the receivers, which is bounded by [`REPORT_SPACING`].
    pub(crate) fn note_report(&mut self, ntp: u64, rtp: u32, now: Instant) -> bool {
        self.clock = Some((ntp, rtp));
        self.reception.note_report(ntp, now);
        let is_due = self.reported.is_none_or(|at| now.saturating_duration_since(at) >= REPORT_SPACING);
        if is_due {
            self.reported = Some(now);
        }
        is_due
    }

    fn arrival(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.origin).as_micros();
        let units = micros * u128::from(self.coding.codec.clock_rate()) / 1_000_000;
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Takes a packet of the main stream.
    pub(crate) fn take(
        &mut self,
        packet: Bytes,
        header: &Header,
        audio_level: Option<u8>,
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let number = self.unroll.peek(header.sequence);
        if !self.window.note(number) {
            return Err(Refused::Repeated);
        }
        self.unroll.take(header.sequence);
        self.reception.note(number, header.timestamp, self.arrival(now));
        self.ready(packet, header, number, audio_level, now)
    }

    /// Takes a packet of the RTX stream, RFC 4588: unwraps it to what was lost.
    pub(crate) fn take_repair(
        &mut self,
        wrapped: &Bytes,
        header: &Header,
        payload_type: u8,
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let number = self.rtx_unroll.take(header.sequence);
        self.rtx_reception.note(number, header.timestamp, self.arrival(now));
        let payload = wrapped.get(header.payload.clone()).unwrap_or_default();
        let (Some(ssrc), Some((original, rest))) = (self.ssrc, payload.split_first_chunk::<2>()) else {
            return Err(Refused::NothingRepaired);
        };
        let number = self.unroll.peek(u16::from_be_bytes(*original));
        // A repair of something that we have not missed, or from before the stream, is only probing.
        if self.unroll.highest().is_none_or(|highest| number > highest) || !self.window.note(number) {
            return Err(Refused::Repeated);
        }
        self.repaired += 1;
        let mut packet = Vec::with_capacity(wrapped.len());
        packet.extend_from_slice(wrapped.get(..header.payload.start).unwrap_or_default());
        packet.extend_from_slice(rest);
        if let Some(fixed) = packet.first_chunk_mut::<FIXED>() {
            let [first, second, s0, s1, _, _, _, _, c0, c1, c2, c3] = fixed;
            *first &= !0x20;
            *second = *second & 0x80 | payload_type;
            [*s0, *s1] = *original;
            [*c0, *c1, *c2, *c3] = ssrc.to_be_bytes();
        }
        let packet = Bytes::from(packet);
        let header = packet::read(&packet).ok_or(Refused::NothingRepaired)?;
        self.ready(packet, &header, number, None, now)
    }

    fn ready(
        &mut self,
        packet: Bytes,
        header: &Header,
        number: u64,
        audio_level: Option<u8>,
        now: Instant,
    ) -> Result<Incoming, Refused> {
        if self.source != Source::Microphone && self.nack.note(number, now) == Noted::Broken {
            self.keyframes.want();
        }
        self.meter.note(packet.len(), now);
        let payload = packet.slice(header.payload.clone());
        let vp8 = (self.coding.codec == Codec::Vp8).then(|| vp8::read(&payload)).flatten();
        let starts_keyframe = match self.coding.codec {
            Codec::Opus => true,
            Codec::Vp8 => vp8.is_some_and(|descriptor| descriptor.starts_keyframe),
            Codec::H264 => h264::starts_keyframe(&payload),
        };
        self.size = vp8.and_then(|descriptor| descriptor.size).or(self.size);
        let is_newest = self.unroll.highest() == Some(number);
        if starts_keyframe && self.coding.codec != Codec::Opus {
            if is_newest || number > self.forgotten {
                self.keyframes.note_keyframe();
            } else {
                // Parts of it were not forwarded to those who wait, and are not here any more: they need the next one.
                self.keyframes.want_again();
            }
        }
        let incoming = Incoming {
            track: self.id,
            number,
            timestamp: header.timestamp,
            marker: header.marker,
            coding: self.coding,
            audio_level,
            starts_run: starts_keyframe && !payload.is_empty() && (is_newest || number > self.forgotten),
            is_newest,
            vp8,
            payload,
            packet,
        };
        if self.source != Source::Microphone {
            if self.recent.len() == RECENT
                && let Some(oldest) = self.recent.pop_front()
            {
                self.forgotten = self.forgotten.max(oldest.number);
            }
            self.recent.push_back(incoming.clone());
        }
        Ok(incoming)
    }

    /// Forgets the last packets: a door moved or a mute changed, and nothing of before may be sent after.
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear();
        self.forgotten = self.unroll.highest().unwrap_or_default();
    }

    /// What came already of the packets after this one, in their order.
    pub(crate) fn after(&self, number: u64) -> Vec<Incoming> {
        let mut after: Vec<Incoming> = self.recent.iter().filter(|packet| packet.number > number).cloned().collect();
        after.sort_by_key(|packet| packet.number);
        after
    }
}

#[cfg(test)]
mod tests;
