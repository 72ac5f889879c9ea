//! Where the browser client tells how a meeting went: taken from whoever holds a join token, counted, and forgotten. What is in it
//! names devices and people, so nothing of it is kept.

use std::net::IpAddr;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::address::Address;
use crate::app::App;
use crate::chime::attendance;
use crate::limit::block;

/// The longest body that is read: a page that was hidden sends what it has gathered.
const MAX_BODY: usize = 64 * 1024;

/// What is read of a body: how many events there are, and the token where no header could be sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventsBody {
    authorization: Option<String>,
    events: Vec<serde::de::IgnoredAny>,
}

/// `POST /client-events`, from pages of any origin.
pub(crate) async fn take(State(app): State<App>, Address(from): Address, request: Request) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::POST => read(&app, block(from), request).await,
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    // The token is in a header that a page sets by itself, so no other page can send it.
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn read(app: &App, from: IpAddr, request: Request) -> Response {
    if !app.chime_strangers.has_left(from, app.now()) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let Ok(events) = serde_json::from_slice::<EventsBody>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let token = bearer(&parts.headers).or(events.authorization.as_deref().map(strip));
    if token.is_none_or(|token| !attendance::is_ours(&app.keys, token)) {
        // One more or less is the same once there are too many.
        let _ = app.chime_strangers.take(from, app.now());
        return StatusCode::FORBIDDEN.into_response();
    }
    app.metrics.note_client_events(events.events.len());
    axum::Json(serde_json::json!({})).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok().map(strip)
}

fn strip(text: &str) -> &str {
    text.strip_prefix("Bearer ").unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_and_not_kept() {
        let body = r#"{"metadata":{"meetingId":"m"},"authorization":"Bearer t","events":[{"type":"Meet","v":1,"payloads":[{}]},{}]}"#;
        let read: EventsBody = serde_json::from_str(body).unwrap();
        assert_eq!((read.events.len(), read.authorization.as_deref().map(strip)), (2, Some("t")));
    }
}
