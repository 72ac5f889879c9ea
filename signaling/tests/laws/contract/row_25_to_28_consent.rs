//! Rows 25 to 28: consents are read, given, changed and taken back.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::consent::chore;
use sqlx::Row;
use time::Duration;
use uuid::Uuid;

use super::{event_count, events};
use crate::support::{By, House, START};

const CONSENT: &str = "/api/v1/telehealth/consent";

/// What a practice system sends, field by field.
fn payload(kind: &str) -> Value {
    json!({
        "clientId": "p-1",
        "consentType": kind,
        "consentGiven": true,
        "patientRightsAcknowledged": true,
        "emergencyProtocolsUnderstood": true,
        "privacyRisksAcknowledged": true,
        "hasReliableInternet": true,
        "hasPrivateLocation": true,
        "deviceTypeUsed": "Desktop",
    })
}

fn with(mut body: Value, name: &str, value: impl Into<Value>) -> Value {
    body[name] = value.into();
    body
}

async fn give(house: &House, by: &By, body: Value) -> Value {
    let given = house.post(CONSENT, by, body).await;
    assert_eq!(given.status, StatusCode::CREATED, "{:?}", given.json());
    given.json()
}

#[tokio::test]
async fn row_26_the_payload_of_another_system_is_a_consent() {
    let house = House::open().await;
    house.visit().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let before = event_count(&house).await;
    for (named, kind, state) in [
        ("Georgia_Telehealth", "STATE_SPECIFIC", json!("GA")),
        ("HIPAA_Telehealth", "HIPAA", Value::Null),
        ("Recording", "RECORDING", Value::Null),
    ] {
        let given = give(&house, &clinician, payload(named)).await;
        assert_eq!(given["success"], true);
        for record in [&given, &given["data"]] {
            assert_eq!(
                (&record["consentType"], &record["type"], &record["stateCode"]),
                (&json!(named), &json!(kind), &state)
            );
            assert_eq!((&record["clientId"], &record["patientId"]), (&json!("p-1"), &json!("p-1")));
            assert_eq!((&record["consentGiven"], &record["status"]), (&json!(true), &json!("SIGNED")));
            assert_eq!((&record["version"], &record["consentVersion"]), (&json!(1), &json!("1.0")));
            // The clinician says so: a word of mouth that they attest.
            assert_eq!((&record["method"], &record["attestedBy"]), (&json!("VERBAL"), &json!("dr-a")));
            assert_eq!(record["deviceTypeUsed"], "Desktop");
            assert_eq!(record["textSha256"].as_str().unwrap().len(), 64);
        }
    }
    assert_eq!(events(&house, before).await, ["CONSENT_SIGNED"; 3]);
    let mut plain = Request::post(CONSENT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/vnd.telehealth.v1+json");
    if let By::Bearer(token) = &clinician {
        plain = plain.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let plain = house.send(plain.body(Body::from(payload("HIPAA").to_string())).unwrap()).await;
    assert_eq!(plain.json()["status"], "SIGNED");
    assert!(plain.json().get("data").is_none());
}

#[tokio::test]
async fn row_26_what_is_missing_or_outdated_is_refused_and_nothing_is_written() {
    let house = House::open().await;
    house.visit().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let before = event_count(&house).await;
    let lacking = with(payload("Georgia_Telehealth"), "emergencyProtocolsUnderstood", false);
    let refused = house.post(CONSENT, &clinician, lacking.clone()).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "ACK_MISSING"));
    assert_eq!(refused.json()["missing"], json!(["emergencyProtocolsUnderstood"]));
    let outdated = house.post(CONSENT, &clinician, with(payload("HIPAA"), "consentVersion", "2.0")).await;
    assert_eq!((outdated.status, outdated.code().as_str()), (StatusCode::CONFLICT, "VERSION_OUTDATED"));
    assert_eq!(outdated.json()["version"], 1);
    for (body, status) in [
        (with(payload("HIPAA"), "status", "SIGNED"), StatusCode::BAD_REQUEST),
        (with(payload("HIPAA"), "deviceTypeUsed", "Abacus"), StatusCode::BAD_REQUEST),
        (payload("Ohio_Telehealth"), StatusCode::BAD_REQUEST),
        (payload("STATE_SPECIFIC"), StatusCode::UNPROCESSABLE_ENTITY),
        (with(payload("STATE_SPECIFIC"), "stateCode", "OH"), StatusCode::UNPROCESSABLE_ENTITY),
        (with(payload("Georgia_Telehealth"), "stateCode", "FL"), StatusCode::UNPROCESSABLE_ENTITY),
        (with(payload("HIPAA"), "recordingPurpose", "Training"), StatusCode::UNPROCESSABLE_ENTITY),
        (with(payload("HIPAA"), "expirationDate", "2020-01-01T00:00:00Z"), StatusCode::UNPROCESSABLE_ENTITY),
        (with(payload("HIPAA"), "signerName", "\u{7}"), StatusCode::UNPROCESSABLE_ENTITY),
        (with(payload("HIPAA"), "clientId", "p-2"), StatusCode::NOT_FOUND),
    ] {
        let answer = house.post(CONSENT, &clinician, body.clone()).await;
        assert_eq!(answer.status, status, "{body} {:?}", answer.json());
    }
    assert_eq!(events(&house, before).await, [""; 0]);
    // A no needs nothing to have been understood.
    let declined = give(&house, &clinician, with(lacking, "consentGiven", false)).await;
    assert_eq!((&declined["status"], &declined["consentGiven"]), (&json!("DECLINED"), &json!(false)));
    assert!(declined["declinedAt"].is_string() && declined["signedAt"].is_null());
    assert_eq!(events(&house, before).await, ["CONSENT_DECLINED"]);
}

#[tokio::test]
async fn row_26_each_speaks_in_their_own_voice() {
    let house = House::open().await;
    let visit = house.visit().await;
    // The office keeps the paper, and attests no word of mouth.
    let office = house.bearer("front-desk", StaffRole::Scheduler);
    let filed = give(&house, &office, payload("HIPAA")).await;
    assert_eq!((&filed["method"], &filed["attestedBy"]), (&json!("PAPER"), &Value::Null));
    let heard = house.post(CONSENT, &office, with(payload("HIPAA"), "consentMethod", "Verbal")).await;
    assert_eq!(heard.status, StatusCode::UNPROCESSABLE_ENTITY);
    // A patient of the portal signs for themselves alone.
    let patient = house.bearer("p-1", StaffRole::Patient);
    let signed = give(&house, &patient, payload("HIPAA")).await;
    assert_eq!((&signed["method"], &signed["signerRelation"]), (&json!("ELECTRONIC"), &json!("SELF")));
    let other = house.bearer("p-2", StaffRole::Patient);
    assert_eq!(house.post(CONSENT, &other, payload("HIPAA")).await.status, StatusCode::NOT_FOUND);
    // Whoever came by a link need not know how the practice numbers them, and lets this visit alone be recorded.
    let link = By::Cookie(house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap());
    let mut own = payload("Recording");
    own.as_object_mut().unwrap().remove("clientId");
    let signed = give(&house, &link, own.clone()).await;
    assert_eq!((&signed["visitId"], &signed["signerName"]), (&json!(visit), &json!("Ada Rivera")));
    let general = give(&house, &link, with(own, "consentType", "GENERAL_TELEHEALTH")).await;
    assert_eq!(general["visitId"], Value::Null);
    assert_eq!(
        house.post(CONSENT, &link, with(payload("HIPAA"), "clientId", "p-2")).await.status,
        StatusCode::NOT_FOUND
    );
    // A link is no look into what was signed before.
    assert_eq!(house.get(&format!("{CONSENT}/p-1"), &link).await.status, StatusCode::FORBIDDEN);
    // A colleague has no visit with this patient.
    let colleague = house.bearer("dr-b", StaffRole::Clinician);
    assert_eq!(house.post(CONSENT, &colleague, payload("HIPAA")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn row_25_the_consents_of_a_patient_are_listed_and_the_look_is_audited() {
    let house = House::open().await;
    house.visit().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    give(&house, &clinician, payload("Georgia_Telehealth")).await;
    give(&house, &clinician, payload("Recording")).await;
    let training = with(payload("Recording"), "recordingPurpose", "Training");
    give(&house, &clinician, with(training, "consentGiven", false)).await;
    let again = give(&house, &clinician, payload("Georgia_Telehealth")).await;
    let before = event_count(&house).await;
    let all = house.get(&format!("{CONSENT}/p-1"), &clinician).await.json();
    assert_eq!((&all["success"], &all["clientId"]), (&json!(true), &json!("p-1")));
    assert_eq!(all["data"]["consents"].as_array().unwrap().len(), 4);
    // One purpose does not stand for another: they are two, with answers of their own.
    let current = all["current"].as_array().unwrap();
    assert_eq!(current.len(), 3);
    assert_eq!(current[0]["consentId"], again["consentId"]);
    let purpose = |name: &str| current.iter().find(|view| view["recordingPurpose"] == name).unwrap()["status"].clone();
    assert_eq!((purpose("CLINICAL"), purpose("TRAINING")), (json!("SIGNED"), json!("DECLINED")));
    let georgia = house.get(&format!("{CONSENT}/p-1?type=Georgia_Telehealth"), &clinician).await.json();
    assert_eq!(georgia["consents"].as_array().unwrap().len(), 2);
    let florida = house.get(&format!("{CONSENT}/p-1?type=STATE_SPECIFIC&state=FL"), &clinician).await.json();
    assert_eq!(florida["consents"], json!([]));
    assert_eq!(events(&house, before).await, ["CONSENT_VIEWED"; 3]);
    for (by, patient) in [
        (house.bearer("dr-b", StaffRole::Clinician), "p-1"),
        (house.bearer("front-desk", StaffRole::Scheduler), "p-2"),
        (house.bearer("p-2", StaffRole::Patient), "p-1"),
        (house.bearer_in(house.theirs, "dr-a", StaffRole::Clinician), "p-1"),
        (house.bearer_in(house.theirs, "boss", StaffRole::Admin), "p-1"),
    ] {
        assert_eq!(house.get(&format!("{CONSENT}/{patient}"), &by).await.status, StatusCode::NOT_FOUND, "{by:?}");
    }
    let own = house.get(&format!("{CONSENT}/p-1"), &house.bearer("p-1", StaffRole::Patient)).await;
    assert_eq!(own.json()["consents"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn row_27_a_change_is_a_new_row_behind_the_old_one() {
    let house = House::open().await;
    house.visit().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let first = give(&house, &clinician, payload("Georgia_Telehealth")).await;
    let path = format!("{CONSENT}/{}", first["consentId"].as_str().unwrap());
    let before = event_count(&house).await;
    let changed =
        house.ask("PUT", &path, &clinician, Some(json!({"hasPrivateLocation": false, "renewalRequired": true}))).await;
    assert_eq!(changed.status, StatusCode::OK, "{:?}", changed.json());
    let second = changed.json();
    assert_ne!(second["consentId"], first["consentId"]);
    assert_eq!(second["data"]["supersedesConsentId"], first["consentId"]);
    assert_eq!((&second["hasPrivateLocation"], &second["hasReliableInternet"]), (&json!(false), &json!(true)));
    assert_eq!((&second["status"], &second["signedAt"]), (&json!("SIGNED"), &first["signedAt"]));
    assert_eq!(events(&house, before).await, ["CONSENT_SUPERSEDED", "CONSENT_SIGNED"]);
    // The old row is as it was, and cannot be followed twice.
    let all = house.get(&format!("{CONSENT}/p-1"), &clinician).await.json();
    assert_eq!(all["consents"][1]["hasPrivateLocation"], true);
    assert_eq!(all["consents"][1]["isSuperseded"], true);
    let twice = house.ask("PUT", &path, &clinician, Some(json!({"hasPrivateLocation": true}))).await;
    assert_eq!((twice.status, twice.code().as_str()), (StatusCode::CONFLICT, "CONSENT_FINAL"));
    // What belongs to a patient or a type cannot be moved to another one, and what an answer needs it needs here too.
    for body in [json!({"clientId": "p-2"}), json!({"consentType": "HIPAA"})] {
        assert_eq!(house.ask("PUT", &path, &clinician, Some(body)).await.status, StatusCode::BAD_REQUEST);
    }
    let path = format!("{CONSENT}/{}", second["consentId"].as_str().unwrap());
    let lacking = house.ask("PUT", &path, &clinician, Some(json!({"privacyRisksAcknowledged": false}))).await;
    assert_eq!(lacking.code(), "ACK_MISSING");
    let stranger = house.bearer_in(house.theirs, "dr-a", StaffRole::Clinician);
    for id in [second["consentId"].as_str().unwrap().to_owned(), Uuid::new_v4().to_string(), "p-1".to_owned()] {
        let foreign = house.ask("PUT", &format!("{CONSENT}/{id}"), &stranger, Some(json!({}))).await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn row_27_a_request_is_answered_by_whom_it_was_made_to() {
    let house = House::open().await;
    house.visit().await;
    let office = house.bearer("front-desk", StaffRole::Scheduler);
    let mut request = payload("HIPAA");
    request.as_object_mut().unwrap().remove("consentGiven");
    let before = event_count(&house).await;
    let due = (START + Duration::days(2)).format(&time::format_description::well_known::Rfc3339).unwrap();
    let asked = give(&house, &office, with(request.clone(), "expirationDate", due)).await;
    assert_eq!((&asked["status"], &asked["consentDate"]), (&json!("PENDING"), &Value::Null));
    let patient = house.bearer("p-1", StaffRole::Patient);
    assert_eq!(house.post(CONSENT, &patient, request.clone()).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let path = format!("{CONSENT}/{}", asked["consentId"].as_str().unwrap());
    let signed = house.ask("PUT", &path, &patient, Some(json!({"consentGiven": true}))).await.json();
    assert_eq!((&signed["status"], &signed["method"]), (&json!("SIGNED"), &json!("ELECTRONIC")));
    assert_eq!(signed["expiresAt"], Value::Null, "that was the time to answer");
    assert_eq!(events(&house, before).await, ["CONSENT_REQUESTED", "CONSENT_SUPERSEDED", "CONSENT_SIGNED"]);
}

#[tokio::test]
async fn row_28_to_delete_is_to_revoke_and_the_rows_stay() {
    let house = House::open().await;
    house.visit().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let given = give(&house, &clinician, payload("Recording")).await;
    let path = format!("{CONSENT}/{}", given["consentId"].as_str().unwrap());
    let before = event_count(&house).await;
    // Whom it belongs to may take it back.
    let patient = house.bearer("p-1", StaffRole::Patient);
    assert_eq!(
        house.ask("DELETE", &path, &house.bearer("p-2", StaffRole::Patient), None).await.status,
        StatusCode::NOT_FOUND
    );
    let revoked = house.ask("DELETE", &path, &patient, None).await;
    assert_eq!(revoked.status, StatusCode::OK, "{:?}", revoked.json());
    let revoked = revoked.json();
    assert_eq!((&revoked["status"], &revoked["consentGiven"]), (&json!("REVOKED"), &json!(false)));
    assert_eq!((&revoked["revokedBy"], &revoked["revokeReason"]), (&json!("p-1"), &json!("SIGNER_REQUEST")));
    assert_eq!(revoked["data"]["supersedesConsentId"], given["consentId"]);
    assert_eq!(events(&house, before).await, ["CONSENT_REVOKED"]);
    let again = house.ask("DELETE", &path, &clinician, None).await;
    assert_eq!((again.status, again.code().as_str()), (StatusCode::CONFLICT, "CONSENT_FINAL"));
    let mut owner = house.database.owner().await;
    let rows = sqlx::query("SELECT status FROM consent ORDER BY seq").fetch_all(&mut owner).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), ["SIGNED", "REVOKED"]);
}

#[tokio::test]
async fn an_end_is_read_at_once_and_written_once() {
    let house = House::open().await;
    house.visit().await;
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let until = START + Duration::days(1);
    let text = until.format(&time::format_description::well_known::Rfc3339).unwrap();
    let given = give(&house, &clinician, with(payload("HIPAA"), "expirationDate", text.as_str())).await;
    let followed = give(&house, &clinician, with(payload("Recording"), "expirationDate", text)).await;
    house.clock.set(until - Duration::seconds(1));
    assert_eq!(chore::look(&house.app).await.unwrap(), 0);
    let path = format!("{CONSENT}/{}", followed["consentId"].as_str().unwrap());
    assert_eq!(house.ask("DELETE", &path, &clinician, None).await.status, StatusCode::OK);
    house.clock.set(until);
    let before = event_count(&house).await;
    let list = house.get(&format!("{CONSENT}/p-1?type=HIPAA"), &clinician).await.json();
    assert_eq!(list["consents"][0]["status"], "EXPIRED");
    let path = format!("{CONSENT}/{}", given["consentId"].as_str().unwrap());
    let late = house.ask("PUT", &path, &clinician, Some(json!({"hasPrivateLocation": true}))).await;
    assert_eq!((late.code().as_str(), &late.json()["consentStatus"]), ("CONSENT_FINAL", &json!("EXPIRED")));
    assert!(chore::look(&house.app).await.unwrap() > 0);
    assert_eq!(chore::look(&house.app).await.unwrap(), 0);
    // The consent that was taken back had ended before its date came.
    assert_eq!(events(&house, before).await, ["CONSENT_VIEWED", "CONSENT_EXPIRED"]);
}

#[tokio::test]
async fn c_06_a_guardian_signs_for_a_minor() {
    let house = House::open().await;
    let visit = house.visit().await;
    let office = house.bearer("front-desk", StaffRole::Scheduler);
    let minor = "/api/v1/telehealth/patients/p-1/minor";
    let set = house.ask("PUT", minor, &office, Some(json!({"majorityYear": 2030}))).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{:?}", set.json());
    let link = By::Cookie(house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap());
    let alone = house.post(CONSENT, &link, payload("HIPAA")).await;
    assert_eq!((alone.status, alone.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "GUARDIAN_REQUIRED"));
    let guarded = with(with(payload("HIPAA"), "signerName", "Grace Rivera"), "signerRelation", "parent");
    let signed = give(&house, &link, guarded.clone()).await;
    assert_eq!((&signed["signerRelation"], &signed["signerName"]), (&json!("PARENT"), &json!("Grace Rivera")));
    // The name is not in the database in the clear.
    let mut owner = house.database.owner().await;
    let row = sqlx::query("SELECT sealed_signer_name FROM consent WHERE sealed_signer_name IS NOT NULL")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let sealed: Vec<u8> = row.get(0);
    assert!(!sealed.windows(5).any(|part| part == b"Grace"));
    // A minor can say no, and is one no longer when the practice says so.
    let declined = give(&house, &link, with(payload("HIPAA"), "consentGiven", false)).await;
    assert_eq!(declined["status"], "DECLINED");
    house.ask("PUT", minor, &office, Some(json!({"majorityYear": null}))).await;
    give(&house, &link, payload("HIPAA")).await;
}

#[tokio::test]
async fn a_new_version_asks_everybody_again() {
    let house = House::open().await;
    house.visit().await;
    let admin = house.bearer("boss", StaffRole::Admin);
    let texts = "/api/v1/telehealth/consent-texts";
    let first = house.get(&format!("{texts}?type=Georgia_Telehealth"), &admin).await.json();
    assert_eq!((&first["version"], &first["stateCode"]), (&json!(1), &json!("GA")));
    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    let signed = give(&house, &clinician, payload("Georgia_Telehealth")).await;
    assert_eq!(signed["textSha256"], first["sha256"]);
    let before = event_count(&house).await;
    let new = json!({"consentType": "Georgia_Telehealth", "body": "You are in Georgia. Ask us anything."});
    let refused = house.post(texts, &clinician, new.clone()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let published = house.post(texts, &admin, new).await;
    assert_eq!((published.status, &published.json()["version"]), (StatusCode::CREATED, &json!(2)));
    let spanish = json!({"consentType": "Georgia_Telehealth", "body": "Usted está en Georgia.", "locale": "es-US"});
    let outdated = house.post(texts, &admin, with(spanish.clone(), "translatesVersion", 1)).await;
    assert_eq!(outdated.code(), "VERSION_OUTDATED");
    let translated = house.post(texts, &admin, with(spanish.clone(), "translatesVersion", 2)).await;
    assert_eq!(translated.json()["version"], 2);
    let twice = house.post(texts, &admin, with(spanish, "translatesVersion", 2)).await;
    assert_eq!(twice.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(events(&house, before).await, ["CONFIG_CHANGED"; 2]);
    let read = house.post(CONSENT, &clinician, with(payload("Georgia_Telehealth"), "consentVersion", "1.0")).await;
    assert_eq!(read.code(), "VERSION_OUTDATED");
    let signed = give(&house, &clinician, with(payload("Georgia_Telehealth"), "locale", "es-US")).await;
    assert_eq!((&signed["version"], &signed["locale"]), (&json!(2), &json!("es-US")));
    assert_eq!(signed["textSha256"], translated.json()["sha256"]);
}

#[tokio::test]
async fn the_rule_of_a_state_is_told_with_its_source() {
    let house = House::open().await;
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let washington = house.get("/api/v1/telehealth/recording-rules/WA", &by).await.json();
    assert_eq!((&washington["rule"], &washington["floor"]), (&json!("all_party"), &json!("all_party")));
    assert_eq!((&washington["announceInRecording"], &washington["everybodyIsAsked"]), (&json!(true), &json!(true)));
    assert!(washington["sources"].as_array().unwrap().len() > 1);
    let georgia = house.get("/api/v1/telehealth/recording-rules/GA", &by).await.json();
    assert_eq!((&georgia["rule"], &georgia["floor"]), (&json!("one_party"), &json!("all_party")));
    assert_eq!(house.get("/api/v1/telehealth/recording-rules/XX", &by).await.status, StatusCode::NOT_FOUND);
}
