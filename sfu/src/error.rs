//! The crate's one public error.

use std::io;

/// Why the media node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The media port cannot be had.
    #[error("cannot open UDP port {port} for media: {source}")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The port for media over TCP cannot be had.
    #[error("cannot open TCP port {port} for media: {source}. `media_tcp = false` does without")]
    BindTcp {
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// An address of the settings is not one of this machine.
    #[error("`addresses` says that {0} is an address of this machine, which it is not")]
    NotOurs(std::net::IpAddr),
    /// The machine's addresses cannot be listed.
    #[error("cannot list the addresses of this machine: {0}")]
    Interfaces(io::Error),
    /// No address to announce to browsers.
    #[error("no address to announce: set ANTEROOM_ADDRESSES to the addresses that browsers reach")]
    NoAddress,
    /// A setting makes no sense.
    #[error("media settings are not valid: {0}")]
    Config(&'static str),
    /// The engine could not be made.
    #[error("cannot make the media engine: {0}")]
    Engine(#[from] engine::Error),
    /// A thread or wake-up descriptor cannot be had.
    #[error("cannot start a shard: {0}")]
    Shard(io::Error),
    /// A shard ended although nobody asked it to.
    #[error("shard {0} ended unexpectedly")]
    ShardDied(usize),
}
