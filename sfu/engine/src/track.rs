//! A published Track: its Layers, and which of them come in.

mod stream;
mod voice;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bandwidth::Bitrate;
use bytes::Bytes;
use wire::TrackId;
use wire::control::Source;

use crate::keyframe::Keyframes;
use crate::layer::{Layer, LayerStep, Step};
use crate::negotiate::{Coding, Sources};
use crate::rewrite::Clock;
use crate::rtp::dependency::Dependency;
use crate::rtp::packet::Header;
use crate::rtp::{vp8, vp9};

use stream::Of;
pub(crate) use stream::{Extras, Stream};
pub(crate) use voice::Unwrapped;

/// How often a Track may become another one by a new SSRC or codec. Browsers do it once in a call, if at all; without a
/// bound one Peer could make everybody else renew their slots with every packet.
const REBIRTH: Duration = Duration::from_secs(1);
/// A layer that was silent for so long is not offered to receivers: browsers stop the large ones when their uplink or their
/// processor is short.
const SILENCE: Duration = Duration::from_millis(500);

/// One packet of a Track on its way to its receivers. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) track: TrackId,
    pub(crate) layer: Layer,
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
    pub(crate) detail: Detail,
    /// The picture id of `detail`, unrolled.
    pub(crate) picture: Option<u64>,
    /// The dependency descriptor, where the codec needs it: as it came, read, and its frame number unrolled.
    pub(crate) descriptor: Option<Bytes>,
    pub(crate) dependency: Option<Arc<Dependency>>,
    pub(crate) frame: Option<u64>,
    /// The last sender report of its Layer.
    pub(crate) clock: Option<Clock>,
    /// Of sound that came with redundancy: then `payload` is a part of what came.
    pub(crate) unwrapped: Option<Unwrapped>,
}

/// What the payload itself says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing that forwarding needs.
    Plain,
    Vp8(vp8::Descriptor),
    Vp9(vp9::Descriptor),
}

impl Detail {
    /// Where the picture id begins in the payload, and whether it has 15 bits.
    pub(crate) const fn picture_id(&self) -> Option<(usize, bool)> {
        match self {
            Self::Plain => None,
            Self::Vp8(descriptor) => descriptor.picture_id,
            Self::Vp9(descriptor) => descriptor.picture_id,
        }
    }

    /// Where TL0PICIDX stands.
    pub(crate) const fn tl0picidx(&self) -> Option<usize> {
        match self {
            Self::Plain => None,
            Self::Vp8(descriptor) => descriptor.tl0picidx,
            Self::Vp9(descriptor) => descriptor.tl0picidx,
        }
    }
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

/// Which Layers of a Track come in at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// All that were negotiated.
    pub(crate) count: u8,
    mask: u8,
}

impl Live {
    /// More than one comes in.
    pub(crate) const fn has_choice(self) -> bool {
        self.mask.count_ones() > 1
    }

    /// The best that comes in and is not above `at_most`; else the poorest that comes in.
    pub(crate) fn find(self, at_most: Layer) -> Option<Layer> {
        let live = (0..self.count.min(8)).filter(|layer| self.mask >> layer & 1 != 0);
        live.clone().rfind(|layer| *layer <= at_most).or_else(|| live.min())
    }
}

/// The Layers that an offer names, before anything came of them.
fn streams(sources: &Sources, now: Instant) -> Vec<Stream> {
    let stream = |rid: Option<Arc<str>>, named: Option<(u32, Option<u32>)>| {
        let (ssrc, rtx) = named.map_or((None, None), |(ssrc, rtx)| (Some(ssrc), rtx));
        Stream::new(rid, now).bound(ssrc, rtx, Keyframes::default())
    };
    let streams: Vec<Stream> = if sources.rids.is_empty() {
        sources.named.iter().map(|named| stream(None, Some(*named))).collect()
    } else {
        let named = sources.named.iter().copied().map(Some).chain(std::iter::repeat(None));
        sources.rids.iter().zip(named).map(|(rid, named)| stream(Some(Arc::clone(rid)), named)).collect()
    };
    if streams.is_empty() { vec![Stream::new(None, now)] } else { streams }
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
    /// Its Layers from the smallest picture up, in the order of the offer. One without simulcast, never none.
    pub(crate) streams: Vec<Stream>,
    origin: Instant,
}

impl Track {
    pub(crate) fn new(id: TrackId, mid: Arc<str>, source: Source, coding: Coding, now: Instant) -> Self {
        let streams = vec![Stream::new(None, now)];
        Self { id, mid, source, coding, is_sending: true, is_muted: false, streams, origin: now }
    }

    /// Takes over what the offer says of its Layers. True when they are not what they were, and the Track has to become
    /// another one.
    pub(crate) fn set_sources(&mut self, sources: &Sources, now: Instant) -> bool {
        let fresh = streams(sources, now);
        let is_same = self.streams.len() == fresh.len()
            && self.streams.iter().zip(&fresh).all(|(old, new)| {
                let names_other = new.ssrc.is_some() && old.ssrc.is_some() && new.ssrc != old.ssrc;
                old.rid == new.rid && !names_other
            });
        if !is_same {
            let was_started = self.is_started();
            self.streams = fresh;
            return was_started;
        }
        for (old, new) in self.streams.iter_mut().zip(fresh) {
            old.ssrc = new.ssrc.or(old.ssrc);
            old.rtx_ssrc = new.rtx_ssrc.or(old.rtx_ssrc);
        }
        false
    }

    /// It is another Track from now on, with the same place.
    pub(crate) const fn rename(&mut self, id: TrackId, now: Instant) {
        self.id = id;
        self.origin = now;
    }

    /// Something came of it.
    pub(crate) fn is_started(&self) -> bool {
        self.streams.iter().any(|stream| stream.reception.is_started())
    }

    /// What of the Track flows at present, cheapest first; empty when nothing does.
    pub(crate) fn steps(&mut self, now: Instant) -> Vec<Step> {
        let is_simulcast = self.streams.len() > 1;
        let mut steps = Vec::new();
        for (layer, stream) in (0u8..).zip(&mut self.streams) {
            let is_live = |last: Option<Instant>| last.is_some_and(|at| now.saturating_duration_since(at) < SILENCE);
            let mut parts: Vec<(LayerStep, Bitrate)> =
                stream.parts(now).filter(|(_, last, _)| is_live(*last)).map(|(step, _, rate)| (step, rate)).collect();
            parts.sort_by_key(|(step, _)| *step);
            for (step, _) in &parts {
                // A picture builds on all that is smaller and all that is less often.
                let below =
                    |(part, _): &&(LayerStep, Bitrate)| part.spatial <= step.spatial && part.temporal <= step.temporal;
                let rate = parts.iter().filter(below).map(|(_, rate)| *rate).sum();
                let pixels = stream.pixels((!is_simulcast).then_some(step.spatial));
                let spatial = if is_simulcast { layer } else { step.spatial };
                let step = LayerStep { spatial, temporal: step.temporal };
                // Within simulcast the sizes inside one stream are not told apart: the last one has them all.
                match steps.last_mut() {
                    Some(Step { step: last, rate: before, .. }) if *last == step => *before = rate,
                    _ => steps.push(Step { step, rate, pixels }),
                }
            }
        }
        steps
    }

    /// What each Layer takes, in kilobits per second: zero for one that does not come in.
    pub(crate) fn kbits(&mut self, now: Instant) -> Vec<u32> {
        let is_live = |last: Option<Instant>| last.is_some_and(|at| now.saturating_duration_since(at) < SILENCE);
        let rate = |stream: &mut Stream| -> Bitrate {
            stream.parts(now).filter(|(_, last, _)| is_live(*last)).map(|(_, _, rate)| rate).sum()
        };
        self.streams.iter_mut().map(|stream| u32::try_from(rate(stream).as_kbps()).unwrap_or(u32::MAX)).collect()
    }

    /// Width and height of each Layer's picture, where they are known.
    pub(crate) fn sizes(&self) -> Vec<Option<(u16, u16)>> {
        self.streams.iter().map(Stream::size).collect()
    }

    /// True while packets of it are missing that may still come.
    pub(crate) fn misses(&self) -> bool {
        self.streams.iter().any(|stream| !stream.nack.is_idle())
    }

    /// True while somebody asked for a keyframe that its publisher was not asked for.
    pub(crate) fn wants_keyframe(&self) -> bool {
        self.streams.iter().any(|stream| stream.keyframes.is_wanted())
    }

    /// Which Layers come in.
    pub(crate) fn live(&self, now: Instant) -> Live {
        let is_live = |stream: &Stream| stream.last().is_some_and(|at| now.saturating_duration_since(at) < SILENCE);
        let live = self.streams.iter().zip(0u8..8).filter(|(stream, _)| is_live(stream));
        let mask = live.fold(0, |mask, (_, layer)| mask | 1 << layer);
        Live { count: u8::try_from(self.streams.len()).unwrap_or(u8::MAX), mask }
    }

    /// Several encodings were negotiated, so that its publisher can be asked for them.
    pub(crate) const fn has_layers(&self) -> bool {
        self.streams.len() > 1
    }

    /// The SSRCs of its media.
    pub(crate) fn media_ssrcs(&self) -> impl Iterator<Item = u32> {
        self.streams.iter().filter_map(|stream| stream.ssrc)
    }

    /// Interarrival jitter in milliseconds, the worst of its Layers.
    pub(crate) fn jitter_ms(&self) -> u32 {
        let units = self.streams.iter().map(|stream| u64::from(stream.reception.jitter())).max().unwrap_or_default();
        u32::try_from(units * 1000 / u64::from(self.coding.codec.clock_rate())).unwrap_or(u32::MAX)
    }

    /// Whether the Track may become another one now: see [`REBIRTH`].
    pub(crate) fn may_be_reborn(&self, now: Instant) -> bool {
        !self.is_started() || now.saturating_duration_since(self.origin) >= REBIRTH
    }

    /// Another SSRC or codec: its numbers have nothing to do with the old ones, so it is another Track for whoever
    /// receives or stores it.
    pub(crate) fn reborn(&self, id: TrackId, coding: Coding, now: Instant) -> Self {
        let id = if self.is_started() { id } else { self.id };
        let fresh = |old: &Stream| Stream::new(old.rid.clone(), now).bound(old.ssrc, old.rtx_ssrc, old.keyframes);
        Self {
            is_sending: self.is_sending,
            is_muted: self.is_muted,
            streams: self.streams.iter().map(fresh).collect(),
            ..Self::new(id, Arc::clone(&self.mid), self.source, coding, now)
        }
    }

    /// Takes a packet of the main stream of a Layer.
    pub(crate) fn take(
        &mut self,
        layer: Layer,
        packet: Bytes,
        header: &Header,
        extras: Extras,
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let of = Of { track: self.id, layer, coding: self.coding };
        self.streams.get_mut(usize::from(layer)).ok_or(Refused::Unbound)?.take(of, packet, header, extras, now)
    }

    /// Takes a packet of the RTX stream of a Layer; `payload_type` is that of the original.
    pub(crate) fn take_repair(
        &mut self,
        layer: Layer,
        wrapped: &Bytes,
        header: &Header,
        (payload_type, extras): (u8, Extras),
        now: Instant,
    ) -> Result<Incoming, Refused> {
        let of = Of { track: self.id, layer, coding: self.coding };
        let stream = self.streams.get_mut(usize::from(layer)).ok_or(Refused::Unbound)?;
        stream.take_repair(of, wrapped, header, (payload_type, extras), now)
    }

    /// Who may hear or record a voice changed: nothing of before is brought back.
    pub(crate) fn forget_voice(&mut self) {
        self.streams.iter_mut().for_each(Stream::forget_voice);
    }

    /// What was lost of a voice and came back with its last packet, oldest first.
    pub(crate) fn take_recovered(&mut self) -> Vec<Incoming> {
        self.streams.first_mut().map_or_else(Vec::new, Stream::take_recovered)
    }

    /// Somebody needs a keyframe of this Layer.
    pub(crate) fn want_keyframe(&mut self, layer: Layer) {
        if let Some(stream) = self.streams.get_mut(usize::from(layer)) {
            stream.keyframes.want();
        }
    }

    /// Forgets the last packets: a door moved or a mute changed, and nothing of before may be sent after.
    pub(crate) fn forget_recent(&mut self) {
        self.streams.iter_mut().for_each(Stream::forget_recent);
    }

    /// Remembers a packet that was dealt with: see [`Self::after`]. One of the Track that this was before is forgotten.
    pub(crate) fn keep(&mut self, incoming: &Incoming) {
        if incoming.track == self.id
            && let Some(stream) = self.streams.get_mut(usize::from(incoming.layer))
        {
            stream.keep(incoming);
        }
    }

    /// What came already of a Layer after this packet, in its order.
    pub(crate) fn after(&self, layer: Layer, number: u64) -> Vec<Incoming> {
        self.streams.get(usize::from(layer)).map_or_else(Vec::new, |stream| stream.after(number))
    }
}

#[cfg(test)]
mod tests;
