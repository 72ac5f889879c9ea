//! `POST /api/aws-chime-video`: the first application's one endpoint, whose `action` says what is wanted (rows 11 to 13 of the visit model).
//! Thin: a meeting there is a visit's room here, and its id is the visit's.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::serde::rfc3339;
use wire::Redacted;

use crate::app::App;
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission, StaffRole};
use crate::body::Body;
use crate::chime::visit_room;
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::join::command::{self as links, For};
use crate::participant::Role;
use crate::problem::Code;
use crate::telehealth::{join as seats, session};
use crate::visit::command;
use crate::visit::{Channel, EndReason, NewVisit, RecordingPolicy, Visit, VisitStatus};

/// How long a visit is planned for that has no time of its own.
const DEFAULT_MINUTES: i32 = 60;

/// The first application numbers its appointments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Appointment {
    /// As it sends them.
    Number(u64),
    /// As others may.
    Text(String),
}

impl Appointment {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// What is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ActionBody {
    /// The room of an appointment's visit; the visit is planned when there is none.
    #[serde(rename_all = "camelCase")]
    CreateMeeting {
        /// Whose room.
        appointment_id: Appointment,
        /// What the application calls the meeting; ours has the visit's id.
        external_meeting_id: Option<String>,
        /// For a new visit: when it begins; now, if nobody says.
        #[serde(with = "rfc3339::option", default)]
        #[schemars(with = "Option<crate::schema::Time>")]
        scheduled_at: Option<Timestamp>,
        /// For a new visit: minutes.
        duration: Option<i32>,
        /// For a new visit: the patient's id.
        patient_id: Option<String>,
        /// For a new visit: the clinician's id; the caller's own, if they are one.
        clinician_id: Option<String>,
    },
    /// The caller's own place in that room.
    #[serde(rename_all = "camelCase")]
    CreateAttendee {
        /// The visit.
        meeting_id: String,
        /// A name is not an identity: it is read and not used.
        attendee_name: Option<Redacted<String>>,
    },
    /// Ends the visit.
    #[serde(rename_all = "camelCase")]
    DeleteMeeting {
        /// The visit.
        meeting_id: String,
    },
}

/// `success`, and what was made.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct ActionView {
    success: bool,
    /// Chime's `Meeting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Object>")]
    meeting: Option<Value>,
    /// The patient's way in: a page of ours, which holds a one-time code.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// Chime's `Attendee`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Object>")]
    attendee: Option<Value>,
}

/// `POST /api/aws-chime-video`.
///
/// # Errors
/// `MALFORMED` for an unknown action; what the commands refuse.
pub async fn act(State(app): State<App>, Caller(actor): Caller, Body(body): Body<ActionBody>) -> Result<Response> {
    let view = match body {
        ActionBody::CreateMeeting {
            appointment_id,
            external_meeting_id: _,
            scheduled_at,
            duration,
            patient_id,
            clinician_id,
        } => {
            let plan = Plan { scheduled_at, duration, patient_id, clinician_id };
            create_meeting(&app, &actor, appointment_id.into_text(), plan).await?
        }
        ActionBody::CreateAttendee { meeting_id, attendee_name: _ } => {
            let visit = session::find(&app, &actor, Permission::JoinVisit, &meeting_id).await?;
            let seat = seats::take(&app, &actor, &visit, None).await?;
            ActionView { success: true, attendee: Some(seat.attendee), ..ActionView::default() }
        }
        ActionBody::DeleteMeeting { meeting_id } => {
            delete_meeting(&app, &actor, &meeting_id).await?;
            ActionView { success: true, ..ActionView::default() }
        }
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// What a caller says of a visit that has to be planned.
struct Plan {
    scheduled_at: Option<Timestamp>,
    duration: Option<i32>,
    patient_id: Option<String>,
    clinician_id: Option<String>,
}

async fn create_meeting(app: &App, actor: &Actor, appointment: String, plan: Plan) -> Result<ActionView> {
    actor.require(Permission::CreateVisit)?;
    let org = actor.org();
    let found =
        db::scoped(&app.db, org, async |tx| crate::visit::store::find_by_appointment(tx, org, &appointment).await)
            .await?;
    let visit = match found {
        Some(visit) => {
            actor.require_for(Permission::CreateVisit, &visit)?;
            visit
        }
        None => plan_visit(app, actor, appointment, plan).await?,
    };
    if visit.status.is_over() {
        return Err(Code::SessionEnded.into());
    }
    let mut meeting = visit_room::meeting(app, actor, &visit).await?;
    // The visit is what the application names from here on.
    meeting["MeetingId"] = visit.id.to_string().into();
    meeting["ExternalMeetingId"] = visit.appointment.clone().unwrap_or_else(|| visit.id.to_string()).into();
    let link = patient_link(app, actor, &visit).await?;
    Ok(ActionView { success: true, meeting: Some(meeting), link: Some(link), attendee: None })
}

async fn plan_visit(app: &App, actor: &Actor, appointment: String, plan: Plan) -> Result<Visit> {
    let own = match actor {
        Actor::Staff(staff) if staff.role == StaffRole::Clinician => Some(staff),
        _ => None,
    };
    let clinician_id = plan
        .clinician_id
        .or_else(|| own.map(|staff| staff.sub.clone()))
        .ok_or_else(|| Error::from(Code::Invalid.with("A new visit needs its clinicianId.")))?;
    let new = NewVisit {
        patient_id: plan.patient_id.unwrap_or_else(|| format!("appointment-{appointment}")),
        appointment: Some(appointment),
        patient_name: Redacted::new("Patient".to_owned()),
        clinician_id,
        clinician_name: own
            .and_then(|staff| staff.name.clone())
            .unwrap_or_else(|| Redacted::new("Your clinician".to_owned())),
        visit_type: None,
        chief_complaint: None,
        patient_state: None,
        channel: Channel::Both,
        scheduled_start: plan.scheduled_at.unwrap_or_else(|| app.now()).to_offset(time::UtcOffset::UTC),
        duration_min: plan.duration.unwrap_or(DEFAULT_MINUTES),
        // Off by default, as that application has it.
        recording_policy: RecordingPolicy::Never,
        demo: false,
    };
    Ok(command::create(app, actor, new).await?.visit)
}

/// A fresh link of the patient's, which withdraws the one before.
async fn patient_link(app: &App, actor: &Actor, visit: &Visit) -> Result<String> {
    let ttl = links::lifetime(None)?;
    let issued = links::issue(app, actor, visit.id, &For::Roles(vec![Role::Patient]), ttl).await?;
    let link = issued.first().ok_or_else(|| Error::from(Code::NotFound))?;
    Ok(format!("/j/{}", link.minted.code.reveal()))
}

/// Ends a visit that runs, and calls off one that does not. Asked again it has nothing to do.
async fn delete_meeting(app: &App, actor: &Actor, meeting: &str) -> Result<()> {
    actor.require(Permission::CreateVisit)?;
    let visit = session::find(app, actor, Permission::ReadVisit, meeting).await?;
    match visit.status {
        VisitStatus::InProgress => drop(command::end(app, actor, visit.id, None, EndReason::Normal).await?),
        VisitStatus::Scheduled | VisitStatus::Waiting => {
            drop(command::cancel(app, actor, visit.id, None, None).await?);
        }
        VisitStatus::Completed | VisitStatus::NoShow | VisitStatus::Cancelled | VisitStatus::Technical => {}
    }
    Ok(())
}
