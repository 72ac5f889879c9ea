//! What the estimator is told, and the probes it asks for.

use std::time::Duration;

use crate::Bitrate;

/// The floor below which no target falls; the audio reserve may raise it.
pub const MIN_RATE: Bitrate = Bitrate::kbps(30);

/// Where an estimator starts that knows nothing of the path.
pub const START_RATE: Bitrate = Bitrate::kbps(300);

/// The most a peer's downlink is ever thought to carry: five large faces, or a screen and several.
pub const MAX_RATE: Bitrate = Bitrate::kbps(10_000);

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Loss is seen and delay is honest.
    Udp,
    /// TCP, TLS or TURN over TCP: loss is hidden behind retransmission and shows as spikes of delay, so only delay
    /// is judged, and with a wider threshold.
    Tcp,
}

/// How an estimator begins.
#[derive(Clone, Copy, Debug)]
pub struct EstimatorConfig {
    /// The first target.
    pub start: Bitrate,
    /// No target is lower.
    pub min: Bitrate,
    /// No target is higher.
    pub max: Bitrate,
    /// Spreads the timers of peers that began together.
    pub seed: u64,
    /// What carries the packets.
    pub path: Path,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        Self { start: START_RATE, min: MIN_RATE, max: MAX_RATE, seed: 0, path: Path::Udp }
    }
}

impl EstimatorConfig {
    /// Begins where a peer of the same address lately was, a little lower. The caller decides what is "lately": ten
    /// minutes is the law.
    #[must_use]
    pub fn resume(mut self, carried: CarriedOver) -> Self {
        const MOST: Bitrate = Bitrate::kbps(1500);
        self.start = carried.target.scale(0.7).min(MOST).max(self.min);
        self
    }
}

/// What survives a peer, for its next connection from the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarriedOver {
    /// The last settled target.
    pub target: Bitrate,
}

/// What a sent packet is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentKind {
    /// Audio, a face or a screen, for the first time.
    Media,
    /// A retransmission.
    Repair,
    /// Bytes that nobody will show.
    Padding,
}

/// Names one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeId(pub u32);

/// A packet with a transport-wide sequence number that left.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The transport-wide number, unrolled to 64 bits; one higher for each packet.
    pub number: u64,
    /// Bytes on the wire: IP and UDP headers, SRTP tag and all.
    pub bytes: usize,
    /// What it is good for.
    pub kind: SentKind,
    /// The probe it was sent for, if any.
    pub probe: Option<ProbeId>,
}

/// The fate of one packet, as a receiver tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The transport-wide number, unrolled to 64 bits.
    pub number: u64,
    /// When it came, on the receiver's clock of 250 us steps from any origin; `None`: not so far.
    pub arrival: Option<Duration>,
}

/// One transport-wide feedback packet.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The receiver's count of its reports, modulo 256: a gap tells of lost reports.
    pub count: u8,
    /// Each number once, ascending.
    pub acks: &'a [Ack],
}

/// What an RTCP receiver report says, summed over the streams of a peer.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport {
    /// Share of packets lost since the report before, 0 to 1.
    pub lost: f32,
    /// Packets expected since the report before.
    pub expected: u32,
    /// The round trip by LSR and DLSR, when the report has them.
    pub round_trip: Option<Duration>,
}

/// A burst that the sender shall send: repairs or padding up to `rate`, each packet told to `handle_sent` with `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Names the burst.
    pub id: ProbeId,
    /// How fast it leaves, media included.
    pub rate: Bitrate,
    /// At least so many bytes on the wire.
    pub bytes: usize,
    /// In at least so many packets.
    pub packets: u32,
    /// How long that takes at `rate`.
    pub duration: Duration,
}
