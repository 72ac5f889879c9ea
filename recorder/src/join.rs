//! One joining: reads the pieces of a finished capture from their bucket and writes one file for each kind.

use vault::Buckets;
use vault::bucket::Upload;
use wire::delivery::{Folder, Join, Place, SHARED};

use crate::delivery::joined::{self, Joiner, Whole};
use crate::delivery::name;
use crate::error::{Error, Result};
use crate::job::{MAX_ATTEMPTS, Tools, pause_after};
use crate::store::{ClaimedJoin, LEASE};

/// Takes a claimed joining as far as it goes; a failure is written to its row.
pub(crate) async fn run(tools: &Tools, job: ClaimedJoin) {
    let _counted = tools.metrics.count_job();
    let order = job.wanted.id;
    let done = match with_lease(tools, &job, Box::pin(join(tools, &job.wanted))).await {
        Ok(()) => tools.jobs.end_join(&job, None).await,
        Err(Error::LeaseLost) => {
            tracing::warn!(?order, "another recorder joins these files");
            return;
        }
        Err(error) if error.is_final() || job.attempts >= MAX_ATTEMPTS => {
            tracing::error!(?order, class = error.class(), attempts = job.attempts, "files could not be joined");
            tools.jobs.end_join(&job, Some(error.class())).await
        }
        Err(error) => {
            let pause = pause_after(job.attempts);
            tracing::warn!(
                ?order,
                class = error.class(),
                attempts = job.attempts,
                ?pause,
                "joining will be tried again"
            );
            tools.jobs.renew_join(&job, pause, Some(error.class())).await
        }
    };
    if let Err(error) = done {
        // The lease lapses and the job is claimed again.
        tracing::warn!(?order, class = error.class(), "what became of a joining could not be noted");
    }
}

async fn with_lease(tools: &Tools, job: &ClaimedJoin, work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(work);
    let mut renew = tokio::time::interval_at(tokio::time::Instant::now() + LEASE / 3, LEASE / 3);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = renew.tick() => {
                if let Err(Error::LeaseLost) = tools.jobs.renew_join(job, LEASE, None).await {
                    return Err(Error::LeaseLost);
                }
            }
        }
    }
}

async fn join(tools: &Tools, wanted: &Join) -> Result<()> {
    let buckets = tools.buckets.as_ref().ok_or(Error::NoBuckets)?;
    for whole in joined::plan(&wanted.delivered) {
        let is_wanted = match whole.folder {
            Folder::Audio => true,
            Folder::Video if whole.whose.as_deref().is_some_and(|whose| whose.ends_with(SHARED)) => wanted.shares,
            Folder::Video => wanted.cameras,
            Folder::Events => wanted.events,
            Folder::Posts => wanted.posts,
        };
        if !is_wanted {
            continue;
        }
        let key = name::joined(&wanted.to.prefix, whole.folder, wanted.id, whole.whose.as_deref(), whole.turn);
        let mut upload = buckets.upload(&wanted.to.bucket, &key, name::mime(whole.folder)).await?;
        match write(tools, buckets, &wanted.from, &whole, &mut upload).await {
            Ok(()) => upload.finish().await?,
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        }
    }
    tracing::info!(order = ?wanted.id, "files joined");
    Ok(())
}

async fn write(tools: &Tools, buckets: &Buckets, from: &Place, whole: &Whole, upload: &mut Upload) -> Result<()> {
    let read = async |piece: &wire::delivery::Piece| {
        let key = name::piece(&from.prefix, whole.folder, piece.named, whole.whose.as_deref());
        buckets.read((&from.bucket, &key)).await
    };
    let mut joiner = match whole.folder {
        Folder::Audio | Folder::Video => {
            let (joiner, head) = Joiner::begin(whole, &read(&whole.head).await?)?;
            upload.write(&head).await?;
            Some(joiner)
        }
        Folder::Events | Folder::Posts => None,
    };
    for piece in &whole.pieces {
        let bytes = read(piece).await?;
        match &mut joiner {
            Some(joiner) => upload.write(&joiner.add(*piece, &bytes)?).await?,
            None => upload.write(&bytes).await?,
        }
        tools.metrics.note_delivered(bytes.len() as u64);
        // A long file must not keep the others of this thread from theirs.
        tokio::task::yield_now().await;
    }
    Ok(())
}
