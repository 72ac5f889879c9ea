//! What can be done to a visit: every guard, move and audit row. The faces translate to and from these functions, and decide nothing.

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission, StaffRole};
use crate::clinical;
use crate::clock::Timestamp;
use crate::consent::gate;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::join;
use crate::organization;
use crate::participant::{self, Participant, Role};
use crate::problem::Code;
use crate::visit::{
    CancelReason, Channel, EndReason, NewVisit, RecordingPolicy, Visit, VisitStatus, check_duration, check_start,
    check_text, issue, move_events, refuse_move, store,
};

/// The `rowVersion` that a caller saw, if they said. When the visit has another one by now, nothing is done.
pub type Seen = Option<i32>;

/// A visit that [`create`] gives.
#[derive(Clone, Debug)]
pub struct Created {
    /// The visit.
    pub visit: Visit,
    /// False when the appointment had it already.
    pub is_new: bool,
}

/// Plans a visit with its patient and its clinician. The same appointment again gives the visit that is there (rows 1, 15, 31).
///
/// # Errors
/// `FORBIDDEN`; `INVALID`; `APPOINTMENT_TAKEN` when the appointment has a visit with other people or another time; `DOUBLE_BOOKED`.
pub async fn create(app: &App, actor: &Actor, new: NewVisit) -> Result<Created> {
    actor.require(Permission::CreateVisit)?;
    new.validate()?;
    // A clinician plans visits of their own.
    if matches!(actor, Actor::Staff(staff) if staff.role == StaffRole::Clinician && staff.sub != new.clinician_id) {
        return Err(Code::Forbidden.into());
    }
    let (org, now) = (actor.org(), app.now());
    let is_there = db::scoped(&app.db, org, async |tx| find_same(tx, org, &new).await).await?;
    if let Some(visit) = is_there {
        return Ok(Created { visit, is_new: false });
    }
    let made = db::audited(&app.db, org, actor, async |tx| {
        if let Some(appointment) = &new.appointment {
            store::lock_appointment(tx, org, appointment).await?;
            // Somebody may have been faster.
            if let Some(visit) = find_same(tx, org, &new).await? {
                return Err(Planning::IsThere(Box::new(visit)));
            }
        }
        let visit = store::insert(tx, org, VisitId::random(), &new, &actor.id(), now).await?;
        for (role, identity, name) in [
            (Role::Patient, &new.patient_id, &new.patient_name),
            (Role::Clinician, &new.clinician_id, &new.clinician_name),
        ] {
            let (id, identity, name) = (ParticipantId::random(), identity.clone(), name.clone());
            participant::store::insert(tx, org, &Participant { id, visit: visit.id, role, identity, name }).await?;
        }
        let mut events = vec![Draft::new(EventType::VisitCreated).visit(visit.id)];
        if let Some(complaint) = &new.chief_complaint {
            events.push(clinical::write_complaint(tx, app, &visit, complaint.reveal()).await?);
        }
        events.extend(gate::plan(tx, actor, &visit, new.patient_state, now).await?);
        Ok((visit, events))
    })
    .await;
    match made {
        Ok(visit) => Ok(Created { visit, is_new: true }),
        Err(Planning::IsThere(visit)) => Ok(Created { visit: *visit, is_new: false }),
        Err(Planning::Failed(error)) => Err(error),
    }
}

/// Why no visit was written.
enum Planning {
    IsThere(Box<Visit>),
    Failed(Error),
}

impl From<Error> for Planning {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The visit of the same appointment, if there is one; it has to be the same in every respect that people plan by.
async fn find_same(tx: &mut Tx, org: OrgId, new: &NewVisit) -> Result<Option<Visit>> {
    let Some(appointment) = &new.appointment else { return Ok(None) };
    let Some(visit) = store::find_by_appointment(tx, org, appointment).await? else { return Ok(None) };
    let is_same = visit.patient_id == new.patient_id
        && visit.clinician_id == new.clinician_id
        && visit.scheduled_start == new.scheduled_start
        && visit.duration_min == new.duration_min;
    if is_same { Ok(Some(visit)) } else { Err(Code::AppointmentTaken.into()) }
}

/// What is to be changed of a visit; whatever is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisitPatch {
    /// When it should begin.
    pub scheduled_start: Option<Timestamp>,
    /// How long it should last, minutes.
    pub duration_min: Option<i32>,
    /// Such as `follow_up`.
    pub visit_type: Option<String>,
    /// How the patient is told.
    pub channel: Option<Channel>,
    /// Whether it may be recorded.
    pub recording_policy: Option<RecordingPolicy>,
}

impl VisitPatch {
    /// Changes `visit`; gives the names of what is different now, and whether its time is.
    fn apply(self, visit: &mut Visit) -> (Vec<&'static str>, bool) {
        fn set<T: PartialEq>(names: &mut Vec<&'static str>, name: &'static str, to: Option<T>, field: &mut T) {
            if let Some(value) = to.filter(|value| value != field) {
                *field = value;
                names.push(name);
            }
        }
        let mut names = Vec::new();
        set(&mut names, "scheduledAt", self.scheduled_start, &mut visit.scheduled_start);
        set(&mut names, "duration", self.duration_min, &mut visit.duration_min);
        let is_moved = !names.is_empty();
        set(&mut names, "visitType", self.visit_type.map(Some), &mut visit.visit_type);
        set(&mut names, "channel", self.channel, &mut visit.channel);
        set(&mut names, "recordingPolicy", self.recording_policy, &mut visit.recording_policy);
        (names, is_moved)
    }
}

/// Changes details or the time of a visit. Another time withdraws the links that were made for the old one.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`, `VERSION_CONFLICT`, `VISIT_FINAL`, `DOUBLE_BOOKED`; `INVALID_TRANSITION` for another time or
/// another policy once somebody has come.
pub async fn update(app: &App, actor: &Actor, id: VisitId, seen: Seen, patch: VisitPatch) -> Result<Visit> {
    actor.require(Permission::CreateVisit)?;
    patch.duration_min.map_or(Ok(()), check_duration)?;
    patch.scheduled_start.map_or(Ok(()), check_start)?;
    patch.visit_type.as_deref().map_or(Ok(()), |text| check_text("visitType", text, 100))?;
    let now = app.now();
    let changed = db::audited(&app.db, actor.org(), actor, async |tx| {
        let mut visit = lock_own(tx, actor, Permission::CreateVisit, id, seen).await?;
        if visit.status.is_over() {
            return Err(Changing::Failed(Code::VisitFinal.into()));
        }
        let (status, before) = (visit.status, (visit.scheduled_start, visit.recording_policy));
        let (names, is_moved) = patch.apply(&mut visit);
        if names.is_empty() {
            return Err(Changing::Same(Box::new(visit)));
        }
        if status != VisitStatus::Scheduled && (is_moved || visit.recording_policy != before.1) {
            return Err(Changing::Failed(refuse_move(status, VisitStatus::Scheduled)));
        }
        let mut events = Vec::new();
        if is_moved {
            let minutes = (visit.scheduled_start - before.0).whole_minutes();
            events.push(Draft::new(EventType::VisitRescheduled).visit(id).fact("minutes", Fact::Number(minutes)));
            events.extend(revoke_tokens(tx, id, "RESCHEDULED", now).await?);
        }
        let details = names.into_iter().filter(|name| !matches!(*name, "scheduledAt" | "duration"));
        let updated = |name| Draft::new(EventType::VisitUpdated).visit(id).fact("field", Fact::Word(name));
        events.extend(details.map(updated));
        Ok((store::update(tx, &visit, is_moved, &actor.id(), now).await?, events))
    })
    .await;
    match changed {
        Ok(visit) => Ok(visit),
        Err(Changing::Same(visit)) => Ok(*visit),
        Err(Changing::Failed(error)) => Err(error),
    }
}

/// Why nothing was changed.
enum Changing {
    Same(Box<Visit>),
    Failed(Error),
}

impl From<Error> for Changing {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Ends a visit for any reason: its links and sessions end with it, and so does its live room (rows 7, 13, 19, 33). `Cancelled` and
/// `NoShow` are [`cancel`] and [`mark_no_show`] by another name.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VERSION_CONFLICT`, `VISIT_FINAL`, `INVALID_TRANSITION`; `ISSUE_MISSING` for `Technical` without a report.
pub async fn end(app: &App, actor: &Actor, id: VisitId, seen: Seen, reason: EndReason) -> Result<Visit> {
    close(app, actor, Permission::EndVisit, id, seen, reason, None).await
}

/// Calls a visit off, as long as no patient was ever let in.
///
/// # Errors
/// As [`end`].
pub async fn cancel(app: &App, actor: &Actor, id: VisitId, seen: Seen, why: Option<CancelReason>) -> Result<Visit> {
    // Whoever plans visits may call them off.
    close(app, actor, Permission::CreateVisit, id, seen, EndReason::Cancelled, why).await
}

/// The patient did not come (row 38).
///
/// # Errors
/// As [`end`].
pub async fn mark_no_show(app: &App, actor: &Actor, id: VisitId, seen: Seen) -> Result<Visit> {
    close(app, actor, Permission::EndVisit, id, seen, EndReason::NoShow, None).await
}

async fn close(
    app: &App,
    actor: &Actor,
    permission: Permission,
    id: VisitId,
    seen: Seen,
    reason: EndReason,
    why: Option<CancelReason>,
) -> Result<Visit> {
    actor.require(permission)?;
    let now = app.now();
    let visit = db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = lock_own(tx, actor, permission, id, seen).await?;
        let by = actor.id();
        let ended = finish(tx, &visit, reason, &by, now).await?;
        if reason == EndReason::Cancelled {
            store::note_cancelled(tx, id, &by, why).await?;
        }
        Ok::<_, Error>(ended)
    })
    .await?;
    if let Some(room) = app.live.find(id) {
        room.end(Some(actor.clone())).await;
    }
    // A reason that was written after the end is part of the visit too.
    Ok(Visit { cancel_reason: why.or(visit.cancel_reason), ..visit })
}

/// Ends a locked visit in the books, with everything that hangs on it. Its room is the caller's to end, after the commit.
///
/// # Errors
/// `VISIT_FINAL`, `INVALID_TRANSITION`, `ISSUE_MISSING`; the database's own failures.
pub(crate) async fn finish(
    tx: &mut Tx,
    visit: &Visit,
    reason: EndReason,
    by: &str,
    now: Timestamp,
) -> Result<(Visit, Vec<Draft>)> {
    let (id, from, to) = (visit.id, visit.status, reason.status());
    if !from.may_become(to) {
        return Err(refuse_move(from, to));
    }
    match reason {
        EndReason::NoShow | EndReason::Cancelled if store::was_patient_admitted(tx, id).await? => {
            return Err(refuse_move(from, to));
        }
        EndReason::Technical if !issue::store::exists(tx, id).await? => return Err(Code::IssueMissing.into()),
        _ => {}
    }
    let seen = store::Standing { id, status: from, row_version: visit.row_version };
    let row_version = store::advance(tx, seen, to, Some((reason, by)), now).await?;
    let mut events = move_events(id, from, to, row_version);
    if let Some(named) = events.last_mut() {
        named.reason = Some(reason.as_str());
    }
    let why = match reason {
        EndReason::Cancelled => "VISIT_CANCELLED",
        _ => "VISIT_ENDED",
    };
    events.extend(revoke_tokens(tx, id, why, now).await?);
    for session in join::session::revoke_all_of_visit(tx, id, why, now).await? {
        let revoked = Draft::new(EventType::SessionRevoked).visit(id).subject("session", session.as_uuid());
        events.push(revoked.because(why));
    }
    store::close_waiting(tx, id, now).await?;
    Ok((store::get(tx, id).await?, events))
}

/// Lets a visit that broke off go on. The people of it need new links, or their staff login.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VERSION_CONFLICT`, `VISIT_FINAL`, `INVALID_TRANSITION`; `REOPEN_WINDOW_OVER`.
pub async fn reopen(app: &App, actor: &Actor, id: VisitId, seen: Seen) -> Result<Visit> {
    actor.require(Permission::EndVisit)?;
    let now = app.now();
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = lock_own(tx, actor, Permission::EndVisit, id, seen).await?;
        let to = VisitStatus::Waiting;
        if visit.status != VisitStatus::Technical {
            return Err(refuse_move(visit.status, to));
        }
        let window = organization::settings(tx, visit.org).await?.reopen_window();
        if visit.ended_at.is_none_or(|at| now - at > window) {
            return Err(Code::ReopenWindowOver.into());
        }
        store::note_reopened(tx, id, &actor.id(), now).await?;
        let standing = store::Standing { id, status: visit.status, row_version: visit.row_version };
        let row_version = store::advance(tx, standing, to, None, now).await?;
        Ok::<_, Error>((store::get(tx, id).await?, move_events(id, visit.status, to, row_version)))
    })
    .await
}

/// Begins a visit before anybody waits: the clinician is there first (row 37). Whoever waits is let in by name: see
/// `waiting_room::command`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VERSION_CONFLICT`, `VISIT_FINAL`, `INVALID_TRANSITION`.
pub async fn start(app: &App, actor: &Actor, id: VisitId, seen: Seen) -> Result<Visit> {
    actor.require(Permission::HostVisit)?;
    let now = app.now();
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = lock_own(tx, actor, Permission::HostVisit, id, seen).await?;
        let to = VisitStatus::InProgress;
        if visit.status != VisitStatus::Scheduled {
            return Err(refuse_move(visit.status, to));
        }
        let standing = store::Standing { id, status: visit.status, row_version: visit.row_version };
        let row_version = store::advance(tx, standing, to, None, now).await?;
        Ok::<_, Error>((store::get(tx, id).await?, move_events(id, visit.status, to, row_version)))
    })
    .await
}

/// The visit, locked, for an actor whose business it is.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VERSION_CONFLICT` with the `rowVersion` that it has.
pub(crate) async fn lock_own(
    tx: &mut Tx,
    actor: &Actor,
    permission: Permission,
    id: VisitId,
    seen: Seen,
) -> Result<Visit> {
    let visit = store::lock(tx, id).await?;
    actor.require_on(permission, visit.id, &visit.clinician_id)?;
    if seen.is_some_and(|version| version != visit.row_version) {
        return Err(Code::VersionConflict.problem().member("rowVersion", visit.row_version).into());
    }
    Ok(visit)
}

async fn revoke_tokens(tx: &mut Tx, id: VisitId, why: &'static str, now: Timestamp) -> Result<Vec<Draft>> {
    let tokens = join::store::revoke_all_of_visit(tx, id, why, now).await?;
    let event = |token: crate::ids::TokenId| {
        Draft::new(EventType::TokenRevoked).visit(id).subject("token", token.as_uuid()).because(why)
    };
    Ok(tokens.into_iter().map(event).collect())
}
