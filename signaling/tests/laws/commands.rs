//! What can be done to a visit, over the commands that every face calls: guards, versions, double booking.

use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use signaling::auth::{Actor, Staff, StaffRole};
use signaling::error::{Error, Result};
use signaling::ids::VisitId;
use signaling::problem::Code;
use signaling::visit::issue::{self, Category, NewIssue};
use signaling::visit::{EndReason, VisitStatus, command};
use time::Duration;

use crate::support::{Answer, By, House, START};

pub(crate) fn clinician(house: &House, sub: &str) -> Actor {
    let expires_at = START + Duration::days(1);
    Actor::Staff(Staff {
        org: house.ours,
        sub: sub.to_owned(),
        role: StaffRole::Clinician,
        name: None,
        expires_at,
        assurance: signaling::auth::Assurance::Fresh,
        credential: signaling::auth::Credential::Token { id: None, issued_at: house.clock.now() },
        opened: Vec::new(),
    })
}

pub(crate) fn id(visit: &str) -> VisitId {
    VisitId::from_uuid(visit.parse().unwrap())
}

/// The events of a visit in their order, with their outcome.
pub(crate) async fn events(house: &House, visit: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT event_type FROM audit_event WHERE visit_id = $1 ORDER BY seq")
        .bind(visit.parse::<uuid::Uuid>().unwrap())
        .fetch_all(&mut house.database.owner().await)
        .await
        .unwrap()
}

fn code(result: Result<impl Sized>) -> Code {
    match result {
        Err(Error::Refused(problem)) => problem.code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was done"),
    }
}

async fn plan(house: &House, clinician: &str, at: &str, minutes: i32) -> Answer {
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p", "clinicianId": clinician, "scheduledAt": at, "duration": minutes});
    house.post("/api/visits", &by, body).await
}

#[tokio::test]
async fn a_clinician_is_booked_once_at_a_time() {
    let house = House::open().await;
    let first = plan(&house, "dr-a", "2026-11-21T10:00:00Z", 30).await;
    assert_eq!(first.status, StatusCode::CREATED);
    for at in ["2026-11-21T10:00:00Z", "2026-11-21T09:45:00Z", "2026-11-21T10:29:59Z", "2026-11-21T12:29:00+02:00"] {
        let taken = plan(&house, "dr-a", at, 30).await;
        assert_eq!((taken.status, taken.code().as_str()), (StatusCode::CONFLICT, "DOUBLE_BOOKED"), "{at}");
    }
    // What touches does not overlap, a colleague is somebody else, and so is a clinician of that name in another practice.
    assert_eq!(plan(&house, "dr-a", "2026-11-21T10:30:00Z", 30).await.status, StatusCode::CREATED);
    assert_eq!(plan(&house, "dr-a", "2026-11-21T09:30:00Z", 30).await.status, StatusCode::CREATED);
    assert_eq!(plan(&house, "dr-b", "2026-11-21T10:00:00Z", 30).await.status, StatusCode::CREATED);
    let theirs = house.bearer_in(house.theirs, "front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30});
    assert_eq!(house.post("/api/visits", &theirs, body).await.status, StatusCode::CREATED);
    // A visit that was called off gives its time back.
    let visit = first.json()["visitId"].as_str().unwrap().to_owned();
    let doctor = clinician(&house, "dr-a");
    command::cancel(&house.app, &doctor, id(&visit), None, None).await.unwrap();
    assert_eq!(plan(&house, "dr-a", "2026-11-21T10:00:00Z", 30).await.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_who_plan_the_same_time_at_once_plan_one_visit() {
    let house = House::open().await;
    let tries = (0..40).map(|_| plan(&house, "dr-a", "2026-11-21T10:00:00Z", 30));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    assert!(answers.iter().filter(|a| a.status != StatusCode::CREATED).all(|a| a.code() == "DOUBLE_BOOKED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_who_plan_the_same_appointment_at_once_get_the_same_visit() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30,
        "appointmentId": "a-7"});
    let tries = (0..40).map(|_| house.post("/api/visits", &by, body.clone()));
    let answers = futures_util::future::join_all(tries).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    let same = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!((made, same), (1, 39));
    assert!(answers.iter().all(|answer| answer.json()["visitId"] == answers[0].json()["visitId"]));
}

async fn patch(house: &House, visit: &str, tag: Option<&str>, body: Value) -> Answer {
    let By::Bearer(token) = house.bearer("front-desk", StaffRole::Scheduler) else { panic!("a bearer") };
    let mut request = Request::builder()
        .method("PATCH")
        .uri(format!("/api/v1/telehealth/sessions/{visit}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(tag) = tag {
        request = request.header(header::IF_MATCH, tag);
    }
    house.send(request.body(axum::body::Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_change_names_the_version_that_it_changes() {
    let house = House::open().await;
    let visit = house.visit().await;
    let link = house.code(&visit, "patient").await;
    let moved = patch(&house, &visit, Some("\"1\""), json!({"scheduledAt": "2026-11-21T12:00:00Z"})).await;
    assert_eq!(moved.status, StatusCode::OK, "{:?}", moved.json());
    assert_eq!(moved.json()["scheduledAt"], "2026-11-21T12:00:00Z");
    assert_eq!(
        (moved.json()["rowVersion"].as_i64(), moved.headers[header::ETAG].to_str().unwrap()),
        (Some(2), "\"2\"")
    );
    // The link was made for the old time.
    assert_eq!(house.validate(&link).await.code(), "TOKEN_REVOKED");
    // Whoever read it before that does not overwrite it, by header or by body.
    for (tag, body) in [(Some("\"1\""), json!({"channel": "sms"})), (None, json!({"channel": "sms", "rowVersion": 1}))]
    {
        let stale = patch(&house, &visit, tag, body).await;
        assert_eq!((stale.status, stale.code().as_str()), (StatusCode::PRECONDITION_FAILED, "VERSION_CONFLICT"));
        assert_eq!(stale.json()["rowVersion"], 2);
    }
    assert_eq!(patch(&house, &visit, Some("2"), json!({})).await.status, StatusCode::BAD_REQUEST);
    let sms = patch(&house, &visit, Some("W/\"2\""), json!({"channel": "sms", "visitType": "follow_up"})).await;
    assert_eq!((sms.status, sms.json()["rowVersion"].as_i64()), (StatusCode::OK, Some(3)));
    // The same again is no change.
    let same = patch(&house, &visit, None, json!({"channel": "sms"})).await;
    assert_eq!((same.status, same.json()["rowVersion"].as_i64()), (StatusCode::OK, Some(3)));
    assert_eq!(patch(&house, &visit, None, json!({"status": "COMPLETED"})).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        events(&house, &visit).await,
        [
            "VISIT_CREATED",
            "TOKEN_ISSUED",
            "VISIT_RESCHEDULED",
            "TOKEN_REVOKED",
            "TOKEN_VALIDATED",
            "VISIT_UPDATED",
            "VISIT_UPDATED"
        ]
    );
    // Another time that is taken changes nothing.
    house.visit_at(START + Duration::hours(5)).await;
    let taken = patch(&house, &visit, None, json!({"scheduledAt": "2026-11-21T15:15:00Z"})).await;
    assert_eq!(taken.code(), "DOUBLE_BOOKED");
}

#[tokio::test]
async fn a_path_may_name_a_visit_by_its_appointment_in_its_own_practice() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let first = house.visit().await;
    let body = json!({"patientId": "p", "clinicianId": "dr-b", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30,
        "appointmentId": "a-7"});
    let made = house.post("/api/visits", &by, body.clone()).await.json();
    let found = patch(&house, "a-7", None, json!({"channel": "sms"})).await;
    assert_eq!((found.status, &found.json()["visitId"]), (StatusCode::OK, &made["visitId"]));
    assert_eq!(patch(&house, "a-8", None, json!({"channel": "sms"})).await.code(), "NOT_FOUND");
    // An appointment that is called like another visit takes nothing from it.
    let mut twin = body.clone();
    (twin["clinicianId"], twin["appointmentId"]) = (json!("dr-c"), json!(first));
    assert_eq!(house.post("/api/visits", &by, twin).await.status, StatusCode::CREATED);
    let found = patch(&house, &first, None, json!({"channel": "sms"})).await;
    assert_eq!((found.status, &found.json()["visitId"]), (StatusCode::OK, &json!(first)));
}

#[tokio::test]
async fn a_technical_end_needs_a_report_and_can_be_taken_back_for_an_hour() {
    let house = House::open().await;
    let visit = house.visit().await;
    let link = house.code(&visit, "patient").await;
    let (app, doctor) = (&house.app, clinician(&house, "dr-a"));
    let technical = EndReason::Technical;
    assert_eq!(code(command::end(app, &doctor, id(&visit), None, technical).await), Code::IssueMissing);
    assert_eq!(code(command::reopen(app, &doctor, id(&visit), None).await), Code::InvalidTransition);
    let new = NewIssue { category: Category::Connection, severity: None };
    assert_eq!(code(issue::report(app, &clinician(&house, "dr-b"), id(&visit), new).await), Code::NotFound);
    issue::report(app, &doctor, id(&visit), new).await.unwrap();
    let ended = command::end(app, &doctor, id(&visit), None, technical).await.unwrap();
    assert_eq!((ended.status, ended.end_reason), (VisitStatus::Technical, Some(technical)));
    assert_eq!(house.validate(&link).await.code(), "TOKEN_REVOKED");
    // The clinician's next visit may have been planned over it by now: it is reopened all the same.
    assert_eq!(plan(&house, "dr-a", "2026-11-21T10:15:00Z", 30).await.status, StatusCode::CREATED);
    house.clock.set(START + Duration::minutes(60));
    let reopened = command::reopen(app, &doctor, id(&visit), Some(ended.row_version)).await.unwrap();
    assert_eq!((reopened.status, reopened.end_reason, reopened.ended_at), (VisitStatus::Waiting, None, None));
    assert_eq!(house.validate(&link).await.code(), "TOKEN_REVOKED");
    house.code(&visit, "patient").await;
    command::end(app, &doctor, id(&visit), None, technical).await.unwrap();
    house.clock.set(START + Duration::minutes(121));
    assert_eq!(code(command::reopen(app, &doctor, id(&visit), None).await), Code::ReopenWindowOver);
    let seen = events(&house, &visit).await;
    for event in ["TECHNICAL_ISSUE_REPORTED", "VISIT_TECHNICAL", "VISIT_REOPENED"] {
        assert!(seen.iter().any(|one| one == event), "{event} in {seen:?}");
    }
}
