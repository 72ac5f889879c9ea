//! What an operator may set about the media node.

use engine::Limits;
use serde::Deserialize;

use crate::{Address, Error};

/// Settings of the sfu role: table `[sfu]` of the settings file, or `ANTEROOM_MEDIA_UDP_PORT` and so on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SfuConfig {
    /// First UDP port for media; shard `i` listens on this port plus `i`. 0 takes free ports.
    pub media_udp_port: u16,
    /// Whether browsers whose network lets no UDP through may bring media over TCP.
    pub media_tcp: bool,
    /// The TCP port for that, shared by all shards. 0: the number of the first UDP port.
    pub media_tcp_port: u16,
    /// Addresses that browsers are told, comma-separated in the environment, best first. Empty: every address of this machine.
    /// Behind a NAT that maps one to one, `public=private` announces the public one and checks that the private one is ours; name
    /// the private one again beside it where browsers of the same network should go there directly.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<Address>,
    /// Whether loopback addresses are among "every address of this machine".
    pub announce_loopback: bool,
    /// Media threads, each with its own port and its own Rooms. One carries several hundred two-party visits.
    pub shards: usize,
    /// Most media that one person may send, in Mbit/s: what comes beyond it is dropped. A browser with a screen to show sends 5.
    pub peer_mbits: u32,
    /// Most media packets that one person may send in a second.
    pub peer_packets: u32,
    /// Pins shard `i` to core `i`. Leave off on machines that do other work.
    pub pin_shards: bool,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            media_udp_port: 4430,
            media_tcp: true,
            media_tcp_port: 0,
            addresses: Vec::new(),
            announce_loopback: false,
            shards: 1,
            peer_mbits: 12,
            peer_packets: 4_000,
            pin_shards: false,
        }
    }
}

impl SfuConfig {
    /// The names of all fields, for the environment.
    pub const FIELDS: &'static [&'static str] = &[
        "media_udp_port",
        "media_tcp",
        "media_tcp_port",
        "addresses",
        "announce_loopback",
        "shards",
        "peer_mbits",
        "peer_packets",
        "pin_shards",
    ];

    /// What each Peer may ask of the node.
    pub(crate) fn limits(&self) -> Limits {
        let bits = self.peer_mbits.saturating_mul(1_000_000);
        Limits { bits, packets: self.peer_packets, ..Limits::default() }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// With the sentence for the operator.
    pub fn validate(&self) -> Result<(), Error> {
        if self.shards == 0 || self.shards > 64 {
            return Err(Error::Config("`shards` must be 1 to 64"));
        }
        if !(2..=1_000).contains(&self.peer_mbits) || !(500..=100_000).contains(&self.peer_packets) {
            return Err(Error::Config("`peer_mbits` must be 2 to 1000 and `peer_packets` 500 to 100000"));
        }
        let ports_end = usize::from(self.media_udp_port) + self.shards;
        if self.media_udp_port != 0 && ports_end > usize::from(u16::MAX) + 1 {
            return Err(Error::Config("`media_udp_port` plus `shards` goes beyond port 65535"));
        }
        if !self.addresses.iter().all(Address::is_usable) {
            return Err(Error::Config("`addresses` must be addresses that browsers can reach"));
        }
        if self.addresses.len() > 16 {
            return Err(Error::Config("`addresses` may hold 16 at most: browsers try each of them"));
        }
        Ok(())
    }
}

fn addresses<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        List(Vec<String>),
        Text(String),
    }
    let parts = match Form::deserialize(deserializer)? {
        Form::List(list) => list,
        Form::Text(text) => text.split(',').map(str::to_owned).collect(),
    };
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<SfuConfig, wire::settings::SettingsError> {
        wire::settings::load("sfu", SfuConfig::FIELDS, None, |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn addresses_are_comma_separated_in_the_environment() {
        let config =
            load(&[("ANTEROOM_ADDRESSES", "192.0.2.1=10.0.0.5, 2001:db8::1"), ("ANTEROOM_MEDIA_UDP_PORT", "5000")])
                .unwrap();
        let [mapped, six] = config.addresses[..] else { panic!("two addresses") };
        assert_eq!((mapped.public, mapped.private), ([192, 0, 2, 1].into(), Some([10, 0, 0, 5].into())));
        assert_eq!((six.public.is_ipv6(), six.private), (true, None));
        assert_eq!(config.media_udp_port, 5000);
        assert_eq!((config.limits().bits, config.limits().packets), (12_000_000, 4_000));
        assert!(config.media_tcp);
        assert!(!load(&[("ANTEROOM_MEDIA_TCP", "false")]).unwrap().media_tcp);
        config.validate().unwrap();
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for bad in ["example", "192.0.2.1=", "=192.0.2.1", "192.0.2.1=2001:db8::1", "192.0.2.1=10.0.0.1=10.0.0.2"] {
            assert!(load(&[("ANTEROOM_ADDRESSES", bad)]).is_err(), "{bad}");
        }
        assert!(SfuConfig { shards: 0, ..SfuConfig::default() }.validate().is_err());
        assert!(SfuConfig { peer_mbits: 0, ..SfuConfig::default() }.validate().is_err());
        assert!(SfuConfig { peer_packets: 0, ..SfuConfig::default() }.validate().is_err());
        assert!(SfuConfig { media_udp_port: 65_535, shards: 2, ..SfuConfig::default() }.validate().is_err());
        assert!(SfuConfig { addresses: vec!["0.0.0.0".parse().unwrap()], ..SfuConfig::default() }.validate().is_err());
    }
}
