//! Sessions, as these clients call visits: rows 15, 16, 19, 22, 31 to 33 and 35 to 39 of the visit model.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::Duration;
use time::serde::rfc3339;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission};
use crate::body::{Body, OptionalBody, Params};
use crate::clinical::{self, ClinicalView};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::problem::Code;
use crate::state::StateCode;
use crate::superset::Shape;
use crate::telehealth::screen_share;
use crate::visit::command::{self, Seen};
use crate::visit::store::Filter;
use crate::visit::view::{self, VisitView};
use crate::visit::{
    CancelReason, Channel, EndReason, NewVisit, RecordingPolicy, Visit, VisitStatus, issue, list, reference, vocabulary,
};

/// A session: the visit, and beside it the members by which the second, third and fourth face know it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// The visit's id.
    id: VisitId,
    session_id: VisitId,
    /// Ours, whatever `status` is written in.
    status_canonical: VisitStatus,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    session_started_at: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    session_ended_at: Option<Timestamp>,
    /// Whole minutes.
    actual_duration: Option<i64>,
    client_in_waiting_room: bool,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    waiting_room_entered_at: Option<Timestamp>,
    screen_sharing_active: bool,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    screen_sharing_started_at: Option<Timestamp>,
    /// Pages of ours: they hold no credential.
    clinician_join_url: String,
    client_join_url: String,
    #[serde(flatten)]
    visit: VisitView,
}

/// The session of a visit as `actor` may see it, its state in the client's words.
pub(crate) async fn view_of(app: &App, actor: &Actor, visit: Visit, shape: Shape) -> Result<serde_json::Value> {
    view_with(app, actor, visit, None, shape).await
}

/// The same with the clinical words that the actor may see.
async fn view_with(
    app: &App,
    actor: &Actor,
    visit: Visit,
    words: Option<ClinicalView>,
    shape: Shape,
) -> Result<serde_json::Value> {
    let (now, org) = (app.now(), actor.org());
    let (status, minutes) = (visit.status, visit.actual_minutes());
    let appointment = visit.appointment.clone().unwrap_or_else(|| visit.id.to_string());
    let (mut seen, share) = db::scoped(&app.db, org, async |tx| {
        let share = screen_share::find_active(tx, visit.id).await?;
        let seen = view::of(tx, actor, vec![visit], now).await?.pop();
        let seen = seen.ok_or_else(|| Error::Inside("a visit has no view".to_owned()))?;
        Ok::<_, Error>((seen, share))
    })
    .await?;
    seen.clinical = words;
    let patient = seen.patient.as_ref().map(|person| person.participant_id);
    let wait = seen.waiting.iter().find(|entry| Some(entry.participant_id) == patient);
    let page = |role: &str| {
        let place = percent_encoding::utf8_percent_encode(&appointment, percent_encoding::NON_ALPHANUMERIC);
        format!("{}/telehealth/session/{place}?role={role}", app.public.origin)
    };
    let session = SessionView {
        id: seen.visit_id,
        session_id: seen.visit_id,
        status_canonical: status,
        session_started_at: seen.started_at,
        session_ended_at: seen.ended_at,
        actual_duration: minutes,
        client_in_waiting_room: wait.is_some(),
        waiting_room_entered_at: wait.map(|entry| entry.since),
        screen_sharing_active: share.is_some(),
        screen_sharing_started_at: share,
        clinician_join_url: page("clinician"),
        client_join_url: page("client"),
        visit: seen,
    };
    let mut value =
        serde_json::to_value(session).map_err(|_| Error::Inside("a session cannot be written".to_owned()))?;
    value["status"] = shape.status(status).into();
    Ok(value)
}

async fn reply(app: &App, actor: &Actor, status: StatusCode, visit: Visit, shape: Shape) -> Result<Response> {
    shape.reply(status, &view_of(app, actor, visit, shape).await?)
}

/// The visit that a path names, for somebody whose business it is.
pub(crate) async fn find(app: &App, actor: &Actor, permission: Permission, text: &str) -> Result<Visit> {
    db::scoped(&app.db, actor.org(), async |tx| reference::get(tx, actor, permission, text).await).await
}

/// A session to create. An appointment that has a visit needs nothing else; for a new one the visit's people and time belong to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateBody {
    appointment_id: String,
    patient_id: Option<String>,
    clinician_id: Option<String>,
    #[serde(with = "rfc3339::option", default)]
    #[schemars(with = "Option<crate::schema::Time>")]
    scheduled_at: Option<Timestamp>,
    /// Minutes.
    duration: Option<i32>,
    visit_type: Option<String>,
    channel: Option<Channel>,
    patient_name: Option<Redacted<String>>,
    clinician_name: Option<Redacted<String>>,
    recording_policy: Option<RecordingPolicy>,
    patient_state: Option<StateCode>,
}

impl CreateBody {
    /// The visit to plan; `None` when the body names an appointment and nothing else.
    fn into_visit(self) -> Result<Option<NewVisit>> {
        let (patient_id, clinician_id, start) = match (self.patient_id, self.clinician_id, self.scheduled_at) {
            (Some(patient), Some(clinician), Some(start)) => (patient, clinician, start),
            (None, None, None) => return Ok(None),
            _ => return Err(Code::Invalid.with("patientId, clinicianId and scheduledAt belong together").into()),
        };
        let micros = start.replace_nanosecond(start.microsecond() * 1000).unwrap_or(start);
        Ok(Some(NewVisit {
            appointment: Some(self.appointment_id),
            patient_id,
            patient_name: self.patient_name.unwrap_or_else(|| Redacted::new("Patient".to_owned())),
            clinician_id,
            clinician_name: self.clinician_name.unwrap_or_else(|| Redacted::new("Your clinician".to_owned())),
            visit_type: self.visit_type,
            chief_complaint: None,
            patient_state: self.patient_state,
            channel: self.channel.unwrap_or(Channel::Both),
            scheduled_start: micros.to_offset(time::UtcOffset::UTC),
            duration_min: self.duration.unwrap_or(DEFAULT_MINUTES),
            recording_policy: self.recording_policy.unwrap_or(RecordingPolicy::OptIn),
            demo: false,
        }))
    }
}

/// How long a session is planned for when nobody says.
const DEFAULT_MINUTES: i32 = 60;

/// `POST /api/v1/telehealth/sessions`: the session of an appointment, made if the body says enough to plan it.
///
/// # Errors
/// `NOT_FOUND` for an appointment that has no visit and no details; what [`command::create`] refuses.
pub async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    shape: Shape,
    Body(body): Body<CreateBody>,
) -> Result<Response> {
    let appointment = body.appointment_id.clone();
    match body.into_visit()? {
        Some(new) => {
            let made = command::create(&app, &actor, new).await?;
            let status = if made.is_new { StatusCode::CREATED } else { StatusCode::OK };
            reply(&app, &actor, status, made.visit, shape).await
        }
        None => {
            let visit = find(&app, &actor, Permission::ReadVisit, &appointment).await?;
            note_view(&app, &actor, visit.id).await?;
            reply(&app, &actor, StatusCode::OK, visit, shape).await
        }
    }
}

async fn note_view(app: &App, actor: &Actor, visit: VisitId) -> Result<()> {
    if app.views.is_new(actor, Some(visit), app.now()) {
        let seen = Draft::new(EventType::VisitViewed).visit(visit);
        db::audited(&app.db, actor.org(), actor, async |_| Ok::<_, Error>(((), vec![seen]))).await?;
    }
    Ok(())
}

/// What else to tell.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetParams {
    /// `room`: how the live room is.
    expand: Option<String>,
}

/// The live room of a session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// Somebody is there, or was a moment ago.
    is_live: bool,
    provider: &'static str,
}

/// `GET /api/v1/telehealth/sessions/{id}`.
///
/// # Errors
/// `NOT_FOUND`, `MALFORMED`.
pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Params(params): Params<GetParams>,
    shape: Shape,
) -> Result<Response> {
    let is_expanded = match params.expand.as_deref() {
        None => false,
        Some("room") => true,
        Some(_) => return Err(Code::Malformed.with("expand can be room").into()),
    };
    let visit = find(&app, &actor, Permission::ReadVisit, &id).await?;
    let visit_id = visit.id;
    note_view(&app, &actor, visit_id).await?;
    let words = clinical::show(&app, &actor, &visit).await?;
    let mut view = view_with(&app, &actor, visit, words, shape).await?;
    if is_expanded {
        let room = RoomView { is_live: app.live.find(visit_id).is_some(), provider: "NATIVE" };
        view["room"] = serde_json::to_value(room).map_err(|_| Error::Inside("a room cannot be written".to_owned()))?;
    }
    shape.reply(StatusCode::OK, &view)
}

/// Which sessions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ListParams {
    /// `upcoming`: what is not over and begins within `window` minutes, or has begun.
    view: Option<String>,
    window: Option<u32>,
    from: Option<String>,
    to: Option<String>,
    /// Words of any vocabulary, comma-separated.
    status: Option<String>,
    cursor: Option<String>,
}

/// A page of sessions.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageView {
    sessions: Vec<VisitView>,
    next_cursor: Option<String>,
}

/// `GET /api/v1/telehealth/sessions`.
///
/// # Errors
/// `MALFORMED`; `INVALID` for an unknown state or window.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Params(params): Params<ListParams>,
    shape: Shape,
) -> Result<Response> {
    let unreadable = || Error::from(Code::Malformed.with("The query has a parameter that cannot be read."));
    let time = |text: &str| {
        let read = Timestamp::parse(text, &time::format_description::well_known::Rfc3339);
        read.map(|time| time.to_offset(time::UtcOffset::UTC)).map_err(|_| unreadable())
    };
    let mut status = Vec::new();
    for word in params.status.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
        let state = vocabulary::parse(word);
        status.push(state.ok_or_else(|| Error::from(Code::Invalid.with("status names no state of a visit")))?);
    }
    let mut filter = Filter {
        clinician: None,
        patient: None,
        from: params.from.as_deref().map(time).transpose()?,
        to: params.to.as_deref().map(time).transpose()?,
        status,
        after: params.cursor.as_deref().map(|text| list::parse_cursor(text).ok_or_else(unreadable)).transpose()?,
    };
    match params.view.as_deref() {
        None => {}
        Some("upcoming") => {
            let window = params.window.unwrap_or(list::UPCOMING_MINUTES);
            if !list::UPCOMING_RANGE.contains(&window) {
                return Err(Code::Invalid.with("window must be 5 to 44640 minutes").into());
            }
            filter.upcoming(app.now(), Duration::minutes(window.into()));
        }
        Some(_) => return Err(unreadable()),
    }
    let page = list::page(&app, &actor, filter).await?;
    let view = PageView { sessions: page.visits, next_cursor: page.next_cursor };
    let mut value = serde_json::to_value(view).map_err(|_| Error::Inside("a page cannot be written".to_owned()))?;
    for session in value["sessions"].as_array_mut().into_iter().flatten() {
        let status = session["status"].as_str().and_then(VisitStatus::parse);
        if let Some(status) = status {
            session["statusCanonical"] = status.as_str().into();
            session["status"] = shape.status(status).into();
        }
        session["id"] = session["visitId"].clone();
    }
    shape.reply(StatusCode::OK, &value)
}

/// How a session ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EndBody {
    /// Ours, or the words of the older clients: `Normal`, `Technical`.
    end_reason: Option<String>,
}

fn parse_reason(text: Option<&str>) -> Result<EndReason> {
    let Some(text) = text else { return Ok(EndReason::Normal) };
    let word = text.to_uppercase().replace([' ', '-'], "_");
    EndReason::parse(&word).ok_or_else(|| {
        Code::Invalid.with("endReason must be NORMAL, NO_SHOW, CANCELLED, TECHNICAL, TIMEOUT or ADMIN").into()
    })
}

/// `POST /api/v1/telehealth/sessions/{id}/end`.
///
/// # Errors
/// What [`command::end`] refuses; `INVALID` for an unknown reason.
pub async fn end(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<EndBody>,
) -> Result<Response> {
    let reason = parse_reason(body.end_reason.as_deref())?;
    let visit = find(&app, &actor, Permission::EndVisit, &id).await?;
    let ended = command::end(&app, &actor, visit.id, None, reason).await?;
    reply(&app, &actor, StatusCode::OK, ended, shape).await
}

/// Why a session is called off, and which version of it the caller saw.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CancelBody {
    reason: Option<CancelReason>,
    row_version: Seen,
}

/// `POST /api/v1/telehealth/sessions/{id}/cancel`.
///
/// # Errors
/// What [`command::cancel`] refuses.
pub async fn cancel(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<CancelBody>,
) -> Result<Response> {
    let visit = find(&app, &actor, Permission::CancelVisit, &id).await?;
    let ended = command::cancel(&app, &actor, visit.id, body.row_version, body.reason).await?;
    reply(&app, &actor, StatusCode::OK, ended, shape).await
}

/// Which version of the session the caller saw.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SeenBody {
    pub(crate) row_version: Seen,
}

/// `POST /api/v1/telehealth/sessions/{id}/no-show`.
///
/// # Errors
/// What [`command::mark_no_show`] refuses.
pub async fn no_show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<SeenBody>,
) -> Result<Response> {
    let visit = find(&app, &actor, Permission::MarkNoShow, &id).await?;
    let ended = command::mark_no_show(&app, &actor, visit.id, body.row_version).await?;
    reply(&app, &actor, StatusCode::OK, ended, shape).await
}

/// `POST /api/v1/telehealth/sessions/{id}/reopen`.
///
/// # Errors
/// What [`command::reopen`] refuses.
pub async fn reopen(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<SeenBody>,
) -> Result<Response> {
    let visit = find(&app, &actor, Permission::ReopenVisit, &id).await?;
    let reopened = command::reopen(&app, &actor, visit.id, body.row_version).await?;
    reply(&app, &actor, StatusCode::OK, reopened, shape).await
}

/// `POST /api/v1/telehealth/sessions/{id}/technical-issues`.
///
/// # Errors
/// What [`issue::report`] refuses.
pub async fn report_issue(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    Body(body): Body<issue::NewIssue>,
) -> Result<Response> {
    let visit = find(&app, &actor, Permission::ReportIssue, &id).await?;
    shape.reply(StatusCode::CREATED, &issue::report(&app, &actor, visit.id, body).await?)
}

/// A state to bring about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StatusBody {
    /// A word of any vocabulary.
    status: String,
    row_version: Seen,
}

/// `PATCH /api/v1/telehealth/sessions/{id}/status`: never a raw write. A state is brought about by the command that leads there, with
/// its guards, or not at all; `WAITING` is brought about by whoever comes to wait.
///
/// # Errors
/// `INVALID` for a word that names no state; what the command refuses; `INVALID_TRANSITION` for a state that no command leads to.
pub async fn set_status(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    Body(body): Body<StatusBody>,
) -> Result<Response> {
    let Some(to) = vocabulary::parse(&body.status) else {
        return Err(Code::Invalid.with("status names no state of a visit").into());
    };
    let visit = find(&app, &actor, Permission::EndVisit, &id).await?;
    let seen = body.row_version;
    if to == visit.status {
        return reply(&app, &actor, StatusCode::OK, visit, shape).await;
    }
    let moved = match to {
        VisitStatus::InProgress => command::start(&app, &actor, visit.id, seen).await?,
        VisitStatus::Completed => command::end(&app, &actor, visit.id, seen, EndReason::Normal).await?,
        VisitStatus::NoShow => command::mark_no_show(&app, &actor, visit.id, seen).await?,
        VisitStatus::Cancelled => command::cancel(&app, &actor, visit.id, seen, None).await?,
        VisitStatus::Technical => command::end(&app, &actor, visit.id, seen, EndReason::Technical).await?,
        VisitStatus::Waiting if visit.status == VisitStatus::Technical => {
            command::reopen(&app, &actor, visit.id, seen).await?
        }
        VisitStatus::Scheduled | VisitStatus::Waiting => {
            return Err(crate::visit::refuse_move(visit.status, to));
        }
    };
    reply(&app, &actor, StatusCode::OK, moved, shape).await
}
