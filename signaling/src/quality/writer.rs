//! Writes samples in batches beside everything else. Nobody waits for it: what it cannot take is dropped and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use wire::VisitId;

use crate::app::App;
use crate::db;
use crate::error::Error;
use crate::ids::OrgId;
use crate::metrics::Metrics;
use crate::quality::{Place, Sample, store};

/// Samples that wait to be written. At one in six seconds for each person, 4000 people fill this in the twelve seconds that a
/// slow statement may take; what comes then is dropped.
pub(crate) const QUEUE: usize = 8_192;

/// How often what has come is written.
const WRITE_EVERY: Duration = Duration::from_secs(3);

/// How often the samples whose time is over are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long the last batch may take at the end of the process.
const LAST_WRITE: Duration = Duration::from_secs(1);

type Queue = mpsc::Receiver<(Place, Sample)>;

/// Where Rooms put their samples.
#[derive(Debug)]
pub struct Samples {
    queue: mpsc::Sender<(Place, Sample)>,
    /// Until the writer takes it.
    waiting: Mutex<Option<Queue>>,
    metrics: Metrics,
}

impl Samples {
    /// An empty queue; what becomes of its samples is counted in `metrics`.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self { queue, waiting: Mutex::new(Some(waiting)), metrics }
    }

    /// Takes a sample if there is room for it.
    pub(crate) fn put(&self, place: Place, sample: Sample) {
        if self.queue.try_send((place, sample)).is_err() {
            self.metrics.note_samples(false, 1);
        }
    }
}

/// Writes what Rooms measured, and forgets what is too old, until the process stops.
pub(crate) async fn run(app: App) {
    let taken = app.samples.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut queue) = taken else { return };
    let mut write = interval_at(Instant::now() + WRITE_EVERY, WRITE_EVERY);
    // Missed while a statement hung: one write makes up for all of them.
    write.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => break,
            _ = write.tick() => write_all(&app, &mut queue).await,
            _ = sweep.tick() => forget_old(&app).await,
        }
    }
    if timeout(LAST_WRITE, write_all(&app, &mut queue)).await.is_err() {
        tracing::warn!("the last quality samples were not written");
    }
}

/// Writes everything that waits, one statement for each organisation.
async fn write_all(app: &App, queue: &mut Queue) {
    let mut batches: BTreeMap<OrgId, Vec<(VisitId, Sample)>> = BTreeMap::new();
    while let Ok((place, sample)) = queue.try_recv() {
        batches.entry(place.org).or_default().push((place.visit, sample));
    }
    for (org, batch) in batches {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match db::measured(&app.db, org, async |tx| store::insert(tx, org, &batch).await).await {
            Ok(()) => app.metrics.note_samples(true, count),
            Err(error) => {
                tracing::warn!(%error, count, "quality samples were not written");
                app.metrics.note_samples(false, count);
            }
        }
    }
}

async fn forget_old(app: &App) {
    let before = app.now() - app.config.quality_kept;
    let mut all = 0;
    let result: Result<(), Error> = async {
        loop {
            let gone = store::forget(app.db.pool(), before).await?;
            all += gone;
            if !store::is_more(gone) || app.stop.is_cancelled() {
                return Ok(());
            }
        }
    }
    .await;
    match result {
        Ok(()) if all > 0 => tracing::info!(count = all, "old quality samples were forgotten"),
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "old quality samples could not be forgotten for now"),
    }
}
