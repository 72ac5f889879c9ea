//! `POST /api/visits`, `GET /api/visits`, `GET /api/visits/:id`, `POST /api/visits/:id/end`, and the canonical `PATCH`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission};
use crate::body::{Body, Id, IfMatch, OptionalBody, Params, etag};
use crate::clinical;
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::notice::{self, http::ContactsBody};
use crate::problem::Code;
use crate::state::StateCode;
use crate::visit::command::{self, VisitPatch};
use crate::visit::issue::{self, NewIssue};
use crate::visit::reference::Name;
use crate::visit::store::{self, Filter};
use crate::visit::view::{self, VisitView};
use crate::visit::{CancelReason, Channel, EndReason, NewVisit, RecordingPolicy, Visit, VisitStatus, list, vocabulary};

/// `no-store`: every answer is about people.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// A visit to plan. `status`, `org` and the like are not fields: they are refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateBody {
    patient_id: String,
    clinician_id: String,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    scheduled_at: Timestamp,
    duration: i32,
    visit_type: Option<String>,
    channel: Option<Channel>,
    appointment_id: Option<String>,
    patient_name: Option<Redacted<String>>,
    clinician_name: Option<Redacted<String>>,
    recording_policy: Option<RecordingPolicy>,
    contacts: Option<ContactsBody>,
    chief_complaint: Option<Redacted<String>>,
    /// Where the patient will be, as far as it is known: the clinician's licence is looked for there.
    patient_state: Option<StateCode>,
}

impl CreateBody {
    fn into_visit(self, actor: &Actor) -> NewVisit {
        // A clinician who plans their own visit need not repeat what their token says.
        let own_name = match actor {
            Actor::Staff(staff) if staff.sub == self.clinician_id => staff.name.clone(),
            _ => None,
        };
        NewVisit {
            appointment: self.appointment_id,
            patient_name: self.patient_name.unwrap_or_else(|| Redacted::new("Patient".to_owned())),
            clinician_name: self
                .clinician_name
                .or(own_name)
                .unwrap_or_else(|| Redacted::new("Your clinician".to_owned())),
            patient_id: self.patient_id,
            clinician_id: self.clinician_id,
            visit_type: self.visit_type,
            channel: self.channel.unwrap_or(Channel::Both),
            scheduled_start: whole_micros(self.scheduled_at),
            duration_min: self.duration,
            recording_policy: self.recording_policy.unwrap_or(RecordingPolicy::OptIn),
            demo: false,
            chief_complaint: self.chief_complaint.filter(|text| !text.reveal().is_empty()),
            patient_state: self.patient_state,
        }
    }
}

/// Plans a visit. The same appointment again answers the same visit; with other people or another time it is refused.
///
/// # Errors
/// `FORBIDDEN`, `INVALID`, `DOUBLE_BOOKED`, `APPOINTMENT_TAKEN`.
pub async fn create(State(app): State<App>, Caller(actor): Caller, Body(body): Body<CreateBody>) -> Result<Response> {
    let mut body = body;
    // Refused before anything is written.
    let contacts = body.contacts.take().map(ContactsBody::into_contacts).transpose()?;
    let created = command::create(&app, &actor, body.into_visit(&actor)).await?;
    if let Some(contacts) = contacts.filter(|contacts| !contacts.is_empty()) {
        notice::command::put_contacts(&app, &actor, created.visit.id, &contacts).await?;
    }
    let status = if created.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, NO_STORE, Json(show(&app, &actor, created.visit).await?)).into_response())
}

/// A visit as the caller may see it.
async fn show(app: &App, actor: &Actor, visit: Visit) -> Result<VisitView> {
    let now = app.now();
    let views = db::scoped(&app.db, actor.org(), async |tx| view::of(tx, actor, vec![visit], now).await).await?;
    views.into_iter().next().ok_or_else(|| Error::Inside("a visit has no view".to_owned()))
}

/// What to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListParams {
    from: Option<String>,
    to: Option<String>,
    status: Option<String>,
    cursor: Option<String>,
    clinician_id: Option<String>,
    patient_id: Option<String>,
    view: Option<ListKind>,
    /// Minutes ahead that `view=upcoming` shows.
    window: Option<u32>,
}

/// A list with a name.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// What is not over and begins within the window.
    Upcoming,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListView {
    visits: Vec<VisitView>,
    next_cursor: Option<String>,
}

impl ListParams {
    /// The filter that the query asks for.
    ///
    /// # Errors
    /// `MALFORMED`.
    fn into_filter(self, now: Timestamp) -> Result<Filter> {
        let words = self.status.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty());
        let mut filter = Filter {
            clinician: self.clinician_id,
            patient: self.patient_id,
            from: self.from.as_deref().map(parse_time).transpose()?,
            to: self.to.as_deref().map(parse_time).transpose()?,
            status: words.map(|word| vocabulary::parse(word).ok_or_else(unreadable)).collect::<Result<_>>()?,
            after: self.cursor.as_deref().map(|text| list::parse_cursor(text).ok_or_else(unreadable)).transpose()?,
        };
        match (self.view, self.window) {
            (Some(ListKind::Upcoming), window) => {
                let minutes = window.unwrap_or(list::UPCOMING_MINUTES);
                if !list::UPCOMING_RANGE.contains(&minutes) {
                    return Err(Code::Invalid.with("window must be 5 to 44640 minutes").into());
                }
                filter.upcoming(now, time::Duration::minutes(minutes.into()));
            }
            (None, Some(_)) => return Err(unreadable()),
            (None, None) => {}
        }
        Ok(filter)
    }
}

/// Visits by start time, a page at a time; a clinician's own.
///
/// # Errors
/// `FORBIDDEN`, `MALFORMED`, `INVALID`.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Params(params): Params<ListParams>,
) -> Result<Response> {
    let page = list::page(&app, &actor, params.into_filter(app.now())?).await?;
    Ok((NO_STORE, Json(ListView { visits: page.visits, next_cursor: page.next_cursor })).into_response())
}

fn unreadable() -> Error {
    Code::Malformed.with("The query has a parameter that cannot be read.").into()
}

fn parse_time(text: &str) -> Result<Timestamp> {
    let time = Timestamp::parse(text, &time::format_description::well_known::Rfc3339).map_err(|_| unreadable())?;
    Ok(time.to_offset(time::UtcOffset::UTC))
}

/// One visit.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn get(State(app): State<App>, Caller(actor): Caller, Id(id): Id<VisitId>) -> Result<Response> {
    actor.require(Permission::ReadVisit)?;
    let now = app.now();
    let read = async |tx: &mut db::Tx| {
        let visit = store::get(tx, id).await?;
        actor.require_on(Permission::ReadVisit, visit.id, &visit.clinician_id)?;
        let view = view::of(tx, &actor, vec![visit.clone()], now).await?.pop();
        Ok::<_, Error>((view.ok_or_else(|| Error::Inside("a visit has no view".to_owned()))?, visit))
    };
    let (mut view, visit) = db::scoped(&app.db, actor.org(), read).await?;
    view.clinical = clinical::show(&app, &actor, &visit).await?;
    if app.views.is_new(&actor, Some(id), now) {
        db::audited(&app.db, actor.org(), &actor, async |_| {
            Ok::<_, Error>(((), vec![Draft::new(EventType::VisitViewed).visit(id)]))
        })
        .await?;
    }
    Ok((NO_STORE, Json(view)).into_response())
}

/// Why to end.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EndBody {
    end_reason: Option<EndReason>,
    cancel_reason: Option<CancelReason>,
    /// For `TECHNICAL`: what went wrong, unless somebody reported it already.
    issue: Option<NewIssue>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndView {
    status: VisitStatus,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    ended_at: Option<Timestamp>,
    actual_duration: Option<i64>,
}

/// Ends a visit: its links and sessions end with it, and so does its live room.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `INVALID_TRANSITION`, `VERSION_CONFLICT`, `ISSUE_MISSING`.
pub async fn end(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<VisitId>,
    IfMatch(seen): IfMatch,
    OptionalBody(body): OptionalBody<EndBody>,
) -> Result<Response> {
    actor.require(Permission::EndVisit)?;
    let reason = body.end_reason.unwrap_or_default();
    if body.cancel_reason.is_some() && reason != EndReason::Cancelled {
        return Err(Code::Invalid.with("cancelReason goes with CANCELLED alone").into());
    }
    if let Some(new) = body.issue {
        issue::report(&app, &actor, id, new).await?;
    }
    let visit = match reason {
        EndReason::Cancelled => command::cancel(&app, &actor, id, seen, body.cancel_reason).await?,
        EndReason::NoShow => command::mark_no_show(&app, &actor, id, seen).await?,
        EndReason::Normal | EndReason::Technical | EndReason::Timeout | EndReason::Admin => {
            command::end(&app, &actor, id, seen, reason).await?
        }
    };
    let view = EndView { status: visit.status, ended_at: visit.ended_at, actual_duration: visit.actual_minutes() };
    Ok((NO_STORE, etag_of(&visit), Json(view)).into_response())
}

/// What to change of a visit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PatchBody {
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    scheduled_at: Option<Timestamp>,
    duration: Option<i32>,
    visit_type: Option<String>,
    channel: Option<Channel>,
    recording_policy: Option<RecordingPolicy>,
    row_version: Option<i32>,
}

/// Changes details of a visit, or its time: `PATCH /api/v1/telehealth/sessions/:id`. The version that the caller saw comes as
/// `If-Match` or as `rowVersion`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`, `VERSION_CONFLICT`, `VISIT_FINAL`, `INVALID_TRANSITION`, `DOUBLE_BOOKED`.
pub async fn patch(
    State(app): State<App>,
    Caller(actor): Caller,
    Name(id): Name,
    IfMatch(seen): IfMatch,
    Body(body): Body<PatchBody>,
) -> Result<Response> {
    let patch = VisitPatch {
        scheduled_start: body.scheduled_at.map(whole_micros),
        duration_min: body.duration,
        visit_type: body.visit_type,
        channel: body.channel,
        recording_policy: body.recording_policy,
    };
    let visit = command::update(&app, &actor, id, seen.or(body.row_version), patch).await?;
    let tag = etag_of(&visit);
    Ok((NO_STORE, tag, Json(show(&app, &actor, visit).await?)).into_response())
}

fn etag_of(visit: &Visit) -> [(header::HeaderName, String); 1] {
    [etag(visit.row_version)]
}

/// In UTC and in whole microseconds: what the database keeps.
fn whole_micros(time: Timestamp) -> Timestamp {
    time.replace_nanosecond(time.microsecond() * 1000).unwrap_or(time).to_offset(time::UtcOffset::UTC)
}
