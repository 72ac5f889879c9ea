//! `/api/session`: an AccessToken becomes a cookie that scripts cannot read. And the demo's sign-in by a click, in development alone.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::{STAFF_COOKIE, StaffCaller, set_cookie, staff, staff_from};
use crate::auth::keys::AccessGrant;
use crate::auth::{Actor, Staff, StaffRole};
use crate::body::Body;
use crate::config::{Demo, Profile};
use crate::db;
use crate::error::{Error, Result};
use crate::problem::Code;

/// How long a demo sign-in holds.
const DEMO_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// The token to keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignInBody {
    access_token: Redacted<String>,
}

/// Keeps an AccessToken as the staff cookie.
///
/// # Errors
/// `UNAUTHENTICATED` when it does not hold.
pub async fn create(State(app): State<App>, Body(body): Body<SignInBody>) -> Result<Response> {
    let token = body.access_token.reveal();
    let Some(staff) = staff_from(&app, token, app.now()) else { return Err(Code::Unauthenticated.into()) };
    keep(&app, token, staff).await
}

async fn keep(app: &App, token: &str, staff: Staff) -> Result<Response> {
    let cookie = set_cookie(STAFF_COOKIE, Some((token, staff.expires_at)), app.now())?;
    note(app, staff, EventType::Login).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Ends the staff cookie.
///
/// # Errors
/// The database's own failures.
pub async fn delete(State(app): State<App>, headers: axum::http::HeaderMap) -> Result<Response> {
    if let Some(staff) = staff(&app, &headers) {
        note(&app, staff, EventType::Logout).await?;
    }
    let cookie = set_cookie(STAFF_COOKIE, None, app.now())?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

async fn note(app: &App, staff: Staff, event: EventType) -> Result<()> {
    let org = staff.org;
    let actor = Actor::Staff(staff);
    db::audited(&app.db, org, &actor, async |tx| {
        // A well-signed token for a practice that does not exist here signs nobody in.
        if crate::organization::find(tx, org).await?.is_none() {
            return Err(Error::from(Code::Unauthenticated));
        }
        Ok(((), vec![Draft::new(event)]))
    })
    .await
}

/// Who is signed in.
///
/// # Errors
/// `UNAUTHENTICATED`.
pub async fn get(StaffCaller(staff): StaffCaller) -> Result<Response> {
    let name = staff.name.as_ref().map_or(&staff.sub, Redacted::reveal);
    let view = json!({"sub": staff.sub, "role": staff.role, "name": name});
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Which demo user.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DemoBody {
    role: StaffRole,
    sub: String,
}

fn demo(app: &App) -> Result<&Demo> {
    let demo = app.config.demo.as_ref().filter(|_| app.config.profile == Profile::Development);
    demo.ok_or_else(|| Code::NotFound.into())
}

/// Signs a demo user in.
///
/// # Errors
/// `NOT_FOUND` for anybody else, and outside development.
pub async fn demo_login(State(app): State<App>, Body(body): Body<DemoBody>) -> Result<Response> {
    let demo = demo(&app)?;
    let user = demo.users.iter().find(|user| user.sub == body.sub && user.role == body.role);
    let user = user.ok_or_else(|| Error::from(Code::NotFound))?;
    let grant =
        AccessGrant { org: demo.org, sub: &user.sub, role: user.role, name: Some(&user.name), lifetime: DEMO_LIFETIME };
    let token = app.keys.mint_access(grant, app.now())?;
    let staff =
        staff_from(&app, &token, app.now()).ok_or_else(|| Error::Inside("our own token does not open".to_owned()))?;
    keep(&app, &token, staff).await
}

/// The demo users.
///
/// # Errors
/// `NOT_FOUND` outside development.
pub async fn demo_users(State(app): State<App>) -> Result<Json<Value>> {
    let users: Vec<Value> =
        demo(&app)?.users.iter().map(|user| json!({"sub": user.sub, "role": user.role, "name": user.name})).collect();
    Ok(Json(json!({ "users": users })))
}
