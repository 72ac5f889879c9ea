//! `POST /api/visits/:id/links`, `POST /api/token/redeem` and `POST /api/token/confirm`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ::proof::{Expected, Fresh, PublicKey, Thumbprint};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use wire::Redacted;

use crate::address::Address;
use crate::app::App;
use crate::auth::extract::{self, Caller, SESSION_COOKIE, set_cookie};
use crate::auth::{Actor, binding};
use crate::body::{Body, Id, OptionalBody};
use crate::clock::Timestamp;
use crate::db;
use crate::drain;
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::join::claim::{self, Claimed};
use crate::join::command::{self, For};
use crate::join::context::Context;
use crate::join::redeem::{self, Credential, Invitation, Refused};
use crate::join::{Minted, RedeemError, store};
use crate::participant::{Role, short_name};
use crate::problem::Code;
use crate::visit::Channel;

/// Where a browser proves that a link is for its key.
const REDEEM_PATH: &str = "/api/token/redeem";

/// Whom to mint links for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LinksBody {
    roles: Vec<LinkRole>,
    ttl_minutes: Option<u8>,
}

/// The roles that a link can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
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

/// `Link` of the protocol. Shown once and never logged; its code is kept, sealed, only where a message may have to carry it.
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

impl LinkView {
    pub(crate) async fn of(app: &App, minted: &Minted) -> Result<Self> {
        Ok(Self {
            url: format!("{}/j/{}", app.public.origin, minted.code.reveal()),
            short_code: minted.code.reveal().clone(),
            token: minted.sign(&app.keys).await?.reveal().clone(),
            not_before: minted.not_before,
            expires_at: minted.expires_at,
        })
    }
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
    let ttl = command::lifetime(body.ttl_minutes)?;
    let roles: Vec<Role> = body.roles.iter().map(|role| role.role()).collect();
    if roles.is_empty() {
        return Err(Code::Invalid.with("roles must name patient, clinician or both").into());
    }
    let links = command::issue(&app, &actor, id, &For::Roles(roles), ttl).await?;
    let mut answer = BTreeMap::new();
    for link in &links {
        answer.insert(link.person.role.as_word(), LinkView::of(&app, &link.minted).await?);
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// A link of two minutes that goes on with the caller's own seat at another device, whose coming in ends this one's session.
///
/// # Errors
/// `FORBIDDEN` for staff, who have no seat by link; `NOT_FOUND`, `VISIT_FINAL`.
pub async fn hand_over(State(app): State<App>, Caller(actor): Caller, Id(id): Id<VisitId>) -> Result<Response> {
    let Actor::Attendee(attendee) = &actor else { return Err(Code::Forbidden.into()) };
    if attendee.visit != id {
        return Err(Code::NotFound.into());
    }
    let link = command::hand_over(&app, attendee).await?;
    let view = LinkView::of(&app, &link.minted).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Whose link to send anew; or, from somebody without a credential, the link that does not open any more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ResendBody {
    role: Option<LinkRole>,
    channel: Option<Channel>,
    token: Option<Redacted<String>>,
    short_code: Option<Redacted<String>>,
}

/// What came of it. Whoever showed an old link learns nothing: `sent` says then that the wish was taken.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResendView {
    sent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<i32>,
}

/// Sends a new link to the contact on file: for staff, or for the holder of an old link, who gets the same answer whether or not there is
/// such a link.
///
/// # Errors
/// `UNAUTHENTICATED`, `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `NO_CONTACT`, `OPTED_OUT`, `RESEND_LIMIT`, `RATE_LIMITED`.
pub async fn resend(
    State(app): State<App>,
    Address(from): Address,
    caller: std::result::Result<Caller, Error>,
    Id(id): Id<VisitId>,
    OptionalBody(body): OptionalBody<ResendBody>,
) -> Result<Response> {
    let credential = match (&body.token, &body.short_code) {
        (Some(token), None) => Credential::Jwt(token.reveal()),
        (None, Some(code)) => Credential::Code(code.reveal()),
        (None, None) => {
            let Caller(actor) = caller?;
            let role = body.role.unwrap_or(LinkRole::Patient).role();
            let resent = command::resend(&app, &actor, id, role, body.channel).await?;
            let view = ResendView { sent: true, remaining: Some(resent.remaining) };
            return Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response());
        }
        (Some(_), Some(_)) => return Err(Code::Malformed.with("Send either token or shortCode.").into()),
    };
    redeem::slow_down(&app, from, credential).await?;
    let (Credential::Jwt(text) | Credential::Code(text)) = credential;
    // Each wish counts like a wrong code: nobody sends messages by the hundred.
    app.misses.note(from, text, app.now());
    let shown = redeem::identify(&app, credential).await?;
    // The answer does not wait for the work, so that its time says nothing either.
    tokio::spawn(async move {
        let Some(shown) = shown else { return };
        if let Err(error) = command::resend_to_holder(&app, &shown, Some(id)).await {
            tracing::warn!(%error, "a link could not be sent anew");
        }
    });
    let view = ResendView { sent: true, remaining: None };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// A link, and whether to look or to go in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedeemBody {
    token: Option<Redacted<String>>,
    short_code: Option<Redacted<String>>,
    #[serde(default)]
    mode: Mode,
    #[schemars(with = "Option<KeySchema>")]
    public_key: Option<PublicKey>,
    proof: Option<Redacted<String>>,
}

/// A P-256 public key (RFC 7517).
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is there to be described")]
struct KeySchema {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

impl RedeemBody {
    fn credential(&self) -> Result<(Credential<'_>, &str)> {
        match (&self.token, &self.short_code) {
            (Some(token), None) => Ok((Credential::Jwt(token.reveal()), token.reveal())),
            (None, Some(code)) => Ok((Credential::Code(code.reveal()), code.reveal())),
            _ => Err(Code::Malformed.with("Send either token or shortCode.").into()),
        }
    }

    /// The key that wants the link, if its proof is for this link and for now.
    fn key(&self, link: &str, now: Timestamp) -> Result<Thumbprint> {
        let (Some(key), Some(proof)) = (&self.public_key, &self.proof) else {
            return Err(Code::KeyRequired.with("mode redeem takes publicKey and proof.").into());
        };
        let fresh = Fresh::Around(now.unix_timestamp());
        let expected = Expected { method: "POST", path: REDEEM_PATH, fresh, secret: Some(link) };
        let thumbprint = proof::verify(proof.reveal(), &expected);
        thumbprint.filter(|proved| key.thumbprint().as_ref() == Some(proved)).ok_or_else(|| Code::ProofInvalid.into())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Validate,
    Redeem,
}

/// Says what a link is for, or keeps it for the browser's key and sets the session cookie, which holds once that key has proved itself
/// over the WebSocket or by [`confirm`].
///
/// # Errors
/// `TOKEN_INVALID`, `TOKEN_NOT_YET_VALID`, `TOKEN_IN_USE`, `TOKEN_ALREADY_USED`, `TOKEN_EXPIRED`, `TOKEN_REVOKED`, `KEY_REQUIRED`,
/// `PROOF_INVALID`, `RATE_LIMITED`, `DRAINING`.
pub async fn redeem(State(app): State<App>, Address(from): Address, Body(body): Body<RedeemBody>) -> Result<Response> {
    let (credential, text) = body.credential()?;
    redeem::slow_down(&app, from, credential).await?;
    let key = match body.mode {
        Mode::Validate => None,
        Mode::Redeem => Some(body.key(text, app.now())?),
    };
    let Some(shown) = redeem::identify(&app, credential).await? else { return Err(miss(&app, from, text)) };
    let looked = match key {
        // A link that is not spent works at whoever takes over; a visit that runs here still takes its people in.
        Some(_) if app.live.is_draining() => Some(redeem::validate(&app, &shown).await?),
        Some(_) => None,
        None => Some(redeem::validate(&app, &shown).await?),
    };
    let seen = match looked {
        Some(Err(refused)) => return Err(refusal(&app, from, text, &refused)),
        Some(Ok(invitation)) => Some(invitation),
        None => None,
    };
    match (key, seen) {
        (None, Some(invitation)) => {
            Ok(([(header::CACHE_CONTROL, "no-store")], Json(InvitationView::of(&invitation, app.now())))
                .into_response())
        }
        (Some(_), Some(invitation)) if app.live.find(invitation.visit.id).is_none() => Err(drain::come_back().into()),
        (Some(key), _) => match claim::claim(&app, &shown, &key).await? {
            Ok(claimed) => claimed_response(&app, &claimed),
            Err(refused) => {
                app.metrics.note_redeem(false);
                Err(refusal(&app, from, text, &refused))
            }
        },
        (None, None) => Err(Error::Inside("a link was neither looked at nor claimed".to_owned())),
    }
}

fn claimed_response(app: &App, claimed: &Claimed) -> Result<Response> {
    let view = ClaimView {
        invitation: InvitationView::of(&claimed.invitation, app.now()),
        visit_id: claimed.invitation.visit.id,
        participant_id: claimed.invitation.person.id,
        confirmed: claimed.until.is_none(),
        confirm_until: claimed.until,
    };
    let value = claimed.session.to_cookie_value();
    let cookie = set_cookie(SESSION_COOKIE, Some((&value, claimed.expires_at)), app.now())?;
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// `{confirmed}`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfirmView {
    confirmed: bool,
    visit_id: VisitId,
    participant_id: ParticipantId,
}

/// Spends a claimed link without a WebSocket: the session cookie says which, the header `DPoP` proves the key. Asked again, it answers
/// the same.
///
/// # Errors
/// `UNAUTHENTICATED` when nothing is claimed or the claim has lapsed, `PROOF_INVALID`.
pub async fn confirm(State(app): State<App>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    let Some(token) = extract::session_token(&parts.headers) else { return Err(Code::Unauthenticated.into()) };
    let now = app.now();
    let proved = binding::proved(&parts, now, None);
    let context = Context::of_parts(&mut parts, &app).await?;
    let claim = db::scoped(&app.db, token.org, async |tx| store::find_claim(tx, &token, now).await).await?;
    let done = |visit_id, participant_id| {
        ([(header::CACHE_CONTROL, "no-store")], Json(ConfirmView { confirmed: true, visit_id, participant_id }))
            .into_response()
    };
    if let Some(claim) = claim {
        if proved.as_ref() != Some(&claim.key) {
            return Err(Code::ProofInvalid.into());
        }
        if let Some(participant) = claim::confirm(&app, &claim, &context).await? {
            return Ok(done(claim.visit, participant));
        }
    }
    // It may have been confirmed a moment ago, by this browser.
    let Some(seat) = extract::seat(&app, &parts.headers).await? else { return Err(Code::Unauthenticated.into()) };
    match binding::hold(&app, seat, proved.as_ref(), &context).await? {
        Some(attendee) => Ok(done(attendee.visit, attendee.participant)),
        None => Err(Code::Unauthenticated.into()),
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

/// What the holder of a good link may know.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvitationView {
    valid: bool,
    role: &'static str,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    scheduled_at: Timestamp,
    clinician_first_name: Option<String>,
    practice: PracticeView,
    /// A browser's proofs are dated by this clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    server_time: Timestamp,
}

#[derive(Serialize, JsonSchema)]
struct PracticeView {
    name: String,
    phone: String,
}

impl InvitationView {
    fn of(invitation: &Invitation, now: Timestamp) -> Self {
        Self {
            valid: true,
            role: invitation.person.role.as_word(),
            scheduled_at: invitation.visit.scheduled_start,
            clinician_first_name: invitation.clinician.as_ref().map(|person| short_name(person.name.reveal())),
            practice: PracticeView { name: invitation.practice.name.clone(), phone: invitation.practice.phone.clone() },
            server_time: now,
        }
    }
}

/// Either mode's answer.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there to be described")]
pub(crate) enum RedeemView {
    Validate(InvitationView),
    Redeem(ClaimView),
}

/// A link that a browser's key holds.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimView {
    #[serde(flatten)]
    invitation: InvitationView,
    visit_id: VisitId,
    participant_id: ParticipantId,
    /// True when the same key has spent the link already: its session goes on.
    confirmed: bool,
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Time>")]
    confirm_until: Option<Timestamp>,
}
