//! Claims jobs as they come and runs each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::job::{self, Tools};
use crate::join;

/// Recordings at a time; more wait in the table, their Taps in their queues.
const MAX_JOBS: usize = 256;
/// The regular look for jobs: for missed notices, lapsed leases and pauses that are over.
const LOOK: Duration = Duration::from_secs(2);
/// How long captures may take to end once told to stop. The media node ends its Taps at the same time.
const DRAIN: Duration = Duration::from_millis(800);

/// Works until told to stop.
pub(crate) async fn work(tools: Arc<Tools>, stop: CancellationToken) {
    let mut running = JoinSet::new();
    let mut listener: Option<PgListener> = None;
    while !stop.is_cancelled() {
        if listener.is_none() {
            listener = tools.jobs.listen().await.ok();
        }
        claim_all(&tools, &mut running).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
            // Room for another one; a panic in a job ends that job, whose lease then lapses.
            Some(_) = running.join_next(), if !running.is_empty() => {}
            heard = hear(&mut listener) => {
                if !heard {
                    listener = None;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }
    let drained = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::info!("recordings under way will be finished from their journals");
    }
    running.abort_all();
    // It holds a connection of the pool that is about to be closed.
    drop(listener);
    if let Err(error) = tools.jobs.let_go().await {
        tracing::warn!(class = error.class(), "jobs could not be let go; their leases lapse by themselves");
    }
    tools.jobs.close().await;
}

async fn claim_all(tools: &Arc<Tools>, running: &mut JoinSet<()>) {
    while running.len() < MAX_JOBS {
        match tools.jobs.claim().await {
            Ok(Some(claimed)) => {
                let tools = Arc::clone(tools);
                running.spawn(async move { job::run(&tools, claimed).await });
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(class = error.class(), "no look for jobs now");
                return;
            }
        }
    }
    while tools.buckets.is_some() && running.len() < MAX_JOBS {
        match tools.jobs.claim_join().await {
            Ok(Some(claimed)) => {
                let tools = Arc::clone(tools);
                running.spawn(async move { join::run(&tools, claimed).await });
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(class = error.class(), "no look for files to be joined now");
                return;
            }
        }
    }
}

/// Waits for a notice; false when there is no listener to hear by.
async fn hear(listener: &mut Option<PgListener>) -> bool {
    match listener {
        // `try_recv` tells a lost connection by `None`; the next look makes up for what was missed.
        Some(listener) => listener.try_recv().await.is_ok(),
        None => std::future::pending().await,
    }
}
