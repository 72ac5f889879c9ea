//! Row 3: `POST /api/visits/:id/notify`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::config::Profile;
use signaling::notice::chore;

use crate::notices::{DAY, contacts, events, put_contacts};
use crate::support::{House, START};

#[tokio::test]
async fn row_03_notify_tells_the_people_of_a_visit() {
    let house = House::open_as(Profile::Development).await;
    let visit = house.visit_at(START + 3 * DAY).await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let path = format!("/api/visits/{visit}/notify");
    // As S0's client sends it.
    let seed = json!({"channel": "both", "recipientRole": "both", "template": "initial"});
    let nobody = house.post(&path, &by, seed.clone()).await;
    assert_eq!((nobody.status, nobody.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "NO_CONTACT"));
    put_contacts(&house, &visit, contacts()).await;
    let told = house.post(&path, &by, seed.clone()).await;
    assert_eq!(told.status, StatusCode::OK, "{:?}", told.json());
    let deliveries = told.json()["deliveries"].as_array().unwrap().clone();
    let shown: Vec<(&str, &str, &str, &str, &str)> = deliveries
        .iter()
        .map(|one| {
            let word = |name: &str| one[name].as_str().unwrap();
            (word("recipientRole"), word("channel"), word("template"), word("status"), word("maskedDestination"))
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("patient", "SMS", "INITIAL", "QUEUED", "***-***-1234"),
            ("patient", "EMAIL", "INITIAL", "QUEUED", "j***@example.com"),
            ("clinician", "SMS", "INITIAL", "QUEUED", "***-***-9876"),
            ("clinician", "EMAIL", "INITIAL", "QUEUED", "m***@clinic.example.org"),
        ]
    );
    // Again, and the clock's own turn: nobody is told twice.
    let again = house.post(&path, &by, seed.clone()).await;
    assert_eq!(again.json()["deliveries"].as_array().unwrap().len(), 4);
    chore::turn(&house.app).await;
    chore::turn(&house.app).await;
    assert_eq!(house.app.carriers.outbox.messages().len(), 4);
    assert_eq!(events(&house, "NOTIFICATION_SENT").await, 4);
    let list = house.get(&format!("/api/visits/{visit}/notices"), &by).await.json();
    let statuses: Vec<Value> = list["deliveries"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, vec![json!("SENT"); 4]);
    // Unknown fields, templates and channels are no requests.
    for bad in [json!({"to": "x"}), json!({"template": "free text"}), json!({"channel": "pigeon"})] {
        assert_eq!(house.post(&path, &by, bad).await.status, StatusCode::BAD_REQUEST);
    }
    let off = house.post(&path, &by, json!({"template": "cancelled"})).await;
    assert_eq!(off.code(), "INVALID", "the visit will be");
    house.post(&format!("/api/visits/{visit}/end"), &by, json!({"endReason": "CANCELLED"})).await;
    let admin = house.bearer("admin", StaffRole::Admin);
    house.post(&format!("/api/visits/{visit}/end"), &admin, json!({"endReason": "CANCELLED"})).await;
    assert_eq!(house.post(&path, &by, seed).await.code(), "VISIT_FINAL");
}
