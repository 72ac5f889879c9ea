//! Planning, listing and ending visits.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::auth::{Actor, StaffRole};
use signaling::db;
use signaling::error::Error;
use signaling::ids::VisitId;
use signaling::visit::{VisitStatus, store};
use time::Duration;

use crate::support::{By, House, START};

#[tokio::test]
async fn an_appointment_has_one_visit() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00.123456789+02:00",
        "duration": 30, "appointmentId": "a-1"});
    let first = house.post("/api/visits", &by, body.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.json()["recordingPolicy"], "OPT_IN");
    let again = house.post("/api/visits", &by, body.clone()).await;
    assert_eq!((again.status, &again.json()["visitId"]), (StatusCode::OK, &first.json()["visitId"]));
    let mut other = body.clone();
    other["patientId"] = json!("q");
    let taken = house.post("/api/visits", &by, other).await;
    assert_eq!((taken.status, taken.code().as_str()), (StatusCode::CONFLICT, "APPOINTMENT_TAKEN"));
    // Another practice has its own appointments; a clinician plans their own visits.
    let theirs = house.bearer_in(house.theirs, "front-desk", StaffRole::Scheduler);
    assert_eq!(house.post("/api/visits", &theirs, body.clone()).await.status, StatusCode::CREATED);
    let colleague = house.bearer("dr-b", StaffRole::Clinician);
    assert_eq!(house.post("/api/visits", &colleague, body).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn lists_page_through_every_visit_once() {
    let house = House::open().await;
    for n in 0..103 {
        house.visit_at(START + Duration::minutes(30 * n)).await;
    }
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let first = house.get("/api/visits", &by).await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = house.get(&format!("/api/visits?cursor={cursor}"), &by).await.json();
    assert!(second["nextCursor"].is_null());
    let ids = |page: &Value| -> Vec<String> {
        page["visits"].as_array().unwrap().iter().map(|visit| visit["visitId"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = [ids(&first), ids(&second)].concat();
    assert_eq!((ids(&first).len(), all.len()), (100, 103));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 103);
    let few =
        house.get("/api/visits?from=2026-11-22T10:00:00Z&to=2026-11-22T11:30:00Z&status=SCHEDULED,WAITING", &by).await;
    assert_eq!(few.json()["visits"].as_array().unwrap().len(), 3);
    let none = house.get("/api/visits", &house.bearer("dr-b", StaffRole::Clinician)).await;
    assert_eq!(none.json()["visits"], json!([]));
}

async fn start(house: &House, visit: &str) {
    let id = VisitId::from_uuid(visit.parse().unwrap());
    let actor = Actor::System { org: house.ours };
    db::audited(&house.app.db, house.ours, &actor, async |tx| {
        let moved = store::move_to(tx, id, VisitStatus::InProgress, None, house.clock.now()).await?;
        let events = moved.events();
        Ok::<_, Error>((moved, events))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn ending_a_visit_ends_its_links_and_sessions() {
    let house = House::open().await;
    let visit = house.visit().await;
    let patient = house.redeem(&house.code(&visit, "patient").await).await;
    let unspent = house.code(&visit, "clinician").await;
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let path = format!("/api/visits/{visit}/end");
    let early = house.post(&path, &by, json!({})).await;
    assert_eq!(early.json()["from"], "SCHEDULED");
    assert_eq!(early.json()["to"], "COMPLETED");
    start(&house, &visit).await;
    house.clock.set(START + Duration::minutes(12));
    let ended = house.ask("POST", &path, &by, None).await;
    assert_eq!(ended.json(), json!({"status": "COMPLETED", "endedAt": "2026-11-21T10:12:00Z", "actualDuration": 12}));
    assert_eq!(house.redeem(&unspent).await.code(), "TOKEN_REVOKED");
    let session = By::Cookie(patient.cookie().unwrap());
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &session).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.post(&path, &by, json!({})).await.code(), "VISIT_FINAL");
    let links = house.post(&format!("/api/visits/{visit}/links"), &by, json!({"roles": ["patient"]})).await;
    assert_eq!(links.code(), "VISIT_FINAL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_ends_end_once() {
    let house = House::open().await;
    let visit = house.visit().await;
    start(&house, &visit).await;
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let path = format!("/api/visits/{visit}/end");
    let ends = futures_util::future::join_all((0..10).map(|_| house.post(&path, &by, json!({})))).await;
    assert_eq!(ends.iter().filter(|end| end.status == StatusCode::OK).count(), 1);
    let view = house.get(&format!("/api/visits/{visit}"), &by).await.json();
    assert_eq!((view["status"].as_str(), view["rowVersion"].as_i64()), (Some("COMPLETED"), Some(3)));
}
