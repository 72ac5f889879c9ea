//! What the node counts, as OpenMetrics text. Shards publish a copy of their counters once a second.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Counters;

use crate::mixing::{Desk, MixStats};
use crate::socket::SocketCounters;
use crate::tcp::{AcceptCounters, TcpCounters};

type Read = fn(&Counters) -> u64;

/// The engine's counters under their public names.
const ENGINE_COUNTERS: &[(&str, &str, Read)] = &[
    ("sfu_rtp_packets_received", "Authenticated RTP packets from peers.", |c| c.rtp_in),
    ("sfu_rtp_packets_forwarded", "RTP packets sent on, one for each receiver.", |c| c.forwarded),
    ("sfu_rtp_packets_mixed", "Packets of mixes sent, one for each listener.", |c| c.mixed),
    ("sfu_rtp_packets_held_by_door", "Packets of or for somebody who is not admitted.", |c| c.held_by_door),
    ("sfu_rtp_packets_held_by_rights", "Packets that somebody may not send or be sent.", |c| c.held_by_rights),
    ("sfu_rtp_packets_held_by_mute", "Packets of a source that a clinician muted.", |c| c.held_by_mute),
    ("sfu_rtp_packets_retransmitted", "Packets repeated after a NACK.", |c| c.retransmitted),
    ("sfu_rtp_packets_repaired", "Packets that a publisher repeated after our NACK.", |c| c.repaired_up),
    ("sfu_rtp_packets_recovered", "Packets of sound that redundancy brought back.", |c| c.recovered_up),
    ("sfu_rtp_packets_protected", "Packets of sound sent with redundancy of ours.", |c| c.protected_down),
    ("sfu_nacks_sent", "Missing packets asked for.", |c| c.nacks_sent),
    ("sfu_nacks_received", "Missing packets asked of us.", |c| c.nacks_received),
    ("sfu_keyframes_asked", "Keyframe requests sent to publishers.", |c| c.keyframes_asked),
    ("sfu_datagrams_junk", "Datagrams that are nothing we know, or from an unbound address.", |c| c.junk),
    ("sfu_stun_refused", "STUN without valid credentials.", |c| c.stun_refused),
    ("sfu_srtp_refused", "Packets that failed authentication or were replayed.", |c| c.srtp_refused),
    ("sfu_packets_malformed", "Authenticated packets that make no sense.", |c| c.malformed),
    ("sfu_limited_media", "Media packets dropped because one peer sent too many.", |c| c.limited_media),
    ("sfu_limited_reports", "RTCP dropped because one peer sent too much.", |c| c.limited_reports),
    ("sfu_limited_repairs", "Requests for repairs cut short because one peer made too many.", |c| c.limited_repairs),
    ("sfu_limited_keyframes", "Keyframe requests passed over because one peer made too many.", |c| c.limited_keyframes),
    ("sfu_limited_checks", "STUN dropped because one peer sent too much.", |c| c.limited_checks),
    ("sfu_limited_streams", "Packets of more streams than one peer may have.", |c| c.limited_streams),
    ("sfu_limited_offers", "Offers refused because one peer made too many.", |c| c.limited_offers),
    ("sfu_refused_by_limit", "Things refused because a limit was reached.", |c| c.refused_by_limit),
    ("sfu_room_panics", "Rooms that failed inside and were closed.", |c| c.room_panics),
];

/// The latest figures of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// The engine's counters.
    pub engine: Counters,
    pub(crate) socket: SocketCounters,
    pub(crate) tcp: TcpCounters,
    /// Frames that a slow recorder made us drop.
    pub tap_dropped: u64,
    /// Replaceable events that a slow signaling made us drop.
    pub events_dropped: u64,
}

/// The figures of all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    shards: Arc<Vec<Mutex<ShardStats>>>,
    accepted: Arc<AcceptCounters>,
    mixer: Arc<Desk>,
}

/// Where one shard puts its figures.
#[derive(Clone, Debug)]
pub(crate) struct MetricsSlot {
    metrics: Metrics,
    index: usize,
}

impl Metrics {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards: Arc::new((0..shards).map(|_| Mutex::default()).collect()),
            accepted: Arc::default(),
            mixer: Arc::default(),
        }
    }

    pub(crate) fn accepted(&self) -> Arc<AcceptCounters> {
        Arc::clone(&self.accepted)
    }

    pub(crate) fn mixer(&self) -> Arc<Desk> {
        Arc::clone(&self.mixer)
    }

    /// The latest figures of the mixer, at most a second old while it works.
    #[must_use]
    pub fn mixing(&self) -> MixStats {
        self.mixer.stats()
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
        counter("sfu_tcp_accepted", "TCP connections that named a peer of the shard.", &|s| s.tcp.accepted);
        counter("sfu_tcp_frames_received", "Frames read from TCP connections.", &|s| s.tcp.received);
        counter("sfu_tcp_frames_sent", "Frames queued for TCP connections.", &|s| s.tcp.sent);
        counter("sfu_tcp_dropped", "Frames for a TCP connection that is full or gone.", &|s| s.tcp.dropped);
        counter("sfu_tcp_closed", "TCP connections closed because of what they said, or left unsaid.", &|s| {
            s.tcp.closed
        });
        counter("sfu_tap_dropped", "Packets dropped because a recorder was slow.", &|s| s.tap_dropped);
        counter("sfu_events_dropped", "Replaceable events dropped because signaling was slow.", &|s| s.events_dropped);
        for (name, help, value) in ENGINE_COUNTERS {
            counter(name, help, &|s| value(&s.engine));
        }
        let refused = self.accepted.refused.load(Ordering::Relaxed);
        let strangers = self.accepted.strangers.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "# HELP sfu_tcp_refused TCP connections refused because there were too many, in all or from one address.\n\
             # TYPE sfu_tcp_refused counter\nsfu_tcp_refused_total {refused}\n\
             # HELP sfu_tcp_strangers TCP connections that named no peer in time.\n\
             # TYPE sfu_tcp_strangers counter\nsfu_tcp_strangers_total {strangers}"
        );
        let _ = writeln!(text, "# HELP sfu_tcp_connections Open TCP connections.\n# TYPE sfu_tcp_connections gauge");
        for (index, shard) in shards.iter().enumerate() {
            let _ = writeln!(text, "sfu_tcp_connections{{shard=\"{index}\"}} {}", shard.tcp.connections);
        }
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Counters) -> u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (index, shard) in shards.iter().enumerate() {
                let _ = writeln!(text, "{name}{{shard=\"{index}\"}} {}", value(&shard.engine));
            }
        };
        gauge("sfu_rooms", "Open rooms.", &|c| c.rooms);
        gauge("sfu_peers", "Peers in all rooms, waiting ones included.", &|c| c.peers);
        gauge("sfu_peers_connected", "Peers with ICE and DTLS up.", &|c| c.connected);
        gauge("sfu_taps", "Running taps.", &|c| c.taps);
        self.render_mixer(&mut text);
        text
    }
}

impl Metrics {
    fn render_mixer(&self, text: &mut String) {
        let stats = self.mixing();
        let counts = &stats.counts;
        for (name, help, value) in [
            ("frames", "Frames of 20 ms mixed, one for each room.", counts.frames),
            ("frames_skipped", "Frames left out because the mixer was late.", counts.skipped),
            ("packets_encoded", "Packets encoded by the mixer.", counts.encoded),
            ("packets_decoded", "Packets decoded by the mixer.", counts.decoded),
            ("frames_concealed", "Frames of a voice that the mixer had to guess.", counts.concealed),
            ("packets_late", "Packets that came to the mixer after their turn.", counts.late),
            ("packets_overflowed", "Packets that waited too long in a mix to be of use.", counts.overflowed),
            ("packets_refused", "Packets of a voice that are not Opus.", counts.refused),
            ("voices_dropped", "Packets dropped because the mixer was busy.", stats.voices_dropped),
            ("mixes_dropped", "Mixed packets dropped because their shard was busy.", stats.mixes_dropped),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# HELP sfu_mixer_{name} {help}\n# TYPE sfu_mixer_{name} counter\nsfu_mixer_{name}_total {value}"
            );
        }
        for (name, help, value) in [
            ("busy_seconds", "Time that the mixer worked.", stats.busy),
            ("waited_seconds", "Time that packets waited for their turn in a mix, all together.", counts.waited),
        ] {
            let value = value.as_secs_f64();
            let _ = writeln!(
                text,
                "# HELP sfu_mixer_{name} {help}\n# TYPE sfu_mixer_{name} counter\nsfu_mixer_{name}_total {value}"
            );
        }
        for (name, help, value) in [
            ("rooms", "Rooms that are mixed.", stats.rooms),
            ("listeners", "Peers who are sent a mix.", stats.listeners),
        ] {
            let _ = writeln!(
                text,
                "# HELP sfu_mixer_{name} {help}\n# TYPE sfu_mixer_{name} gauge\nsfu_mixer_{name} {value}"
            );
        }
    }
}

impl MetricsSlot {
    pub(crate) fn publish(&self, stats: ShardStats) {
        if let Some(shard) = self.metrics.shards.get(self.index) {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        }
    }
}
