//! Claim, then confirm: looking and posting never spend a link, one key of many does, and what it gets is bound to it.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use proof::{BrowserKey, Expected, Fresh};
use serde_json::json;
use signaling::auth::extract::SessionToken;
use signaling::join::Handle;
use signaling::join::context::Context;
use signaling::join::store;
use sqlx::{PgConnection, Row};
use time::Duration;

use crate::support::{Answer, By, House, START};

/// Scanners of mail and previews of chats, by what they call themselves; the last one is a phone that says nothing.
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (compatible; Microsoft-SafeLinks/1.0)",
    "Mozilla/5.0 (compatible; Proofpoint URL Defense)",
    "BarracudaCentral/1.0 (link check)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "WhatsApp/2.23.20.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "TelegramBot (like TwitterBot)",
    "GoogleImageProxy",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15",
    "",
];

async fn status_of(house: &House) -> String {
    let mut owner = house.database.owner().await;
    sqlx::query("SELECT status FROM join_token ORDER BY issued_at DESC LIMIT 1")
        .fetch_one(&mut owner)
        .await
        .unwrap()
        .get(0)
}

async fn count(owner: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query(sql).fetch_one(owner).await.unwrap().get(0)
}

fn code_of(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn l_01_a_hundred_looks_of_scanners_and_previews_leave_the_link_usable() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    let mut owner = house.database.owner().await;
    let before = count(&mut owner, "SELECT count(*) FROM audit_event").await;
    for n in 0..100 {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let request = Request::builder()
                .method(method)
                .uri(format!("/j/{code}"))
                .header(header::USER_AGENT, AGENTS[n % AGENTS.len()])
                .header("purpose", "prefetch")
                .body(Body::empty())
                .unwrap();
            let answer = house.send(request).await;
            assert!(answer.cookie().is_none());
        }
    }
    assert_eq!(count(&mut owner, "SELECT count(*) FROM audit_event").await, before, "a look writes nothing");
    assert_eq!(house.redeem(&code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn l_02_whoever_posts_without_proving_a_key_leaves_the_link_active() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    // A scanner that presses the button of a form, and one that has the page's script make its claim but opens no socket.
    let bare = house.post("/api/token/redeem", &By::Nobody, json!({"shortCode": code, "mode": "redeem"})).await;
    assert_eq!(code_of(&bare), (StatusCode::UNPROCESSABLE_ENTITY, "KEY_REQUIRED".to_owned()));
    let scanner = house.claim(&BrowserKey::random(), json!({"shortCode": code})).await;
    assert_eq!(scanner.status, StatusCode::OK);
    assert_eq!(scanner.json()["confirmed"], false);
    let by = By::Cookie(scanner.cookie().unwrap());
    assert_eq!(
        house.get(&format!("/api/visits/{visit}"), &by).await.status,
        StatusCode::UNAUTHORIZED,
        "no session yet"
    );
    assert_eq!(status_of(&house).await, "ACTIVE");
    // Its claim keeps others out for 90 seconds, no longer; looking is possible meanwhile.
    let patient = BrowserKey::random();
    house.clock.set(START + Duration::seconds(89));
    let early = house.claim(&patient, json!({"shortCode": code})).await;
    assert_eq!(code_of(&early), (StatusCode::CONFLICT, "TOKEN_IN_USE".to_owned()));
    assert_eq!(early.headers["retry-after"], "2");
    assert_eq!(house.validate(&code).await.json()["valid"], true);
    house.clock.set(START + Duration::seconds(90));
    assert_eq!(status_of(&house).await, "ACTIVE");
    assert_eq!(
        house.confirm(&scanner.cookie().unwrap()).await.status,
        StatusCode::UNAUTHORIZED,
        "the claim has lapsed"
    );
    let claimed = house.claim(&patient, json!({"shortCode": code})).await;
    assert_eq!(claimed.status, StatusCode::OK);
    assert_eq!(house.confirm(&claimed.cookie().unwrap()).await.status, StatusCode::OK);
    assert_eq!(status_of(&house).await, "REDEEMED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_03_two_hundred_parallel_browsers_give_one_success() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    let tries = futures_util::future::join_all((0..200).map(|_| house.redeem(&code))).await;
    let won = tries.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(won, 1);
    for lost in tries.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!(lost.status, StatusCode::CONFLICT, "{:?}", lost.json());
    }
    let mut owner = house.database.owner().await;
    let redeemed = "SELECT count(*) FROM audit_event WHERE event_type = 'TOKEN_REDEEMED' AND success";
    assert_eq!(count(&mut owner, redeemed).await, 1);
    assert_eq!(count(&mut owner, "SELECT count(*) FROM visit_session").await, 1);
}

/// The statement that spends, from 40 connections at once, 200 times a round. `ANTEROOM_CONFIRM_ROUNDS` makes it fewer or more rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_03_two_hundred_parallel_confirms_give_one_success_a_thousand_times_over() {
    const LINES: usize = 40;
    const EACH: usize = 5;
    let rounds: usize = wire::settings::env("ANTEROOM_CONFIRM_ROUNDS").map_or(1000, |text| text.parse().unwrap());
    let house = House::open().await;
    let visit = house.visit().await;
    let link = house.link(&visit, "patient").await;
    let shown = signaling::join::open_jwt(&house.app.keys, link["token"].as_str().unwrap()).unwrap();
    let Handle::Jwt { .. } = shown.by else { panic!("a JWT names its row") };
    let context = Context::of(&house.app.keys, "192.0.2.1".parse().unwrap(), "a browser");
    let mut lines = Vec::new();
    for _ in 0..LINES {
        let mut line = house.database.server().await;
        sqlx::query("SELECT set_config('app.org', $1, false)")
            .bind(house.ours.to_string())
            .execute(&mut line)
            .await
            .unwrap();
        lines.push(line);
    }
    let mut owner = house.database.owner().await;
    let key = BrowserKey::random();
    for round in 0..rounds {
        let session = SessionToken::random(house.ours);
        let first = lines.first_mut().unwrap();
        let until = START + Duration::seconds(90);
        let leased = store::lease(first, shown.by, key.thumbprint(), &session, START, until).await.unwrap();
        assert!(leased.is_some(), "round {round}");
        let claim = store::find_claim(first, &session, START).await.unwrap().unwrap();
        let spent = futures_util::future::join_all(lines.iter_mut().map(async |line| {
            let mut won = 0;
            for _ in 0..EACH {
                won += usize::from(store::confirm(line, &claim, &context, START).await.unwrap().is_some());
            }
            won
        }))
        .await;
        assert_eq!(spent.iter().sum::<usize>(), 1, "round {round}");
        sqlx::query(
            "UPDATE join_token SET status = 'ACTIVE', usage_count = 0, lease_until = NULL, lease_session = NULL",
        )
        .execute(&mut owner)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn l_04_a_used_link_is_refused_to_other_keys_and_opens_again_for_its_own() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    let key = BrowserKey::random();
    let first = house.claim(&key, json!({"shortCode": code})).await;
    // The answer may be lost: the same key claims again, and the secret of the first claim is void.
    let second = house.claim(&key, json!({"shortCode": code})).await;
    assert_eq!(second.status, StatusCode::OK);
    let (old, new) = (first.cookie().unwrap(), second.cookie().unwrap());
    assert_eq!(house.confirm(&old).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.confirm(&new).await.json()["confirmed"], true);
    assert_eq!(house.confirm(&new).await.json()["confirmed"], true, "said twice, done once");
    let other = house.claim(&BrowserKey::random(), json!({"shortCode": code})).await;
    assert_eq!(code_of(&other), (StatusCode::CONFLICT, "TOKEN_ALREADY_USED".to_owned()));
    assert_eq!(other.json()["practice"]["phone"], "+1 555 0100", "whom to call for another one");
    // This browser has lost its cookie, and opens its link again.
    let again = house.claim(&key, json!({"shortCode": code})).await;
    assert_eq!((again.status, &again.json()["confirmed"]), (StatusCode::OK, &json!(true)));
    let path = format!("/api/visits/{visit}");
    assert_eq!(house.get(&path, &By::Cookie(again.cookie().unwrap())).await.status, StatusCode::OK);
    assert_eq!(house.get(&path, &By::Cookie(new)).await.status, StatusCode::UNAUTHORIZED, "its secret is another now");
    let mut owner = house.database.owner().await;
    let refused = "SELECT count(*) FROM audit_event WHERE event_type = 'TOKEN_REDEEMED' AND NOT success
                   AND reason_code = 'TOKEN_ALREADY_USED'";
    assert_eq!(count(&mut owner, refused).await, 1);
}

#[tokio::test]
async fn l_11_whoever_guesses_waits_also_with_a_good_code_and_the_practice_hears_of_it_once_a_minute() {
    let house = House::open().await;
    let visit = house.visit().await;
    let code = house.code(&visit, "patient").await;
    for n in 0..20 {
        let wrong = format!("{}zzzzzzzz", ["abc", "def", "ghi", "jkm"][n % 4]);
        assert_eq!(house.validate(&wrong).await.code(), "TOKEN_INVALID");
    }
    for _ in 0..3 {
        let slowed = house.validate(&code).await;
        assert_eq!(code_of(&slowed), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED".to_owned()));
        assert_eq!(slowed.headers["retry-after"], "6");
    }
    let mut owner = house.database.owner().await;
    let told = "SELECT count(*) FROM audit_event WHERE event_type = 'RATE_LIMITED' AND NOT success";
    assert_eq!(count(&mut owner, told).await, 1);
    house.clock.set(START + Duration::seconds(6));
    assert_eq!(house.validate(&code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn l_07_a_proof_for_something_else_claims_nothing() {
    let house = House::open().await;
    let visit = house.visit().await;
    let (code, other) = (house.code(&visit, "patient").await, house.code(&visit, "clinician").await);
    let (key, thief) = (BrowserKey::random(), BrowserKey::random());
    let now = START.unix_timestamp();
    let fits = Expected { method: "POST", path: "/api/token/redeem", fresh: Fresh::Around(now), secret: Some(&code) };
    let good = key.prove(&fits, now);
    for (public, proof) in [
        (thief.public(), good.clone()),
        (key.public(), key.prove(&Expected { secret: Some(&other), ..fits }, now)),
        (key.public(), key.prove(&Expected { path: "/api/token/confirm", ..fits }, now)),
        (key.public(), key.prove(&fits, now - 121)),
        (key.public(), "no proof".to_owned()),
    ] {
        let body = json!({"shortCode": code, "mode": "redeem", "publicKey": public, "proof": proof});
        let answer = house.post("/api/token/redeem", &By::Nobody, body).await;
        assert_eq!(code_of(&answer), (StatusCode::UNAUTHORIZED, "PROOF_INVALID".to_owned()));
        assert!(answer.cookie().is_none());
    }
    let mut private = json!(key.public());
    private["d"] = json!("AAAA");
    let body = json!({"shortCode": code, "mode": "redeem", "publicKey": private, "proof": good});
    assert_eq!(house.post("/api/token/redeem", &By::Nobody, body).await.status, StatusCode::BAD_REQUEST);
    // The wrong key cannot confirm another's claim.
    let claimed = house.claim(&key, json!({"shortCode": code})).await.cookie().unwrap();
    house.lose_key(&claimed);
    assert_eq!(house.confirm(&claimed).await.code(), "PROOF_INVALID");
    assert_eq!(status_of(&house).await, "ACTIVE");
}

#[tokio::test]
async fn x_02_a_stolen_cookie_without_its_key_opens_nothing_and_is_noticed() {
    let house = House::open().await;
    let visit = house.visit().await;
    let cookie = house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap();
    let (path, by) = (format!("/api/visits/{visit}"), By::Cookie(cookie.clone()));
    assert_eq!(house.get(&path, &by).await.status, StatusCode::OK);
    house.lose_key(&cookie);
    for _ in 0..3 {
        assert_eq!(house.get(&path, &by).await.status, StatusCode::UNAUTHORIZED);
    }
    let mut owner = house.database.owner().await;
    let noticed =
        "SELECT count(*) FROM audit_event WHERE event_type = 'ACCESS_DENIED' AND reason_code = 'KEY_NOT_PROVED'";
    assert_eq!(count(&mut owner, noticed).await, 1, "once in five minutes");
    assert!(house.app.metrics.render().contains("signaling_sessions_refused_total 3"));
}

#[tokio::test]
async fn x_04_another_network_is_noted_once_and_ends_a_session_only_where_the_practice_wants_it() {
    let house = House::open().await;
    let visit = house.visit().await;
    let cookie = house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap();
    let (path, by) = (format!("/api/visits/{visit}"), By::Cookie(cookie));
    let mut owner = house.database.owner().await;
    // From IPv4 to IPv6, as far as the row can tell: it remembers another network than the one that asks now.
    let moved = "UPDATE visit_session SET net = '2001:db8:1::/48'";
    sqlx::query(moved).execute(&mut owner).await.unwrap();
    assert_eq!(house.get(&path, &by).await.status, StatusCode::OK);
    assert_eq!(house.get(&path, &by).await.status, StatusCode::OK);
    let noted = "SELECT count(*) FROM audit_event WHERE event_type = 'TOKEN_CONTEXT_MISMATCH' AND success";
    assert_eq!(count(&mut owner, noted).await, 1);
    sqlx::query("UPDATE organization SET strict_binding = true").execute(&mut owner).await.unwrap();
    assert_eq!(house.get(&path, &by).await.status, StatusCode::OK, "nothing changed since");
    sqlx::query(moved).execute(&mut owner).await.unwrap();
    assert_eq!(house.get(&path, &by).await.status, StatusCode::UNAUTHORIZED);
    let refused = "SELECT count(*) FROM audit_event WHERE event_type = 'TOKEN_CONTEXT_MISMATCH' AND NOT success";
    assert_eq!(count(&mut owner, refused).await, 1);
}

#[tokio::test]
async fn n_02_a_session_ends_when_idle_and_at_its_time_by_the_clock_of_the_server() {
    let house = House::open().await;
    let visit = house.visit().await;
    let cookie = house.redeem(&house.code(&visit, "patient").await).await.cookie().unwrap();
    let (path, by) = (format!("/api/visits/{visit}"), By::Cookie(cookie));
    for minutes in [59, 89] {
        house.clock.set(START + Duration::minutes(minutes));
        assert_eq!(house.get(&path, &by).await.status, StatusCode::OK, "{minutes}");
    }
    // The planned end was at 30 minutes; an hour later it is over, however lively.
    house.clock.set(START + Duration::minutes(90));
    assert_eq!(house.get(&path, &by).await.status, StatusCode::UNAUTHORIZED);
    // One that shows no life for an hour ends before that.
    let later = house.visit_at(START + Duration::minutes(90)).await;
    let cookie = house.redeem(&house.code(&later, "patient").await).await.cookie().unwrap();
    let (path, by) = (format!("/api/visits/{later}"), By::Cookie(cookie));
    house.clock.set(START + Duration::minutes(150));
    assert_eq!(house.get(&path, &by).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn n_03_each_redemption_gives_a_secret_of_its_own() {
    let house = House::open().await;
    let visit = house.visit().await;
    let planted = house.redeem(&house.code(&visit, "clinician").await).await.cookie().unwrap();
    let code = house.code(&visit, "patient").await;
    let key = BrowserKey::random();
    // Whatever cookie the browser came with, it leaves with another.
    let first = house.claim(&key, json!({"shortCode": code})).await.cookie().unwrap();
    let second = house.claim(&key, json!({"shortCode": code})).await.cookie().unwrap();
    assert!(planted != first && first != second && planted != second);
    // A claim that somebody plants in another's browser is worth nothing there: that browser has another key.
    let attacker = house.claim(&key, json!({"shortCode": code})).await.cookie().unwrap();
    house.lose_key(&attacker);
    assert_eq!(house.confirm(&attacker).await.status, StatusCode::UNAUTHORIZED);
}
