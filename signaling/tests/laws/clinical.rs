//! Clinical words: who writes and reads them, what is written down about that, and each role's cut of a visit.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use sqlx::Row;
use uuid::Uuid;

use crate::support::{By, House};

const COMPLAINT: &str = "canary-complaint: cannot sleep";

/// A visit with a complaint, and its id.
async fn visit(house: &House) -> String {
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p-1", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30,
        "visitType": "follow_up", "chiefComplaint": COMPLAINT, "channel": "both", "patientName": "Ada Rivera"});
    let made = house.post("/api/visits", &by, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
    assert!(made.json().get("chiefComplaint").is_none(), "a scheduler is not shown what they wrote");
    made.json()["visitId"].as_str().unwrap().to_owned()
}

fn clinical(visit: &str) -> String {
    format!("/api/v1/telehealth/sessions/{visit}/clinical")
}

fn questionnaire(visit: &str) -> String {
    format!("/api/v1/telehealth/sessions/{visit}/questionnaire")
}

/// The PHI events of a visit: type, field, success, in order.
async fn events(house: &House, visit: &str) -> Vec<(String, String, bool)> {
    let mut owner = house.database.owner().await;
    let rows = sqlx::query(
        "SELECT event_type, metadata, success FROM audit_event WHERE visit_id = $1 AND event_type LIKE 'PHI%' ORDER BY seq",
    )
    .bind(visit.parse::<Uuid>().unwrap())
    .fetch_all(&mut owner)
    .await
    .unwrap();
    rows.into_iter()
        .map(|row| {
            let metadata: Value = row.get("metadata");
            assert_eq!(metadata.as_object().unwrap().len(), 1, "the field's name and no more: {metadata}");
            (row.get("event_type"), metadata["field"].as_str().unwrap().to_owned(), row.get("success"))
        })
        .collect()
}

fn event(kind: &str, field: &str) -> (String, String, bool) {
    (kind.to_owned(), field.to_owned(), true)
}

async fn session(house: &House, visit: &str, role: &str) -> By {
    By::Cookie(house.redeem(&house.code(visit, role).await).await.cookie().unwrap())
}

#[tokio::test]
async fn h_14_every_reading_and_writing_of_a_field_leaves_an_event_with_its_name() {
    let house = House::open().await;
    let visit = visit(&house).await;
    let doctor = house.bearer("dr-a", StaffRole::Clinician);
    let path = format!("/api/visits/{visit}");
    assert_eq!(events(&house, &visit).await, [event("PHI_WRITTEN", "chiefComplaint")]);
    let written =
        house.ask("PATCH", &clinical(&visit), &doctor, Some(json!({"clinicalNotes": "first line\nsecond"}))).await;
    assert_eq!(written.status, StatusCode::NO_CONTENT, "{written:?}");
    let patient = session(&house, &visit, "patient").await;
    let answers = json!({"answers": {"pain": 4, "sleep": "badly", "alone": true}});
    assert_eq!(house.ask("PUT", &questionnaire(&visit), &patient, Some(answers)).await.status, StatusCode::NO_CONTENT);
    for _ in 0..2 {
        let seen = house.get(&path, &doctor).await.json();
        assert_eq!(seen["chiefComplaint"], COMPLAINT);
        assert_eq!(seen["clinicalNotes"], "first line\nsecond");
        assert_eq!(seen["questionnaires"][0]["answers"], json!({"pain": 4, "sleep": "badly", "alone": true}));
    }
    let read =
        [event("PHI_READ", "chiefComplaint"), event("PHI_READ", "clinicalNotes"), event("PHI_READ", "questionnaire")];
    let mut expected = vec![
        event("PHI_WRITTEN", "chiefComplaint"),
        event("PHI_WRITTEN", "clinicalNotes"),
        event("PHI_WRITTEN", "questionnaire"),
    ];
    expected.extend(read.clone());
    expected.extend(read);
    assert_eq!(events(&house, &visit).await, expected, "each time anew");
    // An empty text removes the field, which is a writing too, and leaves nothing to read.
    house.ask("PATCH", &clinical(&visit), &doctor, Some(json!({"clinicalNotes": "", "chiefComplaint": ""}))).await;
    let seen = house.get(&path, &doctor).await.json();
    assert!(seen.get("clinicalNotes").is_none() && seen.get("chiefComplaint").is_none());
    assert_eq!(events(&house, &visit).await.len(), 9 + 2 + 1);
}

/// The members of an answer, to any depth, in order.
fn members(value: &Value) -> Vec<String> {
    fn walk(value: &Value, prefix: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    into.push(name.clone());
                    walk(value, &name, into);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, &format!("{prefix}[]"), into)),
            _ => {}
        }
    }
    let mut into = Vec::new();
    walk(value, "", &mut into);
    into.sort();
    into.dedup();
    into
}

#[tokio::test]
async fn h_24_each_role_sees_its_own_cut_of_a_visit() {
    let house = House::open().await;
    let visit = visit(&house).await;
    let path = format!("/api/visits/{visit}");
    let doctor = house.bearer("dr-a", StaffRole::Clinician);
    house.ask("PATCH", &clinical(&visit), &doctor, Some(json!({"clinicalNotes": "canary-notes"}))).await;
    let patient = session(&house, &visit, "patient").await;
    house.ask("PUT", &questionnaire(&visit), &patient, Some(json!({"answers": {"pain": "canary-answer"}}))).await;
    // Who is the visit's clinician, signed in or by a link.
    for by in [&doctor, &session(&house, &visit, "clinician").await] {
        let seen = house.get(&path, by).await;
        assert_eq!(seen.status, StatusCode::OK);
        let text = String::from_utf8(seen.body.clone()).unwrap();
        for canary in ["canary-complaint", "canary-notes", "canary-answer"] {
            assert!(text.contains(canary), "{canary} is missing in {text}");
        }
    }
    let words = ["chiefComplaint", "clinicalNotes", "questionnaires", "unreadable"];
    let all = members(&house.get(&path, &doctor).await.json());
    let staff: Vec<String> =
        all.iter().filter(|name| !words.iter().any(|word| name.starts_with(word))).cloned().collect();
    let outside: Vec<String> = staff.iter().filter(|name| *name != "clinician.id").cloned().collect();
    assert!(staff.contains(&"clinician.id".to_owned()), "{staff:?}");
    for (by, expected) in [
        (house.bearer("front-desk", StaffRole::Scheduler), &staff),
        (house.bearer("boss", StaffRole::Admin), &staff),
        (patient.clone(), &outside),
    ] {
        let seen = house.get(&path, &by).await;
        assert_eq!(seen.status, StatusCode::OK, "{by:?}");
        assert_eq!(&members(&seen.json()), expected, "{by:?}");
        let text = String::from_utf8(seen.body.clone()).unwrap();
        assert!(!text.contains("canary"), "{text}");
    }
    // A list shows no clinical words to anybody, the clinician included: who reads them opens the visit.
    let list = house.get("/api/visits", &doctor).await;
    assert_eq!(list.json()["visits"].as_array().unwrap().len(), 1);
    assert!(!String::from_utf8(list.body).unwrap().contains("canary"));
    // Another clinician of the practice has no such visit; a patient's account has no rights here; strangers sign in first.
    assert_eq!(house.get(&path, &house.bearer("dr-b", StaffRole::Clinician)).await.code(), "NOT_FOUND");
    assert!(!house.get(&path, &house.bearer("p-2", StaffRole::Patient)).await.status.is_success());
    assert_eq!(house.get(&path, &By::Nobody).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn clinical_words_are_the_clinicians_to_write_and_answers_the_guests() {
    let house = House::open().await;
    let visit = visit(&house).await;
    let patient = session(&house, &visit, "patient").await;
    let (doctor, notes) = (house.bearer("dr-a", StaffRole::Clinician), json!({"clinicalNotes": "canary"}));
    for by in [
        house.bearer("front-desk", StaffRole::Scheduler),
        house.bearer("boss", StaffRole::Admin),
        house.bearer("p-1", StaffRole::Patient),
        patient.clone(),
    ] {
        assert_eq!(house.ask("PATCH", &clinical(&visit), &by, Some(notes.clone())).await.code(), "FORBIDDEN", "{by:?}");
    }
    let answers = json!({"answers": {"pain": 1}});
    for by in [doctor.clone(), session(&house, &visit, "clinician").await] {
        assert_eq!(house.ask("PUT", &questionnaire(&visit), &by, Some(answers.clone())).await.code(), "FORBIDDEN");
    }
    // Bounds and unknown members; nothing is kept of what was refused, and nothing of it comes back.
    for bad in [
        json!({"clinicalNotes": "canary".repeat(4000)}),
        json!({"clinicalNotes": "canary\u{0}"}),
        json!({"chiefComplaint": "canary".repeat(400)}),
        json!({}),
        json!({"clinicalNotes": "canary", "status": "COMPLETED"}),
        json!({"clinicalNotes": ["canary"]}),
    ] {
        let refused = house.ask("PATCH", &clinical(&visit), &doctor, Some(bad)).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
        assert!(!String::from_utf8(refused.body).unwrap().contains("canary"));
    }
    let long: serde_json::Map<String, Value> = (0..51).map(|n| (n.to_string(), json!(true))).collect();
    for bad in [
        json!({}),
        json!({"answers": {}}),
        json!({"answers": long}),
        json!({"answers": {"canary": "x".repeat(17_000)}}),
        json!({"answers": {"canary": {"deep": 1}}}),
        json!({"answers": {"n": "x"}, "participantId": visit}),
    ] {
        let refused = house.ask("PUT", &questionnaire(&visit), &patient, Some(bad)).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
        assert!(!String::from_utf8(refused.body).unwrap().contains("canary"));
    }
    let seen = house.get(&format!("/api/visits/{visit}"), &doctor).await.json();
    assert!(seen.get("clinicalNotes").is_none() && seen.get("questionnaires").is_none(), "{seen}");
    assert_eq!(seen["chiefComplaint"], COMPLAINT);
}

#[tokio::test]
async fn a_field_that_does_not_open_is_named_and_the_visit_is_shown_without_it() {
    let house = House::open().await;
    let visit = visit(&house).await;
    let doctor = house.bearer("dr-a", StaffRole::Clinician);
    house.ask("PATCH", &clinical(&visit), &doctor, Some(json!({"clinicalNotes": "canary-notes"}))).await;
    let mut owner = house.database.owner().await;
    // Somebody with the database swaps two fields of one row: both bytes are authentic, neither is in its place.
    sqlx::query("UPDATE visit SET chief_complaint_enc = clinical_notes_enc, clinical_notes_enc = chief_complaint_enc")
        .execute(&mut owner)
        .await
        .unwrap();
    let seen = house.get(&format!("/api/visits/{visit}"), &doctor).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.json()["unreadable"], json!(["chiefComplaint", "clinicalNotes"]));
    assert!(!String::from_utf8(seen.body).unwrap().contains("canary"));
    let last = events(&house, &visit).await.pop().unwrap();
    assert_eq!(last, ("PHI_READ".to_owned(), "clinicalNotes".to_owned(), false));
}
