//! Access keys: what an application signs its requests with. The secret is sealed by the server's key, bound to its organisation and
//! its id.

use rand::RngExt as _;
use serde::Serialize;
use wire::Redacted;

use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::auth::keys::Keys;
use crate::clock::Timestamp;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::problem::Code;

/// How ids begin: not as AWS's own do, so that nobody takes one for the other.
const PREFIX: &str = "ANTE";

/// Random letters after that: 80 bits.
const LETTERS: usize = 16;

/// Letters of an id (RFC 4648 base 32).
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Letters of a secret, as long as those of AWS: some programs check that.
const SECRET: usize = 40;

/// Letters of a secret: no slash and no plus, which break in shells and URLs.
const SECRET_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Binds a sealed secret to its use.
const PURPOSE: &[u8] = b"anteroom chime access key v1\0";

/// Keys that one organisation may have in use at a time.
const MOST: i64 = 20;

/// A new key, the one time that its secret is shown.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What requests name.
    pub access_key_id: String,
    /// What they are signed with.
    pub secret_access_key: Redacted<String>,
}

/// A key as a list shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// What requests name.
    pub access_key_id: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: Timestamp,
    /// Since when it is refused.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<Timestamp>,
}

/// Makes a key for an organisation.
///
/// # Errors
/// When the organisation is not there or has twenty keys in use; the database's own failures.
pub async fn create(db: &Db, keys: &Keys, org: OrgId) -> Result<NewKey> {
    let access_key_id = format!("{PREFIX}{}", pick(ALPHABET, LETTERS));
    let secret = Redacted::new(pick(SECRET_ALPHABET, SECRET));
    let sealed = keys.seal(PURPOSE, &context(org, &access_key_id), secret.reveal().as_bytes())?;
    let now = db.clock().now();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        if crate::organization::find(tx, org).await?.is_none() {
            return Err(Code::NotFound.with("There is no such organisation.").into());
        }
        let used = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM chime_key WHERE org_id = $1 AND revoked_at IS NULL"#,
            org.as_uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        if used >= MOST {
            return Err(Code::Invalid.with("There are 20 access keys in use: revoke one first.").into());
        }
        sqlx::query!(
            "INSERT INTO chime_key (access_key_id, org_id, sealed_secret, created_at) VALUES ($1, $2, $3, $4)",
            access_key_id,
            org.as_uuid(),
            sealed,
            now
        )
        .execute(&mut *tx)
        .await?;
        Ok::<_, Error>(((), vec![changed("ACCESS_KEY_CREATED", &access_key_id)]))
    })
    .await?;
    Ok(NewKey { access_key_id, secret_access_key: secret })
}

/// All keys of an organisation, oldest first.
///
/// # Errors
/// The database's own failures.
pub async fn list(db: &Db, org: OrgId) -> Result<Vec<KeyView>> {
    db::scoped(db, org, async |tx| {
        let keys = sqlx::query_as!(
            KeyView,
            "SELECT access_key_id, created_at, revoked_at FROM chime_key WHERE org_id = $1 ORDER BY created_at, access_key_id",
            org.as_uuid()
        )
        .fetch_all(tx)
        .await?;
        Ok(keys)
    })
    .await
}

/// Refuses a key from now on. One that was revoked before stays as it was.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn revoke(db: &Db, org: OrgId, access_key_id: &str) -> Result<KeyView> {
    let now = db.clock().now();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        let key = sqlx::query_as!(
            KeyView,
            "UPDATE chime_key SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND access_key_id = $2
             RETURNING access_key_id, created_at, revoked_at",
            org.as_uuid(),
            access_key_id,
            now
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| Error::from(Code::NotFound.with("There is no such access key.")))?;
        Ok::<_, Error>((key, vec![changed("ACCESS_KEY_REVOKED", access_key_id)]))
    })
    .await
}

/// Whose key this is, and its secret, if it is in use. Asked before an organisation is known: see [`db::find_access_key`].
///
/// # Errors
/// The database's own failures; a secret that this server did not seal.
pub(crate) async fn find(db: &Db, keys: &Keys, access_key_id: &str) -> Result<Option<(OrgId, Redacted<String>)>> {
    let Some((org, sealed)) = db::find_access_key(db, access_key_id).await? else { return Ok(None) };
    let secret = keys.unseal(PURPOSE, &context(org, access_key_id), &sealed)?;
    let secret = String::from_utf8(secret).map_err(|_| Error::Keys("a sealed secret is no text".to_owned()))?;
    Ok(Some((org, Redacted::new(secret))))
}

fn context(org: OrgId, access_key_id: &str) -> Vec<u8> {
    [org.as_uuid().as_bytes().as_slice(), access_key_id.as_bytes()].concat()
}

fn changed(reason: &'static str, access_key_id: &str) -> Draft {
    // The id is no UUID, as those of other records are.
    Draft {
        subject: Some(format!("access_key:{access_key_id}")),
        ..Draft::new(EventType::ConfigChanged).because(reason)
    }
}

fn pick(alphabet: &[u8], count: usize) -> String {
    let mut rng = rand::rng();
    (0..count).filter_map(|_| alphabet.get(rng.random_range(0..alphabet.len()))).map(|byte| char::from(*byte)).collect()
}
