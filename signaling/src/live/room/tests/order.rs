//! Captures that are delivered: who must have agreed, what is noted on the way, and whose word ends them.

use wire::OrderId;
use wire::delivery::{Note, Order, Place};

use super::*;

fn order() -> Order {
    Order {
        id: OrderId::random(),
        place: Place { bucket: "captures".to_owned(), prefix: "x".to_owned() },
        key: None,
        with_speaker: false,
        cameras: true,
        shares: true,
        only: Vec::new(),
    }
}

fn system() -> Actor {
    Actor::System { org: OrgId::random() }
}

impl Scene {
    /// What was noted since the last time, in order.
    async fn notes(&mut self) -> Vec<Note> {
        self.room.hand_over_notes().await;
        let acts = std::mem::take(&mut self.world.world().acts);
        let note = |act: &Act| match act {
            Act::Sfu(Command::Note { note, .. }) => Some(serde_json::from_str(note.reveal()).unwrap()),
            _ => None,
        };
        acts.iter().filter_map(note).collect()
    }
}

#[tokio::test]
async fn a_plain_meeting_is_captured_on_its_applications_word() {
    let mut scene = Scene::new();
    (scene.room.facts.is_door_open, scene.room.facts.needs_consent) = (true, false);
    let order = order();
    let nobody = scene.room.handle_order(scene.now(), system(), order.clone()).await.unwrap_err();
    assert_eq!(nobody.code, Code::ConsentRequired, "nobody is there");
    assert!(scene.room.handle_may_capture().is_ok());
    let one = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    scene.say(&one, &offer("1")).await;
    scene.world.names();
    let recording = scene.room.handle_order(scene.now(), system(), order.clone()).await.unwrap();
    let acts = std::mem::take(&mut scene.world.world().acts);
    assert!(matches!(&acts[1], Act::Sfu(Command::StartTap { is_cut: true, .. })), "{acts:?}");
    let Act::Store(Change::RecordingRequested { needs_consent, order: ordered, .. }) = &acts[2] else {
        panic!("{acts:?}")
    };
    assert_eq!((*needs_consent, ordered.as_deref()), (false, Some(&order)));
    // Who comes later does not end it: the media node hears that they may be captured before it hears of them.
    let two = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    scene.world.names();
    scene.say(&two, &offer("2")).await;
    assert_eq!(scene.world.names(), ["sfu SetConsent", "sfu AddPeer", "sfu Offer"]);
    assert_eq!(scene.room.capture.recording(), Some(recording));
    // Another order does not end it, its own does.
    scene.room.handle_order_end(scene.now(), OrderId::random(), None, StopReason::Asked).await;
    assert!(scene.room.capture.is_running());
    scene.room.handle_order_end(scene.now(), order.id, None, StopReason::Asked).await;
    assert_eq!(scene.world.names(), ["sfu StopTap", "db RecordingStopped"]);
}

#[tokio::test]
async fn a_visits_room_is_captured_when_everybody_has_agreed() {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    let missing = scene.room.handle_may_capture().unwrap_err();
    assert_eq!(missing.code, Code::ConsentRequired);
    assert!(scene.room.handle_order(scene.now(), system(), order()).await.is_err());
    for client in [&clinician, &patient] {
        scene.say(client, r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#).await;
    }
    assert!(scene.room.handle_may_capture().is_ok());
    scene.room.handle_order(scene.now(), system(), order()).await.unwrap();
    assert_eq!(scene.room.handle_may_capture().unwrap_err().code, Code::AlreadyRecording);
    scene.say(&patient, r#"{"type":"consent","id":9,"version":1,"decision":"REVOKE"}"#).await;
    assert!(!scene.room.capture.is_running());
    assert!(scene.room.handle_order(scene.now(), system(), order()).await.is_err());
}

#[tokio::test]
async fn who_comes_goes_speaks_and_is_muted_is_noted_once() {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    for client in [&clinician, &patient] {
        scene.say(client, r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#).await;
        scene.say(client, r#"{"type":"state","microphone":true,"camera":false,"cameraHeld":false}"#).await;
    }
    assert_eq!(scene.notes().await, [], "nothing is noted that nobody ordered");
    scene.room.handle_order(scene.now(), system(), order()).await.unwrap();
    let mut joined: Vec<ParticipantId> = Vec::new();
    for note in scene.notes().await {
        let Note::Joined { participant, alias, is_share: false, .. } = note else { panic!("{note:?}") };
        assert_eq!(alias, participant.to_string());
        joined.push(participant);
    }
    joined.sort();
    let mut everybody = vec![clinician.who, patient.who];
    everybody.sort();
    assert_eq!(joined, everybody);
    let alias = patient.who.to_string();
    scene.say(&patient, r#"{"type":"state","microphone":false,"camera":false,"cameraHeld":false}"#).await;
    scene.say(&patient, r#"{"type":"state","microphone":false,"camera":false,"cameraHeld":false}"#).await;
    assert_eq!(scene.notes().await, [Note::Muted { alias: alias.clone(), is_muted: true }]);
    let room = scene.id();
    scene.event(Event::Speaking { room, participant: Some(clinician.who) }).await;
    assert_eq!(scene.notes().await, [Note::Speaking { participant: Some(clinician.who) }]);
    scene.say(&patient, r#"{"type":"leave"}"#).await;
    assert_eq!(scene.notes().await, [Note::Left { alias }]);
}
