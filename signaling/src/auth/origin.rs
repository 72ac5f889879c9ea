//! The rule that keeps other sites' pages from acting with our cookies (see `docs/protocol.md`, section 2).

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::auth::extract;
use crate::config::{Profile, is_loopback_name};
use crate::error::Error;
use crate::problem::Code;

/// The header that a page of another site cannot send without our leave.
pub const CSRF_HEADER: &str = "x-anteroom";

/// Middleware: requests that change something are refused when they come from another site.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    match check(&app, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let by_cookie = !headers.contains_key(header::AUTHORIZATION) && extract::has_our_cookie(headers);
    let marked = headers.get(CSRF_HEADER).is_some_and(|value| value == "1");
    if !is_ours(app, headers) || (by_cookie && !marked) { Err(Code::CrossOrigin.into()) } else { Ok(()) }
}

/// True when the `Origin` is ours or none was sent (not a browser, or a plain navigation). The WebSocket asks this too.
#[must_use]
pub fn is_ours(app: &App, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => matches(app, origin),
        (Some(_), Some(_)) => false,
    }
}

fn matches(app: &App, origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if origin == app.public.origin {
        return true;
    }
    // A developer may type 127.0.0.1 for localhost: the same machine and port by another name.
    let port = |authority: &str| authority.rsplit_once(':').map(|(_, port)| port.to_owned());
    app.config.profile == Profile::Development
        && is_loopback_name(&app.public.authority)
        && origin
            .strip_prefix("http://")
            .is_some_and(|authority| is_loopback_name(authority) && port(authority) == port(&app.public.authority))
}
