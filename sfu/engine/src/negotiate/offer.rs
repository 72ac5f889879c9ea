//! Reads an offer: rtc-sdp parses the text, this takes what we serve and refuses what cannot be used.

use std::io::Cursor;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;
use wire::control::{Codec, Kind, MAX_SDP_BYTES, Reason, Refusal};

use super::{Format, FormatFeedback, Line, Offer, Section};
use crate::rtp::extension::Ids;

/// Most m-lines of one offer: a visit of 16 people with camera and screen fits.
const SECTIONS: usize = 64;
/// Most lines, and the longest one. A six-party offer of Chromium has about 900 lines.
const LINES: usize = 8192;
const LINE_BYTES: usize = 4096;
/// Longest mid: browsers count from 0.
const MID_BYTES: usize = 16;
/// H.264 variants answered: browsers list one for each profile.
const H264_VARIANTS: usize = 6;
/// Longest format parameters repeated in the answer.
const PARAMETER_BYTES: usize = 256;

fn bad(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BadOffer, detail)
}

/// Reads an offer.
///
/// # Errors
/// `BadOffer` when it is too large, cannot be parsed, or lacks what we need: BUNDLE, credentials, a SHA-256 fingerprint, a
/// DTLS role that leaves us the server's.
pub(crate) fn read(text: &str) -> Result<Offer, Refusal> {
    if text.len() > MAX_SDP_BYTES || text.lines().count() > LINES || text.lines().any(|line| line.len() > LINE_BYTES) {
        return Err(bad("the offer is too large"));
    }
    if text.lines().filter(|line| line.starts_with("m=")).count() > SECTIONS {
        return Err(bad("too many sections"));
    }
    let sdp = SessionDescription::unmarshal(&mut Cursor::new(text)).map_err(|_| bad("the offer cannot be parsed"))?;
    let bundle: Vec<&str> = values(&sdp.attributes, "group")
        .find_map(|group| group.strip_prefix("BUNDLE"))
        .ok_or(bad("no BUNDLE group"))?
        .split_whitespace()
        .collect();
    let mut sections = Vec::with_capacity(sdp.media_descriptions.len());
    for media in &sdp.media_descriptions {
        let section = read_section(media, &bundle)?;
        if sections.iter().any(|other: &Section| other.mid == section.mid) {
            return Err(bad("two sections have one mid"));
        }
        sections.push(section);
    }
    // All accepted sections share one transport: that of the first one.
    let accepted = sections.iter().position(|section| section.kind.is_some()).ok_or(bad("nothing that we serve"))?;
    let media = sdp.media_descriptions.get(accepted).ok_or(bad("nothing that we serve"))?;
    let find = |key| values(&media.attributes, key).next().or_else(|| values(&sdp.attributes, key).next());
    let ufrag = find("ice-ufrag").filter(|text| is_ice(text, 4)).ok_or(bad("no ice-ufrag"))?;
    let pwd = find("ice-pwd").filter(|text| is_ice(text, 22)).ok_or(bad("no ice-pwd"))?;
    let fingerprint = values(&media.attributes, "fingerprint")
        .chain(values(&sdp.attributes, "fingerprint"))
        .find_map(read_fingerprint)
        .ok_or(bad("no SHA-256 fingerprint"))?;
    if !matches!(find("setup"), Some("actpass" | "active")) {
        return Err(bad("the offer must leave us the DTLS server's role"));
    }
    Ok(Offer { ufrag: ufrag.to_owned(), pwd: pwd.to_owned(), fingerprint, sections })
}

/// The values of all attributes with this key.
fn values<'a>(attributes: &'a [Attribute], key: &'a str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |a| a.key == key).filter_map(|a| a.value.as_deref()).map(str::trim)
}

fn has(attributes: &[Attribute], key: &str) -> bool {
    attributes.iter().any(|a| a.key == key)
}

/// RFC 8839 section 5.4: ice-char, within limits.
fn is_ice(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

fn read_fingerprint(value: &str) -> Option<[u8; 32]> {
    let (algorithm, hex) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut pairs = hex.trim().split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(pairs.next().filter(|pair| pair.len() == 2)?, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

fn read_section(media: &MediaDescription, bundle: &[&str]) -> Result<Section, Refusal> {
    let attributes = &media.attributes;
    let mid = values(attributes, "mid").next().ok_or(bad("a section without mid"))?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
    if mid.is_empty() || mid.len() > MID_BYTES || !mid.bytes().all(is_token) {
        return Err(bad("a mid that cannot be used"));
    }
    let line = Line {
        media: media.media_name.media.clone(),
        protocol: media.media_name.protos.join("/"),
        formats: media.media_name.formats.join(" "),
    };
    let (sends, receives) = if has(attributes, "inactive") {
        (false, false)
    } else if has(attributes, "sendonly") {
        (true, false)
    } else if has(attributes, "recvonly") {
        (false, true)
    } else {
        (true, true)
    };
    let kind = match line.media.as_str() {
        "audio" => Some(Kind::Audio),
        "video" => Some(Kind::Video),
        _ => None,
    };
    let formats = kind.map_or_else(Vec::new, |kind| read_formats(media, kind));
    let is_open = media.media_name.port.value != 0 || has(attributes, "bundle-only");
    let is_served = is_open
        && bundle.contains(&mid)
        && has(attributes, "rtcp-mux")
        && line.protocol == "UDP/TLS/RTP/SAVPF"
        && !formats.is_empty();
    Ok(Section {
        mid: mid.into(),
        line,
        kind: kind.filter(|_| is_served),
        sends: sends && is_served,
        receives: receives && is_served,
        formats: if is_served { formats } else { Vec::new() },
        ids: read_ids(attributes),
        has_reduced_size: has(attributes, "rtcp-rsize"),
        sources: read_sources(attributes),
    })
}

/// `a=extmap:6/recvonly uri`: the id may carry a direction. Only ids of the one-byte form can be answered.
fn read_ids(attributes: &[Attribute]) -> Ids {
    let mut ids = Ids::default();
    for value in values(attributes, "extmap") {
        let Some((id, uri)) = value.split_once(' ') else { continue };
        let id = id.split('/').next().and_then(|id| id.parse().ok()).filter(|id| (1..=14u8).contains(id));
        match uri.split_whitespace().next() {
            Some("urn:ietf:params:rtp-hdrext:sdes:mid") => ids.mid = id,
            Some("urn:ietf:params:rtp-hdrext:ssrc-audio-level") => ids.audio_level = id,
            Some("http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01") => ids.transport_cc = id,
            // The stream ids of simulcast are not answered as long as one Layer is received.
            _ => {}
        }
    }
    ids
}

/// The first FID pair, else the first SSRC.
fn read_sources(attributes: &[Attribute]) -> Option<(u32, Option<u32>)> {
    for group in values(attributes, "ssrc-group") {
        let mut words = group.split_whitespace();
        if words.next() == Some("FID")
            && let (Some(Ok(main)), Some(Ok(rtx))) = (words.next().map(str::parse), words.next().map(str::parse))
        {
            return Some((main, Some(rtx)));
        }
    }
    let first = values(attributes, "ssrc").find_map(|value| value.split_whitespace().next()?.parse().ok())?;
    Some((first, None))
}

/// The formats that we serve, best first: VP8, then H.264 in the offer's order.
fn read_formats(media: &MediaDescription, kind: Kind) -> Vec<Format> {
    let attributes = &media.attributes;
    let listed: Vec<u8> =
        media.media_name.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt| *pt < 128).collect();
    let by_type = |key: &'static str, payload_type: u8| {
        values(attributes, key).filter_map(move |value| {
            let (number, rest) = value.split_once(' ')?;
            (number.parse() == Ok(payload_type)).then_some(rest.trim())
        })
    };
    let mut found = Vec::new();
    let mut retransmissions = Vec::new();
    for &payload_type in &listed {
        let Some(map) = by_type("rtpmap", payload_type).next() else { continue };
        let parameters = by_type("fmtp", payload_type).next();
        let parameter = |name: &str| {
            parameters?.split(';').find_map(|pair| {
                let (key, value) = pair.trim().split_once('=')?;
                key.eq_ignore_ascii_case(name).then_some(value.trim())
            })
        };
        let codec = match (kind, map.to_ascii_lowercase().as_str()) {
            (Kind::Audio, "opus/48000/2") => Codec::Opus,
            (Kind::Video, "vp8/90000") => Codec::Vp8,
            (Kind::Video, "h264/90000") if parameter("packetization-mode") == Some("1") => Codec::H264,
            (Kind::Video, "rtx/90000") => {
                if let Some(Ok(of)) = parameter("apt").map(str::parse::<u8>) {
                    retransmissions.push((of, payload_type));
                }
                continue;
            }
            _ => continue,
        };
        let mut feedback = FormatFeedback::default();
        let everybody = values(attributes, "rtcp-fb").filter_map(|value| value.strip_prefix("* "));
        for line in by_type("rtcp-fb", payload_type).chain(everybody) {
            match line {
                "nack" => feedback.nack = true,
                "nack pli" => feedback.picture_loss = true,
                "ccm fir" => feedback.full_intra = true,
                "transport-cc" => feedback.transport_cc = true,
                "goog-remb" => feedback.remb = true,
                _ => {}
            }
        }
        let profile = match codec {
            Codec::H264 => parameter("profile-level-id").and_then(|id| u16::from_str_radix(id.get(..4)?, 16).ok()),
            Codec::Opus | Codec::Vp8 => None,
        };
        let is_plain = |text: &&str| text.len() <= PARAMETER_BYTES && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        let parameters = parameters.filter(is_plain).map(str::to_owned);
        found.push(Format { codec, payload_type, rtx: None, profile, parameters, feedback });
    }
    for format in &mut found {
        format.rtx = retransmissions.iter().find(|(of, _)| *of == format.payload_type).map(|(_, rtx)| *rtx);
    }
    let mut best: Vec<Format> = Vec::new();
    for codec in [Codec::Opus, Codec::Vp8] {
        best.extend(found.iter().find(|format| format.codec == codec).cloned());
    }
    best.extend(found.into_iter().filter(|format| format.codec == Codec::H264).take(H264_VARIANTS));
    best
}
