//! What every story needs: the running product, people who join it, and things to watch.

pub(crate) mod http;
pub(crate) mod media;
pub(crate) mod peer;
pub(crate) mod person;
pub(crate) mod server;
pub(crate) mod socket;

use std::time::Duration;

/// How long anything that should happen may take. Generous, because the machine may be busy; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits what should happen; says what did not.
pub(crate) async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happening).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
