//! The audit chain: it commits with its change or not at all, nobody edits it, and whoever does is named.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use serde_json::json;
use signaling::audit::chain::{Break, Entry, GENESIS, Verdict, verify};
use signaling::audit::{Draft, EventType};
use signaling::auth::{Actor, StaffRole};
use signaling::db;
use signaling::error::Error;
use signaling::ids::OrgId;
use signaling::problem::Code;
use sqlx::{Connection, Executor, Row};

use uuid::Uuid;

use crate::support::{By, House, START};

async fn verdict(house: &House) -> Verdict {
    db::scoped(&house.app.db, house.ours, async |tx| verify(tx, house.ours).await).await.unwrap()
}

async fn filled() -> House {
    let house = House::open().await;
    let visit = house.visit().await;
    house.redeem(&house.code(&visit, "patient").await).await;
    house
}

#[tokio::test]
async fn m_06_h_13_a_change_and_its_events_commit_together_or_not_at_all() {
    let house = filled().await;
    let before = verdict(&house).await;
    let Verdict::Whole { events, .. } = before.clone() else { panic!("{before:?}") };
    assert!(events >= 5);
    let actor = Actor::System { org: house.ours };
    // The change fails after it wrote.
    let failed: Result<(), Error> = db::audited(&house.app.db, house.ours, &actor, async |tx| {
        sqlx::query("UPDATE visit SET visit_type = 'changed'").execute(&mut *tx).await?;
        Err(Code::Invalid.into())
    })
    .await;
    assert!(failed.is_err());
    // The change forgets its event.
    let silent: Result<(), Error> = db::audited(&house.app.db, house.ours, &actor, async |tx| {
        sqlx::query("UPDATE visit SET visit_type = 'changed'").execute(&mut *tx).await?;
        Ok(((), Vec::new()))
    })
    .await;
    assert!(matches!(silent, Err(Error::Inside(_))));
    // The event cannot be written.
    let mut owner = house.database.owner().await;
    owner
        .execute("ALTER TABLE audit_event ADD CONSTRAINT broken CHECK (event_type <> 'CONFIG_CHANGED') NOT VALID")
        .await
        .unwrap();
    let unwritten: Result<(), Error> = db::audited(&house.app.db, house.ours, &actor, async |tx| {
        sqlx::query("UPDATE visit SET visit_type = 'changed'").execute(&mut *tx).await?;
        Ok(((), vec![Draft::new(EventType::ConfigChanged)]))
    })
    .await;
    assert!(matches!(unwritten, Err(Error::Database(_))));
    let changed = owner.fetch_one("SELECT count(*) FROM visit WHERE visit_type = 'changed'").await.unwrap();
    assert_eq!(changed.get::<i64, _>(0), 0);
    assert_eq!(verdict(&house).await, before);
    // A reader cannot write.
    let wrote = db::scoped(&house.app.db, house.ours, async |tx| {
        sqlx::query("UPDATE visit SET visit_type = 'changed'").execute(tx).await?;
        Ok::<_, Error>(())
    })
    .await;
    assert!(matches!(wrote, Err(Error::Database(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_05_sixty_four_writers_keep_one_chain() {
    let house = House::open().await;
    let actor = Actor::System { org: house.ours };
    let writers = (0..64).map(|_| {
        db::audited(&house.app.db, house.ours, &actor, async |_| {
            Ok::<_, Error>(((), vec![Draft::new(EventType::ConfigChanged), Draft::new(EventType::AuditVerified)]))
        })
    });
    for written in futures_util::future::join_all(writers).await {
        written.unwrap();
    }
    assert!(matches!(verdict(&house).await, Verdict::Whole { events: 129, .. }));
}

#[tokio::test]
async fn m_01_the_server_can_neither_change_nor_delete_events() {
    let house = filled().await;
    let mut server = house.database.server().await;
    for sql in [
        "UPDATE audit_event SET success = true",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "UPDATE audit_anchor SET kid = 'x'",
        "DELETE FROM audit_anchor",
        "UPDATE consent SET status = 'SIGNED'",
        "DELETE FROM consent",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
    ] {
        let mut tx = server.begin().await.unwrap();
        sqlx::query("SELECT set_config('app.org', $1, true)")
            .bind(house.ours.to_string())
            .execute(&mut *tx)
            .await
            .unwrap();
        let refused = tx.execute(sql).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(),
            Some("42501"),
            "{sql}"
        );
        tx.rollback().await.unwrap();
    }
    // Even the owner has to switch the trigger off first.
    let mut owner = house.database.owner().await;
    assert!(owner.execute("DELETE FROM audit_event").await.is_err());
}

#[tokio::test]
async fn m_02_tampering_names_the_first_bad_event() {
    // Each on a database of its own: what the superuser does, and what the verifier must say.
    for (tamper, seq, reason) in [
        ("UPDATE audit_event SET actor_id = 'somebody-else' WHERE seq = 3 AND org_id = $1", 3, Break::Altered),
        ("UPDATE audit_event SET success = NOT success WHERE seq = 1 AND org_id = $1", 1, Break::Altered),
        ("UPDATE audit_event SET metadata = '{\"x\": 1}' WHERE seq = 2 AND org_id = $1", 2, Break::Altered),
        ("DELETE FROM audit_event WHERE seq = 2 AND org_id = $1", 2, Break::Missing),
        (
            "DELETE FROM audit_event WHERE org_id = $1 AND seq = (SELECT max(seq) FROM audit_event WHERE org_id = $1)",
            0,
            Break::Missing,
        ),
        (
            "UPDATE audit_event SET seq = CASE seq WHEN 2 THEN 1003 ELSE 1002 END WHERE seq IN (2, 3) AND org_id = $1",
            2,
            Break::Missing,
        ),
        ("UPDATE audit_event SET prev_hash = sha256('x') WHERE seq = 4 AND org_id = $1", 4, Break::Unlinked),
    ] {
        let house = filled().await;
        let Verdict::Whole { events, .. } = verdict(&house).await else { panic!("whole before") };
        let mut owner = house.database.owner().await;
        owner.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_append_only").await.unwrap();
        let done = sqlx::query(tamper).bind(house.ours.as_uuid()).execute(&mut owner).await.unwrap();
        assert!(done.rows_affected() > 0, "{tamper}");
        let seq = if seq == 0 { events } else { seq };
        assert_eq!(verdict(&house).await, Verdict::Broken { seq, reason }, "{tamper}");
    }
}

#[tokio::test]
async fn swapped_events_are_found() {
    let house = filled().await;
    let mut owner = house.database.owner().await;
    owner.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_append_only").await.unwrap();
    for (from, to) in [(2, 1000), (3, 2), (1000, 3)] {
        sqlx::query("UPDATE audit_event SET seq = $2 WHERE seq = $1 AND org_id = $3")
            .bind(i64::from(from))
            .bind(i64::from(to))
            .bind(house.ours.as_uuid())
            .execute(&mut owner)
            .await
            .unwrap();
    }
    assert_eq!(verdict(&house).await, Verdict::Broken { seq: 2, reason: Break::Unlinked });
}

#[tokio::test]
async fn m_07_a_fact_with_an_unlisted_name_is_refused_with_its_change() {
    let house = House::open().await;
    house.visit().await;
    let before = verdict(&house).await;
    let actor = Actor::System { org: house.ours };
    let refused: Result<(), Error> = db::audited(&house.app.db, house.ours, &actor, async |tx| {
        sqlx::query("UPDATE visit SET visit_type = 'changed'").execute(&mut *tx).await?;
        let draft = Draft::new(EventType::ConfigChanged);
        Ok(((), vec![draft.fact("patientName", signaling::audit::Fact::Word("a word"))]))
    })
    .await;
    assert!(matches!(refused, Err(Error::Inside(_))), "{refused:?}");
    let mut owner = house.database.owner().await;
    let changed = owner.fetch_one("SELECT count(*) FROM visit WHERE visit_type = 'changed'").await.unwrap();
    assert_eq!(changed.get::<i64, _>(0), 0);
    assert_eq!(verdict(&house).await, before);
}

#[tokio::test]
async fn an_event_says_from_which_network_it_came_and_not_from_which_machine() {
    let house = House::open().await;
    let visit = house.visit().await;
    let by = house.bearer("dr-a", StaffRole::Clinician);
    let By::Bearer(token) = by else { panic!("a bearer") };
    let request = Request::builder()
        .uri(format!("/api/visits/{visit}"))
        .header("authorization", format!("Bearer {token}"))
        .header("user-agent", "Canary/1.0 (of one browser)")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .extension(ConnectInfo(SocketAddr::from(([203, 0, 113, 77], 4711))))
        .body(Body::empty())
        .unwrap();
    assert_eq!(house.send(request).await.status, StatusCode::OK);
    let mut owner = house.database.owner().await;
    let row =
        owner.fetch_one(sqlx::query("SELECT * FROM audit_event WHERE event_type = 'VISIT_VIEWED'")).await.unwrap();
    assert_eq!(row.get::<&str, _>("ip_truncated"), "203.0.113.0/24");
    assert_eq!(row.get::<&str, _>("trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(row.get::<&[u8], _>("ua_hash").len(), 16);
    let whole = owner.fetch_one("SELECT string_agg(e::text, ' ') FROM audit_event e").await.unwrap();
    let whole = whole.get::<&str, _>(0);
    assert!(!whole.contains("203.0.113.77") && !whole.contains("Canary"), "{whole}");
    assert!(matches!(verdict(&house).await, Verdict::Whole { .. }));
}

#[tokio::test]
async fn m_09_events_are_dated_in_utc_by_the_servers_clock() {
    let house = House::open().await;
    house.visit().await;
    let mut owner = house.database.owner().await;
    owner.execute("SET TIME ZONE 'Asia/Kolkata'").await.unwrap();
    let at: time::OffsetDateTime = owner
        .fetch_one(sqlx::query("SELECT at FROM audit_event WHERE event_type = 'VISIT_CREATED'"))
        .await
        .unwrap()
        .get(0);
    assert_eq!(at, START);
    assert!(at.offset().is_utc());
}

/// Rows that were written before the chain's second version have other columns under their hash, and stay valid.
#[tokio::test]
async fn a_chain_that_began_in_the_first_version_goes_on_in_the_second() {
    let house = House::open().await;
    let mut owner = house.database.owner().await;
    let org = OrgId::random();
    let practice =
        sqlx::query("INSERT INTO organization (org_id, name, phone) VALUES ($1, 'Old practice', '+1 555 0100')");
    practice.bind(org.as_uuid()).execute(&mut owner).await.unwrap();
    let mut prev = GENESIS;
    for seq in 1..=3_i64 {
        let mut entry = Entry {
            event_id: Uuid::new_v4(),
            org_id: org.as_uuid(),
            seq,
            at: START,
            event_type: "LOGIN".to_owned(),
            actor_type: "STAFF".to_owned(),
            actor_id: "dr-a".to_owned(),
            role: Some("clinician".to_owned()),
            visit_id: None,
            subject: None,
            success: true,
            reason_code: None,
            request_id: None,
            metadata: sqlx::types::Json(json!({"b": 1, "a": [true]})),
            ip_truncated: None,
            ua_hash: None,
            trace_id: None,
            schema_version: 1,
            prev_hash: prev.to_vec(),
            hash: Vec::new(),
        };
        prev = entry.compute_hash();
        entry.hash = prev.to_vec();
        sqlx::query(
            "INSERT INTO audit_event (event_id, org_id, seq, at, event_type, actor_type, actor_id, role, success, metadata,
                 schema_version, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, $9, 1, $10, $11)",
        )
        .bind(entry.event_id)
        .bind(entry.org_id)
        .bind(entry.seq)
        .bind(entry.at)
        .bind(entry.event_type)
        .bind(entry.actor_type)
        .bind(entry.actor_id)
        .bind(entry.role)
        .bind(entry.metadata)
        .bind(entry.prev_hash)
        .bind(entry.hash)
        .execute(&mut owner)
        .await
        .unwrap();
    }
    sqlx::query("INSERT INTO audit_head (org_id, seq, hash) VALUES ($1, 3, $2)")
        .bind(org.as_uuid())
        .bind(prev.as_slice())
        .execute(&mut owner)
        .await
        .unwrap();
    let actor = Actor::System { org };
    let write = db::audited(&house.app.db, org, &actor, async |_| {
        Ok::<_, Error>(((), vec![Draft::new(EventType::ConfigChanged)]))
    });
    write.await.unwrap();
    let verdict = || db::scoped(&house.app.db, org, async |tx| verify(tx, org).await);
    assert!(matches!(verdict().await.unwrap(), Verdict::Whole { events: 4, .. }));
    // What the first version does not cover cannot be put beside it.
    owner.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_append_only").await.unwrap();
    sqlx::query("UPDATE audit_event SET ip_truncated = '192.0.2.0/24' WHERE org_id = $1 AND seq = 2")
        .bind(org.as_uuid())
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(verdict().await.unwrap(), Verdict::Broken { seq: 2, reason: Break::Altered });
}
