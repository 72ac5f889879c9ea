//! Takes TCP connections: so many from one address, and none that dawdles over the head of its request.

pub mod places;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::address;
use crate::config::SignalingConfig;
use crate::metrics::Metrics;
use crate::server::places::{Place, Places};
use crate::tls::Tls;

/// How long the head of a request may take, the quiet time before it on a kept connection included. A proxy in front must let
/// its idle connections to us go sooner.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// The longest head, in bytes: cookies, a token and the headers of several proxies fit well. The answer beyond it is 431.
const MAX_HEAD: usize = 32 * 1024;

/// How long nothing is accepted after the system refused, because it has no more files perhaps.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until told to stop; then waits for the requests under way. Who calls it limits that wait.
pub async fn serve(listener: TcpListener, router: Router, gate: &Gate, stop: CancellationToken) {
    let under_way = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(gate.head_within).max_buf_size(MAX_HEAD);
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // It had gone before we came to it.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "no connection could be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        // One too many is closed without a word: an answer would cost what the bound is there to save.
        if let Some(place) = gate.admit(peer) {
            let router = gate.service_for(peer, &router).clone();
            let arrived = Arrived { stream, peer, place };
            under_way.spawn(attend(arrived, gate.tls.clone(), router, http.clone(), stop.clone()));
        }
    }
    // Nobody new gets through while the last requests end.
    drop(listener);
    under_way.close();
    under_way.wait().await;
}

/// Decides which connections are taken, and what they get.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Places>,
    /// Behind one of these there are many people.
    proxies: Vec<IpNet>,
    /// Whether such addresses have no bound of their own.
    spares_shared: bool,
    head_within: Duration,
    /// What is refused, in the metrics.
    what: &'static str,
    metrics: Metrics,
    /// Encrypts what is said.
    tls: Option<Tls>,
    /// What somebody gets who comes unencrypted, from another machine, and by no proxy.
    unprotected: Option<Router>,
}

impl Gate {
    /// For people: pages, requests and WebSockets.
    #[must_use]
    pub fn new(config: &SignalingConfig) -> Self {
        Self {
            places: Places::new(config.connections, config.connections_per_address),
            proxies: config.trusted_proxies.clone(),
            spares_shared: true,
            head_within: HEAD_WITHIN,
            what: "connection",
            metrics: config.metrics.clone(),
            tls: None,
            unprotected: None,
        }
    }

    /// For a few programs that read figures.
    #[must_use]
    pub fn for_scrapers(metrics: Metrics) -> Self {
        Self {
            places: Places::new(64, 16),
            proxies: Vec::new(),
            spares_shared: false,
            head_within: HEAD_WITHIN,
            what: "scrape",
            metrics,
            tls: None,
            unprotected: None,
        }
    }

    /// Connections are encrypted.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Connections are plain, and whoever comes neither from this machine nor by a trusted proxy gets this instead.
    #[must_use]
    pub fn with_unprotected(self, router: Option<Router>) -> Self {
        Self { unprotected: router, ..self }
    }

    fn service_for<'a>(&'a self, peer: SocketAddr, router: &'a Router) -> &'a Router {
        let is_protected = self.tls.is_some() || address::is_shared(peer.ip().to_canonical(), &self.proxies);
        self.unprotected.as_ref().filter(|_| !is_protected).unwrap_or(router)
    }

    fn admit(&self, peer: SocketAddr) -> Option<Place> {
        let address = peer.ip().to_canonical();
        let is_shared = self.spares_shared && address::is_shared(address, &self.proxies);
        let place = self.places.enter((!is_shared).then_some(address));
        place.inspect_err(|full| self.metrics.note_refused(self.what, *full)).ok()
    }
}

/// A connection that is taken.
struct Arrived {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
}

/// Serves one connection until it ends or becomes a WebSocket; after the stop, until the request under way is answered.
async fn attend(arrived: Arrived, tls: Option<Tls>, router: Router, http: http1::Builder, stop: CancellationToken) {
    let Arrived { stream, peer, place } = arrived;
    // Messages to a client are small and come in twos: with Nagle's algorithm the second waits for the client's delayed
    // acknowledgement of the first, 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    match tls {
        None => converse(stream, peer, router, http, stop).await,
        Some(tls) => {
            let encrypted = tokio::select! {
                encrypted = tls.accept(stream) => encrypted,
                () = stop.cancelled() => None,
            };
            if let Some(stream) = encrypted {
                converse(stream, peer, router, http, stop).await;
            }
        }
    }
    drop(place);
}

/// Speaks HTTP over a stream.
async fn converse<S>(stream: S, peer: SocketAddr, router: Router, http: http1::Builder, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move { router.call(request).await }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Broken off, timed out or no HTTP: the client's own affair.
        tracing::debug!(is_timeout = error.is_timeout(), is_parse = error.is_parse(), "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
