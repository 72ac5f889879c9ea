//! Every route in one list, and the middleware in order.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state, map_response_with_state};
use axum::routing::{get, post};
use tower_http::timeout::TimeoutLayer;

use crate::app::App;
use crate::auth::origin;
use crate::body::MAX_BODY;
use crate::problem::{Code, Problem};
use crate::{chime, health, join, pages, problem, quality, recording, sign_in, telemetry, visit, ws};

/// How long an ordinary request may take. The WebSocket and playback have their own limits.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Builds the service. A request passes the layers from the last one named here to the first.
pub fn router(app: App) -> Router {
    let ordinary = Router::new()
        .route("/api/session", get(sign_in::get).post(sign_in::create).delete(sign_in::delete))
        .route("/api/visits", get(visit::http::list).post(visit::http::create))
        .route("/api/visits/{id}", get(visit::http::get))
        .route("/api/visits/{id}/links", post(join::http::links))
        .route("/api/visits/{id}/end", post(visit::http::end))
        .route("/api/visits/{id}/recording/start", post(recording::http::start))
        .route("/api/visits/{id}/recording/stop", post(recording::http::stop))
        .route("/api/visits/{id}/quality", get(quality::http::get))
        .route("/api/visits/{id}/recordings", get(recording::http::list))
        .route("/api/recordings/{id}/playback", post(recording::http::grant))
        .route("/api/token/redeem", post(join::http::redeem))
        .route("/dev/login", post(sign_in::demo_login))
        .route("/dev/users", get(sign_in::demo_users))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/.well-known/jwks.json", get(health::jwks))
        .route("/", get(pages::index))
        .route("/desk", get(pages::index))
        .route("/visit", get(pages::index))
        .route("/j/{code}", get(pages::index))
        .route("/assets/{*path}", get(pages::asset))
        .route("/{name}", get(pages::root_file))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT));
    // Routes that outlive the ordinary time limit: the WebSocket and the streams of playback.
    let long = Router::new()
        .route("/ws", get(ws::upgrade))
        .route("/control/{meeting}", get(chime::socket::upgrade))
        .route("/api/playback/{grant}", get(recording::playback::play));
    ordinary
        .merge(long)
        .fallback(async || Problem::from(Code::NotFound))
        .method_not_allowed_fallback(async || Problem::from(Code::MethodNotAllowed))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), origin::guard))
        .layer(from_fn(problem::finish))
        // Signed by themselves, and answered in AWS's own words: no cookie, origin or problem is their business.
        .merge(chime::http::router())
        .layer(map_response_with_state(app.clone(), pages::security_headers))
        .layer(from_fn_with_state(app.clone(), telemetry::trace))
        .with_state(app)
}
