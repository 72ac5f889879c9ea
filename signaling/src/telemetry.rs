//! The request id and the span of each request. No path, no address, no header and no body is ever logged.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use crate::address;
use crate::app::App;

tokio::task_local! {
    static ORIGIN: Origin;
}

/// Where a change comes from, as far as audit events may say it: the network instead of the address, a hash instead of a browser's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The id of the request.
    pub request_id: Option<String>,
    /// The client's network: a /24 of IPv4, a /48 of IPv6.
    pub ip_truncated: Option<String>,
    /// 16 bytes of a keyed hash of the client's User-Agent.
    pub ua_hash: Option<[u8; 16]>,
    /// The trace that the request is part of (W3C Trace Context), or the request itself where nobody named one.
    pub trace_id: Option<String>,
}

impl Origin {
    fn of(app: &App, request: &Request, id: &str) -> Self {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let network = peer
            .map(|info| address::network(address::client(info.0.ip(), request.headers(), &app.config.trusted_proxies)));
        let agent = request.headers().get(header::USER_AGENT);
        let hash =
            agent.and_then(|agent| app.keys.tag(b"anteroom user agent v1\0", agent.as_bytes()).first_chunk().copied());
        let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).and_then(find_trace_id);
        Self {
            request_id: Some(id.to_owned()),
            ip_truncated: network,
            ua_hash: hash,
            trace_id: Some(parent.unwrap_or(id).to_owned()),
        }
    }
}

/// The trace id of a `traceparent` header: 32 lower-case hexadecimal digits that are not all zero.
fn find_trace_id(value: &str) -> Option<&str> {
    let id = value.strip_prefix("00-")?.split('-').next()?;
    let is_hex = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (id.len() == 32 && is_hex && id.bytes().any(|byte| byte != b'0')).then_some(id)
}

/// The response header that names the request.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request that this task serves, if it serves one. Audit events carry it.
#[must_use]
pub fn request_id() -> Option<String> {
    ORIGIN.try_with(|origin| origin.request_id.clone()).ok().flatten()
}

/// Where the change that this task is making comes from; empty outside a request.
#[must_use]
pub fn origin() -> Origin {
    ORIGIN.try_with(Clone::clone).unwrap_or_default()
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
    let origin = Origin::of(&app, &request, &id);
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
    ORIGIN.scope(origin, run.instrument(span)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_taken_only_in_its_exact_form() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(find_trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for bad in [
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("01-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{}", &id[1..]),
            String::new(),
        ] {
            assert_eq!(find_trace_id(&bad), None, "{bad}");
        }
    }
}
