//! What passes between a Room and a client of another face, which is told things rather than sent texts, and translates them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use wire::control::{Assignment, Level, Rights, SendingLine};
use wire::{ParticipantId, Redacted, TrackId};

use crate::live::codecs::Codecs;
use crate::live::roster::{Line, Media};
use crate::ws::message::ServerMessage;

/// How a client speaks to the Room.
#[derive(Clone, Debug)]
pub(crate) enum Face {
    /// The texts of docs/protocol.md.
    Native,
    /// Asks and notices.
    Translated(Newcomer),
    /// The same, for the second connection of somebody who is here, which shares a screen.
    Share(Newcomer),
}

/// Who comes in by a translated face.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    /// The same over all connections of one page: another one is another page, or another device.
    pub(crate) client: u64,
    /// How others of that face are told of them.
    pub(crate) alias: Alias,
    /// What they may send and be sent.
    pub(crate) rights: Rights,
}

/// What somebody is called towards clients of a translated face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    /// An id that is theirs alone in this Room.
    pub(crate) id: Arc<str>,
    /// What the application calls them.
    pub(crate) name: Redacted<Arc<str>>,
}

/// A Seat's translated face.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) client: u64,
    pub(crate) alias: Alias,
    pub(crate) rights: Rights,
    /// Everything must be told anew.
    pub(crate) is_fresh: bool,
    /// On which side of the door they were when they were told something last.
    pub(crate) was_inside: bool,
    /// What they may still post at once.
    pub(crate) posts: super::board::Allowance,
    pub(crate) share: Option<Share>,
}

impl Translated {
    /// Of somebody who comes just now.
    pub(crate) fn new(newcomer: Newcomer) -> Self {
        let Newcomer { client, alias, rights } = newcomer;
        Self {
            client,
            alias,
            rights,
            is_fresh: true,
            was_inside: false,
            posts: super::board::Allowance::of_one(),
            share: None,
        }
    }
}

/// The second connection of a Seat, which shares a screen.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) line: Option<Line>,
    pub(crate) away_since: Option<Duration>,
    pub(crate) media: Option<Media>,
    pub(crate) client: u64,
    pub(crate) alias: Alias,
    pub(crate) number: u32,
    pub(crate) is_muted: bool,
    pub(crate) is_fresh: bool,
}

/// Which of a Seat's connections is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The person's own.
    Main,
    /// That of what they share.
    Share,
}

/// What a translated client asks of the Room.
#[derive(Debug)]
pub(crate) enum Ask {
    /// An offer, and what it is going to send.
    Subscribe(Box<Subscribe>),
    /// What its video lines should carry.
    Watch(Vec<Assignment>),
    /// Its microphone is off, or on.
    Mute(bool),
    /// Words to everybody else.
    Post(Vec<Draft>),
    /// How the network looks from there.
    Measured {
        /// Round trip in milliseconds.
        rtt_ms: u32,
    },
    /// It goes for good.
    Leave,
}

/// An offer of a translated client.
#[derive(Debug)]
pub(crate) struct Subscribe {
    /// Given back in the answer.
    pub(crate) id: u64,
    pub(crate) sdp: Redacted<String>,
    /// The encodings of its camera, or of what it shares; none while that is off.
    pub(crate) sends: Vec<Announced>,
    /// Its microphone is off.
    pub(crate) is_muted: bool,
}

/// One encoding of a picture, as its sender announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// What it may take, in kilobits per second; zero for one that is not sent for now.
    pub(crate) most_kbits: u32,
    /// Frames a second.
    pub(crate) framerate: u32,
}

/// The numbers of one announced encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) stream: u32,
    pub(crate) group: u32,
}

/// Words before they are told to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) topic: String,
    pub(crate) body: Redacted<Bytes>,
    /// How long they are kept for who comes later.
    pub(crate) lifetime: Duration,
}

/// Words of somebody here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) draft: Draft,
    pub(crate) from: Alias,
    /// When they came; `None` for words that are given back because there were too many.
    pub(crate) at: Option<OffsetDateTime>,
}

/// What a Room tells a translated client.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// What a native client would be told too.
    Said(Box<ServerMessage>),
    /// To an offer.
    Answered(Box<Answered>),
    /// Who is here.
    Present(Arc<Presence>),
    /// What there is to see.
    Pictures(Arc<Gallery>),
    /// What each stream takes at present: its number and kilobits per second.
    Rates(Arc<[(u32, u32)]>),
    /// Who is heard.
    Levels(Arc<[Level]>),
    /// What the way to the client carries, in kilobits per second.
    Way(u32),
    /// Words of others, or given back.
    Posts(Arc<[Post]>),
    /// What the client may send and be sent has changed.
    Rights(Rights),
}

/// The answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) id: u64,
    pub(crate) sdp: Redacted<String>,
    pub(crate) sending: Vec<SendingLine>,
    /// For each announced encoding, in that order.
    pub(crate) given: Vec<Given>,
}

/// Somebody's connection, as others of a translated face see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    /// Greater than that of any connection before it.
    pub(crate) number: u32,
    pub(crate) who: ParticipantId,
    pub(crate) alias: Alias,
    pub(crate) is_share: bool,
    pub(crate) is_muted: bool,
}

/// Everybody here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) present: Vec<Present>,
    /// Those of the ones missing since the last time who did not say goodbye.
    pub(crate) dropped: Vec<u32>,
}

/// Everything there is to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gallery {
    pub(crate) pictures: Vec<Picture>,
    /// How many people are here.
    pub(crate) people: u32,
    /// No further camera may start.
    pub(crate) is_full: bool,
    /// What everybody who is here decodes, as far as that is known.
    pub(crate) codecs: Option<Codecs>,
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) who: ParticipantId,
    pub(crate) alias: Alias,
    pub(crate) is_share: bool,
    /// It is on, but its sender's network lets nothing of it through.
    pub(crate) is_held: bool,
    pub(crate) group: u32,
    pub(crate) track: TrackId,
    /// Its encodings, poorest first.
    pub(crate) streams: Vec<Stream>,
}

/// One encoding of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) number: u32,
    /// Its place among the Track's Layers.
    pub(crate) layer: u8,
    pub(crate) most_kbits: u32,
    pub(crate) framerate: u32,
    /// Width and height, once a picture said so.
    pub(crate) size: Option<(u16, u16)>,
}
