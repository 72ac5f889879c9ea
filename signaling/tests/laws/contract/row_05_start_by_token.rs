use axum::http::StatusCode;
use signaling::Error;
use signaling::ids::VisitId;
use signaling::join::context::Context;
use signaling::join::redeem::{self, Credential, Redeemed};

use crate::support::{By, House};

async fn start(house: &House, visit: &str, credential: Credential<'_>) -> Result<Redeemed, String> {
    let from = "192.0.2.1".parse().unwrap();
    // As the requests of these tests come: from nowhere, by nothing.
    let context = Context::of(&house.app.keys, "0.0.0.0".parse().unwrap(), "");
    let visit = VisitId::from_uuid(visit.parse().unwrap());
    redeem::start(&house.app, from, visit, credential, &context).await.map_err(|error| match error {
        Error::Refused(problem) => problem.code.as_str().to_owned(),
        other => other.to_string(),
    })
}

/// Systems that start visits from their own server have a signed token and no browser's key. What they may do is the practice's setting.
#[tokio::test]
async fn row_05_a_signed_token_starts_its_visit_without_a_key_as_far_as_the_practice_allows() {
    let house = House::open().await;
    let (visit, other) = (house.visit().await, house.visit_at(crate::support::START + time::Duration::hours(2)).await);
    let link = house.link(&visit, "patient").await;
    let (token, code) = (link["token"].as_str().unwrap(), link["shortCode"].as_str().unwrap());
    assert_eq!(
        start(&house, &visit, Credential::Code(code)).await.unwrap_err(),
        "KEY_REQUIRED",
        "a message's code never"
    );
    // L-08: of another visit.
    assert_eq!(start(&house, &other, Credential::Jwt(token)).await.unwrap_err(), "TOKEN_INVALID");
    let started = start(&house, &visit, Credential::Jwt(token)).await.unwrap();
    let cookie = format!("__Host-anteroom_session={}", started.session.to_cookie_value());
    let path = format!("/api/visits/{visit}");
    assert_eq!(house.get(&path, &By::Cookie(cookie.clone())).await.status, StatusCode::OK);
    assert_eq!(start(&house, &visit, Credential::Jwt(token)).await.unwrap_err(), "TOKEN_ALREADY_USED");
    // Without a key there is nothing but where it comes from: elsewhere it is nobody's.
    let mut owner = house.database.owner().await;
    sqlx::query("UPDATE visit_session SET net = '198.51.100.0/24'").execute(&mut owner).await.unwrap();
    assert_eq!(house.get(&path, &By::Cookie(cookie)).await.status, StatusCode::UNAUTHORIZED);
    for (setting, by_token, by_code) in [("NEVER", false, false), ("ANY", true, true)] {
        sqlx::query("UPDATE organization SET keyless_start = $1").bind(setting).execute(&mut owner).await.unwrap();
        for (allowed, is_token) in [(by_token, true), (by_code, false)] {
            let link = house.link(&visit, "patient").await;
            let (token, code) = (link["token"].as_str().unwrap(), link["shortCode"].as_str().unwrap());
            let credential = if is_token { Credential::Jwt(token) } else { Credential::Code(code) };
            let started = start(&house, &visit, credential).await;
            assert_eq!(started.is_ok(), allowed, "{setting} {is_token}: {started:?}");
        }
    }
    // A browser that holds a claim is not overtaken.
    let link = house.link(&visit, "patient").await;
    let claimed = house.claim(&proof::BrowserKey::random(), serde_json::json!({"shortCode": link["shortCode"]})).await;
    assert_eq!(claimed.status, StatusCode::OK);
    let token = link["token"].as_str().unwrap();
    assert_eq!(start(&house, &visit, Credential::Jwt(token)).await.unwrap_err(), "TOKEN_IN_USE");
}
