//! A signing key in AWS KMS, against moto's server over the real wire protocol.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panic, and waits by the wall clock"
)]

#[path = "support/moto.rs"]
mod moto;

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use jsonwebtoken::{Algorithm, Validation};
use moto::Moto;
use serde_json::{Value, json};
use signing::{KmsConfig, SigningError, SigningKeys};

const ALIAS: &str = "alias/join-links";

fn client(moto: &Moto) -> Client {
    let settings = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(moto.endpoint());
    Client::from_conf(settings.build())
}

async fn create(client: &Client, spec: KeySpec) -> String {
    let made = client.create_key().key_spec(spec).key_usage(KeyUsageType::SignVerify).send().await.unwrap();
    made.key_metadata.unwrap().key_id
}

fn config(moto: &Moto, key: &str) -> KmsConfig {
    KmsConfig {
        key: key.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(moto.endpoint()),
        access_key_id: "test".to_owned(),
        secret_access_key: "test".to_owned().into(),
    }
}

fn open(keys: &SigningKeys, token: &str) -> Option<Value> {
    let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_required_spec_claims::<&str>(&[]);
    validation.validate_exp = false;
    Some(jsonwebtoken::decode(token, &keys.find(&kid)?, &validation).ok()?.claims)
}

#[tokio::test]
async fn tokens_signed_in_kms_verify_before_and_after_the_alias_moves_on() {
    let mut moto = Moto::start().await;
    let client = client(&moto);
    let folder = tempfile::tempdir().unwrap();
    let first = create(&client, KeySpec::EccNistP256).await;
    client.create_alias().alias_name(ALIAS).target_key_id(&first).send().await.unwrap();
    let keys = SigningKeys::in_kms(&config(&moto, ALIAS), folder.path()).await.unwrap();
    let old = keys.sign("join+jwt", &json!({"n": 1})).await.unwrap();
    assert_eq!(open(&keys, &old), Some(json!({"n": 1})));
    assert!(matches!(keys.sign_now("join+jwt", &json!({})), Err(SigningError::NotLocal)));
    assert_eq!(keys.refresh().await.unwrap(), None);

    let second = create(&client, KeySpec::EccNistP256).await;
    client.update_alias().alias_name(ALIAS).target_key_id(&second).send().await.unwrap();
    // Until it looks, the server goes on with the key itself, whatever the alias says.
    assert!(open(&keys, &keys.sign("join+jwt", &json!({"n": 2})).await.unwrap()).is_some());
    let rotated = keys.refresh().await.unwrap().unwrap();
    assert_eq!(keys.kid(), rotated.new);
    let new = keys.sign("join+jwt", &json!({"n": 3})).await.unwrap();
    // A server that starts now knows the old key too.
    let restarted = SigningKeys::in_kms(&config(&moto, ALIAS), folder.path()).await.unwrap();
    for keys in [&keys, &restarted] {
        assert_eq!(open(keys, &old), Some(json!({"n": 1})));
        assert_eq!(open(keys, &new), Some(json!({"n": 3})));
        assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 2);
    }
    // No private half is in the folder.
    let kept = std::fs::read_to_string(folder.path().join(format!("previous/{}.json", rotated.old))).unwrap();
    assert!(!kept.contains("\"d\"") && !folder.path().join("signing.pem").exists());

    for wrong in [create(&client, KeySpec::EccNistP384).await, "alias/nothing".to_owned()] {
        assert!(matches!(SigningKeys::in_kms(&config(&moto, &wrong), folder.path()).await, Err(SigningError::Kms(_))));
    }
    moto.stop();
    assert!(matches!(keys.sign("join+jwt", &json!({})).await, Err(SigningError::Kms(_))));
    assert!(open(&keys, &old).is_some(), "what is signed goes on verifying while the service is away");
}
