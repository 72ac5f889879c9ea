//! Coming into a session from an application whose pages use the Chime client: rows 6 and 17. The answer holds the meeting that is the
//! visit's room and the caller's own place in it. What the caller may do comes from their credential alone.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission};
use crate::body::OptionalBody;
use crate::chime::visit_room::{self, Seat};
use crate::db;
use crate::drain;
use crate::error::{Error, Result};
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::superset::Shape;
use crate::telehealth::session;
use crate::visit::Visit;

/// What an older client says of itself. It must be what its credential says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct JoinBody {
    /// `clinician` or `client`.
    user_role: Option<String>,
}

/// A seat in the room, in Chime's own shapes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinView {
    /// Chime's `Meeting`.
    #[schemars(with = "crate::schema::Object")]
    pub(crate) meeting: Value,
    /// Chime's `Attendee`, with its join token.
    #[schemars(with = "crate::schema::Object")]
    pub(crate) attendee: Value,
    /// The session, as `GET` shows it.
    #[schemars(with = "session::SessionView")]
    pub(crate) session: Value,
    /// The visit's id.
    pub(crate) session_id: crate::ids::VisitId,
}

/// `POST /api/v1/telehealth/sessions/{id}/join` and `POST /api/visits/{id}/start-authenticated`.
///
/// # Errors
/// `NOT_FOUND`; `SESSION_ENDED`; `ROLE_MISMATCH`; `FORBIDDEN` for somebody without a place in the visit.
pub async fn join(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<JoinBody>,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::JoinVisit, &id).await?;
    let seat = take(&app, &actor, &visit, body.user_role.as_deref()).await?;
    let session_id = visit.id;
    let session = session::view_of(&app, &actor, visit, shape).await?;
    shape.reply(StatusCode::OK, &JoinView { meeting: seat.meeting, attendee: seat.attendee, session, session_id })
}

/// The caller's own place in a visit's room.
///
/// # Errors
/// `SESSION_ENDED`; `ROLE_MISMATCH` when `named` is another role than the place has; `FORBIDDEN`; `DRAINING`.
pub(crate) async fn take(app: &App, actor: &Actor, visit: &Visit, named: Option<&str>) -> Result<Seat> {
    if visit.status.is_over() {
        return Err(Code::SessionEnded.problem().member("visitStatus", visit.status.as_str()).into());
    }
    if app.live.is_draining() && app.live.find(visit.id).is_none() {
        return Err(drain::come_back().into());
    }
    let person = place_of(app, actor, visit).await?;
    check_role(named, person.role)?;
    visit_room::seat(app, actor, visit, &person).await
}

/// The caller's own place in the visit.
async fn place_of(app: &App, actor: &Actor, visit: &Visit) -> Result<Participant> {
    let found = db::scoped(&app.db, actor.org(), async |tx| {
        let people = participant::store::of_visits(tx, &[visit.id.as_uuid()]).await?;
        Ok::<_, Error>(people.into_iter().find(|person| is_own(actor, person)))
    })
    .await?;
    found.ok_or_else(|| Code::Forbidden.with("You have no place in this visit.").into())
}

fn is_own(actor: &Actor, person: &Participant) -> bool {
    match actor {
        Actor::Attendee(attendee) => person.id == attendee.participant,
        Actor::Staff(staff) => {
            let role = if staff.role == crate::auth::StaffRole::Patient { Role::Patient } else { Role::Clinician };
            person.role == role && person.identity == staff.sub
        }
        Actor::Service(_) | Actor::System { .. } | Actor::Anonymous { .. } => false,
    }
}

/// A role that a client names is compared and never taken.
pub(crate) fn check_role(named: Option<&str>, role: Role) -> Result<()> {
    let fits = match named {
        None => true,
        Some(word) => {
            word.eq_ignore_ascii_case(role.as_word()) || (role == Role::Patient && word.eq_ignore_ascii_case("client"))
        }
    };
    if fits { Ok(()) } else { Err(Code::RoleMismatch.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_role_is_only_compared() {
        assert!(check_role(None, Role::Patient).is_ok());
        assert!(check_role(Some("client"), Role::Patient).is_ok());
        assert!(check_role(Some("Patient"), Role::Patient).is_ok());
        assert!(check_role(Some("clinician"), Role::Clinician).is_ok());
        assert!(check_role(Some("clinician"), Role::Patient).is_err());
        assert!(check_role(Some("client"), Role::Clinician).is_err());
        assert!(check_role(Some(""), Role::Guest).is_err());
    }
}
