//! What passes between a Room and whoever mixes its voices: the Engine decides who hears what, the mixing itself is done elsewhere.

use bytes::Bytes;
use wire::{PeerId, TrackId};

/// Who speaks and who listens in one Room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MixPlan {
    /// Grows with each plan of a Room. Packets of the mix name the plan by which they were made.
    pub number: u64,
    /// The voices, at most two for each Peer of the Room. What comes of any other is not in the mix any more, at once.
    pub voices: Vec<TrackId>,
    /// At most one for each Peer. None: the Room needs no mix.
    pub listeners: Vec<MixListener>,
}

/// Somebody who is sent a mix. One who was not in the plan before is to hear nothing that was said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixListener {
    /// The receiving Peer.
    pub peer: PeerId,
    /// The voices that are not for it, its own among them.
    pub without: Vec<TrackId>,
}

/// A packet on its way into a mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoicePacket {
    /// Of which voice.
    pub voice: TrackId,
    /// Its sequence number, without roll-over.
    pub number: u64,
    /// How loud the sender says it is (RFC 6464).
    pub level: Option<u8>,
    /// Opus, without redundancy.
    pub payload: Bytes,
}

/// A packet of the mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixedPacket {
    /// The plan by which it was made.
    pub plan: u64,
    /// Of its first sample, at 48 kHz, on any origin that the Room keeps.
    pub timestamp: u32,
    /// How loud it is (RFC 6464).
    pub level: u8,
    /// Opus, 20 ms.
    pub payload: Bytes,
    /// Who gets it.
    pub listeners: Vec<PeerId>,
}
