//! The client's offer, worded as Chromium words it, and what it needs from the answer.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{ClientConfig, ClientError, Redundancy};

/// Payload types of every offer; the RTX one is the next number.
pub(super) const OPUS: u8 = 111;
pub(super) const VP8: u8 = 96;
/// Of redundant sound, where it is offered.
pub(super) const RED: u8 = 63;
const H264: u8 = 102;

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The two kinds of section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// Opus.
    Audio,
    /// VP8, and H.264 as an alternative that is never sent.
    Video,
}

/// Header extension ids that a section may use.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    pub(super) mid: Option<u8>,
    pub(super) audio_level: Option<u8>,
    pub(super) transport_cc: Option<u8>,
}

impl Extensions {
    fn note(&mut self, line: &str) {
        let Some((id, uri)) = line.split_once(' ') else { return };
        let id = id.split('/').next().and_then(|id| id.parse().ok()).filter(|id| (1..15).contains(id));
        match uri.split(' ').next() {
            Some(MID) => self.mid = id,
            Some(AUDIO_LEVEL) => self.audio_level = id,
            Some(TRANSPORT_CC) => self.transport_cc = id,
            _ => {}
        }
    }
}

/// Our ICE credentials and certificate.
pub(super) struct Credentials {
    pub(super) ufrag: String,
    pub(super) pwd: String,
    pub(super) fingerprint: String,
}

/// One section of the offer.
pub(super) struct Section {
    pub(super) mid: Arc<str>,
    pub(super) kind: SectionKind,
    /// What we send, with its RTX SSRC; `None` in a slot that only receives.
    ssrcs: Option<(u32, Option<u32>)>,
    /// From the answer.
    pub(super) extensions: Extensions,
    /// Not answered with port 0.
    pub(super) accepted: bool,
}

impl Section {
    pub(super) fn new(mid: Arc<str>, kind: SectionKind, ssrcs: Option<(u32, Option<u32>)>) -> Self {
        Self { mid, kind, ssrcs, extensions: Extensions::default(), accepted: false }
    }
}

/// Writes the whole offer.
pub(super) fn write_offer(session: u64, ours: &Credentials, sections: &[Section], config: &ClientConfig) -> String {
    let mut text = String::with_capacity(1_500 * sections.len());
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, session, ours, sections, config);
    text
}

fn write_all(
    text: &mut String,
    session: u64,
    ours: &Credentials,
    sections: &[Section],
    config: &ClientConfig,
) -> std::fmt::Result {
    let setup = if config.active { "active" } else { "actpass" };
    write!(text, "v=0\r\no=- {session} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE")?;
    for section in sections {
        write!(text, " {}", section.mid)?;
    }
    write!(text, "\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\n")?;
    for section in sections {
        match section.kind {
            SectionKind::Audio => {
                let formats = match config.red {
                    Redundancy::Unknown => format!("{OPUS}"),
                    Redundancy::Reads => format!("{OPUS} {RED}"),
                    Redundancy::Sends => format!("{RED} {OPUS}"),
                };
                write!(text, "m=audio 9 UDP/TLS/RTP/SAVPF {formats}\r\n")?;
            }
            SectionKind::Video => {
                let (vp8_rtx, h264_rtx) = (VP8 + 1, H264 + 1);
                write!(text, "m=video 9 UDP/TLS/RTP/SAVPF {VP8} {vp8_rtx} {H264} {h264_rtx}\r\n")?;
            }
        }
        write!(text, "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n")?;
        write!(text, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n", ours.ufrag, ours.pwd)?;
        write!(text, "a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\na=mid:{}\r\n", ours.fingerprint, section.mid)?;
        if section.kind == SectionKind::Audio {
            write!(text, "a=extmap:1 {AUDIO_LEVEL}\r\n")?;
        }
        write!(text, "a=extmap:3 {TRANSPORT_CC}\r\na=extmap:4 {MID}\r\n")?;
        let track = format!("track{}", section.mid);
        match section.ssrcs {
            Some(_) => write!(text, "a=sendrecv\r\na=msid:stream {track}\r\n")?,
            None => write!(text, "a=recvonly\r\n")?,
        }
        write!(text, "a=rtcp-mux\r\na=rtcp-rsize\r\n")?;
        match section.kind {
            SectionKind::Audio => {
                write!(text, "a=rtpmap:{OPUS} opus/48000/2\r\na=rtcp-fb:{OPUS} transport-cc\r\n")?;
                write!(text, "a=fmtp:{OPUS} minptime=10;useinbandfec=1\r\n")?;
                if config.red != Redundancy::Unknown {
                    write!(text, "a=rtpmap:{RED} red/48000/2\r\na=fmtp:{RED} {OPUS}/{OPUS}\r\n")?;
                }
            }
            SectionKind::Video => {
                for (codec, name) in [(VP8, "VP8"), (H264, "H264")] {
                    write!(text, "a=rtpmap:{codec} {name}/90000\r\n")?;
                    for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
                        write!(text, "a=rtcp-fb:{codec} {feedback}\r\n")?;
                    }
                    if codec == H264 {
                        write!(text, "a=fmtp:{H264} level-asymmetry-allowed=1;packetization-mode=1;")?;
                        write!(text, "profile-level-id=42001f\r\n")?;
                    }
                    let rtx = codec + 1;
                    write!(text, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={codec}\r\n")?;
                }
            }
        }
        let Some((ssrc, rtx)) = section.ssrcs else { continue };
        if let Some(rtx) = rtx {
            write!(text, "a=ssrc-group:FID {ssrc} {rtx}\r\n")?;
        }
        for ssrc in [Some(ssrc), rtx].into_iter().flatten() {
            write!(text, "a=ssrc:{ssrc} cname:client\r\na=ssrc:{ssrc} msid:stream {track}\r\n")?;
        }
    }
    Ok(())
}

/// Answers an offer: all of it, to receive only, as the DTLS client.
pub(super) fn write_answer(offer: &str, ours: &Credentials) -> String {
    let mut text = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    let mut in_section = false;
    for line in offer.lines() {
        if line.starts_with("m=") {
            in_section = true;
            // Writing to a String cannot fail.
            let _ = write!(text, "{line}\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=recvonly\r\na=setup:active\r\n");
            let _ = write!(text, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ours.ufrag, ours.pwd);
            let _ = write!(text, "a=fingerprint:sha-256 {}\r\n", ours.fingerprint);
            continue;
        }
        let copied: &[&str] =
            if in_section { &["a=mid:", "a=rtpmap:", "a=fmtp:", "a=rtcp-fb:", "a=extmap:"] } else { &["a=group:"] };
        if copied.iter().any(|start| line.starts_with(start)) {
            let _ = write!(text, "{line}\r\n");
        }
    }
    text
}

/// What an answer says.
pub(super) struct Answer {
    pub(super) candidate: SocketAddr,
    pub(super) ufrag: String,
    pub(super) pwd: String,
    pub(super) fingerprint: [u8; 32],
    /// The bare forwarder of the benches: no ICE, no DTLS, keys that everybody knows.
    pub(super) fixed_keys: bool,
    pub(super) sections: Vec<Answered>,
}

/// One section of the answer.
pub(super) struct Answered {
    pub(super) kind: SectionKind,
    pub(super) mid: String,
    pub(super) accepted: bool,
    /// The stream that the server sends in this section.
    pub(super) ssrc: Option<u32>,
    pub(super) rtx: Option<u32>,
    pub(super) extensions: Extensions,
}

impl Answer {
    /// Reads an answer of a lite server.
    pub(super) fn read(text: &str) -> Result<Self, ClientError> {
        let (mut candidate, mut ufrag, mut pwd, mut fingerprint) = (None, None, None, None);
        let mut sections: Vec<Answered> = Vec::new();
        let mut fixed_keys = false;
        for line in text.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                let accepted = media.split(' ').nth(1).is_some_and(|port| port != "0");
                let kind = if media.starts_with("audio") { SectionKind::Audio } else { SectionKind::Video };
                let (mid, extensions) = (String::new(), Extensions::default());
                sections.push(Answered { kind, mid, accepted, ssrc: None, rtx: None, extensions });
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name {
                "x-fixed-keys" => fixed_keys = true,
                "ice-ufrag" => ufrag = ufrag.or(Some(value)),
                "ice-pwd" => pwd = pwd.or(Some(value)),
                "fingerprint" => fingerprint = fingerprint.or_else(|| read_fingerprint(value)),
                "candidate" => candidate = candidate.or_else(|| read_candidate(value)),
                _ => {}
            }
            let Some(section) = sections.last_mut() else { continue };
            match name {
                "mid" => value.clone_into(&mut section.mid),
                "extmap" => section.extensions.note(value),
                "ssrc-group" if value.starts_with("FID ") => {
                    let mut ssrcs = value.split(' ').skip(1).map(|ssrc| ssrc.parse().ok());
                    section.ssrc = ssrcs.next().flatten();
                    section.rtx = ssrcs.next().flatten();
                }
                "ssrc" if section.ssrc.is_none() => {
                    section.ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
                }
                _ => {}
            }
        }
        Ok(Self {
            candidate: candidate.ok_or(ClientError::Answer("no UDP host candidate"))?,
            ufrag: ufrag.ok_or(ClientError::Answer("no ice-ufrag"))?.to_owned(),
            pwd: pwd.ok_or(ClientError::Answer("no ice-pwd"))?.to_owned(),
            fingerprint: fingerprint.ok_or(ClientError::Answer("no SHA-256 fingerprint"))?,
            fixed_keys,
            sections,
        })
    }
}

fn read_candidate(value: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = value.split(' ').collect();
    let &[_, "1", transport, _, address, port, "typ", "host", ..] = words.as_slice() else { return None };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
}

fn read_fingerprint(value: &str) -> Option<[u8; 32]> {
    let (name, digest) = value.split_once(' ')?;
    if !name.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let bytes: Option<Vec<u8>> = digest.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_a_poor_one_is_refused() {
        let digest = vec!["AB"; 32].join(":");
        let text = format!(
            "v=0\r\na=ice-lite\r\na=fingerprint:sha-256 {digest}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
             a=ice-ufrag:uuuu\r\na=ice-pwd:pppp\r\na=candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host\r\n\
             a=extmap:4 {MID}\r\na=ssrc:5 cname:x\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\n\
             a=extmap:3/sendrecv {TRANSPORT_CC}\r\na=ssrc-group:FID 6 7\r\na=ssrc:6 cname:x\r\na=ssrc:7 cname:x\r\n\
             m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n"
        );
        let answer = Answer::read(&text).unwrap();
        assert_eq!(answer.candidate, SocketAddr::from(([192, 0, 2, 1], 7000)));
        assert_eq!((answer.ufrag.as_str(), answer.pwd.as_str()), ("uuuu", "pppp"));
        assert_eq!(answer.fingerprint, [0xab; 32]);
        let [audio, video, refused] = &answer.sections[..] else { panic!("three sections") };
        assert_eq!((audio.ssrc, audio.rtx, audio.extensions.mid), (Some(5), None, Some(4)));
        assert_eq!((video.ssrc, video.rtx, video.extensions.transport_cc), (Some(6), Some(7), Some(3)));
        assert!(video.accepted && !refused.accepted);
        assert!(Answer::read("v=0\r\n").is_err());
    }
}
