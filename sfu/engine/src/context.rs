//! What every part of the Engine works with: the present moment, the outputs, the counters, the random generator.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;
use wire::control::Event;
use wire::tap::{NodeMicros, TapFrame};
use wire::{RecordingId, RoomId, TrackId};

use crate::outgoing::Outgoing;
use crate::transport::{Demux, Identity, Path};
use crate::{Counters, EngineConfig, Error, Limits, Output};

/// By what the demultiplexer names a Peer: the place of its Room in the Engine, and its own in the Room. A place is given to
/// another only after the demultiplexer forgot the Peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    pub(crate) room: usize,
    pub(crate) peer: usize,
}

/// Shared by all Rooms of one Engine, lent to one of them at a time.
#[derive(Debug)]
pub(crate) struct Context {
    /// The instant of the input under way.
    pub(crate) now: Instant,
    /// The way of the datagram under way.
    pub(crate) from: Path,
    /// Drained by the caller after each input, so its length is bounded by what one input causes.
    pub(crate) outputs: VecDeque<Output>,
    /// Datagrams to send: drained like the other outputs, or in batches.
    pub(crate) outgoing: Outgoing,
    pub(crate) counters: Counters,
    /// The Room under way has something to do that should not wait for its next beat.
    pub(crate) is_urgent: bool,
    pub(crate) demux: Demux<PeerKey>,
    pub(crate) rng: StdRng,
    pub(crate) identity: Arc<Identity>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tcp_addresses: Vec<SocketAddr>,
    pub(crate) shard: u8,
    pub(crate) limits: Limits,
    /// The Room of each running Tap.
    pub(crate) taps: FxHashMap<RecordingId, RoomId>,
    epoch: (Instant, NodeMicros),
    /// Whose packets wait for their time, and until when; each Peer once, so at most as many as there are Peers.
    pacing: Vec<(Instant, PeerKey)>,
    /// The earliest of them.
    next_pacing: Option<Instant>,
}

impl Context {
    pub(crate) fn new(config: EngineConfig) -> Result<Self, Error> {
        if config.addresses.is_empty() {
            return Err(Error::Config("no address to announce"));
        }
        Ok(Self {
            now: config.epoch.0,
            from: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(),
            outputs: VecDeque::new(),
            outgoing: Outgoing::default(),
            counters: Counters::default(),
            is_urgent: false,
            demux: Demux::new(),
            rng: StdRng::from_seed(config.seed),
            identity: Arc::new(Identity::generate()?),
            addresses: config.addresses,
            tcp_addresses: config.tcp_addresses,
            shard: config.shard,
            limits: config.limits,
            taps: FxHashMap::default(),
            epoch: config.epoch,
            pacing: Vec::new(),
            next_pacing: None,
        })
    }

    /// The present moment on the node's clock.
    pub(crate) fn node_time(&self) -> NodeMicros {
        let since = self.now.saturating_duration_since(self.epoch.0).as_micros();
        NodeMicros(self.epoch.1.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
    }

    pub(crate) fn send(&mut self, to: Path, bytes: &[u8]) {
        self.write(to, |out, _| {
            out.extend_from_slice(bytes);
            true
        });
    }

    /// Lets `write` put a datagram together where it is sent from. False when `write` says no.
    pub(crate) fn write(&mut self, to: Path, write: impl FnOnce(&mut Vec<u8>, usize) -> bool) -> bool {
        let Some(length) = self.outgoing.write(to, write) else { return false };
        self.counters.datagrams_out += 1;
        self.counters.bytes_out += length as u64;
        true
    }

    /// This Peer's waiting packets are to be looked at then.
    pub(crate) fn pace(&mut self, key: PeerKey, at: Option<Instant>) {
        let Some(at) = at else { return };
        self.next_pacing = Some(self.next_pacing.map_or(at, |earlier| earlier.min(at)));
        match self.pacing.iter_mut().find(|(_, other)| *other == key) {
            Some((earlier, _)) => *earlier = at.min(*earlier),
            None => self.pacing.push((at, key)),
        }
    }

    /// A Peer whose packets are due.
    pub(crate) fn pop_pacing(&mut self, now: Instant) -> Option<PeerKey> {
        if self.next_pacing.is_none_or(|at| at > now) {
            return None;
        }
        let due = self.pacing.iter().position(|(at, _)| *at <= now).map(|due| self.pacing.swap_remove(due).1);
        self.next_pacing = self.pacing.iter().map(|(at, _)| *at).min();
        due
    }

    /// When the next packets are due.
    pub(crate) const fn next_pacing(&self) -> Option<Instant> {
        self.next_pacing
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn tap(&mut self, recording: RecordingId, frame: TapFrame) {
        self.counters.tap_frames += 1;
        self.outputs.push_back(Output::Tap { recording, frame });
    }

    /// An SSRC: never zero, which some receivers take for none.
    pub(crate) fn fresh_ssrc(&mut self) -> u32 {
        self.rng.random_range(1..u32::MAX)
    }

    /// A Track's id from our own generator, so that a seed replays everything.
    pub(crate) fn fresh_track(&mut self) -> TrackId {
        let id = uuid::Builder::from_random_bytes(self.rng.random()).into_uuid();
        TrackId::from_uuid(id)
    }

    /// 32 random bytes in hex.
    pub(crate) fn fresh_token(&mut self) -> String {
        let bytes: [u8; 32] = self.rng.random();
        bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    }
}
