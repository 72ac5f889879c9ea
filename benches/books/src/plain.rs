//! What plain PostgreSQL does in the same time: the statements of one act are read from the server's own log, and `pgbench` sends as many
//! of the same kinds, prepared, from as many clients, to the same cluster.

use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use std::process::Stdio;
use std::time::Duration;

use sqlx::{Connection, Executor};
use test_postgres::TestDatabase;

use crate::Error;
use crate::acts::{self, Act};
use crate::house::House;

/// Rows that selects and updates find.
const ROWS: u32 = 10_000;

/// What a statement does, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Begin,
    Commit,
    /// `SELECT set_config(...)`.
    Set,
    /// One row by its key.
    Select,
    /// The row that all writers of a practice wait for.
    LockHead,
    UpdateHead,
    Insert,
    /// One row by its key.
    Update,
}

impl Kind {
    fn of(statement: &str) -> Self {
        let text = statement.trim_start().to_lowercase();
        let is_head = text.contains("audit_head");
        if text.starts_with("begin") || text.starts_with("start") {
            Self::Begin
        } else if text.starts_with("commit") {
            Self::Commit
        } else if text.starts_with("set ") || text.contains("set_config(") {
            Self::Set
        } else if text.starts_with("insert") {
            Self::Insert
        } else if text.starts_with("update") {
            if is_head { Self::UpdateHead } else { Self::Update }
        } else if is_head {
            Self::LockHead
        } else {
            Self::Select
        }
    }

    const fn script(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN;",
            Self::Commit => "END;",
            Self::Set => "SELECT set_config('app.org', 'b1946ac9-2492-4d23-8f2a-000000000000', true);",
            Self::Select => "SELECT note, n FROM plain_row WHERE id = :row;",
            Self::LockHead => "SELECT seq, hash FROM plain_head WHERE id = :practice FOR UPDATE;",
            Self::UpdateHead => "UPDATE plain_head SET seq = seq + 1, hash = sha256(hash) WHERE id = :practice;",
            Self::Insert => {
                "INSERT INTO plain_log (practice, note, body, one, two) VALUES (:practice, 'a note of some forty characters and more', '{\"count\": 1}', sha256('one'), sha256('two'));"
            }
            Self::Update => "UPDATE plain_row SET n = n + 1 WHERE id = :row;",
        }
    }
}

/// The statements of one act, in order.
pub(crate) async fn statements_of(database: &TestDatabase, act: Act) -> Result<Vec<Kind>, Error> {
    let mut owner = sqlx::PgConnection::connect(&database.owner_url).await?;
    let say = async |owner: &mut sqlx::PgConnection, to: &str| {
        let statement = format!("ALTER DATABASE {} SET log_statement = '{to}'", database.name);
        owner.execute(sqlx::AssertSqlSafe(statement)).await
    };
    say(&mut owner, "all").await?;
    // One connection: everything that the act says is on it, and prepared already by the acts before.
    let house = House::open(database, 1, 1).await?;
    acts::prepare(&house, act, Duration::from_millis(1), 8).await?;
    for number in 0..3 {
        acts::act(&house, act, number).await?;
    }
    let mut log = std::fs::File::open(&database.log)?;
    log.seek(SeekFrom::End(0))?;
    acts::act(&house, act, 3).await?;
    let mut text = String::new();
    log.read_to_string(&mut text)?;
    house.close().await;
    say(&mut owner, "none").await?;
    let statements = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("LOG:  ")?;
        rest.strip_prefix("statement: ")
            .or_else(|| rest.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text))
    });
    let kinds: Vec<Kind> = statements.map(Kind::of).collect();
    if kinds.is_empty() { Err("the log of PostgreSQL names no statement".into()) } else { Ok(kinds) }
}

/// Runs `pgbench` with these statements; transactions a second.
pub(crate) async fn run(
    database: &TestDatabase,
    statements: &[Kind],
    practices: usize,
    span: Duration,
    clients: usize,
) -> Result<f64, Error> {
    let mut owner = sqlx::PgConnection::connect(&database.owner_url).await?;
    let tables = format!(
        "CREATE TABLE plain_row (id int PRIMARY KEY, note text NOT NULL, n int NOT NULL);
         CREATE TABLE plain_head (id int PRIMARY KEY, seq bigint NOT NULL, hash bytea NOT NULL);
         CREATE TABLE plain_log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, practice int NOT NULL, at timestamptz NOT NULL DEFAULT now(),
             note text NOT NULL, body jsonb NOT NULL, one bytea NOT NULL, two bytea NOT NULL);
         CREATE INDEX plain_log_by_practice ON plain_log (practice, at);
         INSERT INTO plain_row SELECT n, repeat('x', 200), 0 FROM generate_series(1, {ROWS}) n;
         INSERT INTO plain_head SELECT n, 0, sha256('') FROM generate_series(1, {practices}) n;"
    );
    owner.execute(sqlx::AssertSqlSafe(tables)).await?;
    owner.execute("VACUUM ANALYZE").await?;
    let mut script = format!("\\set row random(1, {ROWS})\n\\set practice random(1, {practices})\n");
    for statement in statements {
        writeln!(script, "{}", statement.script())?;
    }
    let folder = std::env::temp_dir().join(format!("bench-books-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("plain.sql");
    std::fs::write(&file, script)?;
    let output = tokio::process::Command::new(test_postgres::program("pgbench"))
        .arg("--no-vacuum")
        .args(["--protocol", "prepared", "--username", "postgres", "--jobs", "2"])
        .arg("--client")
        .arg(clients.to_string())
        .arg("--time")
        .arg(span.as_secs().max(1).to_string())
        .arg("--host")
        .arg(&database.socket)
        .arg("--file")
        .arg(&file)
        .arg(&database.name)
        .stdin(Stdio::null())
        .output()
        .await?;
    std::fs::remove_dir_all(&folder)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    rate.ok_or_else(|| "pgbench says no rate".into())
}
