//! What the media node says about one connection reaches that client alone, and what a client shows reaches the node.

use wire::control::{Encoding, View};

use super::*;

/// What the sfu may say about a publisher's encoders and a receiver's slots.
fn wishes(room: RoomId, peer: PeerId) -> Vec<Event> {
    vec![
        Event::EncodingWanted { room, peer, source: Source::Camera, encoding: Encoding::Asleep },
        Event::VideoPaused { room, peer, mid: "1".to_owned(), paused: true },
        Event::AudioBudget { room, peer, bitrate: 16_000, ptime_ms: 60 },
        Event::PeerSilent { room, peer },
    ]
}

#[tokio::test]
async fn wishes_about_a_connection_reach_its_client_alone() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    let peer = scene.peer(&patient);
    for event in wishes(scene.id(), peer) {
        scene.event(event).await;
    }
    let told = patient.read();
    let said: Vec<_> = told
        .iter()
        .map(|m| {
            let mut m = m.as_object().unwrap().clone();
            m.remove("seq");
            serde_json::to_string(&m).unwrap()
        })
        .collect();
    assert_eq!(
        said,
        [
            r#"{"encoding":"asleep","source":"camera","type":"encode"}"#,
            r#"{"mid":"1","paused":true,"type":"paused"}"#,
            r#"{"bitrate":16000,"ptimeMs":60,"type":"audio_budget"}"#,
            r#"{"type":"restart_ice"}"#,
        ]
    );
    assert!(clinician.types().is_empty());
    // A Peer that was replaced has nobody to tell.
    scene.say(&patient, &offer("qqqq")).await;
    patient.read();
    for event in wishes(scene.id(), peer) {
        scene.event(event).await;
    }
    assert!(patient.types().is_empty());
}

#[tokio::test]
async fn whoever_is_told_everything_anew_hears_what_still_holds() {
    let (mut scene, _clinician, mut patient) = Scene::with_two().await;
    let peer = scene.peer(&patient);
    let room = scene.id();
    for event in wishes(room, peer) {
        scene.event(event).await;
    }
    scene.event(Event::VideoPaused { room, peer, mid: "2".to_owned(), paused: true }).await;
    scene.event(Event::VideoPaused { room, peer, mid: "1".to_owned(), paused: false }).await;
    scene.event(Event::EncodingWanted { room, peer, source: Source::Camera, encoding: Encoding::Layers }).await;
    patient.read();
    let mut claim = resume(&patient).unwrap();
    claim.token = Redacted::new("token-9".to_owned());
    let mut again = scene.enter(patient.who, RoleView::Patient, Some(claim)).await;
    let told = again.read();
    let types: Vec<_> = told.iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!(types[..4], ["welcome", "paused", "encode", "audio_budget"]);
    assert_eq!((&told[1]["mid"], &told[2]["encoding"]), (&Value::from("2"), &Value::from("layers")));
}

#[tokio::test]
async fn a_restart_is_not_kept_for_a_client_that_is_away() {
    let (mut scene, _clinician, mut patient) = Scene::with_two().await;
    let peer = scene.peer(&patient);
    patient.read();
    scene.room.handle_gone(scene.now(), patient.socket);
    scene.event(Event::PeerSilent { room: scene.id(), peer }).await;
    scene.event(Event::VideoPaused { room: scene.id(), peer, mid: "1".to_owned(), paused: true }).await;
    let mut again = scene.enter(patient.who, RoleView::Patient, resume(&patient)).await;
    let types = again.types();
    assert!(types.contains(&"paused".to_owned()), "{types:?}");
    assert!(!types.contains(&"restart_ice".to_owned()), "{types:?}");
}

#[tokio::test]
async fn a_view_goes_to_the_node_about_the_own_connection() {
    let (mut scene, _clinician, mut patient) = Scene::with_two().await;
    let peer = scene.peer(&patient);
    scene.say(&patient, r#"{"type":"view","mid":"1","view":"hidden"}"#).await;
    let acts = scene.world.world().acts.clone();
    let [Act::Sfu(Command::View { peer: asked, mid, view, .. })] = acts.as_slice() else {
        panic!("one command: {acts:?}");
    };
    assert_eq!((*asked, mid.as_str(), *view), (peer, "1", View::Hidden));
    assert!(patient.types().is_empty(), "a view has no answer");
    // Without a connection there is nothing to ask.
    scene.event(Event::PeerLost { room: scene.id(), peer, reason: Lost::Silent }).await;
    scene.world.names();
    scene.say(&patient, r#"{"type":"view","mid":"1","view":"full"}"#).await;
    assert!(scene.world.names().is_empty());
}
