//! TLS in the process itself, over real sockets: which versions it speaks, how certificates change, and what the plaintext port says.

mod acme;
mod database;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use serde_json::{Value, json};
use signaling::config::SignalingConfig;
use signaling::metrics::Metrics;
use signaling::tls::config::TlsConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{House, SOON, find_header};

const NAME: &str = "visits.test";

/// A certificate authority of the test's own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names and its key, PEM.
    pub(super) fn sign(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let own = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (own.pem(), key.serialize_pem())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        connector(roots, versions)
    }
}

pub(super) fn connector(roots: RootCertStore, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

pub(super) async fn connect(client: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    client.connect(ServerName::try_from(NAME).unwrap(), TcpStream::connect(address).await?).await
}

/// One request on a stream that is kept: the head and as much of the body as came with it.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "it ended early");
    }
    String::from_utf8(bytes).unwrap()
}

/// A house with its certificate in files.
struct Encrypted {
    house: House,
    authority: Authority,
    chain: PathBuf,
    key: PathBuf,
    metrics: Metrics,
    _folder: tempfile::TempDir,
}

impl Encrypted {
    async fn open(settings: SignalingConfig, tls: TlsConfig) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let (own, own_key) = authority.sign(&[NAME]);
        std::fs::write(&chain, own).unwrap();
        std::fs::write(&key, own_key).unwrap();
        let tls = TlsConfig {
            certificate: Some(chain.clone()),
            key: Some(key.clone()),
            look_every: Duration::from_millis(20),
            ..tls
        };
        let settings = SignalingConfig { public_url: Some(format!("https://{NAME}")), tls, ..settings };
        let metrics = settings.metrics.clone();
        let house = House::open_as(settings).await;
        Self { house, authority, chain, key, metrics, _folder: folder }
    }

    async fn shown(&self) -> CertificateDer<'static> {
        let client = self.authority.client(&[&version::TLS13]);
        let stream = connect(&client, self.house.address).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    async fn until_counted(&self, line: &str) {
        until_counted(&self.metrics, line).await;
    }
}

/// Until the role's own figures say so.
pub(super) async fn until_counted(metrics: &Metrics, line: &str) {
    let counted = async {
        while !metrics.render().lines().any(|l| l == line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), counted)
        .await
        .unwrap_or_else(|_| panic!("{line} is not in\n{}", metrics.render()));
}

/// What a client of TLS 1.1 begins with.
const HELLO_OF_TLS_1_1: [u8; 50] = {
    let mut hello = [7; 50];
    // A handshake record of 45 bytes that holds a ClientHello of 41: version 3.2, 32 bytes of chance, no session, one suite, no compression.
    let head = [22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    let tail = [0, 0, 2, 0xc0, 0x13, 1, 0];
    let mut i = 0;
    while i < head.len() {
        hello[i] = head[i];
        i += 1;
    }
    i = 0;
    while i < tail.len() {
        hello[43 + i] = tail[i];
        i += 1;
    }
    hello
};

#[tokio::test]
async fn h_21_tls_1_2_and_later_is_spoken_with_hsts_and_nothing_else_is() {
    let home = Box::pin(Encrypted::open(SignalingConfig::default(), TlsConfig::default())).await;
    for version in [&version::TLS12, &version::TLS13] {
        let client = home.authority.client(&[version]);
        let mut stream = connect(&client, home.house.address).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let head = ask(&mut stream, "/healthz").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let hsts = find_header(&head, "strict-transport-security").unwrap();
        assert!(hsts.starts_with("max-age=63072000"), "{hsts}");
    }
    let mut old = TcpStream::connect(home.house.address).await.unwrap();
    old.write_all(&HELLO_OF_TLS_1_1).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, old.read_to_end(&mut answer)).await.unwrap().unwrap();
    // A fatal alert and nothing else (RFC 8446, section 6).
    assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{answer:?}");
    let mut plain = TcpStream::connect(home.house.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: visits.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(SOON, plain.read_to_end(&mut answer)).await.unwrap());
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    home.until_counted("signaling_tls_handshakes_failed_total{reason=\"failed\"} 2").await;
    home.house.close().await;
}

#[tokio::test]
async fn h_21_the_plaintext_port_answers_nothing_but_a_redirect() {
    let redirect = free_address().await;
    let tls = TlsConfig { http_redirect: Some(redirect), ..TlsConfig::default() };
    let home = Box::pin(Encrypted::open(SignalingConfig::default(), tls)).await;
    let requests = [
        ("GET", "/"),
        ("HEAD", "/desk"),
        ("POST", "/api/token/redeem"),
        ("GET", "/api/visits?x=%2f"),
        ("GET", "/healthz"),
        ("GET", "/.well-known/jwks.json"),
        ("DELETE", "/api/session"),
        ("OPTIONS", "/ws"),
    ];
    for (method, path) in requests {
        let mut stream = TcpStream::connect(redirect).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: evil.example\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 308 "), "{method} {path}: {answer}");
        assert_eq!(find_header(&answer, "location").unwrap(), format!("https://{NAME}{path}"));
        assert!(answer.ends_with("\r\n\r\n") && find_header(&answer, "set-cookie").is_none(), "{answer}");
    }
    home.house.close().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_people_are_connected_and_a_bad_one_is_not() {
    let home = Box::pin(Encrypted::open(SignalingConfig::default(), TlsConfig::default())).await;
    let first = home.shown().await;
    let client = home.authority.client(&[&version::TLS13]);
    let mut kept = connect(&client, home.house.address).await.unwrap();
    ask(&mut kept, "/healthz").await;

    // Half of a renewal: the chain is new, the key is not.
    let (chain, key) = home.authority.sign(&[NAME]);
    std::fs::write(&home.chain, &chain).unwrap();
    home.until_counted("signaling_certificates_total{outcome=\"refused\"} 1").await;
    assert_eq!(home.shown().await, first, "the old one stays");
    std::fs::write(&home.key, &key).unwrap();
    home.until_counted("signaling_certificates_total{outcome=\"taken\"} 1").await;
    let second = home.shown().await;
    assert_ne!(second, first);

    for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&home.chain, bad).unwrap();
        let count = if bad.is_empty() { 2 } else { 3 };
        home.until_counted(&format!("signaling_certificates_total{{outcome=\"refused\"}} {count}")).await;
        assert_eq!(home.shown().await, second);
    }
    // One that is over already.
    let old_key = KeyPair::generate().unwrap();
    let mut over = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    (over.not_before, over.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    std::fs::write(&home.key, old_key.serialize_pem()).unwrap();
    std::fs::write(&home.chain, over.signed_by(&old_key, &home.authority.0).unwrap().pem()).unwrap();
    let refused = |count| format!("signaling_certificates_total{{outcome=\"refused\"}} {count}");
    // The two files may be seen one after the other, or both at once.
    let counted = async {
        while ![4, 5].iter().any(|&n| home.metrics.render().contains(&refused(n))) {
            tokio::task::yield_now().await
        }
    };
    timeout(SOON, counted).await.unwrap();
    assert_eq!(home.shown().await, second);
    assert!(ask(&mut kept, "/healthz").await.starts_with("HTTP/1.1 200"), "whoever is connected stays so");
    home.house.close().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_holds_a_place_for_ten_seconds_and_no_longer() {
    let settings = SignalingConfig { connections: 2, ..SignalingConfig::default() };
    let home = Box::pin(Encrypted::open(settings, TlsConfig::default())).await;
    let client = home.authority.client(&[&version::TLS13]);
    let began = Instant::now();
    let mut silent =
        [TcpStream::connect(home.house.address).await.unwrap(), TcpStream::connect(home.house.address).await.unwrap()];
    silent[1].write_all(&[22, 3, 1]).await.unwrap();
    assert!(connect(&client, home.house.address).await.is_err(), "the third of two");
    for stream in &mut silent {
        let mut rest = Vec::new();
        drop(timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is not waited for"));
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    home.until_counted("signaling_tls_handshakes_failed_total{reason=\"slow\"} 2").await;
    let mut stream = connect(&client, home.house.address).await.unwrap();
    assert!(ask(&mut stream, "/healthz").await.starts_with("HTTP/1.1 200"));
    drop(stream);
    home.house.close().await;
}

/// Guesses that come from ever new addresses, if they are believed: how many were looked up.
async fn guess(house: &House) -> usize {
    let mut looked_up = 0;
    for n in 1..=40 {
        let body = json!({"shortCode": format!("{n:0>11}"), "mode": "validate"}).to_string();
        let forwarded = format!("198.51.100.{n}");
        let (status, _, body) = house.raw("POST", "/api/token/redeem", &[("x-forwarded-for", &forwarded)], &body).await;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert!(status == 401 || status == 429, "{status} {problem}");
        looked_up += usize::from(status == 401);
    }
    looked_up
}

#[tokio::test]
async fn x_05_a_forwarded_address_is_believed_from_a_trusted_proxy_alone() {
    let open = House::open().await;
    let as_one = guess(&open).await;
    assert!(as_one <= 25, "one address, whatever it claims: {as_one}");
    open.close().await;
    let network = "127.0.0.0/8".parse().unwrap();
    let behind = House::open_as(SignalingConfig { trusted_proxies: vec![network], ..SignalingConfig::default() }).await;
    let as_many = guess(&behind).await;
    assert!(as_many > as_one, "forty addresses behind a proxy: {as_many}");
    behind.close().await;
}

/// An address of this machine that nobody listens at.
pub(super) async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    listener.local_addr().unwrap()
}
