//! The web client's files. Every page is the same inert file: no lookup, no state change, nothing about the code in its address.
//! A release build carries the files inside; a development build reads them from disk.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::app::App;
use crate::config::{Profile, is_loopback_name};
use crate::error::Error;
use crate::problem::Code;

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Dist;

/// What `/`, `/desk`, `/visit` and `/j/{code}` answer alike.
pub async fn index() -> Response {
    match Dist::get("index.html") {
        Some(file) => (
            [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")],
            file.data.into_owned(),
        )
            .into_response(),
        None => Error::from(Code::NotFound.with("The web client is not built: run `make web`.")).into_response(),
    }
}

/// A file of the client whose name holds the hash of its content.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn asset(Path(path): Path<String>) -> Result<Response, Error> {
    // Names as the build makes them; nothing that climbs, so that a page never gets an asset's caching.
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Code::NotFound.into());
    }
    file(&format!("assets/{path}"), "public, max-age=31536000, immutable")
}

/// A file beside `index.html`.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn root_file(Path(name): Path<String>) -> Result<Response, Error> {
    if name == "index.html" { Err(Code::NotFound.into()) } else { file(&name, "no-cache") }
}

fn file(path: &str, cache: &'static str) -> Result<Response, Error> {
    let file = Dist::get(path).ok_or_else(|| Error::from(Code::NotFound))?;
    let headers = [(header::CONTENT_TYPE, content_type(path)), (header::CACHE_CONTROL, cache)];
    Ok((headers, file.data.into_owned()).into_response())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("json" | "map" | "webmanifest") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mpeg",
        Some("ogg") => "audio/ogg",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// The headers that every answer carries.
pub async fn security_headers(State(app): State<App>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy(&app)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert("permissions-policy", HeaderValue::from_static(PERMISSIONS));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    if app.public.is_https {
        headers
            .insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000; includeSubDomains"));
    }
    response
}

const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), autoplay=(self), \
    geolocation=(), payment=(), usb=(), midi=(), serial=(), bluetooth=(), browsing-topics=()";

/// Everything from ourselves, nothing inline. `'self'` covers the WebSocket in browsers of today; older ones need it spelled out.
fn content_security_policy(app: &App) -> String {
    let socket = if app.public.is_https { "wss" } else { "ws" };
    let mut connect = format!("'self' {socket}://{}", app.public.authority);
    if app.config.profile == Profile::Development
        && is_loopback_name(&app.public.authority)
        && let Some((_, port)) = app.public.authority.rsplit_once(':')
    {
        connect.push_str(&format!(" ws://127.0.0.1:{port} ws://localhost:{port}"));
    }
    format!(
        "default-src 'self'; connect-src {connect}; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
