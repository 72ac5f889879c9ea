//! The three roles in one process: joined, started, and stopped in the order in which they depend on each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use recorder::{RecorderConfig, Spool};
use sfu::{Sfu, SfuConfig};
use signaling::auth::keys::Keys;
use signaling::recording::Vault;
use signaling::{SignalingConfig, Stop};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vault::Buckets;
use wire::tap_link::TapExchange;

use crate::Error;
use crate::metrics::{self, ProcessConfig, Sources};

/// How long the media node and the recorder may each take to end. What the recorder has not finished by then it finishes from its
/// journal after the next start.
const DRAIN: Duration = Duration::from_secs(1);

/// What the roles are told.
#[derive(Debug)]
pub(crate) struct Roles {
    pub(crate) signaling: SignalingConfig,
    pub(crate) keys: Keys,
    pub(crate) sfu: SfuConfig,
    pub(crate) recorder: RecorderConfig,
    /// Where recordings rest, and what wraps their keys: the recorder writes there, playback reads.
    pub(crate) vault: Vault,
    /// Where captures are delivered.
    pub(crate) buckets: Buckets,
    pub(crate) process: ProcessConfig,
}

/// Runs all three until told to stop, or until one fails, which stops the others. Told to drain, it waits until signaling has. `on_ready` is called once, with the address of the
/// pages, when visits can be held.
///
/// # Errors
/// The first role's that failed.
pub(crate) async fn run(roles: Roles, on_ready: impl FnOnce(SocketAddr), stop: Stop) -> Result<(), Error> {
    let (signaling_end, sfu_end) = wire::link::in_process();
    let taps = TapExchange::default();
    let sfu = Sfu::bind(roles.sfu)?;
    let sources = Sources {
        signaling: roles.signaling.metrics.clone(),
        sfu: sfu.metrics(),
        recorder: roles.recorder.metrics.clone(),
    };
    // Dropped with this function, so that the figures can be seen until the last role has ended.
    let mut figures = tokio::task::JoinSet::new();
    if let Some(address) = roles.process.metrics {
        let listener =
            TcpListener::bind(address).await.map_err(|error| format!("cannot serve figures on {address}: {error}"))?;
        tracing::info!(%address, "figures are served");
        figures.spawn(metrics::serve(listener, sources));
    }
    roles.recorder.validate()?;
    // Held from here on, and named to signaling: what is tapped in this process this process records.
    let spool = Spool::open(&roles.recorder.spool).map_err(|error| format!("the recorder: {error}"))?;
    let (store, kek) = (Arc::clone(&roles.vault.store), Arc::clone(&roles.vault.keys));
    let settings = SignalingConfig {
        vault: Some(roles.vault),
        has_bucket_keys: roles.buckets.has_keys(),
        recorder: Some(spool.recorder()),
        ..roles.signaling
    };
    let recording = RecorderConfig { buckets: Some(roles.buckets), ..roles.recorder };
    let (ready, is_ready) = oneshot::channel();
    // Signaling goes first, because it speaks to people; its end closes the rooms; what their taps held the recorder then has.
    let [stop_signaling, stop_sfu, stop_recorder] = [(); 3].map(|()| CancellationToken::new());
    let mut recorder = tokio::spawn(recorder::run(recording, spool, store, kek, taps.clone(), stop_recorder.clone()));
    let mut sfu = tokio::spawn(sfu.run(sfu_end, taps, stop_sfu.clone()));
    let told = Stop { drain: stop.drain.clone(), now: stop_signaling.clone() };
    let mut signaling = tokio::spawn(signaling::run(settings, roles.keys, signaling_end, ready, told));

    let announce = async {
        match is_ready.await {
            Ok(address) => on_ready(address),
            // It failed at the start, which the select below reports.
            Err(_) => std::future::pending().await,
        }
    };
    let mut failed: Option<Error> = tokio::select! {
        biased;
        // Signaling cancels this itself when it has drained; its end, and the media node's that follows, are then no failures.
        () = stop_signaling.cancelled() => None,
        () = async { announce.await; stop.now.cancelled().await } => None,
        () = stop.now.cancelled() => None,
        ended = &mut signaling => Some(early("signaling", ended)),
        ended = &mut sfu => Some(early("the media node", ended)),
        ended = &mut recorder => Some(early("the recorder", ended)),
    };
    stop.now.cancel();
    stop_signaling.cancel();
    // Signaling bounds its own end by its settings.
    end("signaling", signaling, Duration::from_secs(60), &mut failed).await;
    stop_sfu.cancel();
    end("the media node", sfu, DRAIN, &mut failed).await;
    stop_recorder.cancel();
    end("the recorder", recorder, DRAIN, &mut failed).await;
    failed.map_or(Ok(()), Err)
}

type Ended<E> = Result<Result<(), E>, tokio::task::JoinError>;

fn early<E: std::error::Error>(role: &str, ended: Ended<E>) -> Error {
    match ended {
        Ok(Ok(())) => format!("{role} ended by itself").into(),
        Ok(Err(error)) => format!("{role}: {error}").into(),
        Err(error) => format!("{role} panicked: {error}").into(),
    }
}

async fn end<E: std::error::Error>(
    role: &str,
    mut task: tokio::task::JoinHandle<Result<(), E>>,
    limit: Duration,
    failed: &mut Option<Error>,
) {
    // The one that ended early has been reported; its handle must not be polled again.
    if task.is_finished() && failed.is_some() {
        return;
    }
    match timeout(limit, &mut task).await {
        Ok(Ok(Ok(()))) => {}
        Ok(ended) => {
            failed.get_or_insert_with(|| early(role, ended));
        }
        Err(_) => {
            tracing::warn!(role, "did not end in time");
            task.abort();
        }
    }
}
