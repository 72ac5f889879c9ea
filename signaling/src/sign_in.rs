//! `/api/session`: an AccessToken becomes a session whose cookie scripts cannot read. And the demo's sign-in by a click, in development alone.

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
use crate::auth::StaffRole;
use crate::auth::extract::{STAFF_COOKIE, StaffCaller, Vouched, set_cookie, staff, vouched};
use crate::auth::keys::AccessGrant;
use crate::body::Body;
use crate::config::{Demo, Profile};
use crate::error::{Error, Result};
use crate::identity::revoke;
use crate::identity::session::{self, Origin};
use crate::problem::Code;

/// How long a demo sign-in holds.
const DEMO_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// The token to keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignInBody {
    access_token: Redacted<String>,
}

/// An AccessToken becomes a session, which ends with it at the latest.
///
/// # Errors
/// `UNAUTHENTICATED` when it does not hold.
pub async fn create(State(app): State<App>, Body(body): Body<SignInBody>) -> Result<Response> {
    keep(&app, body.access_token.reveal()).await
}

async fn keep(app: &App, token: &str) -> Result<Response> {
    let unknown = || Error::from(Code::Unauthenticated);
    let Vouched { person, token_id, issued_at, expires_at } = vouched(app, token).await?.ok_or_else(unknown)?;
    // Not a token that was revoked.
    session::standing(app, person.org, (&person.sub, token_id.as_deref()), issued_at).await?.ok_or_else(unknown)?;
    let origin = Origin { token_id, expires_at: Some(expires_at), ..Origin::default() };
    let cookie = session::open(app, person, origin).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Ends the session.
///
/// # Errors
/// The database's own failures.
pub async fn delete(State(app): State<App>, headers: axum::http::HeaderMap) -> Result<Response> {
    if let Some(staff) = staff(&app, &headers).await? {
        revoke::sign_out(&app, &staff).await?;
    }
    let cookie = set_cookie(STAFF_COOKIE, None, app.now())?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
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
    keep(&app, &token).await
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
