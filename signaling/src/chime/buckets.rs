//! The buckets that an organisation's captures may go to, and whether its plain meetings may be captured on their application's word.

use serde::Serialize;

use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::config::SignalingConfig;
use crate::db::{self, Db, Tx};
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::problem::Code;

/// Buckets that one organisation may have allowed at a time.
const MOST: i64 = 100;

/// A bucket as a list shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketView {
    /// Its name.
    pub bucket: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub allowed_at: Timestamp,
    /// Since when no new capture may go there.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<Timestamp>,
}

/// Whether this could be a bucket's name (the rules of S3).
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    (3..=63).contains(&text.len()) && text.bytes().all(is_letter) && !text.contains("..")
}

/// Allows a bucket from now on, again if it was revoked.
///
/// # Errors
/// What is no bucket's name, an organisation that is not there or has a hundred; the database's own failures.
pub async fn allow(db: &Db, org: OrgId, bucket: &str) -> Result<BucketView> {
    if !is_name(bucket) {
        return Err(Code::Invalid
            .with("A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens.")
            .into());
    }
    let now = db.clock().now();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        if crate::organization::find(tx, org).await?.is_none() {
            return Err(Code::NotFound.with("There is no such organisation.").into());
        }
        let used = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM organization_bucket WHERE org_id = $1 AND revoked_at IS NULL AND bucket <> $2"#,
            org.as_uuid(),
            bucket
        )
        .fetch_one(&mut *tx)
        .await?;
        if used >= MOST {
            return Err(Code::Invalid.with("There are 100 buckets allowed: revoke one first.").into());
        }
        let view = sqlx::query_as!(
            BucketView,
            "INSERT INTO organization_bucket AS b (org_id, bucket, allowed_at) VALUES ($1, $2, $3)
             ON CONFLICT (org_id, bucket) DO UPDATE SET revoked_at = NULL,
                 allowed_at = CASE WHEN b.revoked_at IS NULL THEN b.allowed_at ELSE excluded.allowed_at END
             RETURNING bucket, allowed_at, revoked_at",
            org.as_uuid(),
            bucket,
            now
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok::<_, Error>((view, vec![changed("BUCKET_ALLOWED", bucket)]))
    })
    .await
}

/// All buckets of an organisation, by name.
///
/// # Errors
/// The database's own failures.
pub async fn list(db: &Db, org: OrgId) -> Result<Vec<BucketView>> {
    db::scoped(db, org, async |tx| {
        let buckets = sqlx::query_as!(
            BucketView,
            "SELECT bucket, allowed_at, revoked_at FROM organization_bucket WHERE org_id = $1 ORDER BY bucket",
            org.as_uuid()
        )
        .fetch_all(tx)
        .await?;
        Ok(buckets)
    })
    .await
}

/// Lets no new capture go to a bucket. Those that run are delivered.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn revoke(db: &Db, org: OrgId, bucket: &str) -> Result<BucketView> {
    let now = db.clock().now();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        let view = sqlx::query_as!(
            BucketView,
            "UPDATE organization_bucket SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND bucket = $2
             RETURNING bucket, allowed_at, revoked_at",
            org.as_uuid(),
            bucket,
            now
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| Error::from(Code::NotFound.with("This bucket is not allowed.")))?;
        Ok::<_, Error>((view, vec![changed("BUCKET_REVOKED", bucket)]))
    })
    .await
}

/// Says whether everybody in a plain meeting must have agreed before it is captured. Holds for rooms that open from now on.
///
/// # Errors
/// When the organisation is not there; the database's own failures.
pub async fn demand_consent(db: &Db, org: OrgId, is_demanded: bool) -> Result<()> {
    db::audited(db, org, &Actor::System { org }, async |tx| {
        let updated = sqlx::query!(
            "UPDATE organization SET meetings_need_consent = $2 WHERE org_id = $1",
            org.as_uuid(),
            is_demanded
        )
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Err(Code::NotFound.with("There is no such organisation.").into());
        }
        let draft = Draft::new(EventType::ConfigChanged).because("MEETING_CONSENT_CHANGED");
        let draft = draft.fact("isDemanded", Fact::Truth(is_demanded)).subject("organization", org.as_uuid());
        Ok::<_, Error>(((), vec![draft]))
    })
    .await
}

/// Whether captures of this organisation may go to a bucket: by the settings, for it or for everybody, or by the organisation's list.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn is_allowed(tx: &mut Tx, config: &SignalingConfig, org: OrgId, bucket: &str) -> Result<bool> {
    if is_in_settings(config, org, bucket) {
        return Ok(true);
    }
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM organization_bucket WHERE org_id = $1 AND bucket = $2 AND revoked_at IS NULL) AS "is!""#,
        org.as_uuid(),
        bucket
    )
    .fetch_one(tx)
    .await?)
}

fn is_in_settings(config: &SignalingConfig, org: OrgId, bucket: &str) -> bool {
    config.chime_buckets.iter().any(|entry| {
        entry.split_once('/').is_some_and(|(who, which)| which == bucket && (who == "*" || who == org.to_string()))
    })
}

fn changed(reason: &'static str, bucket: &str) -> Draft {
    // The name is no UUID, as those of other records are.
    Draft { subject: Some(format!("bucket:{bucket}")), ..Draft::new(EventType::ConfigChanged).because(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_for_one_organisation_or_for_all() {
        let (org, other) = (OrgId::random(), OrgId::random());
        let config = SignalingConfig {
            chime_buckets: vec![format!("{org}/own"), "*/all".to_owned()],
            ..SignalingConfig::default()
        };
        assert!(is_in_settings(&config, org, "own") && is_in_settings(&config, org, "all"));
        assert!(is_in_settings(&config, other, "all") && !is_in_settings(&config, other, "own"));
        assert!(!is_in_settings(&config, org, "none") && !is_in_settings(&SignalingConfig::default(), org, "own"));
    }

    #[test]
    fn names_of_buckets_as_s3_has_them() {
        assert!(is_name("captures") && is_name("a.b-9") && is_name(&"x".repeat(63)));
        for bad in ["", "ab", "Captures", "a_b_c", "a/b", "a..b", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
