//! Where a request comes from, for the limiter, and for audit events, which keep its network alone: never logged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;
use serde::Deserialize as _;

use crate::app::App;
use crate::error::Error;

/// The client's address: the socket's, or the nearest one that a trusted proxy reports.
#[derive(Clone, Copy)]
pub struct Address(pub IpAddr);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address([redacted])")
    }
}

impl FromRequestParts<App> for Address {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        // Without a socket (a test that calls the router itself) everyone is one client.
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
        Ok(Self(client(peer, &parts.headers, &app.config.trusted_proxies)))
    }
}

/// True for an address behind which there are many people: a reverse proxy, or whatever runs on this machine.
pub(crate) fn is_shared(address: IpAddr, proxies: &[IpNet]) -> bool {
    address.is_loopback() || is_in(address, proxies)
}

/// True for an address of one of these networks.
pub(crate) fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Reads networks such as `10.20.0.0/16` and single addresses, as a list or comma-separated. All of the internet is no network.
pub(crate) fn networks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    use serde::de::Error as _;
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Form {
        List(Vec<String>),
        Text(String),
    }
    let entries = match Form::deserialize(deserializer)? {
        Form::List(list) => list,
        Form::Text(text) => text.split(',').map(str::to_owned).collect(),
    };
    let parse = |entry: &str| {
        let network = entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        network
            .filter(|network| network.prefix_len() > 0)
            .map(|network| network.trunc())
            .ok_or_else(|| D::Error::custom(format!("{entry} is no address and no network such as 10.20.0.0/16")))
    };
    entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()).map(parse).collect()
}

/// The network that an address is in, as audit events have it: a /24 of IPv4, a /48 of IPv6.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// Walks `X-Forwarded-For` from the right, as long as trusted proxies speak. What an untrusted peer claims is not read at all.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_in(nearest, trusted) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => nearest = address.to_canonical(),
            Err(_) => break,
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_network_does_not_tell_the_machine() {
        for (address, expected) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 198.51.100.7"));
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        let proxies = ["10.0.0.1/32", "10.0.0.2/32"].map(|text| text.parse::<IpNet>().unwrap());
        assert_eq!(client(ip("192.0.2.1"), &headers, &proxies), ip("192.0.2.1"));
        assert_eq!(client(ip("10.0.0.1"), &headers, &proxies), ip("198.51.100.7"));
        assert_eq!(client(ip("10.0.0.1"), &headers, &[]), ip("10.0.0.1"));
        // A whole network of proxies, one of which speaks IPv4 on an IPv6 socket.
        let network = ["10.0.0.0/8".parse::<IpNet>().unwrap()];
        assert_eq!(client(ip("::ffff:10.9.9.9"), &headers, &network), ip("198.51.100.7"));
        assert_eq!(client(ip("11.0.0.1"), &headers, &network), ip("11.0.0.1"));
    }

    #[test]
    fn x_05_proxies_are_named_by_address_or_network_and_never_all_of_the_internet() {
        #[derive(serde::Deserialize)]
        struct Settings {
            #[serde(deserialize_with = "networks")]
            trusted_proxies: Vec<IpNet>,
        }
        let read = |value: serde_json::Value| {
            serde_json::from_value::<Settings>(serde_json::json!({"trusted_proxies": value})).map(|s| s.trusted_proxies)
        };
        let named = read("10.0.0.1, 10.20.0.0/16,fd00::/8".into()).unwrap();
        assert!(is_in("10.20.9.9".parse().unwrap(), &named) && !is_in("10.21.0.1".parse().unwrap(), &named));
        assert_eq!(read(serde_json::json!(["192.0.2.7"])).unwrap().len(), 1);
        for bad in ["0.0.0.0/0", "::/0", "10.0.0.0/33", "proxy.example.org"] {
            assert!(read(bad.into()).is_err(), "{bad}");
        }
    }
}
