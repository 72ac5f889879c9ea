//! What the recorder counts, as OpenMetrics text. No label names a recording or a store.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The role's figures. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    registry: Registry,
    running: Gauge,
    jobs: Family<OutcomeLabels, Counter>,
    uploaded: Counter,
    delivered: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Default for Figures {
    fn default() -> Self {
        let (running, jobs) = (Gauge::default(), Family::default());
        let (uploaded, delivered) = (Counter::default(), Counter::default());
        let mut registry = Registry::with_prefix("recorder");
        registry.register("jobs_running", "Recordings that are captured, sealed or uploaded now", running.clone());
        registry.register("jobs", "Attempts at a recording that ended", Family::clone(&jobs));
        let help = "Sealed files that the store has taken";
        registry.register_with_unit("uploaded", help, Unit::Bytes, uploaded.clone());
        let help = "Objects that buckets have taken";
        registry.register_with_unit("delivered", help, Unit::Bytes, delivered.clone());
        // There from the start: an alarm would not see a first failure that comes out of nothing.
        for outcome in ["stored", "failed"] {
            drop(Family::get_or_create(&jobs, &OutcomeLabels { outcome }));
        }
        Self { registry, running, jobs, uploaded, delivered }
    }
}

/// How an attempt at a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Stored,
    Failed,
    PutOff,
    LeaseLost,
}

impl Metrics {
    /// OpenMetrics text, without the closing `# EOF`, so that other roles can add theirs.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode_registry(&mut text, &self.0.registry);
        text
    }

    /// Counts a job as long as the guard lives.
    pub(crate) fn count_job(&self) -> JobGuard {
        self.0.running.inc();
        JobGuard(self.clone())
    }

    pub(crate) fn note_ended(&self, ended: Ended) {
        let outcome = match ended {
            Ended::Stored => "stored",
            Ended::Failed => "failed",
            Ended::PutOff => "put_off",
            Ended::LeaseLost => "lease_lost",
        };
        self.0.jobs.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(crate) fn note_uploaded(&self, bytes: u64) {
        self.0.uploaded.inc_by(bytes);
    }

    pub(crate) fn note_delivered(&self, bytes: u64) {
        self.0.delivered.inc_by(bytes);
    }
}

/// One running job.
#[derive(Debug)]
pub(crate) struct JobGuard(Metrics);

impl Drop for JobGuard {
    fn drop(&mut self) {
        self.0.0.running.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_open_metrics() {
        let metrics = Metrics::default();
        let guard = metrics.count_job();
        metrics.note_ended(Ended::PutOff);
        metrics.note_uploaded(700);
        let text = metrics.render();
        for line in [
            "recorder_jobs_running 1",
            "recorder_jobs_total{outcome=\"put_off\"} 1",
            "recorder_uploaded_bytes_total 700",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        drop(guard);
        assert!(metrics.render().lines().any(|l| l == "recorder_jobs_running 0"));
    }
}
