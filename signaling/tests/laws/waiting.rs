//! The waiting room and the people of a visit by HTTP's commands, without a live room: the books alone.

use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;
use signaling::error::{Error, Result};
use signaling::ids::ParticipantId;
use signaling::live::DoorAct;
use signaling::problem::Code;
use signaling::waiting_room::command as door;
use uuid::Uuid;

use crate::commands::{clinician, events, id};
use crate::support::House;

fn code(result: Result<()>) -> Option<Code> {
    match result {
        Ok(()) => None,
        Err(Error::Refused(problem)) => Some(problem.code),
        Err(other) => panic!("{other}"),
    }
}

async fn enter(house: &House, visit: &str) -> ParticipantId {
    let who: Uuid = sqlx::query_scalar(
        "INSERT INTO waiting_entry (entry_id, org_id, visit_id, participant_id)
         SELECT gen_random_uuid(), org_id, visit_id, participant_id FROM participant WHERE visit_id = $1 AND role = 'PATIENT'
         RETURNING participant_id",
    )
    .bind(visit.parse::<Uuid>().unwrap())
    .fetch_one(&mut house.database.owner().await)
    .await
    .unwrap();
    sqlx::query("UPDATE visit SET status = 'WAITING' WHERE visit_id = $1 AND status = 'SCHEDULED'")
        .bind(visit.parse::<Uuid>().unwrap())
        .execute(&mut house.database.owner().await)
        .await
        .unwrap();
    ParticipantId::from_uuid(who)
}

#[tokio::test]
async fn row_18_admit_lets_in_who_waits_and_begins_the_visit() {
    let house = House::open().await;
    let visit = house.visit().await;
    let (app, doctor) = (&house.app, clinician(&house, "dr-a"));
    let who = enter(&house, &visit).await;
    assert_eq!(
        code(door::act(app, &clinician(&house, "dr-b"), id(&visit), who, DoorAct::Admit).await),
        Some(Code::NotFound)
    );
    assert_eq!(
        code(door::act(app, &doctor, id(&visit), ParticipantId::random(), DoorAct::Admit).await),
        Some(Code::NotFound)
    );
    assert_eq!(code(door::act(app, &doctor, id(&visit), who, DoorAct::Admit).await), None);
    assert_eq!(code(door::act(app, &doctor, id(&visit), who, DoorAct::Admit).await), Some(Code::NotWaiting));
    let seen = events(&house, &visit).await;
    for event in ["WAITING_ADMITTED", "PARTICIPANT_JOINED", "VISIT_STATUS_CHANGED", "VISIT_STARTED"] {
        assert!(seen.iter().any(|one| one == event), "{event} in {seen:?}");
    }
    // Whoever was let in makes a visit neither a no-show nor one that is called off.
    let by = house.bearer("dr-a", StaffRole::Clinician);
    for reason in ["NO_SHOW", "CANCELLED"] {
        let refused = house.post(&format!("/api/visits/{visit}/end"), &by, json!({"endReason": reason})).await;
        assert_eq!((refused.status, refused.code().as_str()), (StatusCode::CONFLICT, "INVALID_TRANSITION"), "{reason}");
    }
}

#[tokio::test]
async fn whoever_leaves_or_is_turned_away_waits_no_more() {
    let house = House::open().await;
    let visit = house.visit().await;
    let (app, doctor) = (&house.app, clinician(&house, "dr-a"));
    let who = enter(&house, &visit).await;
    assert_eq!(code(door::act(app, &doctor, id(&visit), who, DoorAct::Leave).await), None);
    assert_eq!(code(door::act(app, &doctor, id(&visit), who, DoorAct::Leave).await), Some(Code::NotWaiting));
    let path = format!("/api/visits/{visit}");
    let by = house.bearer("dr-a", StaffRole::Clinician);
    assert_eq!(house.get(&path, &by).await.json()["status"], "SCHEDULED");
    enter(&house, &visit).await;
    assert_eq!(code(door::act(app, &doctor, id(&visit), who, DoorAct::Deny).await), None);
    assert_eq!(code(door::act(app, &doctor, id(&visit), who, DoorAct::SendBack).await), Some(Code::NotFound));
    let seen = events(&house, &visit).await;
    assert!(seen.contains(&"WAITING_LEFT".to_owned()) && seen.contains(&"WAITING_DENIED".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn an_interpreter_is_added_once() {
    let house = House::open().await;
    let visit = house.visit().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let path = format!("/api/v1/telehealth/sessions/{visit}/participants");
    let body = json!({"role": "INTERPRETER", "identityRef": "i-1", "displayName": "Ines Costa"});
    let added = house.post(&path, &by, body.clone()).await;
    assert_eq!((added.status, added.json()["role"].as_str()), (StatusCode::CREATED, Some("INTERPRETER")));
    let again = house.post(&path, &by, body).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, added.json()));
    // The patient and the clinician belong to the visit from the start, and nobody takes their place.
    let second = json!({"role": "PATIENT", "identityRef": "p-2", "displayName": "Another"});
    assert_eq!(house.post(&path, &by, second).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(events(&house, &visit).await, ["VISIT_CREATED", "PARTICIPANT_ADDED"]);
}
