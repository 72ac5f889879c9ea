//! moto's server, which speaks the wire protocol of AWS, on loopback for one test.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A machine under test is busy.
const READY_WITHIN: Duration = Duration::from_secs(120);

pub(crate) struct Moto {
    child: Child,
    port: u16,
}

/// `ANTEROOM_TEST_MOTO`, or where `make test` puts it. Without it the test fails: a service that is left out is not tested.
fn program() -> PathBuf {
    let installed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv/bin/moto_server");
    let program = wire::settings::env("ANTEROOM_TEST_MOTO").map_or_else(installed, PathBuf::from);
    assert!(program.exists(), "no moto at {}: run `make test` or set ANTEROOM_TEST_MOTO", program.display());
    program
}

impl Moto {
    /// Starts it and waits until it takes connections.
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program());
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut moto = Self { child: command.spawn().unwrap(), port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(moto.child.try_wait().unwrap().is_none(), "moto ended by itself");
            assert!(begin.elapsed() < READY_WITHIN, "moto is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        moto
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&mut self) {
        // One that has ended needs no stopping.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}
