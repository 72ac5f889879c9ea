//! A whole visit of two people, over the real network, with media by an independent implementation.

use serde_json::json;

use crate::support::media::vp8_frames;
use crate::support::peer::Received;
use crate::support::person::Practice;
use crate::support::server::Server;

#[tokio::test]
async fn the_patient_waits_is_admitted_and_both_see_and_hear_each_other() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let mut clinician = practice.arrive().await;
    let mut patient = practice.patient_arrives().await;
    assert_eq!((clinician.door(), patient.door()), ("admitted", "waiting"));
    clinician
        .socket
        .hear_where("the patient waits", |m| {
            m["type"] == "waiting_list" && m["entries"][0]["participantId"] == json!(patient.id)
        })
        .await;

    // Everything is connected and everybody sends, but the door is shut: a second of media goes nowhere.
    clinician.connect(vp8_frames("red").await).await;
    patient.connect(vp8_frames("blue").await).await;
    patient.peer.sends(50).await;
    clinician.peer.sends(50).await;
    assert_eq!(patient.peer.received(), Received::default());
    assert_eq!(clinician.peer.received(), Received::default());

    clinician.socket.ask_ok(json!({"type": "admit", "participantId": patient.id})).await;
    patient.socket.hear("admitted").await;
    patient.peer.receives(50).await;
    clinician.peer.receives(50).await;

    // Back into the waiting room: what is under way may still arrive, then nothing more.
    clinician.socket.ask_ok(json!({"type": "send_back", "participantId": patient.id})).await;
    patient.socket.hear("sent_back").await;
    patient.peer.sends(25).await;
    let (at_patient, at_clinician) = (patient.peer.received(), clinician.peer.received());
    patient.peer.sends(50).await;
    assert_eq!((patient.peer.received(), clinician.peer.received()), (at_patient, at_clinician));

    clinician.socket.ask_ok(json!({"type": "admit", "participantId": patient.id})).await;
    patient.peer.receives(50).await;
    clinician.peer.receives(50).await;

    let ended = practice.http.post(&format!("/api/visits/{}/end", practice.visit), &json!({})).await.ok();
    assert_eq!(ended["status"], "COMPLETED");
    assert_eq!(patient.socket.hear("ended").await["reason"], "completed");
    assert_eq!(patient.socket.closed().await, 1000);
    patient.peer.close().await;
    clinician.peer.close().await;
}
