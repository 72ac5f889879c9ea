//! The typed messages of `/ws`, version 1 (docs/protocol.md, section 4). Parsing refuses whatever it does not know.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use wire::control::{Encoding, MAX_SDP_BYTES, Source, View};
use wire::{ParticipantId, RecordingId, Redacted, VisitId};

use crate::consent::{ConsentStatus, Decision, OverrideReason};

/// The longest text frame a client may send, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// The longest textual `id` of a request, in bytes.
const MAX_ID_BYTES: usize = 64;

/// The most a client's own resume token may measure, in bytes.
const MAX_RESUME_TOKEN_BYTES: usize = 64;

/// The longest `mid` that a client may name, in bytes: what the media node takes in an offer.
const MAX_MID_BYTES: usize = 16;

/// More frames than a browser decodes in a day of visits with everybody, and more freezes than it can count in one.
const MAX_FRAMES: u64 = 100_000_000;
const MAX_FREEZES: u32 = 1_000_000;

/// What a client put into `id`, given back in the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A counter.
    Number(u64),
    /// Any text of at most 64 bytes.
    Text(String),
}

/// What `hello` brings when it comes back after a break.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The `resumeToken` of the last `welcome`.
    pub token: Redacted<String>,
    /// The last `seq` that arrived.
    pub seq: u64,
}

/// One message of a client. No message names its sender or a role: both come from the credential alone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ClientMessage {
    /// Opens or resumes the session.
    Hello {
        /// Always 1.
        protocol: u16,
        /// Present when coming back.
        #[serde(default)]
        resume: Option<Resume>,
        /// That the session's key is here, over the nonce of `challenge`.
        #[serde(default)]
        proof: Option<Redacted<String>>,
    },
    /// The browser's SDP offer.
    Offer {
        /// Given back in `answer`.
        #[serde(default)]
        id: Option<RequestId>,
        /// At most [`MAX_SDP_BYTES`].
        sdp: Redacted<String>,
    },
    /// What works on the waiting person's side.
    DeviceCheck {
        /// The camera gives a picture.
        camera: bool,
        /// The microphone gives sound.
        microphone: bool,
    },
    /// Lets a waiting person in.
    Admit {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
        /// Who.
        participant_id: ParticipantId,
        /// Although something is missing that the practice asks for.
        #[serde(default, rename = "override")]
        override_reason: Option<OverrideReason>,
    },
    /// Turns a waiting person away.
    Deny {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
        /// Who.
        participant_id: ParticipantId,
    },
    /// Puts a person back into the waiting room.
    SendBack {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
        /// Who.
        participant_id: ParticipantId,
    },
    /// Ends a person's session.
    Remove {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
        /// Who.
        participant_id: ParticipantId,
    },
    /// The sender's own mute state.
    State {
        /// The microphone is on.
        microphone: bool,
        /// The camera is on.
        camera: bool,
        /// Its picture is held back by the sender, because the way out carries no more than the voice.
        #[serde(default)]
        camera_held: bool,
    },
    /// Stops or resumes the forwarding of somebody's source.
    Mute {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
        /// Whose.
        participant_id: ParticipantId,
        /// Which source.
        source: Source,
        /// True stops it.
        muted: bool,
    },
    /// How the sender shows what one of its slots carries.
    View {
        /// The m-line.
        mid: String,
        /// Hidden, small, large, or before all others.
        view: View,
    },
    /// Asks everyone present to consent to recording.
    RequestConsent {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
    },
    /// The sender's own answer.
    Consent {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
        /// The version of the text that was shown.
        version: i32,
        /// Yes, no, or no longer.
        decision: Decision,
    },
    /// Starts recording.
    RecordingStart {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
    },
    /// Stops recording.
    RecordingStop {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
    },
    /// How the visit looks from the client.
    Stats {
        /// Round trip in milliseconds.
        #[serde(default)]
        rtt_ms: Option<f64>,
        /// Share of packets lost on the way down, in thousandths.
        #[serde(default)]
        loss_down: Option<f64>,
        /// Frames decoded so far.
        #[serde(default)]
        frames_decoded: Option<u64>,
        /// Freezes so far.
        #[serde(default)]
        freezes: Option<u32>,
    },
    /// Ends the session for good.
    Leave {},
    /// Asks for `pong`.
    Ping {
        /// Given back.
        #[serde(default)]
        id: Option<RequestId>,
    },
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Over [`MAX_FRAME_BYTES`].
    #[error("the frame is too large")]
    TooLarge,
    /// Not JSON, an unknown type, an unknown or missing field, or a value out of bounds.
    #[error("the message cannot be read")]
    Malformed,
}

impl ClientMessage {
    /// Reads one text frame. The error says nothing of the content, so it may be logged.
    ///
    /// # Errors
    /// When the frame is too large, is no message, or a field is out of its bounds.
    pub fn parse(frame: &str) -> Result<Self, ParseError> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(ParseError::TooLarge);
        }
        let message: Self = serde_json::from_str(frame).map_err(|_| ParseError::Malformed)?;
        message.is_bounded().then_some(message).ok_or(ParseError::Malformed)
    }

    fn is_bounded(&self) -> bool {
        let id_fits = match self.id() {
            Some(RequestId::Text(text)) => text.len() <= MAX_ID_BYTES,
            Some(RequestId::Number(_)) | None => true,
        };
        let sane = |value: &Option<f64>| value.is_none_or(|v| v.is_finite() && (0.0..=1e6).contains(&v));
        let body_fits = match self {
            Self::Hello { protocol, resume, proof } => {
                *protocol == 1
                    && resume.as_ref().is_none_or(|r| r.token.reveal().len() <= MAX_RESUME_TOKEN_BYTES)
                    && proof.as_ref().is_none_or(|p| p.reveal().len() <= proof::MAX_BYTES)
            }
            Self::Offer { sdp, .. } => sdp.reveal().len() <= MAX_SDP_BYTES,
            Self::View { mid, .. } => (1..=MAX_MID_BYTES).contains(&mid.len()),
            Self::Stats { rtt_ms, loss_down, frames_decoded, freezes } => {
                sane(rtt_ms)
                    && loss_down.is_none_or(|v| v.is_finite() && (0.0..=1e3).contains(&v))
                    && frames_decoded.is_none_or(|n| n <= MAX_FRAMES)
                    && freezes.is_none_or(|n| n <= MAX_FREEZES)
            }
            _ => true,
        };
        id_fits && body_fits
    }

    /// The `id` to give back, if the message carries one.
    #[must_use]
    pub const fn id(&self) -> Option<&RequestId> {
        match self {
            Self::Offer { id, .. }
            | Self::Admit { id, .. }
            | Self::Deny { id, .. }
            | Self::SendBack { id, .. }
            | Self::Remove { id, .. }
            | Self::Mute { id, .. }
            | Self::RequestConsent { id }
            | Self::Consent { id, .. }
            | Self::RecordingStart { id }
            | Self::RecordingStop { id }
            | Self::Ping { id } => id.as_ref(),
            Self::Hello { .. }
            | Self::DeviceCheck { .. }
            | Self::State { .. }
            | Self::View { .. }
            | Self::Stats { .. }
            | Self::Leave {} => None,
        }
    }
}

/// The door of the fuzz target: whatever comes, it is read or refused, and a message that is read keeps its bounds.
///
/// # Panics
/// When a message that was read breaks a bound, which is a defect.
pub fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(message) = ClientMessage::parse(text) else { return };
    assert!(text.len() <= MAX_FRAME_BYTES && message.is_bounded(), "what is read keeps its bounds");
    if let Some(RequestId::Text(id)) = message.id() {
        assert!(id.len() <= MAX_ID_BYTES, "an id is given back and therefore short");
    }
    // The log may hold it.
    let _shown = format!("{message:?}");
}

/// On which side of the door a person stands, as the person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorView {
    /// In the waiting room.
    Waiting,
    /// Inside.
    Admitted,
}

/// A Role in its spelling on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleView {
    /// Decides at the door.
    Clinician,
    /// The person the visit is for.
    Patient,
    /// Anybody else who was invited.
    Guest,
    /// Present without taking part.
    Observer,
}

/// The recording sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignView {
    /// Nothing is captured.
    Off,
    /// Asked for; no frame has passed yet.
    Starting,
    /// Frames reach the recorder.
    On,
    /// Being stopped.
    Stopping,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The visit is over.
    Completed,
    /// Turned away at the door.
    Denied,
    /// Sent out by the clinician.
    Removed,
    /// The same person came in elsewhere.
    Superseded,
    /// The credential was revoked.
    Revoked,
    /// The room broke: come back.
    Failed,
    /// They stopped waiting, by another window of their own.
    Left,
    /// They waited for too long.
    TimedOut,
}

/// The person a `welcome` is for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct You {
    /// Who.
    pub participant_id: ParticipantId,
    /// As what.
    pub role: RoleView,
    /// Display name.
    pub name: Redacted<String>,
    /// Inside or not.
    pub door: DoorView,
}

/// Whom to call when nothing works.
#[derive(Clone, Debug, Serialize)]
pub struct Practice {
    /// Its name.
    pub name: String,
    /// Its telephone number.
    pub phone: String,
}

/// The visit, as its people may see it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VisitCard {
    /// Which.
    pub visit_id: VisitId,
    /// When it should begin.
    #[serde(with = "time::serde::rfc3339")]
    pub scheduled_at: OffsetDateTime,
    /// Whom the patient meets.
    pub clinician_name: Redacted<String>,
    /// Whose visit it is.
    pub practice: Practice,
    /// `NEVER` or `OPT_IN`.
    pub recording_policy: &'static str,
}

/// Somebody in the waiting room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingEntry {
    /// Who.
    pub participant_id: ParticipantId,
    /// Display name.
    pub name: Redacted<String>,
    /// As what.
    pub role: RoleView,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The camera works, when checked.
    pub camera: Option<bool>,
    /// The microphone works, when checked.
    pub microphone: Option<bool>,
}

/// Somebody inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RosterEntry {
    /// Who.
    pub participant_id: ParticipantId,
    /// As what.
    pub role: RoleView,
    /// Display name.
    pub name: Redacted<String>,
    /// False while the seat is only kept for them.
    pub connected: bool,
    /// Their microphone is on.
    pub microphone: bool,
    /// Their camera is on.
    pub camera: bool,
    /// Its picture is held back by themselves for the sake of sound.
    pub camera_held: bool,
    /// What the clinician muted.
    pub muted_by_clinician: Vec<Source>,
    /// Their answer about recording.
    pub consent: ConsentStatus,
}

/// What a slot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Carries {
    /// Whose.
    pub participant_id: ParticipantId,
    /// What.
    pub source: Source,
}

/// One message of the server. The session adds `seq`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// The first message to a participant: prove the session's key over this.
    Challenge {
        /// For the proof in `hello`.
        nonce: String,
    },
    /// After `hello`: everything is told anew.
    Welcome {
        /// The person.
        you: You,
        /// The visit.
        visit: VisitCard,
        /// For the `hello` after a break.
        resume_token: Redacted<String>,
        /// The server's clock.
        #[serde(with = "time::serde::rfc3339")]
        server_time: OffsetDateTime,
        /// For `RTCPeerConnection`.
        ice_servers: Vec<IceServer>,
    },
    /// To a waiting person.
    Waiting {
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// 1 is next.
        position: usize,
        /// The server's clock.
        #[serde(with = "time::serde::rfc3339")]
        server_time: OffsetDateTime,
    },
    /// To clinicians.
    WaitingList {
        /// Longest wait first.
        entries: Vec<WaitingEntry>,
        /// The server's clock.
        #[serde(with = "time::serde::rfc3339")]
        server_time: OffsetDateTime,
    },
    /// The door opened.
    Admitted {},
    /// Back to the waiting room.
    SentBack {},
    /// The SDP answer.
    Answer {
        /// Of the `offer`.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// For `setRemoteDescription`.
        sdp: Redacted<String>,
    },
    /// What one m-line carries from now on.
    Slot {
        /// The m-line.
        mid: String,
        /// Nothing, or whose source.
        carries: Option<Carries>,
    },
    /// Offer again with this many receiving m-lines.
    SlotsWanted {
        /// In all.
        audio: u8,
        /// In all.
        video: u8,
    },
    /// Who is inside.
    Roster {
        /// By participant id.
        participants: Vec<RosterEntry>,
    },
    /// Show the consent sheet.
    ConsentRequest {
        /// Of the text.
        version: i32,
        /// Of the text.
        locale: String,
        /// The text.
        body: String,
        /// The clinician's name.
        requested_by: Redacted<String>,
    },
    /// The recording sign.
    Recording {
        /// What to show.
        state: SignView,
        /// Which Recording.
        #[serde(skip_serializing_if = "Option::is_none")]
        recording_id: Option<RecordingId>,
        /// Since when it is on.
        #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
        since: Option<OffsetDateTime>,
    },
    /// A Recording came to its end.
    RecordingStored {
        /// Which.
        recording_id: RecordingId,
        /// `STORED` or `FAILED`.
        status: &'static str,
    },
    /// The loudest voice.
    Speaking {
        /// Nobody, when all are quiet.
        participant_id: Option<ParticipantId>,
    },
    /// Network bars.
    Quality {
        /// Whose.
        participant_id: ParticipantId,
        /// 0 to 4.
        bars: u8,
        /// Round trip in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        rtt_ms: Option<u32>,
        /// In thousandths.
        loss_up: u16,
        /// In thousandths.
        loss_down: u16,
    },
    /// What the encoder of one of the receiver's own video sources should make from now on.
    Encode {
        /// Camera or screen.
        source: Source,
        /// Nothing, one encoding, or all layers.
        encoding: Encoding,
    },
    /// The picture in a slot is held back because the way down cannot carry it, or flows again.
    Paused {
        /// The m-line.
        mid: String,
        /// True while it is held back.
        paused: bool,
    },
    /// What the receiver's own voice may cost.
    AudioBudget {
        /// Bits per second for the encoder.
        bitrate: u32,
        /// Milliseconds of sound in a packet.
        ptime_ms: u8,
    },
    /// Other credentials for the relay: the old ones end soon.
    IceServers {
        /// For `setConfiguration`.
        ice_servers: Vec<IceServer>,
    },
    /// Nothing arrives from the receiver's media connection although it should: restart ICE.
    RestartIce {},
    /// The request is done.
    Ok {
        /// Of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
    },
    /// The request is refused.
    Error {
        /// Of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// Of the protocol's section 1.
        code: &'static str,
        /// Fit for a person.
        detail: String,
        /// What the code brings along, such as `missing`.
        #[serde(flatten)]
        members: BTreeMap<&'static str, serde_json::Value>,
    },
    /// Answers `ping`.
    Pong {
        /// Of the `ping`.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The server's clock.
        #[serde(with = "time::serde::rfc3339")]
        server_time: OffsetDateTime,
    },
    /// The service stops at this time; until then the visit goes on.
    Draining {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        deadline: OffsetDateTime,
    },
    /// The last message.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// One entry of `iceServers`.
#[derive(Clone, Debug, Serialize)]
pub struct IceServer {
    /// `turn:` and `turns:` addresses.
    pub urls: Vec<String>,
    /// When it ends, and a name that is the same for one person each time.
    pub username: Redacted<String>,
    /// The proof that we gave it.
    pub credential: Redacted<String>,
}

impl ServerMessage {
    /// True for messages that a newer one replaces or that help at that moment alone: they are not kept for a client that is away.
    #[must_use]
    pub const fn is_replaceable(&self) -> bool {
        matches!(self, Self::Speaking { .. } | Self::Quality { .. } | Self::IceServers { .. } | Self::RestartIce {})
    }

    /// The frame's text, with its number.
    ///
    /// # Panics
    /// Never: every field of a message is serializable as JSON.
    #[must_use]
    pub fn to_text(&self, seq: u64) -> String {
        #[derive(Serialize)]
        struct Numbered<'a> {
            seq: u64,
            #[serde(flatten)]
            message: &'a ServerMessage,
        }
        serde_json::to_string(&Numbered { seq, message: self }).expect("a server message has only JSON values")
    }
}
