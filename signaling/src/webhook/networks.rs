//! Which addresses are told things: public ones, and the private networks that the operator names. Asked about the very address that is
//! then connected to, so that no name can point somewhere else in between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::error::{Error, Result};

/// Private networks that may be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks such as `10.20.0.0/16` and single addresses.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub(crate) fn parse(entries: &[String]) -> Result<Self> {
        let parse = |entry: &String| {
            let net = entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
            net.ok_or_else(|| {
                Error::Settings(format!("`webhook_networks`: {entry} is no network such as 10.20.0.0/16"))
            })
        };
        Ok(Self(entries.iter().map(parse).collect::<Result<_>>()?))
    }

    /// True for an address of a network that the operator named.
    pub(crate) fn is_named(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// True when something may be sent there.
    pub(crate) fn is_allowed(&self, address: IpAddr) -> bool {
        is_public(address) || self.is_named(address)
    }
}

/// True for what the public internet routes (the special-purpose registries of RFC 6890 left out).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // This host, private use, loopback, multicast and what is reserved; the sharing of addresses; link-local; private use again; protocol
    // assignments, documentation and 6to4; benchmarks; documentation.
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    if (a, b) == (0x64, 0xff9b) {
        // Behind this prefix a network's translator reaches IPv4 (RFC 6052).
        let [.., w, x, y, z] = address.octets();
        return c == 0 && is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    let is_global = a & 0xe000 == 0x2000;
    // Teredo, benchmarks and documentation; 6to4, which reaches IPv4 too; more documentation.
    let is_special = (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_and_named_networks_are_reached() {
        let none = Networks::default();
        for public in ["8.8.8.8", "100.63.255.255", "172.32.0.1", "192.0.3.1", "2a00:1450::1", "64:ff9b::808:808"] {
            assert!(none.is_allowed(public.parse().unwrap()), "{public}");
        }
        let private = [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.9.9",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "3fff::1",
        ];
        for address in private {
            assert!(!none.is_allowed(address.parse().unwrap()), "{address}");
        }
        let named =
            Networks::parse(&["10.20.0.0/16".to_owned(), "fd12::/32".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        for address in ["10.20.3.4", "::ffff:10.20.3.4", "fd12::9", "127.0.0.1"] {
            assert!(
                named.is_allowed(address.parse().unwrap()) && named.is_named(address.parse().unwrap()),
                "{address}"
            );
        }
        for address in ["10.21.0.1", "127.0.0.2", "169.254.169.254"] {
            assert!(!named.is_allowed(address.parse().unwrap()), "{address}");
        }
        assert!(Networks::parse(&["10.20.0.0/40".to_owned()]).is_err());
    }
}
