//! Certificates by ACME, from Pebble: the server that the makers of Let's Encrypt test clients with. It asks for each name by TLS, refuses
//! some nonces on purpose, and reuses nothing.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::{RootCertStore, version};
use signaling::config::SignalingConfig;
use signaling::tls::config::TlsConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Authority, NAME, ask, connect, connector, free_address};
use crate::support::House;

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(program: &str, arguments: &[&str], log: &std::path::Path) -> Running {
    let child = Command::new(program)
        .args(arguments)
        // How long Pebble waits, to be unlike itself from run to run.
        .env("PEBBLE_VA_NOSLEEP", "1")
        .stdout(std::fs::File::create(log).unwrap())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap_or_else(|error| panic!("{program}: {error}. On Debian: apt-get install pebble")))
}

#[tokio::test]
async fn a_certificate_is_ordered_from_an_authority_kept_and_used_again() {
    drop(tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_test_writer().try_init());
    let [acme, management, names, control, people] =
        [free_address().await, free_address().await, free_address().await, free_address().await, free_address().await];
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    // The authority's own HTTPS.
    let authority = Authority::new();
    let (chain, key) = authority.sign(&["localhost", "127.0.0.1"]);
    for (name, text) in [("root.pem", authority.pem()), ("chain.pem", chain), ("key.pem", key)] {
        std::fs::write(file(name), text).unwrap();
    }
    let pebble = serde_json::json!({"pebble": {
        "listenAddress": acme.to_string(), "managementListenAddress": management.to_string(),
        "certificate": file("chain.pem"), "privateKey": file("key.pem"),
        "httpPort": 5002, "tlsPort": people.port(), "ocspResponderURL": "", "externalAccountBindingRequired": false,
    }});
    std::fs::write(file("pebble.json"), pebble.to_string()).unwrap();
    // Names lead to this machine.
    let [names, control] = [names.to_string(), control.to_string()];
    let resolver = format!(
        "-dns01 {names} -management {control} -defaultIPv4 127.0.0.1 -defaultIPv6= -http01= -https01= -tlsalpn01="
    );
    let resolver: Vec<&str> = resolver.split(' ').collect();
    let _resolver = start("pebble-challtestsrv", &resolver, &folder.path().join("names.log"));
    let log = folder.path().join("pebble.log");
    let pebble = start("pebble", &["-config", &file("pebble.json"), "-dnsserver", &names], &log);
    for address in [acme, control.parse().unwrap()] {
        let up = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
        };
        timeout(Duration::from_secs(30), up).await.expect("the authority comes up");
    }

    let tls = TlsConfig {
        acme_domains: vec![NAME.to_owned()],
        acme_terms_agreed: true,
        acme_contact: vec!["mailto:it@clinic.example.org".to_owned()],
        acme_directory: format!("https://localhost:{}/dir", acme.port()),
        acme_folder: folder.path().join("acme"),
        acme_root: Some(folder.path().join("root.pem")),
        ..TlsConfig::default()
    };
    let settings = || SignalingConfig {
        public_url: Some(format!("https://{NAME}")),
        tls: tls.clone(),
        ..SignalingConfig::default()
    };
    let first = settings();
    let metrics = first.metrics.clone();
    let house = House::open_at(people, first).await;
    let counted =
        |outcome: &str| metrics.render().contains(&format!("signaling_certificates_total{{outcome=\"{outcome}\"}} 1"));
    let settled = async {
        while !counted("taken") && !counted("refused") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), settled).await.expect("an order ends");
    assert!(counted("taken"), "the authority says: {}", std::fs::read_to_string(&log).unwrap());

    // Pebble makes a new root at each start; it is told by its management address.
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pebble_roots(&authority, management).await);
    let client = connector(roots, &[&version::TLS13]);
    let mut stream = connect(&client, house.address).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    assert!(shown.len() > 1, "the chain comes with it");
    assert!(ask(&mut stream, "/healthz").await.starts_with("HTTP/1.1 200"));
    drop(stream);
    house.close().await;

    use std::os::unix::fs::PermissionsExt as _;
    for name in ["account.json", "certificate.pem"] {
        let mode = std::fs::metadata(tls.acme_folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // The next start has it at once, without the authority.
    drop(pebble);
    let again = settings();
    let metrics = again.metrics.clone();
    let house = House::open_at(people, again).await;
    let stream = connect(&client, house.address).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), shown);
    assert!(metrics.render().contains("signaling_certificates_total{outcome=\"taken\"} 0"), "nothing was ordered");
    drop(stream);
    house.close().await;
}

/// The root of what Pebble signs with.
async fn pebble_roots(
    authority: &Authority,
    management: std::net::SocketAddr,
) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let client = authority.client(&[&version::TLS13]);
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = client.connect(name, TcpStream::connect(management).await.unwrap()).await.unwrap();
    stream.write_all(b"GET /roots/0 HTTP/1.0\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Go's server may end without a word of farewell.
    drop(stream.read_to_end(&mut answer).await);
    rustls::pki_types::CertificateDer::pem_slice_iter(&answer).collect::<Result<_, _>>().unwrap()
}
