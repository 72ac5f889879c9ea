//! SQL of Recordings, their jobs and the grants to play them.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;
use wire::delivery::Order;
use wire::manifest::Manifest;
use wire::{ParticipantId, RecorderId, RecordingId, Redacted, RoomId, VisitId};

use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::consent::engine::{self, Present};
use crate::consent::{self, rules};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::live::room::StopReason;
use crate::location;
use crate::participant::{self, Role};
use crate::problem::Code;
use crate::recording::{HoldReason, RecordingStatus, RecordingView, artefacts, retain_until};

/// A Recording that is about to be captured.
#[derive(Clone, Debug)]
pub(crate) struct NewRecording {
    pub(crate) recording: RecordingId,
    pub(crate) room: RoomId,
    pub(crate) visit: VisitId,
    pub(crate) tap_token: Redacted<String>,
    /// The only recorder that can dial that Tap.
    pub(crate) recorder: Option<RecorderId>,
    /// Everyone inside.
    pub(crate) participants: Vec<ParticipantId>,
    /// Each of them must have signed the text in force.
    pub(crate) needs_consent: bool,
    /// What is to be delivered of it.
    pub(crate) order: Option<Box<Order>>,
}

/// Inserts Recording and job with what everybody had agreed to, read from the consents in this very transaction.
///
/// # Errors
/// `CONSENT_REQUIRED` when somebody has not, `ALREADY_RECORDING` when another capture of the visit runs.
pub(crate) async fn insert(tx: &mut Tx, actor: &Actor, new: &NewRecording, now: Timestamp) -> Result<Vec<Draft>> {
    let (snapshot, law) =
        if new.needs_consent { agreed(tx, actor, new, now).await? } else { (vouched_for(new), Value::Null) };
    let snapshot = Value::Array(snapshot);
    let snapshot_sha256 = snapshot_hash(&snapshot);
    let org = actor.org().as_uuid();
    let inserted = sqlx::query!(
        "INSERT INTO recording (recording_id, org_id, visit_id, requested_at, consent_snapshot, started_by, retain_until,
             consent_snapshot_sha256, consent_law)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        new.recording.as_uuid(),
        org,
        new.visit.as_uuid(),
        now,
        snapshot,
        actor.id(),
        retain_until(now),
        snapshot_sha256.as_slice(),
        law
    )
    .execute(&mut *tx)
    .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("recording_one_running") => {
            return Err(Code::AlreadyRecording.into());
        }
        other => other?,
    };
    sqlx::query!(
        "INSERT INTO recording_job (recording_id, org_id, room_id, tap_token, worker, order_id, delivery_order, delivery_state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        new.recording.as_uuid(),
        org,
        new.room.as_uuid(),
        new.tap_token.reveal(),
        new.recorder.map(|recorder| recorder.to_string()),
        new.order.as_ref().map(|order| order.id.as_uuid()),
        new.order.as_deref().map(Json) as _,
        new.order.as_ref().map(|_| "DUE")
    )
    .execute(tx)
    .await?;
    let people = i64::try_from(new.participants.len()).unwrap_or(i64::MAX);
    let draft = Draft::new(EventType::RecordingRequested).visit(new.visit).subject("recording", new.recording);
    Ok(vec![draft.fact("participants", Fact::Number(people))])
}

/// What everybody had agreed to, and what the law of their states asks, read in this very transaction.
async fn agreed(tx: &mut Tx, actor: &Actor, new: &NewRecording, now: Timestamp) -> Result<(Vec<Value>, Value)> {
    let text = consent::store::current_text(tx, actor.org()).await?;
    let answers = consent::store::newest_of_visit(tx, new.visit).await?;
    let states = location::store::states_of_visit(tx, new.visit).await?;
    let people = participant::store::of_visits(tx, &[new.visit.as_uuid()]).await?;
    let present: Vec<Present> = new
        .participants
        .iter()
        .map(|id| Present {
            participant: *id,
            // Whoever is inside and on no list is nobody's exception either.
            role: people.iter().find(|person| person.id == *id).map_or(Role::Guest, |person| person.role),
            state: states.iter().find(|(who, _)| who == id).map(|(_, state)| *state),
            standing: rules::standing(answers.iter().find(|answer| answer.participant == *id), text.version, now),
        })
        .collect();
    let ruling = engine::decide(&present);
    if !ruling.may_record() {
        let missing: Vec<String> = ruling.missing.iter().map(ToString::to_string).collect();
        let problem = Code::ConsentRequired.problem().member("missing", missing);
        return Err(problem.member("law", serde_json::to_value(&ruling.law).unwrap_or_default()).into());
    }
    let snapshot = answers
        .iter()
        .filter(|answer| new.participants.contains(&answer.participant))
        .map(|answer| {
            json!({
                "participantId": answer.participant,
                "consentId": answer.id,
                "version": answer.version,
                "textSha256": hex::encode(&answer.text_sha256),
                "status": answer.status,
            })
        })
        .collect();
    Ok((snapshot, serde_json::to_value(&ruling.law).unwrap_or_default()))
}

/// SHA-256 of a snapshot as JSON with sorted keys and no spaces: what it says can be held against the consents themselves later.
pub(crate) fn snapshot_hash(snapshot: &Value) -> [u8; 32] {
    Sha256::digest(snapshot.to_string()).into()
}

/// Whom the application answers for.
fn vouched_for(new: &NewRecording) -> Vec<Value> {
    new.participants.iter().map(|who| json!({ "participantId": who, "basis": "APPLICATION" })).collect()
}

/// The first frame passed.
pub(crate) async fn start(tx: &mut Tx, visit: VisitId, recording: RecordingId, now: Timestamp) -> Result<Vec<Draft>> {
    sqlx::query!(
        "UPDATE recording SET status = 'RECORDING', started_at = $2 WHERE recording_id = $1 AND status = 'REQUESTED'",
        recording.as_uuid(),
        now
    )
    .execute(tx)
    .await?;
    Ok(vec![Draft::new(EventType::RecordingStarted).visit(visit).subject("recording", recording)])
}

/// Capture ended; the recorder finishes the files. `by` is nobody when it ended by itself.
pub(crate) async fn stop(
    tx: &mut Tx,
    visit: VisitId,
    recording: RecordingId,
    (by, reason): (Option<String>, StopReason),
    now: Timestamp,
) -> Result<Vec<Draft>> {
    sqlx::query!(
        "UPDATE recording SET status = 'PROCESSING', stopped_at = $2, stop_reason = $3, stopped_by = $4
         WHERE recording_id = $1 AND status IN ('REQUESTED', 'RECORDING', 'STOPPING')",
        recording.as_uuid(),
        now,
        reason.code(),
        by
    )
    .execute(tx)
    .await?;
    let draft = Draft::new(EventType::RecordingStopped).visit(visit).subject("recording", recording);
    Ok(vec![draft.because(reason.code())])
}

/// A Recording whose job ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) org: OrgId,
    pub(crate) recording: RecordingId,
}

/// Recordings whose jobs ended and which are not completed, of all organisations. A failed job that was repaired later
/// is found again. Those of the `own` recorder are found at once: their Rooms live in this process, which tells them. Those of another
/// node only when that one left them lying for `patience`.
pub(crate) async fn find_due(pool: &PgPool, own: Option<RecorderId>, patience: Duration) -> Result<Vec<Due>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'recordings', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        "SELECT r.org_id, r.recording_id FROM recording r JOIN recording_job j USING (recording_id)
         WHERE ((r.status IN ('REQUESTED', 'RECORDING', 'STOPPING', 'PROCESSING') AND j.state IN ('STORED', 'FAILED'))
                OR (r.status = 'FAILED' AND j.state = 'STORED'))
           AND ($1::text IS NULL OR j.worker IS NULL OR j.worker = $1
                OR j.updated_at < now() - make_interval(secs => $2))
         LIMIT 100",
        own.map(|recorder| recorder.to_string()),
        patience.as_secs_f64()
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let due =
        |org_id, recording_id| Due { org: OrgId::from_uuid(org_id), recording: RecordingId::from_uuid(recording_id) };
    Ok(rows.into_iter().map(|row| due(row.org_id, row.recording_id)).collect())
}

/// What [`complete`] did: the visit, the Room that was captured, and what the Recording now is.
pub(crate) type Completed = (VisitId, RoomId, RecordingStatus);

/// Completes a Recording whose job ended.
///
/// # Errors
/// `INVALID_TRANSITION` when that was done meanwhile.
pub(crate) async fn complete(tx: &mut Tx, recording: RecordingId, now: Timestamp) -> Result<(Completed, Vec<Draft>)> {
    let row = sqlx::query!(
        r#"SELECT r.visit_id, r.status, j.room_id, j.state, j.manifest AS "manifest: Json<Manifest>"
           FROM recording r JOIN recording_job j USING (recording_id) WHERE r.recording_id = $1 FOR UPDATE OF r"#,
        recording.as_uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    let visit = VisitId::from_uuid(row.visit_id);
    let draft = |event| Draft::new(event).visit(visit).subject("recording", recording);
    let is_done =
        matches!(row.status.as_str(), "STORED" | "DELETED") || (row.status == "FAILED" && row.state == "FAILED");
    if is_done {
        return Err(Code::InvalidTransition.into());
    }
    let (status, drafts) = match row.manifest {
        Some(Json(manifest)) if row.state == "STORED" => {
            let bytes: u64 = manifest.artefacts.iter().map(|a| a.bytes).sum();
            let (duration, bytes) = (to_signed(manifest.duration_ms), to_signed(bytes));
            sqlx::query!(
                "UPDATE recording SET status = 'STORED', stored_at = $2, stopped_at = coalesce(stopped_at, $2),
                     duration_ms = $3, size_bytes = $4 WHERE recording_id = $1",
                recording.as_uuid(),
                now,
                duration,
                bytes
            )
            .execute(&mut *tx)
            .await?;
            let stored = draft(EventType::RecordingStored);
            let stored = stored.fact("durationMs", Fact::Number(duration)).fact("bytes", Fact::Number(bytes));
            (RecordingStatus::Stored, vec![stored])
        }
        _ => {
            sqlx::query!(
                "UPDATE recording SET status = 'FAILED', stopped_at = coalesce(stopped_at, $2) WHERE recording_id = $1",
                recording.as_uuid(),
                now
            )
            .execute(&mut *tx)
            .await?;
            (RecordingStatus::Failed, vec![draft(EventType::RecordingFailed).failed("JOB_FAILED")])
        }
    };
    Ok(((visit, RoomId::from_uuid(row.room_id), status), drafts))
}

/// Recordings whose recorder has given no sign of life for so long, of all organisations, and which nobody was told about yet.
pub(crate) async fn find_abandoned(pool: &PgPool, silent: Duration) -> Result<Vec<Due>> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'recordings', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query!(
        "SELECT r.org_id, r.recording_id FROM recording r JOIN recording_job j USING (recording_id)
         WHERE r.status IN ('REQUESTED', 'RECORDING', 'STOPPING', 'PROCESSING') AND j.state NOT IN ('STORED', 'FAILED')
           AND greatest(j.lease_until, j.updated_at) < now() - make_interval(secs => $1)
         LIMIT 100",
        silent.as_secs_f64()
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let due = |org, recording| Due { org: OrgId::from_uuid(org), recording: RecordingId::from_uuid(recording) };
    Ok(rows.into_iter().map(|row| due(row.org_id, row.recording_id)).collect())
}

/// Reports a Recording whose recorder is silent as failed. Its job stays as it is: what was captured rests in that recorder's
/// spool, and when the recorder comes back and stores it, [`complete`] says so.
///
/// # Errors
/// `INVALID_TRANSITION` when the recorder moved meanwhile, or another process was faster.
pub(crate) async fn abandon(
    tx: &mut Tx,
    recording: RecordingId,
    silent: Duration,
    now: Timestamp,
) -> Result<(Completed, Vec<Draft>)> {
    let reason = StopReason::RecorderGone.code();
    let row = sqlx::query!(
        "UPDATE recording r SET status = 'FAILED', stopped_at = coalesce(r.stopped_at, $3),
             stop_reason = coalesce(r.stop_reason, $4)
         FROM recording_job j
         WHERE r.recording_id = $1 AND j.recording_id = r.recording_id
           AND r.status IN ('REQUESTED', 'RECORDING', 'STOPPING', 'PROCESSING') AND j.state NOT IN ('STORED', 'FAILED')
           AND greatest(j.lease_until, j.updated_at) < now() - make_interval(secs => $2)
         RETURNING r.visit_id, j.room_id",
        recording.as_uuid(),
        silent.as_secs_f64(),
        now,
        reason
    )
    .fetch_optional(tx)
    .await?
    .ok_or(Error::from(Code::InvalidTransition))?;
    let visit = VisitId::from_uuid(row.visit_id);
    let draft = Draft::new(EventType::RecordingFailed).visit(visit).subject("recording", recording).failed(reason);
    Ok(((visit, RoomId::from_uuid(row.room_id), RecordingStatus::Failed), vec![draft]))
}

/// The Recordings of a visit, newest first, at most 100.
pub(crate) async fn list(tx: &mut Tx, visit: VisitId) -> Result<Vec<RecordingView>> {
    select(tx, visit, None).await
}

/// One of them.
pub(crate) async fn find(tx: &mut Tx, visit: VisitId, recording: RecordingId) -> Result<Option<RecordingView>> {
    Ok(select(tx, visit, Some(recording)).await?.pop())
}

async fn select(tx: &mut Tx, visit: VisitId, only: Option<RecordingId>) -> Result<Vec<RecordingView>> {
    let rows = sqlx::query!(
        r#"SELECT r.recording_id, r.status, r.requested_at, r.started_at, r.stopped_at, r.duration_ms, r.stop_reason,
               r.retain_until, (r.held_at IS NOT NULL) AS "held!", j.manifest AS "manifest: Json<Manifest>"
           FROM recording r JOIN recording_job j USING (recording_id)
           WHERE r.visit_id = $1 AND r.status <> 'DELETED' AND ($2::uuid IS NULL OR r.recording_id = $2)
           ORDER BY r.requested_at DESC LIMIT 100"#,
        visit.as_uuid(),
        only.map(|recording| recording.as_uuid())
    )
    .fetch_all(tx)
    .await?;
    let views = rows.into_iter().map(|row| {
        let is_stored = row.status == RecordingStatus::Stored.as_str();
        RecordingView {
            recording_id: RecordingId::from_uuid(row.recording_id),
            status: row.status,
            requested_at: row.requested_at,
            started_at: row.started_at,
            stopped_at: row.stopped_at,
            duration_ms: row.duration_ms,
            stop_reason: row.stop_reason,
            retain_until: row.retain_until,
            held: row.held,
            artefacts: row.manifest.filter(|_| is_stored).map(|m| artefacts(&m.0)).unwrap_or_default(),
        }
    });
    Ok(views.collect())
}

/// Holds a Recording that is not deleted, for a reason by somebody, or lifts that; the visit it belongs to.
///
/// # Errors
/// `NOT_FOUND`.
pub(crate) async fn hold(
    tx: &mut Tx,
    recording: RecordingId,
    hold: Option<(HoldReason, Timestamp, &str)>,
) -> Result<VisitId> {
    let visit = sqlx::query_scalar!(
        "UPDATE recording SET held_at = $2, held_by = $3, hold_reason = $4 WHERE recording_id = $1 AND status <> 'DELETED'
         RETURNING visit_id",
        recording.as_uuid(),
        hold.map(|(_, at, _)| at),
        hold.map(|(_, _, by)| by),
        hold.map(|(reason, _, _)| reason.as_str()),
    )
    .fetch_optional(tx)
    .await?
    .ok_or(Error::from(Code::NotFound))?;
    Ok(VisitId::from_uuid(visit))
}

/// One stored Recording, as playback needs it.
#[derive(Clone, Debug)]
pub(crate) struct Playable {
    pub(crate) visit: VisitId,
    pub(crate) clinician_id: String,
    pub(crate) manifest: Manifest,
    pub(crate) dek_wrapped: Vec<u8>,
    pub(crate) kek_id: String,
}

/// A stored Recording.
///
/// # Errors
/// `NOT_FOUND` when there is none, or it is not stored yet.
pub(crate) async fn get_playable(tx: &mut Tx, recording: RecordingId) -> Result<Playable> {
    let row = sqlx::query!(
        r#"SELECT r.visit_id, coalesce(v.clinician_id, '') AS "clinician_id!", j.manifest AS "manifest!: Json<Manifest>", j.dek_wrapped AS "dek_wrapped!",
               j.kek_id AS "kek_id!"
           FROM recording r JOIN recording_job j USING (recording_id) JOIN visit v USING (visit_id)
           WHERE r.recording_id = $1 AND r.status = 'STORED' AND j.manifest IS NOT NULL AND j.dek_wrapped IS NOT NULL
             AND j.kek_id IS NOT NULL"#,
        recording.as_uuid()
    )
    .fetch_optional(tx)
    .await?
    .ok_or(Error::from(Code::NotFound))?;
    Ok(Playable {
        visit: VisitId::from_uuid(row.visit_id),
        clinician_id: row.clinician_id,
        manifest: row.manifest.0,
        dek_wrapped: row.dek_wrapped,
        kek_id: row.kek_id,
    })
}

/// A right to play one artefact. It must be used soon, and then lasts for a while.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) recording: RecordingId,
    pub(crate) artefact: String,
    pub(crate) secret_hash: [u8; 32],
    pub(crate) granted_to: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_at: Timestamp,
}

/// Stores a grant, and forgets those that are over.
pub(crate) async fn insert_grant(tx: &mut Tx, org: OrgId, grant: &Grant) -> Result<()> {
    sqlx::query!("DELETE FROM playback_grant WHERE expires_at < $1", grant.created_at).execute(&mut *tx).await?;
    sqlx::query!(
        "INSERT INTO playback_grant (grant_id, org_id, recording_id, artefact, secret_hash, granted_to, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        Uuid::new_v4(),
        org.as_uuid(),
        grant.recording.as_uuid(),
        grant.artefact,
        grant.secret_hash.as_slice(),
        grant.granted_to,
        grant.expires_at,
        grant.created_at
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The grant with this secret, given to this person and not over.
pub(crate) async fn find_grant(
    tx: &mut Tx,
    secret_hash: &[u8; 32],
    granted_to: &str,
    now: Timestamp,
) -> Result<Option<Grant>> {
    let row = sqlx::query!(
        "SELECT recording_id, artefact, expires_at, created_at FROM playback_grant
         WHERE secret_hash = $1 AND granted_to = $2 AND expires_at > $3",
        secret_hash.as_slice(),
        granted_to,
        now
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Grant {
        recording: RecordingId::from_uuid(row.recording_id),
        artefact: row.artefact,
        secret_hash: *secret_hash,
        granted_to: granted_to.to_owned(),
        expires_at: row.expires_at,
        created_at: row.created_at,
    }))
}

/// Puts a grant in the place of the same grant with an earlier end; false when that one is gone: somebody was faster.
pub(crate) async fn replace_grant(tx: &mut Tx, org: OrgId, grant: &Grant) -> Result<bool> {
    let removed = sqlx::query!(
        "DELETE FROM playback_grant WHERE secret_hash = $1 AND expires_at < $2",
        grant.secret_hash.as_slice(),
        grant.expires_at
    )
    .execute(&mut *tx)
    .await?;
    if removed.rows_affected() == 1 {
        insert_grant(tx, org, grant).await?;
    }
    Ok(removed.rows_affected() == 1)
}

fn to_signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
