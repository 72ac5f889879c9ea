//! The request id and the span of each request, and where traces go. No path, no address, no header and no body is ever logged.

pub mod export;

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::time::Instant;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
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
    /// The trace that the request is part of (W3C Trace Context), or the request itself where there is none.
    pub trace_id: Option<String>,
}

impl Origin {
    fn of(app: &App, request: &Request, id: &str, trace: Option<String>) -> Self {
        let network = caller(app, request).map(address::network);
        let agent = request.headers().get(header::USER_AGENT);
        let hash =
            agent.and_then(|agent| app.keys.tag(b"anteroom user agent v1\0", agent.as_bytes()).first_chunk().copied());
        Self {
            request_id: Some(id.to_owned()),
            ip_truncated: network,
            ua_hash: hash,
            trace_id: trace.or_else(|| Some(id.to_owned())),
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
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = word_of(request.method()),
        %route,
        status = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    let trace = join_trace(&app, &request, &span);
    let header = HeaderValue::from_str(&id).ok();
    let origin = Origin::of(&app, &request, &id, trace);
    let pattern = route.clone();
    let run = async move {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        app.metrics.note_request(&pattern, status, began.elapsed());
        Span::current().record("status", status);
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

/// A method's name. One that no standard knows is a stranger's own words.
fn word_of(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Whose request it is, as far as the socket and trusted proxies say.
fn caller(app: &App, request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(address::client(peer.0.ip(), request.headers(), &app.config.trusted_proxies))
}

/// Joins the caller's trace, if the caller is one of the operator's own services, and gives the trace's id, if there is a trace. What
/// anybody else names is not read: a stranger could make all of a day's requests one trace.
fn join_trace(app: &App, request: &Request, span: &Span) -> Option<String> {
    let is_trusted = caller(app, request).is_some_and(|caller| address::is_in(caller, &app.config.tracing.callers));
    let parent = request.headers().get(Parent::NAME).and_then(|value| value.to_str().ok()).filter(|_| is_trusted);
    if let Some(parent) = parent {
        // It fails where nothing is traced, and then there is nothing to join.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Parent(parent)));
    }
    let id = span.context().span().span_context().trace_id();
    let id = if id == TraceId::INVALID { find_trace_id(parent?)?.to_owned() } else { id.to_string() };
    span.record("trace_id", id.as_str());
    Some(id)
}

/// The one header of a trusted caller that is read (W3C Trace Context); `tracestate` and `baggage` are not.
struct Parent<'a>(&'a str);

impl Parent<'_> {
    const NAME: &'static str = "traceparent";
}

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == Self::NAME).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![Self::NAME]
    }
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
