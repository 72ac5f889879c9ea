//! TLS in the process itself: which certificate is shown, and how a new one takes the place of an old one while people are connected.

pub mod acme;
pub mod certificate;
pub mod config;
mod files;
pub mod redirect;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::tls::certificate::{Certificate, provider};
use crate::tls::config::TlsConfig;
use crate::tls::files::Files;

/// How long a handshake may take. It counts against the bounds on connections all the while.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// The protocol by which a certificate authority asks whether a name is ours (RFC 8737).
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Ends TLS on accepted connections. Cheap to clone; all clones show the same certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    metrics: Metrics,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// What keeps the certificate fresh; [`Keeper::run`] does so until the role stops.
#[derive(Debug)]
pub struct Keeper {
    source: Source,
    shown: Arc<Shown>,
    clock: Clock,
}

#[derive(Debug)]
enum Source {
    Files(Files, Duration),
    Acme(acme::Orders),
}

impl Tls {
    /// Reads what is there already. `None` when the settings ask for no TLS.
    ///
    /// # Errors
    /// When the certificate or its key cannot be used: the sentence for the operator.
    pub fn open(config: &TlsConfig, metrics: &Metrics, clock: &Clock) -> Result<Option<(Self, Keeper)>> {
        let shown = Arc::new(Shown { metrics: metrics.clone(), ..Shown::default() });
        let source = if let Some((chain, key)) = config.files() {
            let mut files = Files::new(chain, key);
            shown.show(files.read().map_err(Error::Settings)?, clock);
            Source::Files(files, config.look_every)
        } else if config.is_acme() {
            let orders = acme::Orders::open(config, Arc::clone(&shown))?;
            if let Some(certificate) = orders.find_kept() {
                shown.show(certificate, clock);
            }
            Source::Acme(orders)
        } else {
            return Ok(None);
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| Error::Inside(format!("tls: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        if config.is_acme() {
            server.alpn_protocols.push(ACME_PROTOCOL.to_vec());
        }
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let tls = Self { acceptor, shown: Arc::clone(&shown), metrics: metrics.clone() };
        Ok(Some((tls, Keeper { source, shown, clock: clock.clone() })))
    }

    /// The encrypted stream, or nothing when the handshake failed, took too long, or was a certificate authority's question.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_PROTOCOL) => None,
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                // A scanner, a browser that does not trust us, or plain HTTP. The kind holds nothing that was sent.
                tracing::debug!(kind = ?error.kind(), "a TLS handshake failed");
                self.metrics.note_handshake_failed("failed");
                None
            }
            Err(_) => {
                self.metrics.note_handshake_failed("slow");
                None
            }
        }
    }
}

impl Keeper {
    /// Puts new certificates in the place of old ones until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        match self.source {
            Source::Files(files, every) => files::keep(files, every, &self.shown, &self.clock, &stop).await,
            Source::Acme(orders) => acme::keep(orders, &self.clock, &stop).await,
        }
    }
}

/// What is shown to whoever connects.
#[derive(Default)]
struct Shown {
    certificate: RwLock<Option<Arc<CertifiedKey>>>,
    /// Answers to a certificate authority, by name.
    answers: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    metrics: Metrics,
}

impl Shown {
    fn show(&self, certificate: Certificate, clock: &Clock) {
        let left = certificate.not_after - clock.now();
        if left.is_negative() {
            tracing::error!("the certificate has expired: browsers refuse it");
        }
        tracing::info!(days_left = left.whole_days(), "a certificate is shown");
        self.metrics.set_certificate_end(certificate.not_after);
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate.key);
    }

    fn answer(&self, name: &str, key: Arc<CertifiedKey>) {
        self.answers.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), key);
    }

    fn forget_answers(&self) {
        self.answers.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks_for_proof = hello.alpn().is_some_and(|mut offered| {
            // RFC 8737, section 3: this protocol and no other.
            offered.next() == Some(ACME_PROTOCOL) && offered.next().is_none()
        });
        if asks_for_proof {
            let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
            return answers.get(hello.server_name()?).cloned();
        }
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
