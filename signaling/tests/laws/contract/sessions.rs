//! Rows 6, 15 to 17, 19, 22 to 24, 29, 30, 32, 33, 35, 36, 38 and 39: sessions, in the words of the second, third and fourth application.

use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use signaling::auth::StaffRole;

use crate::commands::events;
use crate::support::{Answer, By, House, START};

const SESSIONS: &str = "/api/v1/telehealth/sessions";

/// An appointment of `dr-a` that the practice's own system has planned.
async fn planned(house: &House, appointment: &str) -> String {
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p-1", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30,
        "appointmentId": appointment, "patientName": "Ada Rivera"});
    let made = house.post("/api/visits", &desk, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
    made.json()["visitId"].as_str().unwrap().to_owned()
}

async fn clinic() -> (House, By, String) {
    let house = House::open().await;
    let visit = planned(&house, "appt-1").await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    (house, clinician, visit)
}

async fn patch(house: &House, by: &By, id: &str, body: Value) -> Answer {
    house.ask("PATCH", &format!("{SESSIONS}/{id}/status"), by, Some(body)).await
}

#[tokio::test]
async fn row_15_and_31_create_session_is_idempotent_by_its_appointment() {
    let (house, clinician, visit) = clinic().await;
    let body = json!({"appointmentId": "appt-1"});
    let first = house.post(SESSIONS, &clinician, body.clone()).await;
    assert_eq!(first.status, StatusCode::OK, "{:?}", first.json());
    let answer = first.json();
    assert_eq!(
        (&answer["success"], &answer["id"], &answer["data"]["id"]),
        (&json!(true), &json!(visit), &json!(visit))
    );
    assert_eq!((&answer["status"], &answer["statusCanonical"]), (&json!("SCHEDULED"), &json!("SCHEDULED")));
    assert!(answer["clientJoinUrl"].as_str().unwrap().ends_with("/telehealth/session/appt%2D1?role=client"));
    assert_eq!(house.post(SESSIONS, &clinician, body).await.json()["id"], json!(visit));
    let unknown = house.post(SESSIONS, &clinician, json!({"appointmentId": "appt-2"})).await;
    assert_eq!((unknown.status, &unknown.json()["success"]), (StatusCode::NOT_FOUND, &json!(false)));
    // An appointment that is not planned yet is planned by a body that says enough.
    let whole = json!({"appointmentId": "appt-2", "patientId": "p-2", "clinicianId": "dr-a",
        "scheduledAt": "2026-11-21T14:00:00Z", "duration": 45});
    let made = house.post(SESSIONS, &clinician, whole.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
    assert_eq!(house.post(SESSIONS, &clinician, whole).await.status, StatusCode::OK);
    let half = json!({"appointmentId": "appt-3", "patientId": "p-2"});
    assert_eq!(house.post(SESSIONS, &clinician, half).await.code(), "INVALID");
    assert_eq!(events(&house, made.json()["id"].as_str().unwrap()).await, ["VISIT_CREATED"]);
}

#[tokio::test]
async fn row_16_and_32_a_session_is_found_by_its_id_and_by_its_appointment() {
    let (house, clinician, visit) = clinic().await;
    for id in [visit.as_str(), "appt-1"] {
        let seen = house.get(&format!("{SESSIONS}/{id}"), &clinician).await;
        assert_eq!((seen.status, &seen.json()["data"]["visitId"]), (StatusCode::OK, &json!(visit)), "{id}");
    }
    let room = house.get(&format!("{SESSIONS}/appt-1?expand=room"), &clinician).await.json();
    assert_eq!(room["room"], json!({"isLive": false, "provider": "NATIVE"}));
    assert_eq!(house.get(&format!("{SESSIONS}/appt-1?expand=all"), &clinician).await.status, StatusCode::BAD_REQUEST);
    let stranger = house.bearer_in(house.theirs, "dr-a", StaffRole::Clinician);
    let colleague = house.bearer("dr-b", StaffRole::Clinician);
    for by in [&stranger, &colleague] {
        let foreign = house.get(&format!("{SESSIONS}/appt-1"), by).await;
        let unknown = house.get(&format!("{SESSIONS}/appt-9"), by).await;
        assert_eq!((foreign.status, foreign.code()), (StatusCode::NOT_FOUND, unknown.code()));
        assert_eq!(foreign.json()["detail"], unknown.json()["detail"]);
    }
    // The plain resource, and the words of another application.
    let By::Bearer(token) = &clinician else { panic!("a bearer") };
    let request = Request::get(format!("{SESSIONS}/appt-1"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::ACCEPT, "application/vnd.telehealth.v1+json")
        .header("x-status-vocabulary", "s2");
    let plain = house.send(request.body(axum::body::Body::empty()).unwrap()).await.json();
    assert_eq!((&plain["status"], &plain["statusCanonical"]), (&json!("WAITING"), &json!("SCHEDULED")));
    assert!(plain.get("success").is_none() && plain.get("data").is_none());
    assert_eq!(events(&house, &visit).await, ["VISIT_CREATED", "VISIT_VIEWED"], "one view in five minutes");
}

#[tokio::test]
async fn row_17_and_6_joining_gives_the_callers_seat_and_trusts_no_named_role() {
    let (house, clinician, visit) = clinic().await;
    let paths = [format!("{SESSIONS}/appt-1/join"), format!("/api/visits/{visit}/start-authenticated")];
    for path in &paths {
        let joined = house.post(path, &clinician, json!({"userRole": "clinician"})).await;
        assert_eq!(joined.status, StatusCode::OK, "{:?}", joined.json());
        let answer = joined.json();
        // As the second application reads it, and as the third does.
        for place in [&answer, &answer["data"]] {
            assert!(place["meeting"]["MediaPlacement"]["SignalingUrl"].is_string());
            assert_eq!(place["attendee"]["ExternalUserId"], "clinician-dr-a");
            assert!(place["attendee"]["JoinToken"].is_string());
            assert_eq!(place["session"]["id"], json!(visit));
        }
        let wrong = house.post(path, &clinician, json!({"userRole": "client"})).await;
        assert_eq!((wrong.status, wrong.code().as_str()), (StatusCode::FORBIDDEN, "ROLE_MISMATCH"));
        let desk = house.bearer("front-desk", StaffRole::Scheduler);
        assert_eq!(house.post(path, &desk, json!({})).await.status, StatusCode::FORBIDDEN, "no place in the visit");
    }
    assert_eq!(
        events(&house, &visit).await,
        ["VISIT_CREATED", "ROOM_CREATED", "TOKEN_ISSUED", "VISIT_VIEWED", "VISIT_VIEWED"],
        "one room and one seat, however often one asks"
    );
    assert_eq!(patch(&house, &clinician, &visit, json!({"status": "IN_PROGRESS"})).await.status, StatusCode::OK);
    house.post(&format!("{SESSIONS}/{visit}/end"), &clinician, json!({})).await;
    for path in &paths {
        let over = house.post(path, &clinician, json!({"userRole": "clinician"})).await;
        assert_eq!((over.status, over.code().as_str()), (StatusCode::CONFLICT, "SESSION_ENDED"));
        let body = over.json();
        assert_eq!(
            (&body["status"], &body["visitStatus"]),
            (&json!(409), &json!("COMPLETED")),
            "a problem's status is a number"
        );
    }
}

#[tokio::test]
async fn row_19_and_33_end_session() {
    let (house, clinician, visit) = clinic().await;
    let end = format!("{SESSIONS}/appt-1/end");
    let early = house.post(&end, &clinician, json!({"endReason": "Normal"})).await;
    assert_eq!((early.status, early.code().as_str()), (StatusCode::CONFLICT, "INVALID_TRANSITION"));
    assert!(early.json()["allowed"].as_array().unwrap().contains(&json!("IN_PROGRESS")));
    assert_eq!(house.post(&end, &clinician, json!({"endReason": "bored"})).await.code(), "INVALID");
    patch(&house, &clinician, &visit, json!({"status": "IN_PROGRESS"})).await;
    house.clock.set(START + time::Duration::minutes(25));
    let ended = house.post(&end, &clinician, json!({"endReason": "Normal"})).await;
    assert_eq!(ended.status, StatusCode::OK, "{:?}", ended.json());
    let answer = ended.json();
    assert_eq!((&answer["status"], &answer["actualDuration"]), (&json!("COMPLETED"), &json!(25)));
    assert_eq!(answer["sessionEndedAt"], "2026-11-21T10:25:00Z");
    assert_eq!(house.post(&end, &clinician, json!({})).await.code(), "VISIT_FINAL");
    assert!(events(&house, &visit).await.contains(&"VISIT_ENDED".to_owned()));
}

#[tokio::test]
async fn row_22_a_status_is_brought_about_and_never_written() {
    let (house, clinician, visit) = clinic().await;
    // As the third application writes it: who waits is whoever comes.
    let waiting = patch(&house, &clinician, "appt-1", json!({"status": "WAITING_ROOM"})).await;
    assert_eq!((waiting.status, waiting.code().as_str()), (StatusCode::CONFLICT, "INVALID_TRANSITION"));
    let early = patch(&house, &clinician, "appt-1", json!({"status": "COMPLETED"})).await;
    assert_eq!(early.code(), "INVALID_TRANSITION");
    assert_eq!(patch(&house, &clinician, "appt-1", json!({"status": "LOST"})).await.code(), "INVALID");
    let stale = patch(&house, &clinician, "appt-1", json!({"status": "IN_PROGRESS", "rowVersion": 7})).await;
    assert_eq!((stale.status, stale.code().as_str()), (StatusCode::PRECONDITION_FAILED, "VERSION_CONFLICT"));
    let begun = patch(&house, &clinician, "appt-1", json!({"status": "IN_PROGRESS"})).await;
    assert_eq!((begun.status, &begun.json()["status"]), (StatusCode::OK, &json!("IN_PROGRESS")));
    assert_eq!(
        patch(&house, &clinician, "appt-1", json!({"status": "ACTIVE"})).await.status,
        StatusCode::OK,
        "as it is"
    );
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    assert_eq!(patch(&house, &desk, "appt-1", json!({"status": "COMPLETED"})).await.status, StatusCode::FORBIDDEN);
    let ended = patch(&house, &clinician, "appt-1", json!({"status": "COMPLETED"})).await;
    assert_eq!(ended.json()["status"], "COMPLETED");
    assert_eq!(
        events(&house, &visit).await,
        ["VISIT_CREATED", "VISIT_STATUS_CHANGED", "VISIT_STARTED", "VISIT_STATUS_CHANGED", "VISIT_ENDED"]
    );
}

#[tokio::test]
async fn row_23_and_24_a_screen_is_shared_by_one_clinician_in_a_visit_that_runs() {
    let (house, clinician, visit) = clinic().await;
    let [start, stop] = ["start", "stop"].map(|word| format!("{SESSIONS}/appt-1/screen-share/{word}"));
    let early = house.post(&start, &clinician, json!({})).await;
    assert_eq!((early.status, early.code().as_str()), (StatusCode::CONFLICT, "INVALID_TRANSITION"));
    assert_eq!(house.post(&stop, &clinician, json!({})).await.code(), "NOT_SHARING");
    patch(&house, &clinician, &visit, json!({"status": "IN_PROGRESS"})).await;
    let shared = house.post(&start, &clinician, json!({"sourceKind": "window"})).await;
    assert_eq!(shared.status, StatusCode::OK, "{:?}", shared.json());
    assert_eq!(shared.json()["data"]["screenSharingActive"], true);
    let seen = house.get(&format!("{SESSIONS}/appt-1"), &clinician).await.json();
    assert_eq!(
        (&seen["screenSharingActive"], &seen["screenSharingStartedAt"]),
        (&json!(true), &json!("2026-11-21T10:00:00Z"))
    );
    let again = house.post(&start, &clinician, json!({})).await;
    assert_eq!(again.json()["shareId"], shared.json()["shareId"]);
    assert_eq!(house.post(&start, &clinician, json!({"sourceKind": "castle"})).await.status, StatusCode::BAD_REQUEST);
    let patient = By::Cookie(house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap());
    let refused = house.post(&start, &patient, json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "FORBIDDEN"));
    let stopped = house.post(&stop, &clinician, json!({})).await;
    assert_eq!(stopped.json()["screenSharingActive"], false);
    assert_eq!(house.post(&stop, &clinician, json!({})).await.code(), "NOT_SHARING");
    let shares: Vec<String> =
        events(&house, &visit).await.into_iter().filter(|event| event.starts_with("SCREEN_SHARE")).collect();
    assert_eq!(
        shares,
        ["SCREEN_SHARE_STARTED", "SCREEN_SHARE_STARTED", "SCREEN_SHARE_REFUSED", "SCREEN_SHARE_STOPPED"]
    );
    // A share ends with its visit.
    house.post(&start, &clinician, json!({})).await;
    house.post(&format!("{SESSIONS}/appt-1/end"), &clinician, json!({})).await;
    let over = house.get(&format!("{SESSIONS}/appt-1"), &clinician).await.json();
    assert_eq!(over["screenSharingActive"], false);
}

#[tokio::test]
async fn row_29_and_30_the_provider_says_how_it_is_and_what_it_can_do() {
    let (house, clinician, _) = clinic().await;
    let status = house.get("/api/v1/telehealth/providers/status", &clinician).await;
    let native = &status.json()["data"]["providers"][0];
    assert_eq!((&native["provider"], &native["status"]), (&json!("NATIVE"), &json!("UP")));
    let can = house.get("/api/v1/telehealth/providers/capabilities", &clinician).await.json();
    assert_eq!((&can["waitingRoom"], &can["endToEndEncryption"]), (&json!(true), &json!(false)));
    // Without a store nothing can be recorded, and it says so.
    assert_eq!(can["recording"], false);
    let patient = house.bearer("p-1", StaffRole::Patient);
    let refused = house.get("/api/v1/telehealth/providers/status", &patient).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn row_35_and_36_lists_and_what_comes_next() {
    let (house, clinician, visit) = clinic().await;
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    for (appointment, at) in [("later", "2026-11-21T20:00:00Z"), ("next-week", "2026-11-28T10:00:00Z")] {
        let body = json!({"patientId": "p-1", "clinicianId": "dr-a", "scheduledAt": at, "duration": 30, "appointmentId": appointment});
        assert_eq!(house.post("/api/visits", &desk, body).await.status, StatusCode::CREATED);
    }
    let all = house.get(SESSIONS, &clinician).await.json();
    assert_eq!(all["data"]["sessions"].as_array().unwrap().len(), 3);
    assert_eq!((&all["sessions"][0]["id"], &all["nextCursor"]), (&json!(visit), &Value::Null));
    let upcoming = house.get(&format!("{SESSIONS}?view=upcoming&window=120"), &clinician).await.json();
    assert_eq!(upcoming["sessions"].as_array().unwrap().len(), 1);
    let waiting = house.get(&format!("{SESSIONS}?status=WAITING_ROOM"), &clinician).await.json();
    assert_eq!(waiting["sessions"], json!([]));
    assert_eq!(house.get(&format!("{SESSIONS}?status=LOST"), &clinician).await.code(), "INVALID");
    assert_eq!(house.get(&format!("{SESSIONS}?view=upcoming&window=1"), &clinician).await.code(), "INVALID");
    assert_eq!(house.get(&format!("{SESSIONS}?view=past"), &clinician).await.status, StatusCode::BAD_REQUEST);
    let colleague = house.get(SESSIONS, &house.bearer("dr-b", StaffRole::Clinician)).await.json();
    assert_eq!(colleague["sessions"], json!([]));
}

#[tokio::test]
async fn row_38_no_show_and_calling_off() {
    let (house, clinician, visit) = clinic().await;
    let gone = house.post(&format!("{SESSIONS}/appt-1/no-show"), &clinician, json!({})).await;
    assert_eq!((gone.status, &gone.json()["status"]), (StatusCode::OK, &json!("NO_SHOW")));
    assert_eq!(house.post(&format!("{SESSIONS}/appt-1/no-show"), &clinician, json!({})).await.code(), "VISIT_FINAL");
    assert!(events(&house, &visit).await.contains(&"VISIT_NO_SHOW".to_owned()));
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    let other = house.visit_at(START + time::Duration::hours(5)).await;
    let off = house.post(&format!("{SESSIONS}/{other}/cancel"), &desk, json!({"reason": "PATIENT_REQUEST"})).await;
    assert_eq!((off.status, &off.json()["status"]), (StatusCode::OK, &json!("CANCELLED")), "{:?}", off.json());
}

#[tokio::test]
async fn row_39_a_technical_issue_and_the_way_back() {
    let (house, clinician, visit) = clinic().await;
    patch(&house, &clinician, &visit, json!({"status": "IN_PROGRESS"})).await;
    let ended = patch(&house, &clinician, &visit, json!({"status": "TECHNICAL_ISSUES"})).await;
    assert_eq!((ended.status, ended.code().as_str()), (StatusCode::CONFLICT, "ISSUE_MISSING"));
    let path = format!("{SESSIONS}/appt-1/technical-issues");
    let report = house.post(&path, &clinician, json!({"category": "AUDIO", "severity": "HIGH"})).await;
    assert_eq!(report.status, StatusCode::CREATED, "{:?}", report.json());
    // Words about a patient do not fit in.
    let words = json!({"category": "AUDIO", "detail": "the patient was crying"});
    assert_eq!(house.post(&path, &clinician, words).await.status, StatusCode::BAD_REQUEST);
    let ended = patch(&house, &clinician, &visit, json!({"status": "TECHNICAL_ISSUES"})).await;
    assert_eq!(ended.json()["statusCanonical"], "TECHNICAL");
    let back = house.post(&format!("{SESSIONS}/appt-1/reopen"), &clinician, json!({})).await;
    assert_eq!((back.status, &back.json()["status"]), (StatusCode::OK, &json!("WAITING")), "{:?}", back.json());
    let all = events(&house, &visit).await;
    for event in ["TECHNICAL_ISSUE_REPORTED", "VISIT_TECHNICAL", "VISIT_REOPENED"] {
        assert!(all.contains(&event.to_owned()), "{event}");
    }
}

#[tokio::test]
async fn row_20_and_21_a_callers_word_is_no_consent() {
    let (house, clinician, visit) = clinic().await;
    patch(&house, &clinician, &visit, json!({"status": "IN_PROGRESS"})).await;
    let [start, stop] = ["start", "stop"].map(|word| format!("{SESSIONS}/appt-1/recording/{word}"));
    // As the third application sends it, with the box ticked and not; and nobody's consent is stored.
    for consent in [true, false] {
        let refused = house.post(&start, &clinician, json!({"consent": consent})).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{consent}");
        assert_eq!((refused.code().as_str(), &refused.json()["success"]), ("CONSENT_REQUIRED", &json!(false)));
        assert!(refused.json()["missing"].is_array());
    }
    assert_eq!(house.post(&stop, &clinician, json!({})).await.code(), "NOT_RECORDING");
    let list = house.get(&format!("{SESSIONS}/appt-1/recordings"), &clinician).await.json();
    assert_eq!(list["recordings"], json!([]), "nothing has changed");
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    assert_eq!(house.post(&start, &desk, json!({"consent": true})).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn row_37_starting_begins_the_visit_and_18_nobody_is_let_in_who_does_not_wait() {
    let (house, clinician, visit) = clinic().await;
    let none = house.post(&format!("{SESSIONS}/appt-1/admit"), &clinician, json!({})).await;
    assert_eq!((none.status, none.code().as_str()), (StatusCode::CONFLICT, "NOT_WAITING"));
    let list = house.get(&format!("{SESSIONS}/appt-1/waiting-room"), &clinician).await;
    assert_eq!((list.status, &list.json()["entries"]), (StatusCode::OK, &json!([])));
    for act in ["deny", "leave"] {
        let refused = house.post(&format!("{SESSIONS}/appt-1/waiting-room/{act}"), &clinician, json!({})).await;
        assert_eq!(refused.code(), "NOT_WAITING", "{act}");
    }
    let begun = house.post(&format!("{SESSIONS}/appt-1/start"), &clinician, json!({})).await;
    assert_eq!((begun.status, &begun.json()["status"]), (StatusCode::OK, &json!("IN_PROGRESS")), "{:?}", begun.json());
    assert_eq!(house.post(&format!("{SESSIONS}/appt-1/start"), &clinician, json!({})).await.status, StatusCode::OK);
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    assert_eq!(house.post(&format!("{SESSIONS}/appt-1/start"), &desk, json!({})).await.status, StatusCode::FORBIDDEN);
    assert!(events(&house, &visit).await.contains(&"VISIT_STARTED".to_owned()));
}

#[tokio::test]
async fn row_34_and_5_a_token_for_one_person_starts_the_visit_from_a_server() {
    let (house, clinician, visit) = clinic().await;
    let seen = house.get(&format!("{SESSIONS}/appt-1"), &clinician).await.json();
    let patient = seen["patient"]["participantId"].clone();
    let path = format!("{SESSIONS}/appt-1/tokens");
    let made = house.post(&path, &clinician, json!({"participantId": patient, "ttlMinutes": 25})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        house.post(&path, &clinician, json!({"participantId": patient, "ttlMinutes": 60})).await.code(),
        "INVALID"
    );
    let start = format!("/api/visits/{visit}/start");
    let started = house.post(&start, &By::Bearer(token.clone()), json!({})).await;
    assert_eq!(started.status, StatusCode::OK, "{:?}", started.json());
    assert!(started.json()["attendee"]["JoinToken"].is_string());
    assert_eq!(started.json()["sessionId"], json!(visit));
    assert!(started.cookie().unwrap().starts_with("__Host-anteroom_session="));
    let again = house.post(&start, &By::Nobody, json!({"token": token})).await;
    assert_eq!((again.status, again.code().as_str()), (StatusCode::CONFLICT, "TOKEN_ALREADY_USED"));
    assert_eq!(house.post(&start, &By::Nobody, json!({})).await.status, StatusCode::BAD_REQUEST);
    let short = house.post(&path, &clinician, json!({"participantId": patient})).await.json()["shortCode"].clone();
    let keyless = house.post(&start, &By::Nobody, json!({"shortCode": short})).await;
    assert_eq!(keyless.code(), "KEY_REQUIRED", "a message's code needs a browser's key");
}
