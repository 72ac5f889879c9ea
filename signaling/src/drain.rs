//! Leaving in order: nothing new begins, visits that run go on to their end or to a limit, then the role stops.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::live::Request;
use crate::problem::{Code, Problem};

/// When to ask again, in seconds. A replacement is usually up by then, or the process has ended and started anew.
const RETRY_AFTER: u64 = 10;

/// How the role is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Begin nothing new; end when the visits that run have ended, or at `drain_limit`.
    pub drain: CancellationToken,
    /// End now. The role cancels it itself when it has drained.
    pub now: CancellationToken,
}

impl From<CancellationToken> for Stop {
    /// A stop without a drain.
    fn from(now: CancellationToken) -> Self {
        Self { drain: CancellationToken::new(), now }
    }
}

/// What people hear who would begin something new.
#[must_use]
pub(crate) fn come_back() -> Problem {
    Problem { retry_after: Some(RETRY_AFTER), ..Code::Draining.problem() }.member("retryAfterSeconds", RETRY_AFTER)
}

/// Waits for the word, drains, and then stops the role.
pub(crate) async fn run(app: App, stop: Stop) {
    tokio::select! {
        biased;
        () = stop.now.cancelled() => return,
        () = stop.drain.cancelled() => {}
    }
    let limit = app.config.drain_limit;
    let deadline = app.now() + limit;
    let rooms = app.live.drain(deadline);
    if !rooms.is_empty() && !limit.is_zero() {
        tracing::info!(rooms = rooms.len(), limit = ?limit, "nothing new begins; waiting for the visits that run");
        // A Room that ended meanwhile needs no telling.
        let told = join_all(rooms.iter().map(|room| room.send(Request::Draining(deadline))));
        let ended = async {
            told.await;
            app.live.emptied().await;
        };
        tokio::select! {
            biased;
            () = ended => tracing::info!("every visit has ended"),
            () = stop.now.cancelled() => tracing::warn!(rooms = app.live.len(), "told not to wait for the visits that run"),
            () = tokio::time::sleep(limit) => tracing::warn!(rooms = app.live.len(), "visits still run at the drain limit"),
        }
    }
    stop.now.cancel();
}
