//! One Peer: its path, its tracks, its slots, and every packet in and out of it.

mod assign;
mod duties;
mod receive;
mod send;
mod session;
mod silence;

pub(crate) use receive::count_refused;
pub(crate) use session::Wanted;
use silence::Silence;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bandwidth::Granted;
use rustc_hash::FxHashMap;
use wire::control::{Assignment, Door, Encoding, Manner, Rights, SlotTrack, Source};
use wire::{ParticipantId, PeerId, RoomId, TrackId};

use crate::allowance::Allowance;
use crate::context::{Context, PeerKey};
use crate::downlink::Downlink;
use crate::hearing::Hearing;
use crate::layer::Layer;
use crate::limit::Limit;
use crate::negotiate::PayloadTable;
use crate::quality::Quality;
use crate::rtp::extension::Ids;
use crate::rtp::feedback::Feedback;
use crate::subscription::Slot;
use crate::track::{Incoming, Track};
use crate::transport::{IceCredentials, Transport};
use crate::wish::{Settled, Voice};

/// Where packets of one SSRC go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) track: usize,
    pub(crate) layer: Layer,
    pub(crate) is_rtx: bool,
}

/// One media connection of a Participant.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) participant: ParticipantId,
    pub(crate) door: Door,
    pub(crate) manner: Manner,
    /// What its Participant may send and be sent.
    pub(crate) rights: Rights,
    /// In the Chime manner: what its video lines should carry. At most MAX_ASSIGNMENTS.
    assigned: Vec<Assignment>,
    /// Grows with each Peer of the Room: of two Peers of one Participant the younger one takes over.
    pub(crate) generation: u64,
    /// An older Peer of the same Participant still carries the media, until this one connects.
    pub(crate) is_successor: bool,
    /// The gauge of connected Peers counts this one.
    pub(crate) is_counted: bool,
    /// Sources that signaling muted, published or not.
    pub(crate) muted: Vec<Source>,
    pub(crate) transport: Transport,
    pub(crate) silence: Silence,
    pub(crate) allowance: Allowance,
    pub(crate) tracks: Vec<Track>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) round_trip: Option<Duration>,
    /// It took another path, and what was under way on the old one is lost.
    pub(crate) has_moved: bool,
    /// Slots last asked for, so that signaling hears of each need once.
    slots_wanted: (u8, u8),
    ours: IceCredentials,
    session_id: u64,
    /// Version of the last answer.
    version: u64,
    /// Whether an offer was answered.
    pub(crate) is_negotiated: bool,
    /// At most two for each Layer of each Track.
    bindings: FxHashMap<u32, Binding>,
    payloads: PayloadTable,
    ids: Ids,
    /// The SSRC of our own feedback.
    ssrc: u32,
    feedback: Feedback,
    feedback_sent: Option<Instant>,
    reported: Instant,
    quality: Quality,
    /// Its place in the Engine.
    key: PeerKey,
    /// What the way to the browser carries.
    pub(crate) downlink: Downlink,
    /// What of the downlink each Track got in the last division.
    pub(crate) grants: Vec<(TrackId, Granted)>,
    /// What its encoders and its voice were asked for, and the limit on all it sends.
    pub(crate) encodings: Vec<(TrackId, Settled<Encoding>)>,
    pub(crate) voice: Settled<Voice>,
    /// How those who listen hear it.
    pub(crate) hearing: Hearing,
    pub(crate) limit: Limit,
    /// Its browser heeds REMB.
    pub(crate) can_be_limited: bool,
    /// Bytes of RTP that came.
    pub(crate) bytes_in: u64,
    /// Extended highest numbers that the browser reported last, by our SSRC.
    pub(crate) reported_highest: Vec<(u32, u32)>,
    pub(crate) room: RoomId,
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
    /// Its place, for what waits to be sent.
    pub(crate) key: PeerKey,
    pub(crate) room: RoomId,
    pub(crate) id: PeerId,
    pub(crate) participant: ParticipantId,
    pub(crate) door: Door,
    pub(crate) manner: Manner,
    pub(crate) rights: Rights,
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
            manner: new.manner,
            rights: new.rights,
            assigned: Vec::new(),
            generation: new.generation,
            is_successor: new.is_successor,
            is_counted: false,
            muted: Vec::new(),
            transport: Transport::new(Arc::clone(&ctx.identity), ours.clone(), now),
            silence: Silence::new(now),
            allowance: Allowance::new(&ctx.limits, now),
            tracks: Vec::new(),
            slots: Vec::new(),
            round_trip: None,
            has_moved: false,
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
            downlink: Downlink::new(u64::from(ctx.fresh_ssrc()), now),
            key: new.key,
            grants: Vec::new(),
            encodings: Vec::new(),
            voice: Settled::new(Voice::USUAL),
            hearing: Hearing::default(),
            limit: Limit::default(),
            can_be_limited: false,
            bytes_in: 0,
            reported_highest: Vec::new(),
            room: new.room,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    /// The datagram under way was authentic RTP or RTCP of this Peer.
    pub(crate) fn note_authentic(&mut self, ctx: &mut Context) {
        self.silence.note(ctx.now);
        if self.transport.note_heard(ctx.now, ctx.from) {
            self.handle_route_change(ctx.now);
            ctx.is_urgent = true;
        }
    }

    /// Packets take another path from now on: what was learnt about the old one no longer holds.
    pub(crate) fn handle_route_change(&mut self, _now: Instant) {
        self.round_trip = None;
        self.has_moved = true;
    }

    /// It is sent pictures, or would be.
    pub(crate) fn is_divided(&self) -> bool {
        self.door == Door::Admitted && self.is_connected()
    }

    /// Something of it has times of its own, so that its Room looks after it at every tick.
    pub(crate) fn is_busy(&self) -> bool {
        !self.is_connected()
            || self.has_moved
            || self.downlink.is_busy()
            || self.is_divided() && self.downlink.is_young()
            || self.tracks.iter().any(|track| track.misses() || track.wants_keyframe())
    }

    /// The Track whose main or RTX stream this SSRC is.
    pub(crate) fn find_binding(&self, ssrc: u32) -> Option<Binding> {
        self.bindings.get(&ssrc).copied()
    }

    /// What signaling calls this Track in a slot.
    pub(crate) fn slot_track(&self, track: &Track) -> SlotTrack {
        SlotTrack { participant: self.participant, source: track.source, track: track.id }
    }
}
