//! Signatures as the Standard Webhooks specification has them: HMAC-SHA-256 over id, time and body, so that a receiver knows who sent
//! what, and when.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;
use wire::Redacted;

use crate::clock::Timestamp;

/// What secrets begin with, so that a leaked one is found by scanners.
const PREFIX: &str = "whsec_";

/// Random bytes of a secret.
const SECRET: usize = 32;

/// What deliveries are signed with.
#[derive(Clone, Debug)]
pub struct Secret(Redacted<Vec<u8>>);

impl Secret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(Redacted::new(rand::random::<[u8; SECRET]>().to_vec()))
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then(|| Self(Redacted::new(bytes)))
    }

    /// As a receiver's library takes it.
    #[must_use]
    pub fn to_text(&self) -> Redacted<String> {
        Redacted::new(format!("{PREFIX}{}", STANDARD.encode(self.0.reveal())))
    }

    /// Whether one of the signatures in a `webhook-signature` header is that of this secret, in a time that says nothing about where
    /// they differ. How old `at` may be is the caller's business.
    #[must_use]
    pub fn is_signed(&self, id: &str, at: Timestamp, body: &str, header: &str) -> bool {
        header.split(' ').take(8).filter_map(|one| one.strip_prefix("v1,")).any(|one| {
            let mut mac = Hmac::<Sha256>::new_from_slice(self.0.reveal()).expect("HMAC takes any key length");
            mac.update(format!("{id}.{}.", at.unix_timestamp()).as_bytes());
            mac.update(body.as_bytes());
            STANDARD.decode(one).is_ok_and(|tag| mac.verify_slice(&tag).is_ok())
        })
    }

    /// The header `webhook-signature` of one attempt at `now`.
    #[must_use]
    pub fn sign(&self, id: &str, now: Timestamp, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.reveal()).expect("HMAC takes any key length");
        mac.update(format!("{id}.{}.", now.unix_timestamp()).as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The header `webhook-id` of an event.
#[must_use]
pub(crate) fn id(event: Uuid) -> String {
    event.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    /// The example that the specification's libraries are tested with.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let now = OffsetDateTime::from_unix_timestamp(1_614_265_330).unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", now, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_reads_back_and_does_not_print_itself() {
        let secret = Secret::random();
        let text = secret.to_text();
        assert_eq!(Secret::parse(text.reveal()).unwrap().to_text().reveal(), text.reveal());
        assert!(!format!("{secret:?}").contains(&text.reveal()[10..]));
        for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_*"] {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
    }
}
