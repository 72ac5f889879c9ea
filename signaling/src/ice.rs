//! The relay's entry in `iceServers`: its addresses, and credentials that hold for a while (`use-auth-secret` of coturn, the TURN REST scheme).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use time::OffsetDateTime;
use wire::{ParticipantId, Redacted};

use crate::config::SignalingConfig;
use crate::error::Error;
use crate::ws::message::IceServer;

/// Most addresses of one relay: a browser asks each of them and becomes slow with many.
const MAX_URLS: usize = 8;
/// A secret shorter than this can be guessed from one credential.
const SECRET_BYTES: usize = 16;
/// Bounds of `turn_ttl`: a browser must have time to use what it was given, and what leaks must end.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// The relay that browsers are told of.
#[derive(Debug)]
pub struct Relay {
    urls: Vec<String>,
    secret: Redacted<String>,
    ttl: Duration,
}

impl Relay {
    /// Reads the settings, and the secret's file where one is named. `None` without `turn_urls`.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub fn from_config(config: &SignalingConfig) -> Result<Option<Self>, Error> {
        let refuse = |text: &str| Err(Error::Settings(text.to_owned()));
        if config.turn_urls.is_empty() {
            let has_secret = config.turn_secret.is_some() || config.turn_secret_file.is_some();
            return if has_secret { refuse("`turn_secret` without `turn_urls`") } else { Ok(None) };
        }
        if config.turn_urls.len() > MAX_URLS {
            return refuse("`turn_urls` has more than 8 addresses");
        }
        if let Some(bad) = config.turn_urls.iter().find(|url| !is_turn_url(url)) {
            return refuse(&format!("`turn_urls`: {bad} is not like turns:turn.example.org:443?transport=tcp"));
        }
        if !TTL.contains(&config.turn_ttl) {
            return refuse("`turn_ttl` must be between one minute and one day");
        }
        let secret = match (&config.turn_secret, &config.turn_secret_file) {
            (Some(_), Some(_)) => return refuse("`turn_secret` and `turn_secret_file`: only one of them"),
            (Some(secret), None) => secret.clone(),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Error::Settings(format!("`turn_secret_file` {}: {error}", file.display())))?;
                Redacted::new(text.trim().to_owned())
            }
            (None, None) => return refuse("`turn_urls` needs `turn_secret` or `turn_secret_file`"),
        };
        if secret.reveal().len() < SECRET_BYTES {
            return refuse("the TURN secret must have at least 16 characters");
        }
        Ok(Some(Self { urls: config.turn_urls.clone(), secret, ttl: config.turn_ttl }))
    }

    /// How long credentials hold for a new allocation; one that stands is not touched by their end.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The entry for one person. The name behind the expiry is the same each time, so that the relay's quota for one user counts
    /// all that one person allocates; it says nobody's id.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn server(&self, who: ParticipantId, now: OffsetDateTime) -> IceServer {
        let key = self.secret.reveal().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
        mac.update(b"anteroom relay user");
        mac.update(who.as_uuid().as_bytes());
        let digest = mac.finalize().into_bytes();
        let name = URL_SAFE_NO_PAD.encode(digest.get(..12).unwrap_or(&digest));
        let username = format!("{}:{name}", (now + self.ttl).unix_timestamp());
        let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes any key length");
        mac.update(username.as_bytes());
        let credential = STANDARD.encode(mac.finalize().into_bytes());
        IceServer { urls: self.urls.clone(), username: Redacted::new(username), credential: Redacted::new(credential) }
    }
}

/// `turn:host[:port][?transport=udp|tcp]`, or `turns:`, RFC 7065.
fn is_turn_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("turn:").or_else(|| url.strip_prefix("turns:")) else { return false };
    let (address, transport) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let is_host = |host: &str| {
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match v6 {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')),
        }
    };
    is_host(host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && transport.is_none_or(|query| matches!(query, "transport=udp" | "transport=tcp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> SignalingConfig {
        SignalingConfig {
            turn_urls: vec![url.to_owned()],
            turn_secret: Some(Redacted::new("north-sea-harbour".to_owned())),
            ..SignalingConfig::default()
        }
    }

    #[test]
    fn credentials_are_those_that_coturn_expects() {
        let relay = Relay::from_config(&config("turn:turn.example.org:3478")).unwrap().unwrap();
        let who = ParticipantId::from_uuid(uuid::Uuid::from_u128(7));
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let server = relay.server(who, now);
        let (expiry, name) = server.username.reveal().split_once(':').unwrap();
        assert_eq!(expiry, "1700003600");
        assert_eq!(name.len(), 16);
        assert!(!name.contains(&who.as_uuid().simple().to_string()[..8]));
        // printf %s "$username" | openssl dgst -sha1 -hmac north-sea-harbour -binary | base64
        let mut mac = Hmac::<Sha1>::new_from_slice(b"north-sea-harbour").unwrap();
        mac.update(server.username.reveal().as_bytes());
        assert_eq!(*server.credential.reveal(), STANDARD.encode(mac.finalize().into_bytes()));
        let later = relay.server(who, now + Duration::from_secs(60));
        assert_eq!(later.username.reveal().split_once(':').unwrap().1, name, "one person is one user to the quota");
        assert_ne!(later.credential, server.credential);
        let other = relay.server(ParticipantId::random(), now);
        assert_ne!(other.username.reveal().split_once(':').unwrap().1, name);
        assert!(!format!("{server:?} {relay:?}").contains("north-sea"));
        assert!(!format!("{server:?}").contains(server.credential.reveal()));
    }

    #[test]
    fn hmac_sha1_is_the_one_of_rfc_2202() {
        let mut mac = Hmac::<Sha1>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        assert_eq!(hex::encode(mac.finalize().into_bytes()), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_in_words() {
        for good in [
            "turn:turn.example.org",
            "turns:turn.example.org:443?transport=tcp",
            "turn:[2001:db8::1]:3478?transport=udp",
            "turn:192.0.2.1",
        ] {
            assert!(Relay::from_config(&config(good)).unwrap().is_some(), "{good}");
        }
        for bad in [
            "stun:turn.example.org",
            "turn:",
            "turn://turn.example.org",
            "turns:a:0",
            "turn:a:99999",
            "turn:a?transport=sctp",
            "turn:a b",
        ] {
            assert!(Relay::from_config(&config(bad)).is_err(), "{bad}");
        }
        let secret = |text: &str| Some(Redacted::new(text.to_owned()));
        let good = config("turn:a");
        assert!(Relay::from_config(&SignalingConfig { turn_secret: None, ..good.clone() }).is_err());
        assert!(Relay::from_config(&SignalingConfig { turn_secret: secret("short"), ..good.clone() }).is_err());
        assert!(Relay::from_config(&SignalingConfig { turn_urls: Vec::new(), ..good.clone() }).is_err());
        assert!(Relay::from_config(&SignalingConfig { turn_ttl: Duration::ZERO, ..good.clone() }).is_err());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("turn.secret");
        std::fs::write(&file, "from-a-file-of-the-operator\n").unwrap();
        let from_file = SignalingConfig { turn_secret: None, turn_secret_file: Some(file.clone()), ..good.clone() };
        assert!(Relay::from_config(&from_file).unwrap().is_some());
        assert!(Relay::from_config(&SignalingConfig { turn_secret_file: Some(file), ..good }).is_err(), "both");
        assert!(Relay::from_config(&SignalingConfig::default()).unwrap().is_none());
    }

    #[test]
    fn addresses_come_comma_separated_from_the_environment() {
        let env = |name: &str| match name {
            "ANTEROOM_DATABASE_URL" => Some("postgres://localhost/x".to_owned()),
            "ANTEROOM_TURN_URLS" => Some("turn:a:3478, turns:a:443?transport=tcp".to_owned()),
            "ANTEROOM_TURN_SECRET" => Some("north-sea-harbour".to_owned()),
            "ANTEROOM_TURN_TTL" => Some("10m".to_owned()),
            _ => None,
        };
        let config = SignalingConfig::load(None, env).unwrap();
        assert_eq!(config.turn_urls, ["turn:a:3478", "turns:a:443?transport=tcp"]);
        assert_eq!(Relay::from_config(&config).unwrap().unwrap().ttl(), Duration::from_secs(600));
        assert!(!format!("{config:?}").contains("north-sea"));
    }
}
