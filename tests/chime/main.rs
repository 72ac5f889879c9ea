//! AWS's own SDKs against the real server: boto3, the JavaScript clients and the Rust client, as an application uses them. Nothing in
//! them is told of this server but the address, by the variables that AWS documents.

#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on ends by a panic; helpers outside of #[test] count as well"
)]

mod attendee;
mod capture;
#[path = "../stories/support/http.rs"]
#[allow(dead_code, reason = "shared with the stories")]
mod http;
#[path = "../stories/support/media.rs"]
#[allow(dead_code, reason = "shared with the stories")]
mod media;
#[path = "../stories/support/peer.rs"]
#[allow(dead_code, reason = "shared with the stories")]
mod peer;
#[path = "../stories/support/person.rs"]
#[allow(dead_code, reason = "shared with the stories")]
mod person;
mod rust;
#[path = "../stories/support/server.rs"]
#[allow(dead_code, reason = "shared with the stories")]
mod server;
#[path = "../stories/support/socket.rs"]
#[allow(dead_code, reason = "shared with the stories")]
mod socket;
mod webhook;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use server::Server;

/// How long anything that should happen may take. Generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Awaits what should happen; says what did not.
pub(crate) async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happening).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// An access key of the server's demo practice.
#[derive(Clone, Debug)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// `anteroom chime-key` beside the running server.
async fn chime_key(server: &Server, arguments: &[&str]) -> std::process::Output {
    let data_dir = server.data_dir().to_str().unwrap();
    server::command().arg("chime-key").args(arguments).args(["--data-dir", data_dir]).output().await.unwrap()
}

pub(crate) async fn make_key(server: &Server) -> AccessKey {
    let output = chime_key(server, &["create"]).await;
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    AccessKey { id: text("accessKeyId"), secret: text("secretAccessKey") }
}

/// A script of this folder with the variables that an application would have. It asserts by itself, and says what is wrong.
async fn run_script(mut command: Command, server: &Server, key: &AccessKey, more: &[(&str, &str)]) {
    let address = format!("http://{}", server.addr);
    let output = command
        .env("AWS_ENDPOINT_URL_CHIME_SDK_MEETINGS", &address)
        .env("AWS_ENDPOINT_URL_CHIME_SDK_MEDIA_PIPELINES", &address)
        .env("AWS_ACCESS_KEY_ID", &key.id)
        .env("AWS_SECRET_ACCESS_KEY", &key.secret)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon("the end of the script", output).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A variable, or where `make test` puts the thing.
fn tool(variable: &str, path: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| root().join(path), PathBuf::from)
}

/// No throttling, so that the scripts need not wait; the limit itself has a script's case of its own.
const FAST: (&str, &str) = ("ANTEROOM_CHIME_BURST", "100000");

#[tokio::test]
async fn boto3() {
    let server = Server::start_with(&[FAST, ("ANTEROOM_CHIME_BUCKETS", "*/captures")]).await;
    let key = make_key(&server).await;
    let mut python = Command::new(tool("ANTEROOM_TEST_PYTHON", ".cache/venv/bin/python"));
    python.arg(root().join("tests/chime/sdk.py"));
    run_script(python, &server, &key, &[]).await;
}

#[tokio::test]
async fn javascript() {
    let server = Server::start_with(&[FAST, ("ANTEROOM_CHIME_BUCKETS", "*/captures")]).await;
    let key = make_key(&server).await;
    let mut node = Command::new("node");
    node.arg(root().join("tests/chime/sdk.mjs"));
    run_script(node, &server, &key, &[]).await;
}

/// A meeting that nobody joins ends; so does one that has lasted long enough.
#[tokio::test]
async fn meetings_end_by_themselves() {
    for limit in ["ANTEROOM_CHIME_SILENCE", "ANTEROOM_CHIME_LONGEST"] {
        let server = Server::start_with(&[FAST, (limit, "1s")]).await;
        let key = make_key(&server).await;
        let mut python = Command::new(tool("ANTEROOM_TEST_PYTHON", ".cache/venv/bin/python"));
        python.arg(root().join("tests/chime/lifetime.py"));
        run_script(python, &server, &key, &[]).await;
    }
}

/// So many in a second, and so many at once.
#[tokio::test]
async fn too_many_requests_are_throttled() {
    let server = Server::start_with(&[("ANTEROOM_CHIME_RATE", "1"), ("ANTEROOM_CHIME_BURST", "5")]).await;
    let key = make_key(&server).await;
    let mut python = Command::new(tool("ANTEROOM_TEST_PYTHON", ".cache/venv/bin/python"));
    python.arg(root().join("tests/chime/throttling.py"));
    run_script(python, &server, &key, &[]).await;
}

/// The processes of a server's database.
fn database(server: &Server) -> Vec<Pid> {
    let children = |pid: Pid| -> Vec<Pid> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let numbers = lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>());
        numbers.filter_map(Pid::from_raw).collect()
    };
    let name = |pid: Pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let main: Vec<Pid> = children(server.pid()).into_iter().filter(|pid| name(*pid).trim() == "postgres").collect();
    main.iter().copied().chain(main.iter().flat_map(|pid| children(*pid))).collect()
}

/// Processes that stand still until this is dropped.
struct Standstill(Vec<Pid>);

impl Standstill {
    fn of(processes: Vec<Pid>) -> Self {
        let still = Self(processes);
        still.send(Signal::STOP);
        still
    }

    fn send(&self, signal: Signal) {
        for process in &self.0 {
            // One of them may have ended meanwhile.
            let _ = kill_process(*process, signal);
        }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        self.send(Signal::CONT);
    }
}

async fn run_failing(server: &Server, key: &AccessKey, exception: &str) {
    let mut python = Command::new(tool("ANTEROOM_TEST_PYTHON", ".cache/venv/bin/python"));
    python.arg(root().join("tests/chime/failing.py")).arg(exception);
    run_script(python, server, key, &[]).await;
}

/// While the database does not answer, applications are told to come back; afterwards everything is as before.
#[tokio::test]
async fn a_database_that_stands_still_makes_the_service_unavailable() {
    let server = Server::start_with(&[FAST]).await;
    let key = make_key(&server).await;
    let database = database(&server);
    assert!(!database.is_empty(), "no database was found");
    let still = Standstill::of(database);
    run_failing(&server, &key, "ServiceUnavailableException").await;
    drop(still);
    rust::create_and_delete(&server, &key).await.unwrap();
}

/// A database that was put beside the keys of another server: nobody's signature can be checked, and that is no fault of the caller's.
#[tokio::test]
async fn keys_of_another_server_are_a_failure_of_the_service() {
    let server = Server::start_with(&[FAST]).await;
    let key = make_key(&server).await;
    std::fs::remove_file(server.data_dir().join("keys/lookup.key")).unwrap();
    let server = server.crash_and_restart(&[FAST]).await;
    run_failing(&server, &key, "ServiceFailureException").await;
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let server = Server::start_with(&[FAST]).await;
    let key = make_key(&server).await;
    assert_eq!((key.id.len(), key.secret.len()), (20, 40));
    rust::create_and_delete(&server, &key).await.unwrap();
    let listed = chime_key(&server, &["list"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["accessKeyId"], key.id.as_str());
    assert_eq!(listed[0]["revokedAt"], Value::Null);
    assert!(!listed.to_string().contains(&key.secret));
    assert!(chime_key(&server, &["revoke", &key.id]).await.status.success());
    let refused = rust::create_and_delete(&server, &key).await.unwrap_err();
    assert_eq!(refused, "ForbiddenException");
    let unknown = chime_key(&server, &["revoke", "ANTEAAAAAAAAAAAAAAAA"]).await;
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("no such access key"));
}
