//! The database: whether it answers, lets the program in with the right rights and no more, has all tables, and agrees about the time.

use std::collections::BTreeSet;
use std::time::Duration;

use signaling::SignalingConfig;
use signaling::clock::Clock;
use signaling::db::link::{self, Protection};
use signaling::db::{Db, MIGRATIONS};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection as _, Row as _};
use time::OffsetDateTime;
use tokio::time::timeout;
use wire::Redacted;

use super::Finding;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How far our clock and the database's may be apart before tokens and deadlines suffer.
const APART: Duration = Duration::from_secs(1);

const REACHED: &str = "a database that answers";
const RIGHTS: &str = "a database login with the right rights and no more";
const TABLES: &str = "all tables of this version";
const SAME_TIME: &str = "a clock that agrees with the database's";

pub(super) async fn look(config: &SignalingConfig) -> Vec<Finding> {
    let mut findings = vec![look_at_link(&config.database_url)];
    let mut connection = match connect(&config.database_url).await {
        Ok(connection) => connection,
        Err(trouble) => {
            findings.push(Finding::new(REACHED, Some(trouble)));
            return findings;
        }
    };
    findings.push(Finding::new(REACHED, None));
    findings.push(Finding::new(RIGHTS, rights(config).await));
    findings.push(look_at_clocks(&mut connection).await);
    let owner = match &config.migration_url {
        Some(url) => connect(url).await.map(Some),
        None => Ok(None),
    };
    findings.push(match owner {
        Ok(Some(mut owner)) => look_at_tables(&mut owner, true).await,
        Ok(None) => look_at_tables(&mut connection, false).await,
        Err(trouble) => Finding::new(TABLES, Some(format!("`migration_url`: {trouble}"))),
    });
    drop(connection.close().await);
    findings
}

fn look_at_link(url: &Redacted<String>) -> Finding {
    let trouble = match link::protection(url, "database_url") {
        Ok(Protection::Local | Protection::Verified) => None,
        Ok(Protection::Unverified | Protection::Nothing) => Some(
            "whoever is on the way could read along: end `database_url` with ?sslmode=verify-full&sslrootcert=/path/to/ca.pem"
                .to_owned(),
        ),
        Err(error) => Some(error.to_string()),
    };
    Finding::new("a link to the database that nobody else can read", trouble)
}

async fn connect(url: &Redacted<String>) -> Result<PgConnection, String> {
    let options: PgConnectOptions =
        url.reveal().parse().map_err(|_| "it is no URL of a PostgreSQL database".to_owned())?;
    let place = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| socket.display().to_string(),
    );
    let (login, database) = (options.get_username().to_owned(), options.get_database().unwrap_or_default().to_owned());
    match timeout(CONNECT_WITHIN, options.disable_statement_logging().connect()).await {
        Err(_) => Err(format!("{place} does not answer in time: does a firewall drop what is sent there?")),
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(sqlx::Error::Io(error))) => Err(format!(
            "nobody answers at {place} ({}): is PostgreSQL running, and does it listen there?",
            error.kind()
        )),
        Ok(Err(sqlx::Error::Tls(_))) => Err(format!(
            "TLS with {place} failed: is `sslrootcert` the authority of its certificate, and the name the one in it?"
        )),
        Ok(Err(sqlx::Error::Database(error))) => Err(match error.code().as_deref() {
            Some("28P01" | "28000") => {
                format!("{place} does not let {login} in: is the password right, and does pg_hba.conf allow it?")
            }
            Some("3D000") => {
                format!("{place} has no database {database}: CREATE DATABASE {database} OWNER anteroom_owner")
            }
            Some("53300") => format!("{place} has no connection left: raise max_connections"),
            code => format!("{place} refused with SQLSTATE {}", code.unwrap_or("none")),
        }),
        Ok(Err(_)) => Err(format!("what answers at {place} is no PostgreSQL")),
    }
}

/// What is wrong with the login; the very check that `serve` makes.
async fn rights(config: &SignalingConfig) -> Option<String> {
    let config = SignalingConfig { database_connections: 1, ..config.clone() };
    match Db::connect(&config, Clock::system()).await {
        Ok(db) => {
            db.close().await;
            None
        }
        Err(signaling::Error::Settings(trouble)) => Some(trouble),
        Err(error) => Some(format!("it cannot act as anteroom_server: `anteroom init` grants that ({error})")),
    }
}

async fn look_at_tables(connection: &mut PgConnection, is_owner: bool) -> Finding {
    let applied = match sqlx::query("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(connection).await {
        Ok(rows) => rows.iter().map(|row| row.get::<i64, _>(0)).collect::<BTreeSet<_>>(),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
            return Finding::new(TABLES, Some("there are none: run `anteroom init` with `migration_url`".to_owned()));
        }
        Err(_) if !is_owner => {
            return Finding::unknown(TABLES, "the program's login does not see it; set `migration_url` to look");
        }
        Err(error) => return Finding::new(TABLES, Some(format!("they cannot be looked at: {error}"))),
    };
    let known: BTreeSet<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    let due = known.difference(&applied).count();
    let trouble = if due > 0 {
        Some(format!(
            "{due} migrations are due: start `anteroom serve` with `migration_url`, or have the owner run them"
        ))
    } else if applied.difference(&known).next().is_some() {
        Some("the database is of a later version than this program: update the program".to_owned())
    } else {
        None
    };
    Finding::new(TABLES, trouble)
}

async fn look_at_clocks(connection: &mut PgConnection) -> Finding {
    let before = OffsetDateTime::now_utc();
    let asked = sqlx::query("SELECT clock_timestamp()").fetch_one(connection).await;
    let after = OffsetDateTime::now_utc();
    match asked {
        Ok(row) => Finding::new(SAME_TIME, apart(before, row.get(0), after)),
        Err(error) => Finding::unknown(SAME_TIME, error.to_string()),
    }
}

/// How far the database's clock is from ours, if too far; the time of the question itself is no difference.
pub(super) fn apart(before: OffsetDateTime, theirs: OffsetDateTime, after: OffsetDateTime) -> Option<String> {
    let difference = if theirs < before { before - theirs } else { theirs - after };
    (difference > APART).then(|| {
        format!(
            "they are {:.1} s apart: let both machines follow a time server (chrony or systemd-timesyncd)",
            difference.as_seconds_f64()
        )
    })
}
