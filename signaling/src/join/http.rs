//! `POST /api/visits/:id/links` and `POST /api/token/redeem`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::serde::rfc3339;
use wire::Redacted;

use crate::address::Address;
use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Permission;
use crate::auth::extract::{Caller, SESSION_COOKIE, set_cookie};
use crate::body::{Body, Id};
use crate::clock::Timestamp;
use crate::db;
use crate::drain;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::join::redeem::{self, Credential, Invitation, Refused};
use crate::join::{self, DEFAULT_TTL_MINUTES, Minted, RedeemError, Shown, TTL_MINUTES, store};
use crate::participant::{self, Role, short_name};
use crate::problem::{Code, Problem};
use crate::visit;

/// Whom to mint links for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LinksBody {
    roles: Vec<LinkRole>,
    ttl_minutes: Option<u8>,
}

/// The roles that a link can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LinkRole {
    Patient,
    Clinician,
}

impl LinkRole {
    const fn role(self) -> Role {
        match self {
            Self::Patient => Role::Patient,
            Self::Clinician => Role::Clinician,
        }
    }
}

/// `Link` of the protocol. Shown once, never logged, never stored.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkView {
    url: String,
    short_code: String,
    token: String,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    not_before: Timestamp,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    expires_at: Timestamp,
}

/// Mints a link for each asked role and withdraws the role's unspent one.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `INVALID`.
pub async fn links(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<VisitId>,
    Body(body): Body<LinksBody>,
) -> Result<Response> {
    actor.require(Permission::IssueLinks)?;
    let ttl = body.ttl_minutes.unwrap_or(DEFAULT_TTL_MINUTES);
    if !TTL_MINUTES.contains(&ttl) {
        return Err(Code::Invalid.with("ttlMinutes must be 20 to 30").into());
    }
    let mut roles = body.roles;
    roles.sort();
    roles.dedup();
    if roles.is_empty() {
        return Err(Code::Invalid.with("roles must name patient, clinician or both").into());
    }
    let ttl = Duration::from_secs(u64::from(ttl) * 60);
    let now = app.now();
    let links = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::IssueLinks, visit.id, &visit.clinician_id)?;
        if visit.status.is_over() {
            return Err(Code::VisitFinal.into());
        }
        let people = participant::store::of_visits(tx, &[id.as_uuid()]).await?;
        let mut links = BTreeMap::new();
        let mut events = Vec::new();
        for role in &roles {
            let Some(person) = people.iter().find(|person| person.role == role.role()) else { continue };
            let minted = join::mint(&app.keys, &visit, person, ttl, app.config.join_opens_before, now)?;
            let code_hash = app.keys.lookup_hash(minted.code.reveal());
            for old in store::replace(tx, visit.org, person, &minted, code_hash, &actor.id(), now).await? {
                events.push(
                    Draft::new(EventType::TokenRevoked).visit(id).subject("token", old.as_uuid()).because("REPLACED"),
                );
            }
            events.push(Draft::new(EventType::TokenIssued).visit(id).subject("token", minted.id.as_uuid()));
            links.insert(*role, minted);
        }
        Ok::<_, Error>((links, events))
    })
    .await?;
    let view = |minted: &Minted| LinkView {
        url: format!("{}/j/{}", app.public.origin, minted.code.reveal()),
        short_code: minted.code.reveal().clone(),
        token: minted.jwt.reveal().clone(),
        not_before: minted.not_before,
        expires_at: minted.expires_at,
    };
    let answer: BTreeMap<&str, LinkView> =
        links.iter().map(|(role, minted)| (role.role().as_word(), view(minted))).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// A link, and whether to look or to go in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedeemBody {
    token: Option<Redacted<String>>,
    short_code: Option<Redacted<String>>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Validate,
    Redeem,
}

/// Says what a link is for, or spends it and sets the session cookie.
///
/// # Errors
/// `TOKEN_INVALID`, `TOKEN_NOT_YET_VALID`, `TOKEN_ALREADY_USED`, `TOKEN_EXPIRED`, `TOKEN_REVOKED`, `RATE_LIMITED`,
/// `DRAINING`.
pub async fn redeem(State(app): State<App>, Address(from): Address, Body(body): Body<RedeemBody>) -> Result<Response> {
    let credential = match (&body.token, &body.short_code) {
        (Some(token), None) => Credential::Jwt(token.reveal()),
        (None, Some(code)) => Credential::Code(code.reveal()),
        _ => return Err(Code::Malformed.with("Send either token or shortCode.").into()),
    };
    let (Credential::Jwt(text) | Credential::Code(text)) = credential;
    app.misses
        .check(from, text, app.now())
        .map_err(|seconds| Problem { retry_after: Some(seconds), ..Code::RateLimited.problem() })?;
    let Some(shown) = redeem::identify(&app, credential).await? else { return Err(miss(&app, from, text)) };
    match body.mode {
        Mode::Validate => match redeem::validate(&app, &shown).await? {
            Ok(invitation) => {
                Ok(([(header::CACHE_CONTROL, "no-store")], Json(invitation_view(&invitation))).into_response())
            }
            Err(refused) => Err(refusal(&app, from, text, &refused)),
        },
        // A link that is not spent works at whoever takes over; a visit that runs here still takes its people in.
        Mode::Redeem if app.live.is_draining() => match redeem::validate(&app, &shown).await? {
            Ok(invitation) if app.live.find(invitation.visit.id).is_none() => Err(drain::come_back().into()),
            Ok(_) => spend(&app, from, text, &shown).await,
            Err(refused) => Err(refusal(&app, from, text, &refused)),
        },
        Mode::Redeem => spend(&app, from, text, &shown).await,
    }
}

/// Spends a link and sets the session cookie.
async fn spend(app: &App, from: IpAddr, text: &str, shown: &Shown) -> Result<Response> {
    let outcome = redeem::redeem(app, shown).await?;
    app.metrics.note_redeem(outcome.is_ok());
    match outcome {
        Ok(redeemed) => {
            tracing::info!(visit_id = ?redeemed.invitation.visit.id, participant_id = ?redeemed.participant, "a join link was redeemed");
            if let Some(room) = app.live.find(redeemed.invitation.visit.id) {
                room.supersede(redeemed.participant).await;
            }
            let mut view = invitation_view(&redeemed.invitation);
            if let Value::Object(map) = &mut view {
                map.insert("visitId".to_owned(), json!(redeemed.invitation.visit.id));
                map.insert("participantId".to_owned(), json!(redeemed.participant));
            }
            let value = redeemed.session.to_cookie_value();
            let cookie = set_cookie(SESSION_COOKIE, Some((&value, redeemed.expires_at)), app.now())?;
            let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response();
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(refused) => Err(refusal(app, from, text, &refused)),
    }
}

fn refusal(app: &App, from: IpAddr, text: &str, refused: &Refused) -> Error {
    if refused.error == RedeemError::Invalid {
        return miss(app, from, text);
    }
    refused.error.problem(refused.practice.as_ref()).into()
}

fn miss(app: &App, from: IpAddr, text: &str) -> Error {
    app.misses.note(from, text, app.now());
    RedeemError::Invalid.problem(None).into()
}

fn invitation_view(invitation: &Invitation) -> Value {
    let clinician = invitation.clinician.as_ref().map(|person| short_name(person.name.reveal()));
    json!({
        "valid": true,
        "role": invitation.person.role.as_word(),
        "scheduledAt": invitation.visit.scheduled_start.format(&time::format_description::well_known::Rfc3339).ok(),
        "clinicianFirstName": clinician,
        "practice": {"name": invitation.practice.name, "phone": invitation.practice.phone},
    })
}
