//! Recording: its lifecycle from the request to the sealed files, and the news that the recorder is done.

pub mod command;
pub mod hold;
pub mod http;
pub mod playback;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::postgres::PgListener;
use time::OffsetDateTime;
use tokio::time::Instant;
use wire::manifest::{Content, Manifest};
use wire::{ParticipantId, RecordingId};

use crate::app::App;
use crate::audit::Draft;
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::live::Request;
use crate::words::words;

/// How long a Recording is kept, in calendar years: 7 years hold one or two leap days.
const RETENTION_YEARS: i32 = 7;

/// How often unfinished Recordings are looked at without any news; a lost notification costs no more than this.
const SWEEP: Duration = Duration::from_secs(5);

/// A recorder renews its lease every ten seconds. One that was silent for so long after the lease is taken for gone: its
/// Recordings are reported as failed, until it comes back and finishes them.
const GONE: Duration = Duration::from_secs(300);

/// Where recordings rest, and who opens their keys.
#[derive(Clone, Debug)]
pub struct Vault {
    /// The sealed objects.
    pub store: Arc<dyn vault::Store>,
    /// Unwraps the data keys.
    pub keys: Arc<dyn vault::KeyProvider>,
}

/// Where a Recording is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingStatus {
    /// The Tap is open; no frame has passed yet.
    Requested,
    /// Frames reach the recorder.
    Recording,
    /// Being stopped.
    Stopping,
    /// Capture ended; the recorder finishes the files.
    Processing,
    /// It can be played.
    Stored,
    /// It could not be finished.
    Failed,
    /// Deleted after its time.
    Deleted,
}

impl RecordingStatus {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Requested,
        Self::Recording,
        Self::Stopping,
        Self::Processing,
        Self::Stored,
        Self::Failed,
        Self::Deleted,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Recording => "RECORDING",
            Self::Stopping => "STOPPING",
            Self::Processing => "PROCESSING",
            Self::Stored => "STORED",
            Self::Failed => "FAILED",
            Self::Deleted => "DELETED",
        }
    }
}

words! {
    /// Why a recording is held. There is no free text: it would be about a patient.
    HoldReason {
        /// A lawsuit, or one that may come.
        Litigation = "LITIGATION",
        /// An inquiry of an authority or of the practice.
        Investigation = "INVESTIGATION",
        /// The patient asks for it.
        PatientRequest = "PATIENT_REQUEST",
        /// Something else, which the practice has written down elsewhere.
        Other = "OTHER",
    }
}

/// A Recording as its people may see it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingView {
    /// Which.
    pub recording_id: RecordingId,
    /// A [`RecordingStatus`].
    pub status: String,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub requested_at: OffsetDateTime,
    /// When the first frame passed.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub started_at: Option<OffsetDateTime>,
    /// When capture ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub stopped_at: Option<OffsetDateTime>,
    /// Of the longest artefact.
    pub duration_ms: Option<i64>,
    /// Why capture ended.
    pub stop_reason: Option<String>,
    /// Until when it is kept at least.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub retain_until: OffsetDateTime,
    /// It is kept longer, until somebody lifts that.
    pub held: bool,
    /// The playable files, once stored.
    pub artefacts: Vec<ArtefactView>,
}

/// One playable file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtefactView {
    /// For the playback request.
    pub name: String,
    /// `participant` or `mix`.
    pub content: &'static str,
    /// Whose picture and voice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<ParticipantId>,
    /// For the player.
    pub mime: String,
    /// Milliseconds.
    pub duration_ms: u64,
    /// What a player downloads.
    pub bytes: u64,
}

/// The playable files that a manifest lists.
pub(crate) fn artefacts(manifest: &Manifest) -> Vec<ArtefactView> {
    let view = |artefact: &wire::manifest::Artefact| {
        let (content, participant_id) = match &artefact.content {
            Content::Participant { participant, .. } => ("participant", Some(*participant)),
            Content::Mix => ("mix", None),
        };
        ArtefactView {
            name: artefact.name.clone(),
            content,
            participant_id,
            mime: artefact.mime.clone(),
            duration_ms: artefact.duration_ms,
            bytes: artefact.bytes,
        }
    };
    manifest.artefacts.iter().map(view).collect()
}

/// Until when a Recording of `now` is kept: the same day seven years on, or 1 March where there is no 29 February.
pub(crate) fn retain_until(now: Timestamp) -> Timestamp {
    let year = now.year() + RETENTION_YEARS;
    now.replace_year(year).unwrap_or_else(|_| {
        let march = now.replace_day(28).and_then(|day| day.replace_year(year)).unwrap_or(now);
        march + time::Duration::days(1)
    })
}

/// Completes Recordings whose jobs ended, as long as the process lives: by notification on a connection of its own, and by
/// a look every few seconds, which also finds what ended while nobody listened.
///
/// A recorder of this very process lets everyone know that it is back within seconds of the start, so nobody is reported as gone
/// before this process has watched for as long as it takes to be gone.
pub(crate) async fn watch_jobs(app: App) {
    let began = Instant::now();
    while !app.stop.is_cancelled() {
        let listener = tokio::select! {
            () = app.stop.cancelled() => return,
            listener = listen(&app) => listener,
        };
        let mut listener = match listener {
            Ok(listener) => Some(listener),
            Err(error) => {
                app.db.note_failed_look(&error, "no notifications of recording jobs for now");
                None
            }
        };
        loop {
            if let Err(error) = complete_all(&app).await {
                app.db.note_failed_look(&error, "recordings could not be completed for now");
            }
            if began.elapsed() > GONE
                && let Err(error) = report_abandoned(&app).await
            {
                app.db.note_failed_look(&error, "recordings without a recorder could not be looked for");
            }
            // What was recorded may be what an order waits for.
            app.orders.notify_one();
            let news = async {
                match &mut listener {
                    Some(listener) => listener.recv().await.map(drop),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = app.stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => if listener.is_none() { break },
                news = news => if news.is_err() { break },
            }
        }
    }
}

async fn listen(app: &App) -> Result<PgListener> {
    let mut listener = PgListener::connect_with(app.db.pool()).await?;
    listener.listen("recording_job").await?;
    Ok(listener)
}

/// Looks through unfinished Recordings once.
async fn complete_all(app: &App) -> Result<()> {
    for due in store::find_due(app.db.pool(), app.config.recorder, SWEEP * 2).await? {
        let now = app.now();
        settle(app, due, async |tx| store::complete(tx, due.recording, now).await).await;
    }
    Ok(())
}

/// Says of Recordings whose recorder is gone that they failed.
async fn report_abandoned(app: &App) -> Result<()> {
    for due in store::find_abandoned(app.db.pool(), GONE).await? {
        let now = app.now();
        if settle(app, due, async |tx| store::abandon(tx, due.recording, GONE, now).await).await {
            app.metrics.note_abandoned();
            tracing::error!(recording_id = %due.recording, "the recorder that has this recording is gone");
        }
    }
    Ok(())
}

/// Writes how a Recording ended and tells its Room, if that lives here. False when it was not written.
async fn settle(
    app: &App,
    due: store::Due,
    change: impl AsyncFnOnce(&mut Tx) -> Result<(store::Completed, Vec<Draft>)>,
) -> bool {
    let actor = Actor::System { org: due.org };
    let (visit, room, status) = match db::audited(&app.db, due.org, &actor, change).await {
        Ok(done) => done,
        // Another process was faster.
        Err(Error::Refused(_)) => return false,
        Err(error) => {
            tracing::warn!(recording_id = %due.recording, %error, "a recording could not be completed for now");
            return false;
        }
    };
    tracing::info!(recording_id = %due.recording, visit_id = %visit, status = status.as_str(), "a recording ended");
    if let Some(handle) = app.live.find(visit).filter(|handle| handle.room() == room)
        && handle.send(Request::Stored(due.recording, status.as_str())).await.is_err()
    {
        tracing::debug!(room_id = %room, "the room ended before it heard of its recording");
    }
    true
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        // Positions only: a JSON error's own text may quote what it read.
        Self::Inside(format!("json: line {} column {}", error.line(), error.column()))
    }
}
