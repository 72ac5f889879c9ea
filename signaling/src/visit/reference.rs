//! How an address names a visit: by its id, or by the appointment id that the host system gave it.

use uuid::Uuid;

use crate::auth::{Actor, Permission, StaffRole};
use crate::db::Tx;
use crate::error::Result;
use crate::ids::VisitId;
use crate::problem::Code;
use crate::visit::{Visit, store};

/// The visit that `text` names inside the actor's organisation, if the actor may do this to it.
///
/// # Errors
/// `FORBIDDEN` for the role; `NOT_FOUND` for what is unknown, foreign or out of reach; the database's own failures.
pub async fn get(tx: &mut Tx, actor: &Actor, permission: Permission, text: &str) -> Result<Visit> {
    actor.require(permission)?;
    let by_id = match Uuid::parse_str(text) {
        Ok(id) => store::find(tx, VisitId::from_uuid(id)).await?,
        Err(_) => None,
    };
    let visit = match by_id {
        Some(visit) => visit,
        None => store::find_by_appointment(tx, actor.org(), text).await?.ok_or(Code::NotFound)?,
    };
    let is_theirs = match actor {
        Actor::Staff(staff) if staff.role == StaffRole::Patient => staff.sub == visit.patient_id,
        _ => actor.may_touch(visit.id, &visit.clinician_id),
    };
    if !is_theirs {
        return Err(Code::NotFound.into());
    }
    Ok(visit)
}
