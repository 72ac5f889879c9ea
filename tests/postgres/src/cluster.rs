//! Starts one PostgreSQL cluster in a temporary directory and ties its life to this process.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs the server and waits on standard input, which closes when the test process is gone; then stops it and cleans up.
/// Lines of its input: `stop` ends the server at once, as a crash does; `start` starts it again. It answers `done_`.
/// Arguments: the directory of the PostgreSQL programs, the cluster's directory, and what a commit waits for: see [`Waits`].
const KEEPER: &str = r#"
set -eu
bin=$1 dir=$2 waits=$3
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
case $waits in
nothing) printf '%s\n' 'fsync = off' 'synchronous_commit = off' 'full_page_writes = off' >>"$dir/data/postgresql.conf" ;;
system) printf '%s\n' 'fsync = off' >>"$dir/data/postgresql.conf" ;;
esac
"$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 start >>"$dir/log" 2>&1
echo ready
while read -r line; do
    case $line in
    stop) "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >>"$dir/log" 2>&1 ;;
    start) "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 start >>"$dir/log" 2>&1 ;;
    esac
    echo done_
done
"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
rm -rf "$dir/data" "$dir/log"
rmdir "$dir" 2>/dev/null || true
"#;

/// What a commit waits for before it is told to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waits {
    /// For nothing: the fastest. What was committed may be lost when the server ends.
    Nothing,
    /// For the operating system: it outlives the server, and not a power cut.
    System,
    /// For the disk, as a clinic's does.
    Disk,
}

impl Waits {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::System => "system",
            Self::Disk => "disk",
        }
    }
}

/// A running cluster. Holding it keeps the server alive; statics are never dropped, so the pipe's end at exit is what stops it.
#[derive(Debug)]
pub(crate) struct Cluster {
    directory: PathBuf,
    keeper: Child,
}

impl Cluster {
    /// Makes and starts a cluster, as the user `postgres` when this process is root: initdb refuses root.
    pub(crate) fn start(waits: Waits) -> Self {
        Self::start_with(waits, &[])
    }

    /// With more variables for the keeper: `ANTEROOM_TEST_CERTIFICATE`, `_KEY` and `_PORT` make it listen on TCP, by TLS alone.
    pub(crate) fn start_with(waits: Waits, variables: &[(&str, &str)]) -> Self {
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
        command
            .arg("keeper")
            .arg(&programs)
            .arg(&directory)
            .arg(waits.as_str())
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
        let mut line = [0; 6];
        let read = std::io::Read::read_exact(keeper.stdout.as_mut().expect("piped above"), &mut line);
        if read.is_err() || &line != b"ready\n" {
            let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            panic!("PostgreSQL did not start: {log}");
        }
        Self { directory, keeper }
    }

    /// Ends the server at once, without a word to those who are connected.
    pub(crate) fn crash(&mut self) {
        self.tell("stop");
    }

    /// Starts it again.
    pub(crate) fn restart(&mut self) {
        self.tell("start");
    }

    fn tell(&mut self, what: &str) {
        let input = self.keeper.stdin.as_mut().expect("piped at the start");
        std::io::Write::write_all(input, format!("{what}\n").as_bytes()).expect("the keeper lives");
        let mut line = [0; 6];
        let read = std::io::Read::read_exact(self.keeper.stdout.as_mut().expect("piped at the start"), &mut line);
        assert!(read.is_ok() && &line == b"done_\n", "PostgreSQL did not {what}");
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
