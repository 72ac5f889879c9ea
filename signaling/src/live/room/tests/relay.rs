//! When a person is told of the relay.

use super::*;
use crate::config::SignalingConfig;

const TTL: Duration = Duration::from_secs(600);

/// Two inside, and a relay.
async fn with_relay() -> (Scene, Client, Client) {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    let config = SignalingConfig {
        turn_urls: vec!["turn:turn.example.org:3478".to_owned()],
        turn_secret: Some(Redacted::new("north-sea-harbour".to_owned())),
        turn_ttl: TTL,
        ..SignalingConfig::default()
    };
    scene.room.outside.1 = Relay::from_config(&config).unwrap().map(Arc::new);
    (scene, clinician, patient)
}

fn username(server: &Value) -> (u64, String) {
    assert_eq!(server["urls"][0], "turn:turn.example.org:3478");
    assert!(!server["credential"].as_str().unwrap().is_empty());
    let (expiry, name) = server["username"].as_str().unwrap().split_once(':').unwrap();
    (expiry.parse().unwrap(), name.to_owned())
}

#[tokio::test]
async fn credentials_come_with_welcome_after_a_break_and_before_a_restart() {
    let (mut scene, _clinician, mut patient) = with_relay().await;
    let mut guest = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    let welcome = guest.read().remove(0);
    let (expiry, stranger) = username(&welcome["iceServers"][0]);
    assert_eq!(expiry, TTL.as_secs());

    scene.pass(Duration::from_secs(20)).await;
    let peer = scene.peer(&patient);
    patient.read();
    scene.event(Event::PeerSilent { room: scene.id(), peer }).await;
    let told = patient.read();
    assert_eq!((&told[0]["type"], &told[1]["type"]), (&Value::from("ice_servers"), &Value::from("restart_ice")));
    let (expiry, name) = username(&told[0]["iceServers"][0]);
    assert_eq!(expiry, TTL.as_secs() + 20);
    assert_ne!(name, stranger);

    scene.room.handle_gone(scene.now(), patient.socket);
    let mut again = scene.enter(patient.who, RoleView::Patient, resume(&patient)).await;
    let told = again.read();
    let told = told.iter().find(|message| message["type"] == "ice_servers").unwrap();
    assert_eq!(username(&told["iceServers"][0]).1, name, "the same person to the quota");
}

#[tokio::test]
async fn a_ping_renews_what_is_half_over() {
    let (mut scene, _clinician, mut patient) = with_relay().await;
    let ping = r#"{"type":"ping","id":1}"#;
    scene.say(&patient, ping).await;
    assert_eq!(patient.types(), ["pong", "ice_servers"], "the relay came after the welcome");
    scene.pass(TTL / 3).await;
    scene.say(&patient, ping).await;
    assert_eq!(patient.types(), ["pong"]);
    scene.pass(TTL / 3).await;
    scene.say(&patient, ping).await;
    assert_eq!(patient.types(), ["pong", "ice_servers"]);
}

#[tokio::test]
async fn without_a_relay_nothing_is_said_of_it() {
    let (mut scene, _clinician, mut patient) = Scene::with_two().await;
    scene.say(&patient, r#"{"type":"ping","id":1}"#).await;
    assert_eq!(patient.types(), ["pong"]);
    let mut guest = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    assert_eq!(guest.read()[0]["iceServers"], serde_json::json!([]));
}
