//! Reads one Tap into the journal, until it ends.

use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};
use wire::tap::TapFrame;

use crate::error::Result;
use crate::journal::{FLUSH, Journal};
use crate::store::{Claimed, Jobs, LEASE};

/// Journals frames until the Tap ends in order or its other side is gone, and renews the job's lease meanwhile. A lease that cannot
/// be renewed stops nothing: what is captured is in the journal, and who may finish it is settled later.
pub(crate) async fn capture(
    mut frames: mpsc::Receiver<TapFrame>,
    mut journal: Journal,
    jobs: &Jobs,
    job: &Claimed,
) -> Result<()> {
    let now = Instant::now();
    let mut flush = interval_at(now + FLUSH, FLUSH);
    let mut renew = interval_at(now + LEASE / 3, LEASE / 3);
    let mut renewal: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        tokio::select! {
            biased;
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                let last = matches!(frame, TapFrame::Ended { .. });
                journal.append(&frame).await?;
                if last {
                    break;
                }
            }
            _ = flush.tick() => journal.flush().await?,
            _ = renew.tick() => {
                // One at a time, and never in the way of the frames: the database may be slow or away.
                if renewal.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                    let (jobs, job) = (jobs.clone(), job.clone());
                    renewal = Some(tokio::spawn(async move {
                        if let Err(error) = jobs.renew(&job).await {
                            tracing::warn!(recording = ?job.recording, class = error.class(), "lease not renewed");
                        }
                    }));
                }
            }
        }
    }
    tracing::info!(recording = ?job.recording, bytes = journal.bytes(), "capture ended");
    Ok(journal.close().await?)
}
