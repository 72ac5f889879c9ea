//! How a certificate authority is spoken to: HTTPS alone, verified by the system's roots or by the one that the operator names.

use std::path::Path;

use axum::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::tls::certificate::provider;

struct Https(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl HttpClient for Https {
    fn request(
        &self,
        request: axum::http::Request<BodyWrapper<Bytes>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            answer.await.map(BytesResponse::from).map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

/// A client that trusts the root in this file, or else those of the system.
pub(super) fn build(root: Option<&Path>) -> Result<Box<dyn HttpClient>, String> {
    let mut roots = RootCertStore::empty();
    match root {
        Some(path) => {
            let root = CertificateDer::from_pem_file(path)
                .map_err(|_| format!("`acme_root` {}: no certificate can be read from it", path.display()))?;
            roots.add(root).map_err(|_| format!("`acme_root` {} is no root certificate", path.display()))?;
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Ok(Box::new(Https(Client::builder(TokioExecutor::new()).build(connector))))
}
