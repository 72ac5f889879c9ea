//! `/api/v1/telehealth/service-tokens`, for admins; and `/api/v1/telehealth/access/revoke`, for whoever knows that somebody has left.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::{Body, Id};
use crate::error::Result;
use crate::identity::revoke::{self, Target};
use crate::problem::Code;
use crate::service_token::{self, SCHEDULER, TokenView, Wanted};

/// What a token is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "ServiceTokenCreate")]
pub struct CreateBody {
    name: String,
    /// By their names; those of a scheduler, unless others are named.
    permissions: Option<Vec<String>>,
    /// How long it holds, 1 to 366.
    days: u16,
}

/// A new token. The text is shown this once.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ServiceTokenCreated")]
pub struct CreatedView {
    token: String,
    #[serde(flatten)]
    view: TokenView,
}

/// All tokens.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ServiceTokenList")]
pub struct ListView {
    tokens: Vec<TokenView>,
}

/// `POST /api/v1/telehealth/service-tokens`.
///
/// # Errors
/// `FORBIDDEN`, `MFA_REQUIRED`; `INVALID` for what no token can be.
pub async fn create(State(app): State<App>, Caller(actor): Caller, Body(body): Body<CreateBody>) -> Result<Response> {
    actor.require(Permission::ManageServiceTokens)?;
    let scheduler = || SCHEDULER.iter().map(|permission| permission.as_str().to_owned()).collect();
    let wanted = Wanted {
        name: body.name,
        permissions: body.permissions.unwrap_or_else(scheduler),
        lifetime: Duration::from_secs(u64::from(body.days) * 24 * 3600),
    };
    let made = service_token::create(&app.db, &actor, &wanted).await?;
    let view = CreatedView { token: made.token.reveal().clone(), view: made.view };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// `GET /api/v1/telehealth/service-tokens`.
///
/// # Errors
/// `FORBIDDEN`, `MFA_REQUIRED`.
pub async fn list(State(app): State<App>, Caller(actor): Caller) -> Result<Response> {
    actor.require(Permission::ManageServiceTokens)?;
    let tokens = service_token::list(&app.db, actor.org()).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ListView { tokens })).into_response())
}

/// `DELETE /api/v1/telehealth/service-tokens/:id`.
///
/// # Errors
/// `FORBIDDEN`, `MFA_REQUIRED`; `NOT_FOUND`.
pub async fn delete(State(app): State<App>, Caller(actor): Caller, Id(id): Id<Uuid>) -> Result<Json<TokenView>> {
    actor.require(Permission::ManageServiceTokens)?;
    Ok(Json(service_token::revoke(&app.db, &actor, id).await?))
}

/// Whose access ends: all of a person's, or one token's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RevokeBody {
    /// The person's id, as in a visit's `clinicianId`.
    sub: Option<String>,
    /// The `jti` of an access token.
    token_id: Option<String>,
}

/// What ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedView {
    /// Sessions that were live.
    sessions: usize,
}

/// `POST /api/v1/telehealth/access/revoke`: sessions, tokens and live sockets end within a minute, on every server.
///
/// # Errors
/// `FORBIDDEN`, `MFA_REQUIRED`; `INVALID` unless exactly one of the two is named.
pub async fn revoke(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<RevokeBody>,
) -> Result<Json<RevokedView>> {
    actor.require(Permission::RevokeAccess)?;
    let fits = |text: &String| !text.is_empty() && text.len() <= 200;
    let (target, reason) = match (body.sub.as_ref().filter(|s| fits(s)), body.token_id.as_ref().filter(|s| fits(s))) {
        (Some(sub), None) => (Target::Person(sub), "DEPROVISIONED"),
        (None, Some(id)) => (Target::Token(id), "TOKEN_REVOKED"),
        _ => return Err(Code::Invalid.with("Name either `sub` or `tokenId`.").into()),
    };
    Ok(Json(RevokedView { sessions: revoke::revoke(&app, &actor, target, reason).await? }))
}
