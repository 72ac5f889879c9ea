//! Canaries: what people type, hold or come from never reaches a log line or a trace.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use serde_json::json;
use signaling::auth::StaffRole;
use signaling::config::Profile;

use crate::log;
use crate::support::{By, House};

/// A trace that a service of our own began, and one that a stranger names.
const OURS: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const THEIRS: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

#[tokio::test]
async fn b_02_no_name_token_code_or_address_is_logged() {
    log::listen();
    let house = House::open().await;
    let by = house.bearer("canary-sub-clinician", StaffRole::Clinician);
    let body = json!({"patientId": "canary-patient-id", "clinicianId": "canary-sub-clinician", "patientName": "Canary Patient Name",
        "clinicianName": "Canary Clinician Name", "visitType": "canary-visit-type", "appointmentId": "canary-appointment",
        "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30});
    let visit = house.post("/api/visits", &by, body.clone()).await.json()["visitId"].as_str().unwrap().to_owned();
    // Also where it fails: a taken appointment, a value too long, an unreadable body.
    let mut again = body.clone();
    again["duration"] = json!(31);
    house.post("/api/visits", &by, again).await;
    let mut long = body.clone();
    long["patientName"] = json!("Canary Patient Name".repeat(50));
    house.post("/api/visits", &by, long).await;
    house.post("/api/visits", &by, json!({"canary-field": "canary-value"})).await;
    let link =
        house.post(&format!("/api/visits/{visit}/links"), &by, json!({"roles": ["patient"]})).await.json()["patient"]
            .clone();
    let (code, jwt) = (link["shortCode"].as_str().unwrap(), link["token"].as_str().unwrap());
    house.get(&format!("/j/{code}"), &By::Nobody).await;
    house.validate(code).await;
    let session = house.redeem(code).await.cookie().unwrap();
    house.redeem(code).await;
    house.post("/api/token/redeem", &By::Nobody, json!({"token": jwt})).await;
    house.get(&format!("/api/visits/{visit}"), &By::Cookie(session.clone())).await;
    house.get("/canary-path?canary-query=1", &By::Cookie(session.clone())).await;
    let By::Bearer(bearer) = &by else { panic!("a bearer") };
    let request = Request::builder()
        .uri("/api/visits?canary-query=1")
        .header(header::AUTHORIZATION, format!("Bearer {bearer}"))
        .header(header::USER_AGENT, "canary-agent")
        .header("x-forwarded-for", "198.51.100.77")
        .body(Body::empty())
        .unwrap();
    house.send(request).await;
    // Numbers, addresses, and the words of messages: on file, sent, refused.
    let talking = House::open_as(Profile::Development).await;
    let told = talking.visit().await;
    let contacts = json!({"patient": {"phone": "+15557654321", "email": "canary.mail@example.com", "smsConsent": true,
        "emailConsent": true, "timeConsent": true}});
    crate::notices::put_contacts(&talking, &told, contacts).await;
    signaling::notice::chore::turn(&talking.app).await;
    assert_eq!(talking.app.carriers.outbox.messages().len(), 2);
    let desk = talking.bearer("front-desk", StaffRole::Scheduler);
    let bad = json!({"patient": {"phone": "canary-phone"}});
    talking.ask("PUT", &format!("/api/visits/{told}/contacts"), &desk, Some(bad)).await;
    talking.post("/webhooks/standard", &By::Nobody, json!({"from": "+15557654321", "text": "canary"})).await;
    for (from, trace) in [([198, 51, 100, 77], THEIRS), ([203, 0, 113, 9], OURS)] {
        let request = Request::builder()
            .method("CANARY-METHOD")
            .uri("/api/visits")
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .header("tracestate", "canary=state")
            .header("baggage", "canary=baggage")
            .extension(ConnectInfo(SocketAddr::from((from, 4711))))
            .body(Body::empty())
            .unwrap();
        house.send(request).await;
    }
    let traces = log::traced().await;
    let holds = |what: &[u8]| traces.windows(what.len()).any(|window| window == what);
    for expected in ["anteroom", "request", "/api/visits/{id}", "route", "request_id"] {
        assert!(holds(expected.as_bytes()), "{expected} is not in {} bytes of traces", traces.len());
    }
    assert!(holds(&hex::decode(OURS).unwrap()), "the trace of our own service goes on");
    assert!(!holds(&hex::decode(THEIRS).unwrap()), "a stranger's does not");
    let log = log::heard();
    assert!(log.contains(OURS) && !log.contains(THEIRS), "lines say which trace they belong to");
    assert!(log.contains("a join link was redeemed"), "the log was listened to");
    let secret = session.split_once('=').unwrap().1;
    for canary in [
        "canary",
        "Canary",
        "CANARY",
        code,
        jwt,
        bearer,
        secret,
        "198.51.100.77",
        "Our practice",
        "555 0100",
        "5557654321",
    ] {
        if let Some(line) = log.lines().find(|line| line.contains(canary)) {
            panic!("{canary} in: {line}");
        }
        assert!(!holds(canary.as_bytes()), "{canary} in the traces");
    }
}
