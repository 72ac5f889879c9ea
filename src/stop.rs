//! SIGTERM and Ctrl-C: the first asks to leave in order, the second to leave now.

use signaling::Stop;
use tokio::signal::unix::{SignalKind, signal};

/// A first SIGTERM or SIGINT cancels `drain`, a second one `now`.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) fn on_signal() -> std::io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = Stop::default();
    let told = stop.clone();
    tokio::spawn(async move {
        for token in [&told.drain, &told.now] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = told.now.cancelled() => return,
            };
            tracing::info!(signal = name, at_once = told.drain.is_cancelled(), "stopping");
            token.cancel();
        }
    });
    Ok(stop)
}
