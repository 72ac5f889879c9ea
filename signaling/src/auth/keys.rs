//! What signs tokens (ES256, see the crate `signing`) and the key for hashes of short codes.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::Value;
use sha2::Sha256;
use signing::{SigningError, SigningKeys};
use uuid::Uuid;

use crate::auth::StaffRole;
use crate::auth::claims::{AccessClaims, ISSUER, Kind};
use crate::auth::signing_config::SigningConfig;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::OrgId;

/// How far clocks of other machines may be off.
pub const SKEW: Duration = Duration::from_secs(120);

/// No token of ours is longer; longer ones are not even decoded.
const MAX_TOKEN_BYTES: usize = 4096;

/// The first byte of what [`Keys::seal`] makes.
const SEAL_VERSION: u8 = 1;

/// Signs and checks tokens, hashes short codes, and seals what the database may hold but not read.
pub struct Keys {
    signing: SigningKeys,
    lookup: [u8; 32],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("signing", &self.signing).finish_non_exhaustive()
    }
}

/// What an AccessToken is minted for.
#[derive(Clone, Copy, Debug)]
pub struct AccessGrant<'a> {
    /// In which organisation.
    pub org: OrgId,
    /// Whose it is.
    pub sub: &'a str,
    /// As what.
    pub role: StaffRole,
    /// How they are called.
    pub name: Option<&'a str>,
    /// How long it holds.
    pub lifetime: Duration,
}

fn read_lookup(folder: &Path) -> Result<[u8; 32], Error> {
    let text = std::fs::read_to_string(folder.join("lookup.key"))
        .map_err(|e| Error::Keys(format!("cannot read lookup.key: {e}")))?;
    let mut lookup = [0; 32];
    hex::decode_to_slice(text.trim(), &mut lookup)
        .map_err(|_| Error::Keys("lookup.key does not hold 32 bytes as hex".to_owned()))?;
    Ok(lookup)
}

impl From<SigningError> for Error {
    fn from(error: SigningError) -> Self {
        Self::Keys(error.to_string())
    }
}

impl Keys {
    /// Reads `signing.pem` (PKCS 8) and `lookup.key` (32 bytes as hex) from a folder.
    ///
    /// # Errors
    /// When one is missing or is not such a key.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        Ok(Self { signing: SigningKeys::read(folder)?, lookup: read_lookup(folder)? })
    }

    /// The same, but the signing key is where the settings say: in the folder, or in AWS KMS.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when the service does not answer.
    pub async fn open_as(config: &SigningConfig, folder: &Path) -> Result<Self, Error> {
        let signing = match config.kms()? {
            Some(kms) => SigningKeys::in_kms(&kms, folder).await?,
            None => SigningKeys::read(folder)?,
        };
        Ok(Self { signing, lookup: read_lookup(folder)? })
    }

    /// Reads the folder's keys, and first makes those that are missing, readable for this user alone.
    ///
    /// # Errors
    /// When they can be neither read nor made.
    pub fn read_or_create(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder)?;
        signing::create(folder)?;
        create(&folder.join("lookup.key"), || Ok(hex::encode(rand::random::<[u8; 32]>())))?;
        Self::read(folder)
    }

    /// Keys that live in memory alone.
    ///
    /// # Errors
    /// When the new key cannot be handed to the token library.
    pub fn ephemeral() -> Result<Self, Error> {
        Ok(Self { signing: SigningKeys::ephemeral()?, lookup: rand::random() })
    }

    /// The public halves as a JWK set (RFC 7517): the current key and the ones before it.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.signing.jwks()
    }

    /// Puts a new signing key in the place of the current one, which goes on verifying. Other processes that run take it up by themselves.
    ///
    /// # Errors
    /// When the key is no file of ours, or cannot be written.
    pub fn rotate(&self) -> Result<signing::Rotated, Error> {
        Ok(self.signing.rotate()?)
    }

    /// Takes up a signing key that has taken the current one's place.
    ///
    /// # Errors
    /// When it cannot be read; the current key goes on meanwhile.
    pub async fn refresh(&self) -> Result<Option<signing::Rotated>, Error> {
        Ok(self.signing.refresh().await?)
    }

    /// Signs claims by a local key.
    ///
    /// # Errors
    /// When the key is in AWS KMS.
    pub fn sign<K: Kind>(&self, claims: &K) -> Result<String, Error> {
        Ok(self.signing.sign_now(K::TYP, claims)?)
    }

    /// Signs claims, wherever the key is. Not to be waited for inside a transaction.
    ///
    /// # Errors
    /// When AWS KMS does not answer.
    pub async fn sign_anywhere<K: Kind + Sync>(&self, claims: &K) -> Result<String, Error> {
        Ok(self.signing.sign(K::TYP, claims).await?)
    }

    /// Checks signature, algorithm, key id, type, issuer and audience. Times are the caller's to check: see [`holds`].
    /// Keys named by the token itself (`jwk`, `jku`, `x5c`) are never looked at.
    #[must_use]
    pub fn open<K: Kind>(&self, token: &str) -> Option<K> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        let key = self.signing.find(jsonwebtoken::decode_header(token).ok()?.kid.as_deref()?)?;
        let opened = jsonwebtoken::decode::<K>(token, &key, &validation).ok()?;
        let header = opened.header;
        let fits = header.typ.as_deref() == Some(K::TYP) && header.crit.is_none();
        let common = opened.claims.common();
        (fits && common.iss == ISSUER && common.aud == K::AUDIENCE).then_some(opened.claims)
    }

    /// Mints an AccessToken: `anteroom token` and the demo sign-in use it.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn mint_access(&self, grant: AccessGrant<'_>, now: Timestamp) -> Result<String, Error> {
        let iat = now.unix_timestamp();
        self.sign(&AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AccessClaims::AUDIENCE.to_owned(),
            sub: grant.sub.to_owned(),
            org: grant.org.as_uuid(),
            role: grant.role,
            name: grant.name.map(ToOwned::to_owned),
            iat,
            nbf: iat,
            exp: (now + grant.lifetime).unix_timestamp(),
            jti: Uuid::new_v4(),
            // Whoever holds this server's key vouches for the person: there is no second factor above that.
            mfa_at: Some(iat),
        })
    }

    /// The keyed hash under which a short code is stored and found: a copy of the table alone opens no link.
    #[must_use]
    pub fn lookup_hash(&self, code: &str) -> [u8; 32] {
        // HMAC takes keys of any length; 32 bytes never fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.lookup).expect("HMAC takes any key length");
        mac.update(b"anteroom short code v1\0");
        mac.update(code.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A tag of `data` that only this server can make. `purpose` ends with a zero byte, so that no tag serves two ends.
    #[must_use]
    pub(crate) fn tag(&self, purpose: &'static [u8], data: &[u8]) -> [u8; 32] {
        self.mac(purpose, data).finalize().into_bytes().into()
    }

    /// Whether `tag` begins the [tag](Self::tag) of `data`, in a time that says nothing about where they differ. The caller bounds its
    /// length from below.
    #[must_use]
    pub(crate) fn is_tag(&self, purpose: &'static [u8], data: &[u8], tag: &[u8]) -> bool {
        self.mac(purpose, data).verify_truncated_left(tag).is_ok()
    }

    /// Seals a secret for the database. Only this server opens it, and only for the same purpose and context.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn seal(&self, purpose: &'static [u8], context: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.to_vec();
        self.sealing(purpose)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| Error::Keys("a secret could not be sealed".to_owned()))?;
        Ok([&[SEAL_VERSION], nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// When it was sealed by another server, or for something else, or is damaged.
    pub(crate) fn unseal(&self, purpose: &'static [u8], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let broken = || Error::Keys("a sealed secret does not open: is `lookup.key` another one now?".to_owned());
        let (version, rest) = sealed.split_first().ok_or_else(broken)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        if *version != SEAL_VERSION {
            return Err(broken());
        }
        let mut secret = rest.to_vec();
        let length = self
            .sealing(purpose)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut secret)
            .map_err(|_| broken())?
            .len();
        secret.truncate(length);
        Ok(secret)
    }

    /// A key of its own for each purpose.
    fn sealing(&self, purpose: &'static [u8]) -> Result<LessSafeKey, Error> {
        let key = self.tag(b"anteroom sealing key v1\0", purpose);
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| Error::Keys("no key for sealing".to_owned()))?;
        Ok(LessSafeKey::new(key))
    }

    fn mac(&self, purpose: &'static [u8], data: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.lookup).expect("HMAC takes any key length");
        mac.update(purpose);
        mac.update(data);
        mac
    }
}

/// Whether a token's own times allow it at `now`, give or take [`SKEW`].
#[must_use]
pub fn holds<K: Kind>(claims: &K, now: Timestamp) -> bool {
    let common = claims.common();
    let skew = i64::try_from(SKEW.as_secs()).unwrap_or(0);
    let now = now.unix_timestamp();
    common.nbf.saturating_sub(skew) <= now && now < common.exp.saturating_add(skew)
}

/// Writes a secret unless the file is there; two processes at once make one file between them.
pub(crate) fn create(path: &Path, secret: impl FnOnce() -> Result<String, Error>) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let draft = folder.join(format!(".{}.new", Uuid::new_v4()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(secret()?.as_bytes())?;
    file.sync_all()?;
    // A hard link refuses to replace: whoever comes second keeps the first one's key.
    match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error)?,
        _ => {}
    }
    std::fs::remove_file(&draft)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::claims::JoinClaims;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header};
    use p256::ecdsa::SigningKey;
    use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
    use std::os::unix::fs::PermissionsExt;
    use time::macros::datetime;

    fn grant() -> AccessGrant<'static> {
        AccessGrant {
            org: OrgId::random(),
            sub: "dr-a",
            role: StaffRole::Clinician,
            name: None,
            lifetime: Duration::from_secs(60),
        }
    }

    #[test]
    fn keys_survive_a_restart_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let now = datetime!(2026-11-21 10:00 UTC);
        let token = Keys::read_or_create(folder.path()).unwrap().mint_access(grant(), now).unwrap();
        let again = Keys::read_or_create(folder.path()).unwrap();
        let claims: AccessClaims = again.open(&token).unwrap();
        assert_eq!(claims.sub, "dr-a");
        assert!(holds(&claims, now + Duration::from_secs(60 + 119)));
        assert!(!holds(&claims, now + Duration::from_secs(60 + 120)));
        assert!(holds(&claims, now - SKEW));
        assert!(!holds(&claims, now - SKEW - Duration::from_secs(1)));
        for name in ["signing.pem", "lookup.key"] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_sealed_secret_opens_for_its_purpose_and_context_alone() {
        let keys = Keys::ephemeral().unwrap();
        let sealed = keys.seal(b"a\0", b"one", b"secret").unwrap();
        assert_eq!(keys.unseal(b"a\0", b"one", &sealed).unwrap(), b"secret");
        assert_ne!(keys.seal(b"a\0", b"one", b"secret").unwrap(), sealed);
        assert!(keys.unseal(b"b\0", b"one", &sealed).is_err());
        assert!(keys.unseal(b"a\0", b"two", &sealed).is_err());
        assert!(Keys::ephemeral().unwrap().unseal(b"a\0", b"one", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.unseal(b"a\0", b"one", &changed).is_err());
            assert!(keys.unseal(b"a\0", b"one", &sealed[..at]).is_err());
        }
        let tag = keys.tag(b"a\0", b"data");
        assert!(keys.is_tag(b"a\0", b"data", &tag[..24]));
        assert!(!keys.is_tag(b"b\0", b"data", &tag[..24]));
    }

    #[test]
    fn forged_tokens_do_not_open() {
        let now = datetime!(2026-11-21 10:00 UTC);
        let keys = Keys::ephemeral().unwrap();
        let token = keys.mint_access(grant(), now).unwrap();
        assert!(keys.open::<AccessClaims>(&token).is_some());
        assert!(keys.open::<JoinClaims>(&token).is_none(), "another kind");
        assert!(Keys::ephemeral().unwrap().open::<AccessClaims>(&token).is_none(), "another key");
        let parts: Vec<&str> = token.split('.').collect();
        let [header, body, signature] = parts[..] else { panic!("three parts") };
        let none = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#);
        let hs = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{}"}}"#, keys.signing.kid()));
        let admin = String::from_utf8(URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap().replace("clinician", "admin");
        let admin = URL_SAFE_NO_PAD.encode(admin);
        for forged in [
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{hs}.{body}.{signature}"),
            format!("{header}.{admin}.{signature}"),
            format!("{header}.{body}.{}", "A".repeat(86)),
            format!("{header}.{body}"),
            "a".repeat(5000),
            String::new(),
        ] {
            assert!(keys.open::<AccessClaims>(&forged).is_none(), "{forged}");
        }
    }

    #[test]
    fn wrong_issuer_audience_type_or_key_id_do_not_open() {
        let keys = Keys::ephemeral().unwrap();
        let token = keys.mint_access(grant(), datetime!(2026-11-21 10:00 UTC)).unwrap();
        let claims: AccessClaims = keys.open(&token).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::read_or_create(folder.path()).unwrap();
        let pem = std::fs::read_to_string(folder.path().join("signing.pem")).unwrap();
        let der = SigningKey::from_pkcs8_pem(&pem).unwrap().to_pkcs8_der().unwrap();
        let signing = EncodingKey::from_ec_der(der.as_bytes());
        let sign = |change: &dyn Fn(&mut Header, &mut AccessClaims)| {
            let mut header = Header::new(Algorithm::ES256);
            header.typ = Some("at+jwt".to_owned());
            header.kid = Some(keys.signing.kid());
            let mut claims = claims.clone();
            change(&mut header, &mut claims);
            jsonwebtoken::encode(&header, &claims, &signing).unwrap()
        };
        assert!(keys.open::<AccessClaims>(&sign(&|_, _| ())).is_some());
        assert!(keys.open::<AccessClaims>(&sign(&|_, c| c.iss = "other".to_owned())).is_none());
        assert!(keys.open::<AccessClaims>(&sign(&|_, c| c.aud = "anteroom/join".to_owned())).is_none());
        assert!(keys.open::<AccessClaims>(&sign(&|h, _| h.typ = Some("JWT".to_owned()))).is_none());
        assert!(keys.open::<AccessClaims>(&sign(&|h, _| h.kid = Some("other".to_owned()))).is_none());
        assert!(keys.open::<AccessClaims>(&sign(&|h, _| h.crit = Some(vec!["b64".to_owned()]))).is_none());
    }
}
