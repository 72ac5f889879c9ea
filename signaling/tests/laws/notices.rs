//! Notices over the router and a real queue: who is told what and when, on which channel, with which link, and what never goes with it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::clock::Timestamp;
use signaling::config::Profile;
use signaling::notice::carrier;
use signaling::notice::chore;
use signaling::webhook::sign::Secret;
use sqlx::{Executor, Row};
use time::macros::datetime;
use uuid::Uuid;

use crate::support::{Answer, By, House, START};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Contacts with every consent.
pub(crate) fn contacts() -> Value {
    json!({
        "patient": {"phone": "+1 (555) 123-1234", "email": "jane.roe@example.com", "smsConsent": true, "emailConsent": true,
            "timeConsent": true, "timeZone": "America/New_York", "locale": "en-US"},
        "clinician": {"phone": "+15559879876", "email": "maria@clinic.example.org", "smsConsent": true, "emailConsent": true},
    })
}

fn patient(change: &Value) -> Value {
    let mut patient = contacts()["patient"].clone();
    for (name, value) in change.as_object().unwrap() {
        patient[name] = value.clone();
    }
    json!({ "patient": patient })
}

pub(crate) async fn put_contacts(house: &House, visit: &str, contacts: Value) -> Value {
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let put = house.ask("PUT", &format!("/api/visits/{visit}/contacts"), &by, Some(contacts)).await;
    assert_eq!(put.status, StatusCode::OK, "{:?}", put.json());
    put.json()
}

pub(crate) async fn events(house: &House, event: &str) -> i64 {
    let mut owner = house.database.owner().await;
    let sql = "SELECT count(*) FROM audit_event WHERE event_type = $1";
    sqlx::query(sql).bind(event).fetch_one(&mut owner).await.unwrap().get(0)
}

/// What the outbox holds: channel, text, and the calendar file.
fn sent(house: &House) -> Vec<(&'static str, String, Option<String>)> {
    let messages = house.app.carriers.outbox.messages();
    let read = |message: &carrier::Message| match &message.body {
        carrier::Body::Sms { text, .. } => ("SMS", text.reveal().clone(), None),
        carrier::Body::Email { subject, text, calendar, .. } => (
            "EMAIL",
            format!("{}\n{}", subject.reveal(), text.reveal()),
            calendar.as_ref().map(|(file, _)| file.reveal().clone()),
        ),
    };
    messages.iter().map(read).collect()
}

/// The path after the service's own address, of the first link in a text that begins so.
fn path_in(text: &str, start: &str) -> Option<String> {
    let at = text.find(&format!("http://localhost:8080{start}"))?;
    let path = &text[at + "http://localhost:8080".len()..];
    path.split_whitespace().next().map(ToOwned::to_owned)
}

async fn turn_at(house: &House, at: Timestamp) {
    house.clock.set(at);
    chore::turn(&house.app).await;
    chore::turn(&house.app).await;
}

async fn statuses(house: &House, visit: &str) -> Vec<(String, String, String)> {
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let list = house.get(&format!("/api/visits/{visit}/notices"), &by).await.json();
    let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    list["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (word(one, "channel"), word(one, "status"), word(one, "reason")))
        .collect()
}

/// Ruling C6: only the message near the visit carries something that opens it.
#[tokio::test]
async fn a_visit_is_announced_reminded_of_and_linked_by_the_clock() {
    let house = House::open_as(Profile::Development).await;
    let start = START + 3 * DAY;
    let visit = house.visit_at(start).await;
    put_contacts(&house, &visit, patient(&json!({}))).await;
    turn_at(&house, START).await;
    turn_at(&house, START + MINUTE).await;
    let first = sent(&house);
    assert_eq!(first.iter().map(|one| one.0).collect::<Vec<_>>(), ["SMS", "EMAIL"]);
    assert!(first[1].2.as_ref().unwrap().contains("SEQUENCE:0"), "the calendar entry");
    assert!(first[0].1.contains("with Dr. Maria is Tue, Nov 24 at 5:00 AM EST"), "{}", first[0].1);
    turn_at(&house, start - DAY).await;
    turn_at(&house, start - DAY + MINUTE).await;
    assert_eq!(sent(&house).len(), 4);
    for (_, text, _) in sent(&house) {
        assert!(path_in(&text, "/j/").is_none() && path_in(&text, "/m/").is_some(), "{text}");
    }
    assert_eq!(events(&house, "TOKEN_ISSUED").await, 0);
    turn_at(&house, start - 30 * MINUTE).await;
    turn_at(&house, start - 29 * MINUTE).await;
    let links: Vec<_> = sent(&house)[4..].iter().map(|one| path_in(&one.1, "/j/").unwrap()).collect();
    assert_eq!((links.len(), &links[0]), (2, &links[1]), "one link, whatever carries it");
    assert_eq!((events(&house, "TOKEN_ISSUED").await, events(&house, "NOTIFICATION_SENT").await), (1, 6));
    house.clock.set(start);
    assert_eq!(house.redeem(links[0].strip_prefix("/j/").unwrap()).await.status, StatusCode::OK);
    turn_at(&house, start + 5 * MINUTE).await;
    assert_eq!(sent(&house).len(), 6);
}

#[tokio::test]
async fn a_moved_and_a_cancelled_visit_put_the_calendar_right() {
    let house = House::open_as(Profile::Development).await;
    let start = START + 5 * DAY;
    let visit = house.visit_at(start).await;
    put_contacts(&house, &visit, patient(&json!({"smsConsent": false}))).await;
    turn_at(&house, START).await;
    let mut owner = house.database.owner().await;
    owner.execute("UPDATE visit SET scheduled_start_at = scheduled_start_at + interval '1 day'").await.unwrap();
    turn_at(&house, START + MINUTE).await;
    let admin = house.bearer("admin", StaffRole::Admin);
    let end = house.post(&format!("/api/visits/{visit}/end"), &admin, json!({"endReason": "CANCELLED"})).await;
    assert_eq!(end.status, StatusCode::OK);
    turn_at(&house, START + 2 * MINUTE).await;
    turn_at(&house, START + 3 * MINUTE).await;
    let sent = sent(&house);
    let files: Vec<&String> = sent.iter().map(|one| one.2.as_ref().unwrap()).collect();
    let line = |file: &str, name: &str| {
        file.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let seen: Vec<_> =
        files.iter().map(|file| (line(file, "METHOD:"), line(file, "SEQUENCE:"), line(file, "DTSTART:"))).collect();
    let row = |method: &str, sequence: &str, start: &str| (method.to_owned(), sequence.to_owned(), start.to_owned());
    assert_eq!(
        seen,
        [
            row("PUBLISH", "0", "20261126T100000Z"),
            row("PUBLISH", "1", "20261127T100000Z"),
            row("CANCEL", "2", "20261127T100000Z"),
        ]
    );
    assert_eq!(line(files[0], "UID:"), line(files[2], "UID:"));
    assert!(sent[1].1.starts_with("New time for your visit at Our practice"));
    assert!(sent[2].1.contains("is cancelled") && path_in(&sent[2].1, "/").is_none());
    for file in files {
        assert!(!file.contains("ATTENDEE") && !file.contains("/j/") && !file.contains("Maria"));
    }
}

/// Everything that a person may type or be, and everything that opens something: nowhere but in its own message.
#[tokio::test]
async fn p_02_nothing_about_the_patient_is_in_any_message_row_or_audit_event() {
    let house = House::open_as(Profile::Development).await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let start = START + 2 * DAY;
    let body = json!({"patientId": "canary-patient-id", "clinicianId": "dr-a", "patientName": "Canary Patientname",
        "clinicianName": "Dr. Maria Canarylast", "visitType": "canary-visit-type", "appointmentId": "canary-appointment",
        "scheduledAt": "2026-11-23T10:00:00Z", "duration": 30});
    let made = house.post("/api/visits", &by, body).await;
    let visit = made.json()["visitId"].as_str().unwrap().to_owned();
    put_contacts(&house, &visit, patient(&json!({}))).await;
    for at in [START, start - DAY, start - 30 * MINUTE] {
        turn_at(&house, at).await;
    }
    let messages = sent(&house);
    assert_eq!(messages.len(), 6);
    let html = house.app.carriers.outbox.messages().iter().fold(String::new(), |all, message| match &message.body {
        carrier::Body::Email { html, .. } => all + html.reveal(),
        carrier::Body::Sms { .. } => all,
    });
    let link = path_in(&messages[4].1, "/j/").unwrap();
    let code = link.strip_prefix("/j/").unwrap();
    let everything = format!("{messages:?}{html}");
    for canary in ["canary", "Canary", &visit] {
        assert!(!everything.contains(canary), "{canary}");
    }
    // What the database and the chain keep of it.
    let mut owner = house.database.owner().await;
    let tables = ["notice", "contact", "notice_link", "notice_opt_out", "notice_event", "audit_event"];
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"));
        let text: String = sqlx::query(sql).fetch_one(&mut owner).await.unwrap().get(0);
        for secret in ["5551231234", "jane.roe", code, "Canary Patientname"] {
            assert!(!text.contains(secret), "{secret} in {table}");
        }
    }
    // The page that shows them all is for development alone.
    let page = house.get("/dev/outbox", &By::Nobody).await;
    let page_text = String::from_utf8(page.body.clone()).unwrap();
    assert!(page_text.contains(&format!("href=\"http://localhost:8080{link}\"")), "{page_text}");
    assert!(!page_text.contains("<script") && !page_text.contains("style="), "{page_text}");
    assert!(page_text.contains("***-***-1234") && !page_text.contains("5551231234"));
    let production = House::open().await;
    assert_eq!(production.get("/dev/outbox", &By::Nobody).await.status, StatusCode::NOT_FOUND);
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn reporting() -> House {
    House::open_with(Profile::Development, |config| {
        config.notices.delivery_secret = Some(SECRET.to_owned().into());
    })
    .await
}

async fn report(house: &House, id: &str, body: &Value, secret: &str) -> Answer {
    let (now, body) = (house.clock.now(), body.to_string());
    let signature = Secret::parse(secret).unwrap().sign(id, now, &body);
    let request = Request::post("/webhooks/standard")
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", now.unix_timestamp())
        .header("webhook-signature", format!("v1,c2FtZQ== {signature}"))
        .extension(axum::extract::ConnectInfo(std::net::SocketAddr::from(([192, 0, 2, 1], 4000))))
        .body(Body::from(body))
        .unwrap();
    house.send(request).await
}

/// The provider's ids of what was sent by SMS, oldest first.
fn sms_ids(house: &House) -> Vec<String> {
    let messages = house.app.carriers.outbox.messages();
    let sms = messages.iter().filter(|message| matches!(message.body, carrier::Body::Sms { .. }));
    sms.map(|message| message.id.to_string()).collect()
}

#[tokio::test]
async fn p_07_news_of_providers_are_signed_known_and_taken_once() {
    let house = reporting().await;
    let visit = house.visit_at(START).await;
    put_contacts(&house, &visit, patient(&json!({"emailConsent": false}))).await;
    turn_at(&house, START).await;
    let id = sms_ids(&house)[0].clone();
    let delivered = json!({"type": "delivered", "provider": "outbox", "messageId": id});
    let forged = report(&house, "evt-1", &delivered, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await;
    assert_eq!((forged.status, forged.code().as_str()), (StatusCode::UNAUTHORIZED, "WEBHOOK_SIGNATURE"));
    assert_eq!(statuses(&house, &visit).await[0].1, "SENT");
    assert_eq!((events(&house, "WEBHOOK_REJECTED").await, events(&house, "WEBHOOK_ACCEPTED").await), (1, 0));
    for _ in 0..2 {
        assert_eq!(report(&house, "evt-1", &delivered, SECRET).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(statuses(&house, &visit).await[0].1, "DELIVERED");
    assert_eq!((events(&house, "WEBHOOK_ACCEPTED").await, events(&house, "NOTIFICATION_DELIVERED").await), (1, 1));
    // What arrived has arrived, whatever is told later.
    let failed = json!({"type": "failed", "provider": "outbox", "messageId": id});
    assert_eq!(report(&house, "evt-2", &failed, SECRET).await.status, StatusCode::NO_CONTENT);
    assert_eq!(statuses(&house, &visit).await[0].1, "DELIVERED");
    // Fields that are not in the schema, no schema at all, nothing known, and an old signature.
    let unknown = report(&house, "evt-3", &json!({"type": "delivered", "messageId": id, "to": "+1"}), SECRET).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let nobody = json!({"type": "delivered", "messageId": Uuid::new_v4()});
    assert_eq!(report(&house, "evt-4", &nobody, SECRET).await.status, StatusCode::SERVICE_UNAVAILABLE, "not yet");
    assert_eq!(house.post("/webhooks/pigeon", &By::Nobody, json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.post("/webhooks/ses", &By::Nobody, json!({})).await.status, StatusCode::NOT_FOUND, "no topic");
}

#[tokio::test]
async fn p_08_a_lost_text_message_becomes_an_e_mail_with_the_same_link() {
    let house = reporting().await;
    let visit = house.visit_at(START).await;
    let mut owner = house.database.owner().await;
    owner.execute("UPDATE visit SET channel = 'SMS'").await.unwrap();
    put_contacts(&house, &visit, patient(&json!({}))).await;
    turn_at(&house, START).await;
    assert_eq!(sent(&house).len(), 1);
    let failed = json!({"type": "failed", "provider": "outbox", "messageId": sms_ids(&house)[0]});
    for id in ["evt-1", "evt-1", "evt-2"] {
        assert_eq!(report(&house, id, &failed, SECRET).await.status, StatusCode::NO_CONTENT);
    }
    turn_at(&house, START + MINUTE).await;
    let sent = sent(&house);
    assert_eq!(sent.iter().map(|one| one.0).collect::<Vec<_>>(), ["SMS", "EMAIL"]);
    let (one, other) = (path_in(&sent[0].1, "/j/").unwrap(), path_in(&sent[1].1, "/j/").unwrap());
    assert_eq!(one, other);
    let live = "SELECT count(*) FROM join_token WHERE status = 'ACTIVE'";
    assert_eq!(owner.fetch_one(live).await.unwrap().get::<i64, _>(0), 1);
    assert_eq!(events(&house, "NOTIFICATION_FALLBACK").await, 1);
    assert_eq!(house.redeem(one.strip_prefix("/j/").unwrap()).await.status, StatusCode::OK);
    // Spent: the code is not kept any longer than it can be of use.
    chore::forget_old(&house.app).await;
    house.clock.set(START + DAY);
    chore::forget_old(&house.app).await;
    assert_eq!(owner.fetch_one("SELECT count(*) FROM notice_link").await.unwrap().get::<i64, _>(0), 0);
}

#[tokio::test]
async fn p_04_stop_ends_text_messages_and_e_mail_needs_its_own_consent() {
    let house = reporting().await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let visit = house.visit_at(START + 3 * DAY).await;
    put_contacts(&house, &visit, patient(&json!({"emailConsent": false}))).await;
    let stop = json!({"type": "answered", "from": "+15551231234", "text": "Stop"});
    assert_eq!(report(&house, "evt-1", &stop, SECRET).await.status, StatusCode::NO_CONTENT);
    assert_eq!(report(&house, "evt-1", &stop, SECRET).await.status, StatusCode::NO_CONTENT);
    assert_eq!(events(&house, "NOTIFICATION_OPTED_OUT").await, 1);
    turn_at(&house, START).await;
    assert_eq!(sent(&house).len(), 0, "no e-mail without consent to it");
    assert_eq!(statuses(&house, &visit).await, [("SMS".to_owned(), "OPTED_OUT".to_owned(), String::new())]);
    let path = format!("/api/visits/{visit}/notify");
    let refused = house.post(&path, &by, json!({"channel": "sms"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::CONFLICT, "OPTED_OUT"));
    // With that consent the e-mail goes in its place.
    put_contacts(&house, &visit, patient(&json!({}))).await;
    let told = house.post(&path, &by, json!({"channel": "sms"})).await;
    assert_eq!(told.status, StatusCode::OK, "{:?}", told.json());
    turn_at(&house, START).await;
    assert_eq!(sent(&house).iter().map(|one| one.0).collect::<Vec<_>>(), ["EMAIL"]);
    // Other words change nothing, START does.
    let words = json!({"type": "answered", "from": "+15551231234", "text": "thanks"});
    assert_eq!(report(&house, "evt-2", &words, SECRET).await.status, StatusCode::NO_CONTENT);
    let start = json!({"type": "answered", "from": "+15551231234", "text": "START"});
    assert_eq!(report(&house, "evt-3", &start, SECRET).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.post(&path, &by, json!({"channel": "sms", "template": "reminder"})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn p_04_what_waits_when_stop_comes_is_not_sent() {
    let house = reporting().await;
    let visit = house.visit_at(START + 3 * DAY).await;
    let mut owner = house.database.owner().await;
    owner.execute("UPDATE visit SET channel = 'SMS'").await.unwrap();
    put_contacts(&house, &visit, patient(&json!({}))).await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    house.post(&format!("/api/visits/{visit}/notify"), &by, json!({})).await;
    let stop = json!({"type": "answered", "from": "+1 555 123 1234", "text": "STOP"});
    report(&house, "evt-1", &stop, SECRET).await;
    turn_at(&house, START).await;
    assert_eq!(sent(&house).iter().map(|one| one.0).collect::<Vec<_>>(), ["EMAIL"]);
    let shown: Vec<_> = statuses(&house, &visit).await.into_iter().map(|one| one.1).collect();
    assert_eq!(shown, ["OPTED_OUT", "SENT"]);
}

#[tokio::test]
async fn p_06_a_number_gets_one_planned_text_a_day_and_three_a_week() {
    let house = House::open_as(Profile::Development).await;
    let mut owner = house.database.owner().await;
    // Five visits of one person, each announced on another day, and two on the first.
    let mut heard = Vec::new();
    for (n, at) in [(0, START), (1, START), (2, START + DAY), (3, START + 2 * DAY), (4, START + 3 * DAY)] {
        house.clock.set(at);
        let visit = house.visit_at(START + (20 + n) * DAY).await;
        put_contacts(&house, &visit, patient(&json!({"emailConsent": false}))).await;
        turn_at(&house, at).await;
        heard.extend(statuses(&house, &visit).await.into_iter().map(|one| (one.1, one.2)));
    }
    let words = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    let (yes, no) = (words("SENT", ""), words("FAILED", "FREQUENCY_CAP"));
    assert_eq!(heard, [yes.clone(), no.clone(), yes.clone(), yes, no]);
    assert_eq!(sms_ids(&house).len(), 3);
    // Asked for by hand it goes, and counts for nothing.
    owner.execute("UPDATE visit SET channel = 'SMS'").await.unwrap();
    house.clock.set(START + 4 * DAY);
    let visit = house.visit_at(START + 4 * DAY).await;
    put_contacts(&house, &visit, patient(&json!({"emailConsent": false}))).await;
    turn_at(&house, START + 4 * DAY).await;
    assert_eq!(statuses(&house, &visit).await[0].2, "FREQUENCY_CAP", "the planned link");
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let told =
        house.post(&format!("/api/visits/{visit}/notify"), &by, json!({"template": "link", "channel": "sms"})).await;
    assert_eq!(told.status, StatusCode::OK, "{:?}", told.json());
    turn_at(&house, START + 4 * DAY).await;
    assert_eq!(sms_ids(&house).len(), 4);
}

/// As S0's client does it: links first, then the message. What was shown to the front desk is what the patient is sent.
#[tokio::test]
async fn a_link_that_was_made_by_hand_is_the_one_that_is_sent() {
    let house = House::open_as(Profile::Development).await;
    let visit = house.visit().await;
    let elsewhere = house.code(&visit, "patient").await;
    put_contacts(&house, &visit, patient(&json!({}))).await;
    turn_at(&house, START).await;
    assert!(
        sent(&house).is_empty(),
        "the patient holds a link whose code is not here: it is neither sent nor withdrawn"
    );
    assert_eq!(house.validate(&elsewhere).await.status, StatusCode::OK);
    let code = house.code(&visit, "patient").await;
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let told = house.post(&format!("/api/visits/{visit}/notify"), &by, json!({"channel": "both"})).await;
    assert_eq!(told.status, StatusCode::OK, "{:?}", told.json());
    turn_at(&house, START).await;
    let links: Vec<_> = sent(&house).iter().map(|one| path_in(&one.1, "/j/").unwrap()).collect();
    assert_eq!(links, vec![format!("/j/{code}"); 2]);
    // Five times, and no more.
    for n in 1..6 {
        house.clock.set(START + n * MINUTE);
        let again = house.post(&format!("/api/visits/{visit}/notify"), &by, json!({"template": "link"})).await;
        chore::turn(&house.app).await;
        assert_eq!(again.status == StatusCode::OK, n < 5, "{n} {:?}", again.json());
    }
    assert_eq!(house.validate(&code).await.status, StatusCode::OK);
}

/// With the visit itself, and as the practice wants to be seen.
#[tokio::test]
async fn a_sensitive_practice_and_contacts_that_come_with_the_visit() {
    let house = House::open_as(Profile::Development).await;
    let admin = house.bearer("boss", StaffRole::Admin);
    let settings = json!({"isSensitive": true, "noticeAlias": "Harbor office"});
    let path = "/api/v1/telehealth/organization/settings";
    assert_eq!(house.ask("PATCH", path, &admin, Some(settings)).await.status, StatusCode::OK);
    let long = json!({"noticeAlias": "x".repeat(61)});
    assert_eq!(house.ask("PATCH", path, &admin, Some(long)).await.code(), "INVALID");
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let body = json!({"patientId": "p-1", "clinicianId": "dr-a", "clinicianName": "Dr. Maria Alvarez",
        "scheduledAt": "2026-11-25T10:00:00Z", "duration": 30, "contacts": patient(&json!({}))});
    let mut bad = body.clone();
    bad["contacts"]["patient"]["phone"] = json!("12");
    assert_eq!(house.post("/api/visits", &by, bad).await.code(), "INVALID");
    assert_eq!(house.get("/api/visits", &by).await.json()["visits"], json!([]), "nothing was half-written");
    assert_eq!(house.post("/api/visits", &by, body).await.status, StatusCode::CREATED);
    turn_at(&house, START).await;
    let sent = sent(&house);
    assert_eq!(sent.len(), 2);
    for (_, text, calendar) in sent {
        assert!(text.contains("Harbor office") && !text.contains("Our practice") && !text.contains("Maria"), "{text}");
        assert!(calendar.is_none_or(|file| !file.contains("Our practice")));
    }
}

/// The page in a reminder sends the link to the contact on file, near the visit, a few times at most, and tells nobody anything.
#[tokio::test]
async fn a_link_can_be_asked_for_by_whoever_has_the_page() {
    let house = House::open_as(Profile::Development).await;
    let start = START + 3 * DAY;
    let visit = house.visit_at(start).await;
    put_contacts(&house, &visit, patient(&json!({"emailConsent": false}))).await;
    turn_at(&house, START).await;
    let page = path_in(&sent(&house)[0].1, "/m/").unwrap();
    let handle = page.strip_prefix("/m/").unwrap();
    let ask = async |handle: &str| {
        let asked = house.post("/api/link-request", &By::Nobody, json!({"handle": handle})).await;
        (asked.status, asked.body)
    };
    let answer = (StatusCode::ACCEPTED, Vec::new());
    assert_eq!(ask("11111111111").await, answer, "unknown");
    assert_eq!(ask("x").await, answer);
    assert_eq!(ask(handle).await, answer, "too early");
    turn_at(&house, START + MINUTE).await;
    assert_eq!(sent(&house).len(), 1);
    turn_at(&house, start - 30 * MINUTE).await;
    let links =
        |house: &House| -> Vec<String> { sent(house).iter().filter_map(|one| path_in(&one.1, "/j/")).collect() };
    assert_eq!(links(&house).len(), 1);
    assert_eq!(ask(handle).await, answer);
    turn_at(&house, start - 29 * MINUTE).await;
    assert_eq!(links(&house).len(), 1, "one was sent a moment ago");
    for minutes in 0..12 {
        house.clock.set(start - 27 * MINUTE + minutes * 3 * MINUTE);
        assert_eq!(ask(handle).await, answer);
        chore::turn(&house.app).await;
    }
    let sent = links(&house);
    assert_eq!(sent.len(), 6, "five more");
    assert!(sent.iter().all(|link| *link == sent[0]), "the same live link");
}

#[tokio::test]
async fn contacts_are_masked_checked_and_replaced() {
    let house = House::open_as(Profile::Development).await;
    let visit = house.visit_at(datetime!(2026-12-01 10:00 UTC)).await;
    let path = format!("/api/visits/{visit}/contacts");
    let by = house.bearer("front-desk", StaffRole::Scheduler);
    let shown = put_contacts(&house, &visit, contacts()).await;
    assert_eq!(shown["contacts"][0]["phone"], "***-***-1234");
    assert_eq!(shown["contacts"][0]["email"], "j***@example.com");
    assert_eq!(house.get(&path, &by).await.json(), shown);
    for bad in [
        json!({"patient": {"phone": "5551231234"}}),
        json!({"patient": {"email": "a@b@example.com"}}),
        json!({"patient": {"timeZone": "Mars/Olympus"}}),
        json!({"patient": {"locale": "<b>"}}),
        json!({}),
    ] {
        let refused = house.ask("PUT", &path, &by, Some(bad.clone())).await;
        assert_eq!(refused.code(), "INVALID", "{bad}");
        assert!(!String::from_utf8(refused.body).unwrap().contains("5551231234"));
    }
    let unknown = house.ask("PUT", &path, &by, Some(json!({"patient": {"name": "Ada"}}))).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    // A number that was taken away is written to no more.
    turn_at(&house, START).await;
    let before = sms_ids(&house).len();
    house.post(&format!("/api/visits/{visit}/notify"), &by, json!({"template": "reminder", "channel": "sms"})).await;
    put_contacts(&house, &visit, patient(&json!({"phone": "+15550001111"}))).await;
    turn_at(&house, START).await;
    assert_eq!(sms_ids(&house).len(), before);
}

#[tokio::test]
async fn two_processes_send_each_message_once() {
    let house = House::open_as(Profile::Development).await;
    for n in 0..10 {
        let visit = house.visit_at(START + 5 * DAY + n * HOUR).await;
        let own = json!({"phone": format!("+1555123{n:04}"), "email": format!("p{n}@example.com")});
        put_contacts(&house, &visit, patient(&own)).await;
    }
    tokio::join!(chore::turn(&house.app), chore::turn(&house.app), chore::turn(&house.app));
    chore::turn(&house.app).await;
    assert_eq!(sent(&house).len(), 20);
    let mut owner = house.database.owner().await;
    let left = owner.fetch_one("SELECT count(*) FROM notice WHERE status <> 'SENT'").await.unwrap();
    assert_eq!(left.get::<i64, _>(0), 0);
    assert_eq!(events(&house, "NOTIFICATION_SENT").await, 20);
}
