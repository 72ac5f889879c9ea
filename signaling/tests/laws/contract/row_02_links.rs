use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;
use sqlx::Row;

use crate::support::{By, House};

#[tokio::test]
async fn row_02_links_for_both_roles_replace_the_unspent_ones() {
    let house = House::open().await;
    let visit = house.visit().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let path = format!("/api/visits/{visit}/links");
    let body = json!({"roles": ["patient", "clinician"], "ttlMinutes": 30});
    let first = house.post(&path, &by, body.clone()).await;
    assert_eq!(first.status, StatusCode::OK, "{:?}", first.json());
    for role in ["patient", "clinician"] {
        let link = &first.json()[role];
        let code = link["shortCode"].as_str().unwrap();
        assert_eq!(link["url"], format!("{}/j/{code}", house.app.public.origin));
        assert_eq!(
            (&link["notBefore"], &link["expiresAt"]),
            (&json!("2026-11-21T10:00:00Z"), &json!("2026-11-21T10:30:00Z"))
        );
        // The claims of the token, as other systems read them.
        let claims = link["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
        let claims: serde_json::Value = {
            use base64::Engine;
            serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
        };
        for name in ["jti", "iss", "aud", "exp", "nbf", "iat", "sub", "visit_id", "role", "nonce"] {
            assert!(!claims[name].is_null(), "{name}");
        }
        assert_eq!((&claims["visit_id"], &claims["role"]), (&json!(visit), &json!(role)));
    }
    let second = house.post(&path, &by, body).await;
    assert_eq!(house.validate(first.json()["patient"]["shortCode"].as_str().unwrap()).await.code(), "TOKEN_REVOKED");
    assert_eq!(house.validate(second.json()["patient"]["shortCode"].as_str().unwrap()).await.json()["valid"], true);
    let mut owner = house.database.owner().await;
    let count = "SELECT count(*) FILTER (WHERE event_type = 'TOKEN_ISSUED'), count(*) FILTER (WHERE event_type = 'TOKEN_REVOKED') FROM audit_event";
    let row = sqlx::query(count).fetch_one(&mut owner).await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (4, 2));
    // No text that opens anything rests in the database: code and nonce are hashes.
    let stored = sqlx::query("SELECT join_token::text FROM join_token").fetch_all(&mut owner).await.unwrap();
    for code in [&first, &second].map(|answer| answer.json()["patient"]["shortCode"].as_str().unwrap().to_owned()) {
        assert!(stored.iter().all(|row| !row.get::<String, _>(0).contains(&code)));
    }
    for bad in [
        json!({"roles": []}),
        json!({"roles": ["patient"], "ttlMinutes": 31}),
        json!({"roles": ["patient"], "ttlMinutes": 19}),
    ] {
        assert_eq!(house.post(&path, &by, bad).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(house.post(&path, &By::Nobody, json!({"roles": ["patient"]})).await.status, StatusCode::UNAUTHORIZED);
}
