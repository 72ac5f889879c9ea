//! Signing in by a provider, over real HTTP: the built-in one of development, and one that misbehaves.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::config::Profile;
use signaling::identity::config::IdentityConfig;
use sqlx::Row;

use crate::provider::Provider;
use crate::support::{Answer, By, House, START};

/// A production house whose people sign in by this provider.
async fn house_by(provider: &Provider) -> House {
    House::open_signing_in(|org| provider.config(org)).await
}

fn bearer(token: String) -> By {
    By::Bearer(token)
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{:?}", answer.json());
    answer.headers[header::LOCATION].to_str().unwrap().to_owned()
}

fn query(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default();
    percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned()
}

fn cookies(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.get_all(header::SET_COOKIE).iter();
    lines.map(|line| line.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
}

/// Sets out for the provider: its address, and the browser's cookie.
async fn set_out(house: &House, path: &str) -> (String, String) {
    let answer = house.get(path, &By::Nobody).await;
    (location(&answer), answer.cookie().unwrap())
}

async fn come_back(house: &House, cookie: &str, state: &str) -> Answer {
    let path = format!("/auth/callback?code=c&state={state}");
    house.send(Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap()).await
}

fn later(house: &House, by: Duration) {
    house.clock.set(house.clock.now() + by);
}

/// Signs somebody in: the staff cookie.
async fn sign_in(house: &House, provider: &Provider, claims: impl FnOnce(&mut Value)) -> By {
    let (url, cookie) = set_out(house, "/auth/login").await;
    let mut body = provider.claims("dr-a", "clinician", house.clock.now());
    body["aud"] = "anteroom".into();
    body["nonce"] = query(&url, "nonce").into();
    claims(&mut body);
    provider.give(provider.sign("JWT", &body, None));
    let answer = come_back(house, &cookie, &query(&url, "state")).await;
    assert_eq!(location(&answer), "/desk");
    let cookie = cookies(&answer).into_iter().find(|cookie| cookie.starts_with("__Host-anteroom_staff=")).unwrap();
    By::Cookie(cookie)
}

async fn events(house: &House, kind: &str) -> Vec<(String, Option<String>, bool)> {
    let mut owner = house.database.owner().await;
    sqlx::query("SELECT actor_id, reason_code, success FROM audit_event WHERE event_type = $1 ORDER BY seq")
        .bind(kind)
        .fetch_all(&mut owner)
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// The code that a clinic runs, against the provider that development brings along, over a real socket.
#[tokio::test]
async fn the_built_in_provider_signs_demo_people_in() {
    let house = House::open_listening(Profile::Development).await;
    let (url, login) = set_out(&house, "/auth/login?returnTo=/visit").await;
    assert_eq!(query(&url, "code_challenge_method"), "S256");
    assert!(query(&url, "scope").contains("openid"));
    let origin = &house.app.public.origin;
    let page = house.get(url.strip_prefix(origin.as_str()).unwrap(), &By::Nobody).await;
    let page = String::from_utf8(page.body).unwrap();
    let link = page.split("data-testid=\"person-demo\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let back = location(&house.get(&link.replace("&amp;", "&"), &By::Nobody).await);
    let back = back.strip_prefix(origin.as_str()).unwrap();
    let ask = || {
        let request = Request::get(back).header(header::COOKIE, &login).body(Body::empty()).unwrap();
        house.send(request)
    };
    let answer = ask().await;
    assert_eq!(location(&answer), "/visit");
    let staff = cookies(&answer).into_iter().find(|cookie| cookie.starts_with("__Host-anteroom_staff=")).unwrap();
    let who = house.get("/api/session", &By::Cookie(staff.clone())).await;
    assert_eq!(who.json()["sub"], "demo");
    assert_eq!(who.json()["role"], "clinician");
    assert_eq!(location(&ask().await), "/desk?signIn=CODE_REFUSED", "a code is spent once");
    let out = house.post("/auth/logout", &By::Cookie(staff.clone()), json!({})).await;
    let end = out.json()["endSessionUrl"].as_str().unwrap().to_owned();
    assert!(end.starts_with(&format!("{origin}/dev/issuer/logout?")), "{end}");
    assert_eq!(house.get("/api/session", &By::Cookie(staff)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn production_has_no_built_in_provider() {
    let house = House::open().await;
    for path in ["/dev/issuer/jwks", "/dev/issuer/.well-known/openid-configuration", "/dev/users", "/auth/login"] {
        assert_eq!(house.get(path, &By::Nobody).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

/// State, nonce and PKCE: a sign-in ends where it began, in the same browser, once.
#[tokio::test]
async fn a_sign_in_is_bound_to_its_browser() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let (url, cookie) = set_out(&house, "/auth/login?returnTo=https://evil.example").await;
    let (state, nonce) = (query(&url, "state"), query(&url, "nonce"));
    assert_eq!(location(&come_back(&house, &cookie, "other").await), "/desk?signIn=EXPIRED");
    assert_eq!(location(&come_back(&house, "a=b", &state).await), "/desk?signIn=EXPIRED");
    assert!(provider.exchanged().is_empty(), "no code was sent to the provider");
    let token = |change: &dyn Fn(&mut Value)| {
        let mut claims = provider.claims("dr-a", "clinician", START);
        claims["aud"] = "anteroom".into();
        claims["nonce"] = nonce.clone().into();
        change(&mut claims);
        provider.sign("JWT", &claims, None)
    };
    let now = START.unix_timestamp();
    type Change<'a> = &'a dyn Fn(&mut Value);
    let refused: &[(&str, Change<'_>)] = &[
        ("ID_TOKEN_REFUSED", &|claims| claims["nonce"] = "other".into()),
        ("ID_TOKEN_REFUSED", &|claims| claims["nonce"] = Value::Null),
        ("ID_TOKEN_REFUSED", &|claims| claims["aud"] = "anteroom-api".into()),
        ("ID_TOKEN_REFUSED", &|claims| claims["aud"] = json!(["anteroom", "stranger"])),
        ("ID_TOKEN_REFUSED", &|claims| claims["iss"] = "https://evil.example".into()),
        ("ID_TOKEN_REFUSED", &|claims| claims["exp"] = json!(now - 121)),
        ("ID_TOKEN_REFUSED", &|claims| claims["nbf"] = json!(now + 121)),
        ("UNKNOWN_PERSON", &|claims| claims["roles"] = json!(["janitor"])),
        ("UNKNOWN_PERSON", &|claims| claims["sub"] = "x".repeat(201).into()),
    ];
    for (reason, change) in refused {
        provider.give(token(change));
        let answer = come_back(&house, &cookie, &state).await;
        assert_eq!(location(&answer), format!("/desk?signIn={reason}"));
        assert!(cookies(&answer).iter().all(|cookie| !cookie.starts_with("__Host-anteroom_staff")));
    }
    provider.give(token(&|_| ()));
    assert_eq!(location(&come_back(&house, &cookie, &state).await), "/desk", "a foreign page is not returned to");
    let verifier = provider.exchanged().pop().unwrap()["code_verifier"].clone();
    assert!(verifier.len() >= 43);
    let failed = events(&house, "LOGIN").await.into_iter().filter(|(_, _, success)| !success).count();
    assert_eq!(failed, refused.len());
    let late = set_out(&house, "/auth/login").await;
    later(&house, Duration::from_secs(601));
    assert_eq!(location(&come_back(&house, &late.1, &query(&late.0, "state")).await), "/desk?signIn=EXPIRED");
}

/// H-18 at the door: bearers of the provider.
#[tokio::test]
async fn h_18_a_bearer_that_is_not_the_providers_or_not_for_us_is_nobody() {
    let provider = Provider::start().await;
    let stranger = Provider::start().await;
    let house = house_by(&provider).await;
    let now = START.unix_timestamp();
    let good = house.get("/api/visits", &bearer(provider.access("dr-a", "clinician", START))).await;
    assert_eq!(good.status, StatusCode::OK, "{:?}", good.json());
    let with = |name: &str, value: Value| {
        let mut claims = provider.claims("dr-a", "clinician", START);
        claims[name] = value;
        provider.sign("at+jwt", &claims, None)
    };
    let forged = [
        ("another provider's", stranger.access("dr-a", "clinician", START)),
        ("signed by another key", {
            stranger.rotate("first");
            stranger.sign("at+jwt", &provider.claims("dr-a", "clinician", START), None)
        }),
        ("an ID token", with("aud", json!("anteroom"))),
        ("for others", with("aud", json!(["https://graph.example"]))),
        ("of another issuer", with("iss", json!("https://evil.example"))),
        ("expired", with("exp", json!(now - 121))),
        ("not yet", with("nbf", json!(now + 121))),
        ("without an end", with("exp", Value::Null)),
        ("of nobody", with("sub", Value::Null)),
        ("without a role", with("roles", json!([]))),
        ("a logout token", provider.sign("logout+jwt", &provider.claims("dr-a", "clinician", START), None)),
        ("no token", "a.b.c".to_owned()),
    ];
    for (what, token) in forged {
        assert_eq!(house.get("/api/visits", &bearer(token)).await.status, StatusCode::UNAUTHORIZED, "{what}");
    }
    // A role in the address, in a header or in the body changes nothing.
    let scheduler = bearer(provider.access("front-desk", "scheduler", START));
    let ended =
        house.post("/api/visits/00000000-0000-4000-8000-000000000000/end?role=clinician", &scheduler, json!({}));
    assert_eq!(ended.await.status, StatusCode::FORBIDDEN);
}

/// H-18: one token is revoked, and everything that came from it.
#[tokio::test]
async fn h_18_a_revoked_token_is_refused_at_once() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let (token, other) = (provider.access("dr-a", "clinician", START), provider.access("dr-b", "clinician", START));
    let kept = house.post("/api/session", &By::Nobody, json!({ "accessToken": token })).await;
    let session = By::Cookie(kept.cookie().unwrap());
    assert_eq!(house.get("/api/session", &session).await.status, StatusCode::OK);
    let admin = house.bearer("boss", StaffRole::Admin);
    let revoked = house.post("/api/v1/telehealth/access/revoke", &admin, json!({"tokenId": "jti-dr-a"})).await;
    assert_eq!((revoked.status, revoked.json()), (StatusCode::OK, json!({"sessions": 1})));
    for by in [&bearer(token.clone()), &session] {
        assert_eq!(house.get("/api/session", by).await.status, StatusCode::UNAUTHORIZED);
    }
    let again = house.post("/api/session", &By::Nobody, json!({ "accessToken": token })).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.get("/api/session", &bearer(other)).await.status, StatusCode::OK);
    // In another organisation the same name means somebody else.
    let theirs = house.bearer_in(house.theirs, "boss", StaffRole::Admin);
    house.post("/api/v1/telehealth/access/revoke", &theirs, json!({"tokenId": "jti-dr-b"})).await;
    assert_eq!(
        house.get("/api/session", &bearer(provider.access("dr-b", "clinician", START))).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_rotated_key_is_fetched_once_and_invented_ones_cost_nothing() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let get = async |token: String| house.get("/api/session", &bearer(token)).await.status;
    assert_eq!(get(provider.access("dr-a", "clinician", START)).await, StatusCode::OK);
    assert_eq!(provider.asked(), 1);
    later(&house, Duration::from_secs(60));
    provider.rotate("second");
    let fresh = provider.access("dr-a", "clinician", house.clock.now());
    assert_eq!(get(fresh.clone()).await, StatusCode::OK);
    assert_eq!(provider.asked(), 2);
    for invented in 0..50 {
        let token = provider.sign("at+jwt", &provider.claims("dr-a", "admin", START), Some(&format!("k{invented}")));
        assert_eq!(get(token).await, StatusCode::UNAUTHORIZED);
    }
    assert!(provider.asked() <= 2, "{}", provider.asked());
    later(&house, Duration::from_secs(31));
    assert_eq!(
        get(provider.sign("at+jwt", &provider.claims("a", "admin", START), Some("k"))).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(provider.asked(), 3);
    // What the provider withdrew is believed for 15 minutes at most.
    provider.rotate("third");
    later(&house, Duration::from_secs(15 * 60));
    assert_eq!(get(fresh).await, StatusCode::UNAUTHORIZED);
}

/// H-19 and H-25: no PHI without a second factor, where it is asked for; some things only just after it was shown.
#[tokio::test]
async fn h_19_staff_without_a_second_factor_see_no_phi() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let visit = house.visit().await;
    let by = |change: &dyn Fn(&mut Value)| {
        let mut claims = provider.claims("dr-a", "clinician", house.clock.now());
        change(&mut claims);
        bearer(provider.sign("at+jwt", &claims, None))
    };
    let without = by(&|claims| claims["amr"] = json!(["pwd"]));
    let paths = ["/api/visits".to_owned(), format!("/api/visits/{visit}"), format!("/api/visits/{visit}/recordings")];
    for path in &paths {
        assert_eq!(house.get(path, &without).await.code(), "MFA_REQUIRED", "{path}");
        assert_eq!(house.get(path, &by(&|_| ())).await.status, StatusCode::OK, "{path}");
    }
    let session = sign_in(&house, &provider, |claims| claims["amr"] = json!(["pwd"])).await;
    assert_eq!(house.get(&paths[1], &session).await.code(), "MFA_REQUIRED");
    // Who they are they may ask.
    assert_eq!(house.get("/api/session", &session).await.status, StatusCode::OK);
    let mut owner = house.database.owner().await;
    sqlx::query("UPDATE organization SET require_mfa = false WHERE org_id = $1")
        .bind(house.ours.as_uuid())
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(house.get(&paths[1], &without).await.status, StatusCode::OK);
}

#[tokio::test]
async fn h_25_breaking_the_glass_needs_a_second_factor_of_now() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let visit = house.visit().await;
    let body = json!({"visitId": visit, "reason": "unconscious in the waiting room"});
    let by = |age: i64| {
        let mut claims = provider.claims("dr-b", "clinician", START);
        claims["auth_time"] = (START.unix_timestamp() - age).into();
        bearer(provider.sign("at+jwt", &claims, None))
    };
    let stale = house.post("/api/v1/telehealth/break-glass", &by(15 * 60), body.clone()).await;
    assert_eq!((stale.code().as_str(), &stale.json()["maxAge"]), ("MFA_REQUIRED", &json!(900)));
    assert_eq!(house.post("/api/v1/telehealth/break-glass", &by(14 * 60), body).await.status, StatusCode::CREATED);
    // The way to a fresh one: the provider is asked for it, and what it says is checked.
    let (url, cookie) = set_out(&house, "/auth/login?maxAge=900").await;
    assert_eq!(query(&url, "max_age"), "900");
    let mut claims = provider.claims("dr-b", "clinician", START);
    claims["aud"] = "anteroom".into();
    claims["nonce"] = query(&url, "nonce").into();
    claims["auth_time"] = (START.unix_timestamp() - 3600).into();
    provider.give(provider.sign("JWT", &claims, None));
    assert_eq!(location(&come_back(&house, &cookie, &query(&url, "state")).await), "/desk?signIn=NOT_FRESH");
}

/// H-08: both limits by this server's clock.
#[tokio::test]
async fn h_08_a_session_ends_when_idle_and_at_last() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let alive = async |by: &By| house.get("/api/session", by).await.status == StatusCode::OK;
    let minutes = |minutes: u64| later(&house, Duration::from_secs(minutes * 60));
    let idle = sign_in(&house, &provider, |_| ()).await;
    let busy = sign_in(&house, &provider, |_| ()).await;
    minutes(10);
    assert!(alive(&busy).await);
    minutes(5);
    assert!(!alive(&idle).await, "nobody used it for 15 minutes");
    for _ in 0..68 {
        assert!(alive(&busy).await);
        minutes(10);
    }
    // What a page asks by itself is no sign of life.
    let alone = sign_in(&house, &provider, |_| ()).await;
    let By::Cookie(cookie) = &alone else { panic!("a cookie") };
    assert!(alive(&busy).await);
    minutes(10);
    assert!(alive(&busy).await);
    let request = Request::get("/api/session").header(header::COOKIE, cookie).header("x-anteroom-background", "1");
    assert_eq!(house.send(request.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    minutes(5);
    assert!(!alive(&alone).await);
    // Never idle, and over 12 hours after it began.
    assert!(alive(&busy).await);
    minutes(5);
    assert!(alive(&busy).await);
    minutes(5);
    assert!(!alive(&busy).await);
}

/// H-37: the provider's word, or an HR system's, ends everything of a person.
#[tokio::test]
async fn h_37_who_has_left_is_out() {
    let provider = Provider::start().await;
    let house = house_by(&provider).await;
    let by_cookie = sign_in(&house, &provider, |_| ()).await;
    let by_token = bearer(provider.access("dr-a", "clinician", START));
    let colleague = sign_in(&house, &provider, |claims| {
        claims["sub"] = "dr-b".into();
        claims["sid"] = "sid-dr-b".into();
    })
    .await;
    let status = async |by: &By| house.get("/api/session", by).await.status;
    later(&house, Duration::from_secs(1));
    let logout = |change: &dyn Fn(&mut Value)| {
        let now = house.clock.now().unix_timestamp();
        let mut claims = provider.claims("dr-a", "clinician", house.clock.now());
        for name in ["roles", "name", "amr", "auth_time"] {
            claims.as_object_mut().unwrap().remove(name);
        }
        claims["aud"] = "anteroom".into();
        claims["exp"] = json!(now + 120);
        claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        change(&mut claims);
        provider.sign("logout+jwt", &claims, None)
    };
    let tell = async |token: String| {
        let request =
            Request::post("/auth/backchannel-logout").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        house.send(request.body(Body::from(format!("logout_token={token}"))).unwrap()).await.status
    };
    let wrong: &[&dyn Fn(&mut Value)] = &[
        &|claims| drop(claims.as_object_mut().unwrap().remove("events")),
        &|claims| claims["events"] = json!({"http://schemas.openid.net/event/other": {}}),
        &|claims| claims["nonce"] = "n".into(),
        &|claims| claims["aud"] = "anteroom-api".into(),
        &|claims| claims["iat"] = json!(START.unix_timestamp() - 601),
        &|claims| drop(claims.as_object_mut().unwrap().remove("jti")),
        &|claims| {
            claims.as_object_mut().unwrap().remove("sub");
            claims.as_object_mut().unwrap().remove("sid");
        },
    ];
    for change in wrong {
        assert_eq!(tell(logout(change)).await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(status(&by_cookie).await, StatusCode::OK);
    assert_eq!(tell(logout(&|_| ())).await, StatusCode::OK);
    assert_eq!(status(&by_cookie).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&by_token).await, StatusCode::UNAUTHORIZED, "and the tokens that they hold");
    assert_eq!(status(&colleague).await, StatusCode::OK);
    // By an HR system with a token of its own.
    let wanted = json!({"name": "HR", "permissions": ["revoke_access"], "days": 30});
    let made = house.post("/api/v1/telehealth/service-tokens", &house.bearer("boss", StaffRole::Admin), wanted).await;
    let hr = bearer(made.json()["token"].as_str().unwrap().to_owned());
    let left = house.post("/api/v1/telehealth/access/revoke", &hr, json!({"sub": "dr-b"})).await;
    assert_eq!((left.status, left.json()), (StatusCode::OK, json!({"sessions": 1})));
    assert_eq!(status(&colleague).await, StatusCode::UNAUTHORIZED);
    let reasons: Vec<_> =
        events(&house, "SESSION_REVOKED").await.into_iter().filter_map(|(_, reason, _)| reason).collect();
    assert_eq!(reasons, ["PROVIDER_LOGOUT", "DEPROVISIONED"]);
    // Who comes back later comes by a new sign-in.
    later(&house, Duration::from_secs(1));
    assert_eq!(status(&bearer(provider.access("dr-a", "clinician", house.clock.now()))).await, StatusCode::OK);
}

/// H-20: a link opens its own visit.
#[tokio::test]
async fn h_20_a_patients_link_gives_access_to_that_visit_only() {
    let house = House::open().await;
    let (own, other) = (house.visit().await, house.visit_at(START + Duration::from_secs(7200)).await);
    let patient = By::Cookie(house.redeem(&house.code(&own, "patient").await).await.cookie().unwrap());
    assert_eq!(house.get(&format!("/api/visits/{own}"), &patient).await.status, StatusCode::OK);
    assert_eq!(house.get(&format!("/api/visits/{other}"), &patient).await.status, StatusCode::NOT_FOUND);
    for (method, path) in [
        ("GET", "/api/visits".to_owned()),
        ("POST", format!("/api/visits/{own}/end")),
        ("POST", format!("/api/visits/{own}/links")),
        ("GET", format!("/api/visits/{own}/recordings")),
        ("GET", format!("/api/visits/{own}/quality")),
        ("GET", "/api/v1/telehealth/service-tokens".to_owned()),
    ] {
        let body = (method == "POST").then(|| json!({}));
        let status = house.ask(method, &path, &patient, body).await.status;
        assert!(matches!(status, StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST), "{method} {path}: {status}");
    }
    let glass = json!({"visitId": other, "reason": "I would like to see it"});
    assert_eq!(house.post("/api/v1/telehealth/break-glass", &patient, glass).await.status, StatusCode::FORBIDDEN);
}

/// H-05: for an hour, with a reason, and everybody who should know knows.
#[tokio::test]
async fn h_05_broken_glass_shows_one_visit_for_an_hour() {
    let house = House::open().await;
    let (visit, other) = (house.visit().await, house.visit_at(START + Duration::from_secs(7200)).await);
    signaling::webhook::target::add(&house.app.db, &house.app.keys, house.ours, "https://hook.example.org/a")
        .await
        .unwrap();
    let colleague = || house.bearer("dr-b", StaffRole::Clinician);
    let path = format!("/api/visits/{visit}");
    assert_eq!(house.get(&path, &colleague()).await.status, StatusCode::NOT_FOUND);
    let ask = async |by: &By, visit: &str, reason: &str| {
        house.post("/api/v1/telehealth/break-glass", by, json!({"visitId": visit, "reason": reason})).await
    };
    let reason = "canary: unconscious, allergies unknown";
    assert_eq!(ask(&colleague(), &visit, "because").await.code(), "INVALID");
    assert_eq!(ask(&colleague(), &uuid::Uuid::new_v4().to_string(), reason).await.code(), "NOT_FOUND");
    for role in [StaffRole::Admin, StaffRole::Scheduler, StaffRole::Auditor, StaffRole::Patient] {
        assert_eq!(ask(&house.bearer("x", role), &visit, reason).await.status, StatusCode::FORBIDDEN, "{role:?}");
    }
    let stranger = house.bearer_in(house.theirs, "dr-b", StaffRole::Clinician);
    assert_eq!(ask(&stranger, &visit, reason).await.status, StatusCode::NOT_FOUND);
    assert!(events(&house, "BREAK_GLASS_USED").await.is_empty());
    let opened = ask(&colleague(), &visit, reason).await;
    assert_eq!(opened.status, StatusCode::CREATED);
    assert_eq!(opened.json()["expiresAt"], "2026-11-21T11:00:00Z");
    assert_eq!(events(&house, "BREAK_GLASS_USED").await, [("dr-b".to_owned(), None, true)]);
    assert_eq!(house.get(&path, &colleague()).await.status, StatusCode::OK);
    assert_eq!(house.get(&format!("/api/visits/{other}"), &colleague()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.get(&path, &house.bearer("dr-c", StaffRole::Clinician)).await.status, StatusCode::NOT_FOUND);
    // It is for reading.
    assert_eq!(house.post(&format!("{path}/end"), &colleague(), json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        house.post(&format!("{path}/links"), &colleague(), json!({"roles": ["clinician"]})).await.status,
        StatusCode::NOT_FOUND
    );
    assert!(house.app.metrics.render().contains("signaling_break_glass_total 1"));
    let mut owner = house.database.owner().await;
    let told: String = sqlx::query("SELECT body FROM webhook_delivery").fetch_one(&mut owner).await.unwrap().get(0);
    assert!(told.contains("access.break_glass_used") && told.contains(&visit) && !told.contains("canary"), "{told}");
    later(&house, Duration::from_secs(3600));
    assert_eq!(house.get(&path, &colleague()).await.status, StatusCode::NOT_FOUND, "it expires by itself");
}

/// H-04: a program has a name of its own in the audit chain, and does nothing clinical.
#[tokio::test]
async fn h_04_a_service_token_plans_and_does_nothing_clinical() {
    let house = House::open().await;
    let admin = || house.bearer("boss", StaffRole::Admin);
    let tokens = "/api/v1/telehealth/service-tokens";
    for (by, status) in [
        (house.bearer("dr-a", StaffRole::Clinician), StatusCode::FORBIDDEN),
        (house.bearer("desk", StaffRole::Scheduler), StatusCode::FORBIDDEN),
        (By::Nobody, StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(house.post(tokens, &by, json!({"name": "x", "days": 1})).await.status, status);
    }
    for wrong in [
        json!({"name": "", "days": 1}),
        json!({"name": "x", "days": 0}),
        json!({"name": "x", "days": 367}),
        json!({"name": "x", "days": 1, "permissions": []}),
        json!({"name": "x", "days": 1, "permissions": ["everything"]}),
        json!({"name": "x", "days": 1, "permissions": ["create_visit", "host_visit"]}),
        json!({"name": "x", "days": 1, "permissions": ["read_phi"]}),
        json!({"name": "x", "days": 1, "permissions": ["break_glass"]}),
    ] {
        assert_eq!(house.post(tokens, &admin(), wrong.clone()).await.code(), "INVALID", "{wrong}");
    }
    let made = house.post(tokens, &admin(), json!({"name": "Front desk system", "days": 30})).await.json();
    let id = made["tokenId"].as_str().unwrap().to_owned();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("ats_"));
    let program = bearer(token.clone());
    let body = json!({"patientId": "p-1", "clinicianId": "dr-z", "patientName": "Ada Rivera", "clinicianName": "Dr. Z",
        "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30});
    let visit = house.post("/api/visits", &program, body.clone()).await;
    assert_eq!(visit.status, StatusCode::CREATED, "{:?}", visit.json());
    let visit = visit.json()["visitId"].as_str().unwrap().to_owned();
    let mut owner = house.database.owner().await;
    let row = sqlx::query("SELECT actor_type, actor_id FROM audit_event WHERE event_type = 'VISIT_CREATED'")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!((row.get::<String, _>(0), row.get::<String, _>(1)), ("SERVICE".to_owned(), id.clone()));
    for path in ["end", "recording/start", "recording/stop"] {
        let status = house.post(&format!("/api/visits/{visit}/{path}"), &program, json!({})).await.status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    let glass = json!({"visitId": visit, "reason": "a program has no emergency"});
    assert_eq!(house.post("/api/v1/telehealth/break-glass", &program, glass).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.get("/api/session", &program).await.status, StatusCode::UNAUTHORIZED);
    // The database has no way back to the token.
    let stored: Vec<u8> =
        sqlx::query("SELECT secret_hash FROM service_token").fetch_one(&mut owner).await.unwrap().get(0);
    assert!(!token.contains(&hex::encode(&stored)));
    let listed = house.get(tokens, &admin()).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains("ats_"));
    assert_eq!(listed.json()["tokens"][0]["lastUsedAt"], "2026-11-21T10:00:00Z");
    let theirs = house.bearer_in(house.theirs, "boss", StaffRole::Admin);
    assert_eq!(house.get(tokens, &theirs).await.json()["tokens"], json!([]));
    assert_eq!(house.ask("DELETE", &format!("{tokens}/{id}"), &theirs, None).await.status, StatusCode::NOT_FOUND);
    // Fewer rights than a scheduler's, if so wished.
    let reader = json!({"name": "reader", "days": 1, "permissions": ["read_visit"]});
    let reader = house.post(tokens, &admin(), reader).await.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &bearer(reader.clone())).await.status, StatusCode::OK);
    assert_eq!(house.post("/api/visits", &bearer(reader.clone()), body.clone()).await.status, StatusCode::FORBIDDEN);
    later(&house, Duration::from_secs(24 * 3600));
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &bearer(reader)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.ask("DELETE", &format!("{tokens}/{id}"), &admin(), None).await.status, StatusCode::OK);
    assert_eq!(house.get(&format!("/api/visits/{visit}"), &program).await.status, StatusCode::UNAUTHORIZED);
    let changed: Vec<_> =
        events(&house, "CONFIG_CHANGED").await.into_iter().filter_map(|(_, reason, _)| reason).collect();
    assert_eq!(changed.iter().filter(|reason| reason.starts_with("SERVICE_TOKEN_")).count(), 3);
}

/// A config that names a provider and no organisation does not start.
#[tokio::test]
async fn a_provider_without_an_organisation_is_refused() {
    let config = IdentityConfig { issuer: Some("https://login.example.org".to_owned()), ..IdentityConfig::default() };
    assert!(signaling::identity::provider::Provider::new(&config).is_err());
}
