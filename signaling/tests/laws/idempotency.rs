//! `Idempotency-Key`: a POST that was sent twice is done once.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use time::Duration;

use crate::commands::events;
use crate::support::{Answer, By, House, START};

async fn post(house: &House, path: &str, by: &By, key: &str, body: &Value) -> Answer {
    let By::Bearer(token) = by else { panic!("a bearer") };
    let request = Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", key);
    house.send(request.body(Body::from(body.to_string())).unwrap()).await
}

fn visit_of(clinician: &str) -> Value {
    json!({"patientId": "p", "clinicianId": clinician, "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30})
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_answer_and_does_nothing() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let first = post(&house, "/api/visits", &by, "k-1", &visit_of("dr-a")).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let again = post(&house, "/api/visits", &by, "k-1", &visit_of("dr-a")).await;
    assert_eq!((again.status, again.json()), (StatusCode::CREATED, first.json()));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let visit = first.json()["visitId"].as_str().unwrap().to_owned();
    assert_eq!(events(&house, &visit).await, ["VISIT_CREATED"]);
    // The answer with the links comes again too, and no second pair is made.
    let path = format!("/api/visits/{visit}/links");
    let links = post(&house, &path, &by, "k-2", &json!({"roles": ["patient"]})).await;
    let same = post(&house, &path, &by, "k-2", &json!({"roles": ["patient"]})).await;
    assert_eq!((links.status, same.json()), (StatusCode::OK, links.json()));
    let code = links.json()["patient"]["shortCode"].as_str().unwrap().to_owned();
    assert_eq!(house.validate(&code).await.status, StatusCode::OK);
    // What is kept of them is sealed, and so is whose key it was.
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT encode(key_hash || sealed_answer, 'escape') FROM idempotency_key")
            .fetch_all(&mut house.database.owner().await)
            .await
            .unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|row| !row.contains(&code) && !row.contains("k-2") && !row.contains("front-desk")));
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_caller_for_a_day() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    post(&house, "/api/visits", &by, "k", &visit_of("dr-a")).await;
    let other = post(&house, "/api/visits", &by, "k", &visit_of("dr-b")).await;
    assert_eq!((other.status, other.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"));
    // Another caller's key of the same name, here and in another practice, is another key.
    let colleague = house.bearer("second-desk", StaffRole::Scheduler);
    assert_eq!(post(&house, "/api/visits", &colleague, "k", &visit_of("dr-b")).await.status, StatusCode::CREATED);
    let theirs = house.bearer_in(house.theirs, "front-desk", StaffRole::Scheduler);
    assert_eq!(post(&house, "/api/visits", &theirs, "k", &visit_of("dr-b")).await.status, StatusCode::CREATED);
    // A refusal is not kept: the same request is tried again, and a key that is none is refused.
    let taken = post(&house, "/api/visits", &by, "k-2", &visit_of("dr-a")).await;
    assert_eq!(taken.code(), "DOUBLE_BOOKED");
    assert_eq!(post(&house, "/api/visits", &by, "k-2", &visit_of("dr-c")).await.status, StatusCode::CREATED);
    assert_eq!(post(&house, "/api/visits", &by, "two words", &visit_of("dr-d")).await.status, StatusCode::BAD_REQUEST);
    // After a day the chore forgets it.
    house.clock.set(START + Duration::hours(25));
    signaling::visit::chore::look(&house.app).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM idempotency_key")
        .fetch_one(&mut house.database.owner().await)
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_at_once_with_one_key_make_one_visit() {
    let house = House::open().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = visit_of("dr-a");
    let tries = (0..30).map(|_| post(&house, "/api/visits", &by, "k", &body));
    let answers = futures_util::future::join_all(tries).await;
    let (done, under_way): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
    assert!(!done.is_empty());
    assert!(done.iter().all(|answer| answer.json()["visitId"] == done[0].json()["visitId"]));
    assert!(under_way.iter().all(|answer| answer.code() == "IDEMPOTENCY_IN_FLIGHT"));
    let visits: i64 =
        sqlx::query_scalar("SELECT count(*) FROM visit").fetch_one(&mut house.database.owner().await).await.unwrap();
    assert_eq!(visits, 1);
}
