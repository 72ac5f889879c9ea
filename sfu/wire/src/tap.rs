//! The sfu's live feed of a Room to the recorder: frames, and their length-prefixed form on a stream.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::control::{Codec, Source, TapEnd};
use crate::{ParticipantId, RecordingId, Redacted, RoomId, TrackId};

/// How long a piece of a capture that is cut into pieces lasts, counted from the Tap's beginning.
pub const CUT: Duration = Duration::from_secs(5);

/// A picture may be cut this long before a piece is over: keyframes are asked for so early, and some come at once.
pub const CUT_EARLY: Duration = Duration::from_millis(350);

/// Microseconds since the Unix epoch on the media node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeMicros(pub u64);

/// One thing that happened on a Tap. Frames of one Tap arrive in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TapFrame {
    /// First frame of every Tap.
    Started {
        /// The Recording that this feeds.
        recording: RecordingId,
        /// The Room.
        room: RoomId,
        /// When the Tap opened.
        at: NodeMicros,
    },
    /// A Track is in the Tap from now on. Comes before its first packet.
    Track {
        /// The Track.
        track: TrackId,
        /// Whose it is.
        participant: ParticipantId,
        /// What it carries.
        source: Source,
        /// How it is coded.
        codec: Codec,
        /// When it was announced.
        at: NodeMicros,
    },
    /// One decrypted RTP packet as the publisher sent it: original SSRC, sequence number and timestamp.
    /// Repaired packets arrive here too, late and unwrapped from RTX; padding-only packets do as well.
    Rtp {
        /// The Track.
        track: TrackId,
        /// When the datagram was read from the socket.
        at: NodeMicros,
        /// Fixed RTP header, CSRCs, extension block and payload. The codec is the Track's, whatever the payload type says.
        packet: Bytes,
    },
    /// A sender report of the publisher for this Track (RFC 3550 section 6.4.1).
    SenderReport {
        /// The Track.
        track: TrackId,
        /// When it was read from the socket.
        at: NodeMicros,
        /// NTP timestamp, 32.32 fixed point.
        ntp: u64,
        /// RTP timestamp of the same instant.
        rtp: u32,
        /// The sender's packet count.
        packets: u32,
    },
    /// The Track left the Tap: unpublished, muted by the server, or its Peer is gone.
    TrackEnded {
        /// The Track.
        track: TrackId,
        /// When.
        at: NodeMicros,
    },
    /// The queue to the recorder was full and this many packets were dropped here.
    Gap {
        /// Dropped packets.
        packets: u64,
        /// When the queue had room again.
        at: NodeMicros,
    },
    /// What signaling notes about the meeting.
    Note {
        /// A [`Note`](crate::delivery::Note) as JSON.
        note: Redacted<String>,
        /// When the media node had it.
        at: NodeMicros,
    },
    /// Last frame of every Tap that ends in order.
    Ended {
        /// Why.
        reason: TapEnd,
        /// When.
        at: NodeMicros,
    },
}
