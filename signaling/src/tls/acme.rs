//! Certificates by ACME (RFC 8555): ordered at the first start, renewed when a third of their time is left. The authority's question is
//! answered in the TLS handshake itself (RFC 8737), so port 443 is all that it needs.

mod client;
mod folder;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::tls::Shown;
use crate::tls::certificate::{Certificate, provider};
use crate::tls::config::TlsConfig;
use folder::Folder;

/// How often a certificate is asked whether it is due.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long after the first failed order the next one is tried; each further wait is twice as long. Authorities limit failed orders:
/// Let's Encrypt takes five an hour for one name.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);

/// How long one order may take, from the account to the certificate.
const ORDER_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Orders certificates for the names of the settings.
pub(super) struct Orders {
    domains: Vec<String>,
    contact: Vec<String>,
    directory: String,
    root: Option<std::path::PathBuf>,
    folder: Folder,
    shown: Arc<Shown>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("domains", &self.domains).finish_non_exhaustive()
    }
}

impl Orders {
    /// Opens the folder of the account, which is made if it is missing.
    pub(super) fn open(config: &TlsConfig, shown: Arc<Shown>) -> Result<Self> {
        let folder = Folder::open(&config.acme_folder)
            .map_err(|error| Error::Settings(format!("`acme_folder` {}: {error}", config.acme_folder.display())))?;
        Ok(Self {
            domains: config.acme_domains.clone(),
            contact: config.acme_contact.clone(),
            directory: config.acme_directory.clone(),
            root: config.acme_root.clone(),
            folder,
            shown,
        })
    }

    /// The certificate of an earlier order, if it is for all of today's names.
    pub(super) fn find_kept(&self) -> Option<Certificate> {
        let bundle = self.folder.read_certificate()?;
        let kept = Certificate::parse(&bundle, &bundle).inspect_err(|error| {
            tracing::warn!(%error, "the certificate of an earlier order cannot be used: a new one is ordered");
        });
        kept.ok().filter(|kept| self.domains.iter().all(|domain| kept.is_for(domain)))
    }

    /// Goes the whole way once.
    async fn order(&self) -> std::result::Result<Certificate, String> {
        let told = |what: &'static str| move |error: instant_acme::Error| format!("{what}: {error}");
        let account = self.account().await?;
        let names: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(told("the order was not taken"))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(told("an authorization cannot be read"))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or("the authority does not offer the question by TLS (tls-alpn-01)")?;
            let name = challenge.identifier().to_string();
            let proof = challenge.key_authorization();
            self.shown.answer(&name, answer(&name, proof.digest().as_ref())?);
            challenge.set_ready().await.map_err(told("the authority did not take the answer"))?;
        }
        let patience = RetryPolicy::default().timeout(ORDER_WITHIN);
        match order.poll_ready(&patience).await.map_err(told("the names could not be proved"))? {
            OrderStatus::Ready | OrderStatus::Valid => {}
            OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Processing => {
                return Err("the names could not be proved: does port 443 of each lead here?".to_owned());
            }
        }
        let (request, key) = request(&self.domains)?;
        order.finalize_csr(&request).await.map_err(told("the request was not taken"))?;
        let chain = order.poll_certificate(&patience).await.map_err(told("no certificate was given"))?;
        let certificate = Certificate::parse(chain.as_bytes(), key.as_bytes())?;
        let bundle = format!("{key}{chain}");
        self.folder.write_certificate(bundle.as_bytes()).map_err(|error| format!("it cannot be kept: {error}"))?;
        Ok(certificate)
    }

    /// The account of earlier orders, or a new one.
    async fn account(&self) -> std::result::Result<Account, String> {
        let http = || client::build(self.root.as_deref()).map(Account::builder_with_http);
        if let Some(kept) = self.folder.read_account(&self.directory) {
            return http()?
                .from_credentials(kept)
                .await
                .map_err(|error| format!("the account cannot be used: {error}"));
        }
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = http()?
            .create(&new, self.directory.clone(), None)
            .await
            .map_err(|error| format!("no account was given: {error}"))?;
        self.folder
            .write_account(&self.directory, &credentials)
            .map_err(|error| format!("the account cannot be kept: {error}"))?;
        Ok(account)
    }
}

/// Orders when it is due, until told to stop.
pub(super) async fn keep(orders: Orders, clock: &Clock, stop: &CancellationToken) {
    let mut wait = FIRST_WAIT;
    loop {
        let pause = match orders.find_kept() {
            Some(kept) if !is_due(&kept, clock.now()) => LOOK_EVERY,
            _ => {
                let ordered = tokio::select! {
                    () = stop.cancelled() => return,
                    ordered = tokio::time::timeout(ORDER_WITHIN, Box::pin(orders.order())) => ordered,
                };
                orders.shown.forget_answers();
                match ordered.unwrap_or_else(|_| Err("it took too long".to_owned())) {
                    Ok(certificate) => {
                        orders.shown.metrics.note_certificate("taken");
                        orders.shown.show(certificate, clock);
                        wait = FIRST_WAIT;
                        LOOK_EVERY
                    }
                    Err(trouble) => {
                        tracing::error!(%trouble, again_in = ?wait, "no certificate could be ordered");
                        orders.shown.metrics.note_certificate("refused");
                        let now = wait;
                        wait = (wait * 2).min(LONGEST_WAIT);
                        now
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// True when less than a third of a certificate's time is left, whatever that time is: thirty days of ninety.
fn is_due(certificate: &Certificate, now: Timestamp) -> bool {
    certificate.not_after - now < (certificate.not_after - certificate.not_before) / 3
}

/// The certificate that proves a name: signed by itself, with the digest of the authority's question in it (RFC 8737, section 3).
fn answer(name: &str, digest: &[u8]) -> std::result::Result<Arc<CertifiedKey>, String> {
    if digest.len() != 32 {
        return Err("the digest of the answer has a wrong length".to_owned());
    }
    let failed = |error: rcgen::Error| format!("the answer cannot be made: {error}");
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(failed)?;
    let own = params.self_signed(&key).map_err(failed)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
    let key = provider().key_provider.load_private_key(der).map_err(|error| format!("the answer's key: {error}"))?;
    // Not compared with the key: the reader of certificates refuses a critical extension that it does not know, which is what this is for.
    Ok(Arc::new(CertifiedKey::new(vec![own.der().clone()], key)))
}

/// A signing request for these names, DER, and the new key, PEM.
fn request(domains: &[String]) -> std::result::Result<(Vec<u8>, String), String> {
    let failed = |error: rcgen::Error| format!("the request cannot be made: {error}");
    let mut params = CertificateParams::new(domains.to_vec()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate().map_err(failed)?;
    let request = params.serialize_request(&key).map_err(failed)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}
