//! What a capture leaves in somebody's bucket beside the sealed files: what is ordered, what the Room notes on the way, and what was
//! delivered. Signaling writes orders and notes, the recorder fills them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::Codec;
use crate::{OrderId, ParticipantId, Redacted};

/// What the pieces of a capture should be, and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Names it. Several captures may serve one order: its pieces tell by their names when they were made.
    pub id: OrderId,
    /// Where to.
    pub place: Place,
    /// Encrypts the objects, where the store can.
    #[serde(default)]
    pub key: Option<StoreKey>,
    /// Beside the mixed sound, the picture of whoever speaks.
    pub with_speaker: bool,
    /// Everybody's camera.
    pub cameras: bool,
    /// Everything that is shared.
    pub shares: bool,
    /// Cameras of these people alone: by what they are called in the Room, or by their application. Everybody's when there is none.
    #[serde(default)]
    pub only: Vec<String>,
}

/// A bucket, and what the names in it begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// Without a slash at its ends; never empty.
    pub prefix: String,
}

/// A key of the store's own key service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreKey {
    /// As that service names it.
    pub id: String,
    /// What the key service binds the ciphertext to: a JSON object.
    #[serde(default)]
    pub context: Option<String>,
}

/// What the Room knows and the media do not tell. It travels with the media, and so has its place among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// Somebody, or what somebody shares, takes part from now on.
    Joined {
        /// Who.
        participant: ParticipantId,
        /// What they are called.
        alias: String,
        /// What their application calls them.
        name: Redacted<String>,
        /// It is what they share.
        is_share: bool,
    },
    /// The end of that.
    Left {
        /// What they are called.
        alias: String,
    },
    /// Their picture is on.
    PictureOn {
        /// What they are called.
        alias: String,
    },
    /// It is off.
    PictureOff {
        /// What they are called.
        alias: String,
    },
    /// Their microphone is off, or on again.
    Muted {
        /// What they are called.
        alias: String,
        /// It is off.
        is_muted: bool,
    },
    /// Who speaks.
    Speaking {
        /// Who; nobody when all are quiet.
        participant: Option<ParticipantId>,
    },
    /// Words that somebody sent to everybody.
    Posted {
        /// What they are called.
        alias: String,
        /// About what.
        topic: Redacted<String>,
        /// The words.
        body: Redacted<String>,
    },
}

/// The folders of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    /// All voices as one, with or without the picture of whoever speaks.
    Audio,
    /// One person's camera, or what one person shares.
    Video,
    /// Who came and went, and what they did.
    Events,
    /// Words.
    Posts,
}

impl Folder {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Events => "meeting-events",
            Self::Posts => "data-channel",
        }
    }

    /// How its files end.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Audio | Self::Video => "mp4",
            Self::Events | Self::Posts => "txt",
        }
    }
}

/// Pieces that belong behind each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Where they are.
    pub folder: Folder,
    /// Whose camera or share, as their names end; nobody's in the other folders.
    pub whose: Option<String>,
    /// What they are coded in, pictures first. Empty for text.
    pub codecs: Vec<Codec>,
    /// In order of time.
    pub pieces: Vec<Piece>,
}

/// One object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The time in its name, in milliseconds since the Unix epoch.
    #[serde(rename = "n")]
    pub named: u64,
    /// When it begins, in microseconds since the Unix epoch.
    #[serde(rename = "b")]
    pub begins: u64,
    /// How long it lasts, in microseconds.
    #[serde(rename = "d")]
    pub lasts: u64,
}

/// What was delivered of one capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// All of it.
    pub series: Vec<Series>,
}

/// Joins what was delivered to one file for each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Names it, and its files.
    pub id: OrderId,
    /// Where the pieces are.
    pub from: Place,
    /// Where the files go.
    pub to: Place,
    /// What is joined, of each folder: the cameras and the shares are told apart.
    pub cameras: bool,
    /// See `cameras`.
    pub shares: bool,
    /// The events.
    pub events: bool,
    /// The words.
    pub posts: bool,
    /// Of each capture, in order of time.
    pub delivered: Vec<Delivered>,
}

/// What follows somebody's alias where what they share is meant.
pub const SHARED: &str = "#content";

/// Puts the series of several captures together: those of one folder, one person and one coding are one.
#[must_use]
pub fn merge(delivered: &[Delivered]) -> Vec<Series> {
    let mut merged: BTreeMap<(Folder, Option<String>, String), Series> = BTreeMap::new();
    for series in delivered.iter().flat_map(|delivered| &delivered.series) {
        let key = (series.folder, series.whose.clone(), format!("{:?}", series.codecs));
        let one = merged.entry(key).or_insert_with(|| Series { pieces: Vec::new(), ..series.clone() });
        one.pieces.extend(&series.pieces);
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_nothing_in_a_log_and_everything_in_the_journal() {
        let note = Note::Posted {
            alias: "a".to_owned(),
            topic: Redacted::new("chat".to_owned()),
            body: Redacted::new("chest pain".to_owned()),
        };
        assert!(!format!("{note:?}").contains("pain"));
        let text = serde_json::to_string(&note).unwrap();
        assert!(text.contains("chest pain"), "{text}");
        assert_eq!(serde_json::from_str::<Note>(&text).unwrap(), note);
    }

    #[test]
    fn series_of_one_person_and_coding_are_one() {
        let piece = |begins| Piece { named: begins / 1000, begins, lasts: 5_000_000 };
        let series = |whose: &str, codec, begins| Series {
            folder: Folder::Video,
            whose: Some(whose.to_owned()),
            codecs: vec![codec],
            pieces: vec![piece(begins)],
        };
        let one = Delivered { series: vec![series("a", Codec::H264, 0), series("b", Codec::Vp8, 0)] };
        let two = Delivered { series: vec![series("a", Codec::H264, 60_000_000), series("a", Codec::Vp8, 90_000_000)] };
        let merged = merge(&[one, two]);
        let lengths: Vec<_> = merged.iter().map(|s| (s.whose.as_deref().unwrap(), s.pieces.len())).collect();
        assert_eq!(lengths, [("a", 2), ("a", 1), ("b", 1)]);
    }
}
