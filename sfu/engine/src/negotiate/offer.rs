//! Reads an offer: rtc-sdp parses the text, this takes what we serve and refuses what cannot be used.

use std::io::Cursor;
use std::sync::Arc;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;
use wire::control::{Codec, Kind, MAX_SDP_BYTES, Reason, Refusal};

use super::answer::DEPENDENCY_URI;
use super::{Format, FormatFeedback, Line, Offer, RedFormat, Section, Sources};
use crate::rtp::extension::Ids;

/// Most m-lines of one offer: a visit of 16 people with camera and screen fits.
const SECTIONS: usize = 64;
/// Most lines, and the longest one. A six-party offer of Chromium has about 900 lines, one m-line of a Chime client about 180.
const LINES: usize = 16_384;
const LINE_BYTES: usize = 4096;
/// Longest mid: browsers count from 0.
const MID_BYTES: usize = 16;
/// H.264 variants answered: browsers list one for each profile.
const H264_VARIANTS: usize = 6;
/// Most simulcast Layers of an m-line: browsers send three.
const LAYERS: usize = 4;
/// Longest name of a Layer: what the one-byte form of the header extension holds.
const RID_BYTES: usize = 16;
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
    let mixes_extensions = has(&sdp.attributes, "extmap-allow-mixed");
    Ok(Offer { ufrag: ufrag.to_owned(), pwd: pwd.to_owned(), fingerprint, mixes_extensions, sections })
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
    let ids = read_ids(attributes);
    let sources =
        if kind == Some(Kind::Video) { read_sources(attributes, ids.rid.is_some()) } else { read_voice(attributes) };
    Ok(Section {
        mid: mid.into(),
        line,
        kind: kind.filter(|_| is_served),
        sends: sends && is_served,
        receives: receives && is_served,
        formats: if is_served { formats } else { Vec::new() },
        ids,
        has_reduced_size: has(attributes, "rtcp-rsize"),
        mixes_extensions: has(attributes, "extmap-allow-mixed"),
        sources,
    })
}

/// `a=extmap:6/recvonly uri`: the id may carry a direction. Only ids of the one-byte form can be answered.
fn read_ids(attributes: &[Attribute]) -> Ids {
    let mut ids = Ids::default();
    for value in values(attributes, "extmap") {
        let Some((id, uri)) = value.split_once(' ') else { continue };
        let (id, direction) = id.split_once('/').map_or((id, ""), |(id, direction)| (id, direction));
        let id = id.parse().ok().filter(|id| (1..=14u8).contains(id));
        // What the browser only receives we have no use for, except what is answered both ways below.
        if direction == "inactive" {
            continue;
        }
        match uri.split_whitespace().next() {
            Some("urn:ietf:params:rtp-hdrext:sdes:mid") => ids.mid = id,
            Some("urn:ietf:params:rtp-hdrext:ssrc-audio-level") => ids.audio_level = id,
            Some("http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01") => ids.transport_cc = id,
            Some("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id") => ids.rid = id,
            Some("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id") => ids.repaired_rid = id,
            Some(DEPENDENCY_URI) => ids.dependency = id,
            _ => continue,
        }
        if let Some(id) = id.filter(|_| direction == "sendonly") {
            ids.one_way |= 1 << id;
        }
    }
    ids
}

/// The streams of a picture. `can_tell` says that packets can carry the name of their Layer.
fn read_sources(attributes: &[Attribute], can_tell: bool) -> Sources {
    let (rids, paused) = read_rids(attributes);
    let group = |name: &'static str| {
        values(attributes, "ssrc-group").filter_map(move |group| {
            let mut words = group.split_whitespace();
            (words.next() == Some(name))
                .then(|| words.filter_map(|word| word.parse::<u32>().ok()).take(LAYERS).collect::<Vec<_>>())
        })
    };
    let repairs: Vec<(u32, u32)> =
        group("FID").filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).take(LAYERS).collect();
    if !rids.is_empty() {
        // What packets say themselves is surer than an order of lines.
        let named = if can_tell { Vec::new() } else { repairs.iter().map(|(main, rtx)| (*main, Some(*rtx))).collect() };
        return Sources { rids, paused, named };
    }
    let with_repair = |main: u32| (main, repairs.iter().find(|(of, _)| *of == main).map(|(_, rtx)| *rtx));
    let mains = group("SIM").next().filter(|mains| mains.len() > 1);
    let mains = mains.or_else(|| repairs.first().map(|(main, _)| vec![*main]));
    let named = match mains {
        Some(mains) => mains.into_iter().map(with_repair).collect(),
        None => return read_voice(attributes),
    };
    Sources { named, ..Sources::default() }
}

/// One stream: the first SSRC, if there is one.
fn read_voice(attributes: &[Attribute]) -> Sources {
    let first = values(attributes, "ssrc").find_map(|value| value.split_whitespace().next()?.parse().ok());
    Sources { named: first.map(|main| (main, None)).into_iter().collect(), ..Sources::default() }
}

/// The Layers of `a=simulcast:send q;h;f` that have an `a=rid` of their own (RFC 8853); empty without simulcast. Of
/// alternatives the first one counts, and a paused one (`~`) is negotiated like the others.
fn read_rids(attributes: &[Attribute]) -> (Vec<Arc<str>>, Vec<bool>) {
    let is_name = |rid: &&str| {
        (1..=RID_BYTES).contains(&rid.len())
            && rid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let sent: Vec<&str> = values(attributes, "rid")
        .filter_map(|value| {
            let mut words = value.split_whitespace();
            let rid = words.next()?;
            (words.next() == Some("send")).then_some(rid)
        })
        .filter(is_name)
        .take(LAYERS)
        .collect();
    let mut rids: Vec<Arc<str>> = Vec::new();
    let mut paused = Vec::new();
    for value in values(attributes, "simulcast") {
        let mut words = value.split_whitespace();
        while let (Some(direction), Some(list)) = (words.next(), words.next()) {
            if direction != "send" {
                continue;
            }
            for layer in list.split(';').filter_map(|layer| layer.split(',').next()) {
                let rid = layer.strip_prefix('~').unwrap_or(layer);
                if sent.contains(&rid) && rids.len() < LAYERS && !rids.iter().any(|known| **known == *rid) {
                    rids.push(rid.into());
                    paused.push(layer.starts_with('~'));
                }
            }
        }
    }
    if rids.len() > 1 { (rids, paused) } else { (Vec::new(), Vec::new()) }
}

/// A line about one payload type: its number and the rest.
fn numbered(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.split_once(' ')?;
    Some((number.parse().ok()?, rest.trim()))
}

/// The first line about this payload type.
fn find<'a>(lines: &[(u8, &'a str)], payload_type: u8) -> Option<&'a str> {
    lines.iter().find(|(number, _)| *number == payload_type).map(|(_, rest)| *rest)
}

/// The formats that we serve, best first: VP8, which everybody has, then H.264 in the offer's order, then VP9. An offer that
/// begins with VP9 was made so on purpose, for no browser does by itself: then it comes first. AV1 is forwarded like the
/// others, but not answered as long as it cannot be recorded.
fn read_formats(media: &MediaDescription, kind: Kind) -> Vec<Format> {
    let attributes = &media.attributes;
    let listed: Vec<u8> =
        media.media_name.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt| *pt < 128).collect();
    // Read once for all: browsers list 35 payload types and five lines for each.
    let [maps, parameter_lines, feedback_lines] =
        ["rtpmap", "fmtp", "rtcp-fb"].map(|key| values(attributes, key).filter_map(numbered).collect::<Vec<_>>());
    let everybody: Vec<&str> = values(attributes, "rtcp-fb").filter_map(|value| value.strip_prefix("* ")).collect();
    let mut found = Vec::new();
    let mut retransmissions = Vec::new();
    let mut redundant = Vec::new();
    for &payload_type in &listed {
        let Some(map) = find(&maps, payload_type) else { continue };
        let parameters = find(&parameter_lines, payload_type);
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
            // Profile 0 is 8 bits of 4:2:0, which every browser decodes.
            (Kind::Video, "vp9/90000") if matches!(parameter("profile-id"), None | Some("0")) => Codec::Vp9,
            (Kind::Video, "rtx/90000") => {
                if let Some(Ok(of)) = parameter("apt").map(str::parse::<u8>) {
                    retransmissions.push((of, payload_type));
                }
                continue;
            }
            // `111/111`: the codec of each block. Only one codec in all of them is served.
            (Kind::Audio, "red/48000/2") => {
                let mut of = parameters.into_iter().flat_map(|list| list.split('/')).map(str::parse::<u8>);
                if let Some(Ok(first)) = of.next()
                    && of.all(|other| other == Ok(first))
                {
                    redundant.push((first, payload_type));
                }
                continue;
            }
            _ => continue,
        };
        let mut feedback = FormatFeedback::default();
        let own = feedback_lines.iter().filter(|(number, _)| *number == payload_type).map(|(_, rest)| *rest);
        for line in own.chain(everybody.iter().copied()) {
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
            Codec::Opus | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => None,
        };
        let is_plain = |text: &&str| text.len() <= PARAMETER_BYTES && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        let parameters = parameters.filter(is_plain).map(str::to_owned);
        found.push(Format { codec, payload_type, rtx: None, red: None, profile, parameters, feedback });
    }
    for format in &mut found {
        format.rtx = retransmissions.iter().find(|(of, _)| *of == format.payload_type).map(|(_, rtx)| *rtx);
        let place = |payload_type: u8| listed.iter().position(|listed| *listed == payload_type);
        let red = redundant.iter().find(|(of, red)| *of == format.payload_type && red != of);
        format.red =
            red.map(|(_, red)| RedFormat { payload_type: *red, is_first: place(*red) < place(format.payload_type) });
    }
    let chosen = found.first().map(|format| format.codec).filter(|codec| matches!(codec, Codec::Vp9 | Codec::Av1));
    let mut best: Vec<Format> = Vec::new();
    for codec in chosen.into_iter().chain([Codec::Opus, Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1]) {
        let most = if codec == Codec::H264 { H264_VARIANTS } else { 1 };
        if !best.iter().any(|format| format.codec == codec) {
            best.extend(found.iter().filter(|format| format.codec == codec).take(most).cloned());
        }
    }
    best
}
