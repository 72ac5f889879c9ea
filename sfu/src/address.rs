//! An address that browsers are told, and the one of this machine behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One entry of `addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// What browsers are told.
    pub public: IpAddr,
    /// The address of this machine that a NAT maps it to, one to one.
    pub private: Option<IpAddr>,
}

impl Address {
    /// Whether browsers could reach it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let both = [Some(self.public), self.private];
        both.into_iter().flatten().all(|ip| {
            let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
            !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
        })
    }
}

impl From<IpAddr> for Address {
    fn from(public: IpAddr) -> Self {
        Self { public, private: None }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(public: Ipv4Addr) -> Self {
        Self::from(IpAddr::from(public))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(public: Ipv6Addr) -> Self {
        Self::from(IpAddr::from(public))
    }
}

/// `public`, or `public=private`.
impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |part: &str| {
            part.trim().parse::<IpAddr>().map_err(|_| format!("`{text}` is not an address, nor public=private"))
        };
        let (public, private) = match text.split_once('=') {
            None => (read(text)?, None),
            Some((public, private)) => (read(public)?, Some(read(private)?)),
        };
        let is_mixed = |private: IpAddr| private.is_ipv4() != public.is_ipv4();
        if private.is_some_and(is_mixed) {
            return Err(format!("`{text}`: both addresses must be IPv4, or both IPv6"));
        }
        Ok(Self { public, private })
    }
}
