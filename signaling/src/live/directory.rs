//! Where a live Room is: Visit or Room id to handle. The one lock of signaling, never held over an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wire::control::Command;
use wire::link::Requester;
use wire::{RoomId, VisitId};

use crate::clock::Timestamp;
use crate::ids::OrgId;
use crate::live::{RoomHandle, sfu};
use crate::metrics::Metrics;

/// All live Rooms of this process.
#[derive(Debug)]
pub struct Directory {
    requester: Requester,
    rooms: Mutex<Rooms>,
    /// Told whenever a Room has ended.
    forgotten: Notify,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Rooms {
    by_visit: HashMap<VisitId, RoomHandle>,
    by_room: HashMap<RoomId, RoomHandle>,
    /// The media node is gone: nothing new opens.
    is_closed: bool,
    /// The process stops at this time: nothing new opens.
    draining: Option<Timestamp>,
}

/// Why no Room opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The media node is gone.
    NoSfu,
    /// The process is about to stop.
    Draining,
}

impl Directory {
    /// An empty directory in front of one media node.
    #[must_use]
    pub fn new(requester: Requester, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { requester, rooms: Mutex::default(), forgotten: Notify::new(), metrics })
    }

    /// The live Room of a Visit.
    #[must_use]
    pub fn find(&self, visit: VisitId) -> Option<RoomHandle> {
        self.lock().by_visit.get(&visit).filter(|handle| !handle.is_over()).cloned()
    }

    /// A live Room by its id at the media node.
    #[must_use]
    pub fn find_room(&self, room: RoomId) -> Option<RoomHandle> {
        self.lock().by_room.get(&room).cloned()
    }

    /// How many Rooms live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().by_visit.len()
    }

    /// The visits whose Rooms have somebody connected at `now`, by organisation.
    pub(crate) fn attended(&self, now: Timestamp) -> BTreeMap<OrgId, Vec<VisitId>> {
        let mut visits: BTreeMap<OrgId, Vec<VisitId>> = BTreeMap::new();
        for room in self.lock().by_visit.values().filter(|room| room.attended_at(now) == Some(now)) {
            visits.entry(room.org()).or_default().push(room.visit());
        }
        visits
    }

    /// True when no Room lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True while the media node is there.
    #[must_use]
    pub fn has_sfu(&self) -> bool {
        !self.lock().is_closed
    }

    /// What Rooms count.
    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// True when nothing new begins, because the process is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.lock().draining.is_some()
    }

    /// From now on no Room opens; gives those that live, to be told.
    pub(crate) fn drain(&self, deadline: Timestamp) -> Vec<RoomHandle> {
        let mut rooms = self.lock();
        rooms.draining = Some(deadline);
        self.metrics.note_draining();
        rooms.by_visit.values().filter(|handle| !handle.is_over()).cloned().collect()
    }

    /// Comes back when no Room lives.
    pub(crate) async fn emptied(&self) {
        loop {
            // Before the look, so that an end between the two is not missed.
            let forgotten = self.forgotten.notified();
            if self.is_empty() {
                return;
            }
            forgotten.await;
        }
    }

    /// The live Room of a Visit, made by `make` when there is none.
    ///
    /// # Errors
    /// When none lives and none may open.
    pub(crate) fn open(&self, visit: VisitId, make: impl FnOnce(RoomId) -> RoomHandle) -> Result<RoomHandle, Closed> {
        let mut rooms = self.lock();
        if rooms.is_closed {
            return Err(Closed::NoSfu);
        }
        if let Some(handle) = rooms.by_visit.get(&visit).filter(|handle| !handle.is_over()) {
            return Ok(handle.clone());
        }
        if rooms.draining.is_some() {
            return Err(Closed::Draining);
        }
        let handle = make(RoomId::random());
        rooms.by_room.insert(handle.room(), handle.clone());
        rooms.by_visit.insert(visit, handle.clone());
        self.metrics.set_rooms(rooms.by_room.len());
        Ok(handle)
    }

    /// A Room's task has ended. A newer Room of the same Visit stays.
    pub(crate) fn forget(&self, visit: VisitId, room: RoomId) {
        let mut rooms = self.lock();
        rooms.by_room.remove(&room);
        if rooms.by_visit.get(&visit).is_some_and(|handle| handle.room() == room) {
            rooms.by_visit.remove(&visit);
        }
        self.metrics.set_rooms(rooms.by_room.len());
        drop(rooms);
        self.forgotten.notify_waiters();
    }

    /// The media node is gone: gives all Rooms, to be told, and opens no more.
    pub(crate) fn close(&self) -> Vec<RoomHandle> {
        let mut rooms = self.lock();
        rooms.is_closed = true;
        rooms.by_room.values().cloned().collect()
    }

    /// Ends a Room at the media node whose task cannot do so any more.
    pub(crate) async fn close_at_sfu(&self, room: RoomId) {
        if let Err(refusal) = sfu::ask(&self.requester, Command::CloseRoom { room }).await {
            tracing::warn!(room_id = %room, reason = ?refusal.reason, "a failed room could not be closed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        // A panic while the maps were held leaves them usable: each change is two inserts or removals.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
