//! Writes an answer: exact control of mids, msids and SSRCs, and nothing that we do not serve.

use std::fmt::Write as _;
use std::net::SocketAddr;

use wire::control::{Codec, Kind, Manner};

use super::{Format, Section};
use crate::rtp::extension::Ids;

/// The name of the dependency descriptor.
pub(super) const DEPENDENCY_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// What we send on one section: fixed from its first answer on.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// The MediaStream and MediaStreamTrack ids that the browser will show.
    pub(crate) stream: String,
    pub(crate) track: String,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
}

/// One section's part of the answer.
#[derive(Debug)]
pub(crate) struct SectionAnswer<'a> {
    pub(crate) section: &'a Section,
    /// We receive on it.
    pub(crate) receives: bool,
    pub(crate) sending: Option<Sending>,
}

/// Everything that the text says.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) session_id: u64,
    pub(crate) version: u64,
    pub(crate) ufrag: &'a str,
    pub(crate) pwd: &'a str,
    pub(crate) fingerprint: &'a str,
    /// Host candidates, best first.
    pub(crate) addresses: &'a [SocketAddr],
    /// Those over TCP, passive: below all of these.
    pub(crate) tcp_addresses: &'a [SocketAddr],
    pub(crate) mixes_extensions: bool,
    /// How the client expects to be answered.
    pub(crate) manner: Manner,
    pub(crate) sections: Vec<SectionAnswer<'a>>,
}

/// The text.
pub(crate) fn write(answer: &Answer<'_>) -> String {
    let mut out = String::with_capacity(1024 + answer.sections.len() * 1024);
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut out, answer);
    out
}

fn write_all(out: &mut String, answer: &Answer<'_>) -> std::fmt::Result {
    let first = answer.addresses.first().copied();
    let family = |address: SocketAddr| if address.is_ipv4() { "IP4" } else { "IP6" };
    let connection = first.map_or_else(|| "IP4 0.0.0.0".to_owned(), |a| format!("{} {}", family(a), a.ip()));
    write!(out, "v=0\r\no=anteroom {} {} IN IP4 0.0.0.0\r\n", answer.session_id, answer.version)?;
    out.push_str("s=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE");
    for part in answer.sections.iter().filter(|part| part.section.kind.is_some()) {
        write!(out, " {}", part.section.mid)?;
    }
    out.push_str("\r\na=msid-semantic: WMS *\r\n");
    if answer.mixes_extensions {
        out.push_str("a=extmap-allow-mixed\r\n");
    }
    for part in &answer.sections {
        let section = part.section;
        let line = &section.line;
        let Some(kind) = section.kind else {
            write!(out, "m={} 0 {} {}\r\n", line.media, line.protocol, line.formats)?;
            write!(out, "c=IN IP4 0.0.0.0\r\na=mid:{}\r\na=inactive\r\n", section.mid)?;
            continue;
        };
        let port = first.map_or(9, |address| address.port());
        write!(out, "m={} {port} {}", line.media, line.protocol)?;
        for format in &section.formats {
            // The order says what the browser should send, and it asked for this one.
            match format.red {
                Some(red) if red.is_first => write!(out, " {} {}", red.payload_type, format.payload_type)?,
                Some(red) => write!(out, " {} {}", format.payload_type, red.payload_type)?,
                None => write!(out, " {}", format.payload_type)?,
            }
            if let Some(rtx) = format.rtx {
                write!(out, " {rtx}")?;
            }
        }
        write!(out, "\r\nc=IN {connection}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n")?;
        write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", answer.ufrag, answer.pwd)?;
        write!(out, "a=fingerprint:sha-256 {}\r\na=setup:passive\r\n", answer.fingerprint)?;
        write!(out, "a=mid:{}\r\n", section.mid)?;
        let direction = match (part.sending.is_some(), part.receives) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        };
        write!(out, "a={direction}\r\na=rtcp-mux\r\n")?;
        if section.has_reduced_size {
            out.push_str("a=rtcp-rsize\r\n");
        }
        if section.mixes_extensions {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        write_extensions(out, part, kind, answer.manner)?;
        let start = find_start(section).filter(|_| answer.manner != Manner::Native);
        for format in &section.formats {
            write_format(out, format, section.ids.transport_cc.is_some(), start)?;
        }
        if takes_layers(part) {
            write_layers(out, section)?;
        }
        if let Some(sending) = &part.sending {
            write_sending(out, sending, section.formats.iter().any(|format| format.rtx.is_some()))?;
        }
        write_candidates(out, answer)?;
        out.push_str("a=end-of-candidates\r\n");
    }
    Ok(())
}

/// RFC 8445 section 5.1.2.1: priority of type, then earlier addresses first. Type preference 126 is for host; TCP gets 90, below every
/// UDP candidate, and the direction preference of a passive end (RFC 6544 section 4.2).
fn write_candidates(out: &mut String, answer: &Answer<'_>) -> std::fmt::Result {
    let mut foundation = 0u32;
    let mut preference = 65_535u64;
    for address in answer.addresses {
        foundation += 1;
        let priority = (126u64 << 24) + (preference << 8) + 255;
        preference = preference.saturating_sub(1);
        write!(out, "a=candidate:{foundation} 1 udp {priority} {} {} typ host\r\n", address.ip(), address.port())?;
    }
    let mut preference = 8191u64;
    for address in answer.tcp_addresses {
        foundation += 1;
        let priority = (90u64 << 24) + (((4 << 13) + preference) << 8) + 255;
        preference = preference.saturating_sub(1);
        write!(
            out,
            "a=candidate:{foundation} 1 tcp {priority} {} {} typ host tcptype passive\r\n",
            address.ip(),
            address.port()
        )?;
    }
    Ok(())
}

/// Only what the section offered, under its own ids: Firefox refuses transport-cc where it did not offer it.
///
/// A Chime client offers later only what the first answer took, and that one comes while its camera is off: so all that a
/// camera may need later is taken at once. `video-orientation` is not: who has it does not turn the picture before it is
/// encoded, and we do not pass it on.
fn write_extensions(out: &mut String, part: &SectionAnswer<'_>, kind: Kind, manner: Manner) -> std::fmt::Result {
    let section = part.section;
    let is_early = manner != Manner::Native && kind == Kind::Video;
    if let Some(id) = section.ids.mid {
        write!(out, "a=extmap:{id} urn:ietf:params:rtp-hdrext:sdes:mid\r\n")?;
    }
    if let (Some(id), Kind::Audio) = (section.ids.audio_level, kind) {
        write!(out, "a=extmap:{id} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n")?;
    }
    if let Some(id) = section.ids.transport_cc {
        let uri = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
        write!(out, "a=extmap:{id} {uri}\r\n")?;
    }
    // RFC 8285 section 6: what was offered one way is answered the other way.
    let way = |id: u8| if section.ids.is_one_way(id) { "/recvonly" } else { "" };
    if is_early || takes_layers(part) {
        for (id, name) in [(section.ids.rid, "rtp-stream-id"), (section.ids.repaired_rid, "repaired-rtp-stream-id")] {
            if let Some(id) = id {
                write!(out, "a=extmap:{id}{} urn:ietf:params:rtp-hdrext:sdes:{name}\r\n", way(id))?;
            }
        }
    }
    if let Some(id) = section.ids.dependency.filter(|_| uses_dependencies(section, part.receives && !is_early)) {
        write!(out, "a=extmap:{id}{} {DEPENDENCY_URI}\r\n", way(id))?;
    }
    Ok(())
}

/// The descriptor is answered where VP9 or AV1 may flow: on a camera that sends one of them, and on slots. A camera that
/// sends VP8 would put it into every packet for nothing.
fn uses_dependencies(section: &Section, receives: bool) -> bool {
    let is_layered = |format: &Format| matches!(format.codec, Codec::Vp9 | Codec::Av1);
    if receives { section.formats.first().is_some_and(is_layered) } else { section.formats.iter().any(is_layered) }
}

/// The ids under which we may write header extensions on a section; `receives` says that we receive on it as well.
pub(crate) fn writable_ids(section: &Section, receives: bool) -> Ids {
    let is_answered = |id: &u8| uses_dependencies(section, receives) && !section.ids.is_one_way(*id);
    Ids { dependency: section.ids.dependency.filter(is_answered), ..section.ids }
}

/// Whether the Layers of an offer are answered. They are as well while the line rests: a browser goes on to offer them then, and one
/// that is not answered is gone for good.
fn takes_layers(part: &SectionAnswer<'_>) -> bool {
    !part.section.sources.rids.is_empty() && (part.receives || !part.section.sends)
}

/// The Layers that we receive: all that were offered, in their order, those paused that the browser pauses.
fn write_layers(out: &mut String, section: &Section) -> std::fmt::Result {
    let rids = &section.sources.rids;
    for rid in rids {
        write!(out, "a=rid:{rid} recv\r\n")?;
    }
    // A browser begins to make a layer that an answer does not call paused.
    let paused = section.sources.paused.iter().copied().chain(std::iter::repeat(false));
    let layers: Vec<String> =
        rids.iter().zip(paused).map(|(rid, paused)| format!("{}{rid}", if paused { "~" } else { "" })).collect();
    write!(out, "a=simulcast:recv {}\r\n", layers.join(";"))
}

/// With which rate Chromium is to begin what it sends, in kilobits per second. A Chime client puts that into its own offers, where it says
/// nothing, to find it in the answers; and only for codecs that have other parameters beside it, so VP8 would begin with 300 and take
/// fifteen seconds to the upper layers of simulcast.
fn find_start(section: &Section) -> Option<u32> {
    let parameters = section.formats.iter().filter_map(|format| format.parameters.as_deref());
    let pairs = parameters.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let kbits = pairs.filter(|(key, _)| *key == START).find_map(|(_, value)| value.trim().parse().ok())?;
    (1..=MOST_START).contains(&kbits).then_some(kbits)
}

/// The parameter, and the largest value that is repeated.
const START: &str = "x-google-start-bitrate";
const MOST_START: u32 = 10_000;

fn write_format(out: &mut String, format: &Format, has_transport_cc: bool, start: Option<u32>) -> std::fmt::Result {
    let payload_type = format.payload_type;
    let name = match format.codec {
        Codec::Opus => "opus/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::H264 => "H264/90000",
        Codec::Vp9 => "VP9/90000",
        Codec::Av1 => "AV1/90000",
    };
    write!(out, "a=rtpmap:{payload_type} {name}\r\n")?;
    let usual = match format.codec {
        Codec::Opus => Some("minptime=10;useinbandfec=1"),
        Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 => None,
    };
    if let Some(parameters) = format.parameters.as_deref().or(usual) {
        write!(out, "a=fmtp:{payload_type} {parameters}\r\n")?;
    } else if let Some(kbits) = start {
        write!(out, "a=fmtp:{payload_type} {START}={kbits}\r\n")?;
    }
    let feedback = format.feedback;
    let is_video = format.codec.kind() == Kind::Video;
    for (is_offered, name) in [
        (feedback.transport_cc && has_transport_cc, "transport-cc"),
        (feedback.nack && is_video, "nack"),
        (feedback.remb && is_video, "goog-remb"),
        (feedback.picture_loss, "nack pli"),
        (feedback.full_intra, "ccm fir"),
    ] {
        if is_offered {
            write!(out, "a=rtcp-fb:{payload_type} {name}\r\n")?;
        }
    }
    if let Some(red) = format.red.map(|red| red.payload_type) {
        write!(out, "a=rtpmap:{red} red/48000/2\r\na=fmtp:{red} {payload_type}/{payload_type}\r\n")?;
    }
    if let Some(rtx) = format.rtx {
        write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n")?;
    }
    Ok(())
}

fn write_sending(out: &mut String, sending: &Sending, has_rtx: bool) -> std::fmt::Result {
    let Sending { stream, track, ssrc, rtx_ssrc } = sending;
    write!(out, "a=msid:{stream} {track}\r\n")?;
    if has_rtx {
        write!(out, "a=ssrc-group:FID {ssrc} {rtx_ssrc}\r\n")?;
    }
    for source in [Some(ssrc), has_rtx.then_some(rtx_ssrc)].into_iter().flatten() {
        write!(out, "a=ssrc:{source} cname:{stream}\r\na=ssrc:{source} msid:{stream} {track}\r\n")?;
    }
    Ok(())
}
