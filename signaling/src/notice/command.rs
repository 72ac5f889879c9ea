//! What can be asked of notices: put contacts on file, tell somebody something, send a link that was minted. The faces call these.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission};
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, TokenId, VisitId};
use crate::join::{self, DEFAULT_TTL_MINUTES, Minted};
use crate::notice::contact::{self, Contact, NewContact};
use crate::notice::reach::destination_hash;
use crate::notice::store::{self, Held, Notice};
use crate::notice::{Medium, Reason, Status, Template, template};
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::visit::{self, Channel, Visit, VisitStatus};

/// Seven days, the longer span of the cap.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Links sent by hand or on request for one person of a visit, at most; each may be two messages.
const MOST_RESENDS: usize = 5;

/// How long after a link was sent another one can be asked for on its page.
const ASK_AGAIN: Duration = Duration::from_secs(2 * 60);

/// What to queue for one person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) template: Template,
    pub(crate) channel: Channel,
    /// Asked for by somebody: it does not count towards the cap, and is not bound by it.
    pub(crate) is_resend: bool,
    pub(crate) token: Option<TokenId>,
    pub(crate) sequence: Option<i32>,
}

/// What was queued, or why not, and what the audit chain hears of it.
#[derive(Clone, Debug, Default)]
pub struct Queued {
    /// One for each message, those included that will not be sent.
    pub notices: Vec<Notice>,
    /// For the transaction that queued them.
    pub events: Vec<Draft>,
}

impl Queued {
    /// Whether anything will be sent.
    #[must_use]
    pub fn is_any_queued(&self) -> bool {
        self.notices.iter().any(|notice| notice.status == Status::Queued)
    }
}

/// An audit event about a message: its id, and closed words.
pub(crate) fn event(event_type: EventType, notice: &Notice) -> Draft {
    Draft::new(event_type)
        .visit(notice.visit)
        .subject("notice", notice.id)
        .fact("channel", Fact::Word(notice.medium.as_str()))
        .fact("template", Fact::Word(notice.template.as_str()))
}

/// The media of a person that can be used: they agreed, and somebody carries it.
fn usable(app: &App, contact: &Contact, medium: Medium) -> bool {
    app.carriers.find(medium).is_some() && contact.destination(medium).is_some()
}

/// Queues one message over each channel wished for. What may not go by SMS (opted out, too many, no number) goes by e-mail where that may be
/// used; both carry the same link.
pub(crate) async fn enqueue(
    tx: &mut Tx,
    app: &App,
    (visit, person, contact): (&Visit, &Participant, &Contact),
    wish: Wish,
    now: Timestamp,
) -> Result<Queued> {
    let mut queued = Queued::default();
    let wants_email = matches!(wish.channel, Channel::Email | Channel::Both);
    let mut fallback_of = None;
    if matches!(wish.channel, Channel::Sms | Channel::Both) && usable(app, contact, Medium::Sms) {
        let mut notice = draft(app, visit, person, contact, Medium::Sms, wish, now);
        judge(tx, app, visit.org, contact, &mut notice).await?;
        store::insert(tx, visit.org, &notice).await?;
        if notice.status != Status::Queued {
            queued.events.push(failed(&notice));
            fallback_of = Some(notice.id).filter(|_| !wants_email);
        }
        queued.notices.push(notice);
    }
    let is_without_sms = queued.notices.is_empty() || fallback_of.is_some();
    if (wants_email || is_without_sms) && usable(app, contact, Medium::Email) {
        let mut notice = Notice { fallback_of, ..draft(app, visit, person, contact, Medium::Email, wish, now) };
        judge(tx, app, visit.org, contact, &mut notice).await?;
        if store::insert(tx, visit.org, &notice).await? {
            if notice.status != Status::Queued {
                queued.events.push(failed(&notice));
            } else if fallback_of.is_some() {
                queued.events.push(event(EventType::NotificationFallback, &notice));
            }
            queued.notices.push(notice);
        }
    }
    Ok(queued)
}

fn draft(
    app: &App,
    visit: &Visit,
    person: &Participant,
    contact: &Contact,
    medium: Medium,
    wish: Wish,
    now: Timestamp,
) -> Notice {
    let destination = contact.destination(medium).unwrap_or_default();
    Notice {
        id: Uuid::now_v7(),
        visit: visit.id,
        participant: person.id,
        role: person.role,
        medium,
        template: wish.template,
        is_resend: wish.is_resend,
        token: wish.token,
        sequence: wish.sequence.filter(|_| medium == Medium::Email),
        visit_start: visit.scheduled_start,
        status: Status::Queued,
        reason: None,
        attempt: 0,
        fallback_of: None,
        destination_hash: destination_hash(&app.keys, medium, destination).to_vec(),
        masked_destination: contact.mask(medium).unwrap_or_default(),
        created_at: now,
    }
}

/// Opt-outs bind every message; the cap binds planned text messages.
async fn judge(tx: &mut Tx, app: &App, org: OrgId, contact: &Contact, notice: &mut Notice) -> Result<()> {
    let hash = &notice.destination_hash;
    if store::is_opted_out(tx, org, notice.medium, hash).await? {
        notice.status = Status::OptedOut;
        return Ok(());
    }
    if notice.medium != Medium::Sms || notice.is_resend {
        return Ok(());
    }
    let now = notice.created_at;
    let today = template::day_began(now, &contact.given.time_zone);
    let config = &app.config.notices;
    let today = store::count_planned(tx, org, hash, today).await?;
    let this_week = store::count_planned(tx, org, hash, now - WEEK).await?;
    if today >= config.sms_per_day.into() || this_week >= config.sms_per_week.into() {
        notice.status = Status::Failed;
        notice.reason = Some(Reason::FrequencyCap);
    }
    Ok(())
}

/// How often a link was sent to a person by hand or on request; two channels at once are one time.
fn resends(notices: &[Notice], participant: ParticipantId) -> usize {
    let sent =
        notices.iter().filter(|old| old.participant == participant && old.is_resend && old.fallback_of.is_none());
    sent.map(|old| old.created_at).collect::<BTreeSet<_>>().len()
}

/// The event of a message that was not sent.
pub(crate) fn failed(notice: &Notice) -> Draft {
    let reason = match notice.status {
        Status::OptedOut => Status::OptedOut.as_str(),
        _ => notice.reason.map_or("UNKNOWN", Reason::as_str),
    };
    event(EventType::NotificationFailed, notice).failed(reason)
}

/// Puts an e-mail in the place of a text message that failed: the same words, and the same link, never another one. Does nothing where the
/// e-mail was sent beside it, or may not be used.
pub(crate) async fn fall_back(
    tx: &mut Tx,
    app: &App,
    org: OrgId,
    lost: &Notice,
    now: Timestamp,
) -> Result<Option<Draft>> {
    if lost.medium != Medium::Sms {
        return Ok(None);
    }
    let Some(contact) = contact::find(tx, app, lost.participant).await? else { return Ok(None) };
    if !usable(app, &contact, Medium::Email) {
        return Ok(None);
    }
    let is_there = store::of_visit(tx, lost.visit).await?.iter().any(|other| {
        other.medium == Medium::Email
            && other.participant == lost.participant
            && (other.template, other.token, other.visit_start) == (lost.template, lost.token, lost.visit_start)
            && other.created_at >= lost.created_at
    });
    if is_there {
        return Ok(None);
    }
    let destination = contact.destination(Medium::Email).unwrap_or_default();
    let mut notice = Notice {
        id: Uuid::now_v7(),
        medium: Medium::Email,
        status: Status::Queued,
        reason: None,
        attempt: 0,
        fallback_of: Some(lost.id),
        destination_hash: destination_hash(&app.keys, Medium::Email, destination).to_vec(),
        masked_destination: contact.mask(Medium::Email).unwrap_or_default(),
        created_at: now,
        ..lost.clone()
    };
    judge(tx, app, org, &contact, &mut notice).await?;
    let is_new = store::insert(tx, org, &notice).await?;
    let is_queued = notice.status == Status::Queued;
    Ok((is_new && is_queued).then(|| event(EventType::NotificationFallback, &notice)))
}

/// A link for a person: the one they hold, where its code is here, else a new one. `None` where they hold one that cannot be sent, or need
/// none. `anew` withdraws whatever they hold.
pub(crate) async fn link_for(
    tx: &mut Tx,
    app: &App,
    (visit, person): (&Visit, &Participant),
    (by, anew): (&str, bool),
    now: Timestamp,
) -> Result<(Option<TokenId>, Vec<Draft>)> {
    match store::held_by(tx, person.id, now).await? {
        Held::Link(token) => return Ok((Some(token), Vec::new())),
        Held::Elsewhere if !anew => return Ok((None, Vec::new())),
        Held::Session if !anew => return Ok((None, Vec::new())),
        Held::Elsewhere | Held::Session | Held::Nothing => {}
    }
    let ttl = Duration::from_secs(u64::from(DEFAULT_TTL_MINUTES) * 60);
    let minted = join::mint(&app.keys, visit, person, ttl, app.config.join_opens_before, now)?;
    let hash = app.keys.lookup_hash(minted.code.reveal());
    let mut events = Vec::new();
    for old in join::store::replace(tx, visit.org, person, &minted, hash, by, now).await? {
        let revoked = Draft::new(EventType::TokenRevoked).visit(visit.id).subject("token", old.as_uuid());
        events.push(revoked.because("REPLACED"));
    }
    store::keep_code(tx, &app.keys, visit.org, &minted).await?;
    events.push(Draft::new(EventType::TokenIssued).visit(visit.id).subject("token", minted.id.as_uuid()));
    Ok((Some(minted.id), events))
}

/// Queues a link that was just minted for a person, over a channel or the visit's own. It goes to the contact on file and nowhere else; an
/// e-mail that stands in for a lost text message carries this very link. Part of the transaction that minted it: `events` belong to it.
///
/// # Errors
/// `NO_CONTACT`, `OPTED_OUT`; the database's own failures.
pub async fn send_link(
    tx: &mut Tx,
    app: &App,
    (visit, person): (&Visit, &Participant),
    minted: &Minted,
    channel: Option<Channel>,
    now: Timestamp,
) -> Result<Queued> {
    store::keep_code(tx, &app.keys, visit.org, minted).await?;
    let Some(contact) = contact::find(tx, app, person.id).await? else { return Err(Code::NoContact.into()) };
    let channel = match channel {
        Some(channel) => channel,
        None => channel_of(tx, visit.id).await?,
    };
    let wish = Wish { template: Template::Link, channel, is_resend: true, token: Some(minted.id), sequence: None };
    let queued = enqueue(tx, app, (visit, person, &contact), wish, now).await?;
    refuse_silence(&queued)?;
    contact::note_linked(tx, person.id, visit.scheduled_start).await?;
    Ok(queued)
}

/// Everyone of a visit, patients first.
pub(crate) async fn people_of(tx: &mut Tx, visit: VisitId) -> Result<Vec<Participant>> {
    let mut people = participant::store::of_visits(tx, &[visit.as_uuid()]).await?;
    people.sort_by_key(|person| Role::ALL.iter().position(|role| *role == person.role));
    Ok(people)
}

fn refuse_silence(queued: &Queued) -> Result<()> {
    if queued.is_any_queued() {
        return Ok(());
    }
    let statuses: Vec<_> = queued.notices.iter().map(|notice| notice.status).collect();
    if statuses.contains(&Status::OptedOut) {
        return Err(Code::OptedOut.into());
    }
    if statuses.contains(&Status::Failed) {
        return Err(Code::RateLimited.with("This person was written to today, or three times this week.").into());
    }
    Err(Code::NoContact.into())
}

/// How the people of a visit are told.
pub(crate) async fn channel_of(tx: &mut Tx, visit: VisitId) -> Result<Channel> {
    let word =
        sqlx::query_scalar!("SELECT channel FROM visit WHERE visit_id = $1", visit.as_uuid()).fetch_one(tx).await?;
    Ok(match word.as_str() {
        "SMS" => Channel::Sms,
        "EMAIL" => Channel::Email,
        _ => Channel::Both,
    })
}

/// Whom to tell what.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Over what; the visit's own channel when not said.
    pub channel: Option<Channel>,
    /// Whom.
    pub roles: Vec<Role>,
    /// What.
    pub template: Template,
}

/// Tells people of a visit something, by hand. What the clock has told them already is not told twice: its messages are the answer. Inside
/// the link's time every message but a cancellation carries the link.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `NO_CONTACT`, `OPTED_OUT`, `RATE_LIMITED`.
pub async fn notify(app: &App, actor: &Actor, id: VisitId, ask: &Ask) -> Result<Vec<Notice>> {
    actor.require(Permission::IssueLinks)?;
    let now = app.now();
    let sent = changed(app, actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::IssueLinks, visit.id, &visit.clinician_id)?;
        let is_off = visit.status == VisitStatus::Cancelled && ask.template == Template::Cancelled;
        if visit.status.is_over() && !is_off {
            return Err(Code::VisitFinal.into());
        }
        if ask.template == Template::Cancelled && !is_off {
            return Err(Code::Invalid.with("template cancelled is for a visit that was cancelled").into());
        }
        let channel = match ask.channel {
            Some(channel) => channel,
            None => channel_of(tx, id).await?,
        };
        let before = store::of_visit(tx, id).await?;
        let people = people_of(tx, id).await?;
        let mut all = Queued::default();
        for person in people.iter().filter(|person| ask.roles.contains(&person.role)) {
            let Some(contact) = contact::find(tx, app, person.id).await? else { continue };
            let is_link_time = now >= visit.scheduled_start - app.config.notices.link_lead;
            let template = match ask.template {
                Template::Cancelled => Template::Cancelled,
                _ if is_link_time => Template::Link,
                asked => asked,
            };
            // Said already, by the clock or by whoever pressed twice.
            let said = before.iter().filter(|old| {
                old.participant == person.id
                    && old.template == template
                    && old.visit_start == visit.scheduled_start
                    && !matches!(old.status, Status::Failed | Status::OptedOut)
            });
            let said: Vec<Notice> = said.cloned().collect();
            if !said.is_empty() && template != Template::Link {
                all.notices.extend(said);
                continue;
            }
            if template == Template::Link && resends(&before, person.id) >= MOST_RESENDS {
                return Err(Code::RateLimited.with("This person was sent five links for this visit already.").into());
            }
            let (token, events) = match template {
                Template::Link => link_for(tx, app, (&visit, person), (&actor.id(), true), now).await?,
                _ => (None, Vec::new()),
            };
            if template == Template::Link && said.iter().any(|old| old.token == token && old.status == Status::Queued) {
                all.notices.extend(said.into_iter().filter(|old| old.token == token));
                continue;
            }
            all.events.extend(events);
            let calendar = !matches!(template, Template::Link | Template::Reminder);
            let sequence = calendar.then_some(contact.sequence);
            let wish = Wish { template, channel, is_resend: template == Template::Link, token, sequence };
            let queued = enqueue(tx, app, (&visit, person, &contact), wish, now).await?;
            let mut known = contact.known;
            known.told = known.told.or(Some(visit.scheduled_start));
            if template == Template::Link {
                known.linked = Some(visit.scheduled_start);
            }
            let next = contact.sequence + i32::from(calendar && queued.is_any_queued());
            contact::note(tx, person.id, known, next, Some(now)).await?;
            all.notices.extend(queued.notices);
            all.events.extend(queued.events);
        }
        let is_sent = |notice: &Notice| matches!(notice.status, Status::Queued | Status::Sent | Status::Delivered);
        if !all.notices.iter().any(is_sent) {
            refuse_silence(&all)?;
        }
        Ok((all.notices, all.events))
    })
    .await?;
    Ok(sent)
}

/// Puts contacts of a visit's people on file. Whoever has not heard of the visit yet is told of it by the clock.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `INVALID`.
pub async fn put_contacts(
    app: &App,
    actor: &Actor,
    id: VisitId,
    contacts: &[(Role, NewContact)],
) -> Result<Vec<(Role, Contact)>> {
    actor.require(Permission::CreateVisit)?;
    for (_, new) in contacts {
        new.validate()?;
    }
    let now = app.now();
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::CreateVisit, visit.id, &visit.clinician_id)?;
        if visit.status.is_over() {
            return Err(Code::VisitFinal.into());
        }
        let people = participant::store::of_visits(tx, &[id.as_uuid()]).await?;
        let (mut put, mut events) = (Vec::new(), Vec::new());
        for (role, new) in contacts {
            for person in people.iter().filter(|person| person.role == *role) {
                contact::put(tx, app, visit.org, person, new, now).await?;
                events.push(
                    Draft::new(EventType::VisitUpdated)
                        .visit(id)
                        .subject("participant", person.id.as_uuid())
                        .because("CONTACT_SET"),
                );
                put.extend(contact::find(tx, app, person.id).await?.map(|contact| (*role, contact)));
            }
        }
        if put.is_empty() {
            return Err(Code::Invalid.with("contacts must name patient, clinician or both").into());
        }
        Ok::<_, Error>((put, events))
    })
    .await
}

/// Sends the link of a visit to the contact that a page's handle names, where it is time and there is something to send. Whoever asks
/// learns nothing from it: not whether the handle is known, not what became of it.
///
/// # Errors
/// The database's own failures.
pub async fn request_link(app: &App, handle: &str) -> Result<()> {
    if !join::is_code(handle) {
        return Ok(());
    }
    let hash = contact::handle_hash(&app.keys, handle);
    let Some((org, participant)) = contact::find_by_handle(app.db.pool(), &hash).await? else { return Ok(()) };
    let actor = Actor::Anonymous { org };
    let now = app.now();
    changed(app, &actor, async |tx| {
        let nothing = Ok(((), Vec::new()));
        let Some(contact) = contact::find(tx, app, participant).await? else { return nothing };
        let Some(visit) = visit::store::find(tx, contact.visit).await? else { return nothing };
        let is_time = now >= visit.scheduled_start - app.config.notices.link_lead;
        if visit.status.is_over() || !is_time {
            return nothing;
        }
        let before = store::of_visit(tx, visit.id).await?;
        let mut links = before.iter().filter(|old| old.participant == participant && old.template == Template::Link);
        let is_too_soon = links.any(|old| now < old.created_at + ASK_AGAIN);
        if is_too_soon || resends(&before, participant) >= MOST_RESENDS {
            return nothing;
        }
        let people = participant::store::of_visits(tx, &[visit.id.as_uuid()]).await?;
        let Some(person) = people.iter().find(|person| person.id == participant) else { return nothing };
        let (token, mut events) = link_for(tx, app, (&visit, person), (&actor.id(), false), now).await?;
        // They are in the visit, or hold a link that the practice gave them by hand.
        let Some(token) = token else { return nothing };
        let channel = channel_of(tx, visit.id).await?;
        let wish = Wish { template: Template::Link, channel, is_resend: true, token: Some(token), sequence: None };
        let queued = enqueue(tx, app, (&visit, person, &contact), wish, now).await?;
        contact::note_linked(tx, participant, visit.scheduled_start).await?;
        events.extend(queued.events);
        Ok(((), events))
    })
    .await
}

/// A change that may turn out to be none: with its events where there are any, without an entry in the chain where there are not.
pub(crate) async fn changed<T>(
    app: &App,
    actor: &Actor,
    change: impl AsyncFnOnce(&mut Tx) -> Result<(T, Vec<Draft>)>,
) -> Result<T> {
    let (org, stamp) = (actor.org(), db::Stamp::new(app.now()));
    db::measured(&app.db, org, async |tx| {
        let (value, events) = change(tx).await?;
        if !events.is_empty() {
            crate::audit::store::append(tx, org, actor, &events, stamp).await?;
        }
        Ok(value)
    })
    .await
}
