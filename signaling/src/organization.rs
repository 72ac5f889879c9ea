//! The practice that owns visits, people and texts, and the first text that its patients sign.

pub mod http;
pub mod settings;

use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::consent::text_store;
use crate::db::{self, Db, Tx};
use crate::error::{Error, Result};
use crate::ids::OrgId;

pub use settings::{Settings, get as settings};

/// Version 1 of the recording consent, in plain words: who asks, why, who can see it, how long it is kept, and that one can stop.
pub const RECORDING_CONSENT_V1: &str = "\
Your clinician asks to record this video visit, picture and sound.

Why: so that what was said can be checked later and your care can follow from it.

Who can see it: your clinician and the people of this practice who take part in your care or keep its records. \
Nobody else, unless the law asks for it or you say so.

How long it is kept: 7 years, locked and encrypted. After that it is deleted.

You can say no. Your visit goes on just the same.

You can stop it at any time. If you change your mind, the recording stops at once.";

/// A practice.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Its id.
    pub id: OrgId,
    /// As patients know it.
    pub name: String,
    /// Where patients call when something does not work.
    pub phone: String,
}

/// Makes a practice and version 1 of the texts that its patients sign, unless it is there already.
///
/// # Errors
/// The database's own failures, such as a name that is too long.
pub async fn create(db: &Db, new: &Organization) -> Result<()> {
    let there = db::scoped(db, new.id, async |tx| find(tx, new.id).await).await?;
    if there.is_some() {
        return Ok(());
    }
    let actor = Actor::System { org: new.id };
    db::audited(db, new.id, &actor, async |tx| {
        sqlx::query!(
            "INSERT INTO organization (org_id, name, phone) VALUES ($1, $2, $3)",
            new.id.as_uuid(),
            new.name,
            new.phone
        )
        .execute(&mut *tx)
        .await?;
        // One event says that all of it was made.
        text_store::ship(tx, new.id).await?;
        let event = Draft::new(EventType::ConfigChanged)
            .because("ORGANIZATION_CREATED")
            .fact("consentVersion", Fact::Number(1));
        Ok::<_, Error>(((), vec![event.subject("organization", new.id.as_uuid())]))
    })
    .await
}

/// The practice of this transaction.
///
/// # Errors
/// The database's own failures.
pub async fn find(tx: &mut Tx, id: OrgId) -> Result<Option<Organization>> {
    let row =
        sqlx::query!("SELECT name, phone FROM organization WHERE org_id = $1", id.as_uuid()).fetch_optional(tx).await?;
    Ok(row.map(|row| Organization { id, name: row.name, phone: row.phone }))
}

/// The practice of this transaction, which must exist: the rows that name it refer to it.
///
/// # Errors
/// The database's own failures.
pub async fn get(tx: &mut Tx, id: OrgId) -> Result<Organization> {
    find(tx, id).await?.ok_or_else(|| Error::Inside("an organisation that rows refer to is not there".to_owned()))
}
