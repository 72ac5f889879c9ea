//! T10, H-09, L-14: marked words go into every field of every route, and are then looked for where they must not be: in the log at its
//! most talkative, the metrics, the refusals, and a copy of the whole database.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Map, Value, json};
use signaling::auth::StaffRole;
use signaling::route::openapi;
use signaling::router::endpoints;

use crate::log;
use crate::support::{Answer, By, House};

/// In every field that is a text.
const MARK: &str = "canary";
/// In those that rest sealed.
const SEALED: &[(&str, &str)] = &[
    ("chiefComplaint", "canary-sealed-complaint"),
    ("clinicalNotes", "canary-sealed-notes"),
    ("answers", "canary-sealed-answer"),
];

/// A body that fits a schema, with a mark in every text.
fn fill(schema: &Value, name: &str, whole: &Value) -> Value {
    if let Some(place) = schema["$ref"].as_str() {
        let target = whole.pointer(place.trim_start_matches('#')).expect("a reference leads somewhere");
        return fill(target, name, whole);
    }
    if let Some(value) = schema["enum"].get(0).or_else(|| schema.get("const")) {
        return value.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null")) {
            return fill(first, name, whole);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or(Value::Null),
        kind => kind.clone(),
    };
    match kind.as_str() {
        Some("object") => {
            let mut map = Map::new();
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                map.insert(name.clone(), fill(schema, name, whole));
            }
            if schema["additionalProperties"].is_object() && map.is_empty() {
                let text = SEALED.iter().find(|(field, _)| *field == name).map_or(MARK, |(_, text)| text);
                map.insert("canary-question".to_owned(), json!(text));
            }
            Value::Object(map)
        }
        Some("array") => json!([fill(&schema["items"], name, whole)]),
        Some("integer" | "number") => json!(30),
        Some("boolean") => json!(true),
        Some("string") => match schema["format"].as_str() {
            Some("date-time") => json!("2026-11-21T10:00:00Z"),
            Some("uuid") => json!(uuid::Uuid::new_v4()),
            _ => {
                let sealed = SEALED.iter().find(|(field, _)| *field == name);
                json!(sealed.map_or_else(|| format!("{MARK}-{name}"), |(_, text)| (*text).to_owned()))
            }
        },
        _ => json!(MARK),
    }
}

/// Nothing of what was sent comes back in a refusal.
fn check(answer: &Answer, what: &str) {
    if !answer.status.is_success() {
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(MARK), "{what}: {} {text}", answer.status);
        assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{what}: {text}");
    }
}

#[tokio::test]
async fn t_10_what_people_write_is_in_no_log_metric_refusal_or_copy_of_the_database() {
    log::listen();
    let house = House::open().await;
    let doctor = house.bearer("dr-a", StaffRole::Clinician);
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    let planned = json!({"patientId": "p-1", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30,
        "visitType": "follow_up", "channel": "both", "chiefComplaint": SEALED[0].1});
    let visit = house.post("/api/visits", &desk, planned).await.json()["visitId"].as_str().unwrap().to_owned();
    let link = house.link(&visit, "patient").await;
    let (code, token) = (link["shortCode"].as_str().unwrap(), link["token"].as_str().unwrap());
    house.validate(code).await;
    let cookie = house.redeem(code).await.cookie().unwrap();
    let patient = By::Cookie(cookie.clone());

    let document = openapi::document(&endpoints(), "http://localhost");
    let mut sent = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // The end of the visit, of the session and of links comes last: what follows them would be refused for that alone.
            if path.ends_with("/end") || method == "delete" {
                continue;
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = schema.is_object().then(|| fill(schema, "", &document));
            let real: String = path
                .split('/')
                .map(|part| {
                    if part == "{id}" {
                        visit.as_str()
                    } else if part.starts_with('{') {
                        MARK
                    } else {
                        part
                    }
                })
                .collect::<Vec<_>>()
                .join("/");
            let method = method.to_uppercase();
            for by in [&By::Nobody, &doctor, &desk, &house.bearer("boss", StaffRole::Admin), &patient] {
                let what = format!("{method} {path}");
                check(&house.ask(&method, &real, by, body.clone()).await, &what);
                check(&house.ask(&method, &format!("{real}?{MARK}={MARK}"), by, body.clone()).await, &what);
                if let Some(Value::Object(map)) = &body {
                    let mut longer = map.clone();
                    longer.insert("canary-unknown".to_owned(), json!(MARK));
                    check(&house.ask(&method, &real, by, Some(Value::Object(longer))).await, &what);
                    sent += 1;
                }
            }
        }
    }
    assert!(sent > 20, "{sent} bodies were sent: does the document still have schemas?");
    // What rests sealed was really written: the clinician reads it.
    let notes = json!({"clinicalNotes": SEALED[1].1});
    house.ask("PATCH", &format!("/api/v1/telehealth/sessions/{visit}/clinical"), &doctor, Some(notes)).await;
    let answers = json!({"answers": {"canary-question": SEALED[2].1}});
    let answered =
        house.ask("PUT", &format!("/api/v1/telehealth/sessions/{visit}/questionnaire"), &patient, Some(answers)).await;
    assert!(answered.status.is_success(), "{answered:?}");
    let seen = String::from_utf8(house.get(&format!("/api/visits/{visit}"), &doctor).await.body).unwrap();
    for (_, canary) in SEALED {
        assert!(seen.contains(canary), "{canary} was not kept: {seen}");
    }
    // Headers, and a body that is no JSON.
    let By::Bearer(bearer) = &doctor else { panic!("a bearer") };
    for body in ["canary{", "{\"patientId\": \"canary"] {
        let request = Request::post("/api/visits")
            .header(header::AUTHORIZATION, format!("Bearer {bearer}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "canary-agent")
            .header(header::REFERER, "https://canary.example/")
            .header("x-forwarded-for", "198.51.100.77")
            .header("x-request-id", "canary-request")
            .body(Body::from(body))
            .unwrap();
        check(&house.send(request).await, "no JSON");
    }
    house.post(&format!("/api/visits/{visit}/end"), &doctor, json!({})).await;

    let secret = cookie.split_once('=').unwrap().1;
    let log = log::heard();
    let metrics = house.app.metrics.render();
    for canary in [MARK, code, token, bearer, secret, "198.51.100.77"] {
        if let Some(line) = log.lines().find(|line| line.contains(canary)) {
            panic!("{canary} in the log: {line}");
        }
        assert!(!metrics.contains(canary), "{canary} in the metrics");
    }
    let dump = house.database.dump().await;
    assert!(dump.contains(&visit) && dump.contains("phi_data_key"), "the copy was read");
    let mut private: Vec<&str> = SEALED.iter().map(|(_, canary)| *canary).collect();
    private.extend([code, token, bearer.as_str(), secret, "198.51.100.77", "canary-agent"]);
    for canary in private {
        for form in [canary.to_owned(), hex(canary)] {
            if let Some(line) = dump.lines().find(|line| line.contains(&form)) {
                panic!("{canary} in the database: {line}");
            }
        }
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
