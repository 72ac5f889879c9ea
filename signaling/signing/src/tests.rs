use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Value, json};

use super::*;

/// The claims of a token, if one of these keys signed it.
fn open(keys: &SigningKeys, token: &str) -> Option<Value> {
    let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_required_spec_claims::<&str>(&[]);
    validation.validate_exp = false;
    Some(jsonwebtoken::decode(token, &keys.find(&kid)?, &validation).ok()?.claims)
}

#[tokio::test]
async fn what_an_earlier_key_signed_goes_on_verifying_and_is_published() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).unwrap();
    let keys = SigningKeys::read(folder.path()).unwrap();
    let old = keys.sign_now("join+jwt", &json!({"n": 1})).unwrap();
    let rotated = rotate(folder.path()).unwrap();
    assert_eq!(rotated.old, keys.kid());
    assert_eq!(keys.refresh().await.unwrap(), Some(rotated.clone()));
    assert_eq!(keys.refresh().await.unwrap(), None);
    assert_eq!(keys.kid(), rotated.new);
    let new = keys.sign("join+jwt", &json!({"n": 2})).await.unwrap();
    // A server that starts now knows both as well.
    for keys in [&keys, &SigningKeys::read(folder.path()).unwrap()] {
        assert_eq!(open(keys, &old), Some(json!({"n": 1})));
        assert_eq!(open(keys, &new), Some(json!({"n": 2})));
        let jwks = keys.jwks();
        let ids: Vec<&str> = jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(ids, [rotated.new.as_str(), rotated.old.as_str()]);
    }
    assert_eq!(open(&SigningKeys::ephemeral().unwrap(), &new), None);
}

#[test]
fn a_key_of_a_moment_ago_is_found_by_the_first_token_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).unwrap();
    let server = SigningKeys::read(folder.path()).unwrap();
    rotate(folder.path()).unwrap();
    // Another process reads the new key at once and signs by it.
    let token = SigningKeys::read(folder.path()).unwrap().sign_now("at+jwt", &json!({"n": 3})).unwrap();
    assert_eq!(open(&server, &token), Some(json!({"n": 3})));
}

/// T24: rotations under load, and not one token that fails, at the server that signs and at one that only reads along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_under_load_without_one_token_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).unwrap();
    let signer = Arc::new(SigningKeys::read(folder.path()).unwrap());
    let reader = SigningKeys::read(folder.path()).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let load = {
        let (signer, is_over) = (signer.clone(), is_over.clone());
        std::thread::spawn(move || {
            let mut tokens = Vec::new();
            while !is_over.load(Ordering::Relaxed) || tokens.len() < 500 {
                let token = signer.sign_now("join+jwt", &json!({"n": tokens.len()})).unwrap();
                assert!(open(&signer, &token).is_some(), "just signed");
                tokens.push(token);
            }
            tokens
        })
    };
    let mut ids = vec![signer.kid()];
    for _ in 0..8 {
        let rotated = rotate(folder.path()).unwrap();
        assert_eq!(signer.refresh().await.unwrap(), Some(rotated.clone()));
        assert!(reader.refresh().await.unwrap().is_some());
        ids.push(rotated.new);
    }
    is_over.store(true, Ordering::Relaxed);
    let tokens = load.join().unwrap();
    for token in &tokens {
        assert!(open(&signer, token).is_some() && open(&reader, token).is_some());
    }
    assert_eq!(ids.len(), 9);
    assert_eq!(signer.jwks()["keys"].as_array().unwrap().len(), 9);
}

#[test]
fn files_that_are_no_keys_are_named_and_nothing_is_half_written() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(SigningKeys::read(folder.path()), Err(SigningError::File(text)) if text.contains("signing.pem")));
    assert!(rotate(folder.path()).is_err());
    create(folder.path()).unwrap();
    let before = std::fs::read(folder.path().join("signing.pem")).unwrap();
    create(folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("signing.pem")).unwrap(), before, "a key that is there stays");
    rotate(folder.path()).unwrap();
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{names:?}");
    std::fs::write(folder.path().join("previous/x.json"), "{}").unwrap();
    assert!(SigningKeys::read(folder.path()).is_err());
}
