//! A SeaweedFS process with an S3 face, on loopback and a temporary folder, for one test run.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vault::{StoreConfig, StoreKind};

pub(crate) struct Weed {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

/// `ANTEROOM_TEST_WEED`, else where `make test` installs it. Its absence fails the test: a skipped store is an untested store.
fn program() -> PathBuf {
    let given = wire::settings::env("ANTEROOM_TEST_WEED").map(PathBuf::from);
    let installed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv/bin/weed");
    let program = given.unwrap_or_else(installed);
    assert!(program.exists(), "no SeaweedFS at {}: run `make test`, or set ANTEROOM_TEST_WEED", program.display());
    program
}

/// A port that is free, and so is the one 10,000 above it, where the server puts its gRPC face.
fn free_port() -> u16 {
    loop {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let low = 20_000 + port % 20_000;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(low) && free(low + 10_000) {
            return low;
        }
    }
}

impl Weed {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("s3.json");
        let identity = r#"{"identities":[{"name":"app","credentials":[{"accessKey":"testaccess","secretKey":"testsecret12345"}],
            "actions":["Admin","Read","Write","List","Tagging"]}]}"#;
        std::fs::write(&settings, identity).unwrap();
        let port = free_port();
        let process = Command::new(program())
            .arg("mini")
            .arg(format!("-dir={}", folder.path().display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-s3.port={port}"))
            .arg(format!("-s3.config={}", settings.display()))
            .arg(format!("-master.port={}", free_port()))
            .arg(format!("-volume.port={}", free_port()))
            .arg(format!("-filer.port={}", free_port()))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, _folder: folder }
    }

    pub(crate) fn config(&self, bucket: &str) -> StoreConfig {
        StoreConfig {
            kind: StoreKind::S3,
            bucket: bucket.to_owned(),
            prefix: "recordings".to_owned(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            access_key_id: "testaccess".to_owned(),
            secret_access_key: "testsecret12345".to_owned().into(),
            ..StoreConfig::default()
        }
    }

    /// Waits until the S3 face takes a bucket.
    pub(crate) async fn make_bucket(&mut self, client: &aws_sdk_s3::Client, bucket: &str) {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(self.process.try_wait().unwrap().is_none(), "SeaweedFS ended");
            let reachable = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            if reachable && client.create_bucket().bucket(bucket).send().await.is_ok() {
                return;
            }
            assert!(Instant::now() < patience, "SeaweedFS did not become ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        // Nothing is left to do when it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
