//! What happens in rooms, on its way into the queue of the webhooks. A room never waits for it: what cannot be taken is dropped and
//! counted. While the database is away, what was taken waits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::{AttendeeChange, Scene, Told};
use crate::app::App;
use crate::chime::names::{AttendeeId, MeetingId, SHARE_SUFFIX};
use crate::db::{self, Tx};
use crate::error::Result;
use crate::ids::OrgId;
use crate::live::notable::{Happening, What};
use crate::metrics::Metrics;
use crate::webhook;

/// What waits to be written. At ten for each person of a meeting, 800 people who come and go in the seconds that a slow statement may
/// take fill this; what comes then is dropped.
const QUEUE: usize = 8_192;

/// How often what has come is written.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// How often a write that fails is tried: ten minutes in all. After that it is not the database that is away.
const TRIES: u32 = 2_400;

/// How long the last write may take at the end of the process.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// One happening. Its id is given here, so that a write whose end was not heard of writes nothing twice.
type Entry = (Uuid, Happening);

/// Where Rooms put what happens in them.
#[derive(Debug)]
pub struct Happenings {
    queue: mpsc::Sender<(OrgId, Entry)>,
    /// Until the writer takes it.
    waiting: Mutex<Option<mpsc::Receiver<(OrgId, Entry)>>>,
    metrics: Metrics,
}

impl Happenings {
    /// An empty queue; what it cannot take is counted in `metrics`.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self { queue, waiting: Mutex::new(Some(waiting)), metrics }
    }

    /// Takes a happening if there is room for it.
    pub(crate) fn put(&self, org: OrgId, happening: Happening) {
        if self.queue.try_send((org, (Uuid::new_v4(), happening))).is_err() {
            self.metrics.note_events_dropped(1);
        }
    }
}

/// What was taken and is not written yet, by organisation.
#[derive(Debug, Default)]
struct Batches(BTreeMap<OrgId, (Vec<Entry>, u32)>);

/// Writes until the role stops.
pub(crate) async fn run(app: App) {
    let taken = app.happenings.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut queue) = taken else { return };
    let mut batches = Batches::default();
    let mut write = interval(WRITE_EVERY);
    write.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => break,
            _ = write.tick() => batches.write(&app, &mut queue).await,
        }
    }
    if timeout(LAST_WRITE, batches.write(&app, &mut queue)).await.is_err() {
        tracing::warn!("what happened last in rooms was not written for the webhooks");
    }
}

/// Writes what waits, once: for tests without the role's tasks.
#[cfg(test)]
pub(crate) async fn write_now(app: &App) {
    let taken = app.happenings.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut queue = taken.expect("no writer runs in a test");
    Batches::default().write(app, &mut queue).await;
    *app.happenings.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
}

impl Batches {
    fn len(&self) -> usize {
        self.0.values().map(|(entries, _)| entries.len()).sum()
    }

    async fn write(&mut self, app: &App, queue: &mut mpsc::Receiver<(OrgId, Entry)>) {
        // What the database does not take stays here, no more than the queue itself would hold; then that fills and drops.
        while self.len() < QUEUE {
            let Ok((org, entry)) = queue.try_recv() else { break };
            self.0.entry(org).or_default().0.push(entry);
        }
        let orgs: Vec<OrgId> = self.0.keys().copied().collect();
        for org in orgs {
            let Some((entries, tries)) = self.0.get_mut(&org) else { continue };
            let written = db::measured(&app.db, org, async |tx| write_all(tx, org, entries).await).await;
            *tries += 1;
            match written {
                Ok(()) => drop(self.0.remove(&org)),
                Err(error) if *tries >= TRIES => {
                    tracing::error!(%error, count = entries.len(), "what happened in rooms is lost to the webhooks");
                    app.metrics.note_events_dropped(entries.len());
                    self.0.remove(&org);
                }
                Err(error) => {
                    if *tries == 1 {
                        tracing::warn!(%error, "what happened in rooms waits to be written for the webhooks");
                    }
                    // The database is away for all of them.
                    return;
                }
            }
        }
    }
}

async fn write_all(tx: &mut Tx, org: OrgId, entries: &[Entry]) -> Result<()> {
    if !webhook::store::has_target(tx, org).await? {
        return Ok(());
    }
    let mut known: BTreeMap<AttendeeId, Option<(Scene, String)>> = BTreeMap::new();
    for (id, happening) in entries {
        let name = happening.id.strip_suffix(SHARE_SUFFIX).unwrap_or(&happening.id);
        // Somebody of another face has no attendee.
        let Ok(attendee) = name.parse::<AttendeeId>() else { continue };
        if let std::collections::btree_map::Entry::Vacant(vacant) = known.entry(attendee) {
            vacant.insert(find(tx, attendee).await?);
        }
        let Some(Some((scene, external_user_id))) = known.get(&attendee) else { continue };
        let told = Told::Attendee(to_change(happening), attendee, external_user_id);
        let event = told.into_event(*id, org, scene, happening.at);
        webhook::store::enqueue(tx, org, &event, happening.at).await?;
    }
    Ok(())
}

/// An attendee, deleted or not, and the meeting, over or not.
async fn find(tx: &mut Tx, attendee: AttendeeId) -> Result<Option<(Scene, String)>> {
    let row = sqlx::query!(
        "SELECT m.meeting_id, m.external_meeting_id, m.media_region, m.region, a.external_user_id
         FROM chime_attendee a JOIN chime_meeting m USING (meeting_id) WHERE a.attendee_id = $1",
        attendee.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| {
        let scene = Scene {
            meeting: MeetingId::from_uuid(row.meeting_id),
            external_id: row.external_meeting_id,
            media_region: row.media_region,
            region: row.region,
        };
        (scene, row.external_user_id)
    }))
}

const fn to_change(happening: &Happening) -> AttendeeChange {
    match (happening.what, happening.is_share) {
        (What::Authorized, _) => AttendeeChange::Authorized,
        (What::Joined, false) => AttendeeChange::Joined,
        (What::Joined, true) => AttendeeChange::ContentJoined,
        (What::Left, false) => AttendeeChange::Left,
        (What::Left, true) => AttendeeChange::ContentLeft,
        (What::Dropped, false) => AttendeeChange::Dropped,
        (What::Dropped, true) => AttendeeChange::ContentDropped,
        (What::PictureOn, false) => AttendeeChange::VideoStarted,
        (What::PictureOn, true) => AttendeeChange::ContentVideoStarted,
        (What::PictureOff, false) => AttendeeChange::VideoStopped,
        (What::PictureOff, true) => AttendeeChange::ContentVideoStopped,
    }
}
