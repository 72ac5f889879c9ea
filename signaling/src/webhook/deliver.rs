//! One attempt: a POST over a connection of its own. The name is resolved here, the address behind it is judged, and that very address
//! is connected to; nothing is followed anywhere else.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::webhook::networks::Networks;
use crate::webhook::target::Place;

/// How long one attempt may take, from the name to the answer.
pub(crate) const SEND_WITHIN: Duration = Duration::from_secs(10);

/// How long one of several addresses of a name may take to answer a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 3;

/// The longest `Retry-After` that is heeded.
const LONGEST_ASKED: u64 = 60 * 60;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) id: &'a str,
    /// Seconds since 1970, as signed.
    pub(crate) timestamp: i64,
    pub(crate) signature: &'a str,
    pub(crate) body: &'a str,
}

/// What the receiver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
}

/// Why it said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the name does not resolve")]
    Unresolved,
    #[error("the address is in a network that is not allowed: see webhook_networks")]
    Forbidden,
    #[error("plain http is for the networks of webhook_networks alone")]
    Plain,
    #[error("nobody answers at the address")]
    Unreachable,
    #[error("the certificate is not good for this name, or TLS failed")]
    Tls,
    #[error("what was answered is not HTTP")]
    Protocol,
    #[error("its address or its secret cannot be read: remove the webhook and add it anew")]
    Unusable,
    #[error("it took too long")]
    Slow,
}

/// Sends. One for the process.
#[derive(Debug)]
pub(crate) struct Client {
    networks: Networks,
    /// Read when the first `https` target is due.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Client {
    /// Reaches public addresses and those of the named networks.
    pub(crate) const fn new(networks: Networks) -> Self {
        Self { networks, tls: OnceCell::const_new() }
    }

    /// Trusts these authorities instead of the system's.
    #[cfg(test)]
    pub(crate) fn trusting(networks: Networks, roots: RootCertStore) -> Self {
        Self { networks, tls: OnceCell::new_with(Some(to_config(roots))) }
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn send(&self, place: &Place, attempt: Attempt<'_>) -> Result<Answered, Failure> {
        timeout(SEND_WITHIN, Box::pin(self.try_send(place, attempt))).await.map_err(|_| Failure::Slow)?
    }

    async fn try_send(&self, place: &Place, attempt: Attempt<'_>) -> Result<Answered, Failure> {
        let stream = self.connect(place).await?;
        let request = Request::post(&place.path)
            .header(header::HOST, &place.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "anteroom-webhook/1")
            .header(header::CONNECTION, "close")
            .header("webhook-id", attempt.id)
            .header("webhook-timestamp", attempt.timestamp)
            .header("webhook-signature", attempt.signature)
            .body(Body::from(attempt.body.to_owned()))
            .map_err(|_| Failure::Protocol)?;
        if !place.is_https {
            return exchange(stream, request).await;
        }
        let config = self.tls.get_or_init(read_roots).await;
        let name = ServerName::try_from(place.host.clone()).map_err(|_| Failure::Tls)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|_| Failure::Tls)?;
        exchange(stream, request).await
    }

    /// Fetches what an `https` address answers with 200, `most` bytes of it at most.
    ///
    /// # Errors
    /// [`Failure`]; `Protocol` for any other answer, and for a longer one.
    pub(crate) async fn get(&self, place: &Place, most: usize) -> Result<Vec<u8>, Failure> {
        if !place.is_https {
            return Err(Failure::Plain);
        }
        let fetched = timeout(SEND_WITHIN, async {
            let stream = self.connect(place).await?;
            let config = self.tls.get_or_init(read_roots).await;
            let name = ServerName::try_from(place.host.clone()).map_err(|_| Failure::Tls)?;
            let stream =
                TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|_| Failure::Tls)?;
            let request = Request::get(&place.path)
                .header(header::HOST, &place.authority)
                .header(header::USER_AGENT, "anteroom-webhook/1")
                .header(header::CONNECTION, "close")
                .body(Body::empty())
                .map_err(|_| Failure::Protocol)?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Protocol)?;
            let read = async {
                let response = sender.send_request(request).await.map_err(|_| Failure::Protocol)?;
                if response.status() != StatusCode::OK {
                    return Err(Failure::Protocol);
                }
                let body = axum::body::to_bytes(Body::new(response.into_body()), most).await;
                body.map(|bytes| bytes.to_vec()).map_err(|_| Failure::Protocol)
            };
            let mut connection = pin!(connection);
            let mut read = pin!(read);
            tokio::select! {
                biased;
                body = &mut read => body,
                // The last bytes may be here already when the other side closes.
                _ = &mut connection => read.await,
            }
        });
        Box::pin(fetched).await.map_err(|_| Failure::Slow)?
    }

    async fn connect(&self, place: &Place) -> Result<TcpStream, Failure> {
        let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|_| Failure::Unresolved)?.collect();
        for address in self.choose(place, &addresses)? {
            if let Ok(Ok(stream)) = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
                return Ok(stream);
            }
        }
        Err(Failure::Unreachable)
    }
}

impl Client {
    /// Which of a name's addresses are connected to.
    fn choose(&self, place: &Place, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, Failure> {
        if addresses.is_empty() {
            return Err(Failure::Unresolved);
        }
        let allowed: Vec<_> = addresses.iter().filter(|at| self.networks.is_allowed(at.ip())).collect();
        if allowed.is_empty() {
            return Err(Failure::Forbidden);
        }
        let chosen = allowed.into_iter().filter(|at| place.is_https || self.networks.is_named(at.ip()));
        let chosen: Vec<_> = chosen.take(MOST_ADDRESSES).copied().collect();
        if chosen.is_empty() { Err(Failure::Plain) } else { Ok(chosen) }
    }
}

/// Sends a request and reads the head of its answer; nobody needs the rest.
async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Answered, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Protocol)?;
    let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // A receiver that closes at once has answered by then, or never will.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let response = response.map_err(|_| Failure::Protocol)?;
    Ok(Answered { status: response.status().as_u16(), retry_after: retry_after(response.status(), response.headers()) })
}

fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_ASKED)))
}

/// The authorities that the system trusts, those of `SSL_CERT_FILE` instead where that is set.
pub(crate) async fn read_roots() -> Arc<ClientConfig> {
    let read = tokio::task::spawn_blocking(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let roots = read.await.unwrap_or_else(|_| RootCertStore::empty());
    if roots.is_empty() {
        tracing::error!("this system trusts no certificate authority: no https webhook can be delivered");
    }
    to_config(roots)
}

fn to_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the default protocol versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}
