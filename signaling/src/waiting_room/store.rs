//! SQL of the waiting room and of who is in a Visit. Each function belongs into one audited transaction.

use uuid::Uuid;
use wire::control::Source;
use wire::{ParticipantId, VisitId};

use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::consent::OverrideReason;
use crate::consent::gate::{self, Door};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::problem::Code;
use crate::visit::{self, VisitStatus};
use crate::waiting_room::WaitingStatus;

/// Where and when something happens, and who does it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) visit: VisitId,
    pub(crate) actor: &'a Actor,
    pub(crate) now: Timestamp,
}

impl Scene<'_> {
    fn draft(&self, event: EventType) -> Draft {
        Draft::new(event).visit(self.visit)
    }

    fn about(&self, event: EventType, participant: ParticipantId) -> Draft {
        self.draft(event).subject("participant", participant)
    }
}

/// Somebody comes into the waiting room. An entry that is still open, as after a restart, goes on with its old time.
/// Gives the time since when they wait.
///
/// # Errors
/// `VISIT_FINAL` when the visit is over.
pub(crate) async fn enter(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    is_sent_back: bool,
) -> Result<(Timestamp, Vec<Draft>)> {
    require_open(tx, scene.visit).await?;
    let open = sqlx::query_scalar!(
        "SELECT entered_at FROM waiting_entry WHERE participant_id = $1 AND status = 'WAITING'",
        participant.as_uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(since) = open {
        return Ok((since, vec![scene.about(EventType::ParticipantReconnected, participant)]));
    }
    sqlx::query!(
        "INSERT INTO waiting_entry (entry_id, org_id, visit_id, participant_id, entered_at) VALUES ($1, $2, $3, $4, $5)",
        Uuid::new_v4(),
        scene.actor.org().as_uuid(),
        scene.visit.as_uuid(),
        participant.as_uuid(),
        scene.now
    )
    .execute(&mut *tx)
    .await?;
    let event = if is_sent_back { EventType::WaitingReturned } else { EventType::WaitingEntered };
    let mut drafts = vec![scene.about(event, participant)];
    drafts.extend(move_visit(tx, scene, &[VisitStatus::Scheduled], VisitStatus::Waiting).await?);
    Ok((scene.now, drafts))
}

/// A clinician comes in. With nobody waiting, a scheduled visit begins by that.
///
/// # Errors
/// `VISIT_FINAL` when the visit is over.
pub(crate) async fn join(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    is_queue_empty: bool,
) -> Result<(Timestamp, Vec<Draft>)> {
    require_open(tx, scene.visit).await?;
    let mut drafts = vec![mark_joined(tx, scene, participant).await?];
    if is_queue_empty {
        drafts.extend(move_visit(tx, scene, &[VisitStatus::Scheduled], VisitStatus::InProgress).await?);
    }
    Ok((scene.now, drafts))
}

/// What works on a waiting person's side.
pub(crate) async fn check_devices(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    camera: bool,
    microphone: bool,
) -> Result<Vec<Draft>> {
    sqlx::query!(
        "UPDATE waiting_entry SET camera_ok = $2, mic_ok = $3 WHERE participant_id = $1 AND status = 'WAITING'",
        participant.as_uuid(),
        camera,
        microphone
    )
    .execute(tx)
    .await?;
    let draft = scene.about(EventType::DeviceCheckDone, participant);
    Ok(vec![draft.fact("camera", Fact::Truth(camera)).fact("microphone", Fact::Truth(microphone))])
}

/// The clinician lets somebody in; that begins the visit.
///
/// # Errors
/// `NOT_WAITING` when no entry is open; what the organisation asks of a patient first, as [`gate::pass`] says.
pub(crate) async fn admit(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    override_reason: Option<OverrideReason>,
) -> Result<Vec<Draft>> {
    require_open(tx, scene.visit).await?;
    let since = sqlx::query_scalar!(
        "UPDATE waiting_entry SET status = 'ADMITTED', admitted_at = $2, admitted_by = $3
         WHERE participant_id = $1 AND status = 'WAITING' RETURNING entered_at",
        participant.as_uuid(),
        scene.now,
        scene.actor.id()
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::from(Code::NotWaiting))?;
    let waited = (scene.now - since).whole_seconds().max(0);
    let admitted = scene.about(EventType::WaitingAdmitted, participant).fact("waitSeconds", Fact::Number(waited));
    let door = Door { visit: scene.visit, participant, actor: scene.actor, override_reason, now: scene.now };
    let mut drafts = gate::pass(tx, door).await?;
    drafts.extend([admitted, mark_joined(tx, scene, participant).await?]);
    let from = [VisitStatus::Scheduled, VisitStatus::Waiting];
    drafts.extend(move_visit(tx, scene, &from, VisitStatus::InProgress).await?);
    Ok(drafts)
}

/// The clinician turns somebody away: the entry and the session end.
///
/// # Errors
/// `NOT_WAITING` when no entry is open.
pub(crate) async fn deny(tx: &mut Tx, scene: Scene<'_>, participant: ParticipantId) -> Result<Vec<Draft>> {
    let denied = sqlx::query!(
        "UPDATE waiting_entry SET status = 'DENIED', left_at = $2, denied_by = $3
         WHERE participant_id = $1 AND status = 'WAITING'",
        participant.as_uuid(),
        scene.now,
        scene.actor.id()
    )
    .execute(&mut *tx)
    .await?;
    if denied.rows_affected() == 0 {
        return Err(Code::NotWaiting.into());
    }
    let mut drafts = vec![scene.about(EventType::WaitingDenied, participant)];
    drafts.extend(revoke_session(tx, scene, participant, "DENIED").await?);
    Ok(drafts)
}

/// The clinician sends somebody out: the session ends.
pub(crate) async fn remove(tx: &mut Tx, scene: Scene<'_>, participant: ParticipantId) -> Result<Vec<Draft>> {
    sqlx::query!(
        "UPDATE participant SET removed_at = $2, left_at = $2 WHERE participant_id = $1",
        participant.as_uuid(),
        scene.now
    )
    .execute(&mut *tx)
    .await?;
    let mut drafts = vec![scene.about(EventType::ParticipantRemoved, participant)];
    drafts.extend(revoke_session(tx, scene, participant, "REMOVED").await?);
    Ok(drafts)
}

/// Somebody left, or was away for too long. When nobody waits any more and no clinician is here, a waiting visit is
/// scheduled again.
pub(crate) async fn leave(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    was_admitted: bool,
    is_queue_over: bool,
) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    if was_admitted {
        sqlx::query!("UPDATE participant SET left_at = $2 WHERE participant_id = $1", participant.as_uuid(), scene.now)
            .execute(&mut *tx)
            .await?;
        drafts.push(scene.about(EventType::ParticipantLeft, participant));
    } else {
        sqlx::query!(
            "UPDATE waiting_entry SET status = $3, left_at = $2 WHERE participant_id = $1 AND status = 'WAITING'",
            participant.as_uuid(),
            scene.now,
            WaitingStatus::Left.as_str()
        )
        .execute(&mut *tx)
        .await?;
        drafts.push(scene.about(EventType::WaitingLeft, participant));
    }
    if is_queue_over {
        drafts.extend(move_visit(tx, scene, &[VisitStatus::Waiting], VisitStatus::Scheduled).await?);
    }
    Ok(drafts)
}

/// Somebody waited for too long: the entry ends, the session goes on.
///
/// # Errors
/// `NOT_WAITING` when no entry is open.
pub(crate) async fn time_out(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    is_queue_over: bool,
) -> Result<Vec<Draft>> {
    let since = sqlx::query_scalar!(
        "UPDATE waiting_entry SET status = 'TIMED_OUT', left_at = $2 WHERE participant_id = $1 AND status = 'WAITING'
         RETURNING entered_at",
        participant.as_uuid(),
        scene.now,
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::from(Code::NotWaiting))?;
    let waited = (scene.now - since).whole_seconds().max(0);
    let mut drafts =
        vec![scene.about(EventType::WaitingTimedOut, participant).fact("waitSeconds", Fact::Number(waited))];
    if is_queue_over {
        drafts.extend(move_visit(tx, scene, &[VisitStatus::Waiting], VisitStatus::Scheduled).await?);
    }
    Ok(drafts)
}

/// Whether somebody has an open entry.
pub(crate) async fn is_waiting(tx: &mut Tx, participant: ParticipantId) -> Result<bool> {
    let is_waiting = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM waiting_entry WHERE participant_id = $1 AND status = 'WAITING') AS "is_waiting!""#,
        participant.as_uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok(is_waiting)
}

/// How many people wait in a visit.
pub(crate) async fn count_waiting(tx: &mut Tx, visit: VisitId) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM waiting_entry WHERE visit_id = $1 AND status = 'WAITING'"#,
        visit.as_uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok(count)
}

/// The clinician muted or unmuted a source.
pub(crate) fn mute(scene: Scene<'_>, participant: ParticipantId, source: Source, muted: bool) -> Vec<Draft> {
    let word = match source {
        Source::Microphone => "microphone",
        Source::Camera => "camera",
        Source::Screen => "screen",
        Source::ScreenSound => "screen_sound",
    };
    let draft = scene.about(EventType::ParticipantMuted, participant);
    vec![draft.fact("source", Fact::Word(word)).fact("muted", Fact::Truth(muted))]
}

async fn mark_joined(tx: &mut Tx, scene: Scene<'_>, participant: ParticipantId) -> Result<Draft> {
    sqlx::query!(
        "UPDATE participant SET joined_at = coalesce(joined_at, $2), left_at = NULL WHERE participant_id = $1",
        participant.as_uuid(),
        scene.now
    )
    .execute(tx)
    .await?;
    Ok(scene.about(EventType::ParticipantJoined, participant))
}

async fn revoke_session(
    tx: &mut Tx,
    scene: Scene<'_>,
    participant: ParticipantId,
    reason: &'static str,
) -> Result<Option<Draft>> {
    let session = sqlx::query_scalar!(
        "UPDATE visit_session SET revoked_at = $2, revoke_reason = $3
         WHERE participant_id = $1 AND revoked_at IS NULL RETURNING session_id",
        participant.as_uuid(),
        scene.now,
        reason
    )
    .fetch_optional(tx)
    .await?;
    let draft = |session: Uuid| scene.draft(EventType::SessionRevoked).subject("session", session).because(reason);
    Ok(session.map(draft))
}

async fn require_open(tx: &mut Tx, visit: VisitId) -> Result<()> {
    if visit::store::lock_standing(tx, visit).await?.status.is_over() {
        return Err(Code::VisitFinal.into());
    }
    Ok(())
}

/// Moves the visit if it is where the move begins; gives the events of the move, or none.
async fn move_visit(tx: &mut Tx, scene: Scene<'_>, from: &[VisitStatus], to: VisitStatus) -> Result<Vec<Draft>> {
    let seen = visit::store::lock_standing(tx, scene.visit).await?;
    if !from.contains(&seen.status) {
        return Ok(Vec::new());
    }
    let row_version = visit::store::advance(tx, seen, to, None, scene.now).await?;
    Ok(visit::move_events(scene.visit, seen.status, to, row_version))
}
