//! One stream of a Track: a Layer with numbers of its own, what is missing of it, and each packet made ready for forwarding.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bandwidth::Bitrate;
use bytes::Bytes;
use wire::TrackId;
use wire::control::{Codec, Kind};

use super::voice::Voice;
use super::{Detail, Incoming, Refused};
use crate::keyframe::Keyframes;
use crate::layer::LayerStep;
use crate::meter::Meter;
use crate::negotiate::Coding;
use crate::rewrite::Clock;
use crate::rtp::dependency::{self, Dependency, Structure};
use crate::rtp::nack::{Nack, Noted};
use crate::rtp::packet::{FIXED, Header};
use crate::rtp::report::Reception;
use crate::rtp::sequence::{Unroll, Window};
use crate::rtp::{av1, h264, packet, vp8, vp9};

/// How often a stream's sender report goes on to its receivers. Browsers send one or a few a second.
const REPORT_SPACING: Duration = Duration::from_millis(50);
/// Packets of video that are remembered for a keyframe whose first packet comes late: more than the keyframe of a 720p
/// camera has. The oldest go first.
const RECENT: usize = 128;
/// The first packets of a stream are remembered although nothing seems to be missing: they may have overtaken the very first.
const YOUNG: u8 = 32;
/// Spatial and temporal layers within a stream that are told apart: no browser sends more than three of each.
const PARTS: u8 = 4;

/// What a packet's header extensions say of its media.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// RFC 6464.
    pub(crate) audio_level: Option<u8>,
    /// The dependency descriptor; shares the packet's memory.
    pub(crate) descriptor: Option<Bytes>,
    /// The payload is frames of this payload type with redundancy.
    pub(crate) red: Option<u8>,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the offer calls it; `None` for the only one of its Track.
    pub(crate) rid: Option<Arc<str>>,
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
    pub(crate) clock: Option<Clock>,
    /// Of video, while something is missing: the last packets in the order in which they came, at most [`RECENT`].
    pub(super) recent: VecDeque<Incoming>,
    /// Highest number that is not among them.
    forgotten: u64,
    /// Packets that are remembered in any case, as it is not known yet what is missing.
    young: u8,
    /// Highest picture id or frame number, unrolled.
    pictures: Option<u64>,
    frames: Unroll,
    structure: Option<Arc<Structure>>,
    /// What each part of the stream takes, in no order: at most [`PARTS`] squared.
    meters: Vec<(LayerStep, Meter)>,
    /// Width and height of the last keyframe that told them.
    size: Option<(u16, u16)>,
    last: Option<Instant>,
    voice: Voice,
}

impl Stream {
    pub(crate) fn new(rid: Option<Arc<str>>, now: Instant) -> Self {
        Self {
            rid,
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
            young: YOUNG,
            pictures: None,
            frames: Unroll::default(),
            structure: None,
            meters: Vec::new(),
            size: None,
            last: None,
            voice: Voice::default(),
        }
    }

    /// The same with its SSRCs and what its encoder was asked for.
    pub(super) fn bound(self, ssrc: Option<u32>, rtx_ssrc: Option<u32>, keyframes: Keyframes) -> Self {
        Self { ssrc, rtx_ssrc, keyframes, ..self }
    }

    /// When the last packet came.
    pub(crate) const fn last(&self) -> Option<Instant> {
        self.last
    }

    /// What each part of the stream takes by itself.
    pub(super) fn parts(&mut self, now: Instant) -> impl Iterator<Item = (LayerStep, Option<Instant>, Bitrate)> + '_ {
        self.meters.iter_mut().map(move |(step, meter)| (*step, meter.last(), meter.rate(now)))
    }

    /// Width times height of this spatial layer, once it was told.
    pub(super) fn pixels(&self, spatial: Option<u8>) -> Option<u32> {
        let told = spatial.and_then(|spatial| self.structure.as_ref()?.sizes.get(usize::from(spatial)).copied());
        told.or(self.size).map(|(width, height)| u32::from(width) * u32::from(height))
    }

    /// Width and height of the largest picture that it holds, once it was told.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        self.structure.as_ref().and_then(|structure| structure.sizes.last().copied()).or(self.size)
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

    fn arrival(&self, codec: Codec, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.origin);
        let rate = u64::from(codec.clock_rate());
        passed.as_secs().saturating_mul(rate) + u64::from(passed.subsec_micros()) * rate / 1_000_000
    }

    /// Takes a packet of the main stream.
    pub(super) fn take(
        &mut self,
        of: Of,
        packet: Bytes,
        header: &Header,
        extras: Extras,
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let number = self.unroll.peek(header.sequence);
        if !self.window.note(number) {
            if self.voice.is_late(number) {
                self.reception.note(number, header.timestamp, self.arrival(of.coding.codec, now));
            }
            return Err(Refused::Repeated);
        }
        self.unroll.take(header.sequence);
        self.reception.note(number, header.timestamp, self.arrival(of.coding.codec, now));
        self.ready(of, packet, header, number, extras, now)
    }

    /// Takes a packet of the RTX stream, RFC 4588: unwraps it to what was lost.
    pub(super) fn take_repair(
        &mut self,
        of: Of,
        wrapped: &Bytes,
        header: &Header,
        (payload_type, extras): (u8, Extras),
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let number = self.rtx_unroll.take(header.sequence);
        self.rtx_reception.note(number, header.timestamp, self.arrival(of.coding.codec, now));
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
        self.ready(of, packet, &header, number, extras, now)
    }

    fn ready(
        &mut self,
        of: Of,
        packet: Bytes,
        header: &Header,
        number: u64,
        extras: Extras,
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let is_video = of.coding.codec.kind() == Kind::Video;
        if is_video && self.nack.note(number, now) == Noted::Broken {
            self.keyframes.want();
        }
        self.last = Some(now);
        let mut payload = packet.slice(header.payload.clone());
        let (mut unwrapped, mut red) = (None, None);
        if let Some(payload_type) = extras.red.filter(|_| !payload.is_empty()) {
            let (own, how, read) = Voice::unwrap(&payload, payload_type)?;
            (payload, unwrapped, red) = (own, Some(how), Some(read));
        }
        let detail = match of.coding.codec {
            Codec::Vp8 => vp8::read(&payload).map_or(Detail::Plain, Detail::Vp8),
            Codec::Vp9 => vp9::read(&payload).map_or(Detail::Plain, Detail::Vp9),
            Codec::Opus | Codec::H264 | Codec::Av1 => Detail::Plain,
        };
        let dependency = self.read_dependency(of.coding.codec, extras.descriptor.as_deref());
        let starts_keyframe = match (of.coding.codec, &detail) {
            (Codec::Opus, _) => true,
            (_, Detail::Vp8(descriptor)) => descriptor.starts_keyframe,
            (_, Detail::Vp9(descriptor)) => descriptor.starts_keyframe(),
            (Codec::H264, Detail::Plain) => h264::starts_keyframe(&payload),
            (Codec::Av1, Detail::Plain) => av1::starts_keyframe(&payload),
            (Codec::Vp8 | Codec::Vp9, Detail::Plain) => false,
        };
        self.size = match &detail {
            Detail::Vp8(descriptor) => descriptor.size,
            Detail::Vp9(descriptor) => descriptor.size,
            Detail::Plain => dependency.as_ref().and_then(|dependency| dependency.structure.sizes.last().copied()),
        }
        .or(self.size);
        self.note_part(&detail, dependency.as_deref(), packet.len(), now);
        let is_newest = self.unroll.highest() == Some(number);
        let is_whole = is_newest || number > self.forgotten;
        if starts_keyframe && is_video {
            if is_whole {
                self.keyframes.note_keyframe();
            } else {
                // Parts of it were not forwarded to those who wait, and are not here any more: they need the next one.
                self.keyframes.want_again();
            }
        }
        let mut incoming = Incoming {
            track: of.track,
            layer: of.layer,
            number,
            timestamp: header.timestamp,
            marker: header.marker,
            coding: of.coding,
            audio_level: extras.audio_level,
            starts_run: starts_keyframe && !payload.is_empty() && is_whole,
            is_newest,
            picture: self.unroll_picture(&detail, &payload),
            frame: dependency.as_ref().map(|dependency| self.frames.take(dependency.frame)),
            clock: self.clock,
            descriptor: extras.descriptor.filter(|_| dependency.is_some()),
            dependency,
            detail,
            payload,
            packet,
            unwrapped,
        };
        if !is_video {
            self.voice.note(&mut incoming, red.as_ref(), |number| self.window.note(number));
        }
        Ok(incoming)
    }

    /// Remembers a packet of video that was forwarded, for a keyframe whose first packet comes late. That can only be where
    /// something is missing, or right at the beginning, where it is not known yet: else copies would be made of everything.
    pub(super) fn keep(&mut self, incoming: &Incoming) {
        if incoming.coding.codec.kind() != Kind::Video {
            return;
        }
        self.young = self.young.saturating_sub(1);
        if self.nack.is_idle() && self.young == 0 {
            if !self.recent.is_empty() {
                self.forget_recent();
            }
            self.forgotten = self.unroll.highest().unwrap_or_default();
            return;
        }
        if self.recent.len() == RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.number);
        }
        self.recent.push_back(incoming.clone());
    }

    /// VP8 and H.264 have no use for the descriptor: their payloads say what matters.
    fn read_dependency(&mut self, codec: Codec, descriptor: Option<&[u8]>) -> Option<Arc<Dependency>> {
        let bytes = descriptor.filter(|_| matches!(codec, Codec::Vp9 | Codec::Av1))?;
        let dependency = dependency::read(bytes, self.structure.as_ref())?;
        if dependency.is_new_structure {
            self.structure = Some(Arc::clone(&dependency.structure));
        }
        Some(Arc::new(dependency))
    }

    fn note_part(&mut self, detail: &Detail, dependency: Option<&Dependency>, bytes: usize, now: Instant) {
        let (spatial, temporal) = match (dependency, detail) {
            (Some(dependency), _) => (dependency.spatial, dependency.temporal),
            (None, Detail::Vp8(descriptor)) => (0, descriptor.temporal.map_or(0, |(temporal, _)| temporal)),
            (None, Detail::Vp9(descriptor)) => (descriptor.spatial, descriptor.temporal),
            (None, Detail::Plain) => (0, 0),
        };
        let step = LayerStep { spatial: spatial.min(PARTS - 1), temporal: temporal.min(PARTS - 1) };
        match self.meters.iter_mut().find(|(known, _)| *known == step) {
            Some((_, meter)) => meter.note(bytes, now),
            None => {
                let mut meter = Meter::default();
                meter.note(bytes, now);
                self.meters.push((step, meter));
            }
        }
    }

    fn unroll_picture(&mut self, detail: &Detail, payload: &[u8]) -> Option<u64> {
        let (at, is_long) = detail.picture_id()?;
        let (high, low) = (u64::from(*payload.get(at)? & 0x7f), payload.get(at + 1).copied().unwrap_or_default());
        let (id, cycle) = if is_long { (high << 8 | u64::from(low), 1 << 15) } else { (high, 1 << 7) };
        let highest = self.pictures.unwrap_or((1 << 20) + id);
        let ahead = (id + cycle - highest % cycle) % cycle;
        let picture = if ahead < cycle / 2 { highest + ahead } else { highest + ahead - cycle };
        self.pictures = Some(highest.max(picture));
        Some(picture)
    }

    /// Forgets the last packets: a door moved or a mute changed, and nothing of before may be sent after.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
        self.voice.forget();
        self.forgotten = self.unroll.highest().unwrap_or_default();
    }

    /// Nothing that a voice said before is brought back.
    pub(super) fn forget_voice(&mut self) {
        self.voice.forget();
    }

    pub(super) fn take_recovered(&mut self) -> Vec<Incoming> {
        self.voice.take_recovered()
    }

    /// What came already of the packets after this one, in their order.
    pub(super) fn after(&self, number: u64) -> Vec<Incoming> {
        let mut after: Vec<Incoming> = self.recent.iter().filter(|packet| packet.number > number).cloned().collect();
        after.sort_by_key(|packet| packet.number);
        after
    }
}

/// Whose packet it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of {
    pub(super) track: TrackId,
    pub(super) layer: u8,
    pub(super) coding: Coding,
}
