//! What providers report, once its signature was found good: a message arrived, did not, was complained about, or was answered.

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::error::Result;
use crate::ids::OrgId;
use crate::notice::command::{changed, event, failed, fall_back};
use crate::notice::reach::{Answer, Phone, destination_hash};
use crate::notice::store::{self, Notice};
use crate::notice::{Medium, Reason, Status, contact};

/// One report.
#[derive(Clone, Debug)]
pub struct News {
    /// Where it came in; with the id it is known from then on.
    pub source: &'static str,
    /// The provider's id of the report: the same when it is told again.
    pub id: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// To a message that this provider knows under this id.
    Message {
        /// The provider's short name.
        provider: &'static str,
        /// Its id of the message.
        id: String,
        /// What became of it.
        fate: Fate,
    },
    /// Somebody answered by SMS.
    Answered {
        /// From this number.
        from: Phone,
        /// With one of the agreed words.
        answer: Answer,
    },
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed,
    /// It was reported as unwanted.
    Complained,
}

/// Takes a report; false when it is about nothing that is known here.
///
/// # Errors
/// The database's own failures.
pub async fn take(app: &App, news: &News) -> Result<bool> {
    match &news.what {
        What::Message { provider, id, fate } => {
            let Some((org, notice)) = store::find_by_provider(app.db.pool(), provider, id).await? else {
                return Ok(false);
            };
            let actor = Actor::System { org };
            changed(app, &actor, async |tx| {
                let now = app.now();
                let Some(notice) = store::find(tx, notice).await? else { return Ok(((), Vec::new())) };
                if !store::note_event(tx, org, news.source, &news.id, now).await? {
                    return Ok(((), Vec::new()));
                }
                let mut events = vec![event(EventType::WebhookAccepted, &notice)];
                match fate {
                    Fate::Delivered => {
                        if store::settle(tx, notice.id, Status::Delivered, None, now).await? {
                            events.push(event(EventType::NotificationDelivered, &notice));
                        }
                    }
                    Fate::Failed => {
                        if store::settle(tx, notice.id, Status::Failed, Some(Reason::Undelivered), now).await? {
                            let lost = Notice { status: Status::Failed, reason: Some(Reason::Undelivered), ..notice };
                            events.push(failed(&lost));
                            events.extend(fall_back(tx, app, org, &lost, now).await?);
                        }
                    }
                    Fate::Complained => {
                        let hash = &notice.destination_hash;
                        if store::set_opted_out(tx, org, notice.medium, hash, true, now).await? {
                            events.push(event(EventType::NotificationOptedOut, &notice));
                        }
                    }
                }
                Ok(((), events))
            })
            .await?;
            Ok(true)
        }
        What::Answered { from, answer } => {
            let hash = destination_hash(&app.keys, Medium::Sms, from.reveal());
            let orgs = contact::find_orgs(app.db.pool(), &hash).await?;
            for org in &orgs {
                Box::pin(answered(app, *org, &hash, *answer, news)).await?;
            }
            Ok(!orgs.is_empty())
        }
    }
}

/// A number's owner wants no more text messages, or wants them again. What waits for it is not sent; where e-mail may be used, it goes there.
async fn answered(app: &App, org: OrgId, hash: &[u8; 32], answer: Answer, news: &News) -> Result<()> {
    let actor = Actor::System { org };
    changed(app, &actor, async |tx| {
        let now = app.now();
        if !store::note_event(tx, org, news.source, &news.id, now).await? {
            return Ok(((), Vec::new()));
        }
        let mut events = vec![Draft::new(EventType::WebhookAccepted)];
        let is_out = answer == Answer::Stop;
        if store::set_opted_out(tx, org, Medium::Sms, hash, is_out, now).await? {
            events.push(Draft::new(EventType::NotificationOptedOut).because(if is_out { "STOP" } else { "START" }));
        }
        if is_out {
            for notice in store::queued_for(tx, org, hash).await? {
                if store::settle(tx, notice.id, Status::OptedOut, None, now).await? {
                    let lost = Notice { status: Status::OptedOut, ..notice };
                    events.push(failed(&lost));
                    events.extend(fall_back(tx, app, org, &lost, now).await?);
                }
            }
        }
        Ok(((), events))
    })
    .await
}

/// Notes in the chain of the message that unsigned or wrongly signed news spoke of that they were refused. News that name nothing known here
/// leave a count alone.
///
/// # Errors
/// The database's own failures.
pub async fn note_rejected(app: &App, provider: &str, message_id: &str, reason: &'static str) -> Result<()> {
    let Some((org, id)) = store::find_by_provider(app.db.pool(), provider, message_id).await? else { return Ok(()) };
    let actor = Actor::Anonymous { org };
    changed(app, &actor, async |tx| {
        let Some(notice) = store::find(tx, id).await? else { return Ok(((), Vec::new())) };
        Ok(((), vec![event(EventType::WebhookRejected, &notice).failed(reason)]))
    })
    .await
}
