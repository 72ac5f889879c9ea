//! One job through its steps: Claimed, Capturing, Sealing, Uploading, Stored, and the delivery of what was ordered beside. Each step
//! can be taken again after a crash.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vault::keys::recording_context;
use vault::{Buckets, DataKey, KeyProvider, SealedObject, Store, StoreError};
use wire::manifest::Manifest;
use wire::tap_link::TapExchange;

use crate::deliver;
use crate::error::{Error, Result};
use crate::journal::{self, Journal};
use crate::metrics::{Ended, Metrics};
use crate::render::{self, object_name};
use crate::source;
use crate::store::{Claimed, Jobs, LEASE, Step};

/// After so many claims a job is given up; with the longest pause this is some hours of a store that is away.
pub(crate) const MAX_ATTEMPTS: i32 = 240;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The manifest in the spool. Sealed files beside it are whole once it is there, and are never sealed again.
const MANIFEST: &str = "manifest.json";

/// What jobs work with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) jobs: Jobs,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<dyn KeyProvider>,
    pub(crate) taps: TapExchange,
    /// Where deliveries go.
    pub(crate) buckets: Option<Buckets>,
    pub(crate) spool: PathBuf,
    pub(crate) metrics: Metrics,
}

/// Takes a claimed job as far as it goes; a failure is written to its row.
pub(crate) async fn run(tools: &Tools, job: Claimed) {
    let _counted = tools.metrics.count_job();
    let recording = job.recording;
    let Err(error) = steps(tools, &job).await else {
        tools.metrics.note_ended(Ended::Stored);
        tracing::info!(?recording, "recording stored");
        return;
    };
    // The class alone: messages of the database and of stores may name hosts and people.
    let class = error.class();
    let noted = if matches!(error, Error::LeaseLost) {
        tools.metrics.note_ended(Ended::LeaseLost);
        tracing::warn!(?recording, "another recorder has the job");
        return;
    } else if error.is_final() || job.attempts >= MAX_ATTEMPTS {
        tools.metrics.note_ended(Ended::Failed);
        tracing::error!(?recording, class, attempts = job.attempts, "recording failed");
        tools.jobs.fail(&job, class).await
    } else {
        tools.metrics.note_ended(Ended::PutOff);
        let pause = pause_after(job.attempts);
        tracing::warn!(?recording, class, attempts = job.attempts, ?pause, "recording will be tried again");
        tools.jobs.put_off(&job, class, pause).await
    };
    if let Err(error) = noted {
        // The lease lapses and the job is claimed again.
        tracing::warn!(?recording, class = error.class(), "the failure could not be noted");
    }
}

pub(crate) fn pause_after(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 7) - 1).unwrap_or(0);
    (Duration::from_secs(1) * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

async fn steps(tools: &Tools, job: &Claimed) -> Result<()> {
    let folder = tools.spool.join(job.recording.to_string());
    make_folder(&folder)?;
    let key = data_key(tools, job, &folder).await?;

    if let Some(token) = &job.tap_token {
        match tools.taps.dial(token) {
            Ok(frames) => {
                let epoch = u32::try_from(job.epoch).unwrap_or(0);
                let journal = Journal::create(&folder, job.recording, epoch, &key)?;
                // A Tap is dialed once: while the database is away its frames go into the journal all the same.
                match tools.jobs.step(job, Step::Capturing).await {
                    Err(Error::LeaseLost) => return Err(Error::LeaseLost),
                    Err(error) => tracing::warn!(recording = ?job.recording, class = error.class(), "step not noted"),
                    Ok(()) => {}
                }
                source::capture(frames, journal, &tools.jobs, job).await?;
            }
            // Dialed before, or the media node is gone: what the journal holds is all there will be.
            Err(_) if journal::find(&folder)?.is_empty() => return Err(Error::TapGone),
            Err(_) => {}
        }
    }

    // Neither waits for the other: what can be kept is kept, whichever store is away.
    let stored = if job.is_stored { Ok(()) } else { finish(tools, job, &key, &folder).await };
    let delivered = match &job.order {
        Some(order) if !matches!(stored, Err(Error::LeaseLost)) => {
            with_lease(tools, job, Box::pin(deliver::deliver(tools, job, order, &key, &folder))).await
        }
        Some(_) | None => Ok(()),
    };
    match (stored, delivered) {
        (Ok(()), Ok(())) => {}
        // What may still come to its place is not given up because the other cannot.
        (Err(Error::LeaseLost), _) | (_, Err(Error::LeaseLost)) => return Err(Error::LeaseLost),
        (Err(stored), Err(delivered)) => return Err(if stored.is_final() { delivered } else { stored }),
        (Err(error), Ok(())) | (Ok(()), Err(error)) => return Err(error),
    }
    // Only now is there another copy. A folder that cannot be removed costs space, nothing else.
    if let Err(error) = fs::remove_dir_all(&folder) {
        tracing::warn!(recording = ?job.recording, kind = ?error.kind(), "the spool could not be cleared");
    }
    Ok(())
}

/// From the journal to sealed files in the store.
async fn finish(tools: &Tools, job: &Claimed, key: &DataKey, folder: &Path) -> Result<()> {
    let manifest = match read_manifest(folder)? {
        Some(manifest) => manifest,
        None => {
            if journal::find(folder)?.is_empty() {
                return Err(Error::TapGone);
            }
            tools.jobs.step(job, Step::Sealing).await?;
            with_lease(tools, job, seal(job, key.clone(), folder.to_owned())).await?
        }
    };

    tools.jobs.step(job, Step::Uploading).await?;
    with_lease(tools, job, upload(tools, job, key, folder, &manifest)).await?;
    tools.jobs.store(job, &manifest).await
}

/// The recording's data key; made and kept before the first byte is written under it.
async fn data_key(tools: &Tools, job: &Claimed, folder: &Path) -> Result<DataKey> {
    let context = recording_context(job.recording);
    match &job.key {
        Some(wrapped) => Ok(tools.keys.unwrap(wrapped, &context).await?),
        None if !journal::find(folder)?.is_empty() => Err(Error::NoKey),
        None => {
            let (key, wrapped) = tools.keys.generate(&context).await?;
            tools.jobs.keep_key(job, &wrapped).await?;
            Ok(key)
        }
    }
}

/// Renders on a thread of its own, then leaves the manifest as the mark that the sealed files are whole.
async fn seal(job: &Claimed, key: DataKey, folder: PathBuf) -> Result<Manifest> {
    let (recording, room, epoch) = (job.recording, job.room, u32::try_from(job.epoch).unwrap_or(0));
    let rendering = move || {
        let manifest = render::render(&render::Job { recording, room, epoch, key: &key, folder: &folder })?;
        write_manifest(&folder, &manifest)?;
        Ok(manifest)
    };
    tokio::task::spawn_blocking(rendering).await.map_err(|error| Error::File(std::io::Error::other(error)))?
}

async fn upload(tools: &Tools, job: &Claimed, key: &DataKey, folder: &Path, manifest: &Manifest) -> Result<()> {
    for artefact in &manifest.artefacts {
        let name = object_name(job.recording, &artefact.name)?;
        let sealed = folder.join(format!("{}.sealed", artefact.name));
        let sealed_bytes = tokio::fs::metadata(&sealed).await?.len();
        match tools.store.put(&name, &sealed).await {
            // An upload whose answer was lost; reading it back tells whether it is the same.
            Ok(()) | Err(StoreError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let stored = SealedObject::open(Arc::clone(&tools.store), &name, key).await?;
        if stored.plain_size() != artefact.bytes {
            return Err(StoreError::Short.into());
        }
        tools.metrics.note_uploaded(sealed_bytes);
    }
    Ok(())
}

/// Does something long while the lease is renewed. When the lease is lost the work is dropped: another recorder does it.
async fn with_lease<T>(tools: &Tools, job: &Claimed, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::pin!(work);
    let mut renew = tokio::time::interval_at(tokio::time::Instant::now() + LEASE / 3, LEASE / 3);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = renew.tick() => {
                // Any other failure is the database being away; the lease lapses at the earliest after two more tries.
                if let Err(Error::LeaseLost) = tools.jobs.renew(job).await {
                    return Err(Error::LeaseLost);
                }
            }
        }
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    Ok(fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?)
}

fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    match fs::read(folder.join(MANIFEST)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<()> {
    let (draft, place) = (folder.join("manifest.draft"), folder.join(MANIFEST));
    let mut file = fs::File::create(&draft)?;
    file.write_all(&serde_json::to_vec(manifest)?)?;
    file.sync_all()?;
    fs::rename(draft, place)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}
