//! The recorder: one task for each Recording. It takes a Room's Tap, journals it, and turns the journal into sealed files.
//!
//! `worker` claims jobs from the database; `job` takes one through its steps; `source` reads the Tap into the `journal`.
//! Everything after that is a function of the journal: `jitter`, `timeline` and `frame` under `assembly`, then `mux` and
//! `render`. Files are sealed and stored by package `vault`. `delivery` cuts the same journal into the pieces that an order asks for,
//! `deliver` brings them to their bucket, and `join` makes one file of them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vault::{KeyProvider, Store};
use wire::tap_link::TapExchange;

pub mod assembly;
mod config;
mod deliver;
pub mod delivery;
pub mod error;
pub mod frame;
pub mod jitter;
mod job;
mod join;
pub mod journal;
pub mod metrics;
pub mod mux;
pub mod packet;
pub mod render;
mod source;
mod spool;
mod store;
pub mod timeline;
mod worker;

pub use config::RecorderConfig;
pub use error::{Error, Result};
pub use metrics::Metrics;
pub use spool::Spool;

/// Works on recording jobs until told to stop: on those of Taps that `taps` has, which name this spool's recorder, and on no others.
/// Jobs that are not done by then are taken up again, from their journals, by the next recorder on the same spool.
///
/// # Errors
/// When it cannot start: settings or the database. Later failures are the jobs' own.
pub async fn run(
    config: RecorderConfig,
    spool: Spool,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyProvider>,
    taps: TapExchange,
    stop: CancellationToken,
) -> Result<()> {
    config.validate()?;
    let jobs = store::Jobs::connect(&config, spool.recorder()).await?;
    jobs.let_go().await?;
    let folder = spool.path().to_owned();
    let (buckets, metrics) = (config.buckets.clone(), config.metrics.clone());
    let tools = job::Tools { jobs, store, keys, taps, buckets, spool: folder, metrics };
    worker::work(Arc::new(tools), stop).await;
    drop(spool);
    Ok(())
}
