use axum::http::StatusCode;
use proof::BrowserKey;
use serde_json::json;
use signaling::auth::{Actor, StaffRole};
use signaling::ids::{ParticipantId, VisitId};
use signaling::join::command::{self, For};
use sqlx::Row;
use time::Duration;

use crate::support::{By, House, START};

/// `generateToken`: staff mint a token for one participant, by id.
#[tokio::test]
async fn row_34_a_token_for_one_participant_opens_that_seat() {
    let house = House::open().await;
    let visit = house.visit().await;
    let mut owner = house.database.owner().await;
    let row = sqlx::query("SELECT participant_id FROM participant WHERE role = 'PATIENT'")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let patient = ParticipantId::from_uuid(row.get(0));
    let actor = Actor::System { org: house.ours };
    let id = VisitId::from_uuid(visit.parse().unwrap());
    let ttl = command::lifetime(Some(30)).unwrap();
    let issued = command::issue(&house.app, &actor, id, &For::Person(patient), ttl).await.unwrap();
    let [link] = issued.as_slice() else { panic!("one link") };
    let token = link.minted.sign(&house.app.keys).await.unwrap();
    let claimed = house.claim(&BrowserKey::random(), json!({"token": token.reveal()})).await;
    assert_eq!(claimed.json()["participantId"], json!(patient));
    let nobody = For::Person(ParticipantId::random());
    assert!(command::issue(&house.app, &actor, id, &nobody, ttl).await.is_err());
    assert!(command::lifetime(Some(31)).is_err());
}

/// A link to another device works for two minutes, and that device's coming in ends the session of this one.
#[tokio::test]
async fn a_seat_moves_to_another_device() {
    let house = House::open().await;
    let visit = house.visit().await;
    let path = format!("/api/visits/{visit}");
    let here = By::Cookie(house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap());
    let link = house.ask("POST", &format!("{path}/handover"), &here, None).await;
    assert_eq!(link.status, StatusCode::OK, "{:?}", link.json());
    assert_eq!(link.json()["expiresAt"], "2026-11-21T10:02:00Z");
    let code = link.json()["shortCode"].as_str().unwrap().to_owned();
    let there = house.claim(&BrowserKey::random(), json!({"shortCode": code})).await.cookie().unwrap();
    assert_eq!(house.get(&path, &here).await.status, StatusCode::OK, "until the other one is in");
    assert_eq!(house.confirm(&there).await.status, StatusCode::OK);
    assert_eq!(house.get(&path, &here).await.status, StatusCode::UNAUTHORIZED);
    let there = By::Cookie(there);
    assert_eq!(house.get(&path, &there).await.status, StatusCode::OK);
    // Only from a seat, only of this visit, and not for long.
    let staff = house.bearer("dr-a", StaffRole::Clinician);
    assert_eq!(house.ask("POST", &format!("{path}/handover"), &staff, None).await.status, StatusCode::FORBIDDEN);
    let other = house.visit_at(START + Duration::hours(3)).await;
    let elsewhere = house.ask("POST", &format!("/api/visits/{other}/handover"), &there, None).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    let late = house.ask("POST", &format!("{path}/handover"), &there, None).await.json()["shortCode"]
        .as_str()
        .unwrap()
        .to_owned();
    // Two minutes, and two more for clocks that differ.
    house.clock.set(START + Duration::minutes(4));
    assert_eq!(house.validate(&late).await.code(), "TOKEN_EXPIRED");
    let mut owner = house.database.owner().await;
    let purpose = "SELECT count(*) FROM join_token WHERE purpose = 'HANDOVER'";
    assert_eq!(sqlx::query(purpose).fetch_one(&mut owner).await.unwrap().get::<i64, _>(0), 2);
}
