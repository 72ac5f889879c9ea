//! A whole visit with marked SDP, candidates and clinical words, whose log, metrics, database and recordings are then
//! searched for them.

use std::path::Path;

use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::config::SignalingConfig;
use wire::RecordingId;
use wire::control::Event;

use crate::sink::Sink;
use crate::support::House;
use crate::{CLINICIAN, store_job};

/// An offer as a browser makes it, with a mark wherever something of the person's own could stand.
fn offer() -> Value {
    let sdp = "v=0\r\no=canary-origin 1 2 IN IP4 198.51.100.77\r\ns=canary-session\r\nt=0 0\r\na=ice-ufrag:canaryufrag\r\n\
        a=ice-pwd:canaryicepasswordcanary\r\na=fingerprint:sha-256 CA:NA:RY\r\na=candidate:1 1 udp 1 198.51.100.77 50000 typ host\r\n";
    json!({"type": "offer", "id": "o", "sdp": sdp})
}

/// Every file below a folder that holds these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn h_09_a_visit_leaves_no_words_sdp_addresses_tokens_or_keys_where_they_must_not_be() {
    let sink = Sink::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(sink.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let settings = SignalingConfig::default();
    let metrics = settings.metrics.clone();
    let house = House::open_as(settings).await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let bearer = house.bearer(CLINICIAN, StaffRole::Clinician);
    let words = json!({"chiefComplaint": "canary-sealed-complaint", "clinicalNotes": "canary-sealed-notes"});
    let path = format!("/api/v1/telehealth/sessions/{visit}/clinical");
    assert_eq!(house.ask(&bearer, "PATCH", &path, &words).await.0, 204);

    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    patient.say(offer()).await;
    patient.hear("answer").await;
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("welcome").await;
    clinician.say(offer()).await;
    clinician.hear("answer").await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    clinician.hear("ok").await;
    patient.hear("admitted").await;
    clinician.say(json!({"type": "request_consent", "id": 2})).await;
    let version = patient.hear("consent_request").await["version"].clone();
    for person in [&mut patient, &mut clinician] {
        person.say(json!({"type": "consent", "id": 4, "version": version, "decision": "SIGN"})).await;
        person.settle().await;
    }
    let (status, view) = house.ask(&bearer, "POST", &format!("/api/visits/{visit}/recording/start"), &json!({})).await;
    assert_eq!(status, 202, "{view}");
    let recording: RecordingId = view["recordingId"].as_str().unwrap().parse().unwrap();
    let room = house.sfu.last(|c| Some(c.room()));
    house.sfu.tell(Event::TapFlowing { room, recording }).await;
    patient.say(json!({"type": "recording_stop", "id": 5})).await;
    while patient.hear("recording").await["state"] != "off" {}
    let plain = store_job(&house, recording, room).await;
    assert_eq!(clinician.hear("recording_stored").await["status"], "STORED");
    let (_, seen) = house.ask(&bearer, "GET", &format!("/api/visits/{visit}"), &Value::Null).await;
    assert_eq!(seen["clinicalNotes"], "canary-sealed-notes");
    assert_eq!(house.ask(&bearer, "POST", &format!("/api/visits/{visit}/end"), &json!({})).await.0, 200);
    patient.hear("ended").await;

    let (dump, shown) = (house.database.dump().await, metrics.render());
    let log = sink.text();
    assert!(!log.is_empty() && dump.contains(&visit) && !shown.is_empty());
    let secret = cookie.split_once('=').unwrap().1;
    let token = bearer.trim_start_matches("Bearer ");
    for canary in ["canary-", "canaryufrag", "canaryicepassword", "198.51.100.77", secret, token, "Canary Patient"] {
        if let Some(line) = log.lines().find(|line| line.contains(canary)) {
            panic!("{canary} in the log: {line}");
        }
        assert!(!shown.contains(canary), "{canary} in the metrics");
    }
    for canary in [
        "canary-sealed",
        "canary-origin",
        "canary-session",
        "canaryufrag",
        "canaryicepassword",
        "198.51.100.77",
        secret,
        token,
    ] {
        let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [canary, &hex] {
            if let Some(line) = dump.lines().find(|line| line.contains(form)) {
                panic!("{canary} in the database: {line}");
            }
        }
    }
    // The object itself is found, and no run of its plain bytes is in it.
    let store = house.folder.path().join("store");
    assert!(std::fs::read_dir(&store).unwrap().next().is_some());
    assert_eq!(files_with(&store, &plain[..64]), Vec::<String>::new());
    // No key of ours is in the log either.
    for name in ["lookup.key", "kek"] {
        let key = std::fs::read_to_string(house.folder.path().join(name)).unwrap();
        assert!(!log.contains(key.trim()), "{name} in the log");
    }
    house.close().await;
}
