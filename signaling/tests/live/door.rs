//! What a practice asks of a patient before the clinician may let them in: consents, where they are, and a licence for that state.

use serde_json::{Value, json};
use signaling::auth::StaffRole;

use crate::support::{House, Person};
use crate::{CLINICIAN, events_of};

async fn guard(house: &House) {
    let policy = json!({"requiredConsents": ["GENERAL_TELEHEALTH", "STATE_SPECIFIC"], "requireLocation": true, "enforceLicences": true});
    let admin = house.bearer("boss", StaffRole::Admin);
    let (status, set) = house.ask(&admin, "PUT", "/api/v1/telehealth/admission-policy", &policy).await;
    assert_eq!((status, &set), (200, &policy));
}

async fn ask_patient(house: &House, cookie: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let (status, _, body) = house.raw(method, path, &[("cookie", cookie), ("x-anteroom", "1")], &text).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn admit(clinician: &mut Person, who: &Value, more: Value) -> Value {
    let mut message = json!({"type": "admit", "id": "a", "participantId": who});
    if let (Value::Object(message), Value::Object(more)) = (&mut message, more) {
        message.extend(more);
    }
    clinician.say(message).await;
    clinician.hear("error").await
}

fn consent(kind: &str) -> Value {
    json!({"consentType": kind, "consentGiven": true, "patientRightsAcknowledged": true,
        "emergencyProtocolsUnderstood": true, "privacyRisksAcknowledged": true})
}

#[tokio::test]
async fn nobody_is_let_in_before_what_the_practice_asks_for_is_there() {
    let house = House::open().await;
    guard(&house).await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("waiting_list").await;
    // The patient may wait, and not more.
    assert_eq!(admit(&mut clinician, &who, json!({})).await["code"], "LOCATION_REQUIRED");
    let session = format!("/api/v1/telehealth/sessions/{visit}");
    let due = format!("{session}/requirements");
    let (status, first) = ask_patient(&house, &cookie, "GET", &due, Value::Null).await;
    assert_eq!((status, &first["isLocationDue"], &first["isComplete"]), (200, &json!(true), &json!(false)));
    assert_eq!(first["consents"][0]["type"], "GENERAL_TELEHEALTH");
    assert!(first["consents"][0]["text"]["body"].as_str().unwrap().contains("by video"));
    let place = json!({"stateCode": "GA", "kind": "home", "address": "12 Canary Lane, Macon"});
    let (status, said) = ask_patient(&house, &cookie, "POST", &format!("{session}/location"), place).await;
    assert_eq!((status, &said["stateCode"], &said["data"]["method"]), (201, &json!("GA"), &json!("SELF")), "{said}");
    let refused = admit(&mut clinician, &who, json!({})).await;
    assert_eq!(refused["code"], "CONSENT_REQUIRED");
    // In Georgia there is one text more.
    let (_, second) = ask_patient(&house, &cookie, "GET", &due, Value::Null).await;
    let kinds: Vec<&Value> = second["consents"].as_array().unwrap().iter().map(|due| &due["type"]).collect();
    assert_eq!(kinds, ["GENERAL_TELEHEALTH", "STATE_SPECIFIC"]);
    for kind in ["GENERAL_TELEHEALTH", "Georgia_Telehealth"] {
        let (status, given) = ask_patient(&house, &cookie, "POST", "/api/v1/telehealth/consent", consent(kind)).await;
        assert_eq!(status, 201, "{given}");
    }
    assert_eq!(ask_patient(&house, &cookie, "GET", &due, Value::Null).await.1["isComplete"], true);
    assert_eq!(admit(&mut clinician, &who, json!({})).await["code"], "LICENCE_MISSING");
    let licence = json!({"licences": [{"stateCode": "GA", "number": "GA-1", "validFrom": "2020-01-01", "validTo": "2099-12-31"}]});
    let path = format!("/api/v1/telehealth/clinicians/{CLINICIAN}/licences");
    let (status, set) = house.ask(&house.bearer("boss", StaffRole::Admin), "PUT", &path, &licence).await;
    assert_eq!((status, &set["licences"][0]["isValidToday"]), (200, &json!(true)), "{set}");
    clinician.say(json!({"type": "admit", "id": "in", "participantId": who})).await;
    assert_eq!(clinician.hear("ok").await["id"], "in");
    patient.hear("admitted").await;
    let events = events_of(&house, &visit).await;
    for expected in ["LOCATION_ATTESTED", "LICENCE_CHECKED", "WAITING_ADMITTED", "VISIT_STARTED"] {
        assert!(events.iter().any(|event| event == expected), "{expected} in {events:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn in_an_emergency_the_clinician_goes_on_and_the_books_say_so() {
    let house = House::open().await;
    guard(&house).await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("waiting_list").await;
    assert_eq!(admit(&mut clinician, &who, json!({})).await["code"], "LOCATION_REQUIRED");
    clinician.say(json!({"type": "admit", "id": "in", "participantId": who, "override": "EMERGENCY"})).await;
    assert_eq!(clinician.hear("ok").await["id"], "in");
    patient.hear("admitted").await;
    let events = events_of(&house, &visit).await;
    let overridden = events.iter().filter(|event| *event == "CONSENT_OVERRIDDEN").count();
    // Where they are, and the general consent; Georgia's hangs on where they are.
    assert_eq!(overridden, 2, "{events:?}");
    assert!(events.iter().any(|event| event == "LICENCE_CHECKED"), "{events:?}");
    house.close().await;
}

/// C-05 over the whole of signaling: a revocation by the API ends the capture before it is answered.
#[tokio::test]
async fn c_05_a_revocation_by_the_api_stops_the_capture() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    let mut clinician = house.clinician(CLINICIAN, &visit).await;
    clinician.hear("waiting_list").await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    patient.hear("admitted").await;
    clinician.say(json!({"type": "consent", "version": 1, "decision": "SIGN"})).await;
    clinician.hear("ok").await;
    // The patient signs for all their visits in the portal; the room hears of it.
    let portal = house.bearer("p-1", StaffRole::Patient);
    let mut body = consent("Recording");
    body["clientId"] = "p-1".into();
    let (status, given) = house.ask(&portal, "POST", "/api/v1/telehealth/consent", &body).await;
    assert_eq!(status, 201, "{given}");
    clinician.say(json!({"type": "recording_start", "id": 1})).await;
    while patient.hear("recording").await["state"] != "starting" {}
    let path = format!("/api/v1/telehealth/consent/{}", given["consentId"].as_str().unwrap());
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let (status, revoked) = house.ask(&portal, "DELETE", &path, &Value::Null).await;
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - began;
    assert_eq!((status, &revoked["status"]), (200, &json!("REVOKED")));
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    assert!(house.sfu.commands().iter().any(|c| matches!(c, wire::control::Command::StopTap { .. })));
    while patient.hear("recording").await["state"] != "off" {}
    let events = events_of(&house, &visit).await;
    assert!(events.iter().any(|event| event == "RECORDING_STOPPED"), "{events:?}");
    house.close().await;
}
