//! The media node: sockets, clocks and threads around the pure `engine`. `bind` takes the ports, `run` reads top to bottom.

mod address;
mod config;
mod control;
mod error;
mod metrics;
mod mixing;
mod shard;
mod socket;
mod tap;
mod tcp;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use tokio_util::sync::CancellationToken;
use wire::link::SfuEnd;
use wire::tap_link::TapExchange;

pub use address::Address;
pub use config::SfuConfig;
pub use error::Error;
pub use metrics::{Metrics, ShardStats};
pub use mixing::MixStats;
use mixing::Mixer;
use shard::{Announced, Outlets, Shard, ShardInbox};
use socket::UdpPort;
use tcp::Acceptor;

/// A media node whose ports are open, and which announces them, but which serves nobody yet.
#[derive(Debug)]
pub struct Sfu {
    config: SfuConfig,
    ports: Vec<UdpPort>,
    announced: Vec<Vec<SocketAddr>>,
    listener: Option<TcpListener>,
    announced_tcp: Vec<SocketAddr>,
    metrics: Metrics,
}

impl Sfu {
    /// Validates the settings and takes the ports.
    ///
    /// # Errors
    /// When a setting makes no sense, a port is taken, or there is no address to announce.
    pub fn bind(config: SfuConfig) -> Result<Self, Error> {
        config.validate()?;
        let mut ports = Vec::with_capacity(config.shards);
        let mut announced = Vec::with_capacity(config.shards);
        for index in 0..config.shards {
            let offset = u16::try_from(index).map_err(|_| Error::Config("too many shards"))?;
            let wanted = if config.media_udp_port == 0 { 0 } else { config.media_udp_port + offset };
            let port = UdpPort::bind(wanted).map_err(|source| Error::Bind { port: wanted, source })?;
            let addresses: Vec<_> = announced_ips(&config, port.speaks_v6())?
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port.port()))
                .collect();
            if addresses.is_empty() {
                return Err(Error::NoAddress);
            }
            announced.push(addresses);
            ports.push(port);
        }
        let listener = listen(&config, ports.first().map_or(0, UdpPort::port))?;
        let announced_tcp = match &listener {
            None => Vec::new(),
            Some(listener) => {
                let local = listener.local_addr().map_err(|source| Error::BindTcp { port: 0, source })?;
                let ips = announced_ips(&config, local.is_ipv6())?;
                ips.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect()
            }
        };
        let metrics = Metrics::new(config.shards);
        Ok(Self { config, ports, announced, listener, announced_tcp, metrics })
    }

    /// What browsers are told, a list for each shard.
    #[must_use]
    pub fn announced(&self) -> &[Vec<SocketAddr>] {
        &self.announced
    }

    /// What browsers are told for networks that let only TCP through: the same for all shards.
    #[must_use]
    pub fn announced_tcp(&self) -> &[SocketAddr] {
        &self.announced_tcp
    }

    /// The node's figures; stays valid while it runs.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Serves until told to stop; then every Room is closed, its Tap ended in order, and the ports are released.
    ///
    /// # Errors
    /// When the engine or a thread cannot be made, or a shard dies.
    pub async fn run(self, link: SfuEnd, taps: TapExchange, stop: CancellationToken) -> Result<(), Error> {
        let (requests, events) = link.split();
        let desk = self.metrics.mixer();
        let mixer = Mixer::start(&desk)?;
        let outlets = Outlets { events, taps, mixer: desk };
        let mut inboxes: Vec<ShardInbox> = Vec::with_capacity(self.ports.len());
        let mut ends = Vec::with_capacity(self.ports.len());
        for (index, (port, addresses)) in self.ports.into_iter().zip(self.announced).enumerate() {
            let announced = Announced { udp: addresses, tcp: self.announced_tcp.clone() };
            let number = u8::try_from(index).map_err(|_| Error::Config("too many shards"))?;
            let slot = self.metrics.slot(index);
            let limits = self.config.limits();
            let (shard, inbox) = Shard::new(number, port, announced, limits, outlets.clone(), slot)?;
            let core = self.config.pin_shards.then_some(index);
            let (ended, end) = tokio::sync::oneshot::channel();
            thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || {
                    shard.run(core);
                    // `run` may have outlived the role; then nobody waits for the word.
                    let _ = ended.send(());
                })
                .map_err(Error::Shard)?;
            inboxes.push(inbox);
            ends.push(end);
        }
        drop(outlets);
        let closing = stop.child_token();
        let acceptor = self.listener.map(|listener| {
            let desks = Arc::new(inboxes.iter().map(|inbox| inbox.desk.clone()).collect());
            let acceptor = Acceptor { listener, desks, counters: self.metrics.accepted() };
            tokio::spawn(acceptor.run(closing.clone()))
        });
        tracing::info!(shards = inboxes.len(), "media node ready");

        let died = control::serve(requests, &inboxes, &mut ends, stop).await;
        closing.cancel();
        if let Some(acceptor) = acceptor {
            // It holds nothing that must end in order.
            drop(acceptor.await);
        }
        for inbox in &inboxes {
            inbox.stop();
        }
        for end in ends {
            // An error means that the thread ended without its word: it is gone either way.
            drop(end.await);
        }
        drop(mixer);
        died.map_or(Ok(()), |index| Err(Error::ShardDied(index)))
    }
}

/// The port for TCP: the one that was asked for, else the first one of UDP.
fn listen(config: &SfuConfig, udp: u16) -> Result<Option<TcpListener>, Error> {
    if !config.media_tcp {
        return Ok(None);
    }
    let port = if config.media_tcp_port == 0 { udp } else { config.media_tcp_port };
    let listener = match tcp::bind(port) {
        // Nobody asked for this very port: the system chose it for UDP, where it was free.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && config.media_udp_port == 0 => tcp::bind(0),
        result => result,
    };
    listener.map(Some).map_err(|source| Error::BindTcp { port, source })
}

/// The settings' addresses, or those of this machine.
fn announced_ips(config: &SfuConfig, v6: bool) -> Result<Vec<IpAddr>, Error> {
    if !config.addresses.is_empty() {
        let ours: Vec<IpAddr> = if config.addresses.iter().any(|address| address.private.is_some()) {
            if_addrs::get_if_addrs().map_err(Error::Interfaces)?.into_iter().map(|interface| interface.ip()).collect()
        } else {
            Vec::new()
        };
        let is_foreign = |ip: &IpAddr| !ip.is_loopback() && !ours.contains(ip);
        if let Some(foreign) = config.addresses.iter().filter_map(|address| address.private).find(is_foreign) {
            return Err(Error::NotOurs(foreign));
        }
        let mut ips: Vec<IpAddr> = config.addresses.iter().map(|address| address.public).collect();
        let mut seen = Vec::new();
        ips.retain(|ip| {
            !seen.contains(ip) && {
                seen.push(*ip);
                true
            }
        });
        return Ok(ips);
    }
    let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
        .map_err(Error::Interfaces)?
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| match ip {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(six) => v6 && !six.is_unicast_link_local(),
        })
        .filter(|ip| config.announce_loopback || !ip.is_loopback())
        .collect();
    // Loopback last: a browser on another machine would waste its first checks on it.
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    ips.dedup();
    Ok(ips)
}
