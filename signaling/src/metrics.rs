//! What the role counts, as OpenMetrics text. Label values are words of this program: none names a person, a visit or an address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use wire::RoomId;

use crate::clock::Timestamp;
use crate::server::places::Full;

/// Upper bounds of how long requests take, in seconds: from a cached page to the limit of an ordinary request.
const SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 15.0];

/// Upper bounds of how long joins take, in seconds. The alarm is at 2.
const JOIN_SECONDS: [f64; 10] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0];

/// The role's figures. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    registry: Registry,
    rooms: Gauge,
    sockets: Gauge,
    draining: Gauge,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
    messages: Family<OutcomeLabels, Counter>,
    redeemed: Family<OutcomeLabels, Counter>,
    sessions_refused: Counter,
    samples: Family<OutcomeLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    abandoned: Counter,
    client_events: Counter,
    webhooks_waiting: Gauge,
    webhooks: Family<OutcomeLabels, Counter>,
    events_dropped: Counter,
    anchors_failed: Counter,
    break_glass: Counter,
    certificate_end: Gauge,
    joins: Histogram,
    waiting: Mutex<BTreeMap<RoomId, Waiting>>,
    waiting_people: Gauge,
    waiting_oldest: Gauge,
    database_up: Gauge,
    chain_checks: Family<OutcomeLabels, Counter>,
    bad_signatures: Counter,
    backup_at: Gauge,
    backup_age: Gauge,
    certificates: Family<OutcomeLabels, Counter>,
    handshakes_failed: Family<ReasonLabels, Counter>,
    spooled: Gauge,
    spool_refused: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    /// The pattern of the router.
    route: String,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusedLabels {
    what: &'static str,
    bound: &'static str,
}

impl Default for Figures {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("signaling");
        let all = Self {
            rooms: Gauge::default(),
            sockets: Gauge::default(),
            draining: Gauge::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(SECONDS),
            messages: Family::default(),
            redeemed: Family::default(),
            sessions_refused: Counter::default(),
            samples: Family::default(),
            refused: Family::default(),
            abandoned: Counter::default(),
            client_events: Counter::default(),
            webhooks_waiting: Gauge::default(),
            webhooks: Family::default(),
            events_dropped: Counter::default(),
            anchors_failed: Counter::default(),
            break_glass: Counter::default(),
            certificate_end: Gauge::default(),
            joins: Histogram::new(JOIN_SECONDS),
            waiting: Mutex::default(),
            waiting_people: Gauge::default(),
            waiting_oldest: Gauge::default(),
            database_up: Gauge::default(),
            chain_checks: Family::default(),
            bad_signatures: Counter::default(),
            backup_at: Gauge::default(),
            backup_age: Gauge::default(),
            certificates: Family::default(),
            handshakes_failed: Family::default(),
            spooled: Gauge::default(),
            spool_refused: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("rooms", "Live rooms", all.rooms.clone());
        let help = "Times that a chain of audit events could not be anchored";
        registry.register("audit_anchor_failures", help, all.anchors_failed.clone());
        let help = "Changes of live rooms that wait for the database, in the spool";
        registry.register("audit_spooled_changes", help, all.spooled.clone());
        let help = "Changes of live rooms that found neither the database nor room in the spool";
        registry.register("audit_spool_refused", help, all.spool_refused.clone());
        registry.register("sockets", "WebSockets that have a seat", all.sockets.clone());
        registry.register("draining", "1 when nothing new begins because the process stops", all.draining.clone());
        registry.register("http_requests", "HTTP requests by route and class of status", all.requests.clone());
        let help = "How long HTTP requests took, those that become streams or WebSockets left out";
        registry.register_with_unit("http_request", help, Unit::Seconds, all.request_seconds.clone());
        registry.register("messages", "WebSocket messages of clients, taken or refused", all.messages.clone());
        let text = "Uses of a session by somebody without its key, or from elsewhere without one";
        registry.register("sessions_refused", text, all.sessions_refused.clone());
        registry.register("join_tokens_redeemed", "Attempts to spend a join link", all.redeemed.clone());
        registry.register("quality_samples", "Quality samples, written or dropped", all.samples.clone());
        let help = "Connections turned away because there were too many, in all or from one address";
        registry.register("connections_refused", help, all.refused.clone());
        let help = "Recordings reported as failed because their recorder is gone";
        registry.register("recordings_abandoned", help, all.abandoned.clone());
        let help = "Events that clients of the Chime face told about their meetings";
        registry.register("client_events", help, all.client_events.clone());
        let help = "Deliveries to webhooks that wait, looked at every 15 seconds";
        registry.register("webhooks_waiting", help, all.webhooks_waiting.clone());
        let help = "Attempts to deliver to a webhook: taken, failed and to be tried again, or given up";
        registry.register("webhook_attempts", help, all.webhooks.clone());
        let help = "What rooms told about their people and nobody could write down for the webhooks";
        registry.register("webhook_events_dropped", help, all.events_dropped.clone());
        let help = "Visits that were opened in an emergency to somebody whose they are not: each is worth a look";
        registry.register("break_glass", help, all.break_glass.clone());
        let help = "When the certificate that is shown expires, in seconds since 1970; 0 while there is none";
        registry.register_with_unit(
            "certificate_not_after_timestamp",
            help,
            Unit::Seconds,
            all.certificate_end.clone(),
        );
        let help = "New certificates, taken, or refused so that the old one stayed";
        registry.register("certificates", help, all.certificates.clone());
        let help = "TLS handshakes that failed or took too long";
        registry.register("tls_handshakes_failed", help, all.handshakes_failed.clone());
        register_watched(&mut registry, &all);
        Self { registry, ..all }
    }
}

/// What alarms are made of. A counter that an alarm watches is there from the start: a first increase from nothing would not be seen.
fn register_watched(registry: &mut Registry, all: &Figures) {
    for outcome in ["redeemed", "refused"] {
        drop(all.redeemed.get_or_create(&OutcomeLabels { outcome }));
    }
    for outcome in ["whole", "broken"] {
        drop(all.chain_checks.get_or_create(&OutcomeLabels { outcome }));
    }
    for outcome in ["taken", "refused"] {
        drop(all.certificates.get_or_create(&OutcomeLabels { outcome }));
    }
    for outcome in ["taken", "failed", "given_up"] {
        drop(all.webhooks.get_or_create(&OutcomeLabels { outcome }));
    }
    for reason in ["failed", "slow"] {
        drop(all.handshakes_failed.get_or_create(&ReasonLabels { reason }));
    }
    for what in ["connection", "websocket"] {
        for bound in ["all", "address"] {
            drop(all.refused.get_or_create(&RefusedLabels { what, bound }));
        }
    }
    drop(all.requests.get_or_create(&RequestLabels { route: "none".to_owned(), class: "5xx" }));
    let help = "How long a browser's media connection took, from its offer to ICE and DTLS being up";
    registry.register_with_unit("join", help, Unit::Seconds, all.joins.clone());
    registry.register("waiting_people", "People who are connected and wait at a door", all.waiting_people.clone());
    let help = "Since when the one who has waited longest waits, in seconds since 1970; 0 when nobody does";
    registry.register_with_unit("waiting_oldest_timestamp", help, Unit::Seconds, all.waiting_oldest.clone());
    let help = "1 while the database answers, looked at every 10 seconds";
    registry.register("database_up", help, all.database_up.clone());
    registry.register("audit_chain_checks", "Audit chains that were checked", all.chain_checks.clone());
    let help = "Webhooks from outside whose signature was wrong or missing";
    registry.register("webhook_signature_failures", help, all.bad_signatures.clone());
    let help = "When the last good backup ended, in seconds since 1970; 0 when that is not known";
    registry.register_with_unit("backup_timestamp", help, Unit::Seconds, all.backup_at.clone());
    let help = "How old the last good backup is; 0 when that is not known";
    registry.register_with_unit("backup_age", help, Unit::Seconds, all.backup_age.clone());
}

/// Who waits in one Room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) people: usize,
    /// Since when the first of them does.
    pub(crate) oldest: Timestamp,
}

/// What became of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Taken,
    Malformed,
    TooLarge,
    TooMany,
}

/// What became of an attempt to deliver to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Taken,
    Failed,
    GivenUp,
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

    /// How many live Rooms there are now.
    pub(crate) fn set_rooms(&self, rooms: usize) {
        self.0.rooms.set(i64::try_from(rooms).unwrap_or(i64::MAX));
    }

    /// A chain was not anchored.
    pub(crate) fn note_anchor_failed(&self) {
        self.0.anchors_failed.inc();
    }

    /// So many changes wait in the spool.
    pub(crate) fn set_spooled(&self, changes: usize) {
        self.0.spooled.set(i64::try_from(changes).unwrap_or(i64::MAX));
    }

    /// A change was lost: the spool is full, or its disk fails.
    pub(crate) fn note_spool_refused(&self) {
        self.0.spool_refused.inc();
    }

    /// Nothing new begins from now on.
    pub(crate) fn note_draining(&self) {
        self.0.draining.set(1);
    }

    /// Counts a socket as long as the guard lives.
    pub(crate) fn count_socket(&self) -> SocketGuard {
        self.0.sockets.inc();
        SocketGuard(self.clone())
    }

    /// Somebody broke the glass.
    pub(crate) fn note_break_glass(&self) {
        self.0.break_glass.inc();
    }

    /// A client told how its meeting goes.
    pub(crate) fn note_client_events(&self, count: usize) {
        self.0.client_events.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn note_request(&self, route: &str, status: u16, took: Duration) {
        let class = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.0.requests.get_or_create(&RequestLabels { route: route.to_owned(), class }).inc();
        if class != "1xx" {
            self.0.request_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn note_message(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Taken => "taken",
            Outcome::Malformed => "malformed",
            Outcome::TooLarge => "too_large",
            Outcome::TooMany => "too_many",
        };
        count(&self.0.messages, outcome);
    }

    pub(crate) fn note_redeem(&self, is_redeemed: bool) {
        count(&self.0.redeemed, if is_redeemed { "redeemed" } else { "refused" });
    }

    pub(crate) fn note_stolen_session(&self) {
        self.0.sessions_refused.inc();
    }

    pub(crate) fn note_samples(&self, is_written: bool, samples: u64) {
        let outcome = if is_written { "written" } else { "dropped" };
        self.0.samples.get_or_create(&OutcomeLabels { outcome }).inc_by(samples);
    }

    /// How many deliveries wait.
    pub(crate) fn set_webhooks_waiting(&self, waiting: i64) {
        self.0.webhooks_waiting.set(waiting);
    }

    pub(crate) fn note_webhook(&self, outcome: Delivered) {
        let outcome = match outcome {
            Delivered::Taken => "taken",
            Delivered::Failed => "failed",
            Delivered::GivenUp => "given_up",
        };
        count(&self.0.webhooks, outcome);
    }

    pub(crate) fn note_events_dropped(&self, events: usize) {
        self.0.events_dropped.inc_by(u64::try_from(events).unwrap_or(u64::MAX));
    }

    /// A browser's media connection is up.
    pub(crate) fn note_join(&self, took: Duration) {
        self.0.joins.observe(took.as_secs_f64());
    }

    /// Who waits in this Room now.
    pub(crate) fn set_waiting(&self, room: RoomId, waiting: Option<Waiting>) {
        let mut rooms = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting {
            Some(waiting) => drop(rooms.insert(room, waiting)),
            None => drop(rooms.remove(&room)),
        }
        let people: usize = rooms.values().map(|room| room.people).sum();
        self.0.waiting_people.set(i64::try_from(people).unwrap_or(i64::MAX));
        let oldest = rooms.values().map(|room| room.oldest).min();
        self.0.waiting_oldest.set(oldest.map_or(0, Timestamp::unix_timestamp));
    }

    /// Whether the database answered just now.
    pub(crate) fn set_database_up(&self, is_up: bool) {
        self.0.database_up.set(i64::from(is_up));
    }

    /// An organisation's audit chain was checked.
    pub fn note_chain_check(&self, is_whole: bool) {
        count(&self.0.chain_checks, if is_whole { "whole" } else { "broken" });
    }

    /// A webhook from outside carried a wrong signature, or none.
    pub fn note_bad_signature(&self) {
        self.0.bad_signatures.inc();
    }

    /// When the last good backup ended, and how long ago that is.
    pub(crate) fn set_backup(&self, at: Timestamp, age: Duration) {
        self.0.backup_at.set(at.unix_timestamp());
        self.0.backup_age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// When the certificate that is shown expires.
    pub(crate) fn set_certificate_end(&self, at: Timestamp) {
        self.0.certificate_end.set(at.unix_timestamp());
    }

    pub(crate) fn note_certificate(&self, outcome: &'static str) {
        count(&self.0.certificates, outcome);
    }

    pub(crate) fn note_handshake_failed(&self, reason: &'static str) {
        self.0.handshakes_failed.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn note_abandoned(&self) {
        self.0.abandoned.inc();
    }

    pub(crate) fn note_refused(&self, what: &'static str, full: Full) {
        let bound = match full {
            Full::All => "all",
            Full::Address => "address",
        };
        self.0.refused.get_or_create(&RefusedLabels { what, bound }).inc();
    }
}

fn count(family: &Family<OutcomeLabels, Counter>, outcome: &'static str) {
    family.get_or_create(&OutcomeLabels { outcome }).inc();
}

/// One open socket.
#[derive(Debug)]
pub(crate) struct SocketGuard(Metrics);

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.0.0.sockets.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_open_metrics() {
        let metrics = Metrics::default();
        metrics.set_rooms(3);
        let guard = metrics.count_socket();
        drop(metrics.count_socket());
        metrics.note_request("/api/visits/{id}", 404, Duration::from_millis(3));
        metrics.note_request("/ws", 101, Duration::ZERO);
        metrics.note_message(Outcome::Malformed);
        metrics.note_redeem(true);
        metrics.note_samples(false, 7);
        metrics.note_refused("websocket", Full::Address);
        metrics.note_abandoned();
        metrics.set_webhooks_waiting(5);
        metrics.note_webhook(Delivered::GivenUp);
        metrics.note_events_dropped(2);
        metrics.note_join(Duration::from_millis(150));
        metrics.set_backup(Timestamp::UNIX_EPOCH + Duration::from_secs(7), Duration::from_secs(90));
        metrics.note_chain_check(false);
        let (one, other) = (RoomId::random(), RoomId::random());
        let since = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        metrics.set_waiting(one, Some(Waiting { people: 2, oldest: since(500) }));
        metrics.set_waiting(other, Some(Waiting { people: 1, oldest: since(400) }));
        metrics.set_waiting(one, Some(Waiting { people: 1, oldest: since(600) }));
        let text = metrics.render();
        for line in [
            "# TYPE signaling_rooms gauge",
            "signaling_rooms 3",
            "signaling_sockets 1",
            "signaling_draining 0",
            "signaling_http_requests_total{route=\"/api/visits/{id}\",class=\"4xx\"} 1",
            "signaling_http_request_seconds_count 1",
            "signaling_messages_total{outcome=\"malformed\"} 1",
            "signaling_join_tokens_redeemed_total{outcome=\"redeemed\"} 1",
            "signaling_quality_samples_total{outcome=\"dropped\"} 7",
            "signaling_connections_refused_total{what=\"websocket\",bound=\"address\"} 1",
            "signaling_recordings_abandoned_total 1",
            "signaling_webhooks_waiting 5",
            "signaling_webhook_attempts_total{outcome=\"given_up\"} 1",
            "signaling_webhook_events_dropped_total 2",
            "signaling_join_tokens_redeemed_total{outcome=\"refused\"} 0",
            "signaling_join_seconds_count 1",
            "signaling_join_seconds_bucket{le=\"0.2\"} 1",
            "signaling_backup_age_seconds 90",
            "signaling_audit_chain_checks_total{outcome=\"broken\"} 1",
            "signaling_waiting_people 2",
            "signaling_waiting_oldest_timestamp_seconds 400",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("# EOF"));
        metrics.set_waiting(other, None);
        metrics.set_waiting(one, None);
        assert!(metrics.render().lines().any(|l| l == "signaling_waiting_oldest_timestamp_seconds 0"));
        drop(guard);
        assert!(metrics.render().lines().any(|l| l == "signaling_sockets 0"));
    }
}
