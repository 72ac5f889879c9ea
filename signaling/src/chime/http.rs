//! The operations of `chime-sdk-meetings` and `chime-sdk-media-pipelines` at the root of the HTTP address: a request is read, its
//! signature is checked, and it goes to the operation that method, path and `operation` parameter name.

use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::json;

use crate::address::Address;
use crate::app::App;
use crate::auth::{self, Actor};
use crate::chime::call::{Answer, Call, Outcome, no_such_operation};
use crate::chime::error::{Fault, Kind, Service};
use crate::chime::names::{AttendeeId, MeetingId};
use crate::chime::sigv4::{self, Signed};
use crate::chime::{attendees, check, client_events, keys, meetings, pipelines, tags, transcription};
use crate::limit::block;
use crate::telemetry;

/// The longest body that is read: 50 tags of the longest kind fit twice.
const MAX_BODY: usize = 256 * 1024;

/// How long a request may take, its body included.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Names the request, as AWS does.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Where both services live. Paths that they do not have stay the native router's.
pub(crate) fn router() -> Router<App> {
    let mut router = Router::new();
    for path in [
        "/meetings",
        "/meetings/{meeting}",
        "/meetings/{meeting}/attendees",
        "/meetings/{meeting}/attendees/{attendee}",
        "/meetings/{meeting}/attendees/{attendee}/capabilities",
        "/meetings/{meeting}/transcription",
        "/tags",
    ] {
        router = router.route(path, any(serve_meetings));
    }
    for path in pipelines::PATHS {
        router = router.route(path, any(serve_pipelines));
    }
    router.route("/client-events", any(client_events::take)).route("/nearest-media-region", get(nearest_region))
}

/// What pages ask to choose a region: there is one server behind all of them.
async fn nearest_region(State(app): State<App>) -> Response {
    let mut response = axum::Json(json!({ "region": app.config.chime_region })).into_response();
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn serve_meetings(State(app): State<App>, Address(from): Address, request: Request) -> Response {
    // Both services tag by one path; which of them is meant is in the ARN, and so is read later.
    serve(app, from, request, Service::Meetings).await
}

async fn serve_pipelines(State(app): State<App>, Address(from): Address, request: Request) -> Response {
    serve(app, from, request, Service::Pipelines).await
}

async fn serve(app: App, from: IpAddr, request: Request, service: Service) -> Response {
    let id = request_id();
    let outcome = tokio::time::timeout(TIMEOUT, Box::pin(answer(app, from, request, service))).await;
    let (service, outcome) =
        outcome.unwrap_or_else(|_| (service, Err(Kind::Unavailable.with("The request took too long"))));
    let mut response = match outcome {
        Ok(Answer::Ok(body)) => axum::Json(body).into_response(),
        Ok(Answer::Created(body)) => (StatusCode::CREATED, axum::Json(body)).into_response(),
        Ok(Answer::Empty) => StatusCode::OK.into_response(),
        Ok(Answer::NoContent) => StatusCode::NO_CONTENT.into_response(),
        Err(fault) => fault.into_response(service, &id),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// The request's id, in the form that AWS gives it.
fn request_id() -> String {
    let id = telemetry::request_id().and_then(|id| uuid::Uuid::parse_str(&id).ok());
    id.unwrap_or_else(uuid::Uuid::new_v4).to_string()
}

async fn answer(app: App, from: IpAddr, request: Request, service: Service) -> (Service, Outcome) {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let from = block(from);
    if !app.chime_strangers.has_left(from, app.now()) {
        return (service, Err(Kind::Throttling.with("Too many requests without a good signature").retry_after(1)));
    }
    let call = match authenticate(&app, &parts, (&path, &query), body).await {
        Ok(call) => call,
        Err(fault) => {
            if matches!(fault.kind, Kind::Unauthorized | Kind::Forbidden | Kind::BadRequest) {
                // One more or less is the same once there are too many.
                let _ = app.chime_strangers.take(from, app.now());
            }
            return (service, Err(fault));
        }
    };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (service, &segments[..]) {
        (Service::Meetings, ["tags"]) => Box::pin(tags::serve(&call, &parts.method)).await,
        (Service::Meetings, rest) => (service, Box::pin(dispatch(&call, &parts.method, rest)).await),
        (Service::Pipelines, rest) => (service, Box::pin(pipelines::dispatch(&call, &parts.method, rest)).await),
    }
}

/// Who asks, by the signature; then, whether they ask too often.
async fn authenticate(
    app: &App,
    parts: &axum::http::request::Parts,
    (path, query): (&str, &str),
    body: Body,
) -> Result<Call, Fault> {
    // What no secret could make right is refused before the body is read.
    let claim = sigv4::read(&parts.headers, query, app.now())?;
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| Kind::BadRequest.with("The body is longer than 256 KiB"))?;
    let unknown = || Kind::Forbidden.with("The access key is not one of this server, or it was revoked");
    let (org, secret) = keys::find(&app.db, &app.keys, &claim.access_key_id).await?.ok_or_else(unknown)?;
    let signed = Signed { method: parts.method.as_str(), path, query, headers: &parts.headers, body: &body };
    sigv4::verify(&claim, &signed, secret.reveal())?;
    if !app.chime_rate.take(org, app.now()) {
        return Err(Kind::Throttling.with("Rate exceeded").retry_after(1));
    }
    let actor = Actor::Service(auth::Service { org, id: claim.access_key_id, grants: auth::Grants::ALL });
    Ok(Call { app: app.clone(), org, actor, region: claim.region, query: query.to_owned(), body })
}

async fn dispatch(call: &Call, method: &Method, segments: &[&str]) -> Outcome {
    let operation = check::parameter(&call.query, "operation");
    match (method.as_str(), segments, operation.as_deref()) {
        ("POST", ["meetings"], None) => meetings::create(call).await,
        ("POST", ["meetings"], Some("create-attendees")) => meetings::create_with_attendees(call).await,
        ("GET", ["meetings", meeting], None) => meetings::get(call, meeting_id(meeting)?).await,
        ("DELETE", ["meetings", meeting], None) => meetings::delete(call, meeting_id(meeting)?).await,
        ("POST", ["meetings", meeting, "attendees"], None) => attendees::create(call, meeting_id(meeting)?).await,
        ("POST", ["meetings", meeting, "attendees"], Some("batch-create")) => {
            attendees::create_batch(call, meeting_id(meeting)?).await
        }
        ("GET", ["meetings", meeting, "attendees"], None) => attendees::list(call, meeting_id(meeting)?).await,
        ("PUT", ["meetings", meeting, "attendees", "capabilities"], Some("batch-update-except")) => {
            attendees::update_all_except(call, meeting_id(meeting)?).await
        }
        ("GET", ["meetings", meeting, "attendees", attendee], None) => {
            attendees::get(call, meeting_id(meeting)?, attendee_id(attendee)?).await
        }
        ("DELETE", ["meetings", meeting, "attendees", attendee], None) => {
            attendees::delete(call, meeting_id(meeting)?, attendee_id(attendee)?).await
        }
        ("PUT", ["meetings", meeting, "attendees", attendee, "capabilities"], None) => {
            attendees::update(call, meeting_id(meeting)?, attendee_id(attendee)?).await
        }
        ("POST", ["meetings", meeting, "transcription"], Some("start")) => {
            transcription::start(call, meeting_id(meeting)?).await
        }
        ("POST", ["meetings", meeting, "transcription"], Some("stop")) => {
            transcription::stop(call, meeting_id(meeting)?).await
        }
        _ => Err(no_such_operation()),
    }
}

fn meeting_id(text: &str) -> Result<MeetingId, Fault> {
    text.parse().map_err(|_| Kind::BadRequest.with("MeetingId must be a UUID"))
}

fn attendee_id(text: &str) -> Result<AttendeeId, Fault> {
    text.parse().map_err(|_| Kind::BadRequest.with("AttendeeId must be a UUID"))
}
