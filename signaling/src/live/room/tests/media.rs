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

#[tokio::test]
async fn measurements_become_samples_of_their_person_and_the_rest_is_kept_at_the_end() {
    let (mut scene, mut clinician, patient) = Scene::with_two().await;
    let (room, peer) = (scene.id(), scene.peer(&patient));
    let quality = |bars, kbits_up| Event::Quality {
        room,
        peer,
        bars,
        rtt_ms: None,
        loss_up_permille: 3,
        loss_down_permille: 5,
        jitter_ms: 7,
        kbits_up,
        kbits_down: 800,
        target_kbits: Some(1_500),
    };
    scene.say(&patient, r#"{"type":"stats","rttMs":41.6,"framesDecoded":300,"freezes":1}"#).await;
    for bars in [4, 2, 9] {
        scene.event(quality(bars, 600)).await;
        scene.pass(Duration::from_secs(2)).await;
    }
    let samples = std::mem::take(&mut scene.world.world().samples);
    let [sample] = samples.as_slice() else { panic!("one sample in six seconds: {samples:?}") };
    assert_eq!(sample.participant, patient.who);
    let got = sample.measured;
    assert_eq!((got.bars, got.rtt_ms, got.kbits_up, got.target_kbits), (2, Some(42), 600, Some(1_500)));
    assert_eq!((got.frames_decoded, got.freezes, got.jitter_ms), (Some(300), Some(1), 7));
    let told: Vec<_> = clinician.read().into_iter().filter(|m| m["type"] == "quality").collect();
    assert_eq!(told.iter().map(|m| m["bars"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 2, 4]);
    // Somebody back in the waiting room is measured, but nobody is told.
    scene.say(&clinician, &about("send_back", patient.who)).await;
    clinician.read();
    scene.event(quality(0, 10)).await;
    assert!(clinician.types().iter().all(|kind| kind != "quality"));
    assert!(scene.world.world().samples.is_empty());
    scene.say(&patient, r#"{"type":"leave"}"#).await;
    let samples = std::mem::take(&mut scene.world.world().samples);
    assert_eq!(samples.iter().map(|s| (s.participant, s.measured.bars)).collect::<Vec<_>>(), [(patient.who, 0)]);
}
