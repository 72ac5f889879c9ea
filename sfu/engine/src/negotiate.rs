//! Answers an offer: what the browser offers in `offer`, the text we write in `answer`, and the types between them.

mod answer;
mod offer;

use std::fmt;
use std::sync::Arc;

use wire::control::{Codec, Kind};

use crate::rtp::extension::Ids;

pub(crate) use answer::{Answer, SectionAnswer, Sending, writable_ids, write};
pub(crate) use offer::read;

/// A browser's offer, as far as it concerns us.
pub(crate) struct Offer {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) fingerprint: [u8; 32],
    /// The two forms of header extension may be mixed on all m-lines.
    pub(crate) mixes_extensions: bool,
    /// In the order of the m-lines.
    pub(crate) sections: Vec<Section>,
}

impl fmt::Debug for Offer {
    // Credentials and fingerprints stay out of every log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("sections", &self.sections.len()).finish_non_exhaustive()
    }
}

/// One m-line.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) mid: Arc<str>,
    /// The m-line's own words, to be repeated: media, protocol, formats.
    pub(crate) line: Line,
    /// What it carries; `None` for what we do not serve: it is answered with port 0.
    pub(crate) kind: Option<Kind>,
    /// The browser sends on it.
    pub(crate) sends: bool,
    /// The browser may receive on it.
    pub(crate) receives: bool,
    /// What both sides can, best first.
    pub(crate) formats: Vec<Format>,
    pub(crate) ids: Ids,
    pub(crate) has_reduced_size: bool,
    /// The two forms of header extension may be mixed.
    pub(crate) mixes_extensions: bool,
    pub(crate) sources: Sources,
}

/// What an m-line says of the streams that the browser sends on it, from the smallest picture up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Of simulcast: the names of its Layers. Packets carry them, so their SSRCs need not be known.
    pub(crate) rids: Vec<Arc<str>>,
    /// Those of them that the browser does not make at present, by their places.
    pub(crate) paused: Vec<bool>,
    /// Main SSRC and RTX SSRC of each Layer that the offer names. With rids only where packets cannot carry those.
    pub(crate) named: Vec<(u32, Option<u32>)>,
}

/// What an m-line says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) media: String,
    pub(crate) protocol: String,
    pub(crate) formats: String,
}

/// One codec under one payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    /// The payload type of its retransmissions.
    pub(crate) rtx: Option<u8>,
    /// The same sound with redundancy, RFC 2198.
    pub(crate) red: Option<RedFormat>,
    /// Of H.264: profile_idc and constraint flags.
    pub(crate) profile: Option<u16>,
    pub(crate) parameters: Option<String>,
    pub(crate) feedback: FormatFeedback,
}

/// Redundancy as a browser offered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RedFormat {
    pub(crate) payload_type: u8,
    /// It stands before the plain codec: the browser would rather send it so.
    pub(crate) is_first: bool,
}

/// The feedback that the browser offered for a payload type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FormatFeedback {
    pub(crate) nack: bool,
    pub(crate) picture_loss: bool,
    pub(crate) full_intra: bool,
    pub(crate) transport_cc: bool,
    /// Our limits on what it sends.
    pub(crate) remb: bool,
}

/// The codec of a Track as a receiver must have negotiated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    pub(crate) codec: Codec,
    pub(crate) profile: Option<u16>,
}

impl Format {
    pub(crate) const fn coding(&self) -> Coding {
        Coding { codec: self.codec, profile: self.profile }
    }
}

/// The receiver's format for what a publisher sends: the same H.264 profile if there is one, else any.
pub(crate) fn find_format(formats: &[Format], coding: Coding) -> Option<&Format> {
    let mut same = formats.iter().filter(|format| format.codec == coding.codec);
    let exact = same.clone().find(|format| format.profile == coding.profile);
    exact.or_else(|| same.next())
}

/// What a payload type of a publisher means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Media(Coding),
    /// Frames of this payload type with redundancy.
    Red(u8),
    /// Retransmissions of this payload type.
    Rtx(u8),
}

/// The payload types of all sections: within one BUNDLE group each number has one meaning (RFC 8843 section 10.1.2).
#[derive(Clone, Debug)]
pub(crate) struct PayloadTable {
    table: [Option<Payload>; 128],
}

impl Default for PayloadTable {
    fn default() -> Self {
        Self { table: [None; 128] }
    }
}

impl PayloadTable {
    pub(crate) fn of(sections: &[Section]) -> Self {
        let mut payloads = Self::default();
        for format in sections.iter().flat_map(|section| &section.formats) {
            payloads.put(format.payload_type, Payload::Media(format.coding()));
            if let Some(rtx) = format.rtx {
                payloads.put(rtx, Payload::Rtx(format.payload_type));
            }
            if let Some(red) = format.red {
                payloads.put(red.payload_type, Payload::Red(format.payload_type));
            }
        }
        payloads
    }

    fn put(&mut self, payload_type: u8, payload: Payload) {
        if let Some(place) = self.table.get_mut(usize::from(payload_type)) {
            *place = Some(payload);
        }
    }

    pub(crate) fn find(&self, payload_type: u8) -> Option<Payload> {
        *self.table.get(usize::from(payload_type))?
    }
}

/// The extension ids of all sections together, for reading: also one meaning for each number.
pub(crate) fn all_ids(sections: &[Section]) -> Ids {
    sections.iter().fold(Ids::default(), |all, section| Ids {
        mid: all.mid.or(section.ids.mid),
        rid: all.rid.or(section.ids.rid),
        repaired_rid: all.repaired_rid.or(section.ids.repaired_rid),
        audio_level: all.audio_level.or(section.ids.audio_level),
        transport_cc: all.transport_cc.or(section.ids.transport_cc),
        dependency: all.dependency.or(section.ids.dependency),
        // Only what is written by a section's own ids asks for the directions.
        one_way: 0,
    })
}

#[cfg(test)]
mod tests;
