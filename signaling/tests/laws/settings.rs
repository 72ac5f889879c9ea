//! What an organisation decides for itself.

use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;

use crate::support::{By, House};

const PATH: &str = "/api/v1/telehealth/organization/settings";

#[tokio::test]
async fn settings_have_the_defaults_of_the_visit_model_and_are_the_admins_to_change() {
    let house = House::open().await;
    let admin = house.bearer("boss", StaffRole::Admin);
    let defaults = house.get(PATH, &admin).await.json();
    let of = |name: &str| defaults[name].clone();
    assert_eq!(of("autoAdmitOnClinicianJoin"), json!(false));
    for (name, minutes) in [
        ("noShowGraceMin", 15),
        ("reopenWindowMin", 60),
        ("emptyGraceMin", 5),
        ("waitingLimitMin", 60),
        ("earlyJoinPortalMin", 10),
        ("earlyJoinLinkMin", 30),
    ] {
        assert_eq!(of(name), json!(minutes), "{name}");
    }
    let patch = json!({"noShowGraceMin": 20, "autoAdmitOnClinicianJoin": true, "emptyGraceMin": 5});
    let changed = house.ask("PATCH", PATH, &admin, Some(patch.clone())).await;
    assert_eq!(changed.status, StatusCode::OK);
    let mut expected = defaults.clone();
    (expected["noShowGraceMin"], expected["autoAdmitOnClinicianJoin"]) = (json!(20), json!(true));
    assert_eq!(changed.json(), expected);
    assert_eq!(house.get(PATH, &admin).await.json(), expected);
    // The chain says which ones changed, and not which were only repeated.
    house.ask("PATCH", PATH, &admin, Some(patch.clone())).await;
    let settings: Vec<String> = sqlx::query_scalar(
        "SELECT metadata->>'setting' FROM audit_event WHERE event_type = 'CONFIG_CHANGED' AND actor_id = 'boss' ORDER BY seq",
    )
    .fetch_all(&mut house.database.owner().await)
    .await
    .unwrap();
    assert_eq!(settings, ["autoAdmitOnClinicianJoin", "noShowGraceMin"]);
    // Another practice keeps its own.
    let theirs = house.bearer_in(house.theirs, "boss", StaffRole::Admin);
    assert_eq!(house.get(PATH, &theirs).await.json(), defaults);
    for by in [house.bearer("dr-a", StaffRole::Clinician), house.bearer("front-desk", StaffRole::Scheduler)] {
        assert_eq!(house.ask("PATCH", PATH, &by, Some(patch.clone())).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(house.get(PATH, &By::Nobody).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn settings_out_of_bounds_change_nothing() {
    let house = House::open().await;
    let admin = house.bearer("boss", StaffRole::Admin);
    let before = house.get(PATH, &admin).await.json();
    let refused = house.ask("PATCH", PATH, &admin, Some(json!({"noShowGraceMin": 30, "waitingLimitMin": 4}))).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "INVALID"));
    let unknown = house.ask("PATCH", PATH, &admin, Some(json!({"name": "Another"}))).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert_eq!(house.get(PATH, &admin).await.json(), before);
}
