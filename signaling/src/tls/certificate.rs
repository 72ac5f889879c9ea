//! A certificate with its key: read from PEM, checked against each other, and asked how long it holds and for which names.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::clock::Timestamp;

/// The one cryptography that TLS uses here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A certificate, its chain and its key, ready to be shown.
#[derive(Clone)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// How many certificates there are: one alone is a certificate without its chain.
    pub length: usize,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads the chain, the server's own certificate first, and the key of that one.
    ///
    /// # Errors
    /// What is wrong, in words that hold nothing of the key.
    pub fn parse(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| "the certificate is not PEM".to_owned())?;
        let Some(own) = chain.first() else {
            return Err("there is no certificate in it (-----BEGIN CERTIFICATE-----)".to_owned());
        };
        let (_, parsed) = x509_parser::parse_x509_certificate(own)
            .map_err(|_| "the first certificate is no X.509 certificate".to_owned())?;
        let moment = |time: &x509_parser::time::ASN1Time| {
            OffsetDateTime::from_unix_timestamp(time.timestamp()).map_err(|_| "its dates cannot be read".to_owned())
        };
        let (not_before, not_after) = (moment(&parsed.validity().not_before)?, moment(&parsed.validity().not_after)?);
        let length = chain.len();
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|_| "there is no private key in the key's file (PEM, without a passphrase)".to_owned())?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
            _ => "the key cannot be used: RSA, ECDSA or Ed25519 is".to_owned(),
        })?;
        Ok(Self { key: Arc::new(key), not_before, not_after, length })
    }

    /// True when a browser that asks for this name accepts the certificate's names.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()) else { return false };
        self.key.end_entity_cert().is_ok_and(|own| {
            rustls::server::ParsedCertificate::try_from(own)
                .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok())
        })
    }
}
