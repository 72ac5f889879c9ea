//! `POST /api/v1/telehealth/break-glass`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::serde::rfc3339;
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::StaffCaller;
use crate::auth::{Actor, Permission, Staff};
use crate::body::Body;
use crate::break_glass::store::{self, Opening};
use crate::break_glass::{LASTS, Reason};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::problem::Code;
use crate::visit;
use crate::webhook::{self, Event};

/// Binds a sealed reason to its use.
const PURPOSE: &[u8] = b"anteroom break glass reason v1\0";

/// Which visit, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BreakGlassBody {
    visit_id: VisitId,
    reason: Redacted<String>,
}

/// What was opened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpeningView {
    /// The opening's own id, as the webhook has it.
    #[schemars(with = "VisitId")]
    pub grant_id: Uuid,
    /// The visit that can be read.
    pub visit_id: VisitId,
    /// Until when.
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub expires_at: Timestamp,
}

/// Opens a visit of this organisation to a clinician whose it is not.
///
/// # Errors
/// `FORBIDDEN` for others; `MFA_REQUIRED` without a fresh second factor, where one is asked for; `NOT_FOUND` for an unknown visit;
/// `INVALID` without a reason.
pub async fn create(
    State(app): State<App>,
    StaffCaller(staff): StaffCaller,
    Body(body): Body<BreakGlassBody>,
) -> Result<Response> {
    let opened = break_glass(&app, staff, body.visit_id, &body.reason).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(opened)).into_response())
}

/// Checks, writes and tells: the audit chain, the organisation's webhooks and the metrics learn of it in the same moment.
///
/// # Errors
/// As [`create`].
pub async fn break_glass(app: &App, staff: Staff, id: VisitId, reason: &Redacted<String>) -> Result<OpeningView> {
    let actor = Actor::Staff(staff.clone());
    actor.require(Permission::BreakGlass)?;
    let reason = Reason::parse(reason)?;
    let now = app.now();
    let view = OpeningView { grant_id: Uuid::new_v4(), visit_id: id, expires_at: now + LASTS };
    let sealed = app.keys.seal(PURPOSE, view.grant_id.as_bytes(), reason.0.reveal().as_bytes())?;
    db::audited(&app.db, staff.org, &actor, async |tx| {
        if visit::store::find(tx, id).await?.is_none() {
            return Err(Error::from(Code::NotFound));
        }
        let opening = Opening {
            id: view.grant_id,
            sub: &staff.sub,
            visit: id,
            sealed_reason: &sealed,
            expires_at: view.expires_at,
        };
        store::insert(tx, staff.org, &opening, now).await?;
        webhook::store::enqueue(tx, staff.org, &alert(&staff, &view, now)?, now).await?;
        Ok(((), vec![Draft::new(EventType::BreakGlassUsed).visit(id).subject("grant", view.grant_id)]))
    })
    .await?;
    app.metrics.note_break_glass();
    tracing::warn!(visit_id = %id, "the glass was broken for a visit");
    Ok(view)
}

/// What the webhooks are told: who, which visit, until when; never why.
fn alert(staff: &Staff, view: &OpeningView, now: Timestamp) -> Result<Event> {
    let text = |at: Timestamp| at.format(&Rfc3339).map_err(|_| Error::Inside("a time cannot be written".to_owned()));
    let body = json!({
        "type": "access.break_glass_used",
        "timestamp": text(now)?,
        "data": {"grantId": view.grant_id, "visitId": view.visit_id, "staffId": staff.sub, "expiresAt": text(view.expires_at)?},
    });
    Ok(Event { id: view.grant_id, body: body.to_string() })
}
