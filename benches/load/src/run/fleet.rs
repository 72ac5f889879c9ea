//! The thread that moves all media of a run: every leg's datagrams and timers, in batches, so that one core drives hundreds of visits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bench_kit::socket::{BATCH, Inbox, Outbox, Port};
use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::RunError;
use super::leg::{Leg, LegState};

/// Orders wait here; the thread takes all of them at each turn.
const ORDERS: usize = 16_384;
/// Datagrams gathered before they are sent.
const SEND_AT: usize = BATCH;
/// Batches read from one port before timers get their turn.
const BATCHES: usize = 8;
/// Delays beyond a minute, in microseconds, are filed as one.
const LONGEST_DELAY: u64 = 60_000_000;
/// The longest sleep.
const LONGEST: Duration = Duration::from_millis(100);
/// Legs with a socket of their own, for servers elsewhere: each needs a descriptor, and waiting takes longer with each.
const MOST_PORTS: usize = 4_096;

/// What the thread is asked to do.
enum Order {
    /// Take the leg in.
    Add(Leg),
    /// Something changed in the leg: look at its datagrams and timers.
    Kick(usize),
    /// Forget the leg, after sending what it has left to say.
    Remove(usize),
    /// Look at all legs.
    KickAll,
}

/// What thread and run share.
pub(super) struct Common {
    /// Stamps in video packets count from here.
    pub(super) origin: Instant,
    /// Admitted legs send media only while this is set.
    pub(super) media: AtomicBool,
    measuring: AtomicBool,
    /// Microseconds from one leg to another.
    delays: Mutex<Histogram<u64>>,
    /// Datagrams that the generator's own sockets did not take.
    unsent: Mutex<u64>,
    /// The thread's number, for its CPU time.
    thread: Mutex<Option<i32>>,
}

/// The run's end of the thread.
pub(super) struct Fleet {
    orders: SyncSender<Order>,
    waker: Arc<OwnedFd>,
    pub(super) common: Arc<Common>,
}

#[expect(clippy::disallowed_methods, reason = "the generator runs in real time; the client below takes `now`")]
fn clocks() -> (Instant, Duration) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// Starts the thread.
    pub(super) fn start() -> Result<Arc<Self>, RunError> {
        // Bounds are given, because a record beyond those of an empty histogram is filed as its smallest value.
        let histogram =
            Histogram::new_with_bounds(1, LONGEST_DELAY, 3).map_err(|_| RunError::Protocol("no histogram"))?;
        let common = Arc::new(Common {
            origin: clocks().0,
            media: AtomicBool::new(true),
            measuring: AtomicBool::new(false),
            delays: Mutex::new(histogram),
            unsent: Mutex::new(0),
            thread: Mutex::new(None),
        });
        let waker =
            eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(|error| RunError::Io(error.into()))?;
        let waker = Arc::new(waker);
        let (orders, received) = sync_channel(ORDERS);
        let mut thread = Thread::new(received, Arc::clone(&waker), Arc::clone(&common)).map_err(RunError::Io)?;
        std::thread::Builder::new().name("media".to_owned()).spawn(move || thread.run())?;
        Ok(Arc::new(Self { orders, waker, common }))
    }

    pub(super) fn add(&self, leg: Leg) {
        self.order(Order::Add(leg));
    }

    pub(super) fn kick(&self, leg: usize) {
        self.order(Order::Kick(leg));
    }

    pub(super) fn remove(&self, leg: usize) {
        self.order(Order::Remove(leg));
    }

    /// Lets media flow, or holds it.
    pub(super) fn set_media(&self, flows: bool) {
        self.common.media.store(flows, Ordering::Release);
        self.order(Order::KickAll);
    }

    /// Begins to note delays, from an empty record.
    pub(super) fn measure(&self) {
        lock(&self.common.delays).reset();
        *lock(&self.common.unsent) = 0;
        self.common.measuring.store(true, Ordering::Release);
    }

    /// Ends it: delays, and how many datagrams our own sockets refused.
    pub(super) fn measured(&self) -> (Histogram<u64>, u64) {
        self.common.measuring.store(false, Ordering::Release);
        (lock(&self.common.delays).clone(), *lock(&self.common.unsent))
    }

    /// The thread's number in `/proc/self/task`.
    pub(super) fn thread(&self) -> Option<i32> {
        *lock(&self.common.thread)
    }

    fn order(&self, order: Order) {
        // The thread lives as long as the run; when it has died the run ends by its own deadlines.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }
}

struct Thread {
    orders: Receiver<Order>,
    waker: Arc<OwnedFd>,
    common: Arc<Common>,
    /// The first is shared by all legs to servers on the loopback, each with an address of its own; others have one leg each.
    ports: Vec<Port>,
    /// Which leg a port of its own belongs to.
    owners: Vec<Option<usize>>,
    legs: Vec<Option<Leg>>,
    /// When which leg is due; an entry that is not the leg's latest is passed over.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    outbox: Outbox,
    outbox_port: usize,
    unsent: u64,
}

impl Thread {
    fn new(orders: Receiver<Order>, waker: Arc<OwnedFd>, common: Arc<Common>) -> std::io::Result<Self> {
        let port = Port::bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        Ok(Self {
            orders,
            waker,
            common,
            ports: vec![port],
            owners: vec![None],
            legs: Vec::new(),
            due: BinaryHeap::new(),
            outbox: Outbox::default(),
            outbox_port: 0,
            unsent: 0,
        })
    }

    /// Until the run is gone.
    fn run(&mut self) {
        *lock(&self.common.thread) = Some(rustix::thread::gettid().as_raw_nonzero().get());
        let mut inbox = Inbox::default();
        loop {
            self.wait();
            if !self.take_orders() {
                return;
            }
            for port in 0..self.ports.len() {
                self.receive(port, &mut inbox);
            }
            self.work();
            self.flush();
            if self.unsent > 0 {
                *lock(&self.common.unsent) += std::mem::take(&mut self.unsent);
            }
        }
    }

    fn wait(&self) {
        let now = clocks().0;
        let left = self.due.peek().map_or(LONGEST, |Reverse((at, _))| at.saturating_duration_since(now).min(LONGEST));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = Vec::with_capacity(self.ports.len() + 1);
        fds.push(PollFd::new(&*self.waker, PollFlags::IN));
        fds.extend(self.ports.iter().map(|port| PollFd::new(port, PollFlags::IN)));
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn take_orders(&mut self) -> bool {
        let mut count = [0; 8];
        // Empty when a datagram or the time woke us.
        let _ = rustix::io::read(&*self.waker, &mut count);
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add(leg)) => self.add(leg),
                Ok(Order::Kick(index)) => self.touch(index, clocks().0),
                Ok(Order::Remove(index)) => {
                    self.touch(index, clocks().0);
                    self.flush();
                    let leg = self.legs.get_mut(index).and_then(Option::take);
                    if let Some((port @ 1.., _)) = leg.and_then(|leg| leg.state().port)
                        && let Some(owner) = self.owners.get_mut(port)
                    {
                        *owner = None;
                    }
                }
                Ok(Order::KickAll) => {
                    for index in 0..self.legs.len() {
                        self.touch(index, clocks().0);
                    }
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, leg: Leg) {
        let index = leg.index;
        if self.legs.len() <= index {
            self.legs.resize_with(index + 1, || None);
        }
        if let Some(place) = self.legs.get_mut(index) {
            *place = Some(leg);
        }
        self.touch(index, clocks().0);
    }

    fn receive(&mut self, port: usize, inbox: &mut Inbox) {
        for _ in 0..BATCHES {
            let Some(socket) = self.ports.get(port) else { return };
            let owner = self.owners.get(port).copied().flatten();
            let (now, wall) = clocks();
            let mut touched: [usize; BATCH] = [usize::MAX; BATCH];
            let mut used = 0;
            let legs = &self.legs;
            let count = socket.receive(inbox, |got| {
                let Some(index) = owner.or_else(|| got.to.and_then(index_of)) else { return };
                let Some(Some(leg)) = legs.get(index) else { return };
                // A wall clock that was set meanwhile must not throw packets about.
                let age = got.at.map_or(Duration::ZERO, |at| wall.saturating_sub(at));
                let at = if age > Duration::from_secs(1) { now } else { now.checked_sub(age).unwrap_or(now) };
                leg.state().client.handle_datagram(at, got.from, got.bytes);
                if let Some(place) = touched.get_mut(used) {
                    *place = index;
                    used += 1;
                }
            });
            let mut before = usize::MAX;
            for index in touched.into_iter().take(used) {
                if index != before {
                    self.touch(index, now);
                }
                before = index;
            }
            if count < BATCH {
                return;
            }
            self.work();
        }
    }

    /// Does what is due.
    fn work(&mut self) {
        let now = clocks().0;
        while let Some(Reverse((at, index))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            let Some(Some(leg)) = self.legs.get(index) else { continue };
            let leg = leg.clone();
            let mut state = leg.state();
            if state.due != Some(at) {
                continue;
            }
            state.due = None;
            let now = clocks().0;
            state.client.handle_timeout(now);
            state.send_media(now, self.common.media.load(Ordering::Acquire));
            self.drain(index, &mut state, now);
        }
    }

    fn touch(&mut self, index: usize, now: Instant) {
        let Some(Some(leg)) = self.legs.get(index) else { return };
        let leg = leg.clone();
        let mut state = leg.state();
        state.send_media(now, self.common.media.load(Ordering::Acquire));
        self.drain(index, &mut state, now);
    }

    /// Events, datagrams out, the next time.
    fn drain(&mut self, index: usize, state: &mut LegState, now: Instant) {
        let measuring = self.common.measuring.load(Ordering::Acquire);
        state.take_events(now, |sent_micros, at| {
            if measuring {
                let micros = u64::try_from((at - self.common.origin).as_micros()).unwrap_or(u64::MAX);
                lock(&self.common.delays).saturating_record(micros.saturating_sub(sent_micros).max(1));
            }
        });
        while let Some((to, datagram)) = state.client.poll_transmit() {
            let (port, from) = match state.port {
                Some(port) => port,
                None => {
                    let Some(port) = self.port_for(index, to) else {
                        self.unsent += 1;
                        continue;
                    };
                    state.port = Some(port);
                    port
                }
            };
            if port != self.outbox_port {
                self.flush();
                self.outbox_port = port;
            }
            self.outbox.push(to, from, &datagram);
            if self.outbox.len() >= SEND_AT {
                self.flush();
            }
        }
        let next = state.next();
        if let Some(next) = next.filter(|next| state.due.is_none_or(|due| *next < due)) {
            state.due = Some(next);
            self.due.push(Reverse((next, index)));
        }
    }

    fn flush(&mut self) {
        if let Some(port) = self.ports.get(self.outbox_port).filter(|_| !self.outbox.is_empty()) {
            self.unsent += u64::try_from(port.send(&mut self.outbox)).unwrap_or(0);
        }
    }

    /// On the loopback one socket serves all legs, each from an address of its own in 127.64.0.0/10; elsewhere each leg has a socket.
    fn port_for(&mut self, index: usize, to: SocketAddr) -> Option<(usize, Option<Ipv4Addr>)> {
        if to.is_ipv4() && to.ip().is_loopback() {
            return Some((0, address_of(index)));
        }
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let port = Port::bind(any).ok()?;
        // A leg that has gone leaves its place.
        let free = self.owners.iter().skip(1).position(Option::is_none).map(|at| at + 1);
        let at = free.unwrap_or(self.ports.len());
        match (self.ports.get_mut(at), self.owners.get_mut(at)) {
            (Some(place), Some(owner)) => (*place, *owner) = (port, Some(index)),
            _ if at < MOST_PORTS => {
                self.ports.push(port);
                self.owners.push(Some(index));
            }
            _ => return None,
        }
        Some((at, None))
    }
}

/// Leg `n` speaks from 127.64.0.1 plus `n`.
fn address_of(index: usize) -> Option<Ipv4Addr> {
    let number = u32::try_from(index).ok().filter(|number| *number < (1 << 22) - 2)?;
    Some(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 1)) + number))
}

fn index_of(address: Ipv4Addr) -> Option<usize> {
    let number = u32::from(address).checked_sub(u32::from(Ipv4Addr::new(127, 64, 0, 1)))?;
    usize::try_from(number).ok().filter(|number| *number < 1 << 22)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leg_has_an_address_of_its_own() {
        for index in [0, 1, 254, 255, 256, 70_000] {
            let address = address_of(index).unwrap();
            assert!(address.is_loopback());
            assert_eq!(index_of(address), Some(index));
        }
        assert_eq!(index_of(Ipv4Addr::LOCALHOST), None);
        assert_eq!(address_of(1 << 22), None);
    }
}
