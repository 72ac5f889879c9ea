//! Whether the database is there. While it is not, whoever asks is told at once instead of after the pool's patience: a live Room would
//! stand still for that long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

/// How often somebody looks while it is away.
const LOOK: Duration = Duration::from_millis(250);

/// How long it may take to answer then.
const PATIENCE: Duration = Duration::from_secs(2);

/// Open while the database answers.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pool: PgPool,
    is_away: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, is_away: Arc::default() }
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// Closes, and looks for the database until it answers. A pool that was only busy is open again within a moment.
    pub(super) fn close(&self) {
        if self.is_away.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!("the database does not answer");
        let gate = self.clone();
        tokio::spawn(async move {
            while !gate.pool.is_closed() {
                if matches!(timeout(PATIENCE, gate.look()).await, Ok(Ok(()))) {
                    gate.is_away.store(false, Ordering::Release);
                    return tracing::info!("the database answers again");
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }

    /// On a connection of its own: those of the pool may all be broken or in use.
    async fn look(&self) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.pool.connect_options()).await?;
        connection.ping().await?;
        connection.close().await
    }
}
