//! `POST /api/visits`, `GET /api/visits`, `GET /api/visits/:id`, `POST /api/visits/:id/end`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission, StaffRole};
use crate::body::{Body, Id, OptionalBody, Params};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::join;
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::visit::store::{self, Filter, PAGE};
use crate::visit::view::{self, VisitView};
use crate::visit::{Channel, EndReason, NewVisit, RecordingPolicy, Visit, VisitStatus};

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
}

impl CreateBody {
    fn into_visit(self, actor: &Actor) -> NewVisit {
        // A clinician who plans their own visit need not repeat what their token says.
        let own_name = match actor {
            Actor::Staff(staff) if staff.sub == self.clinician_id => staff.name.clone(),
            _ => None,
        };
        let micros =
            self.scheduled_at.replace_nanosecond(self.scheduled_at.microsecond() * 1000).unwrap_or(self.scheduled_at);
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
            scheduled_start: micros.to_offset(time::UtcOffset::UTC),
            duration_min: self.duration,
            recording_policy: self.recording_policy.unwrap_or(RecordingPolicy::OptIn),
        }
    }
}

/// Plans a visit. The same appointment again answers the same visit; with other people or another time it is refused.
///
/// # Errors
/// `FORBIDDEN`, `INVALID`, `DOUBLE_BOOKED`.
pub async fn create(State(app): State<App>, Caller(actor): Caller, Body(body): Body<CreateBody>) -> Result<Response> {
    actor.require(Permission::CreateVisit)?;
    let new = body.into_visit(&actor);
    new.validate()?;
    // A clinician plans visits of their own.
    if matches!(&actor, Actor::Staff(staff) if staff.role == StaffRole::Clinician && staff.sub != new.clinician_id) {
        return Err(Code::Forbidden.into());
    }
    let now = app.now();
    if let Some(appointment) = &new.appointment {
        let there = db::scoped(&app.db, actor.org(), async |tx| {
            let Some(visit) = store::find_by_appointment(tx, actor.org(), appointment).await? else { return Ok(None) };
            if !is_same(&visit, &new) {
                return Err(Error::from(Code::DoubleBooked));
            }
            Ok(view::of(tx, &actor, vec![visit], now).await?.pop())
        })
        .await?;
        if let Some(view) = there {
            return Ok((StatusCode::OK, NO_STORE, Json(view)).into_response());
        }
    }
    let view = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let visit = store::insert(tx, actor.org(), VisitId::random(), &new, &actor.id(), now).await?;
        for (role, identity, name) in [
            (Role::Patient, &new.patient_id, &new.patient_name),
            (Role::Clinician, &new.clinician_id, &new.clinician_name),
        ] {
            let person = Participant {
                id: ParticipantId::random(),
                visit: visit.id,
                role,
                identity: identity.clone(),
                name: name.clone(),
            };
            participant::store::insert(tx, actor.org(), &person).await?;
        }
        let event = Draft::new(EventType::VisitCreated).visit(visit.id);
        let view = view::of(tx, &actor, vec![visit], now).await?.pop();
        Ok::<_, Error>((view.ok_or_else(|| Error::Inside("a new visit has no view".to_owned()))?, vec![event]))
    })
    .await?;
    Ok((StatusCode::CREATED, NO_STORE, Json(view)).into_response())
}

fn is_same(visit: &Visit, new: &NewVisit) -> bool {
    visit.patient_id == new.patient_id
        && visit.clinician_id == new.clinician_id
        && visit.scheduled_start == new.scheduled_start
        && visit.duration_min == new.duration_min
}

/// What to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    from: Option<String>,
    to: Option<String>,
    status: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListView {
    visits: Vec<VisitView>,
    next_cursor: Option<String>,
}

/// Visits by start time, a page at a time; a clinician's own.
///
/// # Errors
/// `FORBIDDEN`, `MALFORMED`.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Params(params): Params<ListParams>,
) -> Result<Response> {
    actor.require(Permission::ListVisits)?;
    let clinician = match &actor {
        Actor::Staff(staff) if staff.role == StaffRole::Clinician => Some(staff.sub.clone()),
        _ => None,
    };
    let status = params.status.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty());
    let filter = Filter {
        clinician,
        from: params.from.as_deref().map(parse_time).transpose()?,
        to: params.to.as_deref().map(parse_time).transpose()?,
        status: status.map(|word| VisitStatus::parse(word).ok_or_else(unreadable)).collect::<Result<_>>()?,
        after: params.cursor.as_deref().map(|text| parse_cursor(text).ok_or_else(unreadable)).transpose()?,
    };
    let now = app.now();
    let org = actor.org();
    let read = async |tx: &mut db::Tx| {
        let mut visits = store::list(tx, org, &filter).await?;
        let more = visits.len() > PAGE;
        visits.truncate(PAGE);
        let next_cursor = visits.last().filter(|_| more).map(cursor);
        Ok::<_, Error>(ListView { visits: view::of(tx, &actor, visits, now).await?, next_cursor })
    };
    let answer = if app.views.is_new(&actor, None, now) {
        db::audited(&app.db, org, &actor, async |tx| {
            let answer = read(tx).await?;
            let count = i64::try_from(answer.visits.len()).unwrap_or(i64::MAX);
            Ok::<_, Error>((answer, vec![Draft::new(EventType::VisitListed).fact("count", Fact::Number(count))]))
        })
        .await?
    } else {
        db::scoped(&app.db, org, read).await?
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

fn unreadable() -> Error {
    Code::Malformed.with("The query has a parameter that cannot be read.").into()
}

fn parse_time(text: &str) -> Result<Timestamp> {
    let time = Timestamp::parse(text, &time::format_description::well_known::Rfc3339).map_err(|_| unreadable())?;
    Ok(time.to_offset(time::UtcOffset::UTC))
}

/// Where a page ended: its last visit's start and id.
fn cursor(visit: &Visit) -> String {
    let mut bytes = [0; 24];
    let (head, tail) = bytes.split_at_mut(8);
    // A start time that PostgreSQL can hold fits 64 bits of microseconds.
    let micros = i64::try_from(visit.scheduled_start.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX);
    head.copy_from_slice(&micros.to_be_bytes());
    tail.copy_from_slice(visit.id.as_uuid().as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parse_cursor(text: &str) -> Option<(Timestamp, Uuid)> {
    let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (micros, id) = bytes.split_first_chunk::<8>()?;
    let time = Timestamp::from_unix_timestamp_nanos(i128::from(i64::from_be_bytes(*micros)) * 1000).ok()?;
    Some((time, Uuid::from_slice(id).ok()?))
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
        let view = view::of(tx, &actor, vec![visit], now).await?.pop();
        view.ok_or_else(|| Error::Inside("a visit has no view".to_owned()))
    };
    let view = db::scoped(&app.db, actor.org(), read).await?;
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
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `INVALID_TRANSITION`.
pub async fn end(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<VisitId>,
    OptionalBody(body): OptionalBody<EndBody>,
) -> Result<Response> {
    actor.require(Permission::EndVisit)?;
    let reason = body.end_reason.unwrap_or_default();
    let now = app.now();
    let visit = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let visit = store::get(tx, id).await?;
        actor.require_on(Permission::EndVisit, visit.id, &visit.clinician_id)?;
        let by = actor.id();
        let moved = store::move_to(tx, id, reason.status(), Some((reason, &by)), now).await?;
        if matches!(reason, EndReason::NoShow | EndReason::Cancelled) && store::was_patient_admitted(tx, id).await? {
            return Err(super::refuse_move(moved.from, reason.status()));
        }
        let mut events = moved.events();
        for token in join::store::revoke_all_of_visit(tx, id, "VISIT_ENDED", now).await? {
            events.push(
                Draft::new(EventType::TokenRevoked).visit(id).subject("token", token.as_uuid()).because("VISIT_ENDED"),
            );
        }
        for session in join::session::revoke_all_of_visit(tx, id, "VISIT_ENDED", now).await? {
            events.push(
                Draft::new(EventType::SessionRevoked)
                    .visit(id)
                    .subject("session", session.as_uuid())
                    .because("VISIT_ENDED"),
            );
        }
        store::close_waiting(tx, id, now).await?;
        Ok::<_, Error>((moved.visit, events))
    })
    .await?;
    if let Some(room) = app.live.find(id) {
        room.end(Some(actor)).await;
    }
    let view = EndView { status: visit.status, ended_at: visit.ended_at, actual_duration: visit.actual_minutes() };
    Ok((NO_STORE, Json(view)).into_response())
}
