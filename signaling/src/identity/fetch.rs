//! One request to the provider over a connection of its own: TLS unless it stays on this machine, no redirect, bounded in time and size.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::identity::config::is_safe;
use crate::webhook::deliver::read_roots;

/// How long one request may take, from the name to the last byte.
const WITHIN: Duration = Duration::from_secs(8);

/// The longest answer. Key sets and discovery documents are a few kilobytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Why there is no answer. Fit for a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Plain http beyond this machine, or no address at all.
    #[error("the address is not https")]
    Plain,
    /// No name, no port, no answer.
    #[error("nobody answers at the address")]
    Unreachable,
    /// The certificate.
    #[error("the certificate is not good for this name, or TLS failed")]
    Tls,
    /// No HTTP, or too long.
    #[error("what was answered is not HTTP, or is too long")]
    Protocol,
    /// Too slow.
    #[error("it took too long")]
    Slow,
}

/// Asks. One for the process.
#[derive(Debug, Default)]
pub struct Client {
    /// Read when the first `https` address is due.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Client {
    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        timeout(WITHIN, Box::pin(self.try_send(request))).await.map_err(|_| Failure::Slow)?
    }

    async fn try_send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let uri = request.uri().clone();
        if !is_safe(&uri.to_string()) {
            return Err(Failure::Plain);
        }
        let authority = uri.authority().ok_or(Failure::Plain)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let (mut parts, body) = request.into_parts();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse().map_err(|_| Failure::Protocol)?;
        let named = authority.as_str().parse().map_err(|_| Failure::Protocol)?;
        parts.headers.insert(header::HOST, named);
        parts.headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        let request = Request::from_parts(parts, Body::from(body));
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|_| Failure::Unreachable)?;
        if !is_https {
            return exchange(stream, request).await;
        }
        let config = self.tls.get_or_init(read_roots).await;
        let name = ServerName::try_from(host).map_err(|_| Failure::Tls)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|_| Failure::Tls)?;
        exchange(stream, request).await
    }
}

/// The way in for the OpenID library, which brings no HTTP of its own here.
impl<'c> AsyncHttpClient<'c> for Client {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Failure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<HttpResponse, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Protocol)?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|_| Failure::Protocol)?;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MAX_ANSWER).await.map_err(|_| Failure::Protocol)?;
        Ok(Response::from_parts(parts, body.to_vec()))
    };
    let answer = answer.await;
    connection.abort();
    answer
}
