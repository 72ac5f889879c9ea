//! Every refusal is problem+json with a code, whoever makes it; and the pages are inert and well guarded.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::json;
use signaling::auth::StaffRole;
use signaling::config::Profile;

use crate::support::{Answer, By, House};

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{:?}", answer.json());
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    let body = answer.json();
    assert_eq!(body["status"], status);
    for member in ["type", "title", "detail", "requestId"] {
        assert!(body[member].is_string(), "{member}: {body}");
    }
    assert_eq!(body["requestId"], answer.headers["x-request-id"].to_str().unwrap());
    assert!(answer.headers.contains_key("content-security-policy"));
}

#[tokio::test]
async fn refusals_of_the_framework_speak_our_language() {
    let house = House::open().await;
    let staff = house.bearer("front-desk", StaffRole::Scheduler);
    let By::Bearer(token) = &staff else { panic!("a bearer") };
    let raw = |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = Request::builder()
            .method("POST")
            .uri("/api/visits")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        request.body(Body::from(body)).unwrap()
    };
    assert_problem(&house.get("/nowhere/at/all", &By::Nobody).await, 404, "NOT_FOUND");
    assert_problem(&house.get("/api/visits/not-a-uuid", &staff).await, 404, "NOT_FOUND");
    assert_problem(&house.ask("DELETE", "/api/visits", &staff, None).await, 405, "METHOD_NOT_ALLOWED");
    assert_problem(&house.send(raw(Some("application/json"), vec![b' '; 65 * 1024])).await, 413, "TOO_LARGE");
    assert_problem(&house.send(raw(Some("text/plain"), b"{}".to_vec())).await, 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_problem(&house.send(raw(None, b"{}".to_vec())).await, 415, "UNSUPPORTED_MEDIA_TYPE");
    for bad in [&b"{"[..], b"", b"\xff\xfe", b"[]", b"{}", b"{\"patientId\": 7}"] {
        assert_problem(&house.send(raw(Some("application/json"), bad.to_vec())).await, 400, "MALFORMED");
    }
    let mut extra =
        json!({"patientId": "p", "clinicianId": "c", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 30});
    extra["status"] = json!("COMPLETED");
    assert_problem(&house.post("/api/visits", &staff, extra).await, 400, "MALFORMED");
    let short = json!({"patientId": "p", "clinicianId": "c", "scheduledAt": "2026-11-21T10:00:00Z", "duration": 1});
    assert_problem(&house.post("/api/visits", &staff, short).await, 422, "INVALID");
    for query in ["cursor=x", "from=yesterday", "status=LOST", "page=2"] {
        assert_problem(&house.get(&format!("/api/visits?{query}"), &staff).await, 400, "MALFORMED");
    }
    assert_problem(&house.get("/api/visits", &By::Nobody).await, 401, "UNAUTHENTICATED");
    assert_problem(&house.get("/api/visits", &By::Bearer("x".to_owned())).await, 401, "UNAUTHENTICATED");
    assert_problem(&house.get("/api/session", &By::Nobody).await, 401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn other_sites_cannot_use_our_cookies() {
    let house = House::open().await;
    let By::Bearer(token) = house.bearer("dr-a", StaffRole::Clinician) else { panic!("a bearer") };
    let signed_in = house.post("/api/session", &By::Nobody, json!({"accessToken": token})).await;
    assert_eq!(signed_in.status, StatusCode::NO_CONTENT);
    let cookie = signed_in.cookie().unwrap();
    let me = house.get("/api/session", &By::Cookie(cookie.clone())).await;
    assert_eq!(me.json(), json!({"sub": "dr-a", "role": "clinician", "name": "dr-a"}));
    let visit = house.visit().await;
    let end = |marked: bool, origin: Option<&str>| {
        let mut request =
            Request::builder().method("POST").uri(format!("/api/visits/{visit}/end")).header(header::COOKIE, &cookie);
        if marked {
            request = request.header("x-anteroom", "1");
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        request.body(Body::empty()).unwrap()
    };
    for (marked, origin) in [
        (false, None),
        (true, Some("https://evil.example")),
        (false, Some("http://localhost:8080")),
        (true, Some("null")),
    ] {
        assert_problem(&house.send(end(marked, origin)).await, 403, "CROSS_ORIGIN");
    }
    // Past the guard, the visit itself refuses: it has not begun.
    assert_problem(&house.send(end(true, Some("http://localhost:8080"))).await, 409, "INVALID_TRANSITION");
    let out = house.ask("DELETE", "/api/session", &By::Cookie(cookie), None).await;
    assert!(out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn pages_are_inert_and_guarded() {
    let house = House::open().await;
    let policy =
        house.get("/healthz", &By::Nobody).await.headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("connect-src 'self' ws://localhost:8080"), "{policy}");
    let known = house.code(&house.visit().await, "patient").await;
    let (one, two) =
        (house.get(&format!("/j/{known}"), &By::Nobody).await, house.get("/j/11111111111", &By::Nobody).await);
    // The same bytes, whether or not the code is one (or the same refusal where the client is not built).
    assert_eq!(one.status, two.status);
    if one.status == StatusCode::OK {
        assert_eq!(one.body, two.body);
    }
    assert_eq!(one.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(one.headers[header::REFERRER_POLICY], "no-referrer");
    assert_eq!(one.headers["x-content-type-options"], "nosniff");
    for path in ["/assets/../index.html", "/assets/%2e%2e/%2e%2e/Cargo.toml", "/..%2fCargo.toml"] {
        assert_eq!(house.get(path, &By::Nobody).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let keys = house.get("/.well-known/jwks.json", &By::Nobody).await.json();
    assert_eq!(keys["keys"][0]["crv"], "P-256");
    assert!(keys["keys"][0].get("d").is_none());
    assert_eq!(house.get("/readyz", &By::Nobody).await.status, StatusCode::OK);
}

#[tokio::test]
async fn demo_sign_in_exists_in_development_alone() {
    let house = House::open().await;
    let demo = json!({"role": "clinician", "sub": "demo"});
    assert_problem(&house.get("/dev/users", &By::Nobody).await, 404, "NOT_FOUND");
    assert_problem(&house.post("/dev/login", &By::Nobody, demo.clone()).await, 404, "NOT_FOUND");
    let house = House::open_as(Profile::Development).await;
    assert_eq!(house.get("/dev/users", &By::Nobody).await.json()["users"][0]["name"], "Dr. Demo");
    let other = json!({"role": "admin", "sub": "demo"});
    assert_problem(&house.post("/dev/login", &By::Nobody, other).await, 404, "NOT_FOUND");
    let signed_in = house.post("/dev/login", &By::Nobody, demo).await;
    let me = house.get("/api/session", &By::Cookie(signed_in.cookie().unwrap())).await;
    assert_eq!(me.json()["name"], "Dr. Demo");
}
