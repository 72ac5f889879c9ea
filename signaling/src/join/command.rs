//! What staff and participants do with links: mint them, send them anew, move to another device. The faces translate to and from these
//! functions, and decide nothing.

use std::time::Duration;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::{Actor, Attendee, Permission};
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::join::{self, DEFAULT_TTL_MINUTES, Minted, Purpose, TTL_MINUTES, store};
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::visit::{self, Visit};

/// How long a link to another device works.
const HANDOVER: Duration = Duration::from_secs(2 * 60);

/// A link, and whose it is.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Whom it lets in.
    pub person: Participant,
    /// The link.
    pub minted: Minted,
}

/// For whom links are minted.
#[derive(Clone, Debug)]
pub enum For {
    /// Everybody in these roles.
    Roles(Vec<Role>),
    /// One person.
    Person(ParticipantId),
}

/// Reads a lifetime in minutes; the usual one when nothing was said.
///
/// # Errors
/// `INVALID`.
pub fn lifetime(minutes: Option<u8>) -> Result<Duration> {
    let minutes = minutes.unwrap_or(DEFAULT_TTL_MINUTES);
    if !TTL_MINUTES.contains(&minutes) {
        return Err(Code::Invalid.with("ttlMinutes must be 20 to 30").into());
    }
    Ok(Duration::from_secs(u64::from(minutes) * 60))
}

/// Mints a link for each of them and withdraws their unspent ones (rows 2 and 34).
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`.
pub async fn issue(app: &App, actor: &Actor, id: VisitId, whom: &For, ttl: Duration) -> Result<Vec<Issued>> {
    actor.require(Permission::IssueLinks)?;
    let now = app.now();
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::IssueLinks, visit.id, &visit.clinician_id)?;
        if visit.status.is_over() {
            return Err(Code::VisitFinal.into());
        }
        let people = participant::store::of_visits(tx, &[id.as_uuid()]).await?;
        let chosen = people.into_iter().filter(|person| match whom {
            For::Roles(roles) => roles.contains(&person.role),
            For::Person(one) => person.id == *one,
        });
        let (mut issued, mut events) = (Vec::new(), Vec::new());
        for person in chosen {
            let minted = join::mint(&app.keys, &visit, &person, ttl, app.config.join_opens_before, now)?;
            events.extend(keep(tx, &visit, &person, &minted, &actor.id(), now).await?);
            issued.push(Issued { person, minted });
        }
        if issued.is_empty() {
            return Err(Code::NotFound.into());
        }
        Ok::<_, Error>((issued, events))
    })
    .await
}

/// A link of two minutes for the same person on another device. The device that asks goes on until that one is in.
///
/// # Errors
/// `VISIT_FINAL`.
pub async fn hand_over(app: &App, attendee: &Attendee) -> Result<Issued> {
    let (now, id) = (app.now(), attendee.visit);
    db::audited(&app.db, attendee.org, &Actor::Attendee(attendee.clone()), async |tx| {
        let visit = visit::store::get(tx, id).await?;
        if visit.status.is_over() {
            return Err(Code::VisitFinal.into());
        }
        let people = participant::store::of_visits(tx, &[id.as_uuid()]).await?;
        let person = people.into_iter().find(|person| person.id == attendee.participant);
        let person = person.ok_or_else(|| Error::from(Code::NotFound))?;
        // Whoever is in need not wait for the visit's time.
        let minted = join::mint_as(Purpose::Handover, &app.keys, &person, (now, now + HANDOVER), now, visit.org);
        let events = keep(tx, &visit, &person, &minted, &attendee.participant.to_string(), now).await?;
        Ok::<_, Error>((Issued { person, minted }, events))
    })
    .await
}

/// Writes a link in the place of the person's unspent ones, and says what happened.
async fn keep(
    tx: &mut Tx,
    visit: &Visit,
    person: &Participant,
    minted: &Minted,
    by: &str,
    now: Timestamp,
) -> Result<Vec<Draft>> {
    let about = |event: EventType, id: uuid::Uuid| Draft::new(event).visit(visit.id).subject("token", id);
    let revoked = store::replace(tx, visit.org, person, minted, minted.code_hash, by, now).await?;
    let mut events: Vec<Draft> =
        revoked.iter().map(|old| about(EventType::TokenRevoked, old.as_uuid()).because("REPLACED")).collect();
    let issued = about(EventType::TokenIssued, minted.id.as_uuid());
    events.push(match minted.purpose {
        Purpose::Join => issued,
        Purpose::Handover => issued.because("HANDOVER"),
    });
    Ok(events)
}
