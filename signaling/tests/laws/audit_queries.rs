//! Questions to the audit: who may ask, what the answers hold, and that asking is written down.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::audit::{EventType, review};
use signaling::auth::{Actor, StaffRole};
use sqlx::{Executor, Row};
use time::Duration;

use crate::support::{By, House, START};

const AUDIT: &str = "/api/v1/telehealth/audit";

async fn filled() -> (House, String) {
    let house = House::open().await;
    let visit = house.visit().await;
    house.clock.set(START + Duration::seconds(60));
    let code = house.code(&visit, "patient").await;
    house.redeem(&code).await;
    // Once more: refused, and written down as such.
    assert_eq!(house.redeem(&code).await.status, StatusCode::CONFLICT);
    (house, visit)
}

fn events(answer: &Value) -> Vec<&Value> {
    answer["events"].as_array().unwrap().iter().collect()
}

#[tokio::test]
async fn the_audit_is_for_admins_and_auditors_and_an_auditor_has_nothing_else() {
    let (house, visit) = filled().await;
    for (role, status) in [
        (StaffRole::Clinician, StatusCode::FORBIDDEN),
        (StaffRole::Scheduler, StatusCode::FORBIDDEN),
        (StaffRole::Patient, StatusCode::FORBIDDEN),
        (StaffRole::Admin, StatusCode::OK),
        (StaffRole::Auditor, StatusCode::OK),
    ] {
        let by = house.bearer("somebody", role);
        for path in [AUDIT.to_owned(), format!("{AUDIT}/export"), format!("{AUDIT}/verify")] {
            assert_eq!(house.get(&path, &by).await.status, status, "{role:?} {path}");
        }
    }
    assert_eq!(house.get(AUDIT, &By::Nobody).await.status, StatusCode::UNAUTHORIZED);
    let auditor = house.bearer("eve", StaffRole::Auditor);
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &auditor).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.post("/api/visits", &auditor, json!({})).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn events_are_found_by_visit_actor_kind_outcome_and_time() {
    let (house, visit) = filled().await;
    let by = house.bearer("eve", StaffRole::Auditor);
    let ask = async |query: &str| {
        let answer = house.get(&format!("{AUDIT}?{query}"), &by).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {:?}", answer.json());
        answer.json()
    };
    // The question of the first seed.
    let failed = ask("eventType=TOKEN_REDEEMED&success=false").await;
    let [failed] = events(&failed)[..] else { panic!("{failed}") };
    assert_eq!((&failed["visitId"], &failed["reasonCode"]), (&json!(visit), &json!("TOKEN_ALREADY_USED")));
    let succeeded = ask("eventType=TOKEN_REDEEMED&success=true").await;
    assert_eq!(events(&succeeded).len(), 1);
    let of_visit = ask(&format!("visitId={visit}")).await;
    assert!(events(&of_visit).len() >= 4);
    assert!(events(&of_visit).iter().all(|event| event["visitId"] == json!(visit)));
    let seqs: Vec<i64> = events(&of_visit).iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a > b), "the newest first: {seqs:?}");
    let desk = ask("actor=front-desk").await;
    assert!(!events(&desk).is_empty() && events(&desk).iter().all(|event| event["actorId"] == "front-desk"));
    let early = ask("to=2026-11-21T10:00:30Z&actor=front-desk").await;
    assert!(events(&early).iter().all(|event| event["eventType"] == "VISIT_CREATED"), "{early}");
    let late = ask("from=2026-11-21T10:00:30Z&eventType=VISIT_CREATED").await;
    assert!(events(&late).is_empty());
    // Looking was written down each time.
    let looks = ask("eventType=AUDIT_VIEWED").await;
    assert!(events(&looks).len() >= 6 && events(&looks).iter().all(|event| event["actorId"] == "eve"));
    for bad in ["eventType=INVENTED", "from=yesterday", "cursor=x", "visitId=1", "what=1", "format=csv"] {
        assert_eq!(house.get(&format!("{AUDIT}?{bad}"), &by).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    // Another practice's auditor sees theirs.
    let stranger = house.bearer_in(house.theirs, "eve", StaffRole::Auditor);
    let foreign = house.get(&format!("{AUDIT}?visitId={visit}"), &stranger).await;
    assert!(events(&foreign.json()).is_empty());
}

#[tokio::test]
async fn a_long_history_is_read_page_by_page() {
    let (house, _) = filled().await;
    let by = house.bearer("eve", StaffRole::Auditor);
    for _ in 0..110 {
        house.get(&format!("{AUDIT}?eventType=LOGIN"), &by).await;
    }
    let (mut path, mut seqs) = (format!("{AUDIT}?eventType=AUDIT_VIEWED"), Vec::new());
    loop {
        let page = house.get(&path, &by).await.json();
        seqs.extend(events(&page).iter().map(|event| event["seq"].as_i64().unwrap()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("{AUDIT}?eventType=AUDIT_VIEWED&cursor={cursor}");
    }
    assert!(seqs.len() >= 110 && seqs.is_sorted_by(|a, b| a > b), "{seqs:?}");
}

#[tokio::test]
async fn m_08_an_export_is_whole_written_down_and_safe_to_open() {
    let (house, _) = filled().await;
    // What a sign-in service calls somebody is not ours to choose.
    let odd = house.bearer("=cmd|' /C calc'!A0\r\nLOGIN,forged", StaffRole::Auditor);
    assert_eq!(house.get(AUDIT, &odd).await.status, StatusCode::OK);
    let by = house.bearer("eve", StaffRole::Auditor);
    let csv = house.get(&format!("{AUDIT}/export?format=csv"), &by).await;
    assert_eq!(csv.status, StatusCode::OK);
    assert!(csv.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let text = String::from_utf8(csv.body).unwrap();
    let json = house.get(&format!("{AUDIT}/export?format=json"), &by).await;
    let all: Vec<Value> = serde_json::from_slice(&json.body).unwrap();
    // A line of names, and a line for each event but the one that says that JSON was exported, and this one's.
    assert_eq!(text.lines().count(), all.len() - 1 + 1);
    assert!(text.lines().all(|line| !line.starts_with("LOGIN")), "{text}");
    assert!(text.contains("\"'=cmd|' /C calc'!A0\\u000d\\u000aLOGIN,forged\""), "{text}");
    let seqs: Vec<i64> = all.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    let mut owner = house.database.owner().await;
    let exports = owner.fetch_all("SELECT metadata FROM audit_event WHERE event_type = 'AUDIT_EXPORTED' ORDER BY seq");
    let exports: Vec<Value> = exports.await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(exports[0]["format"], "csv");
    assert_eq!(exports[1]["count"], json!(all.len()));
}

#[tokio::test]
async fn the_check_is_an_answer_and_an_event() {
    let (house, _) = filled().await;
    let by = house.bearer("eve", StaffRole::Auditor);
    let whole = house.get(&format!("{AUDIT}/verify"), &by).await.json();
    assert_eq!(whole["isWhole"], true, "{whole}");
    let mut owner = house.database.owner().await;
    owner.execute("SET session_replication_role = replica").await.unwrap();
    owner.execute("UPDATE audit_event SET actor_id = 'x' WHERE seq = 2").await.unwrap();
    let broken = house.get(&format!("{AUDIT}/verify"), &by).await.json();
    assert_eq!(
        (&broken["isWhole"], &broken["firstBad"], &broken["reason"]),
        (&json!(false), &json!(2), &json!("ALTERED"))
    );
    let rows = owner
        .fetch_all("SELECT success, reason_code FROM audit_event WHERE event_type = 'AUDIT_VERIFIED' ORDER BY seq");
    let rows: Vec<(bool, Option<String>)> = rows.await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [(true, None), (false, Some("ALTERED".to_owned()))]);
}

#[tokio::test]
async fn h_15_a_review_counts_what_happened_and_is_written_down() {
    let (house, visit) = filled().await;
    let doctor = house.bearer("dr-a", StaffRole::Clinician);
    house.get(&format!("/api/visits/{visit}"), &doctor).await;
    let actor = Actor::System { org: house.ours };
    let now = START + Duration::minutes(5);
    house.clock.set(now);
    let report = review::run(&house.app.db, &actor, 7, now).await.unwrap();
    assert_eq!(report.kinds["VISIT_VIEWED"], 1);
    assert!(report.refused.iter().any(|refused| refused.reason == "TOKEN_ALREADY_USED"), "{report:?}");
    assert!(report.viewers.iter().any(|viewer| viewer.actor == "dr-a" && viewer.visits == 1), "{report:?}");
    assert_eq!(report.notable["CONFIG_CHANGED"], 1);
    let words = report.in_words();
    assert!(words.contains("TOKEN_REDEEMED TOKEN_ALREADY_USED") && words.contains("dr-a (clinician)"), "{words}");
    // Nothing of the time before is in it, and the review itself is an event.
    let later = review::run(&house.app.db, &actor, 1, now + Duration::days(30)).await.unwrap();
    assert_eq!(later.events, 0);
    let mut owner = house.database.owner().await;
    let rows = owner.fetch_one("SELECT count(*) FROM audit_event WHERE event_type = 'AUDIT_REVIEWED'").await.unwrap();
    assert_eq!(rows.get::<i64, _>(0), 2);
    assert!(EventType::find("AUDIT_REVIEWED").is_some());
}
