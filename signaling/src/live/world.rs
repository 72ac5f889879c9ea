//! What a Room does to the world: commands to its media node, changes to the database with their audit events.

use std::time::Duration;

use tokio::time::timeout;
use wire::control::{Command, Refusal, Reply};
use wire::{ParticipantId, VisitId};

use crate::app::App;
use crate::audit::spool::{By, Kept, Spool, Spooled};
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::consent::{self, ConsentStatus, rules};

use crate::db::{self, Stamp, Tx};
use crate::error::{Error, Result};
use crate::ice::Relay;
use crate::ids::OrgId;
use crate::live::notable::Happening;
use crate::live::room::{Change, Outside, Stored};
use crate::live::sfu;
use crate::problem::{Code, Problem};
use crate::quality::{Place, Sample};
use crate::recording::store::{self as recordings, NewRecording};
use crate::waiting_room::store::{self as waiting, Scene};

/// How long a Room waits for the database with something that can be spooled: nobody in it is served meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// One Room's door to everything else.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) org: OrgId,
    pub(crate) visit: VisitId,
}

impl Outside for World {
    async fn command(&self, command: Command) -> std::result::Result<Reply, Refusal> {
        sfu::ask(&self.app.sfu, command).await
    }

    fn relay(&self) -> Option<&Relay> {
        self.app.relay.as_ref()
    }

    async fn store(&self, change: Change) -> std::result::Result<Stored, Problem> {
        let written = match (&self.app.config.spool, Kept::of(&change)) {
            (Some(spool), Some((by, kept))) => Box::pin(self.write_or_spool(spool, change, by, kept)).await,
            (Some(spool), None) => Box::pin(self.write_in_turn(spool, change)).await,
            (None, _) => Box::pin(self.write(change, Stamp::new(self.app.now()))).await,
        };
        // Somebody came, agreed or began: an order that waited for it may be served now.
        self.app.orders.notify_one();
        written.map_err(|error| {
            if !matches!(error, Error::Refused(_)) {
                tracing::error!(%error, "a change of a room was not written");
            }
            Problem::from(&error)
        })
    }

    fn note(&self, sample: Sample) {
        self.app.samples.put(Place { org: self.org, visit: self.visit }, sample);
    }

    fn tell(&self, happening: Happening) {
        self.app.happenings.put(self.org, happening);
    }
}

impl World {
    /// Writes what has happened already; into the spool, when the database is away or earlier changes of this visit wait there.
    async fn write_or_spool(&self, spool: &Spool, change: Change, by: Option<By>, kept: Kept) -> Result<Stored> {
        let stamp = Stamp::new(self.app.now());
        if !spool.holds(self.visit) && !self.app.db.is_away() {
            match timeout(PATIENCE, Box::pin(self.write(change, stamp))).await {
                Ok(Err(error)) if error.is_passing() => {}
                Ok(done) => return done,
                // It may have got there or not: the replay asks by the event's id.
                Err(_) => {}
            }
            self.app.db.suspect();
        }
        let record = Spooled { event: stamp.event, org: self.org, visit: self.visit, at: stamp.at, by, kept };
        let kept = spool.append(&self.app.keys, record).await;
        self.app.metrics.set_spooled(spool.len());
        if let Err(error) = kept {
            self.app.metrics.note_spool_refused();
            return Err(error);
        }
        Ok(Stored::Done)
    }

    /// Writes what must be in the books first, after everything of this visit that waits in the spool.
    async fn write_in_turn(&self, spool: &Spool, change: Change) -> Result<Stored> {
        if spool.holds(self.visit) && timeout(PATIENCE, spool.drained(self.visit)).await.is_err() {
            return Err(Code::Unavailable.into());
        }
        self.write(change, Stamp::new(self.app.now())).await
    }

    /// Writes a change, dated and named by the stamp.
    pub(crate) async fn write(&self, change: Change, stamp: Stamp) -> Result<Stored> {
        match change {
            Change::Entered { participant, actor, is_sent_back } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| {
                    let (since, drafts) = waiting::enter(tx, scene, participant, is_sent_back).await?;
                    let consent = self.find_standing(tx, participant).await?;
                    Ok((Stored::In { since, consent }, drafts))
                })
                .await
            }
            Change::Joined { participant, actor, is_queue_empty } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| {
                    let (since, drafts) = waiting::join(tx, scene, participant, is_queue_empty).await?;
                    let consent = self.find_standing(tx, participant).await?;
                    Ok((Stored::In { since, consent }, drafts))
                })
                .await
            }
            Change::DeviceChecked { participant, actor, camera, microphone } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, waiting::check_devices(tx, scene, participant, camera, microphone).await?))
                })
                .await
            }
            Change::Admitted { participant, actor, override_reason } => {
                let scene = self.scene(&actor, stamp);
                let admitted = self
                    .audited(&actor, stamp, async |tx| {
                        Ok((Stored::Done, waiting::admit(tx, scene, participant, override_reason).await?))
                    })
                    .await;
                if let Err(Error::Refused(problem)) = &admitted {
                    consent::gate::note_refusal(&self.app, &actor, (self.visit, participant), problem.code).await;
                }
                admitted
            }
            Change::Denied { participant, actor } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| Ok((Stored::Done, waiting::deny(tx, scene, participant).await?)))
                    .await
            }
            Change::Removed { participant, actor } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, waiting::remove(tx, scene, participant).await?))
                })
                .await
            }
            Change::Left { participant, actor, was_admitted, is_queue_over } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, waiting::leave(tx, scene, participant, was_admitted, is_queue_over).await?))
                })
                .await
            }
            Change::TimedOut { participant, actor, is_queue_over } => {
                let scene = self.scene(&actor, stamp);
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, waiting::time_out(tx, scene, participant, is_queue_over).await?))
                })
                .await
            }
            Change::Muted { participant, actor, source, muted } => {
                let drafts = waiting::mute(self.scene(&actor, stamp), participant, source, muted);
                self.audited(&actor, stamp, async |_| Ok((Stored::Done, drafts))).await
            }
            other => self.write_consent_or_recording(other, stamp).await,
        }
    }

    async fn write_consent_or_recording(&self, change: Change, stamp: Stamp) -> Result<Stored> {
        let (visit, now) = (self.visit, stamp.at);
        match change {
            Change::ConsentRequested { actor } => {
                self.audited(&actor, stamp, async |tx| {
                    let text = consent::store::current_text(tx, self.org).await?;
                    let draft = Draft::new(EventType::ConsentRequested).visit(visit);
                    let draft = draft.fact("version", Fact::Number(text.version.into()));
                    Ok((Stored::Text(text), vec![draft]))
                })
                .await
            }
            Change::ConsentGiven { participant, actor, version, decision } => {
                self.audited(&actor, stamp, async |tx| {
                    let (place, said) = ((visit, participant), (decision, version));
                    let (_, draft) = consent::store::answer(tx, self.org, place, said, now).await?;
                    Ok((Stored::Done, vec![draft]))
                })
                .await
            }
            Change::RecordingRequested { recording, room, actor, tap_token, participants, needs_consent, order } => {
                let recorder = self.app.config.recorder;
                let new =
                    NewRecording { recording, room, visit, tap_token, recorder, participants, needs_consent, order };
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, recordings::insert(tx, &actor, &new, now).await?))
                })
                .await
            }
            Change::RecordingFlowing { recording } => {
                let actor = self.system();
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, recordings::start(tx, visit, recording, now).await?))
                })
                .await
            }
            Change::RecordingStopped { recording, actor, reason } => {
                let by = actor.as_ref().map(Actor::id);
                let actor = actor.unwrap_or_else(|| self.system());
                self.audited(&actor, stamp, async |tx| {
                    Ok((Stored::Done, recordings::stop(tx, visit, recording, (by, reason), now).await?))
                })
                .await
            }
            other => Err(Error::Inside(format!("a change without a place to write it: {other:?}"))),
        }
    }

    /// Where somebody stands towards the consent text in force.
    async fn find_standing(&self, tx: &mut Tx, participant: ParticipantId) -> Result<ConsentStatus> {
        let text = consent::store::current_text(tx, self.org).await?;
        let answers = consent::store::newest_of_visit(tx, self.visit).await?;
        let newest = answers.iter().find(|answer| answer.participant == participant);
        Ok(rules::standing(newest, text.version, self.app.now()))
    }

    const fn system(&self) -> Actor {
        Actor::System { org: self.org }
    }

    const fn scene<'a>(&self, actor: &'a Actor, stamp: Stamp) -> Scene<'a> {
        Scene { visit: self.visit, actor, now: stamp.at }
    }

    async fn audited<F>(&self, actor: &Actor, stamp: Stamp, change: F) -> Result<Stored>
    where
        F: AsyncFnOnce(&mut Tx) -> Result<(Stored, Vec<Draft>)>,
    {
        // A change that was made before is as good as one made now.
        Ok(db::audited_as(&self.app.db, self.org, actor, stamp, change).await?.unwrap_or(Stored::Done))
    }
}
