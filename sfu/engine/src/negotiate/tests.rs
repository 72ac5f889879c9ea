//! Offers as Chromium and Firefox write them, and what we answer.

use std::fmt::Write as _;

use proptest::prelude::*;
use wire::control::{Codec, MAX_SDP_BYTES, Reason};

use super::*;

const FINGERPRINT: &str =
    "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

/// As Chromium 150 writes it: everything at section level, all payload types from 96 up, RTX for each video codec.
pub(crate) fn chromium(direction: &str) -> String {
    let mut sdp =
        "v=0\r\no=- 4611732 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\n\
                   a=msid-semantic: WMS stream\r\n"
            .to_owned();
    let common = format!(
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:oCq/\r\na=ice-pwd:KTrpOMonaIMzxC1GocfxxpUq\r\n\
         a=ice-options:trickle\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n"
    );
    write!(
        sdp,
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n{common}a=mid:0\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={direction}\r\na=msid:stream voice\r\na=rtcp-mux\r\n\
         a=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n\
         a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\na=ssrc:1001 cname:abc\r\n"
    )
    .unwrap();
    write!(
        sdp,
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 102 103 104 105 106 107 45 46 108 109\r\n{common}a=mid:1\r\n\
         a=extmap:14 urn:ietf:params:rtp-hdrext:toffset\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na={direction}\r\na=msid:stream face\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\n"
    )
    .unwrap();
    for (payload_type, name, parameters) in [
        (98, "VP9", "profile-id=0"),
        (102, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
        (104, "H264", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f"),
        (106, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        (96, "VP8", ""),
        (45, "AV1", "level-idx=5;profile=0;tier=0"),
    ] {
        write!(sdp, "a=rtpmap:{payload_type} {name}/90000\r\n").unwrap();
        for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
            write!(sdp, "a=rtcp-fb:{payload_type} {feedback}\r\n").unwrap();
        }
        if !parameters.is_empty() {
            write!(sdp, "a=fmtp:{payload_type} {parameters}\r\n").unwrap();
        }
        let rtx = payload_type + 1;
        write!(sdp, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n").unwrap();
    }
    sdp.push_str("a=rtpmap:108 red/90000\r\na=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n");
    sdp.push_str("a=ssrc-group:FID 2001 2002\r\na=ssrc:2001 cname:abc\r\na=ssrc:2002 cname:abc\r\n");
    sdp
}

/// As Firefox writes it: fingerprint and options at session level, directions in extension ids, transport-cc on video only.
pub(crate) fn firefox() -> String {
    let ice = "a=ice-pwd:0123456789abcdef0123456789abcdef\r\na=ice-ufrag:01234567\r\n";
    format!(
        "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 5023 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
         a=fingerprint:sha-256 {FINGERPRINT}\r\na=group:BUNDLE 0 1 2\r\na=ice-options:trickle\r\na=msid-semantic:WMS *\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level\r\n\
         a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\n\
         a=fmtp:101 0-15\r\n{ice}a=mid:0\r\na=msid:{{s}} {{a}}\r\na=rtcp-mux\r\na=rtpmap:109 opus/48000/2\r\n\
         a=rtpmap:9 G722/8000/1\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=setup:actpass\r\na=ssrc:3001 cname:{{c}}\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 120 124 121 125 126 127 97 98\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n\
         a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:7 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1\r\n\
         a=fmtp:97 profile-level-id=42e01f;level-asymmetry-allowed=1\r\na=fmtp:120 max-fs=12288;max-fr=60\r\n\
         a=fmtp:124 apt=120\r\na=fmtp:121 max-fs=12288;max-fr=60\r\na=fmtp:125 apt=121\r\na=fmtp:127 apt=126\r\n\
         a=fmtp:98 apt=97\r\n{ice}a=mid:1\r\na=msid:{{s}} {{v}}\r\na=rtcp-fb:120 nack\r\na=rtcp-fb:120 nack pli\r\n\
         a=rtcp-fb:120 ccm fir\r\na=rtcp-fb:120 goog-remb\r\na=rtcp-fb:120 transport-cc\r\na=rtcp-fb:126 nack\r\n\
         a=rtcp-fb:126 nack pli\r\na=rtcp-fb:126 ccm fir\r\na=rtcp-fb:126 transport-cc\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:120 VP8/90000\r\na=rtpmap:124 rtx/90000\r\na=rtpmap:121 VP9/90000\r\na=rtpmap:125 rtx/90000\r\n\
         a=rtpmap:126 H264/90000\r\na=rtpmap:127 rtx/90000\r\na=rtpmap:97 H264/90000\r\na=rtpmap:98 rtx/90000\r\n\
         a=setup:actpass\r\na=ssrc:3002 cname:{{c}}\r\na=ssrc:3003 cname:{{c}}\r\na=ssrc-group:FID 3002 3003\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n{ice}a=mid:2\r\n\
         a=setup:actpass\r\na=sctp-port:5000\r\na=max-message-size:1073741823\r\n"
    )
}

fn answer_of(offer: &Offer) -> String {
    let sections = offer.sections.iter().enumerate().map(|(i, section)| SectionAnswer {
        section,
        receives: section.sends,
        sending: section.receives.then(|| Sending {
            stream: "pair-0".into(),
            track: format!("slot-{}", section.mid),
            ssrc: 7000 + u32::try_from(i).unwrap(),
            rtx_ssrc: 7100 + u32::try_from(i).unwrap(),
        }),
    });
    write(&Answer {
        session_id: 1,
        version: 2,
        ufrag: "ourufrag",
        pwd: "ourpasswordourpasswordour",
        fingerprint: "AA:BB",
        mixes_extensions: offer.mixes_extensions,
        manner: wire::control::Manner::Native,
        addresses: &["192.0.2.9:5000".parse().unwrap(), "[2001:db8::1]:5000".parse().unwrap()],
        tcp_addresses: &[],
        sections: sections.collect(),
    })
}

fn codecs(section: &Section) -> Vec<(Codec, u8, Option<u8>)> {
    section.formats.iter().map(|f| (f.codec, f.payload_type, f.rtx)).collect()
}

#[test]
fn chromium_is_understood() {
    let offer = read(&chromium("sendrecv")).unwrap();
    let [audio, video] = offer.sections.as_slice() else { unreachable!("two sections") };
    assert_eq!(codecs(audio), [(Codec::Opus, 111, None)]);
    assert_eq!(
        codecs(video),
        [
            (Codec::Vp8, 96, Some(97)),
            (Codec::H264, 102, Some(103)),
            (Codec::H264, 106, Some(107)),
            (Codec::Vp9, 98, Some(99))
        ],
        "packetization mode 0 is not served, and VP8 comes first wherever it stands"
    );
    assert_eq!((&audio.sources.named[..], &video.sources.named[..]), (&[(1001, None)][..], &[(2001, Some(2002))][..]));
    assert_eq!(audio.ids.audio_level, Some(1));
    assert_eq!((video.ids.mid, video.ids.transport_cc), (Some(4), Some(3)));
    assert_eq!(offer.ufrag, "oCq/");
    assert_eq!(offer.fingerprint[..3], [0, 0x11, 0x22]);
    let baseline = Coding { codec: Codec::H264, profile: Some(0x42e0) };
    assert_eq!(find_format(&video.formats, baseline).unwrap().payload_type, 106);
    let other = Coding { codec: Codec::H264, profile: Some(0x6400) };
    assert_eq!(find_format(&video.formats, other).unwrap().payload_type, 102);
    let payloads = PayloadTable::of(&offer.sections);
    assert_eq!(payloads.find(97), Some(Payload::Rtx(96)));
    assert_eq!((payloads.find(99), payloads.find(104)), (Some(Payload::Rtx(98)), None));
}

#[test]
fn firefox_is_understood_and_gets_no_transport_cc_where_it_offered_none() {
    let offer = read(&firefox()).unwrap();
    let [audio, video, data] = offer.sections.as_slice() else { unreachable!("three sections") };
    assert_eq!(codecs(audio), [(Codec::Opus, 109, None)]);
    assert_eq!(
        codecs(video),
        [(Codec::Vp8, 120, Some(124)), (Codec::H264, 126, Some(127)), (Codec::Vp9, 121, Some(125))]
    );
    assert_eq!(video.sources.named, [(3002, Some(3003))]);
    assert_eq!((data.kind, data.sends, data.receives), (None, false, false));
    let answer = answer_of(&offer);
    let parts: Vec<&str> = answer.split("m=").collect();
    assert!(!parts[1].contains("transport"), "audio");
    assert!(parts[2].contains("a=extmap:7 http://www.ietf.org/id/draft-holmer"), "video");
    assert!(!parts[1].contains("rtcp-rsize"));
    assert!(parts[1].contains("a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\n"));
    assert!(parts[3].starts_with("application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
}

#[test]
fn the_answer_says_exactly_what_is_served() {
    let answer = answer_of(&read(&chromium("sendrecv")).unwrap());
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "m=audio 5000 UDP/TLS/RTP/SAVPF 111 63",
        "a=rtpmap:63 red/48000/2",
        "a=fmtp:63 111/111",
        "m=video 5000 UDP/TLS/RTP/SAVPF 96 97 102 103 106 107 98 99",
        "a=extmap-allow-mixed",
        "c=IN IP4 192.0.2.9",
        "a=setup:passive",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=rtcp-fb:96 transport-cc",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=fmtp:97 apt=96",
        "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=msid:pair-0 slot-1",
        "a=ssrc-group:FID 7001 7101",
        "a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::1 5000 typ host",
        "a=end-of-candidates",
    ] {
        assert!(answer.lines().any(|l| l == line), "missing: {line}\n{answer}");
    }
    for word in ["ulpfec", "flexfec", "AV1", "abs-send-time", "stream-id", "packetization-mode=0", "actpass"] {
        assert!(!answer.contains(word), "too much: {word}");
    }
    assert!(answer.ends_with("\r\n") && answer.lines().all(|line| !line.is_empty()));
    // The family's parser agrees that it is SDP.
    let parsed = rtc_sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(&answer)).unwrap();
    assert_eq!(parsed.media_descriptions.len(), 2);
}

/// Offers that the two browsers wrote, kept as seeds of the fuzz target.
#[test]
fn captured_offers_are_answered() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sdp");
    for (browser, audio, video) in [
        ("chromium", (Codec::Opus, 111, None), (Codec::Vp8, 96, Some(97))),
        ("firefox", (Codec::Opus, 109, None), (Codec::Vp8, 120, Some(124))),
    ] {
        let offer = read(&std::fs::read_to_string(corpus.join(browser)).unwrap()).unwrap();
        assert_eq!(codecs(&offer.sections[0])[0], audio, "{browser}");
        assert_eq!(codecs(&offer.sections[1])[0], video, "{browser}");
        assert!(offer.sections.iter().all(|section| section.sends && section.receives));
        assert_eq!(answer_of(&offer).matches("a=sendrecv").count(), 2, "{browser}");
    }
}

#[test]
fn redundant_sound_is_answered_in_the_order_of_the_offer_and_only_of_one_codec() {
    let good = chromium("sendrecv");
    let red = |text: &str| read(text).unwrap().sections[0].formats[0].red;
    assert_eq!(red(&good), Some(RedFormat { payload_type: 63, is_first: false }));
    let preferred = good.replace("SAVPF 111 63", "SAVPF 63 111");
    assert_eq!(red(&preferred), Some(RedFormat { payload_type: 63, is_first: true }));
    assert!(answer_of(&read(&preferred).unwrap()).contains("m=audio 5000 UDP/TLS/RTP/SAVPF 63 111\r\n"));
    let offer = read(&preferred).unwrap();
    assert_eq!(offer.sections[0].formats.len(), 1, "it is no codec of its own");
    let payloads = PayloadTable::of(&offer.sections);
    assert_eq!(payloads.find(63), Some(Payload::Red(111)));
    for parameters in ["111/9", "9/9", "111/x", "63/63"] {
        assert_eq!(red(&good.replace("111/111", parameters)), None, "{parameters}");
    }
    assert_eq!(red(&good.replace("a=fmtp:63 111/111\r\n", "")), None);
    assert_eq!(read(&firefox()).unwrap().sections[0].formats[0].red, None);
}

#[test]
fn directions_are_mirrored() {
    for (offered, answered) in
        [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")]
    {
        let answer = answer_of(&read(&chromium(offered)).unwrap());
        assert_eq!(answer.matches(&format!("a={answered}\r\n")).count(), 2, "{offered}");
        assert_eq!(answer.contains("a=msid:"), answered.starts_with("send"), "{offered}");
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let good = chromium("sendrecv");
    let without = |line: &str| good.replace(line, "");
    let long_line = format!("{good}a=x:{}\r\n", "x".repeat(5000));
    let many: String = (0..70).map(|i| format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:x{i}\r\n")).collect();
    for (name, offer) in [
        ("empty", String::new()),
        ("not SDP", "hello".to_owned()),
        ("no BUNDLE", without("a=group:BUNDLE 0 1\r\n")),
        ("no mid", without("a=mid:1\r\n")),
        ("two of one mid", good.replace("a=mid:1", "a=mid:0")),
        ("a mid to break lines with", good.replace("a=mid:1", "a=mid:1 2")),
        ("no ufrag", without("a=ice-ufrag:oCq/\r\n")),
        ("short password", good.replace("KTrpOMonaIMzxC1GocfxxpUq", "short")),
        ("sha-1", good.replace("sha-256", "sha-1")),
        ("ragged fingerprint", good.replace("AA:BB", "AABB")),
        ("passive", good.replace("actpass", "passive")),
        ("no rtcp-mux", without("a=rtcp-mux\r\n")),
        (
            "no codec of ours",
            good.replace("opus", "speex")
                .replace("VP8", "VP7")
                .replace("H264", "H263")
                .replace("VP9", "VP7")
                .replace("AV1", "VP7"),
        ),
        ("too large", good.clone() + &"a=x\r\n".repeat(MAX_SDP_BYTES / 5)),
        ("a long line", long_line),
        ("too many sections", good.clone() + &many),
    ] {
        assert_eq!(read(&offer).unwrap_err().reason, Reason::BadOffer, "{name}");
    }
}

#[test]
fn a_stopped_section_stays_refused_and_a_bundled_one_is_served() {
    let good = chromium("sendrecv");
    let stopped = read(&good.replace("m=video 9", "m=video 0")).unwrap();
    assert_eq!(stopped.sections[1].kind, None);
    assert!(answer_of(&stopped).contains("m=video 0 UDP/TLS/RTP/SAVPF 96 97"));
    let bundled = read(&good.replace("m=video 9", "m=video 0").replace("a=mid:1", "a=bundle-only\r\na=mid:1")).unwrap();
    assert!(bundled.sections[1].kind.is_some());
}

/// The video section of an offer with simulcast, from `a=mid` on.
fn with_layers(lines: &str) -> Offer {
    let good = chromium("sendrecv");
    let sources = good.find("a=ssrc-group:FID 2001").unwrap();
    let text = format!("{}{lines}", &good[..sources]);
    let ids = "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\na=extmap:13 \
               https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\na=mid:1\r\n";
    read(&text.replace("a=mid:1\r\n", ids)).unwrap()
}

#[test]
fn layers_are_answered_in_the_order_of_the_offer() {
    let offer = with_layers("a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send ~q;~h;f\r\n");
    let sources = &offer.sections[1].sources;
    assert_eq!(sources.rids.iter().map(|rid| &**rid).collect::<Vec<_>>(), ["q", "h", "f"]);
    let answer = answer_of(&offer);
    for line in [
        "a=rid:q recv",
        "a=rid:h recv",
        "a=rid:f recv",
        "a=simulcast:recv ~q;~h;f",
        "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    ] {
        assert_eq!(answer.lines().filter(|l| *l == line).count(), 1, "{line}\n{answer}");
    }
    assert!(!answer.contains("dependency"), "VP8 has no use for it");
    assert!(rtc_sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(&answer)).is_ok());
}

#[test]
fn ids_offered_one_way_are_answered_the_other_way() {
    let text = "a=rid:q send\r\na=rid:f send\r\na=simulcast:send q;f\r\na=extmap:7/sendonly \
                urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n";
    let answer = answer_of(&with_layers(text));
    assert!(answer.contains("a=extmap:7/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"));
}

#[test]
fn layers_without_names_are_those_of_the_groups() {
    let groups = "a=ssrc-group:SIM 1 2 3\r\na=ssrc-group:FID 1 11\r\na=ssrc-group:FID 2 12\r\na=ssrc:1 cname:x\r\n";
    let named = with_layers(groups).sections[1].sources.named.clone();
    assert_eq!(named, [(1, Some(11)), (2, Some(12)), (3, None)]);
}

#[test]
fn broken_layers_are_no_layers() {
    for lines in [
        "a=simulcast:send q;h;f\r\n",
        "a=rid:q send\r\na=simulcast:send q\r\n",
        "a=rid:q recv\r\na=rid:h recv\r\na=simulcast:recv q;h\r\n",
        "a=rid:q send\r\na=rid:a\u{e9} send\r\na=simulcast:send q;a\u{e9}\r\n",
        "a=rid:q send\r\na=rid:q send\r\na=simulcast:send q;q\r\n",
    ] {
        assert_eq!(with_layers(lines).sections[1].sources.rids, [], "{lines}");
    }
    let many: String = (0..20).map(|n| format!("a=rid:r{n} send\r\n")).collect();
    let names: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
    let many = format!("{many}a=simulcast:send {}\r\n", names.join(";"));
    assert_eq!(with_layers(&many).sections[1].sources.rids.len(), 4);
}

#[test]
fn a_codec_put_first_on_purpose_is_first_with_its_descriptor() {
    let offer = chromium("sendrecv").replace("SAVPF 96 97 98 99", "SAVPF 98 99 96 97");
    let offer = offer.replace("a=mid:1\r\n", "a=mid:1\r\na=extmap:13 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n");
    let offer = read(&offer).unwrap();
    assert_eq!(offer.sections[1].formats[0].codec, Codec::Vp9);
    assert!(answer_of(&offer).contains("a=extmap:13 https://aomedia"));
    assert_eq!(writable_ids(&offer.sections[1], true).dependency, Some(13));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens to an offer on the way, it is answered or refused, and an answer is always SDP.
    #[test]
    fn a_damaged_offer_is_answered_or_refused(
        is_firefox: bool,
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec!["", "\r\n", "0", "a=", "m=video 9 X 1\r\n", ":", " ", "\u{e9}", "99999999999"]), 0usize..40), 1..6),
    ) {
        let mut offer = if is_firefox { firefox() } else { chromium("sendrecv") };
        for (at, text, cut) in edits {
            let mut at = at.index(offer.len());
            while !offer.is_char_boundary(at) {
                at -= 1;
            }
            let mut end = (at + cut).min(offer.len());
            while !offer.is_char_boundary(end) {
                end += 1;
            }
            offer.replace_range(at..end, text);
        }
        if let Ok(offer) = read(&offer) {
            let answer = answer_of(&offer);
            let parsed = rtc_sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(&answer));
            prop_assert!(parsed.is_ok(), "{answer}");
        }
    }
}
