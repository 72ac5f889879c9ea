//! The clock's part: asks whom to tell what, and sends what is due, each medium at its own pace.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::app::App;
use crate::audit::{EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId};
use crate::notice::carrier::{Body, Failure, Message};
use crate::notice::command::{self, Wish, changed, enqueue, event, failed, link_for};
use crate::notice::contact::{self, Contact};
use crate::notice::ics::{self, Entry, Method};
use crate::notice::plan::plan;
use crate::notice::store::{self, Notice};
use crate::notice::template::{self, Words};
use crate::notice::{Medium, Reason, Status, Template};
use crate::participant::{self, Participant, Role};
use crate::visit::{self, Channel, Visit, VisitStatus};

/// How often the tables are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often what is over is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);

/// Rows taken up in one turn.
const AT_ONCE: i64 = 64;

/// Of those, how many at the same time. A provider that does not answer holds one of these places for 20 s.
const PARALLEL: usize = 8;

/// How long a claimed message belongs to whoever claimed it: longer than any attempt takes.
const LEASE: Duration = Duration::from_secs(3 * 60);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long a link may wait for its provider, before the other channel is tried: it is needed within minutes.
const LINK_GIVE_UP: Duration = Duration::from_secs(5 * 60);

/// How long after a failure of ours a person's plan is looked at again.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Works until the role stops.
pub async fn run(app: App) {
    let every = |period| {
        let mut timer = interval(period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer
    };
    let (mut look, mut sms, mut email) = (every(LOOK_EVERY), every(LOOK_EVERY), every(LOOK_EVERY));
    let mut old = every(FORGET_EVERY);
    let looking = async {
        loop {
            look.tick().await;
            look_at_contacts(&app).await;
        }
    };
    let texting = async {
        loop {
            sms.tick().await;
            send_due(&app, Medium::Sms).await;
        }
    };
    let mailing = async {
        loop {
            email.tick().await;
            send_due(&app, Medium::Email).await;
        }
    };
    let forgetting = async {
        loop {
            old.tick().await;
            forget_old(&app).await;
        }
    };
    tokio::select! {
        // What is cut off here was claimed, and is sent again when its lease is over.
        () = app.stop.cancelled() => {}
        ((), (), (), ()) = futures_util::future::join4(looking, texting, mailing, forgetting) => {}
    }
}

/// One turn of everything that is due now: what `run` does each second.
pub async fn turn(app: &App) {
    look_at_contacts(app).await;
    // A message that fails may leave another one in its place.
    for medium in [Medium::Sms, Medium::Email] {
        send_due(app, medium).await;
    }
}

/// Forgets codes of links that are over, and old news.
pub async fn forget_old(app: &App) {
    if let Err(error) = store::forget(app.db.pool(), app.now() - crate::auth::keys::SKEW).await {
        tracing::warn!(%error, "old links and news could not be forgotten for now");
    }
}

async fn look_at_contacts(app: &App) {
    let due = contact::find_due(app.db.pool(), app.now(), AT_ONCE).await.unwrap_or_else(|error| {
        app.db.note_failed_look(&error, "contacts could not be looked at");
        Vec::new()
    });
    stream::iter(due)
        .for_each_concurrent(PARALLEL, async |(org, person)| {
            if let Err(error) = Box::pin(look_at(app, org, person)).await {
                tracing::warn!(%error, participant_id = ?person, "a person could not be told for now");
                let at = app.now() + AFTER_FAILURE;
                let later = db::measured(&app.db, org, async |tx| contact::look_later(tx, person, at).await).await;
                if let Err(error) = later {
                    tracing::warn!(%error, "the next look at a contact could not be planned");
                }
            }
        })
        .await;
}

/// Plans for one person and queues what is due: all in one transaction, so that nothing is told twice or forgotten.
async fn look_at(app: &App, org: OrgId, person: ParticipantId) -> Result<()> {
    let actor = Actor::System { org };
    changed(app, &actor, async |tx| {
        let now = app.now();
        if !contact::lock_due(tx, person, now).await? {
            return Ok(((), Vec::new()));
        }
        let Some((visit, person, contact)) = read(tx, app, person).await? else { return Ok(((), Vec::new())) };
        let plan = plan(visit.status, visit.scheduled_start, contact.known, app.config.notices.leads(), now);
        let (mut sequence, mut events) = (contact.sequence, Vec::new());
        if let Some(template) = plan.tell {
            let mut token = None;
            let mut is_told = true;
            if template == Template::Link {
                let (link, minted) = link_for(tx, app, (&visit, &person), (&actor.id(), false), now).await?;
                events.extend(minted);
                is_told = link.is_some();
                token = link;
            }
            let channel = spare(app, &contact, command::channel_of(tx, visit.id).await?, template, &visit, now);
            if let Some(channel) = channel.filter(|_| is_told) {
                let calendar = plan.is_calendar_due.then_some(sequence);
                let wish = Wish { template, channel, is_resend: false, token, sequence: calendar };
                let queued = enqueue(tx, app, (&visit, &person, &contact), wish, now).await?;
                sequence += i32::from(calendar.is_some() && !queued.notices.is_empty());
                events.extend(queued.events);
            }
        }
        contact::note(tx, person.id, plan.known, sequence, plan.look_at).await?;
        Ok(((), events))
    })
    .await
}

/// On the day of a visit the one text message is kept for its link: what else there is to say goes by e-mail, or not at all.
fn spare(
    app: &App,
    contact: &Contact,
    channel: Channel,
    template: Template,
    visit: &Visit,
    now: Timestamp,
) -> Option<Channel> {
    let link_at = visit.scheduled_start - app.config.notices.link_lead;
    let is_spared = matches!(template, Template::Initial | Template::Reminder)
        && app.config.notices.sms_per_day == 1
        && template::is_same_day(now, link_at, &contact.given.time_zone);
    match channel {
        channel if !is_spared => Some(channel),
        Channel::Email | Channel::Both => Some(Channel::Email),
        Channel::Sms => contact.destination(Medium::Email).map(|_| Channel::Email),
    }
}

async fn read(tx: &mut Tx, app: &App, person: ParticipantId) -> Result<Option<(Visit, Participant, Contact)>> {
    let Some(contact) = contact::find(tx, app, person).await? else { return Ok(None) };
    let Some(visit) = visit::store::find(tx, contact.visit).await? else { return Ok(None) };
    let people = participant::store::of_visits(tx, &[contact.visit.as_uuid()]).await?;
    Ok(people.into_iter().find(|one| one.id == person).map(|person| (visit, person, contact)))
}

async fn send_due(app: &App, medium: Medium) {
    let due = store::find_due(app.db.pool(), medium, app.now(), AT_ONCE).await.unwrap_or_else(|error| {
        app.db.note_failed_look(&error, "messages could not be looked for");
        Vec::new()
    });
    stream::iter(due)
        .for_each_concurrent(PARALLEL, async |(org, id)| {
            if let Err(error) = Box::pin(send(app, org, id)).await {
                tracing::warn!(%error, notice_id = %id, "a message could not be sent for now");
            }
        })
        .await;
}

/// What to do with a claimed message.
enum Ready {
    Send(Box<Message>),
    End(Status, Option<Reason>),
}

/// Sends one message: claimed in one transaction, written and sent outside of any, and noted in another.
async fn send(app: &App, org: OrgId, id: Uuid) -> Result<()> {
    let now = app.now();
    let claimed = db::measured(&app.db, org, async |tx| {
        let Some(notice) = store::claim(tx, id, now, LEASE).await? else { return Ok::<_, Error>(None) };
        let ready = prepare(tx, app, org, &notice, now).await?;
        Ok(Some((notice, ready)))
    })
    .await?;
    let Some((notice, ready)) = claimed else { return Ok(()) };
    let message = match ready {
        Ready::Send(message) => message,
        Ready::End(status, reason) => return end(app, org, &notice, status, reason).await,
    };
    let Some(carrier) = app.carriers.find(notice.medium) else {
        return end(app, org, &notice, Status::Failed, Some(Reason::NoCarrier)).await;
    };
    match carrier.send(&message).await {
        Ok(message_id) => {
            let actor = Actor::System { org };
            changed(app, &actor, async |tx| {
                let is_sent = store::mark_sent(tx, notice.id, carrier.name(), &message_id, app.now()).await?;
                let attempt = Fact::Number(notice.attempt.into());
                let sent = event(EventType::NotificationSent, &notice).fact("attempt", attempt);
                Ok(((), if is_sent { vec![sent] } else { Vec::new() }))
            })
            .await
        }
        Err(Failure::Refused) => end(app, org, &notice, Status::Failed, Some(Reason::Refused)).await,
        Err(failure @ Failure::Away) => {
            let config = &app.config.notices;
            let after = wait_after(notice.attempt, config.notice_retry);
            let limit = match notice.template {
                Template::Link => config.notice_give_up.min(LINK_GIVE_UP),
                _ => config.notice_give_up,
            };
            tracing::warn!(notice_id = %notice.id, attempt = notice.attempt, provider = carrier.name(), %failure, "a message was not taken");
            if app.now() + after - notice.created_at > limit {
                return end(app, org, &notice, Status::Failed, Some(Reason::GivenUp)).await;
            }
            let at = app.now() + after;
            db::measured(&app.db, org, async |tx| store::put_off(tx, notice.id, at).await).await
        }
    }
}

/// How long to wait after so many attempts that failed: `first`, then three times as long each time.
fn wait_after(attempts: i32, first: Duration) -> Duration {
    let power = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0);
    first.saturating_mul(3_u32.saturating_pow(power)).min(LONGEST_WAIT)
}

/// Ends a message that will not be sent, and puts an e-mail in its place where that may be.
async fn end(app: &App, org: OrgId, notice: &Notice, status: Status, reason: Option<Reason>) -> Result<()> {
    let actor = Actor::System { org };
    changed(app, &actor, async |tx| {
        let now = app.now();
        let mut events = Vec::new();
        if store::settle(tx, notice.id, status, reason, now).await? {
            let ended = Notice { status, reason, ..notice.clone() };
            events.push(failed(&ended));
            // What nobody needs any more needs no fallback either.
            if !matches!(reason, Some(Reason::VisitOver | Reason::LinkGone)) {
                events.extend(command::fall_back(tx, app, org, &ended, now).await?);
            }
        }
        Ok(((), events))
    })
    .await
}

/// Writes a message from what is true now, or says why it is not to be sent any more.
async fn prepare(tx: &mut Tx, app: &App, org: OrgId, notice: &Notice, now: Timestamp) -> Result<Ready> {
    let over = |reason| Ok(Ready::End(Status::Failed, Some(reason)));
    let Some((visit, person, contact)) = read(tx, app, notice.participant).await? else {
        return over(Reason::VisitOver);
    };
    let is_off = visit.status == VisitStatus::Cancelled;
    if (notice.template == Template::Cancelled) != is_off || (visit.status.is_over() && !is_off) {
        return over(Reason::VisitOver);
    }
    // The plan has already queued what says the new time.
    if visit.scheduled_start != notice.visit_start {
        return over(Reason::VisitOver);
    }
    let Some(destination) = contact.destination(notice.medium) else { return over(Reason::ContactChanged) };
    let hash = crate::notice::reach::destination_hash(&app.keys, notice.medium, destination);
    if hash.as_slice() != notice.destination_hash {
        return over(Reason::ContactChanged);
    }
    if store::is_opted_out(tx, org, notice.medium, &hash).await? {
        return Ok(Ready::End(Status::OptedOut, None));
    }
    let page = format!("{}/m/{}", app.public.origin, contact.handle.reveal());
    let link = match (notice.template, notice.token) {
        (Template::Cancelled, _) => None,
        (Template::Link, Some(token)) => match store::find_code(tx, &app.keys, token, now).await? {
            Some(code) => Some(format!("{}/j/{}", app.public.origin, code.reveal())),
            None => return over(Reason::LinkGone),
        },
        (Template::Link, None) => return over(Reason::LinkGone),
        _ => Some(page.clone()),
    };
    let sender = store::sender(tx, org).await?;
    let people = participant::store::of_visits(tx, &[visit.id.as_uuid()]).await?;
    let clinician = people.iter().find(|one| one.role == Role::Clinician && person.role != Role::Clinician);
    let words = Words {
        template: notice.template,
        locale: &contact.given.locale,
        sender: &sender,
        clinician: clinician.map(|one| one.name.reveal().as_str()),
        when: contact.given.time_consent.then_some((visit.scheduled_start, contact.given.time_zone.as_str())),
        link: link.as_deref(),
    };
    let body = match (notice.medium, &contact.given.phone, &contact.given.email) {
        (Medium::Sms, Some(to), _) => Body::Sms { to: to.clone(), text: words.sms()?.into() },
        (Medium::Email, _, Some(to)) => {
            let mail = words.mail()?;
            let host = app.public.authority.split(':').next().unwrap_or_default();
            let method = if is_off { Method::Cancel } else { Method::Publish };
            // A calendar entry says when by itself: only for those who agreed to that.
            let calendar = notice.sequence.filter(|_| contact.given.time_consent).map(|sequence| {
                let entry = Entry {
                    id: person.id.as_uuid(),
                    sequence,
                    method,
                    start: visit.scheduled_start,
                    minutes: visit.duration_min,
                    practice: words.practice(),
                    page: &page,
                    host,
                    now,
                };
                (ics::write(&entry).into(), method.as_str())
            });
            Body::Email {
                to: to.clone(),
                from_name: words.practice().split(char::is_control).collect::<Vec<_>>().join(" "),
                subject: mail.subject.into(),
                text: mail.text.into(),
                html: mail.html.into(),
                calendar,
            }
        }
        _ => return over(Reason::ContactChanged),
    };
    Ok(Ready::Send(Box::new(Message { id: notice.id, body })))
}
