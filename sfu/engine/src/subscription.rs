//! One Track as one Peer receives it: a slot (an m-line with fixed SSRCs) and the Subscription that it carries.

use std::sync::Arc;
use std::time::Instant;

use bandwidth::Urgency;
use bytes::Bytes;
use wire::TrackId;
use wire::control::{Kind, SlotTrack, Source, View};

use crate::downlink::Sort;
use crate::history::{History, Kept, Patch};
use crate::layer::{Layer, LayerStep};
use crate::negotiate::{Coding, Format, Sending, find_format};
use crate::packet_out::PacketOut;
use crate::passage::{Held, Passage, Passed};
use crate::rtp::extension::Ids;
use crate::rtp::packet::NewHeader;
use crate::rtp::report::SentReports;
use crate::rtp::sequence::wire;
use crate::sound::{Dress, Past, Reach, SoundOut};
use crate::track::Incoming;

/// What a slot carries.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) carries: SlotTrack,
    pub(crate) coding: Coding,
    payload_type: u8,
    /// The payload type of the same with redundancy, where the receiver reads that.
    red: Option<u8>,
}

/// A packet as it leaves, but for the header extensions and the encryption.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) payload: Bytes,
    pub(crate) patch: Option<Patch>,
    pub(crate) dependency: Option<Bytes>,
    /// The receiver begins with it: what came before it out of order is for it as well.
    pub(crate) is_start: bool,
}

/// An m-line on which the browser may receive.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) mid: Arc<str>,
    pub(crate) kind: Kind,
    /// Audio and video slots with one pair number share a MediaStream, so that browsers keep lips and voice together.
    pub(crate) pair: usize,
    /// The last offer lets the browser receive on it.
    pub(crate) is_open: bool,
    /// How the browser shows it, as signaling said last.
    pub(crate) view: View,
    /// Since when the network holds back what it carries.
    pub(crate) paused_since: Option<Instant>,
    /// Signaling was told so.
    pub(crate) is_told_paused: bool,
    /// Since when more comes than the way has for it, though nothing has shown that to be all the way carries.
    pub(crate) exceeded_since: Option<Instant>,
    pub(crate) formats: Vec<Format>,
    pub(crate) ids: Ids,
    pub(crate) sending: Sending,
    pub(crate) subscription: Option<Subscription>,
    pub(crate) sent_reports: SentReports,
    /// Share lost on the way to the browser, in 256ths, as it last reported.
    pub(crate) loss: u8,
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    pub(crate) history: History,
    /// Decides what of the Track leaves, and numbers it.
    pub(crate) passage: Passage,
    /// Of sound: what is said again.
    pub(crate) past: Past,
    rtx_number: u64,
}

impl Slot {
    /// `first` and `first_rtx` number the first packets; only their low 15 bits count.
    pub(crate) fn new(mid: Arc<str>, kind: Kind, pair: usize, sending: Sending, first: u16, first_rtx: u16) -> Self {
        Self {
            mid,
            kind,
            pair,
            is_open: true,
            view: View::default(),
            paused_since: None,
            is_told_paused: false,
            exceeded_since: None,
            formats: Vec::new(),
            ids: Ids::default(),
            sending,
            subscription: None,
            sent_reports: SentReports::default(),
            loss: 0,
            packets: 0,
            octets: 0,
            history: History::default(),
            passage: Passage::new(first),
            past: Past::default(),
            rtx_number: u64::from(first_rtx & 0x7fff),
        }
    }

    /// What waits for what when the way is full.
    pub(crate) fn urgency(&self) -> Urgency {
        let source = self.subscription.as_ref().map(|subscription| subscription.carries.source);
        if source == Some(Source::Screen) { Urgency::Screen } else { Urgency::Face }
    }

    /// The payload type of repairs of this one.
    pub(crate) fn rtx_of(&self, payload_type: u8) -> Option<u8> {
        self.formats.iter().find(|format| format.payload_type == payload_type)?.rtx
    }

    /// Any payload type of repairs.
    pub(crate) fn any_rtx(&self) -> Option<u8> {
        self.formats.iter().find_map(|format| format.rtx)
    }

    /// True when packets that nobody asked for may leave on its repair stream.
    pub(crate) fn can_probe(&self) -> bool {
        self.is_open && self.kind == Kind::Video && self.ids.transport_cc.is_some() && self.any_rtx().is_some()
    }

    /// The number of the next packet of the repair stream.
    pub(crate) const fn next_repair(&mut self) -> u16 {
        let number = wire(self.rtx_number);
        self.rtx_number += 1;
        number
    }

    /// A repair of what left under `original`. It gets its number when it leaves.
    pub(crate) fn repair(&self, kept: Kept, original: u16, payload_type: u8, sort: Sort) -> PacketOut {
        let Kept { payload, timestamp, marker, patch, dependency, .. } = kept;
        let ssrc = self.sending.rtx_ssrc;
        PacketOut {
            sort,
            header: NewHeader { payload_type, marker, sequence: 0, timestamp, ssrc, has_extension: false, padding: 0 },
            transport_id: self.ids.transport_cc,
            dependency: self.ids.dependency.zip(dependency),
            original: Some(original),
            payload,
            patch,
        }
    }

    /// True when this slot could carry a Track of this kind and coding.
    pub(crate) fn can_carry(&self, kind: Kind, coding: Coding) -> bool {
        self.is_open && self.kind == kind && find_format(&self.formats, coding).is_some()
    }

    /// Puts a Track into the slot.
    pub(crate) fn attach(&mut self, carries: SlotTrack, coding: Coding) {
        let Some(format) = find_format(&self.formats, coding) else { return };
        let red = format.red.map(|red| red.payload_type);
        self.subscription = Some(Subscription { carries, coding, payload_type: format.payload_type, red });
        self.passage.begin(self.kind == Kind::Video);
    }

    /// Takes out what the slot carries. Its packets are not repaired from here on either: they are of somebody who may
    /// have left the Room.
    pub(crate) fn detach(&mut self) {
        self.subscription = None;
        self.history = History::default();
        self.past.forget();
    }

    /// Stops or resumes the flow. What flowed before is not repaired any more.
    pub(crate) fn set_muted(&mut self, is_muted: bool, now: Instant) {
        self.passage.set_muted(is_muted, now);
        if is_muted {
            self.history = History::default();
            self.past.forget();
        }
    }

    /// Lets at most this much of the Track flow, `None` for nothing. Until it is said, the best flows. Going up waits for a
    /// keyframe; what flows meanwhile goes on.
    pub(crate) fn select(&mut self, step: Option<LayerStep>, now: Instant) {
        self.passage.select(step, now);
    }

    /// The Track and the Layer of it that a keyframe is needed of before more can flow.
    pub(crate) fn waits_for(&self) -> Option<(TrackId, Layer)> {
        let subscription = self.subscription.as_ref()?;
        Some((subscription.carries.track, self.passage.waits_for()?))
    }

    /// The Track and the Layer of it that would bring a lost picture back.
    pub(crate) fn layer_in_need(&self) -> Option<(TrackId, Layer)> {
        let subscription = self.subscription.as_ref()?;
        Some((subscription.carries.track, self.passage.waits_for().or_else(|| self.passage.flows())?))
    }

    /// True while the slot carries this Track.
    pub(crate) fn carries(&self, track: TrackId) -> bool {
        self.subscription.as_ref().is_some_and(|subscription| subscription.carries.track == track)
    }

    /// Decides about one packet of the Track that the slot carries, and numbers it.
    pub(crate) fn forward(&mut self, incoming: &Incoming, now: Instant) -> Result<Leaving, Held> {
        let subscription = self.subscription.as_ref().ok_or(Held::Switch)?;
        if subscription.coding != incoming.coding {
            return Err(Held::Codec);
        }
        let payload_type = subscription.payload_type;
        let Passed { number, timestamp, marker, is_filler, patch, dependency, is_start } =
            self.passage.pass(incoming, now)?;
        let payload = if is_filler { Bytes::new() } else { incoming.payload.clone() };
        let dependency = dependency.filter(|_| self.ids.dependency.is_some());
        let leaving = Leaving { number, timestamp, marker, payload_type, payload, patch, dependency, is_start };
        self.note(&leaving, now);
        Ok(leaving)
    }

    fn note(&mut self, leaving: &Leaving, now: Instant) {
        self.packets += 1;
        self.octets += leaving.payload.len() as u64;
        if self.kind == Kind::Video {
            let kept = Kept {
                payload: leaving.payload.clone(),
                timestamp: leaving.timestamp,
                marker: leaving.marker,
                payload_type: leaving.payload_type,
                patch: leaving.patch,
                dependency: leaving.dependency.clone(),
            };
            self.history.keep(leaving.number, kept, now);
        }
    }

    /// True when the receiver reads redundancy in what the slot carries.
    pub(crate) fn reads_red(&self) -> bool {
        self.subscription.as_ref().is_some_and(|subscription| subscription.red.is_some())
    }

    /// Puts a packet of sound together, with as much redundancy as it is owed.
    pub(crate) fn dress(&mut self, leaving: Leaving, incoming: &Incoming, reach: Reach) -> SoundOut {
        let Leaving { number, timestamp, marker, payload_type, payload, .. } = leaving;
        let red = self.subscription.as_ref().and_then(|subscription| subscription.red);
        let dress = match red {
            // A filler says nothing, and there is nothing to add to it.
            Some(_) if !payload.is_empty() => {
                self.past.dress((timestamp, &payload), payload_type, reach, incoming.unwrapped.as_ref())
            }
            _ => Dress::Plain,
        };
        let payload_type = red.filter(|_| !matches!(dress, Dress::Plain)).unwrap_or(payload_type);
        let (sequence, ssrc) = (wire(number), self.sending.ssrc);
        SoundOut {
            header: NewHeader { payload_type, marker, sequence, timestamp, ssrc, has_extension: false, padding: 0 },
            transport_id: self.ids.transport_cc,
            audio_level: self.ids.audio_level.zip(incoming.audio_level),
            payload,
            dress,
        }
    }

    /// These packets of it were dropped before they left. Their numbers are given again, so that the receiver misses
    /// nothing; where that is impossible they stay in the history and are repaired.
    pub(crate) fn take_back(&mut self, dropped: Vec<u16>) {
        self.packets = self.packets.saturating_sub(dropped.len() as u64);
        if let Some(next) = self.passage.take_back(dropped) {
            self.history.take_back(next);
        }
    }
}
