//! `GET` and `PUT /api/v1/telehealth/sessions/{id}/billing`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::serde::rfc3339;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::billing::store::{self, Set};
use crate::billing::table::{self, Profile, VERSION};
use crate::billing::{Facts, OverrideReason, Suggestion, check, suggest};
use crate::body::{Body, ExternalId, Params};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::problem::Code;
use crate::visit::{Visit, reference};

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The most modifiers on one line of a claim.
const MOST: usize = 4;

/// Who pays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BillingQuery {
    payer_profile: Option<String>,
}

/// Codes as they were set.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/licensing.md describes the fields")]
pub struct SetView {
    pub place_of_service: Option<String>,
    pub modifiers: Vec<String>,
    pub payer_profile: String,
    pub facts: Facts,
    pub rule_ids: Vec<String>,
    pub table_version: String,
    pub confidence: String,
    pub override_reason: Option<String>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub set_at: Timestamp,
    pub set_by: String,
}

impl From<Set> for SetView {
    fn from(set: Set) -> Self {
        Self {
            place_of_service: set.pos,
            modifiers: set.modifiers,
            payer_profile: set.payer_profile,
            facts: set.facts,
            rule_ids: set.rule_ids,
            table_version: set.table_version,
            confidence: set.confidence,
            override_reason: set.override_reason,
            set_at: set.set_at,
            set_by: set.set_by,
        }
    }
}

/// What was set, and what the table suggests.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingView {
    visit_id: VisitId,
    current: Option<SetView>,
    suggestion: Suggestion,
    /// Profiles to choose from.
    profiles: Vec<ProfileView>,
}

/// A payer whose rules are known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileView {
    profile: &'static str,
    name: &'static str,
}

fn profile(key: Option<&str>) -> Result<&'static Profile> {
    table::find_profile(key.unwrap_or("medicare"))
        .ok_or_else(|| Code::Invalid.with("payerProfile is not known.").into())
}

fn day_of(visit: &Visit) -> String {
    visit.started_at.unwrap_or(visit.scheduled_start).date().to_string()
}

/// `GET`: what was set, and what the table suggests by what was said then.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`.
pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(visit): ExternalId,
    Params(query): Params<BillingQuery>,
) -> Result<Response> {
    let view = db::scoped(&app.db, actor.org(), async |tx| {
        let visit = reference::get(tx, &actor, Permission::SetBilling, &visit).await?;
        let current = store::newest(tx, visit.id).await?;
        let place = store::place_of_patient(tx, visit.id).await?;
        let set = current.as_ref().map(|set| set.payer_profile.as_str());
        let profile = profile(query.payer_profile.as_deref().or(set))?;
        let facts = current.as_ref().map(|set| set.facts).unwrap_or_default();
        let suggestion = suggest(place, facts, profile);
        let profiles =
            table::profiles().iter().map(|row| ProfileView { profile: &row.profile, name: &row.name }).collect();
        Ok::<_, Error>(BillingView { visit_id: visit.id, current: current.map(SetView::from), suggestion, profiles })
    })
    .await?;
    Ok((NO_STORE, Json(view)).into_response())
}

/// Codes that somebody confirms.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BillingBody {
    place_of_service: Option<String>,
    modifiers: Vec<String>,
    payer_profile: Option<String>,
    #[serde(default)]
    facts: Facts,
    override_reason: Option<OverrideReason>,
}

/// `PUT`: keeps what a person decides. What breaks a rule needs a reason.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID` with `violations`.
pub async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(visit): ExternalId,
    Body(body): Body<BillingBody>,
) -> Result<Response> {
    let is_pos = |text: &String| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_modifier =
        |text: &String| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    if !body.place_of_service.iter().all(is_pos)
        || !body.modifiers.iter().all(is_modifier)
        || body.modifiers.len() > MOST
    {
        return Err(Code::Invalid
            .with("A place of service is two digits; there are up to four modifiers of two characters.")
            .into());
    }
    let profile = profile(body.payer_profile.as_deref())?;
    let (org, now) = (actor.org(), app.now());
    let view = db::audited(&app.db, org, &actor, async |tx| {
        let visit = reference::get(tx, &actor, Permission::SetBilling, &visit).await?;
        let place = store::place_of_patient(tx, visit.id).await?;
        let day = day_of(&visit);
        let pos = body.place_of_service.as_deref();
        let broken = check(pos, &body.modifiers, place, body.facts, profile, &day);
        if !broken.is_empty() && body.override_reason.is_none() {
            let problem = Code::Invalid
                .with("These codes break rules of the table. Say overrideReason to set them all the same.");
            return Err(Error::from(problem.member("violations", json!(broken))));
        }
        let suggestion = suggest(place, body.facts, profile);
        let rules = suggestion.rule_ids.iter().copied().chain(broken.iter().map(|violation| violation.rule));
        let set = Set {
            pos: body.place_of_service.clone(),
            modifiers: body.modifiers.clone(),
            payer_profile: profile.profile.clone(),
            facts: body.facts,
            rule_ids: rules.map(ToOwned::to_owned).collect(),
            table_version: VERSION.to_owned(),
            confidence: suggestion.confidence.as_str().to_owned(),
            override_reason: body.override_reason.map(|reason| reason.as_str().to_owned()),
            set_at: now,
            set_by: actor.id(),
        };
        let id = store::insert(tx, (org, visit.id), &set).await?;
        let is_suggested = suggestion.pos == pos && suggestion.modifiers == set.modifiers;
        let draft = Draft::new(EventType::BillingCodesSet)
            .visit(visit.id)
            .subject("billing", id)
            .fact("override", Fact::Truth(!broken.is_empty()))
            .because(if is_suggested { "ACCEPTED" } else { "CHANGED" });
        Ok((SetView::from(set), vec![draft]))
    })
    .await?;
    Ok((NO_STORE, Json(view)).into_response())
}
