//! After a rotation of the wrapping key: data keys that an older one wraps are wrapped by the newest, until none is left and the older
//! key can be put away. What they sealed stays as it is.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;
use vault::WrappedKey;
use vault::keys::recording_context;
use wire::RecordingId;

use super::keys::{context, failed};
use super::store::{self, Old};
use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// Data keys that are read at a time.
const BATCH: i64 = 100;

/// How often keys that were in memory long enough are wiped.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// Looks after data keys until the role stops.
pub(crate) async fn run(app: App) {
    let (mut look, mut forget) = (interval(app.config.phi.rewrap_every), interval(FORGET_EVERY));
    for timer in [&mut look, &mut forget] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = app.stop.cancelled() => break,
            _ = forget.tick() => app.phi.forget_old(app.now()),
            _ = look.tick() => match rewrap(&app).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "data keys were wrapped by the newest key"),
                Err(error) => tracing::warn!(%error, "data keys could not be wrapped anew"),
            },
        }
    }
}

/// Wraps anew what an older key wraps, and says how many data keys that were. One that does not open stays as it is and is said in the log.
///
/// # Errors
/// When the wrapping keys or the database are away.
pub async fn rewrap(app: &App) -> Result<usize> {
    let Ok(provider) = app.phi.provider() else { return Ok(0) };
    provider.refresh().map_err(|error| failed(&error))?;
    let current = provider.current();
    let (mut after, mut count) = (Uuid::nil(), 0);
    loop {
        let batch = {
            let mut tx = app.db.pool().begin().await?;
            let batch = store::find_old(&mut tx, &current, after, BATCH).await?;
            tx.commit().await?;
            batch
        };
        let Some(last) = batch.last() else { return Ok(count) };
        after = last.id;
        for old in &batch {
            match rewrap_one(app, old).await {
                Ok(done) => count += usize::from(done),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, key_id = %old.id, "a data key does not open by any key that is here")
                }
            }
        }
    }
}

/// How many data keys of all organisations each wrapping key wraps.
///
/// # Errors
/// The database's own failures.
pub async fn count(db: &db::Db) -> Result<Vec<(String, i64)>> {
    let mut tx = db.pool().begin().await?;
    let counted = store::count(&mut tx).await?;
    tx.commit().await?;
    Ok(counted)
}

async fn rewrap_one(app: &App, old: &Old) -> Result<bool> {
    let org = OrgId::from_uuid(old.org_id);
    let context =
        if old.is_recording { recording_context(RecordingId::from_uuid(old.id)) } else { context(org, old.id) };
    let provider = app.phi.provider()?;
    let wrapped = WrappedKey { kek_id: old.kek_id.clone(), bytes: old.wrapped.clone() };
    let key = provider.unwrap(&wrapped, &context).await.map_err(|error| failed(&error))?;
    let new = provider.wrap(&key, &context).await.map_err(|error| failed(&error))?;
    let kind = if old.is_recording { "recording" } else { "data_key" };
    let event = Draft::new(EventType::KeyRotated).subject(kind, old.id).because("REWRAPPED");
    let done = db::audited(&app.db, org, &Actor::System { org }, async |tx| {
        if store::replace(tx, old, &new, app.now()).await? {
            Ok((true, vec![event]))
        } else {
            // Another process did it a moment ago; an act of nobody is not written down.
            Err(Error::from(crate::problem::Code::NotFound))
        }
    })
    .await;
    match done {
        Err(Error::Refused(_)) => Ok(false),
        done => done,
    }
}
