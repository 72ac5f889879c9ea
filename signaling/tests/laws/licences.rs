//! Licences, places and emergency contacts over HTTP.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use sqlx::Row;

use crate::contract::{event_count, events};
use crate::support::{By, House};

#[tokio::test]
async fn a_list_of_licences_replaces_the_one_before_and_its_rows_stay() {
    let house = House::open().await;
    let path = "/api/v1/telehealth/clinicians/dr-a/licences";
    let admin = house.bearer("boss", StaffRole::Admin);
    let licence = |state: &str, number: &str| json!({"stateCode": state, "number": number, "validFrom": "2026-01-01", "validTo": "2026-12-31"});
    let before = event_count(&house).await;
    let set = house.ask("PUT", path, &admin, Some(json!({"licences": [licence("GA", "1"), licence("FL", "2")]}))).await;
    assert_eq!(set.status, StatusCode::OK, "{:?}", set.json());
    let set = house.ask("PUT", path, &admin, Some(json!({"licences": [licence("FL", "2")]}))).await.json();
    let status = |list: &Value, state: &str| {
        let all = list["licences"].as_array().unwrap();
        all.iter().find(|licence| licence["stateCode"] == state).unwrap()["status"].clone()
    };
    assert_eq!((status(&set, "FL"), status(&set, "GA")), (json!("ACTIVE"), json!("WITHDRAWN")));
    assert_eq!(events(&house, before).await, ["CONFIG_CHANGED"; 2]);
    for bad in [
        json!({"licences": [licence("GA", " ")]}),
        json!({"licences": [licence("GA", "1"), licence("GA", "1")]}),
        json!({"licences": [{"stateCode": "GA", "number": "1", "validFrom": "2026-02-01", "validTo": "2026-01-01"}]}),
        json!({"licences": vec![licence("GA", "1"); 111]}),
    ] {
        assert_eq!(house.ask("PUT", path, &admin, Some(bad)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    for bad in [json!({"licences": [licence("XX", "1")]}), json!({}), json!({"licences": [], "org": "x"})] {
        assert_eq!(house.ask("PUT", path, &admin, Some(bad)).await.status, StatusCode::BAD_REQUEST);
    }
    // A clinician reads, and gives themselves no licence.
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    assert_eq!(house.get(path, &clinician).await.json()["licences"].as_array().unwrap().len(), 2);
    let refused = house.ask("PUT", path, &clinician, Some(json!({"licences": []}))).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let theirs = house.get(path, &house.bearer_in(house.theirs, "boss", StaffRole::Admin)).await;
    assert_eq!(theirs.json()["licences"], json!([]));
}

#[tokio::test]
async fn an_address_is_sealed_and_each_look_at_it_is_written() {
    let house = House::open().await;
    let visit = house.visit().await;
    let session = format!("/api/v1/telehealth/sessions/{visit}");
    let link = By::Cookie(house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap());
    let before = event_count(&house).await;
    let contact = json!({"name": "Canary Contact", "phone": "+1 (404) 555-0142", "relation": "sister"});
    let place = json!({"stateCode": "GA", "kind": "VEHICLE", "address": "Canary Road 7", "emergencyContact": contact});
    let said = house.post(&format!("{session}/location"), &link, place.clone()).await;
    assert_eq!(said.status, StatusCode::CREATED, "{:?}", said.json());
    assert!(!String::from_utf8_lossy(&said.body).contains("Canary"));
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let open = house.get(&format!("{session}/emergency"), &clinician).await.json();
    assert_eq!((&open["address"], &open["contact"]["phone"]), (&json!("Canary Road 7"), &json!("+1 (404) 555-0142")));
    assert_eq!(open["location"]["stateCode"], "GA");
    assert_eq!(events(&house, before).await, ["LOCATION_ATTESTED", "EMERGENCY_INFO_VIEWED"]);
    let mut owner = house.database.owner().await;
    let sealed = sqlx::query(
        "SELECT sealed_address FROM location_attestation UNION ALL SELECT sealed_contact FROM emergency_contact",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(sealed.len(), 2);
    for row in sealed {
        let bytes: Vec<u8> = row.get(0);
        assert!(!bytes.windows(6).any(|part| part == b"Canary"));
    }
    // Neither the office nor the patient's own link opens it.
    for by in [house.bearer("front-desk", StaffRole::Scheduler), house.bearer("boss", StaffRole::Admin), link] {
        assert_eq!(house.get(&format!("{session}/emergency"), &by).await.status, StatusCode::FORBIDDEN);
    }
    for by in [house.bearer("dr-b", StaffRole::Clinician), house.bearer_in(house.theirs, "dr-a", StaffRole::Clinician)]
    {
        assert_eq!(house.get(&format!("{session}/emergency"), &by).await.status, StatusCode::NOT_FOUND);
        assert_eq!(house.post(&format!("{session}/location"), &by, place.clone()).await.status, StatusCode::NOT_FOUND);
    }
    // A clinician says where the patient is, who told them so.
    let heard =
        house.post(&format!("{session}/location"), &clinician, json!({"stateCode": "FL", "kind": "hospital"})).await;
    assert_eq!((heard.status, &heard.json()["method"]), (StatusCode::CREATED, &json!("CLINICIAN")));
    for bad in [
        json!({"stateCode": "GA", "kind": "HOME", "address": ""}),
        json!({"stateCode": "GA", "kind": "HOME", "emergencyContact": {"name": "x", "phone": "call me", "relation": null}}),
    ] {
        let refused = house.post(&format!("{session}/location"), &clinician, bad).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let unknown =
        house.post(&format!("{session}/location"), &clinician, json!({"stateCode": "ga", "kind": "HOME"})).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn codes_are_suggested_confirmed_and_held_against_the_rules() {
    let house = House::open().await;
    let visit = house.visit().await;
    let session = format!("/api/v1/telehealth/sessions/{visit}");
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let unknown = house.get(&format!("{session}/billing"), &clinician).await.json();
    assert_eq!((&unknown["current"], &unknown["suggestion"]["pos"]), (&Value::Null, &Value::Null));
    assert_eq!(unknown["suggestion"]["confidence"], "NONE");
    let place = json!({"stateCode": "GA", "kind": "HOME"});
    assert_eq!(house.post(&format!("{session}/location"), &clinician, place).await.status, StatusCode::CREATED);
    let suggested = house.get(&format!("{session}/billing?payerProfile=medicare_cah2"), &clinician).await.json();
    assert_eq!(
        (&suggested["suggestion"]["pos"], &suggested["suggestion"]["payerProfile"]),
        (&json!("10"), &json!("medicare_cah2"))
    );
    let before = event_count(&house).await;
    let facts = json!({"media": "AUDIO_VIDEO", "videoOffered": true});
    let put = async |body: Value| house.ask("PUT", &format!("{session}/billing"), &clinician, Some(body)).await;
    let wrong = put(json!({"placeOfService": "02", "modifiers": ["93"], "facts": facts})).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "INVALID"));
    assert_eq!(wrong.json()["violations"][0]["rule"], "POS-LOCATION");
    assert_eq!(events(&house, before).await, [""; 0]);
    let set = put(json!({"placeOfService": "10", "modifiers": [], "facts": facts})).await;
    assert_eq!((set.status, &set.json()["confidence"]), (StatusCode::OK, &json!("HIGH")), "{:?}", set.json());
    assert_eq!(set.json()["tableVersion"], "2026-11-21");
    let other =
        put(json!({"placeOfService": "11", "modifiers": ["95"], "facts": facts, "overrideReason": "PAYER_RULE"})).await;
    assert_eq!(other.json()["overrideReason"], "PAYER_RULE");
    assert_eq!(events(&house, before).await, ["BILLING_CODES_SET"; 2]);
    let now = house.get(&format!("{session}/billing"), &clinician).await.json();
    assert_eq!((&now["current"]["placeOfService"], &now["suggestion"]["confidence"]), (&json!("11"), &json!("HIGH")));
    for bad in [
        json!({"placeOfService": "1", "modifiers": []}),
        json!({"placeOfService": "10", "modifiers": ["95", "GT", "93", "FQ", "GQ"], "overrideReason": "CODER_REVIEW"}),
        json!({"modifiers": [], "payerProfile": "nobody"}),
    ] {
        assert_eq!(put(bad).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let stranger = house.bearer_in(house.theirs, "dr-a", StaffRole::Clinician);
    assert_eq!(house.get(&format!("{session}/billing"), &stranger).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn where_licences_are_enforced_a_visit_is_planned_with_one_for_the_patients_state() {
    let house = House::open().await;
    let admin = house.bearer("boss", StaffRole::Admin);
    let plan = |clinician: &str, state: Option<&str>| {
        let mut body = json!({"patientId": "p-9", "clinicianId": clinician, "scheduledAt": "2026-12-01T10:00:00Z", "duration": 30});
        if let Some(state) = state {
            body["patientState"] = state.into();
        }
        house.post("/api/visits", &admin, body)
    };
    // Nobody asks while the practice does not.
    assert_eq!(plan("dr-x", Some("FL")).await.status, StatusCode::CREATED);
    let policy = "/api/v1/telehealth/admission-policy";
    let mut asked = house.get(policy, &admin).await.json();
    asked["enforceLicences"] = true.into();
    assert_eq!(house.ask("PUT", policy, &admin, Some(asked)).await.status, StatusCode::OK);
    let licences = json!({"licences": [
        {"stateCode": "GA", "number": "1", "validFrom": "2026-01-01", "validTo": "2026-12-31"},
        {"stateCode": "AL", "number": "2", "validFrom": "2026-01-01", "validTo": "2026-11-30"},
    ]});
    let set = house.ask("PUT", "/api/v1/telehealth/clinicians/dr-y/licences", &admin, Some(licences)).await;
    assert_eq!(set.status, StatusCode::OK);
    let before = event_count(&house).await;
    for (state, reason) in [("FL", "NO_LICENCE"), ("AL", "EXPIRED")] {
        let refused = plan("dr-y", Some(state)).await;
        assert_eq!((refused.status, refused.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "LICENCE_MISSING"));
        assert_eq!(refused.json()["reason"], reason, "the licence of the day of the visit");
    }
    assert_eq!(event_count(&house).await, before, "no visit, no event");
    assert_eq!(plan("dr-y", Some("GA")).await.status, StatusCode::CREATED);
    assert_eq!(events(&house, before).await, ["VISIT_CREATED", "LICENCE_CHECKED"]);
    // The state is not known yet: planned, and written down.
    assert_eq!(plan("dr-z", None).await.status, StatusCode::CREATED);
    let mut owner = house.database.owner().await;
    let checks: Vec<(String, String)> =
        sqlx::query_as("SELECT result, reason FROM licence_check ORDER BY seq").fetch_all(&mut owner).await.unwrap();
    assert_eq!(checks.len(), 2);
    assert_eq!(checks[1], ("FAIL".to_owned(), "STATE_UNKNOWN".to_owned()));
}
