//! Rows 11 to 13: `POST /api/aws-chime-video`, the first application's one endpoint.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::auth::StaffRole;

use crate::commands::events;
use crate::support::{By, House};

const PATH: &str = "/api/aws-chime-video";

/// As the application sends it when an appointment is made.
fn create() -> Value {
    json!({"action": "create-meeting", "appointmentId": 12345, "externalMeetingId": "appointment-12345"})
}

#[tokio::test]
async fn row_11_create_meeting_gives_the_room_of_the_appointment() {
    let house = House::open().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let made = house.post(PATH, &clinician, create()).await;
    assert_eq!(made.status, StatusCode::OK, "{:?}", made.json());
    let answer = made.json();
    assert_eq!(answer["success"], true);
    let meeting = &answer["meeting"];
    let visit = meeting["MeetingId"].as_str().unwrap().to_owned();
    assert_eq!(meeting["ExternalMeetingId"], "12345");
    for url in ["AudioHostUrl", "SignalingUrl"] {
        assert!(meeting["MediaPlacement"][url].is_string(), "{url}");
    }
    // The link is a page with a one-time code, never the room's id.
    let code = answer["link"].as_str().unwrap().strip_prefix("/j/").unwrap().to_owned();
    assert_eq!(house.validate(&code).await.json()["role"], "patient");
    // The meeting is the visit's room, by whichever face one looks.
    let seen = house.get("/api/v1/telehealth/sessions/12345", &clinician).await.json();
    assert_eq!((&seen["visitId"], &seen["status"]), (&json!(visit), &json!("SCHEDULED")));
    assert_eq!(
        events(&house, &visit).await,
        ["VISIT_CREATED", "ROOM_CREATED", "TOKEN_ISSUED", "TOKEN_VALIDATED", "VISIT_VIEWED"]
    );
    // The same appointment again is the same visit; its link is a fresh one, and the old one is dead.
    let again = house.post(PATH, &clinician, create()).await.json();
    assert_eq!(again["meeting"]["MeetingId"], json!(visit));
    assert_eq!(house.validate(&code).await.code(), "TOKEN_REVOKED");
}

#[tokio::test]
async fn row_11_refusals_are_told_in_the_applications_members() {
    let house = House::open().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let unknown = house.post(PATH, &clinician, json!({"action": "create-castle"})).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert_eq!(unknown.json()["success"], false);
    assert!(unknown.json()["error"].is_string());
    let extra = json!({"action": "delete-meeting", "meetingId": "x", "status": "COMPLETED"});
    assert_eq!(house.post(PATH, &clinician, extra).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(house.post(PATH, &By::Nobody, create()).await.status, StatusCode::UNAUTHORIZED);
    let patient = house.bearer("p-1", StaffRole::Patient);
    assert_eq!(house.post(PATH, &patient, create()).await.status, StatusCode::FORBIDDEN);
    // Somebody who is no clinician has to say whose visit it is.
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    assert_eq!(house.post(PATH, &desk, create()).await.code(), "INVALID");
    let mut whole = create();
    whole["clinicianId"] = json!("dr-b");
    assert_eq!(house.post(PATH, &desk, whole).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_12_create_attendee_gives_the_callers_own_place() {
    let house = House::open().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let made = house.post(PATH, &clinician, create()).await.json();
    let visit = made["meeting"]["MeetingId"].as_str().unwrap().to_owned();
    let body = json!({"action": "create-attendee", "meetingId": visit, "attendeeName": "Dr. Smith"});
    let answer = house.post(PATH, &clinician, body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
    let attendee = answer.json()["attendee"].clone();
    for member in ["AttendeeId", "ExternalUserId", "JoinToken"] {
        assert!(attendee[member].is_string(), "{member}");
    }
    // A name is not an identity: it is nowhere in the answer.
    assert!(!answer.json().to_string().contains("Smith"));
    assert_eq!(
        house.post(PATH, &clinician, body.clone()).await.json()["attendee"],
        attendee,
        "one place for one person"
    );
    // A colleague has no place in it, and another practice has no such meeting.
    let colleague = house.bearer("dr-b", StaffRole::Clinician);
    assert_eq!(house.post(PATH, &colleague, body.clone()).await.status, StatusCode::NOT_FOUND);
    let stranger = house.bearer_in(house.theirs, "dr-a", StaffRole::Clinician);
    assert_eq!(house.post(PATH, &stranger, body).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn row_13_delete_meeting_ends_the_visit() {
    let house = House::open().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let made = house.post(PATH, &clinician, create()).await.json();
    let visit = made["meeting"]["MeetingId"].as_str().unwrap().to_owned();
    let code = made["link"].as_str().unwrap().trim_start_matches("/j/").to_owned();
    let body = json!({"action": "delete-meeting", "meetingId": visit});
    let deleted = house.post(PATH, &clinician, body.clone()).await;
    assert_eq!((deleted.status, deleted.json()), (StatusCode::OK, json!({"success": true})));
    // Nobody had come: the visit is called off, and its link with it.
    let seen = house.get(&format!("/api/visits/{visit}"), &clinician).await.json();
    assert_eq!(seen["status"], "CANCELLED");
    assert_eq!(house.validate(&code).await.code(), "TOKEN_REVOKED");
    assert!(events(&house, &visit).await.contains(&"VISIT_CANCELLED".to_owned()));
    assert_eq!(house.post(PATH, &clinician, body).await.json(), json!({"success": true}), "again");
    // One that runs is completed.
    let mut other = create();
    other["appointmentId"] = json!(12346);
    let running = house.post(PATH, &clinician, other).await.json()["meeting"]["MeetingId"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/telehealth/sessions/{running}/status");
    let begun = house.ask("PATCH", &path, &clinician, Some(json!({"status": "IN_PROGRESS"}))).await;
    assert_eq!(begun.status, StatusCode::OK, "{:?}", begun.json());
    house.post(PATH, &clinician, json!({"action": "delete-meeting", "meetingId": running})).await;
    assert_eq!(house.get(&format!("/api/visits/{running}"), &clinician).await.json()["status"], "COMPLETED");
}
