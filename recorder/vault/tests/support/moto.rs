//! A moto server, which speaks the wire protocol of AWS services, on loopback for one test run.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Moto {
    process: Child,
    port: u16,
}

/// In the Python environment `ANTEROOM_TEST_VENV`, else where `make test` installs it. Its absence fails the test: a skipped service is an untested service.
fn program() -> PathBuf {
    let given = wire::settings::env("ANTEROOM_TEST_VENV").map(PathBuf::from);
    let installed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv");
    let program = given.unwrap_or_else(installed).join("bin/moto_server");
    assert!(program.exists(), "no moto at {}: run `make test`, or set ANTEROOM_TEST_VENV", program.display());
    program
}

impl Moto {
    /// Starts it and waits until it takes connections.
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Self { process, port };
        let patience = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(moto.process.try_wait().unwrap().is_none(), "moto ended");
            assert!(Instant::now() < patience, "moto did not become ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        moto
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&mut self) {
        // Nothing is left to do when it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}
