//! The signing key is replaced while people join.

use futures_util::future::join_all;
use proof::{BrowserKey, Expected, Fresh};
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{House, find_header, prove};

/// How often the key is replaced.
const ROTATIONS: usize = 5;

/// Joins before, between and after.
const JOINS: usize = 6;

/// Plans a visit, lets `pause` happen between the link and its use, and joins by the signed token.
async fn join(house: &House, pause: impl AsyncFn()) {
    let scheduler = house.bearer("planner", StaffRole::Scheduler);
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let clinician = format!("dr-{}", uuid::Uuid::new_v4());
    let body = json!({"patientId": "p-1", "clinicianId": clinician, "scheduledAt": now, "duration": 30});
    let (status, visit) = house.ask(&scheduler, "POST", "/api/visits", &body).await;
    assert_eq!(status, 201, "{visit}");
    let path = format!("/api/visits/{}/links", visit["visitId"].as_str().unwrap());
    let (status, links) = house.ask(&scheduler, "POST", &path, &json!({"roles": ["patient"]})).await;
    assert_eq!(status, 200, "{links}");
    pause().await;
    let token = links["patient"]["token"].as_str().unwrap();
    let key = BrowserKey::random();
    let fresh = Fresh::Around(OffsetDateTime::now_utc().unix_timestamp());
    let proof = prove(&key, &Expected { method: "POST", path: "/api/token/redeem", fresh, secret: Some(token) });
    let body = json!({"token": token, "mode": "redeem", "publicKey": key.public(), "proof": proof}).to_string();
    let (status, head, body) = house.raw("POST", "/api/token/redeem", &[], &body).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let cookie = find_header(&head, "set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let proof = prove(&key, &Expected { method: "POST", path: "/api/token/confirm", fresh, secret: None });
    let headers = [("cookie", cookie.as_str()), ("x-anteroom", "1"), ("dpop", proof.as_str())];
    let (status, _, body) = house.raw("POST", "/api/token/confirm", &headers, "{}").await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
}

#[tokio::test]
async fn t_24_keys_rotate_under_load_without_one_failed_join() {
    let house = House::open().await;
    // A link of the first key, used after the last rotation.
    join(&house, async || {
        let load = join_all((0..JOINS).map(|_| join(&house, async || {})));
        let rotate = async {
            for _ in 0..ROTATIONS {
                // Another process does it; the server is told nothing.
                house.keys.rotate().unwrap();
                // Signed by the key of a moment ago.
                let bearer = house.bearer("planner", StaffRole::Scheduler);
                let (status, answer) = house.ask(&bearer, "GET", "/api/visits", &Value::Null).await;
                assert_eq!(status, 200, "{answer}");
            }
        };
        tokio::join!(load, rotate);
    })
    .await;
    let (status, jwks) = house.ask("", "GET", "/.well-known/jwks.json", &Value::Null).await;
    assert_eq!((status, jwks["keys"].as_array().unwrap().len()), (200, ROTATIONS + 1));
    house.close().await;
}
