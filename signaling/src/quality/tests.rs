//! Samples: gathered in virtual time, written and forgotten in a real database.

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use test_postgres::TestDatabase;
use time::macros::datetime;

use super::*;
use crate::metrics::Metrics;

const NOW: Timestamp = datetime!(2026-11-21 10:00 UTC);

fn measured(bars: u8, rtt_ms: u32, kbits_up: u32) -> Measured {
    Measured { bars, rtt_ms: Some(rtt_ms), kbits_up, kbits_down: 2 * kbits_up, ..Measured::default() }
}

#[test]
fn a_window_keeps_the_worst_and_the_mean_rates() {
    let mut gather = Gather::default();
    let at = Duration::from_secs;
    assert_eq!(gather.take(at(0), measured(4, 20, 900)), None);
    let bad =
        Measured { loss_down: 300, jitter_ms: 80, freezes: Some(2), target_kbits: Some(100), ..measured(1, 400, 300) };
    assert_eq!(gather.take(at(2), bad), None);
    let last = Measured { freezes: Some(3), frames_decoded: Some(70), ..measured(3, 60, 600) };
    let sample = gather.take(at(4), last).unwrap();
    let expected = Measured {
        bars: 1,
        rtt_ms: Some(400),
        loss_up: 0,
        loss_down: 300,
        jitter_ms: 80,
        kbits_up: 600,
        kbits_down: 1200,
        target_kbits: Some(100),
        freezes: Some(3),
        frames_decoded: Some(70),
    };
    assert_eq!(sample, expected);
    // The next window knows nothing of this one.
    assert_eq!(gather.take(at(6), measured(4, 20, 900)), None);
    assert_eq!(gather.finish(), Some(measured(4, 20, 900)));
    assert_eq!(gather.finish(), None);
}

#[test]
fn one_sample_stands_for_six_seconds() {
    let mut gather = Gather::default();
    let samples =
        (0..150).filter(|n| gather.take(Duration::from_millis(2_000 * n + n % 7), measured(4, 20, 900)).is_some());
    assert_eq!(samples.count(), 50);
}

/// A practice with one visit and its two people.
struct Practice {
    org: OrgId,
    visit: VisitId,
    people: [ParticipantId; 2],
}

async fn practice(owner: &mut PgConnection) -> Practice {
    let made =
        Practice { org: OrgId::random(), visit: VisitId::random(), people: [(); 2].map(|()| ParticipantId::random()) };
    let org = made.org.as_uuid();
    sqlx::query("INSERT INTO organization (org_id, name, phone) VALUES ($1, 'Practice', '555')")
        .bind(org)
        .execute(&mut *owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO visit (visit_id, org_id, patient_id, clinician_id, scheduled_start_at, duration_min, created_by)
         VALUES ($1, $2, 'p', 'c', now(), 30, 'c')",
    )
    .bind(made.visit.as_uuid())
    .bind(org)
    .execute(&mut *owner)
    .await
    .unwrap();
    for (person, role) in made.people.iter().zip(["PATIENT", "CLINICIAN"]) {
        sqlx::query(
            "INSERT INTO participant (participant_id, org_id, visit_id, role, identity_ref, display_name)
             VALUES ($1, $2, $3, $4, $4, 'Somebody')",
        )
        .bind(person.as_uuid())
        .bind(org)
        .bind(made.visit.as_uuid())
        .bind(role)
        .execute(&mut *owner)
        .await
        .unwrap();
    }
    made
}

async fn enter(server: &mut PgConnection, org: OrgId) {
    sqlx::query("SELECT set_config('app.org', $1, false)").bind(org.to_string()).execute(server).await.unwrap();
}

fn samples(practice: &Practice, count: i64) -> Vec<(VisitId, Sample)> {
    let one = |n: i64| {
        let participant = practice.people[usize::try_from(n % 2).unwrap()];
        let at = NOW - time::Duration::seconds(6 * (n / 2));
        (practice.visit, Sample { participant, at, measured: Measured { freezes: Some(1), ..measured(3, 40, 500) } })
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn samples_read_back_and_another_organisation_sees_none() {
    let database = TestDatabase::fresh().await;
    let mut owner = database.owner().await;
    let (ours, theirs) = (practice(&mut owner).await, practice(&mut owner).await);
    let mut server = database.server().await;
    enter(&mut server, ours.org).await;
    let all = samples(&ours, 20);
    store::insert(&mut server, ours.org, &all).await.unwrap();
    // The same once more changes nothing.
    store::insert(&mut server, ours.org, &all[..5]).await.unwrap();
    let mut expected: Vec<Sample> = all.iter().map(|(_, sample)| sample.clone()).collect();
    expected.sort_by_key(|sample| (sample.at, sample.participant));
    assert_eq!(store::of_visit(&mut server, ours.visit, 100).await.unwrap(), expected);
    assert_eq!(store::of_visit(&mut server, ours.visit, 7).await.unwrap().len(), 7);
    enter(&mut server, theirs.org).await;
    assert!(store::of_visit(&mut server, ours.visit, 100).await.unwrap().is_empty());
    assert!(store::insert(&mut server, ours.org, &all).await.is_err(), "rows of another organisation are refused");
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_in_every_organisation_and_nothing_else() {
    let database = TestDatabase::fresh().await;
    let mut owner = database.owner().await;
    let mut server = database.server().await;
    for _ in 0..2 {
        let practice = practice(&mut owner).await;
        enter(&mut server, practice.org).await;
        store::insert(&mut server, practice.org, &samples(&practice, 40)).await.unwrap();
    }
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::query("SET ROLE anteroom_server").execute(connection).await.map(drop) })
        })
        .connect(&database.app_url)
        .await
        .unwrap();
    let before = NOW - time::Duration::seconds(60);
    let gone = store::forget(&pool, before).await.unwrap();
    assert_eq!(gone, 2 * 18, "of 20 instants per person, those more than 10 steps back");
    assert!(!store::is_more(gone));
    assert_eq!(store::forget(&pool, before).await.unwrap(), 0);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM quality_sample").fetch_one(&mut owner).await.unwrap();
    assert_eq!(left, 2 * 22);
    // Without the sweep's own word, nobody's rows are there to be seen or removed.
    let mut tx = pool.begin().await.unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM quality_sample").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(seen, 0);
    drop(tx);
    pool.close().await;
    server.close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_instead_of_waiting() {
    let metrics = Metrics::default();
    let samples = Samples::new(metrics.clone());
    let place = Place { org: OrgId::random(), visit: VisitId::random() };
    let sample = Sample { participant: ParticipantId::random(), at: NOW, measured: measured(4, 20, 900) };
    for _ in 0..writer::QUEUE + 5 {
        samples.put(place, sample.clone());
    }
    let text = metrics.render();
    assert!(text.contains("signaling_quality_samples_total{outcome=\"dropped\"} 5\n"), "{text}");
    assert!(!text.contains("outcome=\"written\""), "{text}");
}
