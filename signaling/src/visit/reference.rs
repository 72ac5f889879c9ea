//! How an address names a visit: by its id, or by the appointment id that the host system gave it.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::app::App;
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission};
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::problem::Code;
use crate::visit::{Visit, store};

/// No appointment id is longer, in characters; the column says so too.
const MAX: usize = 200;

/// The visit that `text` names in an organisation: by its own id, or else by its appointment's.
///
/// # Errors
/// The database's own failures.
pub async fn find(tx: &mut Tx, org: OrgId, text: &str) -> Result<Option<Visit>> {
    if let Ok(id) = text.parse::<Uuid>()
        && let Some(visit) = store::find(tx, VisitId::from_uuid(id)).await?
    {
        return Ok(Some(visit));
    }
    if text.chars().count() > MAX || text.chars().any(char::is_control) {
        return Ok(None);
    }
    store::find_by_appointment(tx, org, text).await
}

/// The same, if the actor may do this to it.
///
/// # Errors
/// `FORBIDDEN` for the role; `NOT_FOUND` for what is unknown, foreign or out of reach; the database's own failures.
pub async fn get(tx: &mut Tx, actor: &Actor, permission: Permission, text: &str) -> Result<Visit> {
    actor.require(permission)?;
    let visit = find(tx, actor.org(), text).await?.ok_or(Error::from(Code::NotFound))?;
    actor.require_for(permission, &visit)?;
    Ok(visit)
}

/// The visit that the `{id}` of a path names in the caller's own organisation. Whether it is within reach the command says.
#[derive(Clone, Copy, Debug)]
pub struct Name(pub VisitId);

impl FromRequestParts<App> for Name {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let Caller(actor) = Caller::from_request_parts(parts, app).await?;
        let Ok(Path(path)) = Path::<HashMap<String, String>>::from_request_parts(parts, app).await else {
            return Err(Code::NotFound.into());
        };
        let name = path.get("id").ok_or(Error::from(Code::NotFound))?;
        let visit = db::scoped(&app.db, actor.org(), async |tx| find(tx, actor.org(), name).await).await?;
        visit.map(|visit| Self(visit.id)).ok_or_else(|| Code::NotFound.into())
    }
}
