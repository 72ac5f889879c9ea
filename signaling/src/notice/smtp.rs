//! E-mail through a mail server, by `lettre`.

use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::error::{Error, Result};
use crate::notice::carrier::{Carrier, Failure, Message};
use crate::notice::config::{NoticeConfig, SmtpTls};
use crate::notice::mime;

/// How long one command of the conversation may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A mail server.
pub(crate) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: String,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").finish_non_exhaustive()
    }
}

impl Smtp {
    /// Makes the client; nothing is connected yet.
    ///
    /// # Errors
    /// When the password or the certificates cannot be read.
    pub(crate) fn open(config: &NoticeConfig) -> Result<Self> {
        let unusable = |_| Error::Settings("`smtp_host` or `smtp_ca_file` cannot be used".to_owned());
        let mut tls = TlsParameters::builder(config.smtp_host.clone());
        if let Some(file) = &config.smtp_ca_file {
            let pem = std::fs::read(file)?;
            tls = tls
                .certificate_store(CertificateStore::None)
                .add_root_certificate(Certificate::from_pem(&pem).map_err(unusable)?);
        }
        let tls = tls.build_rustls().map_err(unusable)?;
        let tls = match config.smtp_tls {
            SmtpTls::Implicit => Tls::Wrapper(tls),
            SmtpTls::Starttls => Tls::Required(tls),
            SmtpTls::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.smtp_host)
            .port(config.smtp_port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let (Some(user), Some(password)) = (&config.smtp_user, config.smtp_secret()?) {
            transport = transport.credentials(Credentials::new(user.clone(), password.into_revealed()));
        }
        Ok(Self { transport: transport.build(), from: config.email_from.clone() })
    }
}

#[async_trait]
impl Carrier for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, message: &Message) -> std::result::Result<String, Failure> {
        let mail = mime::build(message, &self.from)?;
        match self.transport.send(mail).await {
            Ok(_) => Ok(message.id.to_string()),
            // 5xx to the message or the recipient. A server that does not know our login says 5xx too, and that one passes.
            Err(error) if error.is_permanent() && !is_about_us(&error) => Err(Failure::Refused),
            Err(_) => Err(Failure::Away),
        }
    }
}

/// 530, 534, 535 and 538 are about the login (RFC 4954), 523 and 554 at the greeting about the connection.
fn is_about_us(error: &lettre::transport::smtp::Error) -> bool {
    error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535 | 538))
}
