//! Messages as the protocol lists them, and everything else.

use super::*;
use proptest::prelude::*;

#[test]
fn reads_what_the_protocol_lists() {
    let id = ParticipantId::random();
    for text in [
        r#"{"type":"hello","protocol":1}"#.to_owned(),
        r#"{"type":"hello","protocol":1,"resume":{"token":"abc","seq":7}}"#.to_owned(),
        r#"{"type":"offer","id":"1","sdp":"v=0"}"#.to_owned(),
        r#"{"type":"device_check","camera":true,"microphone":false}"#.to_owned(),
        format!(r#"{{"type":"admit","id":1,"participantId":"{id}"}}"#),
        format!(r#"{{"type":"deny","id":1,"participantId":"{id}"}}"#),
        format!(r#"{{"type":"send_back","id":1,"participantId":"{id}"}}"#),
        format!(r#"{{"type":"remove","id":1,"participantId":"{id}"}}"#),
        r#"{"type":"state","microphone":true,"camera":true}"#.to_owned(),
        r#"{"type":"state","microphone":true,"camera":true,"cameraHeld":true}"#.to_owned(),
        format!(r#"{{"type":"mute","id":1,"participantId":"{id}","source":"microphone","muted":true}}"#),
        r#"{"type":"view","mid":"3","view":"hidden"}"#.to_owned(),
        r#"{"type":"view","mid":"a","view":"thumbnail"}"#.to_owned(),
        r#"{"type":"view","mid":"a","view":"full"}"#.to_owned(),
        r#"{"type":"view","mid":"a","view":"pinned"}"#.to_owned(),
        r#"{"type":"request_consent","id":1}"#.to_owned(),
        r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#.to_owned(),
        r#"{"type":"recording_start","id":1}"#.to_owned(),
        r#"{"type":"recording_stop"}"#.to_owned(),
        r#"{"type":"stats","rttMs":20,"lossDown":0.5}"#.to_owned(),
        r#"{"type":"stats","framesDecoded":900,"freezes":0}"#.to_owned(),
        r#"{"type":"leave"}"#.to_owned(),
        r#"{"type":"ping","id":1}"#.to_owned(),
    ] {
        assert!(ClientMessage::parse(&text).is_ok(), "{text}");
    }
}

/// The kept inputs of the fuzz target: those named `bad_` are refused, all others are read.
#[test]
fn asvs_17_3_2_the_kept_inputs_are_read_or_refused() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/message")).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        fuzz(&data);
        let is_read = std::str::from_utf8(&data).is_ok_and(|text| ClientMessage::parse(text).is_ok());
        let is_bad = path.file_name().unwrap().to_str().unwrap().starts_with("bad_");
        assert_eq!(is_read, !is_bad, "{}", path.display());
        count += 1;
    }
    assert!(count >= 40, "{count}");
}

#[test]
fn refuses_unknown_fields_types_and_values() {
    for text in [
        r#"{"type":"hello","protocol":2}"#,
        r#"{"type":"hello","protocol":1,"role":"clinician"}"#,
        r#"{"type":"hello","protocol":1,"participantId":"00000000-0000-0000-0000-000000000000"}"#,
        r#"{"type":"leave","role":"clinician"}"#,
        r#"{"type":"ping","id":1,"x":0}"#,
        r#"{"type":"admit","id":1,"participantId":"me"}"#,
        r#"{"type":"consent","id":1,"version":1,"decision":"sign"}"#,
        r#"{"type":"consent","id":1,"version":1,"decision":"SIGN","participantId":"00000000-0000-0000-0000-000000000000"}"#,
        r#"{"type":"stats","rttMs":-1}"#,
        r#"{"type":"stats","rttMs":1e300}"#,
        r#"{"type":"stats","lossDown":1001}"#,
        r#"{"type":"stats","framesDecoded":100000001}"#,
        r#"{"type":"stats","framesDecoded":-1}"#,
        r#"{"type":"stats","framesDecoded":1.5}"#,
        r#"{"type":"stats","freezes":1000001}"#,
        r#"{"type":"stats","freezes":99999999999999999999}"#,
        r#"{"type":"view","mid":"","view":"full"}"#,
        r#"{"type":"view","mid":"01234567890123456","view":"full"}"#,
        r#"{"type":"view","mid":"1","view":"huge"}"#,
        r#"{"type":"view","mid":"1","view":"full","participantId":"00000000-0000-0000-0000-000000000000"}"#,
        r#"{"type":"shutdown"}"#,
        r#"[]"#,
        "null",
        "",
    ] {
        assert_eq!(ClientMessage::parse(text), Err(ParseError::Malformed), "{text}");
    }
    let long = "x".repeat(MAX_ID_BYTES + 1);
    assert_eq!(ClientMessage::parse(&format!(r#"{{"type":"ping","id":"{long}"}}"#)), Err(ParseError::Malformed));
    let huge = " ".repeat(MAX_FRAME_BYTES + 1);
    assert_eq!(ClientMessage::parse(&huge), Err(ParseError::TooLarge));
}

#[test]
fn a_number_comes_first_and_names_are_in_camel_case() {
    let text =
        ServerMessage::Pong { id: Some(RequestId::Number(3)), server_time: OffsetDateTime::UNIX_EPOCH }.to_text(9);
    assert_eq!(text, r#"{"seq":9,"type":"pong","id":3,"serverTime":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(ServerMessage::Admitted {}.to_text(1), r#"{"seq":1,"type":"admitted"}"#);
    let sign = ServerMessage::Recording { state: SignView::Off, recording_id: None, since: None };
    assert_eq!(sign.to_text(2), r#"{"seq":2,"type":"recording","state":"off"}"#);
    let encode = ServerMessage::Encode { source: Source::Camera, encoding: Encoding::Asleep };
    assert_eq!(encode.to_text(3), r#"{"seq":3,"type":"encode","source":"camera","encoding":"asleep"}"#);
    let paused = ServerMessage::Paused { mid: "4".to_owned(), paused: true };
    assert_eq!(paused.to_text(4), r#"{"seq":4,"type":"paused","mid":"4","paused":true}"#);
    let budget = ServerMessage::AudioBudget { bitrate: 16_000, ptime_ms: 60 };
    assert_eq!(budget.to_text(5), r#"{"seq":5,"type":"audio_budget","bitrate":16000,"ptimeMs":60}"#);
    assert_eq!(ServerMessage::RestartIce {}.to_text(6), r#"{"seq":6,"type":"restart_ice"}"#);
}

#[test]
fn debug_shows_no_sdp_name_or_token() {
    let message = ClientMessage::parse(r#"{"type":"offer","id":1,"sdp":"v=0 canary"}"#).unwrap();
    assert!(!format!("{message:?}").contains("canary"));
    let message = ClientMessage::parse(r#"{"type":"hello","protocol":1,"resume":{"token":"canary","seq":1}}"#).unwrap();
    assert!(!format!("{message:?}").contains("canary"));
}

/// A message that is read, so that its neighbours can be tried.
fn some_message() -> impl Strategy<Value = String> {
    let kept = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/message")).unwrap();
    let mut texts: Vec<String> = kept.filter_map(|e| std::fs::read_to_string(e.unwrap().path()).ok()).collect();
    texts.sort();
    proptest::sample::select(texts)
}

proptest! {
    /// Bytes of a message exchanged, taken out or doubled: read or refused, and nothing else.
    #[test]
    fn asvs_17_3_2_mutilated_messages_are_read_or_refused(
        text in some_message(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 0..6),
    ) {
        let mut bytes = text.into_bytes();
        for (at, what, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        fuzz(&bytes);
    }

    #[test]
    fn never_panics_on_text(text in ".{0,200}") {
        drop(ClientMessage::parse(&text));
    }

    #[test]
    fn never_panics_on_json_like_text(
        kind in "hello|offer|admit|mute|consent|stats|state|ping|leave|x",
        fields in proptest::collection::vec(("id|sdp|participantId|version|muted|source|seq|resume|rttMs", "[0-9]{1,30}|null|\"[a-z]{0,9}\"|\\{\\}|\\[\\]|-1e999"), 0..6),
    ) {
        let rest: String = fields.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        drop(ClientMessage::parse(&format!("{{\"type\":\"{kind}\"{rest}}}")));
    }

    /// Any extra member refuses the message, whatever it is called.
    #[test]
    fn an_extra_field_is_refused(name in "[a-zA-Z_]{1,12}", value in 0u32..9) {
        prop_assume!(!["type", "microphone", "camera"].contains(&name.as_str()));
        let text = format!(r#"{{"type":"state","microphone":true,"camera":true,"{name}":{value}}}"#);
        prop_assert_eq!(ClientMessage::parse(&text), Err(ParseError::Malformed));
    }
}
