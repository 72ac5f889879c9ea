//! A coturn of one test's own, with what `anteroom turn-config` printed, word for word.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signaling::SignalingConfig;
use wire::{ParticipantId, Redacted};

use crate::client::Credentials;

pub(crate) const NAME: &str = "turn.example.org";
const SECRET: &str = "north-sea-harbour-of-this-test";
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A relay that ends with the test.
pub(crate) struct Relay {
    process: Child,
    port: u16,
    tls_port: u16,
    v6: bool,
    certificate: rustls::pki_types::CertificateDer<'static>,
    _dir: tempfile::TempDir,
}

/// An address of this machine that is not loopback: coturn never relays to that, and so no test may ask it to.
pub(crate) fn here() -> IpAddr {
    let all = if_addrs::get_if_addrs().unwrap().into_iter().map(|interface| interface.ip());
    let mut outside = all.filter(|ip| matches!(ip, IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_link_local()));
    outside.next().expect("the machine has an IPv4 address beside loopback")
}

/// A port that is free for UDP and TCP.
fn free_port(ip: IpAddr) -> u16 {
    loop {
        let tcp = TcpListener::bind((ip, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind((ip, port)).is_ok() {
            return port;
        }
    }
}

impl Relay {
    /// Starts one with so many relay ports.
    pub(crate) fn start(ports: u16) -> Self {
        assert!(which("turnserver"), "coturn is missing: scripts/test.sh installs it");
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("secret"), SECRET).unwrap();
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let v6 = UdpSocket::bind("[::1]:0").is_ok();
        let (port, tls_port) = (free_port(here()), free_port(here()));
        // Each relay of a test run has its own range: below what the system gives out by itself.
        let first = 20_000 + (port % 100) * 100;
        let mut config = Command::new(env!("CARGO_BIN_EXE_anteroom"));
        config.args(["turn-config", "--realm", NAME, "--media", &here().to_string()]);
        config.args(["--relay", &here().to_string()]);
        if v6 {
            config.args(["--relay", "::1"]);
        }
        config.arg("--secret-file").arg(file("secret")).arg("--cert").arg(file("cert.pem"));
        config.arg("--key").arg(file("key.pem")).args([
            "--port",
            &port.to_string(),
            "--tls-port",
            &tls_port.to_string(),
        ]);
        config.args(["--ports", &first.to_string(), &(first + ports - 1).to_string()]);
        let output = config.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::File::create(file("turn.conf")).unwrap().write_all(&output.stdout).unwrap();
        let mut server = Command::new("turnserver");
        server.arg("-c").arg(file("turn.conf")).arg("--userdb").arg(file("db")).arg("--pidfile").arg(file("pid"));
        server.arg("--log-file").arg(file("log")).arg("--simple-log");
        let process = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let certificate = made.cert.der().clone();
        let relay = Self { process, port, tls_port, v6, certificate, _dir: dir };
        relay.wait();
        relay
    }

    /// Where it takes UDP and TCP; `None` where the machine has no IPv6.
    pub(crate) fn address(&self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 { IpAddr::from(std::net::Ipv6Addr::LOCALHOST) } else { here() };
        (!v6 || self.v6).then(|| SocketAddr::new(ip, self.port))
    }

    /// Where it takes TLS, and whom a client must trust.
    pub(crate) fn tls(&self) -> (SocketAddr, Arc<rustls::ClientConfig>) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        (SocketAddr::new(here(), self.tls_port), Arc::new(config))
    }

    /// What our server tells a browser, for a person who is the same each time.
    pub(crate) fn credentials(&self, person: &str) -> Credentials {
        self.credentials_until(person, 3600)
    }

    /// The same with another end, so many seconds from now.
    pub(crate) fn credentials_until(&self, person: &str, seconds: u64) -> Credentials {
        let config = SignalingConfig {
            turn_urls: vec![format!("turn:{}:{}", here(), self.port)],
            turn_secret: Some(Redacted::new(SECRET.to_owned())),
            ..SignalingConfig::default()
        };
        let ours = signaling::ice::Relay::from_config(&config).unwrap().unwrap();
        let mut id = [0; 16];
        id[..person.len()].copy_from_slice(person.as_bytes());
        let who = ParticipantId::from_uuid(uuid::Uuid::from_bytes(id));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let at = now + seconds - ours.ttl().as_secs();
        let at =
            time::OffsetDateTime::from_unix_timestamp(i64::try_from(at).unwrap() - i64::from(seconds == 0)).unwrap();
        let server = ours.server(who, at);
        Credentials { username: server.username.into_revealed(), password: server.credential.into_revealed() }
    }

    fn wait(&self) {
        let begin = Instant::now();
        for port in [self.port, self.tls_port] {
            while std::net::TcpStream::connect((here(), port)).is_err() {
                assert!(begin.elapsed() < READY_WITHIN, "coturn does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It holds nothing that must end in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn which(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
