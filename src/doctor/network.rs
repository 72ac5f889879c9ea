//! Sockets and ways: the ports that are ours, whether the public address leads to this server, and whether relays answer.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use sfu::SfuConfig;
use signaling::SignalingConfig;
use signaling::auth::keys::Keys;
use signaling::health::probe;
use tokio::time::timeout;

use super::Finding;

/// How long a relay has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Whether a server runs at the address of the pages already, and what is wrong with it otherwise.
pub(super) fn look_at_pages(http: SocketAddr) -> (bool, Finding) {
    let what = "an address for the pages";
    match TcpListener::bind(http) {
        Ok(_) => (false, Finding::new(what, None)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => (
            true,
            Finding::unknown(what, format!("something listens at {http} already: the server itself, if it runs")),
        ),
        Err(error) => (false, Finding::new(what, Some(bind_trouble(http, &error)))),
    }
}

fn bind_trouble(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{address}: a port below 1024 needs CAP_NET_BIND_SERVICE (AmbientCapabilities= in systemd)")
        }
        ErrorKind::AddrNotAvailable => format!("{address}: this machine has no such address"),
        _ => format!("{address}: {error}"),
    }
}

/// The ports of media. Of a server that runs they are taken.
pub(super) fn look_at_media(config: &SfuConfig, is_running: bool) -> Vec<Finding> {
    let shards = u16::try_from(config.shards).unwrap_or(1);
    let ports = (0..shards).map(|shard| config.media_udp_port.saturating_add(shard));
    let taken = |kind: &str, port: u16, error: &std::io::Error| {
        if error.kind() == ErrorKind::AddrInUse {
            format!("{kind} port {port} is taken: `ss -lpn` says by whom")
        } else {
            bind_trouble(SocketAddr::from((ANYWHERE, port)), error)
        }
    };
    let udp = ports
        .filter(|port| *port != 0)
        .find_map(|port| UdpSocket::bind((ANYWHERE, port)).err().map(|error| taken("UDP", port, &error)));
    let mut findings = vec![("UDP ports for sound and picture", udp)];
    if config.media_tcp && (config.media_udp_port != 0 || config.media_tcp_port != 0) {
        let port = if config.media_tcp_port == 0 { config.media_udp_port } else { config.media_tcp_port };
        let tcp = TcpListener::bind((ANYWHERE, port)).err().map(|error| taken("TCP", port, &error));
        findings.push(("a TCP port for media, where UDP does not get through", tcp));
    }
    let to_finding = |(what, trouble): (&'static str, Option<String>)| match trouble {
        Some(trouble) if is_running => Finding::unknown(what, format!("{trouble}; that is right if the server runs")),
        trouble => Finding::new(what, trouble),
    };
    findings.into_iter().map(to_finding).collect()
}

/// Whether the public address leads to a server with our keys.
pub(super) async fn look_at_public_address(
    config: &SignalingConfig,
    keys: Option<&Keys>,
    is_running: bool,
) -> Option<Finding> {
    let what = "a public address that leads here";
    let url = config.public_url.as_deref()?;
    if !is_running {
        return Some(Finding::unknown(what, "look again while the server runs"));
    }
    Some(match (probe::public_keys(url).await, keys) {
        (Err(trouble), _) => Finding::new(what, Some(format!("{url}: {trouble}"))),
        (Ok(_), None) => Finding::unknown(what, "it answers; whether it is ours cannot be told without our keys"),
        (Ok(theirs), Some(keys)) => Finding::new(
            what,
            (theirs != keys.jwks())
                .then(|| format!("{url} is answered by another server than this one, or with other keys")),
        ),
    })
}

/// Whether each relay of the settings answers.
pub(super) async fn look_at_relays(urls: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for url in urls {
        let trouble = reach(url).await.err();
        findings.push(Finding::new("a relay that answers", trouble.map(|trouble| format!("{url}: {trouble}"))));
    }
    findings
}

async fn reach(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').ok_or("it is no URL such as turn:turn.example.org:3478")?;
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
        _ => format!("{authority}:{}", if scheme == "turns" { 5349 } else { 3478 }),
    };
    let mut found = tokio::net::lookup_host(&place).await.map_err(|_| "the name does not resolve".to_owned())?;
    let address = found.next().ok_or("the name has no address")?;
    if scheme == "turns" || query.contains("transport=tcp") {
        return match timeout(ANSWER_WITHIN, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                Err(format!("{}: is coturn running there, and does a firewall let TCP through?", error.kind()))
            }
            Err(_) => Err("it does not answer: does a firewall let TCP through?".to_owned()),
        };
    }
    bind(address).await
}

/// Asks by UDP what address we have (RFC 8489); whoever relays answers that.
async fn bind(relay: SocketAddr) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let own: SocketAddr = if relay.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = tokio::net::UdpSocket::bind(own).await.map_err(failed)?;
    socket.connect(relay).await.map_err(failed)?;
    let mut request = [0; 20];
    request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    request[8..].copy_from_slice(&rand::random::<[u8; 12]>());
    let answered = async {
        let mut answer = [0; 1500];
        loop {
            socket.send(&request).await?;
            match timeout(ANSWER_WITHIN / 4, socket.recv(&mut answer)).await {
                Ok(Ok(length)) if length >= 20 && answer[..2] == [1, 1] && answer[8..20] == request[8..] => {
                    return Ok(());
                }
                Ok(Err(error)) => return Err(error),
                // Something else, or nothing: it is asked again.
                Ok(Ok(_)) | Err(_) => {}
            }
        }
    };
    match timeout(ANSWER_WITHIN, answered).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: is coturn running there?", std::io::Error::from(error.kind()))),
        Err(_) => Err("it does not answer: does a firewall let UDP through?".to_owned()),
    }
}
