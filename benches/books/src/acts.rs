//! What is measured: each act as an application or a browser asks for it, through the whole router where there is a route.

use std::time::Duration;

use axum::http::{HeaderName, StatusCode, header};
use proof::{BrowserKey, Expected, Fresh};
use serde_json::json;
use signaling::audit::{Draft, EventType};
use signaling::auth::Actor;
use signaling::clock::Timestamp;
use signaling::db;
use time::format_description::well_known::Rfc3339;

use crate::Error;
use crate::house::House;

/// One thing that the server does for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A scheduler plans a visit with a complaint.
    Create,
    /// A browser claims a link and confirms it.
    Redeem,
    /// An audit event, all of one practice: its chain is one queue.
    AppendToOne,
    /// An audit event of one of 64 practices.
    AppendToMany,
}

impl Act {
    pub(crate) const ALL: &[Self] = &[Self::Create, Self::Redeem, Self::AppendToOne, Self::AppendToMany];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "plan a visit",
            Self::Redeem => "redeem a link",
            Self::AppendToOne => "append an event, one practice",
            Self::AppendToMany => "append an event, 64 practices",
        }
    }

    pub(crate) const fn is_append(self) -> bool {
        matches!(self, Self::AppendToOne | Self::AppendToMany)
    }

    /// How many practices share the server.
    pub(crate) const fn practices(self) -> usize {
        match self {
            Self::Create | Self::Redeem => 8,
            Self::AppendToOne => 1,
            Self::AppendToMany => 64,
        }
    }
}

/// Links that are made for each second of the measurement; when they are used up, the measurement ends early.
const LINKS_A_SECOND: u64 = 150;

fn bearer(token: &str) -> (HeaderName, String) {
    (header::AUTHORIZATION, format!("Bearer {token}"))
}

/// A visit of a clinician of its own, so that no two overlap; its id.
async fn plan(house: &House, number: usize, at: Timestamp) -> Result<String, Error> {
    let body = json!({
        "patientId": format!("patient-{number}"), "clinicianId": format!("clinician-{number}"), "patientName": "Ada Rivera",
        "clinicianName": "Dr. Maria Alvarez", "scheduledAt": at.format(&Rfc3339)?, "duration": 30, "visitType": "follow_up",
        "channel": "both", "chiefComplaint": "cannot sleep for two weeks",
    });
    let (status, _, answer) = house.post("/api/visits", &[bearer(&house.practice(number).token)], &body).await?;
    match answer["visitId"].as_str() {
        Some(id) if status == StatusCode::CREATED => Ok(id.to_owned()),
        _ => Err(format!("no visit was planned: {status} {answer}").into()),
    }
}

/// A browser claims a link with a key of its own, and spends it by proving the key.
async fn redeem(house: &House, code: &str) -> Result<(), Error> {
    let key = BrowserKey::random();
    let now = house.app.now().unix_timestamp();
    let expected =
        Expected { method: "POST", path: "/api/token/redeem", fresh: Fresh::Around(now), secret: Some(code) };
    let body =
        json!({"shortCode": code, "mode": "redeem", "publicKey": key.public(), "proof": key.prove(&expected, now)});
    let (status, headers, answer) = house.post("/api/token/redeem", &[], &body).await?;
    let cookie = headers.get(header::SET_COOKIE).and_then(|line| line.to_str().ok()?.split(';').next());
    let Some(cookie) = cookie.filter(|_| status == StatusCode::OK) else {
        return Err(format!("a link was not claimed: {status} {answer}").into());
    };
    let expected = Expected { method: "POST", path: "/api/token/confirm", fresh: Fresh::Around(now), secret: None };
    let headers = [
        (header::COOKIE, cookie.to_owned()),
        (HeaderName::from_static("x-anteroom"), "1".to_owned()),
        (HeaderName::from_static("dpop"), key.prove(&expected, now)),
    ];
    let (status, _, answer) = house.post("/api/token/confirm", &headers, &json!({})).await?;
    if status != StatusCode::OK {
        return Err(format!("a link was not spent: {status} {answer}").into());
    }
    Ok(())
}

/// Makes what the act uses up: for redeeming, visits with links.
pub(crate) async fn prepare(house: &House, act: Act, span: Duration, clients: usize) -> Result<(), Error> {
    if act != Act::Redeem {
        return Ok(());
    }
    let count = usize::try_from(span.as_secs().max(1) * LINKS_A_SECOND)?;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let make = async || -> Result<Vec<String>, Error> {
        let mut links = Vec::new();
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= count {
                return Ok(links);
            }
            let visit = plan(house, number, house.app.now()).await?;
            let path = format!("/api/visits/{visit}/links");
            let body = json!({"roles": ["patient"]});
            let (status, _, answer) = house.post(&path, &[bearer(&house.practice(number).token)], &body).await?;
            let code = answer["patient"]["shortCode"].as_str();
            links.push(code.ok_or_else(|| format!("no link was made: {status} {answer}"))?.to_owned());
        }
    };
    let mut all = Vec::new();
    for made in futures_util::future::join_all((0..clients).map(|_| make())).await {
        all.extend(made?);
    }
    *house.links.lock().map_err(|_| "another client failed")? = all;
    Ok(())
}

/// Does it once. False when nothing is left to do it with.
pub(crate) async fn act(house: &House, act: Act, number: usize) -> Result<bool, Error> {
    match act {
        Act::Create => {
            plan(house, number, house.app.now() + time::Duration::days(1)).await?;
        }
        Act::Redeem => {
            let link = house.links.lock().map_err(|_| "another client failed")?.pop();
            let Some(code) = link else { return Ok(false) };
            redeem(house, &code).await?;
        }
        Act::AppendToOne | Act::AppendToMany => {
            let org = house.practice(number).id;
            db::audited(&house.app.db, org, &Actor::System { org }, async |_| {
                Ok::<_, signaling::Error>(((), vec![Draft::new(EventType::ConfigChanged)]))
            })
            .await?;
        }
    }
    Ok(true)
}
