//! A real PostgreSQL for tests: one throw-away cluster per test process, one fresh, migrated database per test.
//!
//! The cluster listens on a unix socket only and ends with the process, however that ends. Nothing is skipped: a machine
//! without PostgreSQL fails the tests with a sentence that says so.

mod cluster;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use cluster::{Cluster, Waits};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

/// The database that every test's database is a copy of.
const TEMPLATE: &str = "anteroom_template";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");
static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DURABLE: OnceLock<Cluster> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// One test's own database. It stays until the process ends.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    /// The name inside the cluster.
    pub name: String,
    /// Login `anteroom_app`: member of `anteroom_server` and `anteroom_recorder`, owns nothing. What the program gets.
    pub app_url: String,
    /// The superuser and owner of everything: for looking behind the program's back, and for migrations.
    pub owner_url: String,
    /// What the cluster writes its log to.
    pub log: PathBuf,
    /// The directory of the cluster's socket.
    pub socket: PathBuf,
}

impl TestDatabase {
    /// Copies the migrated template into a new database; the first call in a process starts the cluster (about a second).
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start: a test cannot go on without it.
    pub async fn fresh() -> Self {
        let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(|| start(Waits::Nothing))).await;
        Self::copy(cluster.expect("the cluster starts")).await
    }

    /// The same in a cluster that waits for the disk as a clinic's does: for measurements.
    ///
    /// # Panics
    /// As [`fresh`](Self::fresh).
    pub async fn fresh_durable() -> Self {
        let cluster = tokio::task::spawn_blocking(|| DURABLE.get_or_init(|| start(Waits::Disk))).await;
        Self::copy(cluster.expect("the cluster starts")).await
    }

    /// The same in a cluster of its own, which can be ended and started again.
    ///
    /// # Panics
    /// As [`fresh`](Self::fresh).
    pub async fn apart() -> (Self, Outage) {
        let cluster = tokio::task::spawn_blocking(|| start(Waits::System)).await.expect("the cluster starts");
        (Self::copy(&cluster).await, Outage(cluster))
    }

    async fn copy(cluster: &Cluster) -> Self {
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut admin = connect(&cluster.url("postgres", "postgres")).await;
        admin
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")))
            .await
            .expect("the template can be copied");
        drop(admin.close().await);
        Self {
            app_url: cluster.url("anteroom_app", &name),
            owner_url: cluster.url("postgres", &name),
            name,
            log: cluster.log(),
            socket: cluster.directory().to_owned(),
        }
    }

    /// A connection as the owner.
    ///
    /// # Panics
    /// When the cluster is gone.
    pub async fn owner(&self) -> PgConnection {
        connect(&self.owner_url).await
    }

    /// Every row of every table as text, as somebody with a copy of the database has it; bytes are hexadecimal there.
    ///
    /// # Panics
    /// When the cluster is gone.
    pub async fn dump(&self) -> String {
        let mut owner = self.owner().await;
        let tables =
            "SELECT format('%I', relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut owner).await.expect("tables can be listed");
        let mut dump = String::new();
        for table in tables {
            let rows = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
            let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut owner).await.expect("the owner reads it");
            for row in rows {
                dump.push_str(&format!("{table} {row}\n"));
            }
        }
        dump
    }

    /// A connection as the server acts: `anteroom_app` after `SET ROLE anteroom_server`.
    ///
    /// # Panics
    /// When the cluster is gone.
    pub async fn server(&self) -> PgConnection {
        let mut connection = connect(&self.app_url).await;
        connection.execute("SET ROLE anteroom_server").await.expect("anteroom_app may act as the server");
        connection
    }
}

/// A cluster of its own that is reached over TCP at `localhost`, by TLS alone. It ends with the process.
#[derive(Debug)]
pub struct EncryptedCluster {
    port: u16,
}

impl EncryptedCluster {
    /// Starts it with this certificate and key, PEM; it has the login `anteroom_app`, and no tables.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn start(certificate: &str, key: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let variables = [
            ("ANTEROOM_TEST_CERTIFICATE".to_owned(), certificate.to_owned()),
            ("ANTEROOM_TEST_KEY".to_owned(), key.to_owned()),
            ("ANTEROOM_TEST_PORT".to_owned(), port.to_string()),
        ];
        let start = move || {
            let variables: Vec<(&str, &str)> =
                variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            Cluster::start_with(Waits::Nothing, &variables)
        };
        let cluster = tokio::task::spawn_blocking(start).await.expect("the cluster starts");
        // The socket's name holds the port.
        let mut admin = connect(&format!("{}&port={port}", cluster.url("postgres", "postgres"))).await;
        admin
            .execute("CREATE ROLE anteroom_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE")
            .await
            .expect("a new cluster can be prepared");
        drop(admin.close().await);
        // Like the shared one it lives until the process ends: its keeper waits for that.
        std::mem::forget(cluster);
        Self { port }
    }

    /// Where `user` reaches `database`, without what TLS needs.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:{}/{database}", self.port)
    }
}

/// Holds a cluster that belongs to one test, and takes it away.
#[derive(Debug)]
pub struct Outage(Cluster);

impl Outage {
    /// Ends the server at once, as a crash does.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn begin(self) -> Self {
        self.ask(Cluster::crash).await
    }

    /// Starts it again, and comes back when it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn end(self) -> Self {
        self.ask(Cluster::restart).await
    }

    async fn ask(mut self, what: fn(&mut Cluster)) -> Self {
        let asked = tokio::task::spawn_blocking(move || {
            what(&mut self.0);
            self
        });
        asked.await.expect("the keeper answers")
    }
}

async fn connect(url: &str) -> PgConnection {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("the helper's own URLs parse");
    options.disable_statement_logging().connect().await.expect("the test cluster takes connections")
}

/// A program that comes with PostgreSQL, such as `pgbench`.
///
/// # Panics
/// When PostgreSQL is not installed.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    cluster::programs().join(name)
}

fn start(waits: Waits) -> Cluster {
    let cluster = Cluster::start(waits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut admin = connect(&cluster.url("postgres", "postgres")).await;
        for statement in [
            "CREATE DATABASE anteroom_template",
            "CREATE ROLE anteroom_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE",
        ] {
            admin.execute(statement).await.expect("a new cluster can be prepared");
        }
        let mut template = connect(&cluster.url("postgres", TEMPLATE)).await;
        MIGRATIONS.run(&mut template).await.expect("the migrations apply to an empty database");
        template
            .execute("GRANT anteroom_server, anteroom_recorder TO anteroom_app")
            .await
            .expect("the migrations made the roles");
        drop(template.close().await);
        drop(admin.close().await);
    });
    cluster
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row;

    #[tokio::test]
    async fn two_databases_are_apart_and_the_server_owns_nothing() {
        let (one, two) = tokio::join!(TestDatabase::fresh(), TestDatabase::fresh());
        assert_ne!(one.name, two.name);
        one.owner().await.execute("CREATE TABLE only_here (n int)").await.unwrap();
        let seen = two.owner().await.fetch_one("SELECT to_regclass('only_here') IS NULL").await.unwrap();
        assert!(seen.get::<bool, _>(0));
        let mut server = one.server().await;
        let owned = server
            .fetch_one("SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname IN (current_user, session_user)")
            .await
            .unwrap();
        assert_eq!(owned.get::<i64, _>(0), 0);
    }
}
