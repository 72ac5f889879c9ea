//! A fresh link for one person of a visit, in the place of whatever unspent one they had.

use std::time::Duration;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::join::{self, Minted, store};
use crate::participant::Participant;
use crate::problem::Code;
use crate::visit::Visit;

/// Mints the link and writes its token. Gives it with its audit events.
///
/// # Errors
/// `VISIT_FINAL`; the database's own failures.
pub(crate) async fn issue(
    tx: &mut Tx,
    (app, actor): (&App, &Actor),
    (visit, person): (&Visit, &Participant),
    ttl: Duration,
    now: Timestamp,
) -> Result<(Minted, Vec<Draft>)> {
    if visit.status.is_over() {
        return Err(Code::VisitFinal.into());
    }
    let minted = join::mint(&app.keys, visit, person, ttl, app.config.join_opens_before, now)?;
    let code_hash = app.keys.lookup_hash(minted.code.reveal());
    let about = |event: EventType, token: crate::ids::TokenId| {
        Draft::new(event).visit(visit.id).subject("token", token.as_uuid())
    };
    let replaced = store::replace(tx, visit.org, person, &minted, code_hash, &actor.id(), now).await?;
    let mut events: Vec<Draft> =
        replaced.into_iter().map(|old| about(EventType::TokenRevoked, old).because("REPLACED")).collect();
    events.push(about(EventType::TokenIssued, minted.id));
    Ok((minted, events))
}
