//! The audit chain: it commits with its change or not at all, nobody edits it, and whoever does is named.

use signaling::audit::chain::{Break, Verdict, verify};
use signaling::audit::{Draft, EventType};
use signaling::auth::Actor;
use signaling::db;
use signaling::error::Error;
use signaling::problem::Code;
use sqlx::{Connection, Executor, Row};

use crate::support::House;

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
async fn a_change_and_its_events_commit_together_or_not_at_all() {
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
async fn many_writers_keep_one_chain() {
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
async fn the_server_can_neither_change_nor_delete_events() {
    let house = filled().await;
    let mut server = house.database.server().await;
    for sql in [
        "UPDATE audit_event SET success = true",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
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
async fn tampering_names_the_first_bad_event() {
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
