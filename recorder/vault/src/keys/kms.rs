//! AWS KMS: the wrapping key lives in the service and never leaves it. Data keys come from `GenerateDataKey` and are opened by
//! `Decrypt`, both bound to what the key is for by an encryption context.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use zeroize::Zeroizing;

use super::{DataKey, KeyContext, KeyError, KeyProvider, KeysConfig, WrappedKey};

/// A call of KMS is small and quick; a request of ours waits for it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 2;

/// Keys of AWS KMS, by their ARNs.
pub struct KmsKeys {
    client: Client,
    key: String,
    older: Vec<String>,
}

impl fmt::Debug for KmsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKeys").field("key", &self.key).field("older", &self.older).finish_non_exhaustive()
    }
}

impl KmsKeys {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// When a key is not named by its ARN, or credentials are missing.
    pub fn open(config: &KeysConfig) -> Result<Self, KeyError> {
        let secret = config.secret_access_key.reveal();
        if config.access_key_id.is_empty() || secret.is_empty() {
            return Err(KeyError::Settings("`kms` needs access_key_id and secret_access_key"));
        }
        // An alias can be pointed at another key behind our back, and what is stored names the key itself.
        let is_arn = |key: &String| key.starts_with("arn:") && key.contains(":kms:") && key.contains(":key/");
        if !is_arn(&config.kms_key) || !config.kms_older.iter().all(is_arn) {
            return Err(KeyError::Settings(
                "`kms_key` and `kms_older` must be ARNs of keys (arn:aws:kms:<region>:<account>:key/<id>)",
            ));
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
        if !config.endpoint.is_empty() {
            settings = settings.endpoint_url(&config.endpoint);
        }
        let client = Client::from_conf(settings.build());
        Ok(Self { client, key: config.kms_key.clone(), older: config.kms_older.clone() })
    }

    /// Takes the ciphertext of an answer that says which key made it.
    fn wrapped(&self, key: Option<&str>, blob: Option<Blob>) -> Result<WrappedKey, KeyError> {
        match (key, blob) {
            (Some(key), Some(blob)) if key == self.key => {
                Ok(WrappedKey { kek_id: self.key.clone(), bytes: blob.into_inner() })
            }
            _ => Err(KeyError::Unavailable("an answer of another key".to_owned())),
        }
    }
}

fn data_key(blob: Option<Blob>) -> Result<DataKey, KeyError> {
    let bytes = Zeroizing::new(blob.map(Blob::into_inner).unwrap_or_default());
    Ok(DataKey::from_bytes(bytes.as_slice().try_into().map_err(|_| KeyError::Refused)?))
}

#[async_trait]
impl KeyProvider for KmsKeys {
    fn current(&self) -> String {
        self.key.clone()
    }

    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        let mut request = self.client.encrypt().key_id(&self.key).plaintext(Blob::new(key.bytes().as_slice()));
        for (name, value) in context.pairs() {
            request = request.encryption_context(name, value);
        }
        let answer = request.send().await.map_err(|error| classify(&error))?;
        self.wrapped(answer.key_id.as_deref(), answer.ciphertext_blob)
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        if wrapped.kek_id != self.key && !self.older.contains(&wrapped.kek_id) {
            return Err(KeyError::UnknownKey);
        }
        // Named, so that the service does not take whatever key the ciphertext names.
        let mut request =
            self.client.decrypt().key_id(&wrapped.kek_id).ciphertext_blob(Blob::new(wrapped.bytes.as_slice()));
        for (name, value) in context.pairs() {
            request = request.encryption_context(name, value);
        }
        let answer = request.send().await.map_err(|error| classify(&error))?;
        data_key(answer.plaintext)
    }

    async fn generate(&self, context: &KeyContext) -> Result<(DataKey, WrappedKey), KeyError> {
        let mut request = self.client.generate_data_key().key_id(&self.key).key_spec(DataKeySpec::Aes256);
        for (name, value) in context.pairs() {
            request = request.encryption_context(name, value);
        }
        let answer = request.send().await.map_err(|error| classify(&error))?;
        let wrapped = self.wrapped(answer.key_id.as_deref(), answer.ciphertext_blob)?;
        Ok((data_key(answer.plaintext)?, wrapped))
    }
}

fn classify<E>(error: &SdkError<E>) -> KeyError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    match code {
        "InvalidCiphertextException" | "IncorrectKeyException" => KeyError::Refused,
        "AccessDeniedException"
        | "DisabledException"
        | "NotFoundException"
        | "KMSInvalidStateException"
        | "InvalidKeyUsageException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException" => KeyError::Denied(code.to_owned()),
        "" => KeyError::Unavailable(DisplayErrorContext(error).to_string()),
        code => KeyError::Unavailable(code.to_owned()),
    }
}
