//! The Rooms' media node, over Link: commands with a time limit, events brought to their Rooms.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wire::control::{Command, Event, Reason, Refusal, Reply};
use wire::link::{Requester, SignalingEnd};

use crate::live::{Directory, Request};

/// How long a command may take. The node answers within milliseconds or is in trouble; people wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the Rooms may take to end when the process stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Asks the media node, for a limited time.
pub(crate) async fn ask(requester: &Requester, command: Command) -> Result<Reply, Refusal> {
    tokio::time::timeout(PATIENCE, requester.request(command))
        .await
        .unwrap_or_else(|_| Err(Refusal::new(Reason::Unavailable, "the media node did not answer in time")))
}

/// Brings events to their Rooms until the node or the process stops. Events that a newer one replaces are dropped when a
/// Room is busy; for all others the pump waits, and the node keeps what it has.
pub(crate) async fn pump(mut link: SignalingEnd, directory: Arc<Directory>, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return drain(&directory).await,
            event = link.next_event() => event,
        };
        match event {
            Some(event) => deliver(&directory, event).await,
            None => break,
        }
    }
    tracing::error!("the media node is gone");
    for handle in directory.close() {
        // A Room that ended meanwhile needs no telling.
        let _ = handle.send(Request::SfuGone).await;
    }
}

/// Ends all Rooms because the process stops. The link still stands meanwhile, so that the node hears of it.
async fn drain(directory: &Directory) {
    let rooms = directory.close();
    let all = async {
        for room in &rooms {
            let _ = room.send(Request::Drain).await;
        }
        for room in &rooms {
            room.ended().await;
        }
    };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(rooms = rooms.len(), "not every room ended in time");
    }
}

async fn deliver(directory: &Directory, event: Event) {
    // Events of a Room that has just ended are late, not wrong.
    let Some(handle) = directory.find_room(event.room()) else { return };
    if event.is_replaceable() {
        handle.try_send(Request::Sfu(event));
    } else {
        let _ = handle.send(Request::Sfu(event)).await;
    }
}
