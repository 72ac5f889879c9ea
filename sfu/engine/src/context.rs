//! What every part of the Engine works with: the present moment, the outputs, the counters, the random generator.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;
use wire::control::Event;
use wire::tap::{NodeMicros, TapFrame};
use wire::{PeerId, RecordingId, RoomId, TrackId};

use crate::transport::{Demux, Identity, Path};
use crate::{Counters, EngineConfig, Error, Output};

/// By what the demultiplexer names a Peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    pub(crate) room: RoomId,
    pub(crate) peer: PeerId,
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
    pub(crate) counters: Counters,
    pub(crate) demux: Demux<PeerKey>,
    pub(crate) rng: StdRng,
    pub(crate) identity: Arc<Identity>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tcp_addresses: Vec<SocketAddr>,
    pub(crate) shard: u8,
    /// The Room of each running Tap.
    pub(crate) taps: FxHashMap<RecordingId, RoomId>,
    epoch: (Instant, NodeMicros),
    /// Where packets are put together before they are encrypted: no allocation on the way.
    pub(crate) scratch: Vec<u8>,
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
            counters: Counters::default(),
            demux: Demux::new(),
            rng: StdRng::from_seed(config.seed),
            identity: Arc::new(Identity::generate()?),
            addresses: config.addresses,
            tcp_addresses: config.tcp_addresses,
            shard: config.shard,
            taps: FxHashMap::default(),
            epoch: config.epoch,
            scratch: Vec::with_capacity(2048),
        })
    }

    /// The present moment on the node's clock.
    pub(crate) fn node_time(&self) -> NodeMicros {
        let since = self.now.saturating_duration_since(self.epoch.0).as_micros();
        NodeMicros(self.epoch.1.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
    }

    pub(crate) fn send(&mut self, to: Path, bytes: Bytes) {
        self.counters.datagrams_out += 1;
        self.counters.bytes_out += bytes.len() as u64;
        self.outputs.push_back(Output::Send { to, bytes });
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
