//! Targets: where an organisation is told things. An operator adds them one by one, so there is no other list of what is allowed.

use axum::http::Uri;
use serde::Serialize;
use uuid::Uuid;
use wire::Redacted;

use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::auth::keys::Keys;
use crate::clock::Timestamp;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::problem::Code;
use crate::webhook::sign::Secret;

/// Binds a sealed secret to its use.
const PURPOSE: &[u8] = b"anteroom webhook secret v1\0";

/// Targets that one organisation may have at a time: every event is one row for each.
const MOST: i64 = 10;

/// The longest URL.
const MAX_URL: usize = 2048;

/// Where to send, read from a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_https: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the `Host` header has it.
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Place {
    /// Reads `https://host[:port]/path`. Whether `http` may be used is decided by the address behind it.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        if url.len() > MAX_URL || url.contains('#') {
            return None;
        }
        let uri: Uri = url.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        // A name and a password in a URL end in logs.
        if authority.contains('@') {
            return None;
        }
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        (!host.is_empty() && port > 0).then(|| Self { is_https, host, port, authority: authority.to_owned(), path })
    }
}

/// A new target, the one time that its secret is shown.
#[derive(Clone, Debug)]
pub struct NewTarget {
    /// Its id.
    pub id: Uuid,
    /// What deliveries are signed with, as a receiver's library takes it.
    pub secret: Redacted<String>,
}

/// A target as a list shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    /// Its id.
    pub webhook_id: Uuid,
    /// Where to.
    pub url: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: Timestamp,
    /// Since when nothing is sent there.
    #[serde(with = "time::serde::rfc3339::option")]
    pub removed_at: Option<Timestamp>,
    /// Events that wait to be delivered.
    pub waiting: i64,
    /// Those that were given up, and not yet forgotten.
    pub given_up: i64,
}

/// Adds a target for an organisation.
///
/// # Errors
/// When the URL cannot be used, the organisation is not there or has ten targets; the database's own failures.
pub async fn add(db: &Db, keys: &Keys, org: OrgId, url: &str) -> Result<NewTarget> {
    if Place::parse(url).is_none() {
        let text = "The URL must be https://host/path (http only into a network of `webhook_networks`), without a name, a password \
                    or a fragment.";
        return Err(Code::Invalid.with(text).into());
    }
    let (id, secret) = (Uuid::new_v4(), Secret::random().to_text());
    let sealed = keys.seal(PURPOSE, &context(org, id), secret.reveal().as_bytes())?;
    let now = db.clock().now();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        if crate::organization::find(tx, org).await?.is_none() {
            return Err(Code::NotFound.with("There is no such organisation.").into());
        }
        let used = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM webhook_target WHERE org_id = $1 AND removed_at IS NULL"#,
            org.as_uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        if used >= MOST {
            return Err(Code::Invalid.with("There are 10 webhooks in use: remove one first.").into());
        }
        sqlx::query!(
            "INSERT INTO webhook_target (target_id, org_id, url, sealed_secret, created_at) VALUES ($1, $2, $3, $4, $5)",
            id,
            org.as_uuid(),
            url,
            sealed,
            now
        )
        .execute(&mut *tx)
        .await?;
        Ok::<_, Error>(((), vec![changed("WEBHOOK_ADDED", id)]))
    })
    .await?;
    Ok(NewTarget { id, secret })
}

/// All targets of an organisation, oldest first.
///
/// # Errors
/// The database's own failures.
pub async fn list(db: &Db, org: OrgId) -> Result<Vec<TargetView>> {
    db::scoped(db, org, async |tx| {
        let targets = sqlx::query_as!(
            TargetView,
            r#"SELECT t.target_id AS webhook_id, t.url, t.created_at, t.removed_at,
                   (SELECT count(*) FROM webhook_delivery d WHERE d.target_id = t.target_id AND d.settled_at IS NULL) AS "waiting!",
                   (SELECT count(*) FROM webhook_delivery d WHERE d.target_id = t.target_id AND d.outcome = 'GIVEN_UP') AS "given_up!"
               FROM webhook_target t WHERE t.org_id = $1 ORDER BY t.created_at, t.target_id"#,
            org.as_uuid()
        )
        .fetch_all(tx)
        .await?;
        Ok(targets)
    })
    .await
}

/// Sends nothing there from now on; what waits for it is given up. One that was removed before stays as it was.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn remove(db: &Db, org: OrgId, id: Uuid) -> Result<()> {
    let now = db.clock().now();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        let removed = sqlx::query!(
            "UPDATE webhook_target SET removed_at = coalesce(removed_at, $3) WHERE org_id = $1 AND target_id = $2",
            org.as_uuid(),
            id,
            now
        )
        .execute(&mut *tx)
        .await?;
        if removed.rows_affected() == 0 {
            return Err(Code::NotFound.with("There is no such webhook.").into());
        }
        sqlx::query!(
            "UPDATE webhook_delivery SET settled_at = $3, outcome = 'GIVEN_UP'
             WHERE org_id = $1 AND target_id = $2 AND settled_at IS NULL",
            org.as_uuid(),
            id,
            now
        )
        .execute(&mut *tx)
        .await?;
        Ok::<_, Error>(((), vec![changed("WEBHOOK_REMOVED", id)]))
    })
    .await
}

/// Opens what [`add`] sealed.
///
/// # Errors
/// When another server sealed it.
pub(crate) fn open_secret(keys: &Keys, org: OrgId, id: Uuid, sealed: &[u8]) -> Result<Secret> {
    let text = keys.unseal(PURPOSE, &context(org, id), sealed)?;
    let secret = std::str::from_utf8(&text).ok().and_then(Secret::parse);
    secret.ok_or_else(|| Error::Keys("a sealed webhook secret is none".to_owned()))
}

fn context(org: OrgId, id: Uuid) -> Vec<u8> {
    [org.as_uuid().as_bytes().as_slice(), id.as_bytes()].concat()
}

fn changed(reason: &'static str, id: Uuid) -> Draft {
    Draft::new(EventType::ConfigChanged).subject("webhook", id).because(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let place = Place::parse("https://hooks.example.org/chime?x=1").unwrap();
        assert_eq!((place.is_https, place.host.as_str(), place.port), (true, "hooks.example.org", 443));
        assert_eq!((place.authority.as_str(), place.path.as_str()), ("hooks.example.org", "/chime?x=1"));
        let place = Place::parse("http://[::1]:8080").unwrap();
        assert_eq!((place.is_https, place.host.as_str(), place.port, place.path.as_str()), (false, "::1", 8080, "/"));
        let long = format!("https://a/{}", "x".repeat(MAX_URL));
        for bad in
            ["", "hooks", "/path", "ftp://a/", "https://", "https://u:p@a/", "https://a/#x", "https://a:0/", &long]
        {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
