//! What staff and participants do with links: mint them, send them anew, move to another device. The faces translate to and from these
//! functions, and decide nothing.

use std::time::Duration;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Attendee, Permission};
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::join::{self, DEFAULT_TTL_MINUTES, Minted, Purpose, RedeemError, Shown, TTL_MINUTES, store};
use crate::notice;
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::visit::{self, Channel, Visit};

/// How long a link to another device works.
const HANDOVER: Duration = Duration::from_secs(2 * 60);

/// How many times a visit's links are sent anew.
pub const MOST_RESENDS: i32 = 5;

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
            // A notice that is sent within the link's time carries this one.
            notice::store::keep_code(tx, &app.keys, visit.org, &minted).await?;
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

/// What became of a wish for another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resent {
    /// How many more there can be.
    pub remaining: i32,
}

/// Sends a new link to the contact on file and withdraws the one before (row 8). At most [`MOST_RESENDS`] for one visit.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `NO_CONTACT`, `OPTED_OUT`, `RESEND_LIMIT`.
pub async fn resend(app: &App, actor: &Actor, id: VisitId, role: Role, channel: Option<Channel>) -> Result<Resent> {
    actor.require(Permission::IssueLinks)?;
    again(app, actor, id, |person| person.role == role, channel).await
}

/// The same for whoever holds a link that does not open any more. Nothing comes back: not whether there is such a link, nor what became of
/// the wish. A link that still opens is not replaced.
///
/// # Errors
/// The database's own failures.
pub async fn resend_to_holder(app: &App, shown: &Shown, visit: Option<VisitId>) -> Result<()> {
    let now = app.now();
    let token = db::scoped(&app.db, shown.org, async |tx| store::find(tx, shown.by).await).await?;
    let Some(token) = token.filter(|token| visit.is_none_or(|visit| visit == token.visit)) else { return Ok(()) };
    // A link that is not open yet opens by itself.
    if !matches!(token.check(now), Err(RedeemError::AlreadySpent | RedeemError::Expired | RedeemError::Revoked)) {
        return Ok(());
    }
    let actor = Actor::Anonymous { org: shown.org };
    match again(app, &actor, token.visit, |person| person.id == token.participant, None).await {
        // The practice's events say why; the holder is not told.
        Ok(_) | Err(Error::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn again(
    app: &App,
    actor: &Actor,
    id: VisitId,
    is_theirs: impl Fn(&Participant) -> bool,
    channel: Option<Channel>,
) -> Result<Resent> {
    let now = app.now();
    let ttl = Duration::from_secs(u64::from(DEFAULT_TTL_MINUTES) * 60);
    let number = db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        if !matches!(actor, Actor::Anonymous { .. }) {
            actor.require_on(Permission::IssueLinks, visit.id, &visit.clinician_id)?;
        }
        if visit.status.is_over() {
            return Err(Code::VisitFinal.into());
        }
        let people = participant::store::of_visits(tx, &[id.as_uuid()]).await?;
        let person = people.iter().find(|person| is_theirs(person)).ok_or_else(|| Error::from(Code::NotFound))?;
        let Some(number) = store::count_resend(tx, id, MOST_RESENDS).await? else {
            return Ok((None, vec![Draft::new(EventType::LinkResendLimitHit).visit(id).failed("RESEND_LIMIT")]));
        };
        let minted = join::mint(&app.keys, &visit, person, ttl, app.config.join_opens_before, now)?;
        let mut events = keep(tx, &visit, person, &minted, &actor.id(), now).await?;
        let queued = notice::command::send_link(tx, app, (&visit, person), &minted, channel, now).await?;
        events.extend(queued.events);
        let resent = Draft::new(EventType::LinkResent).visit(id).subject("token", minted.id.as_uuid());
        events.push(resent.fact("resends", Fact::Number(number.into())));
        Ok::<_, Error>((Some(number), events))
    })
    .await?;
    number.map(|number| Resent { remaining: MOST_RESENDS - number }).ok_or_else(|| Code::ResendLimit.into())
}
