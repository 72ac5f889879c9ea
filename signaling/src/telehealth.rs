//! The canonical API, `/api/v1/telehealth`, in which applications of the second, third and fourth face find their own words: bodies are
//! read as they send them, answers are supersets of what they read. It translates; every guard, move and audit row is in the slices'
//! command functions.

pub mod door;
pub mod join;
pub mod provider;
pub mod recording;
pub(crate) mod routes;
pub mod screen_share;
pub mod session;
pub mod shape;

use uuid::Uuid;

use crate::db::Tx;
use crate::error::Result;
use crate::ids::{OrgId, VisitId};
use crate::problem::Code;
use crate::visit::{self, Visit};

/// The visit that a path names: by its own id, else by its appointment's.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub(crate) async fn resolve(tx: &mut Tx, org: OrgId, text: &str) -> Result<Visit> {
    if let Ok(id) = text.parse::<Uuid>()
        && let Some(visit) = visit::store::find(tx, VisitId::from_uuid(id)).await?
    {
        return Ok(visit);
    }
    // Longer ones are nobody's appointment; the column says so too.
    if text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err(Code::NotFound.into());
    }
    visit::store::find_by_appointment(tx, org, text).await?.ok_or_else(|| Code::NotFound.into())
}
