//! Data keys by AWS KMS, against moto's server over the real wire protocol.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panic, and waits by the wall clock"
)]

#[path = "support/moto.rs"]
mod moto;

use aws_credential_types::Credentials;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use moto::Moto;
use uuid::Uuid;
use vault::keys::KeysKind;
use vault::{DataKey, KeyContext, KeyError, KeyProvider, KeysConfig, LocalKeys};

/// A new key in the service, by its ARN.
async fn create_key(moto: &Moto) -> String {
    let settings = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(moto.endpoint());
    let client = aws_sdk_kms::Client::from_conf(settings.build());
    client.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
}

fn config(moto: &Moto, key: &str, older: &[&str]) -> KeysConfig {
    KeysConfig {
        kind: KeysKind::Kms,
        kms_key: key.to_owned(),
        kms_older: older.iter().map(|key| (*key).to_owned()).collect(),
        endpoint: moto.endpoint(),
        access_key_id: "test".to_owned(),
        secret_access_key: "test".to_owned().into(),
        ..KeysConfig::default()
    }
}

#[tokio::test]
async fn h_11_keys_of_kms_are_bound_to_what_they_are_for_and_survive_a_rotation() {
    let mut moto = Moto::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kek");
    let (first, second) = (create_key(&moto).await, create_key(&moto).await);
    let old = config(&moto, &first, &[]).open(&file).unwrap();
    let (org, id) = (Uuid::new_v4(), Uuid::new_v4());
    let context = KeyContext::of_organization("fields", org, id);
    let (key, wrapped) = old.generate(&context).await.unwrap();
    assert_eq!(wrapped.kek_id, first);
    assert!(!wrapped.bytes.windows(32).any(|part| part == key.bytes()), "the plaintext key is not in it");
    assert_eq!(old.unwrap(&wrapped, &context).await.unwrap(), key);
    for foreign in [
        KeyContext::of_organization("fields", Uuid::new_v4(), id),
        KeyContext::of_organization("fields", org, Uuid::new_v4()),
        KeyContext::of_organization("recording", org, id),
    ] {
        assert!(matches!(old.unwrap(&wrapped, &foreign).await, Err(KeyError::Refused)));
    }
    let mut torn = wrapped.clone();
    *torn.bytes.last_mut().unwrap() ^= 1;
    assert!(old.unwrap(&torn, &context).await.is_err());

    // The next key wraps what is new, and the old one still opens what it wrapped, as long as it is named.
    let new = config(&moto, &second, &[&first]).open(&file).unwrap();
    assert_eq!(new.unwrap(&wrapped, &context).await.unwrap(), key);
    let again = new.wrap(&key, &context).await.unwrap();
    assert_eq!((again.kek_id.as_str(), new.current()), (second.as_str(), second.clone()));
    let only = config(&moto, &second, &[]).open(&file).unwrap();
    assert_eq!(only.unwrap(&again, &context).await.unwrap(), key);
    assert!(matches!(only.unwrap(&wrapped, &context).await, Err(KeyError::UnknownKey)));

    // What a local file wrapped before the move to the service opens beside it.
    let local = LocalKeys::open_or_create(&file).unwrap().wrap(&key, &context).await.unwrap();
    let moved = config(&moto, &second, &[]).open(&file).unwrap();
    assert_eq!(moved.unwrap(&local, &context).await.unwrap(), key);
    assert_eq!(moved.wrap(&key, &context).await.unwrap().kek_id, second);

    // A key that the service does not have, and a service that is away, are told apart and open nothing.
    let gone = config(&moto, &first.replace(|c: char| c.is_ascii_digit(), "9"), &[]).open(&file).unwrap();
    assert!(matches!(gone.wrap(&DataKey::generate().unwrap(), &context).await, Err(KeyError::Denied(_))));
    moto.stop();
    assert!(matches!(new.unwrap(&again, &context).await, Err(KeyError::Unavailable(_))));
}
