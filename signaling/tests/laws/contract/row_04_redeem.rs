use axum::http::StatusCode;
use proof::BrowserKey;
use serde_json::json;
use sqlx::Row;

use crate::support::{By, House};

#[tokio::test]
async fn row_04_validate_looks_and_redeem_keeps_the_link_for_a_key() {
    let house = House::open().await;
    let visit = house.visit().await;
    let link = house.link(&visit, "patient").await;
    let token = link["token"].as_str().unwrap();
    // The check before joining, as older pages make it: by token, without a mode.
    let look = house.post("/api/token/redeem", &By::Nobody, json!({"token": token})).await;
    assert_eq!(look.status, StatusCode::OK);
    let seen = look.json();
    assert_eq!((&seen["valid"], &seen["role"]), (&json!(true), &json!("patient")));
    assert_eq!(
        (&seen["scheduledAt"], &seen["clinicianFirstName"]),
        (&json!("2026-11-21T10:00:00Z"), &json!("Dr. Maria"))
    );
    assert!(look.cookie().is_none() && seen.get("visitId").is_none());
    let key = BrowserKey::random();
    let claimed = house.claim(&key, json!({"token": token})).await;
    assert_eq!(claimed.json()["visitId"], json!(visit));
    assert_eq!(claimed.json()["confirmUntil"], "2026-11-21T10:01:30Z");
    assert_eq!(house.confirm(&claimed.cookie().unwrap()).await.status, StatusCode::OK);
    let mut owner = house.database.owner().await;
    let row =
        sqlx::query("SELECT status, usage_count, redeemed_key FROM join_token").fetch_one(&mut owner).await.unwrap();
    assert_eq!((row.get::<String, _>(0).as_str(), row.get::<i32, _>(1)), ("REDEEMED", 1));
    assert_eq!(row.get::<String, _>(2), key.thumbprint().as_str());
    let events = sqlx::query("SELECT event_type FROM audit_event WHERE visit_id IS NOT NULL ORDER BY seq")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    let events: Vec<String> = events.iter().map(|row| row.get(0)).collect();
    let expected =
        ["VISIT_CREATED", "TOKEN_ISSUED", "TOKEN_VALIDATED", "TOKEN_VALIDATED", "TOKEN_REDEEMED", "SESSION_ISSUED"];
    assert!(expected.iter().all(|event| events.contains(&(*event).to_owned())), "{events:?}");
}
