//! The pool, and the ways into it: `audited`, where a change and its AuditEvents commit together, `scoped`, which only reads, and
//! `measured`, for measurements. All see one organisation; the rows of the others do not exist for them (row level security).

mod gate;
pub mod link;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;
use wire::Redacted;

use crate::audit::{self, Draft};
use crate::auth::Actor;
use crate::clock::{Clock, Timestamp};
use crate::config::SignalingConfig;
use crate::db::gate::Gate;
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// Numbered SQL files of `migrations/`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// A transaction, as the slices' `store.rs` see it.
pub type Tx = PgConnection;

/// How long a request waits for a free connection before it is answered 503.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The database as one organisation at a time may use it.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    clock: Clock,
    gate: Gate,
}

/// What an audit event is dated and named by.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The id of the change's first event. The change is made once: when an event of this id is there, it has been.
    pub event: Uuid,
    /// When it happened.
    pub at: Timestamp,
    /// It waited for the database.
    pub is_spooled: bool,
}

impl Stamp {
    /// Of something that happens now.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { event: Uuid::new_v4(), at, is_spooled: false }
    }
}

impl Db {
    /// Opens the pool; every connection acts as `anteroom_server`. Then makes sure that this role, and the login behind it,
    /// own nothing and cannot step around row level security.
    ///
    /// # Errors
    /// When the database is away, or the login has more rights than it should.
    pub async fn connect(config: &SignalingConfig, clock: Clock) -> Result<Self> {
        let options: PgConnectOptions = config.database_url.reveal().parse()?;
        let options = options
            .application_name("anteroom-signaling")
            .options([
                ("statement_timeout", "10s"),
                ("lock_timeout", "5s"),
                ("idle_in_transaction_session_timeout", "15s"),
            ])
            // At debug, sqlx would log each statement; parameters never. Slow ones are worth a line.
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
        let pool = PgPoolOptions::new()
            .max_connections(config.database_connections)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("SET ROLE anteroom_server").await?;
                    Ok(())
                })
            })
            .connect_with(options)
            .await?;
        let db = Self { gate: Gate::new(pool.clone()), pool, clock };
        db.check_role().await?;
        Ok(db)
    }

    /// Runs the migrations that are due, as the owner.
    ///
    /// # Errors
    /// When one fails; it has then left nothing behind.
    pub async fn migrate(owner_url: &Redacted<String>) -> Result<()> {
        let options: PgConnectOptions = owner_url.reveal().parse()?;
        // By a pool of one: the future of a run on a bare connection cannot be spawned.
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.disable_statement_logging()).await?;
        MIGRATIONS.run(&pool).await?;
        pool.close().await;
        Ok(())
    }

    /// Lets the login of `database_url` act as the roles that the migrations made.
    ///
    /// # Errors
    /// When the owner may not grant them.
    pub async fn grant_roles(owner_url: &Redacted<String>, database_url: &Redacted<String>) -> Result<()> {
        let login: PgConnectOptions = database_url.reveal().parse()?;
        let options: PgConnectOptions = owner_url.reveal().parse()?;
        let mut connection = options.disable_statement_logging().connect().await?;
        let quoted = login.get_username().replace('"', "\"\"");
        let grant = sqlx::AssertSqlSafe(format!("GRANT anteroom_server, anteroom_recorder TO \"{quoted}\""));
        connection.execute(grant).await?;
        connection.close().await?;
        Ok(())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query!("SELECT 1 AS one").fetch_one(&mut *tx).await?;
        Ok(())
    }

    /// True while the database is known not to answer: asking it fails at once, until somebody who looks again and again finds it back.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.gate.is_away()
    }

    /// Somebody waited for it in vain.
    pub(crate) fn suspect(&self) {
        self.gate.close();
    }

    /// Says that a look for work failed. While the database is away that is no news: the gate has said so.
    pub(crate) fn note_failed_look(&self, error: &Error, what: &'static str) {
        if !error.is_passing() {
            return tracing::warn!(%error, "{what}");
        }
        self.gate.close();
        tracing::debug!(%error, "{what}");
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.begin_by("BEGIN".to_owned()).await
    }

    /// A transaction that sees one organisation, in one round trip. A UUID holds nothing that would have to be quoted.
    async fn begin_in(&self, org: OrgId, mode: &str) -> Result<Transaction<'static, Postgres>> {
        self.begin_by(format!("BEGIN {mode}; SET LOCAL app.org = '{}'", org.as_uuid())).await
    }

    async fn begin_by(&self, statement: String) -> Result<Transaction<'static, Postgres>> {
        if self.gate.is_away() {
            return Err(sqlx::Error::PoolTimedOut.into());
        }
        self.pool.begin_with(sqlx::AssertSqlSafe(statement)).await.map_err(|error| {
            let error = Error::from(error);
            if error.is_passing() {
                self.gate.close();
            }
            error
        })
    }

    /// The clock by which events are dated.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// For what is not a transaction: LISTEN. Queries through it see no organisation's rows.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Waits until no connection is in use, and closes them.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn check_role(&self) -> Result<()> {
        let role = sqlx::query!(
            r#"SELECT current_user::text AS "acting!",
                   bool_or(r.rolsuper OR r.rolbypassrls) AS "above_policies!",
                   EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
                           AND c.relowner IN (SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user))) AS "owns_tables!"
               FROM pg_roles r WHERE r.rolname IN (current_user, session_user)"#
        )
        .fetch_one(&self.pool)
        .await?;
        if role.acting != "anteroom_server" {
            return Err(Error::Settings("the server does not act as anteroom_server".to_owned()));
        }
        if role.above_policies {
            return Err(Error::Settings(
                "the login of `database_url` is a superuser or may bypass row level security: give the server one that is not".to_owned(),
            ));
        }
        if role.owns_tables {
            return Err(Error::Settings(
                "the login of `database_url` owns tables: keep the owner for `migration_url`".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Runs `change` in a transaction that sees `org` alone, appends what it reports to the audit chain, and commits both, or neither.
///
/// ```ignore
/// let visit = db::audited(&app.db, org, &actor, async |tx| {
///     let visit = visit::store::insert(tx, &new).await?;
///     Ok::<_, Error>((visit.clone(), vec![Draft::new(EventType::VisitCreated).visit(visit.id)]))
/// }).await?;
/// ```
///
/// # Errors
/// Whatever `change` says; the database's own failures. A change that reports no event is a defect and is refused.
pub async fn audited<T, E, F>(db: &Db, org: OrgId, actor: &Actor, change: F) -> std::result::Result<T, E>
where
    F: AsyncFnOnce(&mut Tx) -> std::result::Result<(T, Vec<Draft>), E>,
    E: From<Error>,
{
    let stamp = Stamp::new(db.clock.now());
    match audited_as(db, org, actor, stamp, change).await? {
        Some(value) => Ok(value),
        None => Err(Error::Inside("two events of one id".to_owned()).into()),
    }
}

/// The same for a change whose first event has an id of its own from before: when that event is there, the change has been made, and
/// `None` is the answer.
///
/// # Errors
/// As [`audited`].
pub(crate) async fn audited_as<T, E, F>(
    db: &Db,
    org: OrgId,
    actor: &Actor,
    stamp: Stamp,
    change: F,
) -> std::result::Result<Option<T>, E>
where
    F: AsyncFnOnce(&mut Tx) -> std::result::Result<(T, Vec<Draft>), E>,
    E: From<Error>,
{
    let mut tx = db.begin_in(org, "").await?;
    if stamp.is_spooled && audit::store::exists(&mut tx, stamp.event).await? {
        return Ok(None);
    }
    let (value, drafts) = change(&mut tx).await?;
    if drafts.is_empty() {
        return Err(Error::Inside("a change without an audit event".to_owned()).into());
    }
    audit::store::append(&mut tx, org, actor, &drafts, stamp).await?;
    tx.commit().await.map_err(Error::from)?;
    Ok(Some(value))
}

/// Runs `write` in a transaction that sees `org` alone, without an audit event: for measurements, which are nobody's act.
///
/// # Errors
/// Whatever `write` says; the database's own failures.
pub async fn measured<T, E, F>(db: &Db, org: OrgId, write: F) -> std::result::Result<T, E>
where
    F: AsyncFnOnce(&mut Tx) -> std::result::Result<T, E>,
    E: From<Error>,
{
    let mut tx = db.begin_in(org, "").await?;
    let value = write(&mut tx).await?;
    tx.commit().await.map_err(Error::from)?;
    Ok(value)
}

/// Runs `read` in a read-only transaction that sees `org` alone, as it was at one moment.
///
/// # Errors
/// Whatever `read` says; the database's own failures, a write among them.
pub async fn scoped<T, E, F>(db: &Db, org: OrgId, read: F) -> std::result::Result<T, E>
where
    F: AsyncFnOnce(&mut Tx) -> std::result::Result<T, E>,
    E: From<Error>,
{
    let mut tx = db.begin_in(org, "ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let value = read(&mut tx).await?;
    tx.commit().await.map_err(Error::from)?;
    Ok(value)
}

/// The organisation that a short code belongs to: the one question that has to be asked before an organisation is known.
/// The policy `by_short_code` shows the row with this very hash, and no other.
///
/// # Errors
/// The database's own failures.
pub async fn find_org_by_code(db: &Db, hash: &[u8; 32]) -> Result<Option<OrgId>> {
    let mut tx = db.begin().await?;
    sqlx::query!("SELECT set_config('app.short_code_hash', $1, true) AS set", hex::encode(hash))
        .fetch_one(&mut *tx)
        .await?;
    let org = sqlx::query_scalar!("SELECT org_id FROM join_token WHERE short_code_hash = $1", hash.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(org.map(OrgId::from_uuid))
}

/// The organisation and the sealed secret of an access key in use: the other question that is asked before an organisation is known.
/// The policy `by_access_key` shows the row of this very key, and no other.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn find_access_key(db: &Db, access_key_id: &str) -> Result<Option<(OrgId, Vec<u8>)>> {
    let mut tx = db.begin().await?;
    sqlx::query!("SELECT set_config('app.access_key_id', $1, true) AS set", access_key_id).fetch_one(&mut *tx).await?;
    let row = sqlx::query!(
        "SELECT org_id, sealed_secret FROM chime_key WHERE access_key_id = $1 AND revoked_at IS NULL",
        access_key_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.map(|row| (OrgId::from_uuid(row.org_id), row.sealed_secret)))
}

/// The organisations that have an audit chain: asked by who anchors or verifies all of them. The policy `sweep` shows their ids and heads.
///
/// # Errors
/// The database's own failures.
pub async fn chains(db: &Db) -> Result<Vec<OrgId>> {
    let mut tx = db.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'audit', true) AS set").fetch_one(&mut *tx).await?;
    let orgs = sqlx::query_scalar!("SELECT org_id FROM audit_head ORDER BY org_id").fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(orgs.into_iter().map(OrgId::from_uuid).collect())
}
