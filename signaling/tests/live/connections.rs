//! Connections over the real server: those of a client have bounds, also behind a proxy, and nothing half sent is waited for.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use signaling::auth::StaffRole;
use signaling::config::SignalingConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::{House, Person, SOON};
use crate::{CLINICIAN, offer};

/// A client's address, as the proxy reports it.
const FORWARDED: &str = "x-forwarded-for";

/// Somebody with a credential who stays.
async fn come_in(house: &House, query: &str, headers: &[(&str, &str)]) -> Person {
    let mut person = house.try_connect(query, headers).await.unwrap();
    person.say(json!({"type": "hello", "protocol": 1})).await;
    person.hear("welcome").await;
    person
}

#[tokio::test]
async fn websockets_have_a_bound_for_each_client_and_hold_their_place_until_they_end() {
    let config = SignalingConfig {
        trusted_proxies: vec![IpAddr::from(Ipv4Addr::LOCALHOST).into()],
        websockets: 3,
        websockets_per_address: 2,
        ..SignalingConfig::default()
    };
    let metrics = config.metrics.clone();
    let refused = |bound| {
        let line = format!("signaling_connections_refused_total{{what=\"websocket\",bound=\"{bound}\"}} 1");
        metrics.render().lines().any(|l| l == line)
    };
    let house = House::open_as(config).await;
    let (visit, cookie) = house.visit("dr-maria").await;
    let bearer = house.bearer("dr-maria", StaffRole::Clinician);
    let clinic = (FORWARDED, "192.0.2.1");
    let query = format!("?visit={visit}");
    let clinician = come_in(&house, &query, &[("authorization", &bearer), clinic]).await;
    let mut patient = come_in(&house, "", &[("cookie", &cookie), clinic]).await;

    assert_eq!(house.try_connect("", &[clinic]).await.err(), Some(429), "the third from one address");
    assert!(refused("address"));
    let (_, other_cookie) = house.visit("dr-jones").await;
    let mut other = come_in(&house, "", &[("cookie", &other_cookie), (FORWARDED, "192.0.2.2")]).await;
    assert_eq!(house.try_connect("", &[(FORWARDED, "192.0.2.3")]).await.err(), Some(503), "the fourth in all");
    assert!(refused("all"));
    // Requests have places of their own, and those inside notice nothing.
    assert_eq!(house.raw("GET", "/healthz", &[clinic], "").await.0, 200);
    patient.settle().await;
    other.settle().await;

    clinician.cut();
    let again = async { while house.try_connect("", &[clinic]).await.is_err() {} };
    timeout(SOON, again).await.expect("the place of a WebSocket that ended is free");
    patient.settle().await;
    house.close().await;
}

#[tokio::test]
async fn a_body_that_is_never_finished_is_answered_in_the_time_of_a_request_and_others_do_not_wait() {
    let house = House::open().await;
    let began = Instant::now();
    let mut slow = TcpStream::connect(house.address).await.unwrap();
    let head = "POST /api/token/redeem HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(house.raw("GET", "/healthz", &[], "").await.0, 200);
    let mut answer = Vec::new();
    timeout(2 * SOON, slow.read_to_end(&mut answer)).await.expect("it ends").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert!(began.elapsed().as_secs() >= 10, "not before its time");
    house.close().await;
}

#[tokio::test]
async fn a_client_is_asked_for_another_way_by_its_person_or_by_the_host() {
    let house = House::open().await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let path = format!("/api/v1/telehealth/sessions/{visit}/ice-restart");
    let host = house.bearer(CLINICIAN, StaffRole::Clinician);
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    let named = json!({"participantId": who});
    let (status, refused) = house.ask(&host, "POST", &path, &named).await;
    assert_eq!((status, &refused["code"]), (404, &json!("NOT_FOUND")), "there is no connection yet");
    patient.say(offer("p")).await;
    patient.hear("answer").await;
    assert_eq!(house.ask(&host, "POST", &path, &named).await.0, 202);
    patient.hear("restart_ice").await;
    // One's own needs no name.
    let own = [("cookie", cookie.as_str()), ("x-anteroom", "1")];
    assert_eq!(house.raw("POST", &path, &own, "{}").await.0, 202);
    patient.hear("restart_ice").await;
    let other = json!({"participantId": uuid::Uuid::new_v4()}).to_string();
    assert_eq!(house.raw("POST", &path, &own, &other).await.0, 403, "not somebody else's");
    let desk = house.bearer("front-desk", StaffRole::Scheduler);
    assert_eq!(house.ask(&desk, "POST", &path, &named).await.0, 403);
    assert_eq!(house.ask(&host, "POST", &path, &json!({})).await.0, 422, "a clinician by bearer names somebody");
    house.close().await;
}
