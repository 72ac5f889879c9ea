//! The request id and the span of each request. No path, no address, no header and no body is ever logged.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The response header that names the request.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request that this task serves, if it serves one. Audit events carry it.
#[must_use]
pub fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Outermost middleware: gives the request an id and a span, and logs how it ended. The id is always ours: a client's
/// own would let it write into our log.
pub async fn trace(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = Uuid::new_v4().simple().to_string();
    // The pattern, not the path: a path holds join codes and visit ids.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id, method = %request.method(), %route);
    let header = HeaderValue::from_str(&id).ok();
    let pattern = route.clone();
    let run = async move {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        app.metrics.note_request(&pattern, status, began.elapsed());
        if response.status().is_server_error() {
            tracing::warn!(status, "answered");
        } else {
            tracing::debug!(status, "answered");
        }
        if let Some(value) = header {
            response.headers_mut().insert(HEADER, value);
        }
        response
    };
    REQUEST_ID.scope(id, run.instrument(span)).await
}
