//! The waiting room against a real database.

use test_postgres::TestDatabase;
use wire::{ParticipantId, Redacted, VisitId};

use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::clock::{Clock, Timestamp};
use crate::config::SignalingConfig;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::organization::{self, Organization};
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::visit::{self, Channel, NewVisit, RecordingPolicy, VisitStatus};
use crate::waiting_room::WaitingStatus;
use crate::waiting_room::store::{self, Scene};

/// A planned visit with a patient, in a database of its own.
pub(crate) struct Planned {
    pub(crate) db: Db,
    pub(crate) org: OrgId,
    pub(crate) visit: VisitId,
    pub(crate) patient: ParticipantId,
    pub(crate) actor: Actor,
    pub(crate) now: Timestamp,
}

impl Planned {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::fresh().await;
        let url = Redacted::new(database.app_url);
        let config = SignalingConfig { database_url: url, database_connections: 4, ..SignalingConfig::default() };
        let clock = Clock::system();
        let now = clock.now();
        let db = Db::connect(&config, clock).await.unwrap();
        let org = OrgId::random();
        let practice = Organization { id: org, name: "Practice".to_owned(), phone: "+1 555 0100".to_owned() };
        organization::create(&db, &practice).await.unwrap();
        let (visit, patient, actor) = (VisitId::random(), ParticipantId::random(), Actor::System { org });
        let new = NewVisit {
            appointment: None,
            patient_id: "p-1".to_owned(),
            patient_name: Redacted::new("A. Rivera".to_owned()),
            clinician_id: "dr-maria".to_owned(),
            clinician_name: Redacted::new("Dr. Maria Alvarez".to_owned()),
            visit_type: None,
            channel: Channel::Both,
            scheduled_start: now,
            duration_min: 30,
            recording_policy: RecordingPolicy::OptIn,
            demo: false,
            chief_complaint: None,
            patient_state: None,
        };
        let name = new.patient_name.clone();
        let person = Participant { id: patient, visit, role: Role::Patient, identity: "p-1".to_owned(), name };
        db::audited(&db, org, &actor, async |tx| {
            visit::store::insert(tx, org, visit, &new, "planner", now).await?;
            participant::store::insert(tx, org, &person).await?;
            Ok::<_, Error>(((), vec![Draft::new(EventType::VisitCreated).visit(visit)]))
        })
        .await
        .unwrap();
        Self { db, org, visit, patient, actor, now }
    }

    fn scene(&self, after: i64) -> Scene<'_> {
        Scene { visit: self.visit, actor: &self.actor, now: self.now + time::Duration::seconds(after) }
    }

    async fn enter(&self, after: i64, is_sent_back: bool) -> Result<Timestamp> {
        let (scene, patient) = (self.scene(after), self.patient);
        db::audited(&self.db, self.org, &self.actor, async |tx| store::enter(tx, scene, patient, is_sent_back).await)
            .await
    }

    async fn admit(&self, after: i64) -> Result<()> {
        let (scene, patient) = (self.scene(after), self.patient);
        db::audited(&self.db, self.org, &self.actor, async |tx| Ok(((), store::admit(tx, scene, patient, None).await?)))
            .await
    }

    async fn leave(&self, after: i64, was_admitted: bool) -> Result<()> {
        let (scene, patient) = (self.scene(after), self.patient);
        db::audited(&self.db, self.org, &self.actor, async |tx| {
            Ok(((), store::leave(tx, scene, patient, was_admitted, true).await?))
        })
        .await
    }

    async fn status(&self) -> VisitStatus {
        let visit = self.visit;
        db::scoped(&self.db, self.org, async |tx| visit::store::get(tx, visit).await).await.unwrap().status
    }
}

fn code(result: Result<impl Sized>) -> Code {
    match result {
        Err(Error::Refused(problem)) => problem.code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was done"),
    }
}

#[test]
fn only_an_open_entry_moves() {
    for from in WaitingStatus::ALL {
        for to in WaitingStatus::ALL {
            let moves = *from == WaitingStatus::Waiting && *to != WaitingStatus::Waiting;
            assert_eq!(from.can_become(*to), moves, "{from:?} to {to:?}");
        }
    }
}

#[tokio::test]
async fn a_wait_goes_on_after_a_restart_and_ends_once() {
    let planned = Planned::new().await;
    assert_eq!(planned.enter(0, false).await.unwrap(), planned.now);
    assert_eq!(planned.status().await, VisitStatus::Waiting);
    // The process starts anew and knows nobody: the entry is still open and keeps its time.
    assert_eq!(planned.enter(40, false).await.unwrap(), planned.now);
    planned.admit(60).await.unwrap();
    assert_eq!(planned.status().await, VisitStatus::InProgress);
    assert_eq!(code(planned.admit(61).await), Code::NotWaiting);
    // Sent back is a new wait.
    assert_eq!(planned.enter(70, true).await.unwrap(), planned.now + time::Duration::seconds(70));
    assert_eq!(planned.status().await, VisitStatus::InProgress);
    planned.leave(80, false).await.unwrap();
    assert_eq!(code(planned.admit(81).await), Code::NotWaiting);
}

#[tokio::test]
async fn a_visit_whose_last_waiting_person_leaves_is_scheduled_again() {
    let planned = Planned::new().await;
    planned.enter(0, false).await.unwrap();
    planned.leave(10, false).await.unwrap();
    assert_eq!(planned.status().await, VisitStatus::Scheduled);
    planned.enter(20, false).await.unwrap();
    planned.admit(30).await.unwrap();
    planned.leave(40, true).await.unwrap();
    assert_eq!(planned.status().await, VisitStatus::InProgress);
}

#[tokio::test]
async fn nobody_enters_a_visit_that_is_over() {
    let planned = Planned::new().await;
    let (visit, now) = (planned.visit, planned.now);
    db::audited(&planned.db, planned.org, &planned.actor, async |tx| {
        let end = Some((visit::EndReason::Cancelled, "planner"));
        let moved = visit::store::move_to(tx, visit, VisitStatus::Cancelled, end, now).await?;
        Ok::<_, Error>(((), moved.events()))
    })
    .await
    .unwrap();
    assert_eq!(code(planned.enter(1, false).await), Code::VisitFinal);
}
