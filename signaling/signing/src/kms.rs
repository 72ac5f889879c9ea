//! A signing key in AWS KMS (`ECC_NIST_P256`): the private half never leaves the service.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::error::{DisplayErrorContext, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyUsageType, MessageType, SigningAlgorithmSpec};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
use wire::Redacted;

use crate::SigningError;
use crate::ring::Public;

/// A call is small and quick; somebody who wants a link waits for it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;

/// The longest text that the service hashes itself.
const MAX_MESSAGE: usize = 4096;

/// Where the key is, and by whose leave it is used.
#[derive(Clone, Debug)]
pub struct KmsConfig {
    /// The key's id, ARN or alias. An alias can be pointed at the next key while servers run.
    pub key: String,
    /// The region.
    pub region: String,
    /// Another address than the region's own.
    pub endpoint: Option<String>,
    /// The access key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Redacted<String>,
}

pub(crate) struct KmsKey {
    client: Client,
    name: String,
}

/// The key that a name stood for when it was asked.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    arn: String,
    verifying: VerifyingKey,
    pub(crate) public: Public,
    pub(crate) kid: String,
}

impl KmsKey {
    pub(crate) fn open(config: &KmsConfig) -> Result<Self, SigningError> {
        let secret = config.secret_access_key.reveal();
        if config.access_key_id.is_empty() || secret.is_empty() {
            return Err(SigningError::Kms("access_key_id and secret_access_key are missing".to_owned()));
        }
        let credentials = Credentials::new(&config.access_key_id, secret, None, None, "anteroom settings");
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        let mut settings = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        if let Some(endpoint) = &config.endpoint {
            settings = settings.endpoint_url(endpoint);
        }
        Ok(Self { client: Client::from_conf(settings.build()), name: config.key.clone() })
    }

    /// The key that the name stands for now.
    pub(crate) async fn current(&self) -> Result<Remote, SigningError> {
        let answer = self.client.get_public_key().key_id(&self.name).send().await.map_err(|e| failed(&e))?;
        let wrong = || SigningError::Kms("the key is not of kind ECC_NIST_P256 for SIGN_VERIFY".to_owned());
        let is_for_signing = answer.key_usage == Some(KeyUsageType::SignVerify);
        let (Some(arn), Some(der), true) = (answer.key_id, answer.public_key, is_for_signing) else {
            return Err(wrong());
        };
        // The curve is in the key itself.
        let verifying = VerifyingKey::from_public_key_der(der.as_ref()).map_err(|_| wrong())?;
        let public = Public::of(&verifying)?;
        Ok(Remote { client: self.client.clone(), arn, verifying, kid: public.kid(), public })
    }
}

impl Remote {
    /// 64 bytes, as JWTs have them. The service gets the text itself, which is under its limit for that.
    pub(crate) async fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SigningError> {
        if text.len() > MAX_MESSAGE {
            return Err(SigningError::Unusable);
        }
        let answer = self
            .client
            .sign()
            .key_id(&self.arn)
            .message(Blob::new(text))
            .message_type(MessageType::Raw)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .send()
            .await
            .map_err(|e| failed(&e))?;
        let der = answer.signature.ok_or_else(|| SigningError::Kms("an answer without a signature".to_owned()))?;
        let signature = Signature::from_der(der.as_ref()).map_err(|_| SigningError::Unusable)?;
        // A link that nobody can open is worse than an error now.
        self.verifying
            .verify(text, &signature)
            .map_err(|_| SigningError::Kms("a signature of another key".to_owned()))?;
        Ok(signature.to_bytes().to_vec())
    }
}

fn failed<E, R>(error: &SdkError<E, R>) -> SigningError
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug,
{
    SigningError::Kms(DisplayErrorContext(error).to_string())
}
