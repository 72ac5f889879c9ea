//! The product as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use signaling::auth::StaffRole;
use signaling::auth::keys::{AccessGrant, Keys};
use signaling::ids::OrgId;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::soon;

/// `anteroom dev` on free ports, ready for visits. Dropping it stops it in the end; its data directory goes with the last holder.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: String,
    data: Arc<TempDir>,
    /// The practice of a server that has no demo practice.
    org: Option<OrgId>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more variables in its environment.
    pub(crate) async fn start_with(env: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), env).await
    }

    async fn start_in(data: Arc<TempDir>, env: &[(&str, &str)]) -> Self {
        let mut dev = command();
        dev.args(["dev", "--http", "127.0.0.1:0", "--media-port", "0", "--no-fsync", "--data-dir"]).arg(data.path());
        Self::spawn(dev.envs(env.iter().copied()), data).await
    }

    /// `anteroom serve` as another node on the same database, keys and store, with a spool of its own.
    pub(crate) async fn beside(&self) -> Self {
        let data = Arc::clone(&self.data);
        let path = data.path();
        let mut serve = command();
        serve
            .arg("serve")
            .env("ANTEROOM_PROFILE", "development")
            .env("ANTEROOM_HTTP", "127.0.0.1:0")
            .env("ANTEROOM_MEDIA_UDP_PORT", "0")
            .env("ANTEROOM_ADDRESSES", "127.0.0.1")
            .env("ANTEROOM_DRAIN_LIMIT", "0s")
            .env("ANTEROOM_DATABASE_URL", std::fs::read_to_string(path.join("database.url")).unwrap())
            .env("ANTEROOM_KEY_DIR", path.join("keys"))
            .env("ANTEROOM_STORE_FOLDER", path.join("recordings"))
            .env("ANTEROOM_SPOOL", path.join("spool-beside"))
            .env("ANTEROOM_AUDIT_SPOOL", path.join("audit-spool-beside"))
            .env("ANTEROOM_AUDIT_ANCHOR_FOLDER", path.join("anchors"));
        Self::spawn(&mut serve, data).await
    }

    /// `anteroom serve` with a database that somebody else looks after, prepared by `anteroom init`.
    #[allow(dead_code, reason = "for one story alone")]
    pub(crate) async fn with_database(url: &str) -> Self {
        let data = Arc::new(TempDir::new().unwrap());
        let path = data.path();
        let with = |command: &mut Command| {
            command
                .env("ANTEROOM_HTTP", "127.0.0.1:0")
                .env("ANTEROOM_MEDIA_UDP_PORT", "0")
                .env("ANTEROOM_ADDRESSES", "127.0.0.1")
                .env("ANTEROOM_DRAIN_LIMIT", "0s")
                .env("ANTEROOM_DATABASE_URL", url)
                .env("ANTEROOM_KEY_DIR", path.join("keys"))
                .env("ANTEROOM_STORE_FOLDER", path.join("recordings"))
                .env("ANTEROOM_SPOOL", path.join("spool"))
                .env("ANTEROOM_AUDIT_SPOOL", path.join("audit-spool"))
                .env("ANTEROOM_AUDIT_ANCHOR_FOLDER", path.join("anchors"));
        };
        let mut init = command();
        with(init.args(["init", "--name", "Story practice", "--phone", "+1 555 0100"]));
        let made = init.output().await.unwrap();
        assert!(made.status.success(), "{made:?}");
        let org = String::from_utf8(made.stdout).unwrap().trim().parse().unwrap();
        let mut serve = command();
        with(serve.arg("serve").env("ANTEROOM_PROFILE", "development"));
        let server = Self::spawn(&mut serve, Arc::clone(&data)).await;
        Self { org: Some(org), ..server }
    }

    async fn spawn(command: &mut Command, data: Arc<TempDir>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = soon("the line `ready http://ADDR`", lines.next_line()).await.unwrap();
        let Some(ready) = ready else { panic!("the server ended before it was ready: {:?}", child.wait().await) };
        let addr =
            ready.strip_prefix("ready http://").unwrap_or_else(|| panic!("not the ready line: {ready}")).to_owned();
        Self { child, addr, data, org: None }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// An access token of the development issuer.
    pub(crate) async fn token(&self, role: &str, sub: &str) -> String {
        if let Some(org) = self.org {
            let keys = Keys::read(&self.data_dir().join("keys")).unwrap();
            let role = StaffRole::ALL.iter().copied().find(|known| known.as_str() == role).unwrap();
            let grant = AccessGrant { org, sub, role, name: None, lifetime: Duration::from_secs(3600) };
            return keys.mint_access(grant, OffsetDateTime::now_utc()).unwrap();
        }
        let output = token(&["--role", role, "--sub", sub, "--data-dir", self.data_dir().to_str().unwrap()]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Asks it to stop and waits until it has; the time it took.
    pub(crate) async fn stop(&mut self) -> Duration {
        self.ask_to_stop();
        self.ended().await
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap()
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until it has ended, as it should; how long that took.
    pub(crate) async fn ended(&mut self) -> Duration {
        let from = tokio::time::Instant::now();
        let status = soon("the end after SIGTERM", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}");
        from.elapsed()
    }

    /// Kills it as a power cut would, and starts it again on the same data.
    pub(crate) async fn crash_and_restart(mut self, env: &[(&str, &str)]) -> Self {
        self.child.kill().await.unwrap();
        let data = Arc::clone(&self.data);
        drop(self);
        Self::start_in(data, env).await
    }

    /// Everything that still runs and names the data directory.
    pub(crate) fn processes(&self) -> Vec<String> {
        let data = self.data_dir().to_str().unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(data))
            .collect()
    }
}

/// `anteroom token` with these arguments.
pub(crate) async fn token(arguments: &[&str]) -> Output {
    command().arg("token").args(arguments).output().await.unwrap()
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
    // What the developer has set for their own server is no part of a story.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ANTEROOM_") && name != "ANTEROOM_LOG") {
            command.env_remove(name);
        }
    }
    command
}

/// SeaweedFS, an S3 server, with one bucket.
pub(crate) struct ObjectStore {
    _child: Child,
    _data: TempDir,
    pub(crate) endpoint: String,
}

pub(crate) const ACCESS_KEY: &str = "storyaccess";
pub(crate) const SECRET_KEY: &str = "storysecret12345";

impl ObjectStore {
    pub(crate) async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let config = serde_json::json!({"identities": [{
            "name": "story",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        let config_path = data.path().join("s3.json");
        std::fs::write(&config_path, config.to_string()).unwrap();
        let ports: Vec<u16> = free_ports(4);
        let mut child = Command::new(weed())
            .arg("mini")
            .arg(format!("-dir={}", data.path().display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-s3.config={}", config_path.display()))
            .arg(format!("-s3.port={}", ports[0]))
            .arg(format!("-master.port={}", ports[1]))
            .arg(format!("-volume.port={}", ports[2]))
            .arg(format!("-filer.port={}", ports[3]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", weed().display()));
        let addr = format!("127.0.0.1:{}", ports[0]);
        soon("the object store", async {
            // It says nothing when it is ready: asking is the only way.
            let mut again = tokio::time::interval(Duration::from_millis(100));
            loop {
                again.tick().await;
                assert!(child.try_wait().unwrap().is_none(), "the object store ended");
                if super::http::Http::new(&addr).try_get("/healthz").await.is_some_and(|status| status == 200) {
                    break;
                }
            }
        })
        .await;
        Self { _child: child, _data: data, endpoint: format!("http://{addr}") }
    }
}

impl ObjectStore {
    pub(crate) async fn make_bucket(&self, name: &str) {
        self.client().create_bucket().bucket(name).send().await.unwrap();
    }

    /// Every object whose name begins so, with its content.
    #[allow(dead_code, reason = "for the stories of tests/chime")]
    pub(crate) async fn objects(&self, bucket: &str, prefix: &str) -> Vec<(String, Bytes)> {
        let client = self.client();
        let mut pages = client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            for name in page.unwrap().contents().iter().filter_map(|object| object.key()) {
                let got = client.get_object().bucket(bucket).key(name).send().await.unwrap();
                objects.push((name.to_owned(), got.body.collect().await.unwrap().into_bytes()));
            }
        }
        objects
    }

    fn client(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_s3::config::Region::new("us-east-1"))
            .credentials_provider(aws_credential_types::Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "story"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

/// The S3 server's program: named by the environment, or where `make test` puts it.
fn weed() -> PathBuf {
    std::env::var_os("ANTEROOM_TEST_WEED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin/weed"), PathBuf::from)
}

/// Ports that were free a moment ago. Each weed port also takes the one 10000 above it.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        if port < 55_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            held.push(socket);
        }
    }
    held.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}
