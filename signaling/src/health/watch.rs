//! What alarms need to know although nobody asks for anything: whether the database answers, and how old the last backup is.

use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app::App;
use crate::clock::Timestamp;
use crate::health::PATIENCE;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until told to stop.
pub(crate) async fn run(app: App) {
    let mut look = interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let is_up = matches!(timeout(PATIENCE, app.db.ping()).await, Ok(Ok(())));
        app.metrics.set_database_up(is_up);
        if let Some((at, age)) = app.config.backup_stamp.as_deref().and_then(|stamp| backup(stamp, app.now())) {
            app.metrics.set_backup(at, age);
        }
    }
}

/// When the last good backup ended, and how long ago that is; `None` when the stamp is not there.
pub(super) fn backup(stamp: &Path, now: Timestamp) -> Option<(Timestamp, Duration)> {
    let at = Timestamp::from(std::fs::metadata(stamp).ok()?.modified().ok()?);
    // A stamp from the future is a clock that was turned.
    Some((at, Duration::try_from(now - at).unwrap_or_default()))
}
