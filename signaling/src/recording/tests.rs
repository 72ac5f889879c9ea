//! Recordings against a real database.

use std::time::Duration;

use time::macros::datetime;
use wire::manifest::Manifest;
use wire::{RecorderId, RecordingId, Redacted, RoomId};

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
        recorder: Some(RecorderId::random()),
        participants: vec![planned.patient],
        needs_consent: true,
        order: None,
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

/// As the process sees it whose recorder this is.
async fn find_due(planned: &Planned, own: Option<RecorderId>) -> Result<Vec<store::Due>> {
    store::find_due(planned.db.pool(), own, Duration::from_secs(10)).await
}

fn manifest(recording: RecordingId) -> Manifest {
    Manifest {
        version: 1,
        recording,
        room: RoomId::random(),
        started_at_us: 0,
        duration_ms: 1_500,
        artefacts: Vec::new(),
        gaps: Vec::new(),
    }
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

/// C-07: the hash beside the recording is that of the consents themselves, read again.
#[tokio::test]
async fn c_07_the_consent_snapshot_of_a_recording_is_the_consents() {
    let planned = Planned::new().await;
    answer(&planned, Decision::Sign).await;
    let recording = RecordingId::random();
    request(&planned, recording).await.unwrap();
    let (snapshot, hash, law, again) = db::scoped(&planned.db, planned.org, async |tx| {
        let row = sqlx::query!(
            "SELECT consent_snapshot, consent_snapshot_sha256, consent_law FROM recording WHERE recording_id = $1",
            recording.as_uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        let rows =
            sqlx::query!("SELECT consent_id, participant_id, version, text_sha256, status FROM consent ORDER BY seq")
                .fetch_all(tx)
                .await?;
        let again: Vec<serde_json::Value> = rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "participantId": row.participant_id,
                    "consentId": row.consent_id,
                    "version": row.version,
                    "textSha256": hex::encode(&row.text_sha256),
                    "status": row.status,
                })
            })
            .collect();
        Ok::<_, Error>((
            row.consent_snapshot,
            row.consent_snapshot_sha256,
            row.consent_law,
            serde_json::Value::Array(again),
        ))
    })
    .await
    .unwrap();
    assert_eq!(snapshot, again);
    assert_eq!(hash.as_deref(), Some(store::snapshot_hash(&again).as_slice()));
    let law = law.unwrap();
    assert_eq!(
        (&law["floor"], &law["hasUnknownState"]),
        (&"all_party".into(), &true.into()),
        "nobody said where they are"
    );
}

/// C-06: a minor's own word is no consent to a recording.
#[tokio::test]
async fn c_06_a_minor_does_not_sign_in_the_room() {
    let planned = Planned::new().await;
    let (org, now) = (planned.org, planned.now);
    db::measured(&planned.db, org, async |tx| {
        consent::ledger::set_minor(tx, org, ("p-1", Some(now.year())), "front-desk", now).await
    })
    .await
    .unwrap();
    let place = (planned.visit, planned.patient);
    let say = async |decision| {
        db::audited(&planned.db, org, &planned.actor, async |tx| {
            let (_, draft) = consent::store::answer(tx, org, place, (decision, 1), now).await?;
            Ok::<_, Error>(((), vec![draft]))
        })
        .await
    };
    assert_eq!(code(say(Decision::Sign).await), Some(Code::GuardianRequired));
    say(Decision::Decline).await.unwrap();
}

/// seven years are a matter of the calendar, not of 2555 days.
#[test]
fn r_01_seven_years_end_on_the_same_day() {
    for day in 1..=365 {
        let from = datetime!(2026-01-01 10:00 UTC) + time::Duration::days(day);
        let until = retain_until(from);
        assert_eq!((until.year(), until.month(), until.day()), (from.year() + 7, from.month(), from.day()));
        assert!((until - from).whole_days() > 2555);
    }
}

#[tokio::test]
async fn a_job_that_ended_completes_its_recording_once() {
    let planned = Planned::new().await;
    answer(&planned, Decision::Sign).await;
    let recording = RecordingId::random();
    request(&planned, recording).await.unwrap();
    stop(&planned, recording).await;
    assert!(find_due(&planned, None).await.unwrap().is_empty());
    end_job(&planned, recording, "FAILED", None).await;
    let due = find_due(&planned, None).await.unwrap();
    assert_eq!((due.len(), due[0].org, due[0].recording), (1, planned.org, recording));
    assert_eq!(complete(&planned, recording).await.unwrap().2, RecordingStatus::Failed);
    assert!(find_due(&planned, None).await.unwrap().is_empty());
    assert_eq!(code(complete(&planned, recording).await), Some(Code::InvalidTransition));
    // The recorder tried again and succeeded.
    end_job(&planned, recording, "STORED", Some(manifest(recording))).await;
    assert_eq!(find_due(&planned, None).await.unwrap().len(), 1);
    assert_eq!(complete(&planned, recording).await.unwrap().2, RecordingStatus::Stored);
    assert!(find_due(&planned, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_recording_whose_recorder_is_gone_is_reported_and_finished_should_it_come_back() {
    let planned = Planned::new().await;
    answer(&planned, Decision::Sign).await;
    let recording = RecordingId::random();
    request(&planned, recording).await.unwrap();
    let silent = Duration::from_secs(300);
    let found = async || store::find_abandoned(planned.db.pool(), silent).await.unwrap();
    let abandon = async || {
        let now = planned.now;
        db::audited(&planned.db, planned.org, &planned.actor, async |tx| {
            store::abandon(tx, recording, silent, now).await
        })
        .await
    };
    // A lease that holds, or held until lately, is a sign of life, however old the row is.
    let mut tx = planned.db.pool().begin().await.unwrap();
    let org = "SELECT set_config('app.org', $1, true)";
    sqlx::query(org).bind(planned.org.to_string()).execute(&mut *tx).await.unwrap();
    let old = "UPDATE recording_job SET state = 'CAPTURING', updated_at = now() - interval '1 day',
               lease_until = now() - interval '290 seconds'";
    sqlx::query(old).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(found().await.is_empty());
    assert_eq!(code(abandon().await), Some(Code::InvalidTransition));

    let mut tx = planned.db.pool().begin().await.unwrap();
    sqlx::query(org).bind(planned.org.to_string()).execute(&mut *tx).await.unwrap();
    let older = "UPDATE recording_job SET lease_until = now() - interval '310 seconds'";
    sqlx::query(older).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let due = found().await;
    assert_eq!((due.len(), due[0].org, due[0].recording), (1, planned.org, recording));
    assert_eq!(abandon().await.unwrap().2, RecordingStatus::Failed);
    assert!(found().await.is_empty(), "told once");
    assert_eq!(code(abandon().await), Some(Code::InvalidTransition));
    let seen = db::scoped(&planned.db, planned.org, async |tx| store::list(tx, planned.visit).await).await.unwrap();
    assert_eq!((seen[0].status.as_str(), seen[0].stop_reason.as_deref()), ("FAILED", Some("RECORDER_GONE")));
    // The visit may be recorded again meanwhile.
    request(&planned, RecordingId::random()).await.unwrap();

    end_job(&planned, recording, "STORED", Some(manifest(recording))).await;
    assert_eq!(find_due(&planned, None).await.unwrap().len(), 1);
    assert_eq!(complete(&planned, recording).await.unwrap().2, RecordingStatus::Stored);
}

#[tokio::test]
async fn the_process_that_has_the_room_completes_first_and_others_what_it_left_lying() {
    let planned = Planned::new().await;
    answer(&planned, Decision::Sign).await;
    let recording = RecordingId::random();
    request(&planned, recording).await.unwrap();
    end_job(&planned, recording, "STORED", Some(manifest(recording))).await;
    let change = async |sql: &'static str| {
        let mut tx = planned.db.pool().begin().await.unwrap();
        let org = "SELECT set_config('app.org', $1, true)";
        sqlx::query(org).bind(planned.org.to_string()).execute(&mut *tx).await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let own: RecorderId = "5a0c4c6e-59a3-4a0e-8a3e-0a6f0d8f1c11".parse().unwrap();
    change("UPDATE recording_job SET worker = '5a0c4c6e-59a3-4a0e-8a3e-0a6f0d8f1c11', updated_at = now()").await;
    let other = Some(RecorderId::random());
    assert_eq!(find_due(&planned, Some(own)).await.unwrap().len(), 1);
    assert!(find_due(&planned, other).await.unwrap().is_empty());
    change("UPDATE recording_job SET updated_at = now() - interval '11 seconds'").await;
    assert_eq!(find_due(&planned, other).await.unwrap().len(), 1);
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
