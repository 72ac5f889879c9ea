//! Messages of AWS SNS topics: their signature (version 2: RSA with SHA-256), the certificate behind it, and the confirmation of a
//! subscription. Nothing is fetched from a host that the settings do not name.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::notice::config::NoticeConfig;
use crate::problem::Code;
use crate::webhook::deliver::Client;
use crate::webhook::networks::Networks;
use crate::webhook::target::Place;

/// How old a message may be: SNS tries again for about an hour.
const OLDEST: Duration = Duration::from_secs(2 * 3600);

/// How far ahead its clock may be.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// Certificates kept. AWS has one per region at a time.
const CERTIFICATES: usize = 8;

/// The longest certificate file or answer that is read.
const LONGEST: usize = 32 * 1024;

/// A message as SNS posts it. Fields that do not matter here are not looked at: the signature covers all that do.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Envelope {
    #[serde(rename = "Type")]
    kind: String,
    message_id: String,
    topic_arn: String,
    subject: Option<String>,
    pub(crate) message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
}

/// A message whose signature is good.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// It asked whether its topic may come here, and was told so.
    Confirmed,
    /// It brings news.
    News {
        /// SNS's id of the message.
        id: String,
        /// When it was published.
        at: Timestamp,
    },
}

/// Fetches and keeps certificates.
#[derive(Debug)]
pub struct Certificates {
    client: Client,
    kept: Mutex<HashMap<String, CertificateDer<'static>>>,
}

impl Certificates {
    /// Reaches public addresses, and the networks that webhooks may go to.
    ///
    /// # Errors
    /// When a network cannot be read.
    pub fn new(networks: &[String]) -> Result<Self> {
        Ok(Self { client: Client::new(Networks::parse(networks)?), kept: Mutex::default() })
    }

    /// Trusts these authorities instead of the system's.
    #[cfg(test)]
    pub(crate) fn trusting(networks: Networks, roots: rustls::RootCertStore) -> Self {
        Self { client: Client::trusting(networks, roots), kept: Mutex::default() }
    }

    /// Keeps what another one has fetched.
    #[cfg(test)]
    pub(crate) fn copy_from(&self, other: &Self) {
        let other = other.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(other);
    }

    async fn get(&self, url: &str, place: &Place) -> Result<CertificateDer<'static>> {
        if let Some(there) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(there.clone());
        }
        let away = |error| {
            tracing::warn!(%error, "a signing certificate of SNS could not be fetched");
            Error::from(Code::Unavailable)
        };
        let pem = self.client.get(place, LONGEST).await.map_err(away)?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| Error::from(Code::WebhookSignature))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= CERTIFICATES {
            kept.clear();
        }
        kept.insert(url.to_owned(), certificate.clone());
        Ok(certificate)
    }
}

/// Whether a URL may be fetched: https, from a host of the settings.
fn is_allowed(url: &str, hosts: &[String]) -> Option<Place> {
    let place = Place::parse(url)?;
    // The authority, port included: `host:443.example.org` is another one.
    (place.is_https && hosts.contains(&place.authority)).then_some(place)
}

/// Checks a message: its topic, its certificate's host, its signature, its age. A topic that asks is subscribed.
pub(crate) async fn open(
    config: &NoticeConfig,
    certificates: &Certificates,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Heard> {
    let forged = || Error::from(Code::WebhookSignature);
    let hosts = config.certificate_hosts();
    let place = is_allowed(&envelope.signing_cert_url, &hosts).filter(|place| place.path.ends_with(".pem"));
    let place = place.ok_or_else(forged)?;
    if !config.sns_topics.contains(&envelope.topic_arn) || envelope.signature_version != "2" {
        return Err(forged());
    }
    let at = Timestamp::parse(&envelope.timestamp, &Rfc3339).map_err(|_| forged())?;
    if at < now - OLDEST || at > now + AHEAD {
        return Err(forged());
    }
    let signed = to_sign(envelope).ok_or_else(forged)?;
    let signature = STANDARD.decode(&envelope.signature).map_err(|_| forged())?;
    let certificate = certificates.get(&envelope.signing_cert_url, &place).await?;
    let certificate = webpki::EndEntityCert::try_from(&certificate).map_err(|_| forged())?;
    let algorithm = webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256;
    certificate.verify_signature(algorithm, signed.as_bytes(), &signature).map_err(|_| forged())?;
    if envelope.kind == "Notification" {
        let id = envelope.message_id.clone();
        return if (1..=200).contains(&id.len()) { Ok(Heard::News { id, at }) } else { Err(forged()) };
    }
    if envelope.kind == "SubscriptionConfirmation" {
        let place = envelope.subscribe_url.as_deref().and_then(|url| is_allowed(url, &hosts)).ok_or_else(forged)?;
        certificates.client.get(&place, LONGEST).await.map_err(|error| {
            tracing::warn!(%error, "the subscription of a topic could not be confirmed");
            Error::from(Code::Unavailable)
        })?;
        tracing::info!("a topic of SNS is subscribed");
    }
    Ok(Heard::Confirmed)
}

/// The text that SNS signs: names and values on lines of their own, in alphabetical order.
fn to_sign(envelope: &Envelope) -> Option<String> {
    let mut lines = vec![("Message", envelope.message.as_str()), ("MessageId", &envelope.message_id)];
    match envelope.kind.as_str() {
        "Notification" => lines.extend(envelope.subject.as_deref().map(|subject| ("Subject", subject))),
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
            lines.push(("SubscribeURL", envelope.subscribe_url.as_deref()?));
        }
        _ => return None,
    }
    lines.push(("Timestamp", &envelope.timestamp));
    if envelope.kind != "Notification" {
        lines.push(("Token", envelope.token.as_deref()?));
    }
    lines.extend([("TopicArn", envelope.topic_arn.as_str()), ("Type", &envelope.kind)]);
    Some(lines.into_iter().map(|(name, value)| format!("{name}\n{value}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_from_named_hosts_over_https_alone() {
        let hosts = ["sns.us-east-1.amazonaws.com".to_owned()];
        assert!(is_allowed("https://sns.us-east-1.amazonaws.com/a.pem", &hosts).is_some());
        for bad in [
            "http://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com.example.org/a.pem",
            "https://example.org/sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com@example.org/a.pem",
            "https://sns.us-east-1.amazonaws.com:8443/a.pem",
            "https://bucket.s3.amazonaws.com/a.pem",
            "file:///etc/passwd",
        ] {
            assert!(is_allowed(bad, &hosts).is_none(), "{bad}");
        }
    }
}
