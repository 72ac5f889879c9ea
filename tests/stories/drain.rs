//! The server is told to stop while people talk: they finish, nobody new begins, and there is an end to the waiting.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::http::Http;
use crate::support::media::vp8_frames;
use crate::support::person::{Person, Practice, redeem};
use crate::support::server::Server;

/// Two people who see and hear each other.
pub(crate) async fn call(practice: &Practice) -> (Person, Person) {
    let mut clinician = practice.arrive().await;
    let mut patient = practice.patient_arrives().await;
    clinician.connect(vp8_frames("red").await).await;
    patient.connect(vp8_frames("blue").await).await;
    clinician.socket.ask_ok(json!({"type": "admit", "participantId": patient.id})).await;
    patient.peer.receives(20).await;
    clinician.peer.receives(20).await;
    (clinician, patient)
}

#[tokio::test]
async fn a_running_call_goes_on_and_nobody_new_begins() {
    let mut server = Server::start_with(&[("ANTEROOM_DRAIN_LIMIT", "10m")]).await;
    let (running, planned) = (Practice::open(&server).await, Practice::open(&server).await);
    let code = planned.link().await;
    let (mut clinician, mut patient) = call(&running).await;

    server.ask_to_stop();
    for person in [&mut clinician, &mut patient] {
        let told = person.socket.hear("draining").await;
        let deadline = OffsetDateTime::parse(told["deadline"].as_str().unwrap(), &Rfc3339).unwrap();
        let left = deadline - OffsetDateTime::now_utc();
        assert!(left > time::Duration::minutes(9) && left <= time::Duration::minutes(10), "{left}");
    }
    let ready = Http::new(&server.addr).get("/readyz").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "DRAINING"));
    assert_eq!(Http::new(&server.addr).get("/healthz").await.status, 200);

    // The link of a visit that has not begun stays unspent; its clinician is asked to come back.
    for _ in 0..2 {
        let refused = redeem(&server.addr, &code).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "DRAINING"));
        assert_eq!(refused.headers.get("retry-after").unwrap(), "10");
        assert!(refused.cookie().is_none());
    }
    let (error, close) = planned.is_turned_away().await;
    assert_eq!((&error["code"], &error["retryAfterSeconds"]), (&json!("DRAINING"), &json!(10)));
    assert_eq!(close, 4503);

    // The call hears nothing of all that; whoever drops out of it comes back in.
    patient.peer.receives(100).await;
    clinician.peer.receives(100).await;
    let mut again = running.arrive().await;
    again.socket.hear("draining").await;
    patient.peer.receives(20).await;

    let ended = running.http.post(&format!("/api/visits/{}/end", running.visit), &json!({})).await.ok();
    assert_eq!(ended["status"], "COMPLETED");
    assert_eq!(patient.socket.hear("ended").await["reason"], "completed");
    let took = server.ended().await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(server.processes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_waiting_has_a_limit() {
    let mut server = Server::start_with(&[("ANTEROOM_DRAIN_LIMIT", "3s")]).await;
    let practice = Practice::open(&server).await;
    let (mut clinician, mut patient) = call(&practice).await;
    let asked = tokio::time::Instant::now();
    server.ask_to_stop();
    patient.socket.hear("draining").await;
    assert_eq!(patient.socket.hear("ended").await["reason"], "failed");
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
    assert_eq!(clinician.socket.hear("ended").await["reason"], "failed");
    assert_eq!(clinician.socket.closed().await, 4500);
    server.ended().await;
}

#[tokio::test]
async fn a_second_signal_ends_the_waiting() {
    let mut server = Server::start_with(&[("ANTEROOM_DRAIN_LIMIT", "10m")]).await;
    let practice = Practice::open(&server).await;
    let (_clinician, mut patient) = call(&practice).await;
    server.ask_to_stop();
    patient.socket.hear("draining").await;
    server.ask_to_stop();
    assert_eq!(patient.socket.hear("ended").await["reason"], "failed");
    let took = server.ended().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}
