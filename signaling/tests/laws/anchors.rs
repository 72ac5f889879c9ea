//! Anchors: what a superuser of the database can do to the chain, rewriting every hash in it, is named all the same.

use signaling::audit::anchoring::{Anchoring, anchor};
use signaling::audit::chain::{Entry, GENESIS, Verdict, verify as verify_chain};
use signaling::audit::config::AuditConfig;
use signaling::audit::{Draft, EventType, verify};
use signaling::auth::Actor;
use signaling::db;
use signaling::error::Error;
use sqlx::{Executor, PgConnection, Row};
use tempfile::TempDir;

use crate::support::House;

/// A practice with events 1 to 8 or so in its chain, anchored, and three more that are not.
struct Scene {
    house: House,
    anchoring: Anchoring,
    folder: TempDir,
}

impl Scene {
    async fn open() -> Self {
        let house = House::open().await;
        let folder = tempfile::tempdir().unwrap();
        let config = AuditConfig { anchor_folder: folder.path().join("anchors"), ..AuditConfig::default() };
        let anchoring = Anchoring::open(&config, &folder.path().join("keys")).unwrap();
        let visit = house.visit().await;
        house.redeem(&house.code(&visit, "patient").await).await;
        let scene = Self { house, anchoring, folder };
        assert_eq!(scene.anchor().await, 1);
        scene.write(3).await;
        scene
    }

    async fn anchor(&self) -> u32 {
        anchor(&self.house.app.db, self.house.ours, &self.anchoring).await.unwrap()
    }

    async fn write(&self, count: usize) {
        let org = self.house.ours;
        let drafts = vec![Draft::new(EventType::ConfigChanged); count];
        let actor = Actor::System { org };
        db::audited(&self.house.app.db, org, &actor, async |_| Ok::<_, Error>(((), drafts))).await.unwrap();
    }

    async fn report(&self) -> verify::Report {
        verify::check(&self.house.app.db, self.house.ours, Some(&self.anchoring)).await.unwrap()
    }

    async fn found(&self) -> (i64, &'static str) {
        let report = self.report().await;
        assert!(!report.is_whole, "{report:?}");
        (report.first_bad.unwrap(), report.reason.unwrap())
    }

    /// The chain alone, without anchors.
    async fn holds_by_itself(&self) -> bool {
        let org = self.house.ours;
        let verdict = db::scoped(&self.house.app.db, org, async |tx| verify_chain(tx, org).await).await.unwrap();
        matches!(verdict, Verdict::Whole { .. })
    }

    /// The superuser, with the triggers off.
    async fn superuser(&self) -> PgConnection {
        let mut owner = self.house.database.owner().await;
        owner.execute("SET session_replication_role = replica").await.unwrap();
        owner
    }

    fn org(&self) -> uuid::Uuid {
        self.house.ours.as_uuid()
    }

    /// Makes the whole chain consistent again, head and all, as somebody would who knows how it is made.
    async fn rehash(&self, owner: &mut PgConnection) {
        let rows = sqlx::query("SELECT * FROM audit_event WHERE org_id = $1 ORDER BY seq").bind(self.org());
        let (mut prev, mut seq) = (GENESIS, 0);
        for row in rows.fetch_all(&mut *owner).await.unwrap() {
            seq += 1;
            let mut entry = Entry {
                event_id: row.get("event_id"),
                org_id: row.get("org_id"),
                seq,
                at: row.get("at"),
                event_type: row.get("event_type"),
                actor_type: row.get("actor_type"),
                actor_id: row.get("actor_id"),
                role: row.get("role"),
                visit_id: row.get("visit_id"),
                subject: row.get("subject"),
                success: row.get("success"),
                reason_code: row.get("reason_code"),
                request_id: row.get("request_id"),
                metadata: row.get("metadata"),
                ip_truncated: row.get("ip_truncated"),
                ua_hash: row.get("ua_hash"),
                trace_id: row.get("trace_id"),
                schema_version: row.get("schema_version"),
                prev_hash: prev.to_vec(),
                hash: Vec::new(),
            };
            prev = entry.compute_hash();
            entry.hash = prev.to_vec();
            let update = "UPDATE audit_event SET seq = $2, prev_hash = $3, hash = $4 WHERE event_id = $1";
            let update = sqlx::query(update).bind(entry.event_id).bind(seq).bind(entry.prev_hash).bind(entry.hash);
            update.execute(&mut *owner).await.unwrap();
        }
        let head = sqlx::query("UPDATE audit_head SET seq = $2, hash = $3 WHERE org_id = $1");
        head.bind(self.org()).bind(seq).bind(prev.as_slice()).execute(&mut *owner).await.unwrap();
    }

    async fn tamper(&self, owner: &mut PgConnection, sql: &'static str) {
        let done = sqlx::query(sql).bind(self.org()).execute(owner).await.unwrap();
        assert!(done.rows_affected() > 0, "{sql}");
    }
}

#[tokio::test]
async fn an_untouched_chain_is_whole_and_anchors_go_on_from_each_other() {
    let scene = Scene::open().await;
    let first = scene.report().await;
    assert!(first.is_whole && first.anchors == 1, "{first:?}");
    assert!(first.anchored_to > 4 && first.events == first.anchored_to + 4, "{first:?}");
    assert_eq!(scene.anchor().await, 1);
    // The second anchor covers the first one's own event; its own is no news.
    assert_eq!(scene.anchor().await, 0);
    let second = scene.report().await;
    assert!(second.is_whole && second.anchors == 2 && second.anchored_to == first.events, "{second:?}");
    // More than one anchor holds.
    scene.write(2100).await;
    assert_eq!(scene.anchor().await, 3);
    let third = scene.report().await;
    assert!(third.is_whole && third.anchors == 5, "{third:?}");
    let mut owner = scene.house.database.owner().await;
    let anchored = owner.fetch_one("SELECT count(*) FROM audit_event WHERE event_type = 'AUDIT_ANCHORED'").await;
    assert_eq!(anchored.unwrap().get::<i64, _>(0), 5);
}

#[tokio::test]
async fn m_03_a_whole_chain_rewritten_by_a_superuser_is_named_at_its_first_changed_event() {
    for (tamper, seq) in [
        // Edited; swapped; one taken out of the middle, and the rest moved up.
        ("UPDATE audit_event SET actor_id = 'somebody-else' WHERE seq = 3 AND org_id = $1", 3),
        ("UPDATE audit_event SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3) AND org_id = $1", 2),
        ("DELETE FROM audit_event WHERE seq = 4 AND org_id = $1", 4),
        ("UPDATE audit_event SET success = NOT success WHERE seq = 1 AND org_id = $1", 1),
    ] {
        let scene = Scene::open().await;
        let mut owner = scene.superuser().await;
        owner.execute("ALTER TABLE audit_event DROP CONSTRAINT audit_event_seq_check").await.unwrap();
        scene.tamper(&mut owner, tamper).await;
        owner.execute("UPDATE audit_event SET seq = -seq WHERE seq < 0").await.unwrap();
        scene.rehash(&mut owner).await;
        assert!(scene.holds_by_itself().await, "{tamper}");
        assert_eq!(scene.found().await, (seq, "REWRITTEN"), "{tamper}");
    }
}

#[tokio::test]
async fn m_02_edits_without_new_hashes_are_named_too() {
    for (tamper, seq, reason) in [
        ("UPDATE audit_event SET actor_id = 'somebody-else' WHERE seq = 3 AND org_id = $1", 3, "ALTERED"),
        ("UPDATE audit_event SET trace_id = NULL, ua_hash = sha256('x') WHERE seq = 2 AND org_id = $1", 2, "ALTERED"),
        ("DELETE FROM audit_event WHERE seq = 2 AND org_id = $1", 2, "MISSING"),
        ("UPDATE audit_head SET hash = sha256('x') WHERE org_id = $1", 0, "HEAD"),
    ] {
        let scene = Scene::open().await;
        let events = scene.report().await.events;
        let mut owner = scene.superuser().await;
        owner.execute("ALTER TABLE audit_event DROP CONSTRAINT audit_event_ua_hash_check").await.unwrap();
        scene.tamper(&mut owner, tamper).await;
        let seq = if seq == 0 { events } else { seq };
        assert_eq!(scene.found().await, (seq, reason), "{tamper}");
    }
}

#[tokio::test]
async fn m_04_a_truncated_tail_is_found_although_head_and_remembered_anchors_were_cut_too() {
    let scene = Scene::open().await;
    let anchored = scene.report().await.anchored_to;
    let mut owner = scene.superuser().await;
    let cut =
        sqlx::query("DELETE FROM audit_event WHERE org_id = $1 AND seq >= $2").bind(scene.org()).bind(anchored - 1);
    assert!(cut.execute(&mut owner).await.unwrap().rows_affected() > 2);
    scene.tamper(&mut owner, "DELETE FROM audit_anchor WHERE org_id = $1").await;
    scene.rehash(&mut owner).await;
    assert!(scene.holds_by_itself().await);
    assert_eq!(scene.found().await, (anchored - 1, "MISSING"));
    // All of it.
    scene.tamper(&mut owner, "DELETE FROM audit_event WHERE org_id = $1").await;
    scene.tamper(&mut owner, "DELETE FROM audit_head WHERE org_id = $1").await;
    assert!(scene.holds_by_itself().await);
    assert_eq!(scene.found().await, (1, "MISSING"));
}

#[tokio::test]
async fn anchors_that_were_removed_changed_or_made_by_others_are_found() {
    let scene = Scene::open().await;
    scene.anchor().await;
    let (org, shelf) = (scene.house.ours, &scene.anchoring.shelf);
    let listed = shelf.list(org).await.unwrap();
    let [first, last] = listed[..] else { panic!("{listed:?}") };
    let path = |to: i64| scene.folder.path().join("anchors").join(org.to_string()).join(format!("{to:020}.json"));
    let text = std::fs::read_to_string(path(last)).unwrap();
    std::fs::remove_file(path(last)).unwrap();
    assert_eq!(scene.found().await, (first + 1, "ANCHOR_MISSING"));
    std::fs::write(path(last), text.replacen("\"at\":\"2026", "\"at\":\"2025", 1)).unwrap();
    assert_eq!(scene.found().await, (last, "ANCHOR_INVALID"));
    std::fs::write(path(last), &text).unwrap();
    assert!(scene.report().await.is_whole);
    // An anchor in between is missed by the next one.
    std::fs::remove_file(path(first)).unwrap();
    assert_eq!(scene.found().await, (1, "ANCHOR_MISSING"));
    // Somebody with a key of their own.
    let elsewhere = tempfile::tempdir().unwrap();
    let config = AuditConfig { anchor_folder: scene.folder.path().join("anchors"), ..AuditConfig::default() };
    let stranger = Anchoring::open(&config, elsewhere.path()).unwrap();
    let report = verify::check(&scene.house.app.db, org, Some(&stranger)).await.unwrap();
    assert_eq!(report.reason, Some("ANCHOR_INVALID"));
}

#[tokio::test]
async fn a_broken_chain_is_not_anchored() {
    let scene = Scene::open().await;
    let mut owner = scene.superuser().await;
    let (org, last) = (scene.org(), scene.report().await.events);
    let edit = sqlx::query("UPDATE audit_event SET actor_id = 'x' WHERE org_id = $1 AND seq = $2").bind(org).bind(last);
    edit.execute(&mut owner).await.unwrap();
    let refused = anchor(&scene.house.app.db, scene.house.ours, &scene.anchoring).await;
    assert!(matches!(refused, Err(Error::Inside(_))), "{refused:?}");
}

/// The process ended between putting an anchor and remembering it: the next round takes the one that is there.
#[tokio::test]
async fn an_anchor_that_was_put_but_not_remembered_is_remembered_later() {
    let scene = Scene::open().await;
    let before = scene.report().await;
    scene.anchor().await;
    let mut owner = scene.superuser().await;
    let forget = sqlx::query("DELETE FROM audit_anchor WHERE org_id = $1 AND from_seq > $2");
    forget.bind(scene.org()).bind(before.anchored_to).execute(&mut owner).await.unwrap();
    let forget = sqlx::query("DELETE FROM audit_event WHERE org_id = $1 AND seq > $2");
    forget.bind(scene.org()).bind(before.events).execute(&mut owner).await.unwrap();
    scene.rehash(&mut owner).await;
    scene.house.clock.set(crate::support::START + std::time::Duration::from_secs(60));
    assert_eq!(scene.anchor().await, 1);
    let report = scene.report().await;
    assert!(report.is_whole && report.anchors == 2, "{report:?}");
}
