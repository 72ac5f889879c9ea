//! Links: looking never spends one, following spends it exactly once.

use std::collections::HashMap;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::http::Http;
use crate::support::person::{Practice, redeem};
use crate::support::server::Server;

#[tokio::test]
async fn a_link_works_once() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let code = practice.link().await;
    let http = Http::new(&server.addr);
    for _ in 0..10 {
        http.get(&format!("/j/{code}")).await;
        let looked = http.post("/api/token/redeem", &json!({"shortCode": code})).await.ok();
        assert_eq!(looked["valid"], true);
    }
    assert_eq!(redeem(&server.addr, &code).await.status, 200);
    let again = redeem(&server.addr, &code).await;
    assert_eq!((again.status, again.code().as_str()), (409, "TOKEN_ALREADY_USED"));
}

#[tokio::test]
async fn of_fifty_at_once_exactly_one_gets_in() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let code = practice.link().await;
    let mut people = JoinSet::new();
    for _ in 0..50 {
        let (addr, code) = (server.addr.clone(), code.clone());
        people.spawn(async move { redeem(&addr, &code).await.status });
    }
    let mut outcomes = HashMap::new();
    while let Some(status) = people.join_next().await {
        *outcomes.entry(status.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(outcomes, HashMap::from([(200, 1), (409, 49)]));
}

#[tokio::test]
async fn a_new_link_kills_the_old_one() {
    let server = Server::start().await;
    let practice = Practice::open(&server).await;
    let old = practice.link().await;
    let new = practice.link().await;
    let dead = redeem(&server.addr, &old).await;
    assert_eq!((dead.status, dead.code().as_str()), (410, "TOKEN_REVOKED"));
    assert_eq!(redeem(&server.addr, &new).await.status, 200);
    let unknown = redeem(&server.addr, "23456789abc").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (401, "TOKEN_INVALID"));
}
