//! SQL of the texts. A version is never changed; a later one follows it.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::audit::{Draft, EventType, Fact};
use crate::consent::record::Subject;
use crate::consent::texts::{SHIPPED, Shipped};
use crate::consent::{ConsentText, ConsentType, Purpose};
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;
use crate::problem::Code;
use crate::state::StateCode;

/// The language of the texts that ship.
pub const ENGLISH: &str = "en-US";

/// The version in force, in the language asked for if there is one of it, else in English, else in any.
///
/// # Errors
/// The database's own failures.
pub async fn find_in_force(
    tx: &mut Tx,
    org: OrgId,
    subject: Subject,
    locale: Option<&str>,
) -> Result<Option<ConsentText>> {
    let row = sqlx::query!(
        "SELECT text_id, version, locale, body, sha256 FROM consent_text
         WHERE org_id = $1 AND type = $2 AND state_code IS NOT DISTINCT FROM $3 AND purpose IS NOT DISTINCT FROM $4
         ORDER BY version DESC, (locale = $5) DESC, (locale = $6) DESC, locale LIMIT 1",
        org.as_uuid(),
        subject.kind.as_str(),
        subject.state.map(StateCode::as_str),
        subject.text_purpose(),
        locale.unwrap_or(ENGLISH),
        ENGLISH
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| ConsentText {
        id: row.text_id,
        version: row.version,
        locale: row.locale,
        body: row.body,
        sha256: row.sha256,
    }))
}

/// The version in force; where the organisation has none, the text that ships becomes its first, and the audit event says so.
///
/// # Errors
/// `INVALID` when there is no such text at all; the database's own failures.
pub async fn get_in_force(
    tx: &mut Tx,
    org: OrgId,
    subject: Subject,
    locale: Option<&str>,
    drafts: &mut Vec<Draft>,
) -> Result<ConsentText> {
    if let Some(text) = find_in_force(tx, org, subject, locale).await? {
        return Ok(text);
    }
    let shipped = SHIPPED.iter().find(|shipped| subject_of(shipped) == subject);
    let shipped = shipped.ok_or_else(|| Code::Invalid.with("There is no text of this type for this state."))?;
    let (text, draft) = publish(tx, org, &NewText::shipped(shipped), None).await?;
    drafts.push(draft);
    Ok(text)
}

/// Whether a text for this ships: then it can be signed before anybody publishes one.
#[must_use]
pub fn is_shipped(subject: Subject) -> bool {
    SHIPPED.iter().any(|shipped| subject_of(shipped) == subject)
}

/// A text to publish.
#[derive(Clone, Debug)]
pub struct NewText {
    /// To what people agree by it.
    pub subject: Subject,
    /// Such as `en-US`.
    pub locale: String,
    /// In plain words.
    pub body: String,
    /// The version that this says in another language; otherwise it is the next version.
    pub translates: Option<i32>,
}

impl NewText {
    fn shipped(shipped: &Shipped) -> Self {
        Self {
            subject: subject_of(shipped),
            locale: ENGLISH.to_owned(),
            body: shipped.body.to_owned(),
            translates: None,
        }
    }
}

fn subject_of(shipped: &Shipped) -> Subject {
    let is_recording = shipped.kind == ConsentType::Recording;
    Subject {
        kind: shipped.kind,
        state: shipped.state.and_then(StateCode::parse),
        purpose: shipped.purpose.or(is_recording.then_some(Purpose::Clinical)),
    }
}

/// Adds a text: the next version, or another language of the one in force.
///
/// # Errors
/// `VERSION_OUTDATED` for a translation of a version that is not in force; `INVALID` for a language that the version has; the database's
/// own failures.
pub async fn publish(tx: &mut Tx, org: OrgId, new: &NewText, by: Option<&str>) -> Result<(ConsentText, Draft)> {
    // Two who publish at once get an order.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 71)) AS locked",
        format!("consent text {org} {}", new.subject.kind.as_str())
    )
    .fetch_one(&mut *tx)
    .await?;
    let current = find_in_force(tx, org, new.subject, None).await?.map_or(0, |text| text.version);
    let version = match new.translates {
        Some(version) if version == current => version,
        Some(_) => return Err(Code::VersionOutdated.problem().member("version", current).into()),
        None => current.saturating_add(1),
    };
    let text = ConsentText {
        id: Uuid::new_v4(),
        version,
        locale: new.locale.clone(),
        sha256: Sha256::digest(&new.body).to_vec(),
        body: new.body.clone(),
    };
    let inserted = sqlx::query!(
        "INSERT INTO consent_text (text_id, org_id, type, state_code, purpose, version, locale, body, sha256, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        text.id,
        org.as_uuid(),
        new.subject.kind.as_str(),
        new.subject.state.map(StateCode::as_str),
        new.subject.text_purpose(),
        text.version,
        text.locale,
        text.body,
        text.sha256,
        by
    )
    .execute(tx)
    .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("consent_text_one_version") => {
            return Err(Code::Invalid.with("This version has a text in that language.").into());
        }
        other => other?,
    };
    let draft = Draft::new(EventType::ConfigChanged)
        .because("CONSENT_TEXT_PUBLISHED")
        .subject("consent_text", text.id)
        .fact("version", Fact::Number(version.into()));
    Ok((text, draft))
}

/// Makes the texts that ship an organisation's own, where it has none of that type.
///
/// # Errors
/// The database's own failures.
pub async fn ship(tx: &mut Tx, org: OrgId) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    for shipped in &SHIPPED {
        get_in_force(tx, org, subject_of(shipped), None, &mut drafts).await?;
    }
    Ok(drafts)
}
