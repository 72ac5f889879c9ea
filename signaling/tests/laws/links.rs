//! A link opens a visit once, and only by a POST that says so.

use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use proof::BrowserKey;
use serde_json::json;
use signaling::auth::StaffRole;
use sqlx::Row;
use time::Duration;

use crate::support::{By, House, START};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_redeem_exactly_once() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    let tries = futures_util::future::join_all((0..50).map(|_| house.redeem(&code))).await;
    let won = tries.iter().filter(|answer| answer.status == StatusCode::OK).count();
    let lost = tries.iter().filter(|answer| answer.status == StatusCode::CONFLICT).count();
    assert_eq!((won, lost), (1, 49));
    let codes: Vec<String> =
        tries.iter().filter(|answer| answer.status == StatusCode::CONFLICT).map(|answer| answer.code()).collect();
    assert!(codes.iter().all(|code| code == "TOKEN_IN_USE" || code == "TOKEN_ALREADY_USED"), "{codes:?}");
    let mut owner = house.database.owner().await;
    let sessions = sqlx::query("SELECT count(*) FROM visit_session").fetch_one(&mut owner).await.unwrap();
    assert_eq!(sessions.get::<i64, _>(0), 1);
    let events = sqlx::query(
        "SELECT count(*) FILTER (WHERE success), count(*) FROM audit_event WHERE event_type = 'TOKEN_REDEEMED'",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!((events.get::<i64, _>(0), events.get::<i64, _>(1)), (1, 50));
}

#[tokio::test]
async fn a_redeemed_link_gives_a_session_for_this_visit_alone() {
    let house = House::open().await;
    let (visit, other) = (house.visit().await, house.visit_at(START + Duration::hours(5)).await);
    let code = house.code(&visit, "patient").await;
    let first = house.redeem(&code).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.json()["visitId"], json!(visit));
    assert_eq!(first.json()["role"], "patient");
    assert_eq!(first.json()["clinicianFirstName"], "Dr. Maria");
    let line = first.headers[SET_COOKIE].to_str().unwrap();
    assert!(line.starts_with("__Host-anteroom_session="));
    for attribute in ["Path=/", "HttpOnly", "Secure", "SameSite=Strict"] {
        assert!(line.contains(attribute), "{line}");
    }
    let by = By::Cookie(first.cookie().unwrap());
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &by).await.status, StatusCode::OK);
    assert_eq!(house.get(&format!("/api/visits/{other}"), &by).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.get("/api/visits", &by).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.post(&format!("/api/visits/{visit}/end"), &by, json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.redeem(&code).await.code(), "TOKEN_ALREADY_USED");
    assert_eq!(house.validate(&code).await.code(), "TOKEN_ALREADY_USED");
    // A second link takes the seat over: the first session is dead.
    let second = house.redeem(&house.code(&visit, "patient").await).await;
    assert_eq!(second.status, StatusCode::OK);
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &by).await.status, StatusCode::UNAUTHORIZED);
    let by = By::Cookie(second.cookie().unwrap());
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &by).await.status, StatusCode::OK);
    // A session does not outlive its time.
    house.clock.set(START + Duration::minutes(91));
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &by).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn looking_never_spends() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    for _ in 0..100 {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for path in [
                format!("/j/{code}"),
                "/".to_owned(),
                "/desk".to_owned(),
                "/visit".to_owned(),
                "/api/token/redeem".to_owned(),
            ] {
                house.ask(method, &path, &By::Nobody, None).await;
            }
        }
    }
    for _ in 0..5 {
        let look = house.validate(&code).await;
        assert_eq!(look.json()["valid"], true, "{:?}", look.json());
        assert!(look.json().get("visitId").is_none());
        assert!(look.cookie().is_none());
    }
    assert_eq!(house.redeem(&code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn dead_links_say_how_they_died() {
    let house = House::open().await;
    let visit = house.visit_at(START + Duration::hours(2)).await;
    let early = house.code(&visit, "patient").await;
    let answer = house.redeem(&early).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "TOKEN_NOT_YET_VALID"));
    // Opens ten minutes before the visit, and two more for clocks that differ.
    assert_eq!(answer.json()["retryAfterMinutes"], 108);
    house.clock.set(START + Duration::minutes(108));
    assert_eq!(house.validate(&early).await.status, StatusCode::OK);
    let later = house.code(&visit, "patient").await;
    let answer = house.redeem(&early).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GONE, "TOKEN_REVOKED"));
    assert_eq!(answer.json()["practice"]["phone"], "+1 555 0100");
    house.clock.set(START + Duration::minutes(110 + 20 + 2));
    let answer = house.redeem(&later).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::GONE, "TOKEN_EXPIRED"));
}

#[tokio::test]
async fn unknown_and_forged_look_alike() {
    let house = House::open().await;
    let visit = house.visit().await;
    let link = house.link(&visit, "patient").await;
    let jwt = link["token"].as_str().unwrap();
    let By::Bearer(access) = house.bearer("dr-a", StaffRole::Clinician) else { panic!("a bearer") };
    let mut flipped = jwt.to_owned();
    let last = if flipped.pop() == Some('A') { 'Q' } else { 'A' };
    flipped.push(last);
    let mut bodies = Vec::new();
    for link in [
        json!({"shortCode": "11111111111"}),
        json!({"shortCode": "not a code"}),
        json!({"shortCode": ""}),
        json!({"token": flipped}),
        json!({"token": access}),
        json!({"token": "a.b.c"}),
    ] {
        for answer in [
            house.claim(&BrowserKey::random(), link.clone()).await,
            house.post("/api/token/redeem", &By::Nobody, link.clone()).await,
        ] {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            let mut json = answer.json();
            json.as_object_mut().unwrap().remove("requestId");
            bodies.push(json);
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    // The JWT itself works, and a join token is no bearer.
    assert_eq!(
        house.get(&format!("/api/visits/{visit}"), &By::Bearer(jwt.to_owned())).await.status,
        StatusCode::UNAUTHORIZED
    );
    let answer = house.claim(&BrowserKey::random(), json!({"token": jwt})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(house.confirm(&answer.cookie().unwrap()).await.status, StatusCode::OK);
    assert_eq!(house.redeem(link["shortCode"].as_str().unwrap()).await.code(), "TOKEN_ALREADY_USED");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let house = House::open().await;
    let mut last = None;
    for n in 0..21 {
        last = Some(house.redeem(&format!("1111111111{}", char::from(b'A' + n % 8))).await);
    }
    let last = last.unwrap();
    assert_eq!((last.status, last.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    assert_eq!(last.headers["retry-after"], "6");
}
