//! The OpenAPI document, and a page on which people read it: plain HTML without a script, so that it needs no exception from the
//! policy under which all pages are served, and no bundle of somebody else's.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::app::App;
use crate::route::openapi;
use crate::router;

/// `GET /openapi.json`.
pub(crate) async fn document(State(app): State<App>) -> Response {
    let document = openapi::document(&router::endpoints(), &app.public.origin);
    ([(header::CACHE_CONTROL, "no-cache")], Json(document)).into_response()
}

/// `GET /api`.
pub(crate) async fn read() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| page(&openapi::document(&router::endpoints(), "/")));
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, PAGE.as_str()).into_response()
}

fn page(document: &Value) -> String {
    let mut groups: std::collections::BTreeMap<&str, Vec<(&str, &str, &Value)>> = std::collections::BTreeMap::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            groups.entry(tag).or_default().push((path, method, operation));
        }
    }
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Anteroom: the API</title><link rel=\"stylesheet\" href=\"/api/page.css\"><body><h1>The API</h1>\
         <p>For programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI 3.1).</p>",
    );
    for (tag, operations) in groups {
        // A write into a String cannot fail.
        let _ = write!(html, "<h2>{}</h2>", escape(tag));
        for (path, method, operation) in operations {
            write_operation(&mut html, path, method, operation);
        }
    }
    html.push_str("<h2>Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(
            html,
            "<details id=\"{0}\"><summary><code>{0}</code></summary><pre>{1}</pre></details>",
            escape(name),
            escape(&text)
        );
    }
    html.push_str("</body></html>");
    html
}

fn write_operation(html: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = operation["summary"].as_str().unwrap_or_default();
    let _ = write!(
        html,
        "<details><summary><b>{}</b> <code>{}</code> {}</summary>",
        method.to_uppercase(),
        escape(path),
        escape(summary)
    );
    match (operation["x-permission"].as_str(), operation["security"].as_array().is_some_and(Vec::is_empty)) {
        (Some(permission), _) => drop(write!(html, "<p>Needs the permission {}.</p>", escape(permission))),
        (None, true) => html.push_str("<p>Takes no credential.</p>"),
        (None, false) => html.push_str("<p>Takes any credential that holds.</p>"),
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (parameter["name"].as_str(), parameter["in"].as_str());
        let _ = write!(
            html,
            "<p><code>{}</code> in {}</p>",
            escape(name.unwrap_or_default()),
            escape(place.unwrap_or_default())
        );
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = write!(html, "<p>Body: {}</p>", link(body));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let schema = &response["content"]["application/json"]["schema"];
        let text = response["description"].as_str().unwrap_or_default();
        let shown = if schema.is_null() { escape(text) } else { link(schema) };
        let _ = write!(html, "<p>{}: {shown}</p>", escape(status));
    }
    html.push_str("</details>");
}

/// A schema's name with a way to it, or its text.
fn link(schema: &Value) -> String {
    match schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        Some(name) => format!("<a href=\"#{0}\"><code>{0}</code></a>", escape(name)),
        None => format!("<code>{}</code>", escape(&schema.to_string())),
    }
}

/// How the page looks.
pub(crate) async fn style() -> Response {
    const CSS: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
        details{border-top:1px solid #ccc;padding:.5rem 0}summary{cursor:pointer}pre{overflow:auto;background:#f4f4f4;padding:1rem}";
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], CSS).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
