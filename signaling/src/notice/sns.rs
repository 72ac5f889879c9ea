//! Text messages through AWS SNS, which hands them to AWS End User Messaging. `aws` holds what its two carriers share.

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::config::{BehaviorVersion, Region};
use aws_sdk_sns::error::ProvideErrorMetadata;
use aws_sdk_sns::types::MessageAttributeValue;
use std::time::Duration;

use crate::notice::carrier::{Body, Carrier, Failure, Message};
use crate::notice::config::NoticeConfig;

/// How long one attempt may take. The queue tries again by itself.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(15);

/// The service.
#[derive(Debug)]
pub(crate) struct Sns {
    client: Client,
    origination: Option<String>,
}

pub(crate) fn credentials(config: &NoticeConfig) -> Credentials {
    let secret = config.aws_secret_access_key.reveal();
    Credentials::new(&config.aws_access_key_id, secret, None, None, "anteroom settings")
}

impl Sns {
    /// Makes the client; nothing is sent yet.
    pub(crate) fn open(config: &NoticeConfig) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(ATTEMPT).build();
        let mut settings = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.aws_region.clone()))
            .credentials_provider(credentials(config))
            .timeout_config(timeouts);
        if !config.aws_endpoint.is_empty() {
            settings = settings.endpoint_url(&config.aws_endpoint);
        }
        Self { client: Client::from_conf(settings.build()), origination: config.sns_origination_number.clone() }
    }
}

#[async_trait]
impl Carrier for Sns {
    fn name(&self) -> &'static str {
        "sns"
    }

    async fn send(&self, message: &Message) -> Result<String, Failure> {
        let Body::Sms { to, text } = &message.body else { return Err(Failure::Refused) };
        let word = |text: &str| {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(text)
                .build()
                .map_err(|_| Failure::Refused)
        };
        let mut request = self
            .client
            .publish()
            .phone_number(to.reveal())
            .message(text.reveal())
            .message_attributes("AWS.SNS.SMS.SMSType", word("Transactional")?);
        if let Some(number) = &self.origination {
            request = request.message_attributes("AWS.MM.SMS.OriginationNumber", word(number)?);
        }
        match request.send().await {
            Ok(sent) => sent.message_id.ok_or(Failure::Away),
            Err(error) => Err(judge(error.code())),
        }
    }
}

/// Errors that are about the message; all others are about us or the service, and pass.
pub(crate) fn judge(code: Option<&str>) -> Failure {
    match code {
        Some(
            "InvalidParameter"
            | "InvalidParameterException"
            | "InvalidParameterValue"
            | "ParameterValueInvalid"
            | "OptedOut"
            | "OptedOutException"
            | "BadRequestException"
            | "MessageRejected"
            | "ValidationException",
        ) => Failure::Refused,
        _ => Failure::Away,
    }
}
