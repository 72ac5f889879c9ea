//! The sidecar of a Recording: what was captured, where it lies, and whether it is whole. Written by the recorder, read by playback.

use serde::{Deserialize, Serialize};

use crate::control::{Codec, Source};
use crate::{ParticipantId, RecordingId, RoomId};

/// Everything that playback and an auditor need to know about one Recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version of this struct: 1.
    pub version: u16,
    /// The Recording.
    pub recording: RecordingId,
    /// The Room it was taken from.
    pub room: RoomId,
    /// Recording's zero on the media node's clock, microseconds since the Unix epoch.
    pub started_at_us: u64,
    /// From zero to the end of the longest artefact.
    pub duration_ms: u64,
    /// The playable files.
    pub artefacts: Vec<Artefact>,
    /// Where something is missing.
    pub gaps: Vec<Gap>,
}

/// One playable file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artefact {
    /// Its name inside the recording, also its name in the store under the recording's prefix; `[a-z0-9-]+\.(webm|mp4)`.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// `video/webm`, `video/mp4` or `audio/mp4`.
    pub mime: String,
    /// Coded streams inside.
    pub codecs: Vec<Codec>,
    /// Its first sample on the recording's timeline.
    pub offset_ms: u64,
    /// From its first to the end of its last sample.
    pub duration_ms: u64,
    /// Plaintext bytes: what a player downloads.
    pub bytes: u64,
    /// Sealed bytes in the store.
    pub sealed_bytes: u64,
    /// SHA-256 of the plaintext, lower-case hex.
    pub sha256: String,
}

/// What an artefact holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// One person's picture and voice.
    Participant {
        /// Who.
        participant: ParticipantId,
        /// Which of their sources are inside.
        sources: Vec<Source>,
    },
    /// All voices in one Opus track.
    Mix,
}

/// A hole in what was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Whose media is missing; nobody's in particular when the whole feed had a hole.
    pub participant: Option<ParticipantId>,
    /// On the recording's timeline.
    pub offset_ms: u64,
    /// How long.
    pub duration_ms: u64,
    /// Packets known to be missing.
    pub packets: u64,
}
