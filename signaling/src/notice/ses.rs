//! E-mail through AWS SES v2, as a raw MIME message: the simple form has no place for a calendar entry.

use async_trait::async_trait;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::timeout::TimeoutConfig;
use aws_sdk_sesv2::config::{BehaviorVersion, Region};
use aws_sdk_sesv2::error::ProvideErrorMetadata;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, RawMessage};

use crate::notice::carrier::{Body, Carrier, Failure, Message};
use crate::notice::config::NoticeConfig;
use crate::notice::mime;
use crate::notice::sns::{ATTEMPT, credentials, judge};

/// The service.
#[derive(Debug)]
pub(crate) struct Ses {
    client: Client,
    from: String,
    configuration_set: Option<String>,
}

impl Ses {
    /// Makes the client; nothing is sent yet.
    pub(crate) fn open(config: &NoticeConfig) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(ATTEMPT).build();
        let mut settings = aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.aws_region.clone()))
            .credentials_provider(credentials(config))
            .timeout_config(timeouts);
        if !config.aws_endpoint.is_empty() {
            settings = settings.endpoint_url(&config.aws_endpoint);
        }
        Self {
            client: Client::from_conf(settings.build()),
            from: config.email_from.clone(),
            configuration_set: config.ses_configuration_set.clone(),
        }
    }
}

#[async_trait]
impl Carrier for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    async fn send(&self, message: &Message) -> Result<String, Failure> {
        let mail = mime::build(message, &self.from)?;
        let Body::Email { to, .. } = &message.body else { return Err(Failure::Refused) };
        let raw = RawMessage::builder().data(Blob::new(mail.formatted())).build().map_err(|_| Failure::Refused)?;
        let sent = self
            .client
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(to.reveal()).build())
            .set_configuration_set_name(self.configuration_set.clone())
            .content(EmailContent::builder().raw(raw).build())
            .send()
            .await;
        match sent {
            Ok(sent) => sent.message_id.ok_or(Failure::Away),
            Err(error) => Err(judge(error.code())),
        }
    }
}
