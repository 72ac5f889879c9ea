//! Row 8: `POST /api/visits/:id/resend-link`.

use axum::http::StatusCode;
use serde_json::json;
use signaling::auth::StaffRole;
use signaling::config::Profile;

use crate::notices::{contacts, events, put_contacts};
use crate::support::{By, House};

#[tokio::test]
async fn row_08_l_15_five_resends_to_the_contact_on_file_each_ending_the_link_before() {
    let house = House::open_as(Profile::Development).await;
    let visit = house.visit().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let path = format!("/api/visits/{visit}/resend-link");
    let nobody = house.post(&path, &by, json!({"role": "patient"})).await;
    assert_eq!((nobody.status, nobody.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "NO_CONTACT"));
    put_contacts(&house, &visit, contacts()).await;
    let old = house.code(&visit, "patient").await;
    for left in (0..5).rev() {
        let sent = house.post(&path, &by, json!({"role": "patient", "channel": "sms"})).await;
        assert_eq!(sent.status, StatusCode::OK, "{:?}", sent.json());
        assert_eq!((&sent.json()["sent"], &sent.json()["remaining"]), (&json!(true), &json!(left)));
        assert!(sent.json().get("url").is_none(), "the link goes to the contact alone");
    }
    assert_eq!(house.validate(&old).await.code(), "TOKEN_REVOKED");
    let more = house.post(&path, &by, json!({})).await;
    assert_eq!((more.status, more.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "RESEND_LIMIT"));
    assert_eq!((events(&house, "LINK_RESENT").await, events(&house, "LINK_RESEND_LIMIT_HIT").await), (5, 1));
    // The holder of an old link, and somebody who guesses, read the same; a foreign practice finds nothing.
    let mut answers = Vec::new();
    for link in [json!({"shortCode": old}), json!({"shortCode": "11111111111"}), json!({"token": "a.b.c"})] {
        let answer = house.post(&path, &By::Nobody, link).await;
        answers.push((answer.status, answer.json()));
    }
    answers.dedup();
    assert_eq!(answers, [(StatusCode::OK, json!({"sent": true}))]);
    assert_eq!(house.post(&path, &By::Nobody, json!({})).await.status, StatusCode::UNAUTHORIZED);
    let theirs = house.bearer_in(house.theirs, "front-desk", StaffRole::Scheduler);
    assert_eq!(house.post(&path, &theirs, json!({})).await.status, StatusCode::NOT_FOUND);
}
