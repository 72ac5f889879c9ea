//! `POST /api/v1/telehealth/sessions/:id/participants`: people beside the patient and the clinician.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission};
use crate::body::Body;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::participant::{Participant, Role, store};
use crate::problem::Code;
use crate::visit::check_text;
use crate::visit::command::lock_own;
use crate::visit::reference::Name;

/// The most people of a visit: as many as its room has seats.
const MOST: usize = 32;

/// Whom to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AddBody {
    role: ExtraRole,
    /// Their id in the host system.
    identity_ref: String,
    /// As people read it on the screen.
    #[schemars(with = "String")]
    display_name: Redacted<String>,
}

/// The roles that are added to a visit; its patient and its clinician belong to it from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "plain words")]
pub enum ExtraRole {
    Guest,
    Interpreter,
    Caregiver,
    Supervisor,
    Observer,
}

impl ExtraRole {
    /// As the participant has it.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Guest => Role::Guest,
            Self::Interpreter => Role::Interpreter,
            Self::Caregiver => Role::Caregiver,
            Self::Supervisor => Role::Supervisor,
            Self::Observer => Role::Observer,
        }
    }
}

/// Somebody of a visit.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParticipantView {
    participant_id: ParticipantId,
    visit_id: VisitId,
    role: Role,
    identity_ref: String,
    display_name: String,
}

/// Adds somebody to a visit. The same person in the same role again answers who is there.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`, `VISIT_FINAL`.
pub async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Name(id): Name,
    Body(body): Body<AddBody>,
) -> Result<Response> {
    let (person, is_new) = add_to(&app, &actor, id, body).await?;
    let view = ParticipantView {
        participant_id: person.id,
        visit_id: person.visit,
        role: person.role,
        identity_ref: person.identity,
        display_name: person.name.reveal().clone(),
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

async fn add_to(app: &App, actor: &Actor, id: VisitId, body: AddBody) -> Result<(Participant, bool)> {
    actor.require(Permission::CreateVisit)?;
    check_text("identityRef", &body.identity_ref, 200)?;
    check_text("displayName", body.display_name.reveal(), 100)?;
    let (org, role) = (actor.org(), body.role.role());
    let added = db::audited(&app.db, org, actor, async |tx| {
        let visit = lock_own(tx, actor, Permission::CreateVisit, id, None).await?;
        if visit.status.is_over() {
            return Err(Adding::Failed(Code::VisitFinal.into()));
        }
        if let Some(person) = store::find_by_identity(tx, id, role, &body.identity_ref).await? {
            return Err(Adding::IsThere(Box::new(person)));
        }
        if store::of_visits(tx, &[id.as_uuid()]).await?.len() >= MOST {
            return Err(Adding::Failed(Code::Invalid.with("A visit has 32 people at most.").into()));
        }
        let person = Participant {
            id: ParticipantId::random(),
            visit: id,
            role,
            identity: body.identity_ref,
            name: body.display_name,
        };
        store::insert(tx, org, &person).await?;
        let event = Draft::new(EventType::ParticipantAdded).visit(id).subject("participant", person.id);
        Ok((person, vec![event.fact("role", Fact::Word(role.as_str()))]))
    })
    .await;
    match added {
        Ok(person) => Ok((person, true)),
        Err(Adding::IsThere(person)) => Ok((*person, false)),
        Err(Adding::Failed(error)) => Err(error),
    }
}

/// Why nobody was added.
enum Adding {
    IsThere(Box<Participant>),
    Failed(Error),
}

impl From<Error> for Adding {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
