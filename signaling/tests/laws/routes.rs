//! The table of routes: what it declares is enforced, and the OpenAPI document says the same.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::Value;
use signaling::auth::{StaffRole, staff_may};
use signaling::route::{Access, Endpoint, openapi};
use signaling::router::endpoints;
use uuid::Uuid;

use crate::support::{By, House};

/// A path with some id in each parameter.
fn filled(path: &str) -> String {
    let id = Uuid::new_v4().to_string();
    let parts: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { id.as_str() } else { part }).collect();
    parts.join("/")
}

async fn ask(house: &House, endpoint: &Endpoint, by: &By) -> crate::support::Answer {
    let body = (endpoint.method != Method::GET).then(|| serde_json::json!({}));
    house.ask(endpoint.method.as_str(), &filled(endpoint.path), by, body).await
}

/// H-03: a route without declared access does not compile; what is open to everybody is written out here.
#[test]
fn h_03_every_open_route_is_known() {
    let open: BTreeSet<String> = endpoints()
        .iter()
        .filter(|endpoint| matches!(endpoint.access, Access::Public | Access::Signed))
        .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
        .collect();
    let known: BTreeSet<String> = include_str!("open_routes.txt").lines().map(ToOwned::to_owned).collect();
    assert_eq!(open, known);
}

#[tokio::test]
async fn h_01_without_a_credential_every_closed_route_is_401() {
    let house = House::open().await;
    for endpoint in endpoints() {
        if !matches!(endpoint.access, Access::Public | Access::Signed) {
            let answer = ask(&house, &endpoint, &By::Nobody).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} {}", endpoint.method, endpoint.path);
        }
    }
}

#[tokio::test]
async fn h_01_a_role_without_the_permission_is_403_on_every_route() {
    let house = House::open().await;
    for endpoint in endpoints() {
        let Access::Needs(permission) = endpoint.access else { continue };
        for role in StaffRole::ALL {
            let answer = ask(&house, &endpoint, &house.bearer("somebody", *role)).await;
            let what = format!("{} {} {role:?} {:?}", endpoint.method, endpoint.path, answer.code());
            if staff_may(*role, permission) {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
                assert!(!answer.status.is_server_error(), "{what}");
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "FORBIDDEN"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_lists_every_route_and_no_other() {
    let house = House::open().await;
    let served = house.get("/openapi.json", &By::Nobody).await;
    assert_eq!(served.status, StatusCode::OK);
    let document = served.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], house.app.public.origin);
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let mounted: BTreeSet<(String, String)> =
        endpoints().iter().map(|endpoint| (endpoint.method.to_string(), endpoint.path.to_owned())).collect();
    assert_eq!(described, mounted);
    // The router really has them: a method that a path does not have is refused as such, one that it has is not.
    for (method, path) in &mounted {
        let answer = house.ask(method, &filled(path), &By::Nobody, None).await;
        assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let other = house.ask("TRACE", &filled(path), &By::Nobody, None).await;
        assert_eq!(other.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let page = house.get("/api", &By::Nobody).await;
    assert_eq!(page.status, StatusCode::OK);
    let html = String::from_utf8(page.body).unwrap();
    for (_, path) in &mounted {
        assert!(html.contains(&format!("<code>{path}</code>")), "{path}");
    }
    assert!(!html.contains("<script"));
}

#[test]
fn the_document_is_closed_in_itself() {
    let all = endpoints();
    let document = openapi::document(&all, "http://localhost");
    let mut operations = BTreeSet::new();
    for endpoint in &all {
        let operation = &document["paths"][endpoint.path][endpoint.method.as_str().to_lowercase()];
        assert!(operations.insert(operation["operationId"].as_str().unwrap().to_owned()), "{}", endpoint.path);
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{} says nothing", endpoint.path);
        let success =
            operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with(['1', '2', '3']));
        assert!(success, "{} never succeeds", endpoint.path);
    }
    assert_refs(&document, &document);
}

/// Every `$ref` points at something.
fn assert_refs(document: &Value, value: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(path) = map.get("$ref").and_then(Value::as_str) {
                let pointer = path.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{path}");
            }
            map.values().for_each(|value| assert_refs(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| assert_refs(document, value)),
        _ => {}
    }
}
