//! Recordings against a real database.

use time::macros::datetime;
use wire::manifest::Manifest;
use wire::{RecordingId, Redacted, RoomId};

use crate::consent::{self, Decision};
use crate::db;
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::live::room::StopReason;
use crate::problem::Code;
use crate::recording::store::{self, NewRecording};
use crate::recording::{RecordingStatus, retain_until};
use crate::waiting_room::tests::Planned;

async fn request(planned: &Planned, recording: RecordingId) -> Result<()> {
    let new = NewRecording {
        recording,
        room: RoomId::random(),
        visit: planned.visit,
        tap_token: Redacted::new("tap".to_owned()),
        participants: vec![planned.patient],
    };
    let (actor, now) = (&planned.actor, planned.now);
    db::audited(&planned.db, planned.org, actor, async |tx| Ok(((), store::insert(tx, actor, &new, now).await?))).await
}

async fn answer(planned: &Planned, decision: Decision) {
    let place = (planned.visit, planned.patient);
    let (org, now) = (planned.org, planned.now);
    db::audited(&planned.db, org, &planned.actor, async |tx| {
        let (_, draft) = consent::store::answer(tx, org, place, (decision, 1), now).await?;
        Ok::<_, Error>(((), vec![draft]))
    })
    .await
    .unwrap();
}

async fn stop(planned: &Planned, recording: RecordingId) {
    let (visit, now) = (planned.visit, planned.now);
    db::audited(&planned.db, planned.org, &planned.actor, async |tx| {
        let drafts = store::stop(tx, visit, recording, (None, StopReason::RoomEmpty), now).await?;
        Ok::<_, Error>(((), drafts))
    })
    .await
    .unwrap();
}

async fn end_job(planned: &Planned, recording: RecordingId, state: &str, manifest: Option<Manifest>) {
    let state = state.to_owned();
    let mut tx = planned.db.pool().begin().await.unwrap();
    sqlx::query("SELECT set_config('app.org', $1, true)")
        .bind(planned.org.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE recording_job SET state = $2, manifest = $3 WHERE recording_id = $1")
        .bind(recording.as_uuid())
        .bind(state)
        .bind(manifest.map(sqlx::types::Json))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn complete(planned: &Planned, recording: RecordingId) -> Result<store::Completed> {
    let now = planned.now;
    db::audited(&planned.db, planned.org, &planned.actor, async |tx| store::complete(tx, recording, now).await).await
}

fn code(result: Result<impl Sized>) -> Option<Code> {
    match result {
        Err(Error::Refused(problem)) => Some(problem.code),
        _ => None,
    }
}

#[tokio::test]
async fn a_recording_is_inserted_with_the_consents_that_hold() {
    let planned = Planned::new().await;
    let recording = RecordingId::random();
    assert_eq!(code(request(&planned, recording).await), Some(Code::ConsentRequired));
    answer(&planned, Decision::Sign).await;
    answer(&planned, Decision::Revoke).await;
    assert_eq!(code(request(&planned, recording).await), Some(Code::ConsentRequired));
    answer(&planned, Decision::Sign).await;
    request(&planned, recording).await.unwrap();
    // One capture of a visit at a time, whatever the room believes.
    assert_eq!(code(request(&planned, RecordingId::random()).await), Some(Code::AlreadyRecording));
}

#[tokio::test]
async fn a_job_that_ended_completes_its_recording_once() {
    let planned = Planned::new().await;
    answer(&planned, Decision::Sign).await;
    let recording = RecordingId::random();
    request(&planned, recording).await.unwrap();
    stop(&planned, recording).await;
    assert!(store::find_due(planned.db.pool()).await.unwrap().is_empty());
    end_job(&planned, recording, "FAILED", None).await;
    let due = store::find_due(planned.db.pool()).await.unwrap();
    assert_eq!((due.len(), due[0].org, due[0].recording), (1, planned.org, recording));
    assert_eq!(complete(&planned, recording).await.unwrap().2, RecordingStatus::Failed);
    assert!(store::find_due(planned.db.pool()).await.unwrap().is_empty());
    assert_eq!(code(complete(&planned, recording).await), Some(Code::InvalidTransition));
    // The recorder tried again and succeeded.
    let manifest = Manifest {
        version: 1,
        recording,
        room: RoomId::random(),
        started_at_us: 0,
        duration_ms: 1_500,
        artefacts: Vec::new(),
        gaps: Vec::new(),
    };
    end_job(&planned, recording, "STORED", Some(manifest)).await;
    assert_eq!(store::find_due(planned.db.pool()).await.unwrap().len(), 1);
    assert_eq!(complete(&planned, recording).await.unwrap().2, RecordingStatus::Stored);
    assert!(store::find_due(planned.db.pool()).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_organisation_sees_no_recording() {
    let planned = Planned::new().await;
    answer(&planned, Decision::Sign).await;
    request(&planned, RecordingId::random()).await.unwrap();
    let visit = planned.visit;
    let seen =
        async |org: OrgId| db::scoped(&planned.db, org, async |tx| store::list(tx, visit).await).await.unwrap().len();
    assert_eq!((seen(planned.org).await, seen(OrgId::random()).await), (1, 0));
}

#[test]
fn retention_is_counted_in_calendar_years() {
    assert_eq!(retain_until(datetime!(2026-11-21 10:00 UTC)), datetime!(2033-11-21 10:00 UTC));
    assert_eq!(retain_until(datetime!(2028-02-29 10:00 UTC)), datetime!(2035-03-01 10:00 UTC));
}
