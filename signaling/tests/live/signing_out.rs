//! Whoever may stay no longer loses their socket and their seat, not only their next request.

use std::time::Duration;

use serde_json::json;
use signaling::auth::StaffRole;
use tokio::time::Instant;
use wire::control::Command;

use crate::CLINICIAN;
use crate::support::{House, Person, find_header};

/// A clinician in their seat, by a session of the server.
async fn seated(house: &House, visit: &str) -> (Person, String) {
    let bearer = house.bearer(CLINICIAN, StaffRole::Clinician);
    let token = bearer.strip_prefix("Bearer ").unwrap();
    let body = json!({ "accessToken": token }).to_string();
    let (status, head, _) = house.raw("POST", "/api/session", &[], &body).await;
    assert_eq!(status, 204);
    let cookie = find_header(&head, "set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut person = house.connect(&format!("?visit={visit}"), &[("cookie", &cookie)]).await;
    person.say(json!({"type": "hello", "protocol": 1})).await;
    person.hear("welcome").await;
    person.say(crate::offer("aaaa")).await;
    person.hear("answer").await;
    (person, cookie)
}

fn removals(house: &House) -> usize {
    house.sfu.commands().iter().filter(|command| matches!(command, Command::Remove { .. })).count()
}

/// N-06 and H-37: the account is withdrawn while its holder is in a visit.
#[tokio::test]
async fn n_06_a_withdrawn_account_loses_its_live_seat() {
    let house = House::open().await;
    let (visit, patient) = house.visit(CLINICIAN).await;
    let mut patient = house.patient(&patient).await;
    patient.hear("welcome").await;
    let (mut by_session, cookie) = seated(&house, &visit).await;
    let bearer = house.bearer(CLINICIAN, StaffRole::Clinician);
    let before = removals(&house);
    let began = Instant::now();
    let admin = house.bearer("boss", StaffRole::Admin);
    let (status, ended) =
        house.ask(&admin, "POST", "/api/v1/telehealth/access/revoke", &json!({"sub": CLINICIAN})).await;
    assert_eq!((status, &ended["sessions"]), (200, &json!(1)));
    assert_eq!(by_session.hear_close().await, 4401);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // The Room deals with one thing after the other: after this answer the seat has been dealt with.
    patient.settle().await;
    assert!(removals(&house) > before, "the media of the seat ends too");
    // Neither the session nor a token from before opens another socket.
    for (name, value) in [("cookie", &cookie), ("authorization", &bearer)] {
        let mut person = house.connect(&format!("?visit={visit}"), &[(name, value)]).await;
        assert_eq!(person.hear_close().await, 4401, "{name}");
    }
}

/// N-05: who signs out is out, in every window.
#[tokio::test]
async fn n_05_signing_out_ends_the_socket() {
    let house = House::open().await;
    let (visit, _) = house.visit(CLINICIAN).await;
    let (mut person, cookie) = seated(&house, &visit).await;
    let began = Instant::now();
    let own = [("cookie", cookie.as_str()), ("x-anteroom", "1")];
    assert_eq!(house.raw("POST", "/auth/logout", &own, "").await.0, 200);
    assert_eq!(person.hear_close().await, 4401);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
