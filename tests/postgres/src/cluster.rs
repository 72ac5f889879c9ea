//! Starts one PostgreSQL cluster in a temporary directory and ties its life to this process.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs the server and waits on standard input, which closes when the test process is gone; then stops it and cleans up.
/// Arguments: the directory of the PostgreSQL programs, the cluster's directory, and whether it waits for the disk.
const KEEPER: &str = r#"
set -eu
bin=$1 dir=$2 durable=$3
"$bin/initdb" -D "$dir/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$dir/log" 2>&1
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
max_connections = 300
shared_buffers = 64MB
CONF
if [ -n "${ANTEROOM_TEST_CERTIFICATE:-}" ]; then
    (umask 077
    printf '%s' "$ANTEROOM_TEST_CERTIFICATE" >"$dir/data/server.crt"
    printf '%s' "$ANTEROOM_TEST_KEY" >"$dir/data/server.key")
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $ANTEROOM_TEST_PORT
ssl = on
CONF
    sed -i 's/^host /hostssl /' "$dir/data/pg_hba.conf"
fi
[ "$durable" = yes ] || cat >>"$dir/data/postgresql.conf" <<CONF
fsync = off
synchronous_commit = off
full_page_writes = off
CONF
"$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 start >>"$dir/log" 2>&1
echo ready
cat >/dev/null || true
"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
rm -rf "$dir/data" "$dir/log"
rmdir "$dir" 2>/dev/null || true
"#;

/// A running cluster. Holding it keeps the server alive; statics are never dropped, so the pipe's end at exit is what stops it.
pub(crate) struct Cluster {
    directory: PathBuf,
    _keeper: Child,
}

impl Cluster {
    /// Makes and starts a cluster, as the user `postgres` when this process is root: initdb refuses root.
    /// One that is not durable is faster, and may lose its data by a power cut.
    pub(crate) fn start(is_durable: bool) -> Self {
        Self::start_with(is_durable, &[])
    }

    /// With more variables for the keeper: `ANTEROOM_TEST_CERTIFICATE`, `_KEY` and `_PORT` make it listen on TCP, by TLS alone.
    pub(crate) fn start_with(is_durable: bool, variables: &[(&str, &str)]) -> Self {
        let programs = programs();
        // /tmp, not TMPDIR: a unix socket's path holds at most 107 bytes.
        let directory =
            tempfile::Builder::new().prefix("apg").tempdir_in("/tmp").expect("a temporary directory").keep();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("own directory");
        let mut command = if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&directory).status();
            assert!(
                owned.is_ok_and(|status| status.success()),
                "the user `postgres` is missing: install postgresql-15"
            );
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "sh", "-c", KEEPER]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", KEEPER]);
            command
        };
        let durable = if is_durable { "yes" } else { "no" };
        command
            .arg("keeper")
            .arg(&programs)
            .arg(&directory)
            .arg(durable)
            .env("HOME", &directory)
            .current_dir(&directory)
            .envs(variables.iter().copied());
        // A group of its own: an interrupt typed at the terminal must not stop the keeper before it has cleaned up.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a shell can be started");
        let mut line = [0; 5];
        let read = std::io::Read::read_exact(keeper.stdout.as_mut().expect("piped above"), &mut line);
        if read.is_err() || &line != b"ready" {
            let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            panic!("PostgreSQL did not start: {log}");
        }
        Self { directory, _keeper: keeper }
    }

    /// What the server writes its log to.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The directory of its socket.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where `user` reaches `database`.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost/{database}?host={}", self.directory.display())
    }
}

/// Where Debian puts the server's programs, newest version first.
pub(crate) fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    found.retain(|path: &PathBuf| path.join("initdb").exists());
    found.sort();
    found.pop().expect("PostgreSQL is not installed: install the Debian package postgresql-15")
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(Path::new("/proc/self")).expect("procfs")) == 0
}
