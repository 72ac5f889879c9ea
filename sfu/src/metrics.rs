//! What the node counts, as OpenMetrics text. Shards publish a copy of their counters once a second.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Counters;

use crate::socket::SocketCounters;

/// The latest figures of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// The engine's counters.
    pub engine: Counters,
    pub(crate) socket: SocketCounters,
    /// Frames that a slow recorder made us drop.
    pub tap_dropped: u64,
    /// Replaceable events that a slow signaling made us drop.
    pub events_dropped: u64,
}

/// The figures of all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    shards: Arc<Vec<Mutex<ShardStats>>>,
}

/// Where one shard puts its figures.
#[derive(Clone, Debug)]
pub(crate) struct MetricsSlot {
    metrics: Metrics,
    index: usize,
}

impl Metrics {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: Arc::new((0..shards).map(|_| Mutex::default()).collect()) }
    }

    pub(crate) fn slot(&self, index: usize) -> MetricsSlot {
        MetricsSlot { metrics: self.clone(), index }
    }

    /// The latest figures of each shard, at most a second old.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ShardStats> {
        // A panic between two assignments leaves old figures: still figures.
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// OpenMetrics text, without the closing `# EOF`, so that other roles can add theirs.
    #[must_use]
    pub fn render(&self) -> String {
        let shards = self.snapshot();
        let mut text = String::new();
        let mut counter = |name: &str, help: &str, value: &dyn Fn(&ShardStats) -> u64| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            for (index, shard) in shards.iter().enumerate() {
                let _ = writeln!(text, "{name}_total{{shard=\"{index}\"}} {}", value(shard));
            }
        };
        counter("sfu_datagrams_received", "Datagrams read from the media port.", &|s| s.socket.received);
        counter("sfu_datagrams_sent", "Datagrams given to the kernel.", &|s| s.socket.sent);
        counter("sfu_datagrams_truncated", "Datagrams longer than any of ours may be.", &|s| s.socket.truncated);
        counter("sfu_send_dropped", "Datagrams that the kernel did not take.", &|s| s.socket.send_dropped);
        counter("sfu_tap_dropped", "Packets dropped because a recorder was slow.", &|s| s.tap_dropped);
        counter("sfu_events_dropped", "Replaceable events dropped because signaling was slow.", &|s| s.events_dropped);
        for (name, value) in shards.first().map(|s| s.engine.named()).unwrap_or_default() {
            let _ = value;
            counter(&format!("sfu_{name}"), "Counted by the engine.", &|s| {
                s.engine.named().into_iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| value)
            });
        }
        text
    }
}

impl MetricsSlot {
    pub(crate) fn publish(&self, stats: ShardStats) {
        if let Some(shard) = self.metrics.shards.get(self.index) {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        }
    }
}
