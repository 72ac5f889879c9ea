//! Visits as their people live them, over real HTTP, WebSocket and PostgreSQL; the media node is scripted.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod attack;
mod away;
mod canaries;
mod chime;
mod connections;
mod door;
mod quality;
mod rotation;
mod signing_out;
#[path = "../shared/sink.rs"]
mod sink;
mod support;
mod tls;

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use signaling::auth::StaffRole;
use sqlx::{Executor, Row};
use support::{House, SOON, find_header};
use vault::seal::SealWriter;
use vault::{DataKey, ObjectName};
use wire::RecordingId;
use wire::control::{Command, Door, Event, TapEnd};
use wire::manifest::{Artefact, Content, Manifest};

const CLINICIAN: &str = "dr-maria";

fn offer(ufrag: &str) -> Value {
    json!({"type": "offer", "id": "o", "sdp": format!("v=0\r\no=- {ufrag} 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\n")})
}

async fn status_of(house: &House, visit: &str) -> String {
    let admin = house.bearer("boss", StaffRole::Admin);
    let (status, view) = house.ask(&admin, "GET", &format!("/api/visits/{visit}"), &Value::Null).await;
    assert_eq!(status, 200, "{view}");
    view["status"].as_str().unwrap().to_owned()
}

async fn events_of(house: &House, visit: &str) -> Vec<String> {
    let rows = sqlx::query("SELECT event_type FROM audit_event WHERE visit_id = $1 ORDER BY seq")
        .bind(visit.parse::<uuid::Uuid>().unwrap())
        .fetch_all(&mut house.owner().await)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Until a condition of the database holds; the recorder's news come by notification.
async fn until(house: &House, sql: &'static str, recording: RecordingId) {
    let mut owner = house.owner().await;
    let holds = async {
        loop {
            let row = sqlx::query(sql).bind(recording.as_uuid()).fetch_one(&mut owner).await.unwrap();
            if row.get::<bool, _>(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, holds).await.expect(sql);
}

#[tokio::test]
async fn a_visit_from_the_waiting_room_to_the_recording_and_its_end() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    assert_eq!(status_of(&house, &visit).await, "SCHEDULED");

    // The patient waits.
    let mut patient = house.patient(&cookie).await;
    let welcome = patient.hear("welcome").await;
    assert_eq!((&welcome["you"]["door"], &welcome["you"]["role"]), (&json!("waiting"), &json!("patient")));
    assert_eq!(welcome["visit"]["practice"]["phone"], "+1 555 0100");
    let who = welcome["you"]["participantId"].as_str().unwrap().to_owned();
    assert_eq!(patient.hear("waiting").await["position"], 1);
    patient.say(offer("pppp")).await;
    assert_eq!(patient.hear("answer").await["id"], "o");
    patient.say(json!({"type": "device_check", "camera": true, "microphone": false})).await;
    patient.settle().await;
    assert_eq!(status_of(&house, &visit).await, "WAITING");
    let door = house.sfu.last(|c| if let Command::AddPeer { door, .. } = c { Some(*door) } else { None });
    assert_eq!(door, Door::Waiting);

    // The clinician comes and admits.
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    assert_eq!(clinician.hear("welcome").await["you"]["door"], "admitted");
    let entry = clinician.hear("waiting_list").await["entries"][0].clone();
    assert_eq!(
        (&entry["participantId"], &entry["camera"], &entry["microphone"]),
        (&json!(who), &json!(true), &json!(false))
    );
    assert_eq!(status_of(&house, &visit).await, "WAITING");
    clinician.say(offer("cccc")).await;
    clinician.hear("answer").await;
    assert!(!house.sfu.commands().iter().any(|c| matches!(c, Command::Admit { .. })));
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    assert_eq!(clinician.hear("ok").await["id"], 1);
    patient.hear("admitted").await;
    assert_eq!(patient.hear("roster").await["participants"].as_array().unwrap().len(), 2);
    assert!(house.sfu.commands().iter().any(|c| matches!(c, Command::Admit { .. })));
    assert_eq!(status_of(&house, &visit).await, "IN_PROGRESS");

    // Recording needs both, whoever asks.
    let bearer = house.bearer(CLINICIAN, StaffRole::Clinician);
    let start = format!("/api/visits/{visit}/recording/start");
    let (status, problem) = house.ask(&bearer, "POST", &start, &json!({})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("CONSENT_REQUIRED")));
    assert_eq!(problem["missing"].as_array().unwrap().len(), 2);
    clinician.say(json!({"type": "request_consent", "id": 2})).await;
    let version = patient.hear("consent_request").await["version"].clone();
    patient.say(json!({"type": "consent", "id": 3, "version": 99, "decision": "SIGN"})).await;
    let outdated = patient.hear("error").await;
    assert_eq!((&outdated["code"], &outdated["version"]), (&json!("CONSENT_OUTDATED"), &version));
    for person in [&mut patient, &mut clinician] {
        person.say(json!({"type": "consent", "id": 4, "version": version, "decision": "SIGN"})).await;
        person.settle().await;
    }
    let (status, view) = house.ask(&bearer, "POST", &start, &json!({})).await;
    assert_eq!((status, &view["status"]), (202, &json!("REQUESTED")), "{view}");
    let recording: RecordingId = view["recordingId"].as_str().unwrap().parse().unwrap();
    assert_eq!(patient.hear("recording").await["state"], "starting");
    assert_eq!(house.ask(&bearer, "POST", &start, &json!({})).await.1["code"], "ALREADY_RECORDING");
    let room = house.sfu.last(|c| Some(c.room()));
    house.sfu.tell(Event::TapFlowing { room, recording }).await;
    assert_eq!(patient.hear("recording").await["state"], "on");
    let mut owner = house.owner().await;
    let row = sqlx::query(
        "SELECT j.tap_token, j.room_id, jsonb_array_length(r.consent_snapshot) FROM recording r JOIN recording_job j
         USING (recording_id) WHERE r.recording_id = $1 AND j.state = 'QUEUED'",
    )
    .bind(recording.as_uuid())
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!(row.get::<String, _>(0), "canary-tap-token");
    assert_eq!(row.get::<uuid::Uuid, _>(1), room.as_uuid());
    assert_eq!(row.get::<i32, _>(2), 2);

    // Anybody inside may stop it.
    patient.say(json!({"type": "recording_stop", "id": 5})).await;
    assert_eq!(patient.hear("recording").await["state"], "stopping");
    assert_eq!(patient.hear("recording").await["state"], "off");
    until(&house, "SELECT status = 'PROCESSING' FROM recording WHERE recording_id = $1", recording).await;

    // The recorder is done: the file can be played, by ranges, by the person it was granted to.
    let plain = store_job(&house, recording, room).await;
    assert_eq!(clinician.hear("recording_stored").await["status"], "STORED");
    let (_, list) = house.ask(&bearer, "GET", &format!("/api/visits/{visit}/recordings"), &Value::Null).await;
    assert_eq!(list["recordings"][0]["artefacts"][0]["name"], "mix.mp4");
    assert_eq!(list["recordings"][0]["stopReason"], "REQUESTED");
    play(&house, recording, &plain, &bearer).await;

    // The end.
    let (status, _) = house.ask(&bearer, "POST", &format!("/api/visits/{visit}/end"), &json!({})).await;
    assert_eq!(status, 200);
    for person in [&mut patient, &mut clinician] {
        assert_eq!(person.hear("ended").await["reason"], "completed");
        assert_eq!(person.hear_close().await, 1000);
    }
    let mut again = house.connect("", &[("cookie", &cookie)]).await;
    assert_eq!(again.hear_close().await, 4401);
    let mut late = house.clinician(CLINICIAN, &visit).await;
    assert_eq!(late.hear("ended").await["reason"], "completed");
    let events = events_of(&house, &visit).await;
    let position = |name: &str| events.iter().position(|e| e == name).unwrap_or_else(|| panic!("{name} in {events:?}"));
    let order = [
        "WAITING_ENTERED",
        "VISIT_STATUS_CHANGED",
        "DEVICE_CHECK_DONE",
        "WAITING_ADMITTED",
        "VISIT_STARTED",
        "CONSENT_REQUESTED",
        "CONSENT_SIGNED",
        "RECORDING_REQUESTED",
        "RECORDING_STARTED",
        "RECORDING_STOPPED",
        "RECORDING_STORED",
        "RECORDING_ACCESSED",
        "VISIT_ENDED",
    ];
    assert!(order.windows(2).all(|pair| position(pair[0]) < position(pair[1])), "{events:?}");
    house.close().await;
}

/// Does the recorder's part: a sealed file in the store, and a job that says so. Gives the plain bytes.
async fn store_job(house: &House, recording: RecordingId, room: wire::RoomId) -> Vec<u8> {
    let plain: Vec<u8> = (0..700_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let key = DataKey::generate().unwrap();
    let name = ObjectName::new(recording, "mix.mp4").unwrap();
    let spool = house.folder.path().join("spool");
    let mut writer = SealWriter::new(&key, &name, 1, std::fs::File::create(&spool).unwrap()).unwrap();
    writer.write_all(&plain).unwrap();
    writer.finish().unwrap();
    house.vault.store.put(&name, &spool).await.unwrap();
    let wrapped = house.vault.keys.wrap(&key, &vault::keys::recording_context(recording)).await.unwrap();
    let artefact = Artefact {
        name: "mix.mp4".to_owned(),
        content: Content::Mix,
        mime: "audio/mp4".to_owned(),
        codecs: vec![wire::control::Codec::Opus],
        offset_ms: 0,
        duration_ms: 4_000,
        bytes: plain.len() as u64,
        sealed_bytes: 0,
        sha256: String::new(),
    };
    let manifest = Manifest {
        version: 1,
        recording,
        room,
        started_at_us: 1,
        duration_ms: 4_000,
        artefacts: vec![artefact],
        gaps: Vec::new(),
    };
    sqlx::query("UPDATE recording_job SET state = 'STORED', manifest = $2, dek_wrapped = $3, kek_id = $4 WHERE recording_id = $1")
        .bind(recording.as_uuid())
        .bind(sqlx::types::Json(manifest))
        .bind(wrapped.bytes)
        .bind(wrapped.kek_id)
        .execute(&mut house.owner().await)
        .await
        .unwrap();
    plain
}

async fn play(house: &House, recording: RecordingId, plain: &[u8], bearer: &str) {
    let path = format!("/api/recordings/{recording}/playback");
    let other = house.bearer("dr-other", StaffRole::Clinician);
    assert_eq!(house.ask(&other, "POST", &path, &json!({"artefact": "mix.mp4"})).await.0, 404);
    let scheduler = house.bearer("planner", StaffRole::Scheduler);
    assert_eq!(house.ask(&scheduler, "POST", &path, &json!({"artefact": "mix.mp4"})).await.0, 403);
    assert_eq!(house.ask(bearer, "POST", &path, &json!({"artefact": "../kek"})).await.0, 404);
    let (status, grant) = house.ask(bearer, "POST", &path, &json!({"artefact": "mix.mp4"})).await;
    assert_eq!(status, 200, "{grant}");
    let url = grant["url"].as_str().unwrap();
    let own = [("authorization", bearer)];
    let (status, head, body) = house.raw("GET", url, &own, "").await;
    assert_eq!((status, body.len()), (200, plain.len()));
    assert!(body == plain, "the bytes are the ones that were sealed");
    assert_eq!(find_header(&head, "content-type").unwrap(), "audio/mp4");
    assert_eq!(find_header(&head, "cache-control").unwrap(), "no-store");
    assert_eq!(find_header(&head, "accept-ranges").unwrap(), "bytes");
    for (range, part) in
        [("bytes=65530-65545", 65_530..65_546), ("bytes=-10", 699_990..700_000), ("bytes=600000-", 600_000..700_000)]
    {
        let (status, head, body) = house.raw("GET", url, &[own[0], ("range", range)], "").await;
        assert_eq!(status, 206, "{range}");
        assert!(body == plain[part.clone()], "{range}");
        let content = format!("bytes {}-{}/700000", part.start, part.end - 1);
        assert_eq!(find_header(&head, "content-range").unwrap(), content);
    }
    let (status, head, _) = house.raw("GET", url, &[own[0], ("range", "bytes=700000-")], "").await;
    assert_eq!((status, find_header(&head, "content-range").unwrap()), (416, "bytes */700000".to_owned()));
    // The URL is worth nothing to anybody else, nor without a credential, nor changed.
    let admin = house.bearer("boss", StaffRole::Admin);
    assert_eq!(house.raw("GET", url, &[("authorization", &admin)], "").await.0, 404);
    assert_eq!(house.raw("GET", url, &[], "").await.0, 401);
    assert_eq!(house.raw("GET", &format!("{url}A"), &own, "").await.0, 404);
    // A grant that was not used in time is over.
    let (_, stale) = house.ask(bearer, "POST", &path, &json!({"artefact": "mix.mp4"})).await;
    let age =
        "UPDATE playback_grant SET expires_at = now() - interval '1 second', created_at = now() - interval '61 seconds'
               WHERE expires_at <= created_at + interval '60 seconds'";
    house.owner().await.execute(age).await.unwrap();
    assert_eq!(house.raw("GET", stale["url"].as_str().unwrap(), &own, "").await.0, 404);
    assert_eq!(house.raw("GET", url, &own, "").await.0, 200);
}

#[tokio::test]
async fn withdrawal_stops_the_recording_and_is_written() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("waiting_list").await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    patient.hear("admitted").await;
    for person in [&mut patient, &mut clinician] {
        person.say(json!({"type": "consent", "version": 1, "decision": "SIGN"})).await;
        person.hear("ok").await;
    }
    clinician.say(json!({"type": "recording_start", "id": 1})).await;
    let recording: RecordingId = loop {
        let sign = patient.hear("recording").await;
        if sign["state"] == "starting" {
            break sign["recordingId"].as_str().unwrap().parse().unwrap();
        }
    };
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    patient.say(json!({"type": "consent", "id": 2, "version": 1, "decision": "REVOKE"})).await;
    assert_eq!(patient.hear("recording").await["state"], "stopping");
    assert_eq!(patient.hear("recording").await["state"], "off");
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - began;
    assert!(took < Duration::from_secs(2), "{took:?}");
    patient.settle().await;
    let commands = house.sfu.commands();
    let stop = commands.iter().position(|c| matches!(c, Command::StopTap { .. })).unwrap();
    assert!(matches!(commands[stop + 1], Command::SetConsent { consented: false, .. }));
    until(
        &house,
        "SELECT status = 'PROCESSING' AND stop_reason = 'CONSENT_LOST' FROM recording WHERE recording_id = $1",
        recording,
    )
    .await;
    let events = events_of(&house, &visit).await;
    assert!(
        events.contains(&"CONSENT_REVOKED".to_owned()) && events.contains(&"RECORDING_STOPPED".to_owned()),
        "{events:?}"
    );
    // A job that fails is told as well, and the Recording says so.
    house.owner().await.execute("UPDATE recording_job SET state = 'FAILED'").await.unwrap();
    assert_eq!(clinician.hear("recording_stored").await["status"], "FAILED");
    // An event of a tap that is over already changes nothing.
    let room = commands[stop].room();
    house.sfu.tell(Event::TapEnded { room, recording, reason: TapEnd::Stopped }).await;
    patient.settle().await;
    house.close().await;
}

#[tokio::test]
async fn a_socket_needs_a_credential_of_this_visit_and_our_own_page() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let query = format!("?visit={visit}");
    for (query, headers) in [
        ("", vec![]),
        ("", vec![("cookie", "__Host-anteroom_session=forged".to_owned())]),
        (query.as_str(), vec![("authorization", house.bearer("dr-other", StaffRole::Clinician))]),
        (query.as_str(), vec![("authorization", house.bearer("boss", StaffRole::Admin))]),
        (query.as_str(), vec![("authorization", house.bearer("planner", StaffRole::Scheduler))]),
        (
            "?visit=00000000-0000-0000-0000-000000000001",
            vec![("authorization", house.bearer(CLINICIAN, StaffRole::Clinician))],
        ),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut person = house.connect(query, &headers).await;
        person.say(json!({"type": "hello", "protocol": 1})).await;
        assert_eq!(person.hear_close().await, 4401);
        assert!(person.heard.is_empty());
    }
    // The session cookie is for its own place in its own visit, whatever the address says.
    let mut person = house.connect(&query, &[("cookie", &cookie)]).await;
    assert_eq!(person.hear_close().await, 4401);
    let foreign = house.try_connect("", &[("cookie", &cookie), ("origin", "https://evil.example")]).await;
    assert_eq!(foreign.err(), Some(403));
    let origin = format!("http://localhost:{}", house.address.port());
    let mut person = house.connect("", &[("cookie", &cookie), ("origin", &origin)]).await;
    person.say(json!({"type": "hello", "protocol": 1})).await;
    person.hear("welcome").await;
    house.close().await;
}

#[tokio::test]
async fn frames_that_cannot_be_taken_close_the_socket_by_their_codes() {
    let house = House::open().await;
    let (_, cookie) = house.visit(CLINICIAN).await;
    for (text, code) in [
        ("{\"type\":\"ping\"}".to_owned(), 4400),
        ("{\"type\":\"hello\",\"protocol\":1,\"role\":\"clinician\"}".to_owned(), 4400),
        ("not json".to_owned(), 4400),
        (format!("{{\"type\":\"hello\",\"protocol\":1{}}}", " ".repeat(70_000)), 4413),
    ] {
        let mut person = house.connect("", &[("cookie", &cookie)]).await;
        person.say_text(&text).await;
        assert_eq!(person.hear_close().await, code, "{text:.60}");
    }
    let mut person = house.patient(&cookie).await;
    person.hear("welcome").await;
    person.say(json!({"type": "admit", "id": 1, "participantId": "me"})).await;
    assert_eq!(person.hear("error").await["code"], "MALFORMED");
    assert_eq!(person.hear_close().await, 4400);
    let mut person = house.patient(&cookie).await;
    person.hear("welcome").await;
    person.say_binary().await;
    assert_eq!(person.hear_close().await, 4400);
    let mut person = house.patient(&cookie).await;
    person.hear("welcome").await;
    person.say_text(&"x".repeat(70_000)).await;
    assert_eq!(person.hear_close().await, 4413);
    let mut person = house.patient(&cookie).await;
    person.hear("welcome").await;
    for id in 0..400 {
        person.say(json!({"type": "ping", "id": id})).await;
    }
    assert_eq!(person.hear_close().await, 4429);
    // Five seconds without hello.
    let mut silent = house.connect("", &[("cookie", &cookie)]).await;
    assert_eq!(silent.hear_close().await, 4408);
    house.close().await;
}

#[tokio::test]
async fn a_denied_person_stays_out_and_a_new_link_supersedes() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("waiting_list").await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    patient.hear("admitted").await;
    // A new link, redeemed on another device: the old one is told at once, the seat stays.
    let second = house.redeem(&visit).await;
    assert_eq!(patient.hear("ended").await["reason"], "superseded");
    assert_eq!(patient.hear_close().await, 4409);
    let mut other = house.patient(&second).await;
    assert_eq!(other.hear("welcome").await["you"]["door"], "admitted");
    let mut old = house.connect("", &[("cookie", &cookie)]).await;
    assert_eq!(old.hear_close().await, 4401);
    // Back to the waiting room, and then turned away.
    clinician.say(json!({"type": "send_back", "id": 2, "participantId": who})).await;
    other.hear("sent_back").await;
    other.hear("waiting").await;
    clinician.say(json!({"type": "deny", "id": 3, "participantId": who})).await;
    assert_eq!(other.hear("ended").await["reason"], "denied");
    assert_eq!(other.hear_close().await, 1000);
    let mut again = house.connect("", &[("cookie", &second)]).await;
    assert_eq!(again.hear_close().await, 4401);
    let events = events_of(&house, &visit).await;
    for event in ["WAITING_RETURNED", "WAITING_DENIED", "SESSION_REVOKED"] {
        assert!(events.contains(&event.to_owned()), "{events:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_broken_socket_comes_back_to_its_seat() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    let welcome = patient.hear("welcome").await;
    patient.settle().await;
    let seq = patient.heard.last().unwrap()["seq"].clone();
    patient.cut();
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("waiting_list").await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": welcome["you"]["participantId"]})).await;
    clinician.hear("ok").await;
    let mut patient = house.connect("", &[("cookie", &cookie)]).await;
    let resume = json!({"token": welcome["resumeToken"], "seq": seq});
    patient.say(json!({"type": "hello", "protocol": 1, "resume": resume})).await;
    patient.hear("admitted").await;
    // After the challenge, which is no part of the session.
    assert_eq!(patient.heard[0]["type"], "challenge");
    assert_eq!(patient.heard[1]["seq"], seq.as_u64().unwrap() + 1);
    assert!(patient.heard.iter().all(|m| m["type"] != "welcome"));
    house.close().await;
}

#[tokio::test]
async fn without_a_media_node_people_are_asked_to_come_back() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    patient.hear("welcome").await;
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("welcome").await;
    house.sfu.clone().die();
    house.close().await;
    for person in [&mut patient, &mut clinician] {
        assert_eq!(person.hear("ended").await["reason"], "failed");
        assert_eq!(person.hear_close().await, 4500);
    }
}
