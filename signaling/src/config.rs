//! `SignalingConfig`: the documented settings of the role, from file and environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use wire::settings;
use wire::{RecorderId, Redacted};

use crate::address::networks;
use crate::audit::anchoring::Anchoring;
use crate::audit::config::AuditConfig;
use crate::audit::spool::Spool;
use crate::auth::StaffRole;
use crate::auth::signing_config::SigningConfig;
use crate::db;
use crate::error::Error;
use crate::identity::config::IdentityConfig;
use crate::ids::OrgId;
use crate::metrics::Metrics;
use crate::notice::config::NoticeConfig;
use crate::recording::Vault;
use crate::telemetry::export::TracingConfig;
use crate::tls::config::TlsConfig;
use crate::webhook::networks::Networks;

/// Settings of the signaling role: table `[signaling]` of the file, variables `ANTEROOM_<FIELD>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalingConfig {
    /// `development` opens the demo sign-in; `production` does not know those routes. Default `production`.
    pub profile: Profile,
    /// Where HTTP listens. Default `127.0.0.1:8080`; port 0 takes a free one.
    pub http: SocketAddr,
    /// How people reach the service, without a trailing slash: links are built from it and a browser's `Origin` must equal it.
    /// Default `http://localhost:<port>`.
    pub public_url: Option<String>,
    /// The login of the server. It must own nothing and be a member of `anteroom_server`.
    pub database_url: Redacted<String>,
    /// The login that owns the tables and runs migrations. Without it, migrations are somebody else's work.
    pub migration_url: Option<Redacted<String>>,
    /// Database connections at most. Default 16. A request that finds none free for 5 s is answered 503.
    pub database_connections: u32,
    /// TCP connections that carry requests at most, in all. Default 8192. The process needs an open file for each of these and for
    /// each WebSocket.
    pub connections: usize,
    /// Those from one address at most (an IPv6 /64 is one). Loopback addresses and `trusted_proxies` have no bound of their own.
    /// Default 512: a clinic behind one address, with some to spare.
    pub connections_per_address: usize,
    /// WebSockets at most, in all. Default 8192.
    pub websockets: usize,
    /// WebSockets at most from one address, which a trusted proxy reports. Default 512.
    pub websockets_per_address: usize,
    /// Holds `signing.pem` and `lookup.key`. Default `keys`.
    pub key_dir: PathBuf,
    /// Reverse proxies whose `X-Forwarded-For` is believed: addresses, or networks such as `10.20.0.0/16`, comma-separated in the
    /// environment. Default none.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// How long before the scheduled start a join link opens. Default `10m`.
    #[serde(with = "humantime_serde")]
    pub join_opens_before: Duration,
    /// How long a link that a browser has claimed is kept for it. Default `90s`; 5 s to 10 min.
    #[serde(with = "humantime_serde")]
    pub join_lease: Duration,
    /// How long requests under way may take after a stop was asked for. Default `3s`.
    #[serde(with = "humantime_serde")]
    pub stop_grace: Duration,
    /// How long visits that run may go on after a stop was asked for. Nothing new begins meanwhile. Default `15m`; `0s` ends them
    /// at once.
    #[serde(with = "humantime_serde")]
    pub drain_limit: Duration,
    /// How long quality samples are kept. Default `90days`.
    #[serde(with = "humantime_serde")]
    pub quality_kept: Duration,
    /// Addresses of a TURN relay for networks that do not let media through, comma-separated in the environment, such as
    /// `turn:turn.example.org:3478,turns:turn.example.org:443?transport=tcp`. Default none.
    #[serde(deserialize_with = "list")]
    pub turn_urls: Vec<String>,
    /// What the relay calls `static-auth-secret`; at least 16 characters.
    pub turn_secret: Option<Redacted<String>>,
    /// A file with that secret, instead.
    pub turn_secret_file: Option<PathBuf>,
    /// How long credentials for the relay hold. Default `1h`; they are renewed during the visit.
    #[serde(with = "humantime_serde")]
    pub turn_ttl: Duration,
    /// Clients of the Chime API are told of the relay, where there is one. Default `true`. They use no other way then, which costs the
    /// relay all that they send and are sent; with `false` they come to the media ports directly, or not at all.
    pub chime_relay: bool,
    /// How long a meeting of the Chime API lives while nobody is connected, its first minutes included. Default `5m`, as on Chime; a
    /// practice whose patients wait longer for a clinician sets more.
    #[serde(with = "humantime_serde")]
    pub chime_silence: Duration,
    /// How long such a meeting lives at most. Default `24h`.
    #[serde(with = "humantime_serde")]
    pub chime_longest: Duration,
    /// Such meetings of one organisation at a time, at most. Default 250.
    pub chime_meetings: u32,
    /// Requests of the Chime API that one organisation may make in a second. Default 10.
    pub chime_rate: u32,
    /// Those that it may make at once. Default 20.
    pub chime_burst: u32,
    /// Buckets that captures may go to: `<organisation>/<bucket>`, or `*/<bucket>` for every organisation; comma-separated in the
    /// environment. Default none.
    #[serde(deserialize_with = "list")]
    pub chime_buckets: Vec<String>,
    /// The region that pages are told of when they ask which one is nearest. Default `us-east-1`; nothing else depends on it.
    pub chime_region: String,
    /// Private networks that webhooks may go to, such as `10.20.0.0/16`, comma-separated in the environment. Public addresses are
    /// reached by https alone; those named here also by http. Default none.
    #[serde(deserialize_with = "list")]
    pub webhook_networks: Vec<String>,
    /// How long after the first failed attempt a webhook is tried again; each further wait is three times as long, up to an hour.
    /// Default `5s`.
    #[serde(with = "humantime_serde")]
    pub webhook_retry: Duration,
    /// How old an event may become before it is given up. Default `3days`.
    #[serde(with = "humantime_serde")]
    pub webhook_give_up: Duration,
    /// How long delivered and given-up events are kept. Default `7days`.
    #[serde(with = "humantime_serde")]
    pub webhook_kept: Duration,
    /// Media pipelines of one organisation at a time, at most. Default 100.
    pub chime_pipelines: u32,
    /// Who carries notices, and when they are sent: the table `[notices]`.
    #[serde(skip)]
    pub notices: NoticeConfig,
    /// How people sign in: the table `[identity]`.
    #[serde(skip)]
    pub identity: IdentityConfig,
    /// Whether this process ends TLS itself; a table of its own.
    #[serde(skip)]
    pub tls: TlsConfig,
    /// Where traces go; a table of its own.
    #[serde(skip)]
    pub tracing: TracingConfig,
    /// A file whose time of change is that of the last good backup: a backup script touches it at its end. Default none: the age of
    /// backups is not watched.
    pub backup_stamp: Option<PathBuf>,
    /// The signing key: the table `signing`.
    #[serde(skip)]
    pub signing: SigningConfig,
    /// The demo practice, set by `anteroom dev` alone.
    #[serde(skip)]
    pub demo: Option<Demo>,
    /// What the role counts; whoever starts it keeps a clone to show.
    #[serde(skip)]
    pub metrics: Metrics,
    /// Where recordings rest; whoever starts the role opens it. Without it nothing can be played back.
    #[serde(skip)]
    pub vault: Option<Vault>,
    /// Settings of the audit: a table of their own.
    #[serde(skip)]
    pub audit: AuditConfig,
    /// Where the audit chain is anchored; whoever starts the role opens it. Without it a chain is held against itself alone.
    #[serde(skip)]
    pub anchoring: Option<Anchoring>,
    /// Wraps the data keys of sealed fields. Without it, what wraps those of recordings does.
    #[serde(skip)]
    pub data_keys: Option<std::sync::Arc<dyn vault::KeyProvider>>,
    /// Table `phi`: sealed fields.
    #[serde(skip)]
    pub phi: crate::phi::PhiConfig,
    /// What live Rooms cannot write while the database is away; whoever starts the role opens it. Without it such changes are lost.
    #[serde(skip)]
    pub spool: Option<Spool>,
    /// Buckets can encrypt by keys of their own; whoever opens them knows.
    #[serde(skip)]
    pub has_bucket_keys: bool,
    /// The recorder that can dial the Taps of the media node asked here: jobs are for it alone. Whoever starts the role knows both.
    /// Without it a job is for whichever recorder comes first, which is right only where there is one.
    #[serde(skip)]
    pub recorder: Option<RecorderId>,
}

/// Which machine this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A developer's machine: demo users may sign in without a password.
    Development,
    /// Everything else.
    Production,
}

/// A practice with people who sign in by a click.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The practice.
    pub org: OrgId,
    /// Who can sign in.
    pub users: Vec<DemoUser>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct DemoUser {
    /// Their id, as in a visit's `clinicianId`.
    pub sub: String,
    /// What they are.
    pub role: StaffRole,
    /// What the desk calls them.
    pub name: String,
}

impl Default for SignalingConfig {
    fn default() -> Self {
        Self {
            profile: Profile::Production,
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            database_url: Redacted::new(String::new()),
            migration_url: None,
            database_connections: 16,
            connections: 8_192,
            connections_per_address: 512,
            websockets: 8_192,
            websockets_per_address: 512,
            key_dir: PathBuf::from("keys"),
            trusted_proxies: Vec::new(),
            join_opens_before: Duration::from_secs(10 * 60),
            join_lease: Duration::from_secs(90),
            stop_grace: Duration::from_secs(3),
            drain_limit: Duration::from_secs(15 * 60),
            quality_kept: Duration::from_secs(90 * 24 * 60 * 60),
            turn_urls: Vec::new(),
            turn_secret: None,
            turn_secret_file: None,
            turn_ttl: Duration::from_secs(3600),
            chime_relay: true,
            chime_silence: Duration::from_secs(5 * 60),
            chime_longest: Duration::from_secs(24 * 60 * 60),
            chime_meetings: 250,
            chime_rate: 10,
            chime_burst: 20,
            chime_buckets: Vec::new(),
            chime_region: "us-east-1".to_owned(),
            webhook_networks: Vec::new(),
            webhook_retry: Duration::from_secs(5),
            webhook_give_up: Duration::from_secs(3 * 24 * 60 * 60),
            webhook_kept: Duration::from_secs(7 * 24 * 60 * 60),
            chime_pipelines: 100,
            notices: NoticeConfig::default(),
            identity: IdentityConfig::default(),
            tls: TlsConfig::default(),
            tracing: TracingConfig::default(),
            backup_stamp: None,
            signing: SigningConfig::default(),
            demo: None,
            metrics: Metrics::default(),
            vault: None,
            audit: AuditConfig::default(),
            anchoring: None,
            data_keys: None,
            phi: crate::phi::PhiConfig::default(),
            spool: None,
            has_bucket_keys: false,
            recorder: None,
        }
    }
}

impl SignalingConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &[
        "profile",
        "http",
        "public_url",
        "database_url",
        "migration_url",
        "database_connections",
        "connections",
        "connections_per_address",
        "websockets",
        "websockets_per_address",
        "key_dir",
        "trusted_proxies",
        "backup_stamp",
        "join_opens_before",
        "join_lease",
        "stop_grace",
        "drain_limit",
        "turn_urls",
        "turn_secret",
        "turn_secret_file",
        "turn_ttl",
        "quality_kept",
        "chime_relay",
        "chime_silence",
        "chime_longest",
        "chime_meetings",
        "chime_rate",
        "chime_burst",
        "chime_buckets",
        "chime_region",
        "webhook_networks",
        "webhook_retry",
        "webhook_give_up",
        "webhook_kept",
        "chime_pipelines",
    ];

    /// Defaults, then the file, then the environment.
    ///
    /// # Errors
    /// When a value does not fit its field, or they do not fit together.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut config: Self =
            settings::load("signaling", Self::FIELDS, file, &env).map_err(|e| Error::Settings(e.to_string()))?;
        config.audit = AuditConfig::load(file, &env)?;
        config.notices = NoticeConfig::load(file, &env)?;
        config.phi = crate::phi::PhiConfig::load(file, &env)?;
        config.identity = IdentityConfig::load(file, &env)?;
        config.tls = TlsConfig::load(file, &env)?;
        config.tracing = TracingConfig::load(file, &env)?;
        config.signing = SigningConfig::load(file, &env)?;
        config.validate()?;
        Ok(config)
    }

    /// Says which setting cannot be used.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Settings(text.to_owned()));
        if self.database_url.reveal().is_empty() {
            return refuse("`database_url` is missing");
        }
        if self.database_connections == 0 {
            return refuse("`database_connections` must be at least 1");
        }
        let bounds = [self.connections, self.connections_per_address, self.websockets, self.websockets_per_address];
        if bounds.contains(&0) {
            return refuse("`connections`, `websockets` and the two `_per_address` must be at least 1");
        }
        if self.chime_rate == 0 || self.chime_burst == 0 || self.chime_silence.is_zero() || self.chime_longest.is_zero()
        {
            return refuse(
                "`chime_rate`, `chime_burst`, `chime_silence` and `chime_longest` must be more than nothing",
            );
        }
        if self.chime_buckets.iter().any(|entry| entry.split_once('/').is_none_or(|(_, bucket)| bucket.is_empty())) {
            return refuse("`chime_buckets` must hold entries such as `<organisation>/<bucket>` or `*/<bucket>`");
        }
        if !(Duration::from_secs(5)..=Duration::from_secs(600)).contains(&self.join_lease) {
            return refuse("`join_lease` must be 5 s to 10 min");
        }
        Networks::parse(&self.webhook_networks)?;
        self.notices.validate(self.profile, self.public_url.as_deref())?;
        if self.webhook_retry.is_zero() {
            return refuse("`webhook_retry` must be more than nothing");
        }
        match &self.public_url {
            Some(url) => drop(PublicAddress::parse(url)?),
            None if self.profile == Profile::Production && !self.http.ip().is_loopback() => {
                return refuse("`public_url` is missing: how do people reach this service?");
            }
            None => {}
        }
        self.tls.validate()?;
        if self.tls.is_on() && !self.public_url.as_deref().is_some_and(|url| url.starts_with("https://")) {
            return refuse("`public_url` must say how people reach this service by https, now that it ends TLS itself");
        }
        if self.profile == Profile::Production {
            self.validate_production()?;
        }
        Ok(())
    }

    /// What the production profile holds to: nothing leaves this machine unencrypted, and no setting changes that.
    fn validate_production(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Settings(text));
        if self.demo.is_some() {
            return refuse("demo users exist in development only".to_owned());
        }
        if !self.http.ip().is_loopback() && !self.tls.is_on() && self.trusted_proxies.is_empty() {
            return refuse(format!(
                "`http` is {}, and nothing encrypts what people send there: set `certificate` and `key` of [tls], or `acme_domains`, or \
                 name the proxy that ends TLS in `trusted_proxies`",
                self.http
            ));
        }
        let urls = [("database_url", Some(&self.database_url)), ("migration_url", self.migration_url.as_ref())];
        for (name, url) in urls {
            if let Some(url) = url {
                db::link::demand_protection(url, name)?;
            }
        }
        Ok(())
    }
}

/// How people reach the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// Scheme, host and port, as a browser sends it in `Origin`.
    pub origin: String,
    /// Host and port.
    pub authority: String,
    /// True when the address is `https`.
    pub is_https: bool,
}

impl PublicAddress {
    /// Reads `https://host[:port]`, or `http://` for a loopback name.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let url = url.trim_end_matches('/');
        let refuse = |text: &str| Err(Error::Settings(format!("`public_url` {text}")));
        let Some((scheme, authority)) = url.split_once("://") else {
            return refuse("must look like https://visits.example.org");
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if authority.is_empty() || !authority.chars().all(plain) {
            return refuse("must hold a lower-case host and an optional port, and no path");
        }
        let is_https = match scheme {
            "https" => true,
            "http" if is_loopback_name(authority) => false,
            _ => return refuse("must be https, except on localhost: browsers give no camera to other pages"),
        };
        Ok(Self { origin: url.to_owned(), authority: authority.to_owned(), is_https })
    }

    /// `http://localhost:<port>`.
    #[must_use]
    pub fn localhost(port: u16) -> Self {
        Self { origin: format!("http://localhost:{port}"), authority: format!("localhost:{port}"), is_https: false }
    }
}

pub(crate) fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::List(list) => list,
        Form::Text(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
    })
}

/// True for `localhost` and loopback addresses, with or without a port.
#[must_use]
pub fn is_loopback_name(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        assert!(PublicAddress::parse("http://localhost:8080").is_ok());
        assert!(PublicAddress::parse("http://127.0.0.1:1").is_ok());
        assert!(PublicAddress::parse("http://[::1]:1/").is_ok());
        assert!(PublicAddress::parse("https://visits.example.org").is_ok());
        for bad in [
            "http://visits.example.org",
            "https://",
            "visits",
            "https://a/b",
            "https://A",
            "ftp://localhost",
            "https://a b",
        ] {
            assert!(PublicAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_come_from_the_environment() {
        let env = |name: &str| match name {
            "ANTEROOM_DATABASE_URL" => Some("postgres://localhost/x".to_owned()),
            "ANTEROOM_STOP_GRACE" => Some("7s".to_owned()),
            _ => None,
        };
        let config = SignalingConfig::load(None, env).unwrap();
        assert_eq!(config.stop_grace, Duration::from_secs(7));
        assert!(!format!("{config:?}").contains("postgres://localhost/x"));
        assert!(SignalingConfig::load(None, |_| None).is_err());
    }
}
