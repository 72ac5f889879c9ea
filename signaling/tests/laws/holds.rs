//! A recording under a hold stays, whoever tries to let it go.

use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;
use sqlx::{Executor, PgConnection, Row};
use uuid::Uuid;

use crate::support::{By, House};

/// A stored recording of a visit, whose time ends at `until`, an SQL expression.
async fn recording(house: &House, owner: &mut PgConnection, visit: &str, until: &'static str) -> Uuid {
    let id = Uuid::new_v4();
    for statement in [
        format!(
            "INSERT INTO recording (recording_id, org_id, visit_id, status, consent_snapshot, started_by, retain_until)
             VALUES ('{id}', '{org}', '{visit}', 'STORED', '[]', 'dr-a', {until})",
            org = house.ours
        ),
        format!(
            "INSERT INTO recording_job (recording_id, org_id, room_id, state) VALUES ('{id}', '{org}', '{room}', 'STORED')",
            org = house.ours,
            room = Uuid::new_v4()
        ),
    ] {
        owner.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    id
}

/// Whether the server's own role can mark the recording as deleted.
async fn can_delete(house: &House, id: Uuid) -> bool {
    let mut server = house.database.server().await;
    let org = format!("SELECT set_config('app.org', '{}', false)", house.ours);
    server.execute(sqlx::AssertSqlSafe(org)).await.unwrap();
    let marked = sqlx::query("UPDATE recording SET status = 'DELETED' WHERE recording_id = $1").bind(id);
    marked.execute(&mut server).await.is_ok_and(|done| done.rows_affected() == 1)
}

#[tokio::test]
async fn r_02_a_recording_that_is_held_or_whose_time_is_not_over_is_not_deleted() {
    let house = House::open().await;
    let visit = house.visit().await;
    let mut owner = house.database.owner().await;
    let young = recording(&house, &mut owner, &visit, "now() + interval '7 years'").await;
    assert!(!can_delete(&house, young).await, "its time is not over");
    let old = recording(&house, &mut owner, &visit, "now() - interval '1 day'").await;
    let path = format!("/api/v1/telehealth/recordings/{old}/hold");
    let admin = house.bearer("boss", StaffRole::Admin);
    let set = json!({"held": true, "reason": "LITIGATION"});

    let clinician = house.bearer("dr-a", StaffRole::Clinician);
    assert_eq!(house.post(&path, &clinician, set.clone()).await.status, StatusCode::FORBIDDEN);
    let stranger = house.bearer_in(house.theirs, "boss", StaffRole::Admin);
    assert_eq!(house.post(&path, &stranger, set.clone()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.post(&path, &By::Nobody, set.clone()).await.status, StatusCode::UNAUTHORIZED);
    let bare = house.post(&path, &admin, json!({"held": true})).await;
    assert_eq!((bare.status, bare.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "INVALID"));

    let held = house.post(&path, &admin, set).await;
    assert_eq!((held.status, &held.json()["held"]), (StatusCode::OK, &json!(true)), "{held:?}");
    assert!(!can_delete(&house, old).await, "it is held");
    let gone = sqlx::query("DELETE FROM recording WHERE recording_id = $1").bind(old).execute(&mut owner).await;
    assert!(gone.is_err(), "not even by the owner of the tables");

    let lifted = house.post(&path, &admin, json!({"held": false})).await;
    assert_eq!(lifted.json()["held"], json!(false));
    assert!(can_delete(&house, old).await);
    let after = house.post(&path, &admin, json!({"held": false})).await;
    assert_eq!(after.status, StatusCode::NOT_FOUND, "a deleted recording is none");

    let events = sqlx::query("SELECT event_type, reason_code FROM audit_event WHERE subject = $1 ORDER BY seq")
        .bind(format!("recording:{old}"))
        .fetch_all(&mut owner)
        .await
        .unwrap();
    let events: Vec<(String, Option<String>)> = events.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [("RECORDING_HOLD_SET", Some("LITIGATION")), ("RECORDING_HOLD_RELEASED", None)];
    assert_eq!(events, expected.map(|(kind, why)| (kind.to_owned(), why.map(ToOwned::to_owned))));
}
