//! The mixer's thread: one for all shards. They leave voices on its desk without waiting, and find the mixes on theirs. What does not
//! fit is the oldest, and it is dropped and counted: sound that comes late is of no use.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{MixPlan, MixedPacket, VoicePacket};
use mixer::live::{Counts, INTERVAL, Live, Spoken};
use wire::{PeerId, RoomId, TrackId};

use crate::Error;

/// Packets of voices that wait for the mixer: a hundred milliseconds of a thousand of them.
const VOICES: usize = 8192;
/// Plans that wait: far more than the shards take commands for between two of the mixer's turns.
const PLANS: usize = 4096;
/// Mixed packets that wait for one shard.
const MIXES: usize = 4096;
/// Rooms are mixed in so many turns, so that their work does not come all at once.
const TURNS: u32 = 4;
/// How often figures are published.
const PUBLISH: Duration = Duration::from_secs(1);

/// What lies on the mixer's desk.
#[derive(Debug)]
enum Job {
    Plan { at: Instant, room: RoomId, plan: MixPlan, outbox: Arc<Outbox> },
    Voice { at: Instant, room: RoomId, packet: VoicePacket },
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    plans: usize,
    dropped: u64,
    is_stopping: bool,
}

/// Where shards leave work for the mixer, and where its figures are.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    waiting: Mutex<Waiting>,
    rung: Condvar,
    stats: Mutex<MixStats>,
}

/// What the mixer did so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct MixStats {
    /// Of all Rooms.
    pub counts: Counts,
    /// Rooms that are mixed at present.
    pub rooms: u64,
    /// Those who listen to a mix at present.
    pub listeners: u64,
    /// Packets of voices that waited too long for the mixer.
    pub voices_dropped: u64,
    /// Mixed packets that waited too long for their shard.
    pub mixes_dropped: u64,
    /// Time spent on mixing.
    pub busy: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is whole before anything could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// The latest figures, at most a second old.
    pub(crate) fn stats(&self) -> MixStats {
        *lock(&self.stats)
    }

    fn put(&self, job: Job) {
        let mut waiting = lock(&self.waiting);
        if let Job::Plan { room, .. } = &job {
            if waiting.plans >= PLANS
                && let Some(at) =
                    waiting.jobs.iter().position(|one| matches!(one, Job::Plan { room: other, .. } if other == room))
            {
                // The newer one says all that this one says.
                waiting.jobs.remove(at);
                waiting.plans -= 1;
            }
            waiting.plans += 1;
            waiting.jobs.push_back(job);
            drop(waiting);
            self.rung.notify_one();
            return;
        }
        if waiting.jobs.len() - waiting.plans >= VOICES
            && let Some(at) = waiting.jobs.iter().position(|one| matches!(one, Job::Voice { .. }))
        {
            waiting.jobs.remove(at);
            waiting.dropped += 1;
        }
        // Nobody is woken: the mixer looks when the next frame is due.
        waiting.jobs.push_back(job);
    }

    /// Waits until then, or for a plan. Gives what lies there; `None` when it is time to end.
    fn take(&self, until: Option<Instant>) -> Option<(VecDeque<Job>, u64)> {
        let mut waiting = lock(&self.waiting);
        loop {
            if waiting.is_stopping {
                return None;
            }
            let left = until.map(|until| until.saturating_duration_since(now()));
            if waiting.plans > 0 || left.is_some_and(|left| left.is_zero()) {
                waiting.plans = 0;
                return Some((std::mem::take(&mut waiting.jobs), waiting.dropped));
            }
            waiting = match left {
                Some(left) => self.rung.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.rung.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn stop(&self) {
        lock(&self.waiting).is_stopping = true;
        self.rung.notify_one();
    }
}

/// Where the mixer leaves packets for one shard.
#[derive(Debug)]
struct Outbox {
    packets: Mutex<VecDeque<(RoomId, MixedPacket)>>,
    waker: Arc<OwnedFd>,
}

impl Outbox {
    /// Returns how many were dropped to make room.
    fn put(&self, room: RoomId, new: impl Iterator<Item = MixedPacket>) -> u64 {
        let mut packets = lock(&self.packets);
        packets.extend(new.map(|packet| (room, packet)));
        let too_many = packets.len().saturating_sub(MIXES);
        packets.drain(..too_many);
        too_many as u64
    }

    fn wake(&self) {
        // A full counter means that the shard has been woken already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }
}

/// A shard's end.
#[derive(Clone, Debug)]
pub(crate) struct MixerLink {
    desk: Arc<Desk>,
    outbox: Arc<Outbox>,
}

impl MixerLink {
    pub(crate) fn new(desk: &Arc<Desk>, waker: &Arc<OwnedFd>) -> Self {
        let outbox = Outbox { packets: Mutex::default(), waker: Arc::clone(waker) };
        Self { desk: Arc::clone(desk), outbox: Arc::new(outbox) }
    }

    /// Has a Room mixed by this plan from now on.
    pub(crate) fn plan(&self, at: Instant, room: RoomId, plan: MixPlan) {
        self.desk.put(Job::Plan { at, room, plan, outbox: Arc::clone(&self.outbox) });
    }

    /// Gives the mixer a packet.
    pub(crate) fn voice(&self, at: Instant, room: RoomId, packet: VoicePacket) {
        self.desk.put(Job::Voice { at, room, packet });
    }

    /// What was mixed for this shard.
    pub(crate) fn take(&self) -> VecDeque<(RoomId, MixedPacket)> {
        std::mem::take(&mut *lock(&self.outbox.packets))
    }
}

/// The thread. It ends with this; what it has not mixed by then is of no use any more.
#[derive(Debug)]
pub(crate) struct Mixer {
    desk: Arc<Desk>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Mixer {
    pub(crate) fn start(desk: &Arc<Desk>) -> Result<Self, Error> {
        let rooms = Rooms::new(now());
        let at_work = Arc::clone(desk);
        let thread = thread::Builder::new().name("mixer".to_owned()).spawn(move || rooms.run(&at_work));
        Ok(Self { desk: Arc::clone(desk), thread: Some(thread.map_err(Error::Shard)?) })
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        self.desk.stop();
        if let Some(thread) = self.thread.take() {
            // It is gone either way.
            drop(thread.join());
        }
    }
}

/// One Room that is mixed.
#[derive(Debug)]
struct MixedRoom {
    live: Live<TrackId, PeerId>,
    plan: MixPlan,
    outbox: Arc<Outbox>,
}

/// What the thread owns.
#[derive(Debug)]
struct Rooms {
    /// All timestamps count from here, so that a Room keeps its time whatever becomes of its mix.
    origin: Instant,
    /// At most as many as the shards have.
    rooms: HashMap<RoomId, MixedRoom>,
    /// What happened in Rooms that are over.
    past: Counts,
    mixes_dropped: u64,
    /// Of the Room under way.
    packets: Vec<MixedPacket>,
}

impl Rooms {
    fn new(origin: Instant) -> Self {
        Self { origin, rooms: HashMap::new(), past: Counts::default(), mixes_dropped: 0, packets: Vec::new() }
    }

    fn run(mut self, desk: &Desk) {
        let mut stats = MixStats::default();
        let mut published = self.origin;
        loop {
            let due = self.rooms.values().map(|room| room.live.due()).min();
            let Some((jobs, voices_dropped)) = desk.take(due) else { return };
            let began = now();
            for job in jobs {
                match job {
                    Job::Plan { at, room, plan, outbox } => self.plan(at, room, plan, outbox),
                    Job::Voice { at, room, packet } => self.hear(at, room, packet),
                }
            }
            self.mix(began);
            let ended = now();
            stats.busy += ended.saturating_duration_since(began);
            if ended.saturating_duration_since(published) >= PUBLISH || self.rooms.is_empty() {
                published = ended;
                stats.voices_dropped = voices_dropped;
                stats.mixes_dropped = self.mixes_dropped;
                stats.counts = self.past;
                self.rooms.values().for_each(|room| stats.counts.add(room.live.counts()));
                stats.rooms = self.rooms.len() as u64;
                stats.listeners = self.rooms.values().map(|room| room.plan.listeners.len() as u64).sum();
                *lock(&desk.stats) = stats;
            }
        }
    }

    fn plan(&mut self, at: Instant, id: RoomId, plan: MixPlan, outbox: Arc<Outbox>) {
        if plan.listeners.is_empty() {
            if let Some(room) = self.rooms.remove(&id) {
                self.past.add(room.live.counts());
            }
            return;
        }
        let first = self.first(id, at);
        let origin = self.origin;
        let room = self.rooms.entry(id).or_insert_with(|| MixedRoom {
            live: Live::new(first, timestamp(origin, first)),
            plan: MixPlan::default(),
            outbox,
        });
        room.plan = plan;
        room.follow(at);
    }

    /// When a Room is mixed for the first time: in one of the turns, by its name.
    fn first(&self, id: RoomId, now: Instant) -> Instant {
        let turn = INTERVAL / TURNS * (u32::from(id.as_uuid().as_bytes().first().copied().unwrap_or_default()) % TURNS);
        let passed = now.saturating_duration_since(self.origin).as_millis() / INTERVAL.as_millis();
        let frames = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
        self.origin + INTERVAL * frames + turn
    }

    fn hear(&mut self, at: Instant, id: RoomId, packet: VoicePacket) {
        let VoicePacket { voice, number, level, payload } = packet;
        if let Some(room) = self.rooms.get_mut(&id) {
            room.live.push(voice, Spoken { arrived: at, number, level, payload });
        }
    }

    fn mix(&mut self, now: Instant) {
        let mut rung: Vec<Arc<Outbox>> = Vec::new();
        for (id, room) in &mut self.rooms {
            if room.live.due() > now {
                continue;
            }
            let (packets, plan) = (&mut self.packets, room.plan.number);
            packets.clear();
            let live = &mut room.live;
            // What it left half done goes with its mix.
            let made = catch_unwind(AssertUnwindSafe(|| {
                live.take_until(now, |mixed| {
                    packets.push(MixedPacket {
                        plan,
                        timestamp: mixed.timestamp,
                        level: mixed.level,
                        payload: Bytes::copy_from_slice(mixed.payload),
                        listeners: mixed.listeners.to_vec(),
                    });
                })
            }));
            match made {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(room = ?id, %error, "a frame of the mix was lost"),
                Err(_) => {
                    tracing::error!(room = ?id, "the mix of a room failed inside and begins anew");
                    self.past.add(room.live.counts());
                    let first = now + INTERVAL;
                    room.live = Live::new(first, timestamp(self.origin, first));
                    room.follow(now);
                    continue;
                }
            }
            self.mixes_dropped += room.outbox.put(*id, packets.drain(..));
            if !rung.iter().any(|outbox| Arc::ptr_eq(outbox, &room.outbox)) {
                rung.push(Arc::clone(&room.outbox));
            }
        }
        rung.iter().for_each(|outbox| outbox.wake());
    }
}

impl MixedRoom {
    fn follow(&mut self, at: Instant) {
        let listeners = self.plan.listeners.iter().map(|listener| (listener.peer, listener.without.clone())).collect();
        if let Err(error) = self.live.plan(at, &self.plan.voices, listeners) {
            tracing::error!(%error, "a voice cannot be mixed");
        }
    }
}

/// The mix's time at an instant.
fn timestamp(origin: Instant, at: Instant) -> u32 {
    let millis = at.saturating_duration_since(origin).as_millis();
    #[allow(clippy::cast_possible_truncation, reason = "timestamps roll over")]
    let samples = (millis * u128::from(mixer::RATE / 1000)) as u32;
    samples
}

#[allow(clippy::disallowed_methods, reason = "the mixer's thread is where real time enters")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
