//! A Carrier takes one message to its provider. The rest of the slice does not know which provider it is.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;
use wire::Redacted;

use crate::error::Result;
use crate::notice::Medium;
use crate::notice::config::{EmailKind, NoticeConfig, SmsKind};
use crate::notice::outbox::Outbox;
use crate::notice::reach::{Email, Phone};
use crate::notice::{ses, smtp, sns};

/// What is sent. It exists while it is sent, and is stored nowhere.
#[derive(Clone, Debug)]
pub struct Message {
    /// The notice: the same at every attempt.
    pub id: Uuid,
    /// To whom, and what.
    pub body: Body,
}

/// To whom, and what.
#[derive(Clone, Debug)]
pub enum Body {
    /// A text message.
    Sms {
        /// The number.
        to: Phone,
        /// At most 160 places of the GSM alphabet.
        text: Redacted<String>,
    },
    /// An e-mail.
    Email {
        /// The address.
        to: Email,
        /// Named beside the sender's address.
        from_name: String,
        /// One line.
        subject: Redacted<String>,
        /// For readers without HTML.
        text: Redacted<String>,
        /// The same with a button.
        html: Redacted<String>,
        /// A calendar file and its iTIP method.
        calendar: Option<(Redacted<String>, &'static str)>,
    },
}

/// Why a provider did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It will not take it later either.
    #[error("the provider refuses the message")]
    Refused,
    /// Another attempt may help: the provider is away, busy, or our credentials are not good.
    #[error("the provider cannot be reached, or does not accept this server")]
    Away,
}

/// Takes messages of one medium to one provider.
#[async_trait]
pub trait Carrier: Send + Sync + fmt::Debug {
    /// The provider's short name, as stored beside its message ids.
    fn name(&self) -> &'static str;

    /// Sends, and gives the provider's id of the message.
    ///
    /// # Errors
    /// [`Failure`].
    async fn send(&self, message: &Message) -> std::result::Result<String, Failure>;
}

/// The carriers of this server.
#[derive(Debug)]
pub struct Carriers {
    sms: Option<Arc<dyn Carrier>>,
    email: Option<Arc<dyn Carrier>>,
    /// What the development page shows.
    pub outbox: Arc<Outbox>,
}

impl Carriers {
    /// Makes the clients that the settings name; nothing is sent yet.
    ///
    /// # Errors
    /// When a file that they name cannot be read.
    pub fn open(config: &NoticeConfig) -> Result<Self> {
        let outbox = Arc::new(Outbox::default());
        let sms: Option<Arc<dyn Carrier>> = match config.sms {
            SmsKind::None => None,
            SmsKind::Outbox => Some(outbox.clone()),
            SmsKind::Sns => Some(Arc::new(sns::Sns::open(config))),
        };
        let email: Option<Arc<dyn Carrier>> = match config.email {
            EmailKind::None => None,
            EmailKind::Outbox => Some(outbox.clone()),
            EmailKind::Smtp => Some(Arc::new(smtp::Smtp::open(config)?)),
            EmailKind::Ses => Some(Arc::new(ses::Ses::open(config))),
        };
        Ok(Self { sms, email, outbox })
    }

    /// Who carries this.
    #[must_use]
    pub fn find(&self, medium: Medium) -> Option<&Arc<dyn Carrier>> {
        match medium {
            Medium::Sms => self.sms.as_ref(),
            Medium::Email => self.email.as_ref(),
        }
    }
}
