//! Commands from signaling to the sfu, their replies, and the events that come back.

use serde::{Deserialize, Serialize};

use crate::{ParticipantId, PeerId, RecordingId, Redacted, RoomId, TrackId};

/// What a published Track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Somebody's voice.
    Microphone,
    /// Somebody's picture.
    Camera,
    /// A shared screen or window.
    Screen,
    /// What a shared screen or window sounds like.
    ScreenSound,
}

/// The two kinds of media an m-line can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Opus.
    Audio,
    /// VP8, H.264, VP9 or AV1.
    Video,
}

impl Source {
    /// The kind of media this source is.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Microphone | Self::ScreenSound => Kind::Audio,
            Self::Camera | Self::Screen => Kind::Video,
        }
    }
}

/// A media codec the forwarder carries without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// RFC 7587, 48 kHz clock.
    Opus,
    /// RFC 7741, 90 kHz clock.
    Vp8,
    /// RFC 6184 packetization mode 1, 90 kHz clock.
    H264,
    /// RFC 9628, profile 0, 90 kHz clock.
    Vp9,
    /// The RTP payload format of the Alliance for Open Media, profile 0, 90 kHz clock.
    Av1,
}

impl Codec {
    /// RTP clock rate in hertz.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 => 90_000,
        }
    }

    /// The kind of media this codec codes.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Opus => Kind::Audio,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 => Kind::Video,
        }
    }
}

/// Where a Peer stands at the door of its Room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// Connected perhaps, but nothing is forwarded to or from it.
    Waiting,
    /// Inside: forwarded to and from.
    Admitted,
    /// Gone for good: its ICE and DTLS credentials no longer work.
    Removed,
}

/// How a receiver shows the video that a slot carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Not at all (a hidden tile, a page in the background): nothing is sent for it.
    Hidden,
    /// A small tile: the lowest layer is enough.
    Thumbnail,
    /// As large as there is room for.
    #[default]
    Full,
    /// As large as possible, before everybody else's picture.
    Pinned,
}

/// What a publisher's encoder should make of one video source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Nothing: nobody looks, or no way out can carry it. The encoder may sleep.
    Asleep,
    /// One encoding: there is one receiver at most.
    Single,
    /// All simulcast layers that were negotiated.
    Layers,
}

/// How a Peer's client expects to be answered and served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// Ours: each Track of the others is put into a free slot.
    #[default]
    Native,
    /// The Chime client: all voices as one stream on its one audio line, videos where [`Command::Assign`] puts them.
    Chime,
    /// The second connection of a Chime client, which shares a screen: it publishes [`Source::Screen`] and
    /// [`Source::ScreenSound`] and receives nothing. It lives beside its Participant's other Peer.
    ChimeShare,
}

/// What one video m-line of a Chime client should carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The m-line.
    pub mid: String,
    /// What it carries; nothing for an idle line. A Track that is gone, or that this Peer may not have, counts as nothing.
    pub track: Option<TrackId>,
    /// No Layer above this one, by its place in the order of the publisher's offer; `None` for the best that fits.
    pub at_most: Option<u8>,
    /// More than this many kilobits per second are not wanted.
    pub target_kbits: Option<u32>,
    /// Served before those with a smaller one.
    pub priority: u32,
}

/// What a Participant may send and be sent, besides what the door says: a capability of the Chime API. All of it, unless told
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "six independent permissions, as the API names them")]
pub struct Rights {
    /// Its voice goes to others.
    pub sends_audio: bool,
    /// It hears others.
    pub receives_audio: bool,
    /// Its camera goes to others.
    pub sends_video: bool,
    /// It sees others' cameras.
    pub receives_video: bool,
    /// What it shares goes to others.
    pub sends_content: bool,
    /// It sees and hears what others share.
    pub receives_content: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            sends_audio: true,
            receives_audio: true,
            sends_video: true,
            receives_video: true,
            sends_content: true,
            receives_content: true,
        }
    }
}

/// Signaling asks the sfu to do something. Each command has exactly one [`Reply`] or [`Refusal`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Opens an empty Room. Opening an open Room is a success without effect. Reply: `Done`.
    OpenRoom {
        /// The Room.
        room: RoomId,
    },
    /// Ends a Room, all its Peers and its Tap. Closing an unknown Room is a success. Reply: `Done`.
    CloseRoom {
        /// The Room.
        room: RoomId,
    },
    /// Makes a Peer, so that it may offer. Reply: `Done`.
    AddPeer {
        /// The Room.
        room: RoomId,
        /// A fresh id; a reconnecting Participant gets a new Peer.
        peer: PeerId,
        /// Whose connection it is.
        participant: ParticipantId,
        /// `Waiting` or `Admitted`.
        door: Door,
        /// How it is answered.
        manner: Manner,
    },
    /// The browser's SDP offer, first or later. Reply: `Answer`.
    Offer {
        /// The Room.
        room: RoomId,
        /// The Peer that offers.
        peer: PeerId,
        /// At most [`MAX_SDP_BYTES`].
        sdp: Redacted<String>,
    },
    /// The clinician lets a waiting Peer in. Reply: `Done`.
    Admit {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
    },
    /// The clinician turns a waiting Peer away: it is removed. Reply: `Done`.
    Deny {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
    },
    /// Puts an admitted Peer back into the waiting room. Reply: `Done`.
    SendBack {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
    },
    /// Ends a Peer: it left, or was removed. Removing an unknown Peer is a success. Reply: `Done`.
    Remove {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
    },
    /// Stops or resumes the forwarding of one source of a Peer (the clinician muted somebody). Reply: `Done`.
    Mute {
        /// The Room.
        room: RoomId,
        /// The Peer whose Track it is.
        peer: PeerId,
        /// Which of its sources.
        source: Source,
        /// True stops forwarding.
        muted: bool,
    },
    /// Says how a Peer shows what a slot of its own carries. Holds until said otherwise, whatever the slot carries. Reply: `Done`.
    View {
        /// The Room.
        room: RoomId,
        /// The receiving Peer.
        peer: PeerId,
        /// The m-line of the slot. An unknown one is a success without effect.
        mid: String,
        /// How it is shown.
        view: View,
    },
    /// Says what the video m-lines of a Peer in the Chime manner carry, all of them: a line that is not named carries nothing.
    /// Holds until said otherwise, also for Tracks that are not published yet. Reply: `Done`.
    Assign {
        /// The Room.
        room: RoomId,
        /// The receiving Peer.
        peer: PeerId,
        /// At most [`MAX_ASSIGNMENTS`].
        lines: Vec<Assignment>,
    },
    /// Says what a Participant may send and be sent, on all its Peers, present and later ones. Reply: `Done`.
    SetRights {
        /// The Room.
        room: RoomId,
        /// Whose rights.
        participant: ParticipantId,
        /// What is allowed from now on.
        rights: Rights,
    },
    /// States whether a Participant's stored consent to recording holds at this moment.
    /// Withdrawing it while a Tap runs ends the Tap before the reply. Reply: `Done`.
    SetConsent {
        /// The Room.
        room: RoomId,
        /// Whose consent.
        participant: ParticipantId,
        /// True only for a signed, unexpired, unrevoked consent.
        consented: bool,
    },
    /// Opens the Room's Tap. Refused with `ConsentMissing` unless every admitted Participant consented. Reply: `Tap`.
    StartTap {
        /// The Room.
        room: RoomId,
        /// The Recording that the Tap feeds.
        recording: RecordingId,
        /// Cut into pieces: a keyframe of every picture is asked for shortly before each [`CUT`](crate::tap::CUT) ends.
        is_cut: bool,
    },
    /// Puts a note into the Tap, at its place among the media. Without such a Tap it goes nowhere, which is a success. Reply: `Done`.
    Note {
        /// The Room.
        room: RoomId,
        /// The Recording.
        recording: RecordingId,
        /// A [`Note`](crate::delivery::Note) as JSON. The media node does not read it.
        note: Redacted<String>,
    },
    /// Ends the Tap. Ending an ended Tap is a success. Reply: `Done`.
    StopTap {
        /// The Room.
        room: RoomId,
        /// The Recording.
        recording: RecordingId,
    },
}

impl Command {
    /// The Room that the command is about.
    #[must_use]
    pub const fn room(&self) -> RoomId {
        match self {
            Self::OpenRoom { room }
            | Self::CloseRoom { room }
            | Self::AddPeer { room, .. }
            | Self::Offer { room, .. }
            | Self::Admit { room, .. }
            | Self::Deny { room, .. }
            | Self::SendBack { room, .. }
            | Self::Remove { room, .. }
            | Self::Mute { room, .. }
            | Self::View { room, .. }
            | Self::Assign { room, .. }
            | Self::SetRights { room, .. }
            | Self::SetConsent { room, .. }
            | Self::StartTap { room, .. }
            | Self::Note { room, .. }
            | Self::StopTap { room, .. } => *room,
        }
    }
}

/// The longest SDP offer that is read at all, in bytes. A six-party offer of Chromium is about 20 kB, that of a Chime client with
/// 25 videos 120 kB, and as many m-lines that it no longer uses double it.
pub const MAX_SDP_BYTES: usize = 320 * 1024;

/// The most Peers one Room holds, waiting ones included: the 250 people of a Chime meeting, two shares, and those who come back by
/// another connection while the old one is still there.
pub const MAX_PEERS_PER_ROOM: usize = 320;

/// The most video m-lines that are assigned at once: what the Chime client asks for, and as many again on their way out.
pub const MAX_ASSIGNMENTS: usize = 64;

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is so.
    Done,
    /// The SDP answer.
    Answer {
        /// The text for `setRemoteDescription`.
        sdp: Redacted<String>,
        /// By which SSRC each m-line is sent, where we send on it.
        sending: Vec<SendingLine>,
    },
    /// The Tap is open; whoever shows this token to the tap listener gets the frames.
    Tap {
        /// Single use.
        token: Redacted<String>,
    },
}

/// An m-line on which the sfu sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendingLine {
    /// The m-line.
    pub mid: String,
    /// Of its main stream.
    pub ssrc: u32,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason:?}: {detail}")]
pub struct Refusal {
    /// The class that callers choose by.
    pub reason: Reason,
    /// For the log; holds nothing a person typed and no SDP.
    pub detail: String,
}

impl Refusal {
    /// Builds a refusal.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The classes of [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No such Room on this node.
    UnknownRoom,
    /// No such Peer in the Room.
    UnknownPeer,
    /// The offer could not be used.
    BadOffer,
    /// The Room or the node is full, or draining, or a Peer asks too often.
    Capacity,
    /// The door does not allow this move.
    Door,
    /// Somebody present has not consented to recording.
    ConsentMissing,
    /// A Tap runs already.
    TapBusy,
    /// The node cannot be reached or failed inside.
    Unavailable,
}

/// What one receive slot (an m-line we send on) of a Peer carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTrack {
    /// Who is heard or seen.
    pub participant: ParticipantId,
    /// Which of their sources.
    pub source: Source,
    /// The Track.
    pub track: TrackId,
}

/// A Track as those who may receive it learn of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTrack {
    /// Who publishes it.
    pub participant: ParticipantId,
    /// Which of their sources.
    pub source: Source,
    /// The Track.
    pub track: TrackId,
    /// What it is coded in.
    pub codec: Codec,
    /// What each Layer took over the last seconds, in kilobits per second, in the order of the publisher's offer; zero for one
    /// that does not come in at present.
    pub kbits: Vec<u32>,
    /// Width and height of each Layer's picture, in the same order, once one said so.
    #[serde(default)]
    pub sizes: Vec<Option<(u16, u16)>>,
}

/// How loud somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Who.
    pub participant: ParticipantId,
    /// Below full scale, in decibels: 0 is loudest, 127 silence (RFC 6464).
    pub below: u8,
}

/// Why a Peer's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// No authenticated STUN for the consent time.
    Silent,
    /// DTLS failed or was closed.
    Dtls,
    /// The certificate is not the one of the offer.
    Fingerprint,
}

/// Why a Tap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapEnd {
    /// Asked for.
    Stopped,
    /// Somebody present no longer consents, or somebody without consent was admitted.
    ConsentLost,
    /// The Room ended.
    RoomClosed,
    /// The recorder let go of its end.
    RecorderGone,
}

/// The sfu tells signaling what happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// ICE and DTLS are up: media can flow as soon as the door allows.
    PeerConnected {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
    },
    /// The connection is gone; the Peer is removed.
    PeerLost {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
        /// Why.
        reason: Lost,
    },
    /// A slot of a Peer now carries another Track, or none.
    SlotChanged {
        /// The Room.
        room: RoomId,
        /// The receiving Peer.
        peer: PeerId,
        /// The m-line.
        mid: String,
        /// What it carries now.
        carries: Option<SlotTrack>,
    },
    /// The Peer has too few slots for what it should receive: the browser should offer again with more.
    SlotsWanted {
        /// The Room.
        room: RoomId,
        /// The receiving Peer.
        peer: PeerId,
        /// Total receiving audio m-lines needed.
        audio: u8,
        /// Total receiving video m-lines needed.
        video: u8,
    },
    /// The loudest voice changed.
    Speaking {
        /// The Room.
        room: RoomId,
        /// Nobody, when all are quiet.
        participant: Option<ParticipantId>,
    },
    /// What is published, in a Room with a Peer in the Chime manner: after every change, and with new rates every four seconds.
    /// Tracks of people who are not inside are not among it.
    Published {
        /// The Room.
        room: RoomId,
        /// All Tracks, in the order in which their publishers came.
        tracks: Vec<PublishedTrack>,
    },
    /// Who is heard, in a Room with a Peer in the Chime manner: five times a second while anybody is, and once when all are quiet.
    Levels {
        /// The Room.
        room: RoomId,
        /// Loudest first. Who is not among them is quiet.
        levels: Vec<Level>,
    },
    /// The network as one Peer has it, about every two seconds.
    Quality {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
        /// 0 (lost) to 4 (good).
        bars: u8,
        /// Round trip in milliseconds, when known.
        rtt_ms: Option<u32>,
        /// Share of packets lost on the way to us, in thousandths, after repair.
        loss_up_permille: u16,
        /// Share of packets lost on the way to the Peer, in thousandths, as it reports.
        loss_down_permille: u16,
        /// Interarrival jitter of what the Peer sends, in milliseconds, the worst of its Tracks.
        jitter_ms: u32,
        /// Media received from the Peer since the last sample, in kilobits per second.
        kbits_up: u32,
        /// Media sent to the Peer since the last sample, in kilobits per second.
        kbits_down: u32,
        /// What the way to the Peer is estimated to carry, in kilobits per second, when known.
        target_kbits: Option<u32>,
    },
    /// What the encoder of a publisher should make of a video source from now on.
    EncodingWanted {
        /// The Room.
        room: RoomId,
        /// The publishing Peer.
        peer: PeerId,
        /// Its source.
        source: Source,
        /// What to encode.
        encoding: Encoding,
    },
    /// A video that a slot carries is held back because the way to the receiver cannot carry it, or flows again.
    VideoPaused {
        /// The Room.
        room: RoomId,
        /// The receiving Peer.
        peer: PeerId,
        /// The m-line of the slot.
        mid: String,
        /// True while it is held back.
        paused: bool,
    },
    /// What a publisher's voice may cost, so that the poorest receiver still hears it.
    AudioBudget {
        /// The Room.
        room: RoomId,
        /// The publishing Peer.
        peer: PeerId,
        /// Bits per second for the encoder.
        bitrate: u32,
        /// Milliseconds of sound in a packet.
        ptime_ms: u8,
    },
    /// Nothing came from a connected Peer for a while although it should send: its browser should restart ICE.
    PeerSilent {
        /// The Room.
        room: RoomId,
        /// The Peer.
        peer: PeerId,
    },
    /// The first frame passed the Tap: the recording sign may light.
    TapFlowing {
        /// The Room.
        room: RoomId,
        /// The Recording.
        recording: RecordingId,
    },
    /// The Tap ended.
    TapEnded {
        /// The Room.
        room: RoomId,
        /// The Recording.
        recording: RecordingId,
        /// Why.
        reason: TapEnd,
    },
    /// The Room failed inside and is closed; its people should rejoin.
    RoomFailed {
        /// The Room.
        room: RoomId,
    },
}

impl Event {
    /// The Room that the event is about.
    #[must_use]
    pub const fn room(&self) -> RoomId {
        match self {
            Self::PeerConnected { room, .. }
            | Self::PeerLost { room, .. }
            | Self::SlotChanged { room, .. }
            | Self::SlotsWanted { room, .. }
            | Self::Speaking { room, .. }
            | Self::Published { room, .. }
            | Self::Levels { room, .. }
            | Self::Quality { room, .. }
            | Self::EncodingWanted { room, .. }
            | Self::VideoPaused { room, .. }
            | Self::AudioBudget { room, .. }
            | Self::PeerSilent { room, .. }
            | Self::TapFlowing { room, .. }
            | Self::TapEnded { room, .. }
            | Self::RoomFailed { room } => *room,
        }
    }

    /// True for events that a full queue may drop, because a newer one replaces them.
    #[must_use]
    pub const fn is_replaceable(&self) -> bool {
        matches!(self, Self::Speaking { .. } | Self::Levels { .. } | Self::Quality { .. })
    }
}
