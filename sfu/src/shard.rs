//! One thread, sole owner of an Engine and its port. The loop: wait, commands, datagrams, time, send, gather.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::transport::Local;
use engine::{Engine, EngineConfig, Input, Limits, Output};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use wire::RoomId;
use wire::control::{Command, Event};
use wire::link::{ReplyTo, Request};
use wire::tap::NodeMicros;
use wire::tap_link::TapExchange;

use crate::Error;
use crate::metrics::{MetricsSlot, ShardStats};
use crate::mixing::{Desk, MixerLink};
use crate::socket::{BATCH, UdpPort};
use crate::tap::Taps;
use crate::tcp::{TcpDesk, TcpPaths};

/// Commands wait here for the shard; when it is full, control waits.
const INBOX: usize = 256;
/// Commands carried out in one turn, so that a burst of joins does not hold media up.
const COMMANDS_PER_TURN: usize = 16;
/// Batches read in one turn before timers and commands get their turn again.
const BATCHES_PER_TURN: usize = 4;
/// Datagrams gathered before they are sent, which bounds the delay that a long batch adds.
const SEND_BATCH: usize = 256;
/// Turns that found datagrams begin at least so far apart: what comes meanwhile is read, sent and woken up for together. A core that
/// wakes for every datagram spends a good part of its time on waking. It adds half of this to the delay of most packets; arrival
/// times are the kernel's and do not suffer.
const GATHER: Duration = Duration::from_micros(500);
/// With more events than this waiting for signaling, the shard takes no more commands: control waits, media goes on.
const EVENTS_WAITING: usize = 1024;
/// The longest sleep: how late a figure in the metrics may be.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest sleep while signaling or a recorder has to be tried again.
const RETRY_WAIT: Duration = Duration::from_millis(5);
/// The ticket of commands that nobody waits for.
const NO_TICKET: u64 = u64::MAX;

/// Control's end of a shard.
#[derive(Debug)]
pub(crate) struct ShardInbox {
    requests: mpsc::Sender<Request>,
    waker: Arc<OwnedFd>,
    /// Where connections for this shard are left.
    pub(crate) desk: TcpDesk,
}

/// What browsers are told of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announced {
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) tcp: Vec<SocketAddr>,
}

/// Whom a shard speaks to.
#[derive(Clone, Debug)]
pub(crate) struct Outlets {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) taps: TapExchange,
    pub(crate) mixer: Arc<Desk>,
}

impl ShardInbox {
    /// Waits while the shard's inbox is full.
    pub(crate) async fn send(&self, request: Request) {
        // Dropping the request answers `Unavailable`, which is right for a shard that is gone.
        drop(self.requests.send(request).await);
        self.wake();
    }

    fn wake(&self) {
        // A full counter means that the shard has been woken already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    /// Tells the shard to close its Rooms and end.
    pub(crate) fn stop(&self) {
        // The bit above any wake count; read as "stop" by the shard.
        let _ = rustix::io::write(&self.waker, &STOP.to_ne_bytes());
    }
}

/// Added to the wake counter to stop; far above any number of wakes between two reads.
const STOP: u64 = 1 << 40;

/// The clocks of one shard. Everything behind it takes time as an argument.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    started_at: NodeMicros,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "the shard is where real time enters")]
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
        Self { started: Instant::now(), started_at: NodeMicros(micros) }
    }

    #[allow(clippy::disallowed_methods, reason = "the shard is where real time enters")]
    fn now() -> Instant {
        Instant::now()
    }

    #[allow(clippy::disallowed_methods, reason = "the shard is where real time enters")]
    fn wall() -> SystemTime {
        SystemTime::now()
    }

    fn node_time(self, now: Instant) -> NodeMicros {
        let passed = now.saturating_duration_since(self.started).as_micros();
        NodeMicros(self.started_at.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }
}

/// One media thread's whole state.
#[derive(Debug)]
pub(crate) struct Shard {
    engine: Engine,
    port: UdpPort,
    tcp: TcpPaths,
    inbox: mpsc::Receiver<Request>,
    /// The waker rang and the inbox has not been seen empty since.
    inbox_waits: bool,
    waker: Arc<OwnedFd>,
    events: mpsc::Sender<Event>,
    events_dropped: u64,
    outlet: Outlet,
    next_ticket: u64,
    rooms: HashSet<RoomId>,
    /// Time as the engine last saw it; it never goes back.
    last: Instant,
    clock: Clock,
    metrics: MetricsSlot,
    published: Instant,
}

impl Shard {
    pub(crate) fn new(
        index: u8,
        port: UdpPort,
        announced: Announced,
        limits: Limits,
        outlets: Outlets,
        metrics: MetricsSlot,
    ) -> Result<(Self, ShardInbox), Error> {
        let Outlets { events, taps, mixer } = outlets;
        let clock = Clock::start();
        let engine = Engine::new(EngineConfig {
            addresses: announced.udp,
            tcp_addresses: announced.tcp,
            shard: index,
            limits,
            seed: rand::random(),
            epoch: (clock.started, clock.started_at),
        })?;
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(|e| Error::Shard(e.into()))?;
        let waker = Arc::new(waker);
        let (tcp, desk) = TcpPaths::new(&waker, clock.started).map_err(Error::Shard)?;
        let (requests, inbox) = mpsc::channel(INBOX);
        let shard = Self {
            engine,
            port,
            tcp,
            inbox,
            inbox_waits: false,
            waker: Arc::clone(&waker),
            events,
            events_dropped: 0,
            outlet: Outlet {
                taps: Taps::new(taps),
                mixer: MixerLink::new(&mixer, &waker),
                events: VecDeque::new(),
                replies: HashMap::new(),
                wake_at: None,
                clock,
            },
            next_ticket: 0,
            rooms: HashSet::new(),
            last: clock.started,
            clock,
            metrics,
            published: clock.started,
        };
        Ok((shard, ShardInbox { requests, waker, desk }))
    }

    /// Runs until stopped. A panic inside a Room ends that Room only; the engine sees to it.
    pub(crate) fn run(mut self, core: Option<usize>) {
        if let Some(core) = core {
            pin(core);
        }
        let mut gathered = None;
        loop {
            // After gathering there is something to read almost always, and else the next turn waits.
            let is_rung = gathered.take().unwrap_or_else(|| self.port.wait(self.tcp.as_raw_fd(), self.next_wait()));
            let began = Clock::now();
            let stopping = is_rung && self.drain_waker();
            self.inbox_waits |= is_rung;
            if self.inbox_waits {
                self.take_commands();
            }
            if is_rung {
                self.take_mixes();
            }
            let received = self.take_datagrams();
            self.take_frames();
            self.take_time();
            self.retry();
            self.send();
            if stopping {
                self.close_rooms();
                return;
            }
            if received > 0 {
                let rest = (began + GATHER).saturating_duration_since(Clock::now());
                gathered = Some(self.port.gather(self.tcp.as_raw_fd(), rest));
            }
        }
    }

    fn next_wait(&self) -> Duration {
        let longest =
            if self.outlet.events.is_empty() && !self.outlet.taps.is_waiting() { LONGEST_WAIT } else { RETRY_WAIT };
        self.outlet.wake_at.map_or(longest, |at| at.saturating_duration_since(Clock::now()).min(longest))
    }

    /// True when the stop bit was set.
    fn drain_waker(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.waker, &mut count).is_ok() && u64::from_ne_bytes(count) >= STOP
    }

    fn take_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TURN {
            if self.outlet.events.len() > EVENTS_WAITING {
                return;
            }
            match self.inbox.try_recv() {
                Ok(request) => self.handle_request(request),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    self.inbox_waits = false;
                    return;
                }
            }
        }
        // More may be waiting: come back without sleeping.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn handle_request(&mut self, request: Request) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.outlet.replies.insert(ticket, request.reply);
        self.command(ticket, request.command);
    }

    fn command(&mut self, ticket: u64, command: Command) {
        match command {
            Command::OpenRoom { room } => {
                self.rooms.insert(room);
            }
            Command::CloseRoom { room } => {
                self.rooms.remove(&room);
            }
            _ => {}
        }
        let now = self.tick();
        self.engine.handle_input(now, Input::Command { ticket, command });
        self.drain();
    }

    /// Returns how many there were.
    fn take_datagrams(&mut self) -> usize {
        let mut received = 0;
        for _ in 0..BATCHES_PER_TURN {
            let (now, wall) = (Clock::now(), Clock::wall());
            let Self { port, engine, outlet, last, .. } = &mut *self;
            let count = port.receive(now, wall, |datagram| {
                // Kernel timestamps of one socket are in order but for clock corrections.
                *last = (*last).max(datagram.at);
                engine.handle_input(*last, Input::Datagram { from: datagram.path(), bytes: datagram.bytes });
                outlet.drain(engine, *last);
            });
            received += count;
            if self.engine.outgoing().len() >= SEND_BATCH {
                self.send();
            }
            if count < BATCH {
                break;
            }
        }
        received
    }

    /// What the mixer made of voices.
    fn take_mixes(&mut self) {
        let mixes = self.outlet.mixer.take();
        if mixes.is_empty() {
            return;
        }
        let now = self.tick();
        for (room, packet) in mixes {
            self.engine.handle_input(now, Input::Mixed { room, packet });
            self.drain();
        }
    }

    /// What came over TCP. Frames carry no time of their own: they are as old as the moment at which they are read.
    fn take_frames(&mut self) {
        if self.tcp.is_idle() {
            return;
        }
        let now = self.tick();
        let Self { tcp, engine, outlet, .. } = &mut *self;
        tcp.receive(now, |path, bytes| {
            engine.handle_input(now, Input::Datagram { from: path, bytes });
            outlet.drain(engine, now);
        });
        tcp.sweep(now, |path| engine.is_bound(path));
    }

    fn take_time(&mut self) {
        let now = self.tick();
        if self.outlet.wake_at.is_some_and(|at| at <= now) {
            self.engine.handle_input(now, Input::Timeout);
            self.drain();
        }
        if now.saturating_duration_since(self.published) >= LONGEST_WAIT {
            self.published = now;
            self.metrics.publish(ShardStats {
                engine: *self.engine.counters(),
                socket: self.port.counters,
                tcp: self.tcp.counters,
                tap_dropped: self.outlet.taps.dropped,
                events_dropped: self.events_dropped,
            });
        }
    }

    fn tick(&mut self) -> Instant {
        self.last = self.last.max(Clock::now());
        self.last
    }

    fn drain(&mut self) {
        self.outlet.drain(&mut self.engine, self.last);
    }

    /// Gives signaling and the recorders what waited for them.
    fn retry(&mut self) {
        let now = self.clock.node_time(self.last);
        self.outlet.taps.flush(now);
        while let Some(event) = self.outlet.taps.poll_flowing() {
            self.outlet.events.push_back(event);
        }
        while let Some(event) = self.outlet.events.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                // Signaling is gone: the role is about to stop.
                Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(event)) => {
                    self.outlet.events.push_front(event);
                    let before = self.outlet.events.len();
                    self.outlet.events.retain(|waiting| !waiting.is_replaceable());
                    self.events_dropped += (before - self.outlet.events.len()) as u64;
                    return;
                }
            }
        }
    }

    fn send(&mut self) {
        let outgoing = self.engine.outgoing();
        if !outgoing.is_empty() {
            self.port.send(outgoing);
            if !self.tcp.is_idle() {
                for (to, bytes) in outgoing.iter() {
                    if let Local::Tcp(connection) = to.local {
                        self.tcp.send(connection, bytes);
                    }
                }
                self.tcp.flush();
            }
            outgoing.clear();
        }
    }

    fn close_rooms(&mut self) {
        for room in std::mem::take(&mut self.rooms) {
            self.command(NO_TICKET, Command::CloseRoom { room });
        }
        self.retry();
        self.send();
    }
}

/// Where the engine's outputs go.
#[derive(Debug)]
struct Outlet {
    taps: Taps,
    mixer: MixerLink,
    /// Events on their way to signaling. Bounded by [`EVENTS_WAITING`] plus what running Rooms can still cause without commands.
    events: VecDeque<Event>,
    replies: HashMap<u64, ReplyTo>,
    wake_at: Option<Instant>,
    clock: Clock,
}

impl Outlet {
    /// Drains the engine until it waits.
    fn drain(&mut self, engine: &mut Engine, now: Instant) {
        let mut gone = Vec::new();
        loop {
            match engine.poll_control() {
                Output::Reply { ticket, result } => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        reply.answer(result);
                    }
                }
                Output::Event(event @ Event::TapFlowing { recording, .. }) => {
                    self.events.extend(self.taps.flowing(recording, event));
                }
                Output::Event(event) => self.events.push_back(event),
                Output::TapOpened { recording, token } => self.taps.open(recording, &token),
                Output::Tap { recording, frame } => {
                    if !self.taps.push(recording, frame, self.clock.node_time(now)) {
                        gone.push(recording);
                    }
                }
                Output::MixWanted { room, plan } => self.mixer.plan(now, room, plan),
                Output::Voice { room, packet } => self.mixer.voice(now, room, packet),
                // Datagrams are sent in batches, from where they lie.
                Output::Send { to, bytes } => engine.outgoing().push(to, &bytes),
                Output::Wait(until) => {
                    self.wake_at = until;
                    let Some(recording) = gone.pop() else { return };
                    engine.handle_input(now, Input::TapClosed { recording });
                }
            }
        }
    }
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if rustix::thread::sched_setaffinity(None, &set).is_err() {
        tracing::warn!(core, "the shard could not be pinned to its core");
    }
}
