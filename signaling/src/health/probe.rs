//! Asks a running server, by its public address, for what tells whose it is: for `anteroom doctor`.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::time::timeout;

use crate::tls::certificate::provider;

/// How long the answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The longest answer, in bytes.
const MOST: usize = 64 * 1024;

/// The key set (RFC 7517) of whatever answers at this public URL. Certificates are checked as a browser does.
///
/// # Errors
/// What went wrong, in words.
pub async fn public_keys(public_url: &str) -> Result<Value, String> {
    let uri: Uri = format!("{}/.well-known/jwks.json", public_url.trim_end_matches('/'))
        .parse()
        .map_err(|_| "it is no URL".to_owned())?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let exchange = async {
        let answer = client.get(uri).await.map_err(|error| reason(&error))?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}: does the proxy lead to this server?", answer.status().as_u16()));
        }
        let body =
            Limited::new(answer.into_body(), MOST).collect().await.map_err(|_| "its answer breaks off".to_owned())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_| "another program answers there".to_owned())
    };
    timeout(WITHIN, exchange).await.map_err(|_| "it does not answer in time: does a firewall stop it?".to_owned())?
}

/// The last of a chain of causes: the one that says what happened.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("it cannot be reached ({cause}): is the name right, and does it lead here?")
}
