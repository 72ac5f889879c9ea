//! The private PostgreSQL cluster of `anteroom dev`: made, started, watched and stopped with this process.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::account::Account;

/// The oldest PostgreSQL that the migrations are written for.
const OLDEST_VERSION: u32 = 15;

/// The port is only the socket file's suffix: no TCP listener is opened.
const PORT: u16 = 5432;

/// Linux allows 107 bytes for a unix socket's path; this much of it is the file's name and a slash.
const LONGEST_SOCKET_DIR: usize = 107 - "/.s.PGSQL.5432.lock".len();

/// How long a cluster may take until it accepts connections. Recovery after a power cut is the slow case.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a fast shutdown (roll back, checkpoint, exit) may take before an immediate one follows. `anteroom dev` ends within 5 s.
const STOP_LIMIT: Duration = Duration::from_millis(2500);

/// The user that owns the database and runs migrations. It is no superuser.
const OWNER: &str = "anteroom_owner";

/// The user that the roles log in as. It owns nothing; its rights come from the roles that migrations make.
const APP: &str = "anteroom_app";

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The server programs are not installed.
    #[error("PostgreSQL {OLDEST_VERSION} or later is not installed: on Debian, `apt-get install postgresql-15`")]
    NotInstalled,
    /// Files of the cluster could not be made or read.
    #[error("cannot prepare the database in {path}: {source}")]
    Files {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program did not run, or ended with an error.
    #[error("{program} failed: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its last lines.
        output: String,
    },
    /// The server did not accept connections in time.
    #[error("PostgreSQL did not start within {} s: {output}", START_LIMIT.as_secs())]
    TooSlow {
        /// Its last lines.
        output: String,
    },
    /// Making the users and the database failed.
    #[error("cannot set up the database: {0}")]
    Setup(#[from] sqlx::Error),
    /// There is no unprivileged user to run as.
    #[error(transparent)]
    Account(#[from] super::account::Error),
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Postgres {
    child: Child,
    socket_dir: PathBuf,
    /// A socket folder outside the data directory, removed at the end.
    runtime_dir: Option<PathBuf>,
}

impl Postgres {
    /// Starts the cluster under `data_dir`, making it first if it is not there, with its users and an empty database.
    ///
    /// Must be awaited on the main thread: the kernel stops the server when the thread that started it ends.
    /// Without `durable`, a power cut may lose data; throw-away clusters of tests start faster that way.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, cannot run here, or does not come up in time.
    pub(crate) async fn start(data_dir: &Path, durable: bool) -> Result<Self, Error> {
        let bin = bin_dir().ok_or(Error::NotInstalled)?;
        let account = Account::unprivileged()?;
        let home = cluster_home(data_dir, account.as_ref())?;
        let cluster = home.join("cluster");
        if !cluster.join("PG_VERSION").exists() {
            make_cluster(&bin, &home, &cluster, account.as_ref(), durable).await?;
        }
        stop_orphan(&cluster)?;

        let (socket_dir, is_runtime) = socket_dir(&home, account.as_ref())?;
        let mut server = program(&bin.join("postgres"), account.as_ref());
        server.arg("-D").arg(&cluster);
        for setting in settings(&socket_dir, durable) {
            server.arg("-c").arg(setting);
        }
        let mut child = server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Program { program: "postgres", output: source.to_string() })?;
        let Some(log) = child.stderr.take() else {
            return Err(Error::Program { program: "postgres", output: "its log cannot be read".to_owned() });
        };
        let (ready, is_ready) = oneshot::channel();
        let reader = tokio::spawn(read_log(log, ready));
        match timeout(START_LIMIT, is_ready).await {
            Ok(Ok(())) => {}
            // The log ended before the server was ready: it exited.
            Ok(Err(_)) => {
                let output = reader.await.unwrap_or_default();
                return Err(Error::Program { program: "postgres", output });
            }
            Err(_) => {
                drop(child.kill().await);
                let output = reader.await.unwrap_or_default();
                return Err(Error::TooSlow { output });
            }
        }
        let postgres = Self { child, runtime_dir: is_runtime.then(|| socket_dir.clone()), socket_dir };
        match postgres.make_database().await {
            Ok(()) => Ok(postgres),
            Err(error) => {
                postgres.stop().await;
                Err(error.into())
            }
        }
    }

    /// Where migrations run.
    pub(crate) fn owner_url(&self) -> String {
        self.url(OWNER, "anteroom")
    }

    /// Where the roles work.
    pub(crate) fn app_url(&self) -> String {
        self.url(APP, "anteroom")
    }

    /// Lets the login of the server act as the roles that migrations made. To be called after them.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn grant_roles(&self) -> Result<(), Error> {
        let pool = one_connection(&self.url("postgres", "anteroom")).await?;
        let granted = sqlx::query("GRANT anteroom_server, anteroom_recorder TO anteroom_app").execute(&pool).await;
        pool.close().await;
        granted?;
        Ok(())
    }

    /// Returns when the server has ended by itself, which it never does in order.
    pub(crate) async fn ended(&mut self) {
        drop(self.child.wait().await);
    }

    /// Stops the server: in order if it can, at once if it cannot. Either way nothing committed is lost.
    pub(crate) async fn stop(mut self) {
        for (signal, limit) in [(Signal::INT, STOP_LIMIT), (Signal::QUIT, Duration::from_secs(1))] {
            let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { break };
            let _ = kill_process(pid, signal);
            if timeout(limit, self.child.wait()).await.is_ok() {
                break;
            }
            tracing::warn!(?signal, "PostgreSQL did not stop in time");
        }
        // A no-op for a server that has ended.
        drop(self.child.kill().await);
        if let Some(dir) = &self.runtime_dir {
            drop(std::fs::remove_dir_all(dir));
        }
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:{PORT}/{database}?host={}", percent_encoded(&self.socket_dir))
    }

    async fn make_database(&self) -> Result<(), sqlx::Error> {
        let pool = one_connection(&self.url("postgres", "postgres")).await?;
        let made = async {
            sqlx::query(
                "DO $$ BEGIN
                    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anteroom_owner') THEN
                        CREATE ROLE anteroom_owner LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS;
                    END IF;
                    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anteroom_app') THEN
                        CREATE ROLE anteroom_app LOGIN NOSUPERUSER NOBYPASSRLS;
                    END IF;
                END $$",
            )
            .execute(&pool)
            .await?;
            let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'anteroom')")
                .fetch_one(&pool)
                .await?;
            if !exists {
                // CREATE DATABASE cannot run inside a block, hence the question before it.
                sqlx::query("CREATE DATABASE anteroom OWNER anteroom_owner").execute(&pool).await?;
            }
            Ok(())
        }
        .await;
        pool.close().await;
        made
    }
}

async fn one_connection(url: &str) -> Result<sqlx::PgPool, sqlx::Error> {
    sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(url).await
}

/// The folder of the newest installed server's programs.
pub(crate) fn bin_dir() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(version, bin)| *version >= OLDEST_VERSION && bin.join("initdb").exists())
        .max_by_key(|(version, _)| *version)
        .map(|(_, bin)| bin)
}

/// The folder of everything that belongs to the cluster: `postgres` in the data directory. Where the unprivileged user could not reach that
/// (a data directory below /root), a folder under /var/lib whose name is kept in the data directory.
fn cluster_home(data_dir: &Path, account: Option<&Account>) -> Result<PathBuf, Error> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Files { path, source }
    };
    let marker = data_dir.join("postgres.id");
    let home = match (account, std::fs::read_to_string(&marker)) {
        (Some(_), Ok(id)) => fallback_home(id.trim()),
        (Some(account), Err(_)) => {
            // Whoever stands in front of this folder may pass through it, not look into it; what is secret in it has modes of its own.
            let mode = std::fs::metadata(data_dir).map_err(at(data_dir))?.mode();
            std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode((mode & 0o7777) | 0o001))
                .map_err(at(data_dir))?;
            if account.can_reach(data_dir) {
                data_dir.join("postgres")
            } else {
                let id = uuid::Uuid::new_v4().simple().to_string();
                std::fs::write(&marker, &id).map_err(at(&marker))?;
                fallback_home(&id)
            }
        }
        (None, _) => data_dir.join("postgres"),
    };
    make_private_dir(&home, account).map_err(at(&home))?;
    Ok(home)
}

fn fallback_home(id: &str) -> PathBuf {
    // The id is read from a file: only a plain word of it becomes part of a path.
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    Path::new("/var/lib/anteroom-dev").join(id)
}

/// Makes a folder for the cluster's user alone. Ancestors that are missing are made for passing through.
fn make_private_dir(dir: &Path, account: Option<&Account>) -> std::io::Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let owner = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
    if let Some(account) = account {
        let found = std::fs::symlink_metadata(dir)?;
        // Somebody else's folder, or a link, in a shared place is not ours to take.
        if found.is_dir() && (found.uid() == 0 || found.uid() == account.uid) {
            chown(dir, Some(account.uid), Some(account.gid))?;
        }
    }
    let found = std::fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != owner {
        return Err(std::io::Error::new(ErrorKind::PermissionDenied, "it belongs to somebody else"));
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

/// The folder of the unix socket, and whether it lies outside the cluster's home because that path is too long or too odd to be a setting.
fn socket_dir(home: &Path, account: Option<&Account>) -> Result<(PathBuf, bool), Error> {
    let inside = home.join("s");
    let text = inside.to_str().unwrap_or_default();
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let (dir, is_runtime) = if is_plain && text.len() <= LONGEST_SOCKET_DIR {
        (inside, false)
    } else {
        (std::env::temp_dir().join(format!("anteroom-{}", uuid::Uuid::new_v4().simple())), true)
    };
    make_private_dir(&dir, account).map_err(|source| Error::Files { path: dir.clone(), source })?;
    Ok((dir, is_runtime))
}

async fn make_cluster(
    bin: &Path,
    home: &Path,
    cluster: &Path,
    account: Option<&Account>,
    durable: bool,
) -> Result<(), Error> {
    // A half-made cluster (killed during initdb) would be refused: it is made under another name and moved when it is whole.
    let draft = home.join("cluster.draft");
    if draft.exists() {
        std::fs::remove_dir_all(&draft).map_err(|source| Error::Files { path: draft.clone(), source })?;
    }
    let mut initdb = program(&bin.join("initdb"), account);
    initdb.arg("-D").arg(&draft);
    // Whoever may open the socket may log in: the socket's folder is closed to everybody else.
    initdb.args(["-U", "postgres", "--auth-local=trust", "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8"]);
    if !durable {
        initdb.arg("--no-sync");
    }
    let output = initdb
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| Error::Program { program: "initdb", output: source.to_string() })?;
    if !output.status.success() {
        return Err(Error::Program {
            program: "initdb",
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    std::fs::rename(&draft, cluster).map_err(|source| Error::Files { path: cluster.to_owned(), source })
}

/// A program of PostgreSQL as the cluster's user, told by the kernel to stop when we are gone, however we went.
fn program(path: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "INT"]);
    if let Some(account) = account {
        command.arg(format!("--reuid={}", account.uid)).arg(format!("--regid={}", account.gid)).arg("--clear-groups");
    }
    command.arg("--").arg(path).current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    // A Ctrl-C in the terminal reaches the whole group; the server must outlive the roles that write to it.
    command.process_group(0);
    command
}

fn settings(socket_dir: &Path, durable: bool) -> Vec<String> {
    let mut settings: Vec<String> = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "max_connections=100",
        "shared_buffers=32MB",
        "timezone=UTC",
        "log_timezone=UTC",
        "lc_messages=C",
        "logging_collector=off",
        "log_destination=stderr",
        "log_line_prefix=",
        // No statement and no row ever reaches the log: they hold names.
        "log_min_error_statement=panic",
        "log_error_verbosity=terse",
        "log_parameter_max_length=0",
        "log_parameter_max_length_on_error=0",
    ]
    .map(str::to_owned)
    .to_vec();
    settings.push(format!("port={PORT}"));
    settings.push(format!("unix_socket_directories={}", socket_dir.display()));
    if !durable {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings
}

/// Reads the server's log to its end, so that the server never blocks on it, and says when connections are accepted.
/// Returns the last lines before the server was ready: they explain why it did not become so.
async fn read_log(log: ChildStderr, ready: oneshot::Sender<()>) -> String {
    let mut ready = Some(ready);
    let mut last = VecDeque::new();
    let mut lines = BufReader::new(log).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains("database system is ready to accept connections") {
            if let Some(ready) = ready.take() {
                // Nobody waits any more when the start was given up.
                let _ = ready.send(());
            }
        } else if ready.is_some() {
            if last.len() == 10 {
                last.pop_front();
            }
            last.push_back(line);
        } else if line.starts_with("FATAL") || line.starts_with("PANIC") {
            tracing::warn!(target: "anteroom::postgres", "{line}");
        }
    }
    last.into_iter().fold(String::new(), |mut text, line| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
        text
    })
}

/// Ends a server that an earlier process left behind on this cluster, and clears a lock file whose process id now is somebody else's.
/// The caller holds the data directory's lock, so no living `anteroom dev` owns that server.
fn stop_orphan(cluster: &Path) -> Result<(), Error> {
    let lock = cluster.join("postmaster.pid");
    let Ok(text) = std::fs::read_to_string(&lock) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()).and_then(Pid::from_raw);
    let files = |source: std::io::Error| Error::Files { path: lock.clone(), source };
    let Some(pid) = pid else { return std::fs::remove_file(&lock).map_err(files) };
    // A pidfd names this very process, even if the id is used again meanwhile.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return Ok(()) };
    let is_ours = std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()))
        .is_ok_and(|cwd| cwd == cluster.canonicalize().unwrap_or_else(|_| cluster.to_owned()));
    if !is_ours {
        return std::fs::remove_file(&lock).map_err(files);
    }
    tracing::info!("a PostgreSQL server of an earlier run is still here; stopping it");
    for (signal, limit) in [(Signal::INT, 5), (Signal::QUIT, 5), (Signal::KILL, START_LIMIT.as_secs())] {
        let _ = kill_process(pid, signal);
        // The handle becomes readable when the process ends.
        let mut handles = [PollFd::new(&handle, PollFlags::IN)];
        let limit = Timespec { tv_sec: limit.cast_signed(), tv_nsec: 0 };
        // Blocks this thread: it is the main one, at start, and nothing else can go on before the old server is gone.
        match poll(&mut handles, Some(&limit)) {
            Ok(0) | Err(_) => {}
            Ok(_) => return Ok(()),
        }
    }
    Err(Error::Program { program: "postgres", output: "a server of an earlier run does not stop".to_owned() })
}

fn percent_encoded(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests;
