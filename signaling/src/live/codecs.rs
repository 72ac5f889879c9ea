//! Which video codecs a client decodes, as its offer says: others send what everybody here can see.

use wire::control::MAX_SDP_BYTES;

/// A set of the codecs that the media node passes on, H.264 by its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codecs(u8);

impl Codecs {
    pub(crate) const VP8: Self = Self(1);
    pub(crate) const VP9: Self = Self(1 << 1);
    pub(crate) const H264_BASELINE: Self = Self(1 << 2);
    pub(crate) const H264_CONSTRAINED_BASELINE: Self = Self(1 << 3);
    pub(crate) const H264_MAIN: Self = Self(1 << 4);
    pub(crate) const H264_HIGH: Self = Self(1 << 5);
    pub(crate) const H264_CONSTRAINED_HIGH: Self = Self(1 << 6);

    /// What both have.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when all of the other's are in this.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What the sender of this offer decodes: what its video lines list, but for those on which it only sends. `None` when no line
    /// says anything.
    pub(crate) fn of_offer(sdp: &str) -> Option<Self> {
        if sdp.len() > MAX_SDP_BYTES {
            return None;
        }
        let mut all = Self(0);
        let mut section = Section::default();
        for line in sdp.lines().map(str::trim_end) {
            if let Some(media) = line.strip_prefix("m=") {
                all = all.or(std::mem::take(&mut section).codecs());
                section.is_video = media.starts_with("video ");
            } else if section.is_video {
                section.read(line);
            }
        }
        all = all.or(section.codecs());
        (all != Self(0)).then_some(all)
    }
}

/// The most formats of one line that are looked at: browsers list about forty.
const MAX_FORMATS: usize = 128;

/// What one m-line lists.
#[derive(Debug, Default)]
struct Section<'a> {
    is_video: bool,
    only_sends: bool,
    names: Vec<(&'a str, &'a str)>,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    fn read(&mut self, line: &'a str) {
        if line == "a=sendonly" {
            self.only_sends = true;
        } else if let Some(pair) = line.strip_prefix("a=rtpmap:").and_then(|rest| rest.split_once(' ')) {
            if self.names.len() < MAX_FORMATS {
                self.names.push(pair);
            }
        } else if let Some(pair) = line.strip_prefix("a=fmtp:").and_then(|rest| rest.split_once(' '))
            && self.parameters.len() < MAX_FORMATS
        {
            self.parameters.push(pair);
        }
    }

    fn codecs(&self) -> Codecs {
        let mut found = Codecs(0);
        if self.only_sends {
            return found;
        }
        for (number, name) in &self.names {
            let text = self.parameters.iter().find(|(of, _)| of == number).map_or("", |(_, text)| text);
            let parameter = |wanted: &str| {
                text.split(';')
                    .filter_map(|pair| pair.trim().split_once('='))
                    .find_map(|(key, value)| key.eq_ignore_ascii_case(wanted).then_some(value.trim()))
            };
            let codec = match name.to_ascii_lowercase().as_str() {
                "vp8/90000" => Some(Codecs::VP8),
                "vp9/90000" if matches!(parameter("profile-id"), None | Some("0")) => Some(Codecs::VP9),
                "h264/90000" if parameter("packetization-mode") == Some("1") => {
                    profile(parameter("profile-level-id").unwrap_or("420010"))
                }
                _ => None,
            };
            if let Some(codec) = codec {
                found = found.or(codec);
            }
        }
        found
    }
}

/// The profile of H.264 by its first two bytes (RFC 6184 section 8.1): what it is, and by which constraints.
fn profile(level_id: &str) -> Option<Codecs> {
    let number = u16::from_str_radix(level_id.get(..4)?, 16).ok()?;
    let (profile, constraints) = (number >> 8, number & 0xff);
    match profile {
        0x42 if constraints & 0x40 != 0 => Some(Codecs::H264_CONSTRAINED_BASELINE),
        0x42 => Some(Codecs::H264_BASELINE),
        0x4d => Some(Codecs::H264_MAIN),
        0x64 if constraints & 0x0c == 0x0c => Some(Codecs::H264_CONSTRAINED_HIGH),
        0x64 => Some(Codecs::H264_HIGH),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(direction: &str, formats: &str) -> String {
        format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na={direction}\r\n{formats}")
    }

    #[test]
    fn what_a_line_receives_counts_and_what_it_only_sends_does_not() {
        let vp8 = "a=rtpmap:96 VP8/90000\r\n";
        let vp9 = "a=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0;x-google-start-bitrate=1000\r\n";
        let rich = "a=rtpmap:99 VP9/90000\r\na=fmtp:99 profile-id=2\r\n";
        assert_eq!(Codecs::of_offer(&line("recvonly", vp8)), Some(Codecs::VP8));
        assert_eq!(
            Codecs::of_offer(&line("inactive", vp9)),
            Some(Codecs::VP9),
            "a camera that is off, of a client that is new"
        );
        assert_eq!(Codecs::of_offer(&line("recvonly", rich)), None, "ten bits are another thing");
        assert_eq!(Codecs::of_offer(&line("sendonly", vp8)), None);
        let both = format!("{}{}", line("sendonly", vp8), line("recvonly", vp9));
        assert_eq!(Codecs::of_offer(&both), Some(Codecs::VP9));
        assert_eq!(Codecs::of_offer("m=audio 9 X 96\r\na=rtpmap:96 VP8/90000\r\n"), None);
    }

    #[test]
    fn profiles_are_told_apart() {
        for (id, codec) in [
            ("42e01f", Some(Codecs::H264_CONSTRAINED_BASELINE)),
            ("42c01f", Some(Codecs::H264_CONSTRAINED_BASELINE)),
            ("42001f", Some(Codecs::H264_BASELINE)),
            ("4d001f", Some(Codecs::H264_MAIN)),
            ("64001f", Some(Codecs::H264_HIGH)),
            ("640c1f", Some(Codecs::H264_CONSTRAINED_HIGH)),
            ("f4001f", None),
            ("zz", None),
        ] {
            let formats = format!("a=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;profile-level-id={id}\r\n");
            assert_eq!(Codecs::of_offer(&line("sendrecv", &formats)), codec, "{id}");
            assert_eq!(Codecs::of_offer(&line("sendrecv", &formats.replace("mode=1", "mode=0"))), None, "{id}");
        }
    }

    #[test]
    fn a_recorded_offer_is_read() {
        let sdp = include_str!("../../../sfu/engine/tests/chime/offer.sdp");
        let found = Codecs::of_offer(sdp).unwrap();
        assert!(found.has(Codecs::VP8) && found.has(Codecs::VP9) && found.has(Codecs::H264_CONSTRAINED_BASELINE));
        assert_eq!(found.and(Codecs::VP8), Codecs::VP8);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(m=video |a=rtpmap:9|a=fmtp:9|H264/90000|profile-level-id=|é| |\r\n|[a-z0-9;=/]){0,60}") {
            let _ = Codecs::of_offer(&text);
        }
    }
}
