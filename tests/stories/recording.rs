//! A consented recording, from the request to the playback.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::Http;
use crate::support::media::{middle_colour, probe, vp8_frames};
use crate::support::person::{Person, Practice};
use crate::support::server::Server;
use crate::support::soon;

/// Both are in, and a recording runs.
pub(crate) async fn start(practice: &Practice) -> (Person, Person) {
    let mut clinician = practice.arrive().await;
    let mut patient = practice.patient_arrives().await;
    clinician.connect(vp8_frames("red").await).await;
    patient.connect(vp8_frames("blue").await).await;
    clinician.socket.ask_ok(json!({"type": "admit", "participantId": patient.id})).await;
    patient.peer.receives(10).await;

    let early = clinician.socket.ask(json!({"type": "recording_start"})).await;
    assert_eq!(early["code"], "CONSENT_REQUIRED", "{early}");
    clinician.socket.ask_ok(json!({"type": "request_consent"})).await;
    clinician.answer_consent("SIGN").await;
    patient.answer_consent("SIGN").await;
    clinician.socket.ask_ok(json!({"type": "recording_start"})).await;
    patient.socket.hear_where("the recording sign", |m| m["type"] == "recording" && m["state"] == "on").await;
    (clinician, patient)
}

/// Every file of a finished recording, played back to disk.
pub(crate) async fn play(server: &Server, recording: &Value) -> (TempDir, Vec<(Value, PathBuf)>) {
    let dir = TempDir::new().unwrap();
    // Playback is bound to the person, by the cookie of their sign-in.
    let token = server.token("clinician", "demo-clinician").await;
    let mut desk = Http::new(&server.addr);
    let signed_in = desk.post("/api/session", &json!({"accessToken": token})).await;
    assert_eq!(signed_in.status, 204, "{signed_in:?}");
    desk.cookie = signed_in.cookie();
    let mut files = Vec::new();
    for artefact in recording["artefacts"].as_array().unwrap() {
        let id = recording["recordingId"].as_str().unwrap();
        let grant =
            desk.post(&format!("/api/recordings/{id}/playback"), &json!({"artefact": artefact["name"]})).await.ok();
        let url = grant["url"].as_str().unwrap();
        let path = &url[url.find("/api/playback/").unwrap()..];
        let whole = desk.get(path).await;
        assert_eq!(whole.status, 200, "{:?}", whole.headers);
        let part = desk.get_range(path, "bytes=10-19").await;
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[10..20]));
        assert_ne!(Http::new(&server.addr).get(path).await.status, 200, "the URL alone opens it");
        let file = dir.path().join(artefact["name"].as_str().unwrap());
        std::fs::write(&file, &whole.body).unwrap();
        files.push((artefact.clone(), file));
    }
    (dir, files)
}

/// Waits until the visit's one recording is stored.
pub(crate) async fn stored(practice: &Practice) -> Value {
    soon("the recording is stored", stored_some_day(practice)).await
}

/// The visit's one recording, once it is stored; it is for the caller to lose patience.
pub(crate) async fn stored_some_day(practice: &Practice) -> Value {
    // No socket may be left to be told, so this asks.
    let mut again = tokio::time::interval(std::time::Duration::from_millis(200));
    loop {
        again.tick().await;
        let recordings = practice.recordings().await;
        let recording = recordings.first().expect("there is a recording").clone();
        match recording["status"].as_str().unwrap() {
            "STORED" => return recording,
            "FAILED" => panic!("{recording}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn it_begins_with_consent_and_ends_in_files_that_play() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let (mut clinician, mut patient) = start(&practice).await;
    let began = tokio::time::Instant::now();
    patient.peer.sends(200).await;
    clinician.socket.ask_ok(json!({"type": "recording_stop"})).await;
    let lasted = began.elapsed().as_secs_f64();
    patient.socket.hear_where("the recording sign goes out", |m| m["type"] == "recording" && m["state"] == "off").await;
    let told = clinician.socket.hear("recording_stored").await;
    assert_eq!(told["status"], "STORED");

    let recording = stored(&practice).await;
    let (_dir, files) = play(&server, &recording).await;
    let mut colours = Vec::new();
    for (artefact, file) in &files {
        let probe = probe(file).await;
        assert!((probe.duration - lasted).abs() < 0.5, "{artefact}: {probe:?}, lasted {lasted}");
        if artefact["participantId"].is_string() {
            assert_eq!(probe.codecs.len(), 2, "{probe:?}");
            assert!(probe.codecs.contains(&"vp8".to_owned()) && probe.codecs.contains(&"opus".to_owned()), "{probe:?}");
            let [red, _, blue] = middle_colour(file).await;
            colours.push((artefact["participantId"].as_str().unwrap().to_owned(), red > blue));
        } else {
            assert_eq!(probe.codecs, ["opus"]);
        }
    }
    colours.sort();
    let mut expected = vec![(clinician.id.clone(), true), (patient.id.clone(), false)];
    expected.sort();
    assert_eq!(colours, expected);
    assert_eq!(files.len(), 3);
}

#[tokio::test]
async fn a_withdrawn_consent_stops_it_at_once() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let (mut clinician, mut patient) = start(&practice).await;
    patient.socket.ask_ok(json!({"type": "consent", "version": 1, "decision": "REVOKE"})).await;
    clinician
        .socket
        .hear_where("the recording sign goes out", |m| m["type"] == "recording" && m["state"] == "off")
        .await;
    // The visit goes on.
    patient.peer.receives(25).await;
    clinician.peer.receives(25).await;
}

/// Stops what runs and starts again, over and over; each must be stored by the node that has the visit.
async fn record_over_and_over(server: &Server) {
    let practice = Practice::open(server).await;
    let (mut clinician, mut patient) = start(&practice).await;
    for turn in 1..=3 {
        patient.peer.sends(50).await;
        clinician.socket.ask_ok(json!({"type": "recording_stop"})).await;
        let told = clinician.socket.hear("recording_stored").await;
        assert_eq!(told["status"], "STORED", "recording {turn}");
        if turn < 3 {
            clinician.socket.ask_ok(json!({"type": "recording_start"})).await;
            patient.socket.hear_where("the recording sign", |m| m["type"] == "recording" && m["state"] == "on").await;
        }
    }
    for recording in practice.recordings().await {
        assert_eq!(recording["status"], "STORED", "{recording}");
        assert_eq!(recording["artefacts"].as_array().unwrap().len(), 3, "{recording}");
    }
}

#[tokio::test]
async fn two_nodes_on_one_database_each_record_their_own_visits() {
    let one = Server::start().await;
    let mut other = one.beside().await;
    tokio::join!(record_over_and_over(&one), record_over_and_over(&other));
    other.stop().await;
}
