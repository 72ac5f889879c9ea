//! PostgreSQL is stopped in the middle of a call: sound and picture go on, nothing is lost, and who comes meanwhile gets in afterwards.

use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;
use test_postgres::TestDatabase;
use tokio::time::Instant;

use crate::drain::call;
use crate::support::http::Http;
use crate::support::person::{Practice, redeem};
use crate::support::server::Server;
use crate::support::soon;

/// How long it is away, unless `ANTEROOM_STORY_AWAY_SECONDS` says otherwise.
const AWAY: Duration = Duration::from_secs(60);

fn away() -> Duration {
    let named = wire::settings::env("ANTEROOM_STORY_AWAY_SECONDS").and_then(|text| text.parse().ok());
    named.map_or(AWAY, Duration::from_secs)
}

/// The kinds of a visit's events, and whether each came by the spool.
async fn events(database: &TestDatabase, visit: &str) -> Vec<(String, bool)> {
    let rows = sqlx::query(
        "SELECT event_type, coalesce((metadata ->> 'spooled')::boolean, false) FROM audit_event
         WHERE visit_id = $1::uuid ORDER BY seq",
    )
    .bind(visit)
    .fetch_all(&mut database.owner().await)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_call_goes_on_while_postgresql_is_stopped_for_a_minute() {
    let (database, outage) = TestDatabase::apart().await;
    let server = Server::with_database(&database.app_url).await;
    let (running, planned) = (Practice::open(&server).await, Practice::open(&server).await);
    let code = planned.link().await;
    let (mut clinician, mut patient) = call(&running).await;

    let outage = outage.begin().await;
    let back = Instant::now() + away();
    // What the clinician does takes effect, and whoever wants to come in is told in plain words.
    for muted in [true, false] {
        let mute = json!({"type": "mute", "participantId": patient.id, "source": "microphone", "muted": muted});
        clinician.socket.ask_ok(mute).await;
    }
    let refused = redeem(&server.addr, &code).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "UNAVAILABLE"));
    let ready = Http::new(&server.addr).get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["spooled"]), (503, &json!(2)));
    // Half a second of media at a time, each way, for as long as it lasts; and both sockets answer.
    while Instant::now() < back {
        for person in [&mut patient, &mut clinician] {
            person.peer.receives(25).await;
            assert_eq!(person.socket.ask(json!({"type": "ping"})).await["type"], "pong");
        }
    }
    let outage = outage.end().await;

    soon("the server is ready again", async {
        while Http::new(&server.addr).get("/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    // The same link, which nothing has spent.
    assert_eq!(redeem(&server.addr, &code).await.status, 200);
    patient.peer.receives(50).await;
    clinician.peer.receives(50).await;
    let spooled = || async { events(&database, &running.visit).await.into_iter().filter(|(_, spooled)| *spooled) };
    soon("the spool is empty", async {
        while spooled().await.count() < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let kinds: Vec<String> = spooled().await.map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["PARTICIPANT_MUTED", "PARTICIPANT_MUTED"]);
    // The visit ends as any other.
    running.http.post(&format!("/api/visits/{}/end", running.visit), &json!({})).await.ok();
    assert_eq!(patient.socket.hear("ended").await["reason"], "completed");
    drop(outage);
}
