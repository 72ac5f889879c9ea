//! What the Engine did, as plain numbers for metrics and tests.

/// Totals since the Engine was made, and a few gauges. All are plain counts; bytes are UDP payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gauge: open Rooms.
    pub rooms: u64,
    /// Gauge: Peers in all Rooms, waiting ones included.
    pub peers: u64,
    /// Gauge: Peers with ICE and DTLS up.
    pub connected: u64,
    /// Gauge: running Taps.
    pub taps: u64,
    /// Datagrams handed in.
    pub datagrams_in: u64,
    /// Bytes handed in.
    pub bytes_in: u64,
    /// Datagrams handed out.
    pub datagrams_out: u64,
    /// Bytes handed out.
    pub bytes_out: u64,
    /// Datagrams that are no protocol of ours, or come from an address that no authenticated STUN bound.
    pub junk: u64,
    /// STUN that failed authentication or addressed nobody.
    pub stun_refused: u64,
    /// SRTP or SRTCP that failed authentication, was replayed, or came before the keys.
    pub srtp_refused: u64,
    /// RTP dropped unread because its Peer sent more than it may.
    pub limited_media: u64,
    /// RTCP dropped unread because its Peer sent more than it may, and parts of one compound beyond what is looked at.
    pub limited_reports: u64,
    /// Requests for repairs (NACK) cut short because their Peer made too many.
    pub limited_repairs: u64,
    /// Wishes for keyframes passed over because their Peer had too many.
    pub limited_keyframes: u64,
    /// STUN requests dropped unread because their Peer sent more than it may.
    pub limited_checks: u64,
    /// Packets of more streams than one Peer may have.
    pub limited_streams: u64,
    /// Offers refused because their Peer made too many.
    pub limited_offers: u64,
    /// Authentic packets that cannot be read as RTP or RTCP.
    pub malformed: u64,
    /// RTP packets accepted from publishers, repaired ones included.
    pub rtp_in: u64,
    /// RTP packets forwarded, once for each receiver, without retransmissions.
    pub forwarded: u64,
    /// Of these, audio.
    pub forwarded_audio: u64,
    /// Of these, video.
    pub forwarded_video: u64,
    /// Packets not forwarded because a door was not open.
    pub held_by_door: u64,
    /// Packets not forwarded because their sender or their receiver lacks the right.
    pub held_by_rights: u64,
    /// Packets of mixes, one for each listener.
    pub mixed: u64,
    /// Packets of a muted Track.
    pub held_by_mute: u64,
    /// Packets not forwarded while a receiver waits for a keyframe.
    pub held_for_keyframe: u64,
    /// Packets of Layers and frames that a receiver does not get at present.
    pub held_by_layer: u64,
    /// Packets whose codec a receiver did not negotiate.
    pub held_by_codec: u64,
    /// Packets with nothing but padding, or that repeat what came before.
    pub padding_or_repeated: u64,
    /// RTP of no known Track.
    pub unbound: u64,
    /// Sequence numbers that we asked publishers for again, each request counted.
    pub nacks_sent: u64,
    /// Packets that publishers repaired by RTX.
    pub repaired_up: u64,
    /// Packets of sound that publishers lost and redundancy brought back.
    pub recovered_up: u64,
    /// Packets of sound that left with redundancy that we added.
    pub protected_down: u64,
    /// Sequence numbers that receivers asked us for.
    pub nacks_received: u64,
    /// Packets that we sent again.
    pub retransmitted: u64,
    /// Asked for, but no longer or never in the history, too soon again, or beyond the repair budget.
    pub not_retransmitted: u64,
    /// Packets that had to wait because the way to the receiver was full for the moment.
    pub paced: u64,
    /// Of these, dropped because they waited too long.
    pub shed: u64,
    /// Packets sent to learn what a way carries.
    pub probe_packets: u64,
    /// Keyframe requests that receivers made (PLI and FIR).
    pub keyframes_wanted: u64,
    /// Keyframe requests that we sent to publishers.
    pub keyframes_asked: u64,
    /// Transport-wide feedback packets sent.
    pub transport_feedback_sent: u64,
    /// Transport-wide feedback packets received.
    pub transport_feedback_received: u64,
    /// Limits told to publishers (REMB).
    pub limits_sent: u64,
    /// Frames handed to Taps.
    pub tap_frames: u64,
    /// Rooms that failed inside.
    pub room_panics: u64,
    /// Commands refused because a limit was reached.
    pub refused_by_limit: u64,
}
