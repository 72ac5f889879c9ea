use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, encode};
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use serde_json::json;
use time::macros::datetime;

use super::*;

const NOW: Timestamp = datetime!(2026-11-21 10:00 UTC);
const ISSUER: &str = "https://login.example.org";

struct Key {
    signing: EncodingKey,
    jwk: Value,
}

fn key(kid: &str) -> Key {
    let secret = SigningKey::generate_from_rng(&mut rand::rng());
    let point = secret.verifying_key().to_sec1_point(false);
    let (x, y) = (URL_SAFE_NO_PAD.encode(point.x().unwrap()), URL_SAFE_NO_PAD.encode(point.y().unwrap()));
    let signing = EncodingKey::from_ec_der(secret.to_pkcs8_der().unwrap().as_bytes());
    Key { signing, jwk: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": kid}) }
}

fn set(keys: &[&Value]) -> JwkSet {
    serde_json::from_value(json!({ "keys": keys })).unwrap()
}

fn claims() -> Value {
    let now = NOW.unix_timestamp();
    json!({"iss": ISSUER, "aud": ["other", "api"], "sub": "dr-a", "iat": now, "nbf": now, "exp": now + 60})
}

fn header(kid: Option<&str>) -> Header {
    Header { typ: Some("at+jwt".to_owned()), kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) }
}

fn rules() -> Rules<'static> {
    const ALL: &[Algorithm] = &[Algorithm::ES256, Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA];
    Rules { issuer: ISSUER, audience: "api", algorithms: ALL, types: ACCESS_TYPES }
}

fn judge(token: &str, keys: &JwkSet) -> Option<Refused> {
    check(token, keys, &rules(), NOW).err()
}

/// H-18: what is signed by the provider, for us, now, holds; nothing else does.
#[test]
fn h_18_a_provider_token_holds_only_as_the_rules_say() {
    let ours = key("k1");
    let keys = set(&[&ours.jwk]);
    let sign = |header: &Header, claims: &Value| encode(header, claims, &ours.signing).unwrap();
    let with = |name: &str, value: Value| {
        let mut changed = claims();
        changed[name] = value;
        sign(&header(Some("k1")), &changed)
    };
    let now = NOW.unix_timestamp();
    assert_eq!(judge(&sign(&header(Some("k1")), &claims()), &keys), None);
    assert_eq!(judge(&with("aud", json!("api")), &keys), None);
    for aud in [json!("API"), json!(["other"]), json!(null), json!({"0": "api"}), json!("anteroom")] {
        assert_eq!(judge(&with("aud", aud.clone()), &keys), Some(Refused::Addressee), "{aud}");
    }
    for iss in [json!("https://login.example.org/"), json!("https://evil.example"), json!(null), json!([ISSUER])] {
        assert_eq!(judge(&with("iss", iss.clone()), &keys), Some(Refused::Addressee), "{iss}");
    }
    assert_eq!(judge(&with("exp", json!(now - 120)), &keys), Some(Refused::Time));
    assert_eq!(judge(&with("exp", json!(now - 119)), &keys), None, "within the skew");
    for exp in [json!(null), json!("2030"), json!(1e300)] {
        assert_eq!(judge(&with("exp", exp.clone()), &keys), Some(Refused::Time), "{exp}");
    }
    assert_eq!(judge(&with("nbf", json!(now + 121)), &keys), Some(Refused::Time));
    assert_eq!(judge(&with("iat", json!(now + 121)), &keys), Some(Refused::Time));
    assert_eq!(judge(&with("nbf", json!("soon")), &keys), Some(Refused::Time));
}

/// H-18: the header chooses among what we allow, and never where a key comes from.
#[test]
fn h_18_a_header_cannot_choose_its_own_judge() {
    let (ours, foreign) = (key("k1"), key("k1"));
    let keys = set(&[&ours.jwk]);
    let good = encode(&header(Some("k1")), &claims(), &ours.signing).unwrap();
    let [_, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let head = |text: Value| URL_SAFE_NO_PAD.encode(text.to_string());
    let none = head(json!({"alg": "none", "typ": "at+jwt", "kid": "k1"}));
    for forged in [format!("{none}.{body}."), format!("{none}.{body}.{signature}")] {
        assert_eq!(judge(&forged, &keys), Some(Refused::Malformed));
    }
    // The public key as an HMAC secret: the classic confusion.
    let secret = URL_SAFE_NO_PAD.decode(ours.jwk["x"].as_str().unwrap()).unwrap();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let header = Header { alg: algorithm, ..header(Some("k1")) };
        let forged = encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(judge(&forged, &keys), Some(Refused::Algorithm));
    }
    // Keys that come along are not looked at.
    let mut bringing = header(Some("k1"));
    bringing.jwk = serde_json::from_value(foreign.jwk.clone()).unwrap();
    bringing.jku = Some("https://evil.example/jwks".to_owned());
    bringing.x5u = Some("https://evil.example/cert".to_owned());
    assert_eq!(judge(&encode(&bringing, &claims(), &foreign.signing).unwrap(), &keys), Some(Refused::Signature));
    assert_eq!(
        judge(&encode(&header(Some("k2")), &claims(), &ours.signing).unwrap(), &keys),
        Some(Refused::UnknownKey)
    );
    // Without a name, one key may be meant; of two, none.
    assert_eq!(judge(&encode(&header(None), &claims(), &ours.signing).unwrap(), &keys), None);
    let two = set(&[&ours.jwk, &key("k9").jwk]);
    assert_eq!(judge(&encode(&header(None), &claims(), &ours.signing).unwrap(), &two), Some(Refused::UnknownKey));
    for typ in [Some("join+jwt"), Some("logout+jwt"), Some("secevent+jwt")] {
        let header = Header { typ: typ.map(str::to_owned), ..header(Some("k1")) };
        assert_eq!(judge(&encode(&header, &claims(), &ours.signing).unwrap(), &keys), Some(Refused::Type));
    }
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..header(Some("k1")) };
    assert_eq!(judge(&encode(&critical, &claims(), &ours.signing).unwrap(), &keys), Some(Refused::Type));
    for broken in [String::new(), ".".repeat(9), "a".repeat(MAX_TOKEN_BYTES + 1), good[..good.len() - 4].to_owned()] {
        assert!(judge(&broken, &keys).is_some());
    }
}

/// H-18: an algorithm is believed only with a key that is made for it, and only if the settings name it.
#[test]
fn h_18_keys_are_for_their_own_algorithm() {
    let ours = key("k1");
    let token = encode(&header(Some("k1")), &claims(), &ours.signing).unwrap();
    let changed = |name: &str, value: &str| {
        let mut jwk = ours.jwk.clone();
        jwk[name] = value.into();
        set(&[&jwk])
    };
    assert_eq!(judge(&token, &changed("use", "enc")), Some(Refused::UnknownKey));
    assert_eq!(judge(&token, &changed("alg", "RS256")), Some(Refused::UnknownKey));
    let oct = json!({"kty": "oct", "k": "AAAA", "kid": "k1", "alg": "HS256"});
    assert_eq!(judge(&token, &set(&[&oct])), Some(Refused::UnknownKey));
    let only_rsa = Rules { algorithms: &[Algorithm::RS256], ..rules() };
    assert_eq!(check(&token, &set(&[&ours.jwk]), &only_rsa, NOW).err(), Some(Refused::Algorithm));
}
