//! Sealed fields over a real database: their keys, rotation, and what happens when a key is not there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signaling::auth::Actor;
use signaling::auth::keys::Keys;
use signaling::config::SignalingConfig;
use signaling::db::{self, Db};
use signaling::ids::OrgId;
use signaling::phi::{self, Field, Place, rewrap};
use signaling::{App, Error};
use sqlx::{Executor, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::{DataKey, KeyContext, KeyError, KeyProvider, LocalKeys, WrappedKey};
use wire::Redacted;

use crate::support::{House, START};

/// Another process on the same database, with wrapping keys of its own.
async fn process(house: &House, keys: Arc<dyn KeyProvider>) -> App {
    let config = SignalingConfig {
        database_url: Redacted::new(house.database.app_url.clone()),
        database_connections: 4,
        data_keys: Some(keys),
        ..SignalingConfig::default()
    };
    let db = Db::connect(&config, house.clock.clone()).await.unwrap();
    let (link, _end) = wire::link::in_process();
    let address = SocketAddr::from(([127, 0, 0, 1], 8080));
    let stop = CancellationToken::new();
    signaling::build(config, Keys::ephemeral().unwrap(), db, house.clock.clone(), &link, address, stop).unwrap()
}

fn place(org: OrgId) -> Place {
    Place { org, field: Field::ClinicalNotes, row: Uuid::new_v4() }
}

async fn seal(app: &App, place: Place, text: &str) -> Vec<u8> {
    db::measured(&app.db, place.org, async |tx| phi::seal(tx, app, place, text).await).await.unwrap()
}

async fn open(app: &App, place: Place, sealed: &[u8]) -> Result<String, Error> {
    db::scoped(&app.db, place.org, async |tx| phi::open(tx, app, place, sealed).await)
        .await
        .map(Redacted::into_revealed)
}

/// The id of the data key in a sealed value.
fn key_of(sealed: &[u8]) -> Uuid {
    Uuid::from_slice(&sealed[1..17]).unwrap()
}

async fn rows(house: &House) -> Vec<(Uuid, String)> {
    let mut owner = house.database.owner().await;
    let rows = owner.fetch_all("SELECT key_id, kek_id FROM phi_data_key ORDER BY made_at, key_id").await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Counts how often the wrapping key is asked.
#[derive(Debug)]
struct Counting {
    inside: LocalKeys,
    unwrapped: AtomicUsize,
    is_away: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl KeyProvider for Counting {
    fn current(&self) -> String {
        self.inside.current()
    }

    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        self.inside.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        self.unwrapped.fetch_add(1, Ordering::Relaxed);
        if self.is_away.load(Ordering::Relaxed) {
            return Err(KeyError::Unavailable("away".to_owned()));
        }
        self.inside.unwrap(wrapped, context).await
    }
}

#[tokio::test]
async fn a_data_key_is_opened_once_and_held_for_minutes_alone() {
    let house = House::open().await;
    let keys = Arc::new(Counting {
        inside: LocalKeys::ephemeral().unwrap(),
        unwrapped: AtomicUsize::new(0),
        is_away: false.into(),
    });
    let app = process(&house, keys.clone()).await;
    let here = place(house.ours);
    let sealed = seal(&app, here, "first").await;
    for _ in 0..20 {
        assert_eq!(open(&app, here, &sealed).await.unwrap(), "first");
        seal(&app, here, "more").await;
    }
    assert_eq!(
        (keys.unwrapped.load(Ordering::Relaxed), rows(&house).await.len()),
        (2, 1),
        "once to open, once as the newest"
    );
    // The service goes away: what is held serves on, and then no longer.
    keys.is_away.store(true, Ordering::Relaxed);
    assert_eq!(open(&app, here, &sealed).await.unwrap(), "first");
    house.clock.set(START + Duration::from_secs(5 * 60));
    let away = open(&app, here, &sealed).await.unwrap_err();
    assert!(away.is_passing(), "{away}");
    keys.is_away.store(false, Ordering::Relaxed);
    assert_eq!(open(&app, here, &sealed).await.unwrap(), "first");
}

#[tokio::test]
async fn h_10_a_field_opens_for_its_own_place_and_by_its_own_installations_key_alone() {
    let house = House::open().await;
    let here = place(house.ours);
    let sealed = seal(&house.app, here, "canary words").await;
    assert!(!sealed.windows(6).any(|part| part == b"canary"));
    let mut changed = sealed.clone();
    *changed.last_mut().unwrap() ^= 1;
    let theirs = Place { org: house.theirs, ..here };
    for (place, bytes) in [
        (theirs, &sealed),
        (Place { field: Field::ChiefComplaint, ..here }, &sealed),
        (Place { row: Uuid::new_v4(), ..here }, &sealed),
        (here, &changed),
        (here, &Vec::new()),
    ] {
        let refused = open(&house.app, place, bytes).await.unwrap_err();
        assert!(!refused.is_passing() && !refused.to_string().contains("words"), "{refused}");
    }
    // The table restored beside another key.
    let other = process(&house, Arc::new(LocalKeys::ephemeral().unwrap())).await;
    let refused = open(&other, here, &sealed).await.unwrap_err();
    assert_eq!(refused.to_string(), "keys: the data key was wrapped by another key");
    // A row of the key table pointed at another organisation's key.
    let mut owner = house.database.owner().await;
    sqlx::query("UPDATE phi_data_key SET org_id = $1").bind(house.theirs.as_uuid()).execute(&mut owner).await.unwrap();
    let fresh = process(&house, house.app.config.data_keys.clone().unwrap()).await;
    assert!(open(&fresh, theirs, &sealed).await.is_err());
    assert!(open(&fresh, here, &sealed).await.is_err());
}

#[tokio::test]
async fn a_key_of_a_transaction_that_was_undone_seals_nothing() {
    let house = House::open().await;
    let here = place(house.ours);
    let undone = db::measured(&house.app.db, house.ours, async |tx| {
        // Twice: the second time the key is found in the table, where only this transaction sees it.
        let sealed = phi::seal(tx, &house.app, here, "one").await?;
        let again = phi::seal(tx, &house.app, here, "two").await?;
        assert_eq!(key_of(&sealed), key_of(&again));
        assert_eq!(phi::open(tx, &house.app, here, &again).await?.reveal(), "two");
        Err::<(), _>(Error::Inside("undone".to_owned()))
    });
    assert!(undone.await.is_err());
    assert_eq!(rows(&house).await, []);
    let sealed = seal(&house.app, here, "three").await;
    assert_eq!(rows(&house).await[0].0, key_of(&sealed));
    let fresh = process(&house, house.app.config.data_keys.clone().unwrap()).await;
    assert_eq!(open(&fresh, here, &sealed).await.unwrap(), "three");
}

#[tokio::test]
async fn h_11_rotation_keeps_old_data_readable_and_moves_it_on() {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kek");
    let app = process(&house, Arc::new(LocalKeys::open_or_create(&file).unwrap())).await;
    let (here, theirs) = (place(house.ours), place(house.theirs));
    let (old, other) = (seal(&app, here, "old words").await, seal(&app, theirs, "other words").await);
    // A month later new values have a data key of their own, and old ones open as before.
    house.clock.set(START + Duration::from_secs(31 * 24 * 3600));
    let new = seal(&app, here, "new words").await;
    assert_ne!(key_of(&old), key_of(&new));
    assert_eq!(open(&app, here, &old).await.unwrap(), "old words");
    assert_eq!(rewrap::rewrap(&app).await.unwrap(), 0, "nothing to do before a rotation");
    assert_eq!(rewrap::count(&app.db).await.unwrap().len(), 1);

    // The wrapping key is rotated under the running process.
    let newest = LocalKeys::rotate(&file).unwrap();
    assert_eq!(rewrap::rewrap(&app).await.unwrap(), 3);
    assert_eq!(rewrap::rewrap(&app).await.unwrap(), 0);
    assert!(rows(&house).await.iter().all(|(_, kek)| *kek == newest));
    assert_eq!(rewrap::count(&app.db).await.unwrap(), [(newest.clone(), 3)]);
    // Then the old line can go, and everything still opens.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.lines().next_back().unwrap()).unwrap();
    let fresh = process(&house, Arc::new(LocalKeys::open(&file).unwrap())).await;
    for (place, sealed, text) in [(here, &old, "old words"), (here, &new, "new words"), (theirs, &other, "other words")]
    {
        assert_eq!(open(&fresh, place, sealed).await.unwrap(), text);
    }
    let mut owner = house.database.owner().await;
    let written: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit_event WHERE event_type = 'KEY_ROTATED' AND actor_type = 'SYSTEM'",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!(written, 3);
    assert_eq!(Actor::System { org: house.ours }.id(), "system");
}

#[tokio::test]
async fn the_server_cannot_remove_a_data_key() {
    let house = House::open().await;
    seal(&house.app, place(house.ours), "words").await;
    let mut server = house.database.server().await;
    for statement in ["DELETE FROM phi_data_key", "TRUNCATE phi_data_key", "UPDATE phi_data_key SET made_at = now()"] {
        assert!(server.execute(statement).await.unwrap_err().to_string().contains("permission denied"), "{statement}");
    }
}
