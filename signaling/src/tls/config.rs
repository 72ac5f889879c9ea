//! `TlsConfig`: whether this process ends TLS itself, and where its certificate comes from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use wire::settings;

use crate::config::list;
use crate::error::Error;

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Settings of TLS: table `[tls]` of the file, variables `ANTEROOM_TLS_<FIELD>`. Without `certificate` and without `acme_domains` the
/// process speaks plain HTTP, on a loopback address or behind a proxy that is named in `trusted_proxies`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The certificate and its chain, PEM, the server's own first.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM, without a passphrase.
    pub key: Option<PathBuf>,
    /// How often the two files are looked at for new ones. Default `10s`. SIGHUP has them looked at now.
    #[serde(with = "humantime_serde")]
    pub look_every: Duration,
    /// Names to order a certificate for, by ACME (RFC 8555), comma-separated in the environment. The authority connects to each of them
    /// at port 443, which must lead to this process. Default none.
    #[serde(deserialize_with = "list")]
    pub acme_domains: Vec<String>,
    /// The terms of the authority are agreed to. Nothing is ordered otherwise. Default `false`.
    pub acme_terms_agreed: bool,
    /// Where the authority may write to, such as `mailto:it@clinic.example.org`. Default none.
    #[serde(deserialize_with = "list")]
    pub acme_contact: Vec<String>,
    /// The authority's directory. Default that of Let's Encrypt.
    pub acme_directory: String,
    /// Holds the account, the certificate and its key. Default `acme`.
    pub acme_folder: PathBuf,
    /// The root certificate, PEM, of an authority that the system does not know. Default none.
    pub acme_root: Option<PathBuf>,
    /// An address for plain HTTP, such as `0.0.0.0:80`, that answers nothing but where the encrypted one is. Default none.
    pub http_redirect: Option<SocketAddr>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            look_every: Duration::from_secs(10),
            acme_domains: Vec::new(),
            acme_terms_agreed: false,
            acme_contact: Vec::new(),
            acme_directory: DIRECTORY.to_owned(),
            acme_folder: PathBuf::from("acme"),
            acme_root: None,
            http_redirect: None,
        }
    }
}

impl TlsConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &[
        "certificate",
        "key",
        "look_every",
        "acme_domains",
        "acme_terms_agreed",
        "acme_contact",
        "acme_directory",
        "acme_folder",
        "acme_root",
        "http_redirect",
    ];

    /// Defaults, then the file, then the environment. Only the long names count: `ANTEROOM_KEY` would say too little.
    ///
    /// # Errors
    /// When a value does not fit its field.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let env = |name: &str| name.starts_with("ANTEROOM_TLS_").then(|| env(name)).flatten();
        settings::load("tls", Self::FIELDS, file, env).map_err(|error| Error::Settings(error.to_string()))
    }

    /// True when connections are encrypted by this process.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.certificate.is_some() || self.is_acme()
    }

    /// True when the certificate is ordered by this process.
    #[must_use]
    pub fn is_acme(&self) -> bool {
        !self.acme_domains.is_empty()
    }

    /// The files of the certificate and its key.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.certificate.as_deref().zip(self.key.as_deref())
    }

    /// Says which setting cannot be used.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Settings(text.to_owned()));
        if self.certificate.is_some() != self.key.is_some() {
            return refuse("`certificate` and `key` of [tls] belong together: one of them is missing");
        }
        if self.certificate.is_some() && self.is_acme() {
            return refuse("[tls] has both `certificate` and `acme_domains`: which one is meant?");
        }
        if self.look_every.is_zero() {
            return refuse("`look_every` of [tls] must be more than nothing");
        }
        if self.is_acme() && !self.acme_terms_agreed {
            return refuse(
                "`acme_domains` needs `acme_terms_agreed = true`: read the terms of the certificate authority first",
            );
        }
        if self.is_acme() && !self.acme_directory.starts_with("https://") {
            return refuse("`acme_directory` must begin with https://");
        }
        let is_name = |name: &String| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'))
        };
        if !self.acme_domains.iter().all(is_name) {
            return refuse("`acme_domains` must be names such as visits.example.org: lower case, no port, no asterisk");
        }
        if self.http_redirect.is_some() && !self.is_on() {
            return refuse(
                "`http_redirect` leads to an encrypted address, and there is none: set `certificate` or `acme_domains`",
            );
        }
        Ok(())
    }
}
