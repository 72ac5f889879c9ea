//! Rows 1, 7, 9, 10, 36, 38 and 39: visits are planned, listed, looked at and ended.

use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;
use signaling::visit::issue::{self, Category, NewIssue, Severity};
use signaling::visit::{VisitStatus, command};
use time::Duration;

use crate::commands::{clinician, events, id};
use crate::support::{By, House, START};

#[tokio::test]
async fn row_01_post_visits_plans_a_visit() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "patient-123", "clinicianId": "clinician-456", "scheduledAt": "2026-11-21T14:00:00Z",
        "duration": 30, "visitType": "follow_up", "channel": "sms"});
    let made = house.post("/api/visits", &by, body.clone()).await;
    assert_eq!((made.status, made.json()["status"].as_str()), (StatusCode::CREATED, Some("SCHEDULED")));
    let visit = made.json()["visitId"].as_str().unwrap().to_owned();
    assert_eq!(events(&house, &visit).await, ["VISIT_CREATED"]);
    assert_eq!(house.post("/api/visits", &by, body).await.code(), "DOUBLE_BOOKED");
}

#[tokio::test]
async fn row_07_post_end_ends_a_visit() {
    let house = House::open().await;
    let visit = house.visit().await;
    let doctor = clinician(&house, "dr-a");
    command::start(&house.app, &doctor, id(&visit), None).await.unwrap();
    house.clock.set(START + Duration::minutes(20));
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let ended = house.post(&format!("/api/visits/{visit}/end"), &by, json!({"endReason": "NORMAL"})).await;
    assert_eq!(ended.json(), json!({"status": "COMPLETED", "endedAt": "2026-11-21T10:20:00Z", "actualDuration": 20}));
    assert_eq!(
        events(&house, &visit).await,
        ["VISIT_CREATED", "VISIT_STATUS_CHANGED", "VISIT_STARTED", "VISIT_STATUS_CHANGED", "VISIT_ENDED"]
    );
}

#[tokio::test]
async fn row_09_get_visit_is_cut_to_the_reader() {
    let house = House::open().await;
    let visit = house.visit().await;
    let path = format!("/api/visits/{visit}");
    let staff = house.get(&path, &house.bearer("dr-a", StaffRole::Clinician)).await;
    assert_eq!((staff.status, staff.json()["clinician"]["id"].as_str()), (StatusCode::OK, Some("dr-a")));
    let cookie = house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap();
    let patient = house.get(&path, &By::Cookie(cookie)).await;
    assert_eq!(patient.status, StatusCode::OK);
    assert!(patient.json()["clinician"].get("id").is_none());
    assert!(patient.json()["patient"].get("id").is_none());
    assert!(patient.json().get("appointmentId").is_none());
    assert!(events(&house, &visit).await.contains(&"VISIT_VIEWED".to_owned()));
}

#[tokio::test]
async fn row_10_get_visits_lists_with_filters() {
    let house = House::open().await;
    let (first, _) = (house.visit().await, house.visit_at(START + Duration::hours(2)).await);
    command::start(&house.app, &clinician(&house, "dr-a"), id(&first), None).await.unwrap();
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let count = async |query: &str| {
        let list = house.get(&format!("/api/visits?{query}"), &by).await;
        assert_eq!(list.status, StatusCode::OK, "{query}: {:?}", list.json());
        list.json()["visits"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    // Both vocabularies are understood.
    assert_eq!((count("status=IN_PROGRESS").await, count("status=ACTIVE").await), (1, 1));
    assert_eq!(count("from=2026-11-21T11:00:00Z&to=2026-11-21T13:00:00Z").await, 1);
    assert_eq!((count("clinicianId=dr-a").await, count("clinicianId=dr-b").await), (2, 0));
    assert_eq!((count("patientId=p-1").await, count("patientId=p-2").await), (2, 0));
    for query in ["status=NOTHING", "cursor=x", "from=yesterday", "window=60", "view=all", "surprise=1"] {
        let refused = house.get(&format!("/api/visits?{query}"), &by).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn row_36_upcoming_visits_of_a_clinician() {
    let house = House::open().await;
    for hours in [-20, -1, 1, 30] {
        house.visit_at(START + Duration::hours(hours)).await;
    }
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let starts = async |query: &str| -> Vec<String> {
        let list = house.get(&format!("/api/visits?{query}"), &by).await.json();
        let starts =
            list["visits"].as_array().unwrap().iter().map(|visit| visit["scheduledAt"].as_str().unwrap().to_owned());
        starts.collect()
    };
    // What began lately and is not over belongs to it.
    assert_eq!(starts("view=upcoming").await, ["2026-11-21T09:00:00Z", "2026-11-21T11:00:00Z"]);
    assert_eq!(starts("view=upcoming&window=30").await, ["2026-11-21T09:00:00Z"]);
    assert_eq!(starts("view=upcoming&window=4320").await.len(), 3);
    let nobody = house.get("/api/visits?view=upcoming", &house.bearer("dr-b", StaffRole::Clinician)).await;
    assert_eq!(nobody.json()["visits"], json!([]));
    assert_eq!(house.get("/api/visits?view=upcoming&window=1", &by).await.code(), "INVALID");
}

#[tokio::test]
async fn row_38_mark_no_show() {
    let house = House::open().await;
    let visit = house.visit().await;
    let doctor = clinician(&house, "dr-a");
    let marked = command::mark_no_show(&house.app, &doctor, id(&visit), Some(1)).await.unwrap();
    assert_eq!(marked.status, VisitStatus::NoShow);
    assert_eq!(events(&house, &visit).await, ["VISIT_CREATED", "VISIT_STATUS_CHANGED", "VISIT_NO_SHOW"]);
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let again = house.post(&format!("/api/visits/{visit}/end"), &by, json!({"endReason": "NO_SHOW"})).await;
    assert_eq!((again.status, again.code().as_str()), (StatusCode::CONFLICT, "VISIT_FINAL"));
    assert_eq!(again.json()["allowed"], json!([]));
}

#[tokio::test]
async fn row_39_report_a_technical_issue() {
    let house = House::open().await;
    let visit = house.visit().await;
    let new = NewIssue { category: Category::Audio, severity: Some(Severity::High) };
    let issue = issue::report(&house.app, &clinician(&house, "dr-a"), id(&visit), new).await.unwrap();
    assert_eq!((issue.category, issue.severity), (Category::Audio, Severity::High));
    assert_eq!(events(&house, &visit).await, ["VISIT_CREATED", "TECHNICAL_ISSUE_REPORTED"]);
    // The face that has no report of its own takes one with the end.
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let body = json!({"endReason": "TECHNICAL", "issue": {"category": "CONNECTION"}});
    let ended = house.post(&format!("/api/visits/{visit}/end"), &by, body).await;
    assert_eq!(ended.json()["status"], "TECHNICAL");
}
