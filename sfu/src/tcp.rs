//! ICE over TCP (RFC 6544, passive) with the framing of RFC 4571: one shard's connections, each a Path of its engine.

mod accept;
mod limit;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use engine::transport::Path;
use rustix::event::{Timespec, epoll};
use tokio::sync::mpsc;

pub(crate) use accept::{AcceptCounters, Acceptor, bind};
use limit::Place;

/// Connections that wait to be taken over by their shard; when full, the newest is closed, and its browser comes again.
const ARRIVALS: usize = 64;
/// No datagram of ours or of a browser is longer; whoever announces a longer frame is closed.
const MAX_FRAME: usize = 2048;
/// Bytes that wait for one connection. When full, media is dropped and counted: what is late is of no use.
const MAX_QUEUED: usize = 256 << 10;
/// The kernel's share, beside that: enough for the round trip of a fast line.
const KERNEL_BUFFER: usize = 64 << 10;
/// Read from one connection before the others have their turn.
const READ_AT_ONCE: usize = 16 << 10;
/// Connections looked at in one turn.
const EVENTS: usize = 64;
/// How long a connection may live without authenticated STUN having bound it, and after its Peer is gone.
const UNBOUND_FOR: Duration = Duration::from_secs(5);
/// How often that is looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// The number under which the shard's waker rings.
const WAKER: u64 = u64::MAX;

/// What the connections of one shard did, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpCounters {
    /// Gauge.
    pub(crate) connections: u64,
    pub(crate) accepted: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// For a connection that takes too little, or is gone.
    pub(crate) dropped: u64,
    /// Closed because of a frame that cannot be one, or because nothing bound them.
    pub(crate) closed: u64,
}

/// A connection whose first frame named a Peer of this shard.
#[derive(Debug)]
pub(crate) struct Arrival {
    stream: TcpStream,
    remote: SocketAddr,
    /// What was read of it so far.
    held: Vec<u8>,
    place: Place,
}

/// Where the acceptor leaves connections for one shard.
#[derive(Clone, Debug)]
pub(crate) struct TcpDesk {
    arrivals: mpsc::Sender<Arrival>,
    waker: Arc<OwnedFd>,
}

impl TcpDesk {
    fn leave(&self, arrival: Arrival) {
        // A full or closed desk closes the connection by dropping it.
        if self.arrivals.try_send(arrival).is_ok() {
            // A full counter means that the shard has been woken already.
            let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
        }
    }
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    /// The beginning of a frame whose end has not come.
    held: Vec<u8>,
    queued: BytesMut,
    /// The kernel did not take everything: it says when it does.
    is_stuck: bool,
    /// Has something to be written in this turn.
    is_dirty: bool,
    since: Instant,
    /// Given back when the connection ends.
    _place: Place,
}

/// All connections of one shard, and its one descriptor to wait for: any of them, or the waker.
pub(crate) struct TcpPaths {
    poll: OwnedFd,
    arrivals: mpsc::Receiver<Arrival>,
    connections: HashMap<u64, Connection>,
    next: u64,
    dirty: Vec<u64>,
    scratch: Vec<u8>,
    swept: Instant,
    pub(crate) counters: TcpCounters,
}

impl std::fmt::Debug for TcpPaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpPaths").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl TcpPaths {
    pub(crate) fn new(waker: &Arc<OwnedFd>, now: Instant) -> io::Result<(Self, TcpDesk)> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, waker.as_fd(), epoll::EventData::new_u64(WAKER), epoll::EventFlags::IN)?;
        let (sender, arrivals) = mpsc::channel(ARRIVALS);
        let paths = Self {
            poll,
            arrivals,
            connections: HashMap::new(),
            next: 0,
            dirty: Vec::new(),
            scratch: vec![0; READ_AT_ONCE],
            swept: now,
            counters: TcpCounters::default(),
        };
        Ok((paths, TcpDesk { arrivals: sender, waker: Arc::clone(waker) }))
    }

    /// Readable when the waker rings or a connection has something to do.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// True when there is no connection and none has arrived.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.arrivals.is_empty()
    }

    /// Takes new connections and hands on every frame that came.
    pub(crate) fn receive(&mut self, now: Instant, mut handle: impl FnMut(Path, &[u8])) {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.adopt(now, arrival, &mut handle);
        }
        if self.connections.is_empty() {
            return;
        }
        let mut events = Vec::with_capacity(EVENTS);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Interrupted: the next turn asks again.
        let _ = epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&at_once));
        for event in events {
            let number = event.data.u64();
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            let flags = event.flags;
            let mut lives = true;
            if flags.contains(epoll::EventFlags::OUT) {
                lives = connection.write(&self.poll, number, &mut self.counters);
            }
            if lives && flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                lives = connection.read(number, &mut self.scratch, &mut self.counters, &mut handle);
            }
            if !lives {
                self.close(number);
            }
        }
    }

    fn adopt(&mut self, now: Instant, arrival: Arrival, handle: &mut impl FnMut(Path, &[u8])) {
        let Arrival { stream, remote, held, place } = arrival;
        let number = self.next;
        self.next += 1;
        let data = epoll::EventData::new_u64(number);
        if epoll::add(&self.poll, stream.as_fd(), data, epoll::EventFlags::IN).is_err() {
            self.counters.closed += 1;
            return;
        }
        let mut connection = Connection {
            stream,
            remote,
            held: Vec::new(),
            queued: BytesMut::new(),
            is_stuck: false,
            is_dirty: false,
            since: now,
            _place: place,
        };
        self.counters.accepted += 1;
        if connection.take(number, &held, &mut self.counters, handle) {
            self.connections.insert(number, connection);
        } else {
            self.counters.closed += 1;
        }
        self.counters.connections = self.connections.len() as u64;
    }

    /// Queues one datagram of ours. It leaves with [`Self::flush`], together with what else goes there.
    pub(crate) fn send(&mut self, connection: u64, bytes: &[u8]) {
        let Some(to) = self.connections.get_mut(&connection) else {
            self.counters.dropped += 1;
            return;
        };
        let (Ok(length), true) = (u16::try_from(bytes.len()), to.queued.len() + bytes.len() + 2 <= MAX_QUEUED) else {
            self.counters.dropped += 1;
            return;
        };
        to.queued.put_u16(length);
        to.queued.put_slice(bytes);
        self.counters.sent += 1;
        if !to.is_dirty {
            to.is_dirty = true;
            self.dirty.push(connection);
        }
    }

    /// Writes what was queued in this turn.
    pub(crate) fn flush(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            connection.is_dirty = false;
            // One that is stuck is written to when the kernel says so.
            if !connection.is_stuck && !connection.write(&self.poll, number, &mut self.counters) {
                self.close(number);
            }
        }
    }

    /// Closes what no authenticated STUN bound in time, and what outlived its Peer.
    pub(crate) fn sweep(&mut self, now: Instant, is_bound: impl Fn(Path) -> bool) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let before = self.connections.len();
        self.connections.retain(|number, connection| {
            let path = Path::tcp(connection.remote, *number);
            let is_young = now.saturating_duration_since(connection.since) < UNBOUND_FOR;
            is_young || is_bound(path)
        });
        self.counters.closed += (before - self.connections.len()) as u64;
        self.counters.connections = self.connections.len() as u64;
    }

    fn close(&mut self, number: u64) {
        // Closing the descriptor takes it out of the poll.
        self.connections.remove(&number);
        self.counters.connections = self.connections.len() as u64;
    }
}

impl Connection {
    /// Reads once. False when the connection is to be closed.
    fn read(
        &mut self,
        number: u64,
        scratch: &mut [u8],
        counters: &mut TcpCounters,
        handle: &mut impl FnMut(Path, &[u8]),
    ) -> bool {
        match self.stream.read(scratch) {
            Ok(0) => false,
            Ok(length) => {
                let lives = scratch.get(..length).is_some_and(|bytes| self.take(number, bytes, counters, handle));
                if !lives {
                    counters.closed += 1;
                }
                lives
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Hands on the whole frames and keeps the rest. False when it makes no sense.
    fn take(
        &mut self,
        number: u64,
        bytes: &[u8],
        counters: &mut TcpCounters,
        handle: &mut impl FnMut(Path, &[u8]),
    ) -> bool {
        let path = Path::tcp(self.remote, number);
        let mut each = |frame: &[u8]| {
            counters.received += 1;
            handle(path, frame);
        };
        if self.held.is_empty() {
            let Some(used) = split(bytes, &mut each) else { return false };
            self.held.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(bytes);
            let Some(used) = split(&self.held, &mut each) else { return false };
            self.held.drain(..used);
        }
        true
    }

    /// Writes what the kernel takes. False when the connection is to be closed.
    fn write(&mut self, poll: &OwnedFd, number: u64, counters: &mut TcpCounters) -> bool {
        while !self.queued.is_empty() {
            match self.stream.write(&self.queued) {
                Ok(0) => return false,
                Ok(length) => self.queued.advance(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    counters.dropped += 1;
                    return false;
                }
            }
        }
        let is_stuck = !self.queued.is_empty();
        if is_stuck != self.is_stuck {
            self.is_stuck = is_stuck;
            let wanted = if is_stuck { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            return epoll::modify(poll, self.stream.as_fd(), epoll::EventData::new_u64(number), wanted).is_ok();
        }
        true
    }
}

/// Hands on each whole frame and tells how many bytes they took. `None` for a length that no frame of ours has.
fn split(bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Option<usize> {
    let mut rest = bytes;
    while let Some((header, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*header));
        if length > MAX_FRAME {
            return None;
        }
        let Some((frame, after)) = tail.split_at_checked(length) else { break };
        // An empty frame keeps a NAT's mapping alive.
        if !frame.is_empty() {
            each(frame);
        }
        rest = after;
    }
    Some(bytes.len() - rest.len())
}
