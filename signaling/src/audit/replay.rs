//! Brings what was spooled into the database, in order, as soon as it is back.

use std::time::Duration;

use crate::app::App;
use crate::audit::Draft;
use crate::audit::spool::{Spool, Spooled};
use crate::db::{self, Stamp};
use crate::error::{Error, Result};
use crate::live::world::World;

/// How long after a failure the next attempt is made. The database's own gate knows earlier that it is away, so an attempt costs nothing.
const AGAIN: Duration = Duration::from_millis(500);

/// Runs until the process stops. What is not replayed by then is in the file, for the next start.
pub(crate) async fn run(app: App) {
    let Some(spool) = app.config.spool.clone() else { return };
    loop {
        // Before the look, so that what comes between the two is not missed.
        let changed = spool.changed();
        let mut is_waiting = false;
        while let Some(record) = spool.first() {
            match replay(&app, &spool, &record).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%error, "the spool waits");
                    is_waiting = true;
                    break;
                }
            }
        }
        let next = async { if is_waiting { tokio::time::sleep(AGAIN).await } else { changed.await } };
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = next => {}
        }
    }
}

async fn replay(app: &App, spool: &Spool, record: &Spooled) -> Result<()> {
    let stamp = Stamp { event: record.event, at: record.at, is_spooled: true };
    let world = World { app: app.clone(), org: record.org, visit: record.visit };
    match Box::pin(world.write(record.to_change(), stamp)).await {
        Ok(_) => {}
        Err(error) if error.is_passing() => return Err(error),
        Err(error) => {
            // The visit ended meanwhile, or its rows say something else by now. That it happened is written down all the same.
            tracing::warn!(%error, event = record.event_type().as_str(), "a spooled change could not be made, only noted");
            note(app, record, stamp).await?;
        }
    }
    let done = spool.done();
    app.metrics.set_spooled(spool.len());
    if spool.is_empty() {
        tracing::info!("the audit spool is empty again");
    }
    done
}

async fn note(app: &App, record: &Spooled, stamp: Stamp) -> Result<()> {
    let (kind, id) = record.subject();
    let draft = Draft::new(record.event_type()).visit(record.visit).subject(kind, id).because("REPLAY_REFUSED");
    let actor = record.actor();
    let noted = db::audited_as(&app.db, record.org, &actor, stamp, async |_| Ok::<_, Error>(((), vec![draft])));
    noted.await.map(drop)
}
