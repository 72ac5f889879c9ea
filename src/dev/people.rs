//! The demo practice: people who sign in by a click, and visits that can begin now.

use std::time::Duration;

use signaling::audit::{Draft, EventType};
use signaling::auth::keys::Keys;
use signaling::auth::{Actor, StaffRole};
use signaling::clock::{Clock, Timestamp};
use signaling::config::{Demo, DemoUser, SignalingConfig};
use signaling::db::{self, Db};
use signaling::ids::{OrgId, ParticipantId, VisitId};
use signaling::organization::{self, Organization};
use signaling::participant::{self, Participant, Role};
use signaling::visit::store::Filter;
use signaling::visit::{Channel, NewVisit, RecordingPolicy, Visit, VisitStatus};
use signaling::{join, visit};
use wire::Redacted;

use crate::Error;

/// The clinician whose desk is full of demo visits.
const CLINICIAN: (&str, &str) = ("demo-clinician", "Dr. Maria Alvarez");

/// Who comes today: id, name, and how many minutes after the first.
const PATIENTS: [(&str, &str, i64); 3] =
    [("demo-patient-1", "Ana Rivera", 0), ("demo-patient-2", "James Osei", 30), ("demo-patient-3", "Lucy Okafor", 60)];

const VISIT_MINUTES: i32 = 30;

/// Until when a printed link works.
const LINK_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Who can sign in by a click.
pub(crate) fn demo(org: OrgId) -> Demo {
    let user = |sub: &str, role, name: &str| DemoUser { sub: sub.to_owned(), role, name: name.to_owned() };
    Demo {
        org,
        users: vec![
            user(CLINICIAN.0, StaffRole::Clinician, CLINICIAN.1),
            user("demo-scheduler", StaffRole::Scheduler, "Sam Lee"),
            user("demo-admin", StaffRole::Admin, "Priya Nair"),
        ],
    }
}

/// Makes the practice, and a visit that can begin now with two more after it, unless there is one already.
/// Returns the short code of a fresh link for the patient of that visit.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn seed(config: &SignalingConfig, keys: &Keys, org: OrgId) -> Result<Redacted<String>, Error> {
    let clock = Clock::system();
    // A small pool of its own, closed again before the server opens its own.
    let db = Db::connect(&SignalingConfig { database_connections: 2, ..config.clone() }, clock.clone()).await?;
    let seeded = seed_in(&db, config, keys, org, clock.now()).await;
    db.close().await;
    seeded
}

async fn seed_in(
    db: &Db,
    config: &SignalingConfig,
    keys: &Keys,
    org: OrgId,
    now: Timestamp,
) -> Result<Redacted<String>, Error> {
    let practice =
        Organization { id: org, name: "Riverside Family Practice".to_owned(), phone: "+1 555 0100".to_owned() };
    organization::create(db, &practice).await?;
    let actor = Actor::System { org };
    let next =
        db::scoped(db, org, async |tx| visit::store::list(tx, org, &joinable(now)).await).await?.into_iter().next();
    let next = match next {
        Some(visit) => visit,
        None => plan_the_day(db, &actor, org, now).await?,
    };
    let code = db::audited(db, org, &actor, async |tx| {
        let people = participant::store::of_visits(tx, &[next.id.as_uuid()]).await?;
        let patient = people.iter().find(|person| person.role == Role::Patient);
        let patient = patient.ok_or_else(|| signaling::Error::Inside("a demo visit has no patient".to_owned()))?;
        let minted = join::mint(keys, &next, patient, LINK_LIFETIME, config.join_opens_before, now)?;
        let hash = keys.lookup_hash(minted.code.reveal());
        let mut events = vec![Draft::new(EventType::TokenIssued).visit(next.id).subject("token", minted.id.as_uuid())];
        for old in join::store::replace(tx, org, patient, &minted, hash, &actor.id(), now).await? {
            let revoked = Draft::new(EventType::TokenRevoked).visit(next.id).subject("token", old.as_uuid());
            events.push(revoked.because("REPLACED"));
        }
        Ok::<_, signaling::Error>((minted.code, events))
    })
    .await?;
    Ok(code)
}

/// Demo visits that somebody could enter now.
fn joinable(now: Timestamp) -> Filter {
    Filter {
        clinician: Some(CLINICIAN.0.to_owned()),
        patient: None,
        from: Some(now - Duration::from_secs(20 * 60)),
        to: Some(now + Duration::from_secs(5 * 60)),
        status: vec![VisitStatus::Scheduled],
        after: None,
    }
}

/// Plans all demo visits, the first beginning now, and returns that one.
async fn plan_the_day(db: &Db, actor: &Actor, org: OrgId, now: Timestamp) -> Result<Visit, Error> {
    let seconds = now.unix_timestamp();
    // On the last five-minute mark, as appointments are.
    let first =
        now - time::Duration::seconds(seconds.rem_euclid(300)) - time::Duration::nanoseconds(now.nanosecond().into());
    let visits = db::audited(db, org, actor, async |tx| {
        let (mut visits, mut events) = (Vec::new(), Vec::new());
        for (patient_id, patient_name, minutes) in PATIENTS {
            let new = NewVisit {
                appointment: None,
                patient_id: patient_id.to_owned(),
                patient_name: Redacted::new(patient_name.to_owned()),
                clinician_id: CLINICIAN.0.to_owned(),
                clinician_name: Redacted::new(CLINICIAN.1.to_owned()),
                visit_type: Some("follow_up".to_owned()),
                channel: Channel::Both,
                scheduled_start: first + time::Duration::minutes(minutes),
                duration_min: VISIT_MINUTES,
                recording_policy: RecordingPolicy::OptIn,
                demo: true,
                chief_complaint: None,
                patient_state: None,
            };
            let visit = visit::store::insert(tx, org, VisitId::random(), &new, &actor.id(), now).await?;
            for (role, identity, name) in
                [(Role::Patient, patient_id, &new.patient_name), (Role::Clinician, CLINICIAN.0, &new.clinician_name)]
            {
                let id = ParticipantId::random();
                let person =
                    Participant { id, visit: visit.id, role, identity: identity.to_owned(), name: name.clone() };
                participant::store::insert(tx, org, &person).await?;
            }
            events.push(Draft::new(EventType::VisitCreated).visit(visit.id));
            visits.push(visit);
        }
        Ok::<_, signaling::Error>((visits, events))
    })
    .await?;
    visits.into_iter().next().ok_or_else(|| "no demo visit was planned".into())
}
