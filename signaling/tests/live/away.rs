//! PostgreSQL goes away in the middle of a visit: people go on, media obeys at once, nobody new begins, and no event is lost or doubled.

use std::time::Duration;

use serde_json::{Value, json};
use signaling::SignalingConfig;
use signaling::audit::chain::{Verdict, verify};
use signaling::auth::StaffRole;
use signaling::clock::Clock;
use signaling::db::{self, Db};
use sqlx::Row;
use test_postgres::TestDatabase;
use tokio::time::Instant;
use wire::Redacted;
use wire::control::{Command, Source};

use crate::support::{House, Person, SOON};
use crate::{CLINICIAN, offer};

/// What a Room may wait for a database that has just gone, and as much again for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(6);

async fn ready(house: &House) -> (u16, Value) {
    let (status, _, body) = house.raw("GET", "/readyz", &[], "").await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Until something that is asked again and again is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, asking).await.unwrap_or_else(|_| panic!("{what} within {SOON:?}"));
}

/// Two people inside, everything agreed, and a recording under way: the clinician, the patient, and the patient's id.
async fn recorded(house: &House, visit: &str, cookie: &str) -> (Person, Person, Value) {
    let mut clinician = house.clinician(CLINICIAN, visit).await;
    clinician.hear("welcome").await;
    let mut patient = house.patient(cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    patient.say(offer("p")).await;
    patient.hear("answer").await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    patient.hear("admitted").await;
    for person in [&mut clinician, &mut patient] {
        person.say(json!({"type": "consent", "id": 2, "version": 1, "decision": "SIGN"})).await;
        person.settle().await;
    }
    clinician.say(json!({"type": "recording_start", "id": 3})).await;
    clinician.settle().await;
    house.sfu.last(|command| matches!(command, Command::StartTap { .. }).then_some(()));
    (clinician, patient, who)
}

/// Type and metadata of a visit's events that came by the spool.
async fn spooled(database: &TestDatabase, visit: &str) -> Vec<String> {
    let rows = sqlx::query(
        "SELECT event_type FROM audit_event WHERE visit_id = $1 AND (metadata ->> 'spooled')::boolean ORDER BY seq",
    )
    .bind(visit.parse::<uuid::Uuid>().unwrap())
    .fetch_all(&mut database.owner().await)
    .await
    .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn chain_is_whole(house: &House) -> bool {
    let url = Redacted::new(house.database.app_url.clone());
    let config = SignalingConfig { database_url: url, database_connections: 1, ..SignalingConfig::default() };
    let db = Db::connect(&config, Clock::system()).await.unwrap();
    let verdict = db::scoped(&db, house.org, async |tx| verify(tx, house.org).await).await.unwrap();
    db.close().await;
    matches!(verdict, Verdict::Whole { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_visit_goes_on_without_postgresql_and_no_event_is_lost_or_doubled() {
    let (database, outage) = TestDatabase::apart().await;
    let house = House::open_in(SignalingConfig::default(), database, tempfile::tempdir().unwrap()).await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let (_, late) = house.visit("dr-second").await;
    let (mut clinician, mut patient, who) = recorded(&house, &visit, &cookie).await;

    let outage = outage.begin().await;

    // Media obeys, and the Room stands still at most once, for as long as it takes to notice.
    let began = Instant::now();
    clinician.say(json!({"type": "mute", "id": 10, "participantId": who, "source": "microphone", "muted": true})).await;
    assert_eq!(clinician.hear("ok").await["id"], 10);
    house
        .sfu
        .last(|command| matches!(command, Command::Mute { source: Source::Microphone, muted: true, .. }).then_some(()));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let noticed = Instant::now();
    patient.say(json!({"type": "consent", "id": 11, "version": 1, "decision": "REVOKE"})).await;
    assert_eq!(patient.hear("ok").await["id"], 11);
    house.sfu.last(|command| matches!(command, Command::StopTap { .. }).then_some(()));
    house.sfu.last(|command| matches!(command, Command::SetConsent { consented: false, .. }).then_some(()));
    clinician.say(json!({"type": "remove", "id": 12, "participantId": who})).await;
    assert_eq!(clinician.hear("ok").await["id"], 12);
    assert!(noticed.elapsed() < Duration::from_secs(2), "{:?}", noticed.elapsed());

    // What stands on stored consents or lets somebody in is refused in plain words, and nothing half happens.
    clinician.say(json!({"type": "request_consent", "id": 13})).await;
    let refused = clinician.hear("error").await;
    assert_eq!((&refused["id"], &refused["code"]), (&json!(13), &json!("UNAVAILABLE")), "{refused}");
    assert_eq!(house.try_connect("", &[("cookie", &late)]).await.err(), Some(503));
    let (status, said) = ready(&house).await;
    assert_eq!((status, &said["spooled"]), (503, &json!(4)), "{said}");
    // What was written into the file before it was replayed, for later.
    let file = house.folder.path().join("audit-spool").join("changes.spool");
    let full = std::fs::read(&file).unwrap();
    let text = visit.as_bytes();
    assert!(!full.windows(text.len()).any(|window| window == text), "the spool can be read");

    let outage = outage.end().await;

    // By themselves: the spool empties, joins work again.
    until("the server is ready again", async || ready(&house).await.0 == 200).await;
    until("the spool is empty", async || spooled(&house.database, &visit).await.len() >= 4).await;
    let mut latecomer = house.patient(&late).await;
    latecomer.hear("welcome").await;
    let expected =
        ["PARTICIPANT_MUTED", "CONSENT_REVOKED", "RECORDING_STOPPED", "PARTICIPANT_REMOVED", "SESSION_REVOKED"];
    let happened = spooled(&house.database, &visit).await;
    assert_eq!(happened, expected);
    assert!(chain_is_whole(&house).await);
    let admin = house.bearer("boss", StaffRole::Admin);
    let (_, view) = house.ask(&admin, "GET", &format!("/api/visits/{visit}/recordings"), &Value::Null).await;
    assert_ne!(view["recordings"][0]["status"], "RECORDING", "{view}");

    // A crash between the commit and the end of the file: the next process finds everything there a second time, and does nothing.
    let (database, folder) = house.close_keeping().await;
    std::fs::write(&file, &full).unwrap();
    let again = House::open_in(SignalingConfig::default(), database, folder).await;
    until("the spool is empty", async || std::fs::metadata(&file).unwrap().len() == 32).await;
    assert_eq!(spooled(&again.database, &visit).await, expected);
    again.close().await;
    drop(outage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_could_not_replay_the_next_one_does() {
    let (database, outage) = TestDatabase::apart().await;
    let house = House::open_in(SignalingConfig::default(), database, tempfile::tempdir().unwrap()).await;
    let (visit, cookie) = house.visit(CLINICIAN).await;
    let (clinician, patient, _) = recorded(&house, &visit, &cookie).await;
    let outage = outage.begin().await;
    // The process ends while the database is away, with everybody inside: its Rooms end, and so does the recording.
    let (database, folder) = house.close_keeping().await;
    drop((clinician, patient));
    let outage = outage.end().await;
    let again = House::open_in(SignalingConfig::default(), database, folder).await;
    until("the end of the recording is in the audit", async || {
        spooled(&again.database, &visit).await.contains(&"RECORDING_STOPPED".to_owned())
    })
    .await;
    again.close().await;
    drop(outage);
}
