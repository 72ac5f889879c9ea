//! Many clients at once, for a while: how many acts a second, and how long one takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::Error;
use crate::acts::{self, Act};
use crate::house::House;

/// What was measured.
pub(crate) struct Measured {
    /// Acts a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// Acts in all.
    pub(crate) done: u64,
}

/// Runs an act by `clients` clients until `span` is over, or until what was prepared is used up. Each client is a task of its own.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) async fn run(house: &Arc<House>, act: Act, span: Duration, clients: usize) -> Result<Measured, Error> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (house, next) = (Arc::clone(house), Arc::clone(&next));
        tasks.spawn(async move {
            let mut times = Histogram::<u64>::new(3)?;
            while began.elapsed() < span {
                let start = Instant::now();
                if !acts::act(&house, act, next.fetch_add(1, Ordering::Relaxed)).await? {
                    break;
                }
                times.record(u64::try_from(start.elapsed().as_micros())?)?;
            }
            Ok::<_, Error>(times)
        });
    }
    let mut times = Histogram::<u64>::new(3)?;
    while let Some(one) = tasks.join_next().await {
        times.add(one??)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let milliseconds = |quantile: f64| Duration::from_micros(times.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of acts is far below 2^52")]
    let rate = times.len() as f64 / seconds;
    Ok(Measured { rate, p50: milliseconds(0.5), p99: milliseconds(0.99), done: times.len() })
}
