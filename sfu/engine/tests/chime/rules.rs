//! What an answer must be, given the offer and the answers before it on the same connection.

use std::collections::{BTreeMap, BTreeSet};

use wire::control::SendingLine;

use crate::offer::{lines, split};

/// What must not change on a connection.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    credentials: Option<[String; 3]>,
    /// By mid.
    ssrcs: BTreeMap<String, u32>,
}

fn first<'a>(section: &'a str, start: &'a str) -> Option<&'a str> {
    lines(section, start).next()
}

fn direction(section: &str) -> &str {
    let known = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let found: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("a=")).filter(|word| known.contains(word)).collect();
    assert_eq!(found.len(), 1, "one direction: {found:?}");
    found[0]
}

fn extensions(section: &str) -> BTreeSet<(&str, &str)> {
    lines(section, "a=extmap:").filter_map(|value| value.split_once(' ')).collect()
}

/// Panics where a rule is broken.
pub(crate) fn check(memory: &mut Memory, offer: &str, answer: &str, sending: &[SendingLine]) {
    let (session, offered) = (split(answer).0, split(offer).1);
    let answered = split(answer).1;
    assert_eq!(offered.len(), answered.len(), "as many m-lines as were offered");
    let mut bundle = Vec::new();
    let mut streams = BTreeSet::new();
    for (offered, answered) in offered.iter().zip(&answered) {
        let mid = first(offered, "a=mid:").unwrap();
        assert_eq!(first(answered, "a=mid:"), Some(mid));
        let head =
            |section: &str| -> Vec<String> { section.lines().next().unwrap().split(' ').map(str::to_owned).collect() };
        let (ours, theirs) = (head(answered), head(offered));
        assert_eq!(ours[0], theirs[0], "the same medium in the same place");
        assert_eq!(ours[1] == "0", theirs[1] == "0", "port 0 for those that were offered so, and for no other: {mid}");
        if ours[1] == "0" {
            assert_eq!(direction(answered), "inactive");
            continue;
        }
        bundle.push(mid);
        check_transport(memory, answered);
        check_formats(offered, answered, &ours, &theirs);
        let right = match direction(offered) {
            "sendrecv" => "sendrecv",
            "recvonly" => "sendonly",
            "sendonly" => "recvonly",
            _ => "inactive",
        };
        assert_eq!(direction(answered), right, "{mid}");
        check_extensions(offered, answered);
        let line = sending.iter().find(|line| line.mid == mid);
        assert_eq!(line.is_some(), right.starts_with("send"), "{mid}: {sending:?}");
        let Some(line) = line else { continue };
        let (stream, track) = first(answered, "a=msid:").unwrap().split_once(' ').unwrap();
        assert!(!track.is_empty());
        if ours[0] == "m=video" {
            assert_eq!(stream, format!("v_{mid}"));
        }
        assert!(streams.insert(stream.to_owned()), "each line has a stream of its own");
        let named = first(answered, "a=ssrc:").unwrap().split(' ').next().unwrap();
        assert_eq!(named, line.ssrc.to_string(), "the line's main stream");
        assert_eq!(*memory.ssrcs.entry(mid.to_owned()).or_insert(line.ssrc), line.ssrc, "the same for good: {mid}");
    }
    let ours = first(session, "a=group:BUNDLE ").unwrap();
    assert_eq!(ours.split(' ').collect::<Vec<_>>(), bundle, "the group has all lines that have a port");
    let all: BTreeSet<u32> = memory.ssrcs.values().copied().collect();
    assert_eq!(all.len(), memory.ssrcs.len(), "no two lines share a stream");
    let extra: Vec<_> = sending.iter().filter(|line| !bundle.contains(&line.mid.as_str())).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

fn check_transport(memory: &mut Memory, answered: &str) {
    let value = |start| first(answered, start).unwrap().to_owned();
    let credentials = [value("a=ice-ufrag:"), value("a=ice-pwd:"), value("a=fingerprint:")];
    assert_eq!(memory.credentials.get_or_insert_with(|| credentials.clone()), &credentials, "they never change");
    assert_eq!(first(answered, "a=setup:"), Some("passive"));
    assert!(answered.contains("a=rtcp-mux\r\n"));
    let candidates: Vec<_> = lines(answered, "a=candidate:").collect();
    assert!(!candidates.is_empty(), "no candidates come later");
    assert!(candidates.iter().all(|candidate| candidate.contains(" typ host")), "{candidates:?}");
}

fn check_formats(offered: &str, answered: &str, ours: &[String], theirs: &[String]) {
    let (ours, theirs) = (&ours[3..], &theirs[3..]);
    assert!(!ours.is_empty() && ours.iter().all(|format| theirs.contains(format)), "{ours:?} of {theirs:?}");
    for format in ours {
        let start = format!("a=rtpmap:{format} ");
        let (mine, other) = (first(answered, &start).unwrap(), first(offered, &start).unwrap());
        assert!(mine.eq_ignore_ascii_case(other), "{mine} for {other}");
    }
    for line in lines(answered, "a=fmtp:") {
        let (format, parameters) = line.split_once(' ').unwrap();
        assert!(ours.iter().any(|known| known == format) && !parameters.starts_with(' '), "{line}");
    }
    let start = "x-google-start-bitrate=1000";
    if offered.contains(start) {
        for map in lines(answered, "a=rtpmap:").filter(|map| !map.contains(" rtx/")) {
            let format = map.split(' ').next().unwrap();
            let line = format!("a=fmtp:{format} ");
            let parameters = first(answered, &line).unwrap_or_default();
            assert!(
                parameters.contains(start),
                "every codec begins with what the client said of some: {map} {parameters}"
            );
        }
    }
    if answered.starts_with("m=audio") {
        assert_eq!(ours, ["63", "111"], "redundancy first, as the client asks");
        assert_eq!(first(answered, "a=rtpmap:111 "), Some("opus/48000/2"));
    }
    // Of simulcast all layers are taken, those paused that the client pauses.
    let sent = first(offered, "a=simulcast:send ");
    let taken = first(answered, "a=simulcast:recv ");
    assert_eq!(sent, taken, "also while the line rests: what is not taken is gone for good");
}

fn check_extensions(offered: &str, answered: &str) {
    let (theirs, ours) = (extensions(offered), extensions(answered));
    assert!(ours.is_subset(&theirs), "{ours:?} of {theirs:?}");
    let early = [
        "urn:ietf:params:rtp-hdrext:sdes:mid",
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    ];
    for name in early {
        let has = |set: &BTreeSet<(&str, &str)>| set.iter().any(|(_, other)| *other == name);
        assert_eq!(has(&theirs), has(&ours), "taken from the first answer on, or never offered again: {name}");
    }
}
