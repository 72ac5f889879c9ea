//! One way between a browser and us, ICE's pair of addresses: over UDP, or over a TCP connection (RFC 6544).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where datagrams come from and go to. Two ways of one browser are two Paths.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The browser's end, or that of its NAT or relay.
    pub remote: SocketAddr,
    /// Our end.
    pub local: Local,
}

/// Our end of a [`Path`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Local {
    /// UDP, at this address of ours, from which answers must leave. `None`: whichever routing takes.
    Udp(Option<IpAddr>),
    /// The TCP connection of this number. No number is given twice.
    Tcp(u64),
}

impl Path {
    /// A Path over UDP, from the address of ours that it reached.
    #[must_use]
    pub const fn udp(remote: SocketAddr, local: IpAddr) -> Self {
        Self { remote, local: Local::Udp(Some(local)) }
    }

    /// A Path over the TCP connection with this number.
    #[must_use]
    pub const fn tcp(remote: SocketAddr, connection: u64) -> Self {
        Self { remote, local: Local::Tcp(connection) }
    }

    /// True for a TCP connection: reliable, in order, and late instead of lossy.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        matches!(self.local, Local::Tcp(_))
    }
}

/// Over UDP, by whichever address of ours.
impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: Local::Udp(None) }
    }
}

// Addresses of people stay out of every log.
impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local.fmt(f)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(_) => f.write_str("Path(udp)"),
            Self::Tcp(connection) => write!(f, "Path(tcp {connection})"),
        }
    }
}
