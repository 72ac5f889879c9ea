//! What happens to visits by the clock, which is turned by hand here.

use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;
use signaling::visit::chore::look;
use signaling::visit::command;
use time::Duration;
use uuid::Uuid;

use crate::commands::{clinician, events, id};
use crate::support::{House, START};

async fn status(house: &House, visit: &str) -> String {
    sqlx::query_scalar("SELECT status || coalesce(' ' || end_reason, '') FROM visit WHERE visit_id = $1")
        .bind(visit.parse::<Uuid>().unwrap())
        .fetch_one(&mut house.database.owner().await)
        .await
        .unwrap()
}

/// What the socket would write: somebody of a role waits since `START + minutes`; admitted when `admitted` says so.
async fn waits(house: &House, visit: &str, role: &str, minutes: i64, admitted: bool) {
    let at = START + Duration::minutes(minutes);
    sqlx::query(
        "INSERT INTO waiting_entry (entry_id, org_id, visit_id, participant_id, entered_at, status, admitted_at)
         SELECT gen_random_uuid(), org_id, visit_id, participant_id, $3, CASE WHEN $4 THEN 'ADMITTED' ELSE 'WAITING' END,
             CASE WHEN $4 THEN $3 END
         FROM participant WHERE visit_id = $1 AND role = $2",
    )
    .bind(visit.parse::<Uuid>().unwrap())
    .bind(role)
    .bind(at)
    .bind(admitted)
    .execute(&mut house.database.owner().await)
    .await
    .unwrap();
    let status = if admitted { "IN_PROGRESS" } else { "WAITING" };
    sqlx::query(
        "UPDATE visit SET status = $2, started_at = CASE WHEN $2 = 'IN_PROGRESS' THEN $3 END WHERE visit_id = $1",
    )
    .bind(visit.parse::<Uuid>().unwrap())
    .bind(status)
    .bind(at)
    .execute(&mut house.database.owner().await)
    .await
    .unwrap();
}

async fn at(house: &House, minutes: i64) {
    house.clock.set(START + Duration::minutes(minutes));
    look(&house.app).await.unwrap();
}

#[tokio::test]
async fn a_patient_who_does_not_come_is_a_no_show_after_the_grace_of_the_practice() {
    let house = House::open().await;
    let (ours, begun) = (house.visit().await, house.visit_at(START + Duration::minutes(30)).await);
    let code = house.code(&ours, "patient").await;
    command::start(&house.app, &clinician(&house, "dr-a"), id(&begun), None).await.unwrap();
    at(&house, 14).await;
    assert_eq!(status(&house, &ours).await, "SCHEDULED");
    at(&house, 15).await;
    assert_eq!(status(&house, &ours).await, "NO_SHOW NO_SHOW");
    assert_eq!(house.validate(&code).await.code(), "TOKEN_REVOKED");
    let seen = events(&house, &ours).await;
    assert!(seen.contains(&"VISIT_NO_SHOW".to_owned()) && seen.contains(&"TOKEN_REVOKED".to_owned()), "{seen:?}");
    // Also where the clinician had begun; the grace is the practice's to choose.
    let admin = house.bearer("boss", StaffRole::Admin);
    let longer = Some(json!({"noShowGraceMin": 40}));
    house.ask("PATCH", "/api/v1/telehealth/organization/settings", &admin, longer).await;
    at(&house, 69).await;
    assert_eq!(status(&house, &begun).await, "IN_PROGRESS");
    at(&house, 70).await;
    assert_eq!(status(&house, &begun).await, "NO_SHOW NO_SHOW");
}

#[tokio::test]
async fn whoever_waits_is_no_no_show_but_is_sent_away_after_an_hour() {
    let house = House::open().await;
    let visit = house.visit().await;
    waits(&house, &visit, "PATIENT", -5, false).await;
    at(&house, 54).await;
    assert_eq!(status(&house, &visit).await, "WAITING");
    at(&house, 55).await;
    // Nobody waits any more, and the grace is long over.
    assert_eq!(status(&house, &visit).await, "NO_SHOW NO_SHOW");
    let seen = events(&house, &visit).await;
    let order: Vec<&str> = seen.iter().map(String::as_str).filter(|event| *event != "VISIT_CREATED").collect();
    assert_eq!(order, ["WAITING_TIMED_OUT", "VISIT_STATUS_CHANGED", "VISIT_STATUS_CHANGED", "VISIT_NO_SHOW"]);
}

#[tokio::test]
async fn a_visit_that_everybody_left_is_completed_after_the_grace_and_one_that_lasts_too_long_anyway() {
    let house = House::open().await;
    let (left, long) = (house.visit().await, house.visit_at(START + Duration::minutes(30)).await);
    for visit in [&left, &long] {
        waits(&house, visit, "PATIENT", 1, true).await;
    }
    let attended = async |visit: &str, minutes: i64| {
        sqlx::query("UPDATE visit SET attended_at = $2 WHERE visit_id = $1")
            .bind(visit.parse::<Uuid>().unwrap())
            .bind(START + Duration::minutes(minutes))
            .execute(&mut house.database.owner().await)
            .await
            .unwrap();
    };
    attended(&left, 20).await;
    attended(&long, 20).await;
    at(&house, 24).await;
    assert_eq!(status(&house, &left).await, "IN_PROGRESS");
    attended(&long, 480).await;
    at(&house, 25).await;
    assert_eq!(status(&house, &left).await, "COMPLETED TIMEOUT");
    at(&house, 480).await;
    assert_eq!(status(&house, &long).await, "IN_PROGRESS");
    at(&house, 481).await;
    assert_eq!(status(&house, &long).await, "COMPLETED TIMEOUT");
    assert!(events(&house, &long).await.contains(&"VISIT_ENDED".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_at_once_end_each_visit_once_in_every_practice() {
    let house = House::open().await;
    let mut visits = Vec::new();
    for n in 0..6 {
        visits.push(house.visit_at(START - Duration::minutes(30 * n)).await);
    }
    let theirs = house.bearer_in(house.theirs, "front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p", "clinicianId": "dr-a", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30});
    let made = house.post("/api/visits", &theirs, body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    visits.push(made.json()["visitId"].as_str().unwrap().to_owned());
    house.clock.set(START + Duration::minutes(20));
    for looked in futures_util::future::join_all((0..4).map(|_| look(&house.app))).await {
        looked.unwrap();
    }
    // Whatever one node skipped because another held it is done by now, or at the next turn.
    look(&house.app).await.unwrap();
    for visit in &visits {
        let seen = events(&house, visit).await;
        assert_eq!(seen.iter().filter(|event| *event == "VISIT_NO_SHOW").count(), 1, "{seen:?}");
        assert_eq!(status(&house, visit).await, "NO_SHOW NO_SHOW");
    }
}

#[tokio::test]
async fn a_link_that_nobody_used_is_said_to_have_expired_once() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    // The patient came by another way, so that the visit goes on.
    waits(&house, &visit, "PATIENT", 1, true).await;
    sqlx::query("UPDATE visit SET attended_at = $1")
        .bind(START + Duration::hours(1))
        .execute(&mut house.database.owner().await)
        .await
        .unwrap();
    // Clocks may differ by two minutes.
    at(&house, 21).await;
    assert!(!events(&house, &visit).await.contains(&"TOKEN_EXPIRED".to_owned()));
    at(&house, 22).await;
    at(&house, 23).await;
    let seen = events(&house, &visit).await;
    assert_eq!(seen.iter().filter(|event| *event == "TOKEN_EXPIRED").count(), 1, "{seen:?}");
    assert_eq!(house.validate(&code).await.code(), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn networks_are_forgotten_after_ninety_days() {
    let house = House::open().await;
    let visit = house.visit().await;
    house.redeem(&house.code(&visit, "patient").await).await;
    let mut owner = house.database.owner().await;
    sqlx::query("UPDATE join_token SET redeemed_at = coalesce(redeemed_at, $1), redemption_net = '192.0.2.0/24'")
        .bind(START)
        .execute(&mut owner)
        .await
        .unwrap();
    let mut kept = async || -> i64 {
        let sql = "SELECT count(*) FROM join_token WHERE redemption_net IS NOT NULL OR redemption_ua IS NOT NULL";
        sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap()
    };
    at(&house, 89 * 24 * 60).await;
    assert_eq!(kept().await, 1);
    at(&house, 90 * 24 * 60 + 30).await;
    assert_eq!(kept().await, 0);
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_event WHERE event_type = 'RETENTION_JOB_RUN'")
        .fetch_one(&mut house.database.owner().await)
        .await
        .unwrap();
    assert_eq!(runs, 1);
}
