//! Delivers what is due, several targets at a time and each in order, and forgets what was settled long ago.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::config::SignalingConfig;
use crate::db;
use crate::error::Result;
use crate::metrics::Delivered;
use crate::webhook::deliver::{Answered, Attempt, Client, Failure};
use crate::webhook::networks::Networks;
use crate::webhook::sign::{self, Secret};
use crate::webhook::store::{self, Delivery, Due};
use crate::webhook::target::{self, Place};
use crate::webhook::wait_after;

/// How often the queue is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the queue is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// How often what was settled long ago is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Targets that are told things at a time. One that does not answer holds one of these places, for ten seconds at a time.
const AT_ONCE: usize = 16;

/// How long a claimed delivery belongs to whoever claimed it: longer than a whole batch can take.
pub(super) const LEASE: Duration = Duration::from_secs(3 * 60);

/// How long deliveries under way may take at the end of the process; those that are cut off are sent again, under the same id.
const LAST_SEND: Duration = Duration::from_secs(1);

/// Delivers until the role stops.
pub(crate) async fn run(app: App) {
    let client = match Networks::parse(&app.config.webhook_networks) {
        Ok(networks) => Arc::new(Client::new(networks)),
        // Checked before anything began.
        Err(error) => return tracing::error!(%error, "webhooks are not delivered"),
    };
    let (mut look, mut measure, mut sweep) = (interval(LOOK_EVERY), interval(MEASURE_EVERY), interval(SWEEP_EVERY));
    for timer in [&mut look, &mut measure, &mut sweep] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let (mut tasks, mut busy) = (JoinSet::new(), BTreeSet::new());
    loop {
        tokio::select! {
            () = app.stop.cancelled() => break,
            Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                match done {
                    Ok(due) => drop(busy.remove(&due)),
                    // Which one it was is not known: all are looked at again, and the rows say who holds them.
                    Err(_) => busy.clear(),
                }
            }
            _ = look.tick() => {
                let due = store::find_due(app.db.pool(), app.now()).await.unwrap_or_else(|error| {
                    app.db.note_failed_look(&error, "webhooks could not be looked for");
                    Vec::new()
                });
                for due in due {
                    if tasks.len() < AT_ONCE && busy.insert(due) {
                        tasks.spawn(serve(app.clone(), Arc::clone(&client), due));
                    }
                }
            }
            _ = measure.tick() => match store::count_waiting(app.db.pool()).await {
                Ok(waiting) => app.metrics.set_webhooks_waiting(waiting),
                Err(error) => app.db.note_failed_look(&error, "webhooks could not be counted"),
            },
            _ = sweep.tick() => forget_old(&app).await,
        }
    }
    let ended = timeout(LAST_SEND, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tasks.shutdown().await;
    }
}

async fn serve(app: App, client: Arc<Client>, due: Due) -> Due {
    if let Err(error) = Box::pin(deliver(&app, &client, due)).await {
        tracing::warn!(%error, webhook_id = %due.target, "a webhook could not be delivered for now");
    }
    due
}

/// Sends what is due for one target, oldest first. A receiver that is away ends the turn: what was not tried waits as long as what was.
pub(super) async fn deliver(app: &App, client: &Client, due: Due) -> Result<()> {
    loop {
        let now = app.now();
        let claimed = db::measured(&app.db, due.org, async |tx| store::claim(tx, due, now, LEASE).await).await?;
        let Some(batch) = claimed else { return Ok(()) };
        let is_more = i64::try_from(batch.deliveries.len()).is_ok_and(|count| count >= store::BATCH);
        let secret = target::open_secret(&app.keys, due.org, due.target, &batch.sealed_secret).ok();
        let target = Place::parse(&batch.url).zip(secret);
        let mut deliveries = batch.deliveries.into_iter();
        while let Some(delivery) = deliveries.next() {
            let result = match &target {
                Some((place, secret)) => send(client, place, secret, &delivery, app.now()).await,
                None => Err(Failure::Unusable),
            };
            let verdict = judge(&app.config, &delivery, result, app.now());
            note(app, due, &delivery, result, verdict).await?;
            if let Verdict::Again { after, is_away: true } = verdict {
                let rest: Vec<Uuid> = deliveries.map(|delivery| delivery.event_id).collect();
                let at = app.now() + after;
                return db::measured(&app.db, due.org, async |tx| store::give_back(tx, due, &rest, at).await).await;
            }
        }
        if !is_more || app.stop.is_cancelled() {
            return Ok(());
        }
    }
}

async fn send(
    client: &Client,
    place: &Place,
    secret: &Secret,
    delivery: &Delivery,
    now: Timestamp,
) -> std::result::Result<Answered, Failure> {
    let id = sign::id(delivery.event_id);
    let signature = secret.sign(&id, now, &delivery.body);
    let attempt = Attempt { id: &id, timestamp: now.unix_timestamp(), signature: &signature, body: &delivery.body };
    client.send(place, attempt).await
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// `is_away`: others would not be taken either.
    Again {
        after: Duration,
        is_away: bool,
    },
    GivenUp,
}

/// Judges an attempt that ended at `now`.
pub(super) fn judge(
    config: &SignalingConfig,
    delivery: &Delivery,
    result: std::result::Result<Answered, Failure>,
    now: Timestamp,
) -> Verdict {
    let (is_away, asked) = match result {
        Ok(Answered { status: 200..=299, .. }) => return Verdict::Delivered,
        // Gone: the receiver says that nothing is wanted there any more.
        Ok(Answered { status: 410, .. }) => return Verdict::GivenUp,
        Ok(Answered { status, retry_after }) => (status == 429 || status >= 500, retry_after.unwrap_or_default()),
        Err(_) => (true, Duration::ZERO),
    };
    let attempts = u32::try_from(delivery.attempts).unwrap_or(1);
    let after = wait_after(attempts, config.webhook_retry).max(asked);
    if now + after - delivery.created_at > config.webhook_give_up {
        return Verdict::GivenUp;
    }
    Verdict::Again { after, is_away }
}

async fn note(
    app: &App,
    due: Due,
    delivery: &Delivery,
    result: std::result::Result<Answered, Failure>,
    verdict: Verdict,
) -> Result<()> {
    let (now, event) = (app.now(), delivery.event_id);
    let status = result.ok().and_then(|answered| i16::try_from(answered.status).ok());
    let outcome = match verdict {
        Verdict::Delivered => Delivered::Taken,
        Verdict::Again { .. } => Delivered::Failed,
        Verdict::GivenUp => Delivered::GivenUp,
    };
    app.metrics.note_webhook(outcome);
    if verdict != Verdict::Delivered {
        let reason = result.err().map(|failure| failure.to_string());
        let attempts = delivery.attempts;
        tracing::warn!(webhook_id = %due.target, event_id = %event, attempts, status, reason, ?verdict, "a webhook was not taken");
    }
    db::measured(&app.db, due.org, async |tx| match verdict {
        Verdict::Delivered => store::settle(tx, due, event, ("DELIVERED", status), now).await,
        Verdict::GivenUp => store::settle(tx, due, event, ("GIVEN_UP", status), now).await,
        Verdict::Again { after, .. } => store::put_off(tx, due, event, status, now + after).await,
    })
    .await
}

/// Forgets what was settled longer ago than the operator wants it kept.
pub(super) async fn forget_old(app: &App) {
    let before = app.now() - app.config.webhook_kept;
    loop {
        match store::forget(app.db.pool(), before).await {
            Ok(gone) if store::is_more(gone) && !app.stop.is_cancelled() => {}
            Ok(_) => return,
            Err(error) => return tracing::warn!(%error, "old webhooks could not be forgotten for now"),
        }
    }
}
