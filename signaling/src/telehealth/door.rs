//! Rows 5, 18, 34 and 37, and the waiting room by HTTP: starting by a token, letting in, turning away, and tokens for one person.

use std::pin::Pin;

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::{ParticipantId, Redacted};

use crate::address::Address;
use crate::app::App;
use crate::auth::extract::{Caller, SESSION_COOKIE, set_cookie};
use crate::auth::{Actor, Attendee, Permission};
use crate::body::{Body, Id, OptionalBody};
use crate::chime::visit_room;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::join::command::{self as links, For};
use crate::join::context::Context;
use crate::join::http::LinkView;
use crate::join::redeem::{self, Credential};
use crate::live::DoorAct;
use crate::participant::Role;
use crate::problem::Code;
use crate::superset::Shape;
use crate::telehealth::join::JoinView;
use crate::telehealth::session::{self, SeenBody};
use crate::visit::command;
use crate::visit::view::{self, WaitingView};
use crate::visit::{Visit, VisitStatus};
use crate::waiting_room::command as door;

/// Who is meant; the patient, when nobody is named.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct WhoBody {
    participant_id: Option<ParticipantId>,
}

/// Who waits, longest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitingRoomView {
    entries: Vec<WaitingView>,
}

/// `GET /api/v1/telehealth/sessions/{id}/waiting-room`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn waiting_room(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::ReadWaitingRoom, &id).await?;
    shape.reply(StatusCode::OK, &WaitingRoomView { entries: waiting(&app, &actor, visit).await? })
}

async fn waiting(app: &App, actor: &Actor, visit: Visit) -> Result<Vec<WaitingView>> {
    let now = app.now();
    let seen = db::scoped(&app.db, actor.org(), async |tx| view::of(tx, actor, vec![visit], now).await).await?;
    Ok(seen.into_iter().next().map(|view| view.waiting).unwrap_or_default())
}

/// The person that a body names, or the visit's patient.
async fn whom(app: &App, actor: &Actor, visit: &Visit, body: &WhoBody) -> Result<ParticipantId> {
    if let Some(named) = body.participant_id {
        return Ok(named);
    }
    let people = db::scoped(&app.db, actor.org(), async |tx| {
        crate::participant::store::of_visits(tx, &[visit.id.as_uuid()]).await
    })
    .await?;
    let patient = people.into_iter().find(|person| person.role == Role::Patient);
    patient.map(|person| person.id).ok_or_else(|| Code::NotFound.into())
}

/// Does one thing to somebody at the door, and answers with the session as it is then.
type AtDoor = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

/// A handler that does this to somebody.
///
/// # Errors
/// `NOT_WAITING`, `CONSENT_REQUIRED`, `VISIT_FINAL`, `FORBIDDEN`, `NOT_FOUND`.
pub(crate) fn at_door(
    act: DoorAct,
) -> impl Fn(State<App>, Caller, Path<String>, Shape, OptionalBody<WhoBody>) -> AtDoor + Clone + Send + Sync + 'static {
    let permission = if act == DoorAct::Leave { Permission::ReadVisit } else { Permission::HostVisit };
    move |State(app), Caller(actor), Path(id), shape, OptionalBody(body)| {
        Box::pin(async move {
            let visit = session::find(&app, &actor, permission, &id).await?;
            let who = whom(&app, &actor, &visit, &body).await?;
            door::act(&app, &actor, visit.id, who, act).await?;
            let visit = session::find(&app, &actor, permission, &id).await?;
            shape.reply(StatusCode::OK, &session::view_of(&app, &actor, visit, shape).await?)
        })
    }
}

/// `POST /api/v1/telehealth/sessions/{id}/ice-restart`: the client of somebody looks for another way to the media node; one's own, when
/// nobody is named. For networks that a person changed by hand, and for the help desk's first question.
///
/// # Errors
/// `FORBIDDEN` for somebody else's without being the host; `NOT_FOUND` for who is not connected.
pub async fn restart_ice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<WhoBody>,
) -> Result<StatusCode> {
    let visit = session::find(&app, &actor, Permission::JoinVisit, &id).await?;
    let own = match &actor {
        Actor::Attendee(attendee) => Some(attendee.participant),
        _ => None,
    };
    let who = match body.participant_id.or(own) {
        Some(who) if Some(who) == own => who,
        Some(who) => {
            actor.require(Permission::HostVisit)?;
            who
        }
        None => return Err(Code::Invalid.with("name a participantId").into()),
    };
    let room = app.live.find(visit.id).ok_or_else(|| Error::from(Code::NotFound))?;
    let is_asked = room.restart_ice(who).await;
    is_asked.then_some(StatusCode::ACCEPTED).ok_or_else(|| Code::NotFound.with("This person is not connected.").into())
}

/// `POST /api/v1/telehealth/sessions/{id}/start`: the visit begins. Whoever waits as its patient is let in by that.
///
/// # Errors
/// What the commands refuse; `VERSION_CONFLICT`.
pub async fn start(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<SeenBody>,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::HostVisit, &id).await?;
    match visit.status {
        VisitStatus::InProgress => {}
        VisitStatus::Waiting => {
            let who = whom(&app, &actor, &visit, &WhoBody::default()).await?;
            door::act(&app, &actor, visit.id, who, DoorAct::Admit).await?;
        }
        _ => drop(command::start(&app, &actor, visit.id, body.row_version).await?),
    }
    let visit = session::find(&app, &actor, Permission::HostVisit, &id).await?;
    shape.reply(StatusCode::OK, &session::view_of(&app, &actor, visit, shape).await?)
}

/// For whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TokenBody {
    participant_id: ParticipantId,
    /// 20 to 30; 20 when left out.
    ttl_minutes: Option<u8>,
}

/// `POST /api/v1/telehealth/sessions/{id}/tokens`: a link and its token for one person, in the place of their unspent one.
///
/// # Errors
/// `INVALID`, `VISIT_FINAL`, `NOT_FOUND`.
pub async fn tokens(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    Body(body): Body<TokenBody>,
) -> Result<Response> {
    let ttl = links::lifetime(body.ttl_minutes)?;
    let visit = session::find(&app, &actor, Permission::IssueLinks, &id).await?;
    let issued = links::issue(&app, &actor, visit.id, &For::Person(body.participant_id), ttl).await?;
    let link = issued.first().ok_or_else(|| Error::from(Code::NotFound))?;
    shape.reply(StatusCode::CREATED, &LinkView::of(&app, &link.minted).await?)
}

/// The one-time token of a link, in the body or as bearer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct StartBody {
    token: Option<Redacted<String>>,
    short_code: Option<Redacted<String>>,
}

/// `POST /api/visits/{id}/start`: spends a link without a browser's key, as far as the practice allows that, and gives its holder's place in
/// the room. For applications that start visits by their own server.
///
/// # Errors
/// `KEY_REQUIRED` where the practice wants a key; `TOKEN_INVALID` also for a link of another visit; the other refusals of a link.
pub async fn start_by_token(
    State(app): State<App>,
    Id(id): Id<VisitId>,
    Address(from): Address,
    shape: Shape,
    request: Request,
) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    let context = Context::of_parts(&mut parts, &app).await?;
    let bearer = bearer(&parts.headers).map(ToOwned::to_owned);
    let read = OptionalBody::<StartBody>::from_request(Request::from_parts(parts, body), &app).await?;
    let OptionalBody(StartBody { token, short_code }) = read;
    let credential = match (&bearer, &token, &short_code) {
        (Some(text), None, None) => Credential::Jwt(text),
        (None, Some(text), None) => Credential::Jwt(text.reveal()),
        (None, None, Some(text)) => Credential::Code(text.reveal()),
        _ => return Err(Code::Malformed.with("Send one token, as bearer or in the body.").into()),
    };
    let started = redeem::start(&app, from, id, credential, &context).await?;
    let (visit, person) = (started.invitation.visit, started.invitation.person);
    let actor = Actor::Attendee(Attendee {
        org: visit.org,
        visit: visit.id,
        participant: person.id,
        role: person.role,
        name: person.name.clone(),
        session: started.session.session,
        token: None,
        expires_at: started.expires_at,
    });
    let seat = visit_room::seat(&app, &actor, &visit, &person).await?;
    let value = started.session.to_cookie_value();
    let cookie = set_cookie(SESSION_COOKIE, Some((&value, started.expires_at)), app.now())?;
    let session_id = visit.id;
    let session = session::view_of(&app, &actor, visit, shape).await?;
    let view = JoinView { meeting: seat.meeting, attendee: seat.attendee, session, session_id };
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
