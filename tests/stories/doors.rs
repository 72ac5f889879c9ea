//! The clinician decides who comes in.

use serde_json::json;

use crate::support::media::vp8_frames;
use crate::support::peer::Received;
use crate::support::person::Practice;
use crate::support::server::Server;

#[tokio::test]
async fn a_denied_patient_is_told_and_never_heard() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let mut clinician = practice.arrive().await;
    let mut patient = practice.patient_arrives().await;
    clinician.connect(vp8_frames("red").await).await;
    patient.connect(vp8_frames("blue").await).await;
    clinician.socket.ask_ok(json!({"type": "deny", "participantId": patient.id})).await;
    assert_eq!(patient.socket.hear("ended").await["reason"], "denied");
    assert_eq!(patient.socket.closed().await, 1000);
    patient.peer.sends(50).await;
    assert_eq!(clinician.peer.received(), Received::default());
    assert_eq!(patient.peer.received(), Received::default());
}

#[tokio::test]
async fn nobody_admits_themselves() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let mut patient = practice.patient_arrives().await;
    let answer = patient.socket.ask(json!({"type": "admit", "participantId": patient.id})).await;
    assert_eq!((answer["type"].as_str(), answer["code"].as_str()), (Some("error"), Some("FORBIDDEN")));
}
