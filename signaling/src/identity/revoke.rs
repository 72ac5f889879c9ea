//! Ends what somebody came in by: one session at sign-out, everything when they have left. Sockets notice at once in this process, and
//! within [`LOOK_EVERY`] in others.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Credential, Staff};
use crate::clock::Timestamp;
use crate::db::{self, Db, Tx};
use crate::error::{Error, Result};
use crate::identity::session;
use crate::ids::OrgId;

/// How often a live socket asks whether its holder may stay.
pub const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What is ended.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Everything of a person: their sessions, and the tokens that were issued until now.
    Person(&'a str),
    /// One token of theirs, by its `jti`, and the sessions that came from it.
    Token(&'a str),
    /// What carries this keyed hash as the provider's session or person.
    Provider(&'a [u8; 32]),
}

/// Ends it. Returns how many live sessions that were.
///
/// # Errors
/// The database's own failures.
pub async fn revoke(app: &App, actor: &Actor, target: Target<'_>, reason: &'static str) -> Result<usize> {
    let now = app.now();
    let org = actor.org();
    let ended = db::audited(&app.db, org, actor, async |tx| {
        let ended = match target {
            Target::Person(sub) => {
                remember(tx, org, "SUB", sub, now).await?;
                of_person(tx, org, sub, reason, now).await?
            }
            Target::Token(id) => {
                remember(tx, org, "TOKEN", id, now).await?;
                of_token(tx, org, id, reason, now).await?
            }
            Target::Provider(key) => of_provider(tx, org, key, reason, now).await?,
        };
        let count = Fact::Number(i64::try_from(ended.len()).unwrap_or(i64::MAX));
        let mut events: Vec<_> = ended.iter().map(|id| revoked(*id, reason)).collect();
        if events.is_empty() {
            // Nobody was signed in: that it was asked for is on record all the same.
            events.push(Draft::new(EventType::SessionRevoked).because(reason).fact("count", count));
        }
        Ok::<_, Error>((ended.len(), events))
    })
    .await?;
    app.sign_outs.notify_waiters();
    Ok(ended)
}

/// Ends one session because its holder signs out. Gives the sealed ID token, where the provider gave one.
///
/// # Errors
/// The database's own failures.
pub async fn sign_out(app: &App, staff: &Staff) -> Result<Option<Vec<u8>>> {
    let now = app.now();
    let actor = Actor::Staff(staff.clone());
    let hint = db::audited(&app.db, staff.org, &actor, async |tx| {
        let hint = match &staff.credential {
            Credential::Session(session) => sqlx::query_scalar!(
                "UPDATE staff_session SET revoked_at = $3, revoke_reason = 'SIGNED_OUT'
                 WHERE org_id = $1 AND session_id = $2 AND revoked_at IS NULL RETURNING sealed_id_token",
                staff.org.as_uuid(),
                session.as_uuid(),
                now,
            )
            .fetch_optional(&mut *tx)
            .await?
            .flatten(),
            Credential::Token { .. } => None,
        };
        Ok::<_, Error>((hint, vec![Draft::new(EventType::Logout)]))
    })
    .await?;
    app.sign_outs.notify_waiters();
    Ok(hint)
}

/// Which organisations have rows with this keyed hash of the provider's.
///
/// # Errors
/// The database's own failures.
pub async fn organizations_of(db: &Db, key: &[u8; 32]) -> Result<Vec<OrgId>> {
    let mut tx = db.pool().begin().await?;
    sqlx::query!("SELECT set_config('app.provider_key', $1, true) AS set", hex::encode(key))
        .fetch_one(&mut *tx)
        .await?;
    let found = sqlx::query_scalar!(
        "SELECT DISTINCT org_id FROM staff_session WHERE (provider_sid = $1 OR provider_sub = $1) AND revoked_at IS NULL LIMIT 100",
        key.as_slice()
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(found.into_iter().map(OrgId::from_uuid).collect())
}

/// Comes back when the holder of a live socket may stay no longer. A database that is away ends nobody's visit.
pub async fn gone(app: &App, staff: &Staff) {
    loop {
        let told = app.sign_outs.notified();
        match session::still_holds(app, staff).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "whether somebody may stay could not be asked"),
        }
        tokio::select! {
            () = told => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

fn revoked(session: Uuid, reason: &'static str) -> Draft {
    Draft::new(EventType::SessionRevoked).subject("session", session).because(reason)
}

async fn remember(tx: &mut Tx, org: OrgId, kind: &str, key: &str, now: Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO revocation (org_id, kind, key, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, kind, key) DO UPDATE SET at = GREATEST(revocation.at, EXCLUDED.at)",
        org.as_uuid(),
        kind,
        key,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn of_person(tx: &mut Tx, org: OrgId, sub: &str, reason: &str, now: Timestamp) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "UPDATE staff_session SET revoked_at = $3, revoke_reason = $4 WHERE org_id = $1 AND sub = $2 AND revoked_at IS NULL
         RETURNING session_id",
        org.as_uuid(),
        sub,
        now,
        reason,
    )
    .fetch_all(tx)
    .await?)
}

async fn of_token(tx: &mut Tx, org: OrgId, id: &str, reason: &str, now: Timestamp) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar!(
        "UPDATE staff_session SET revoked_at = $3, revoke_reason = $4 WHERE org_id = $1 AND token_id = $2 AND revoked_at IS NULL
         RETURNING session_id",
        org.as_uuid(),
        id,
        now,
        reason,
    )
    .fetch_all(tx)
    .await?)
}

/// The people behind those sessions also lose the provider's access tokens that they hold.
async fn of_provider(tx: &mut Tx, org: OrgId, key: &[u8; 32], reason: &str, now: Timestamp) -> Result<Vec<Uuid>> {
    let ended = sqlx::query!(
        "UPDATE staff_session SET revoked_at = $3, revoke_reason = $4
         WHERE org_id = $1 AND (provider_sid = $2 OR provider_sub = $2) AND revoked_at IS NULL RETURNING session_id, sub",
        org.as_uuid(),
        key.as_slice(),
        now,
        reason,
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in &ended {
        remember(tx, org, "SUB", &row.sub, now).await?;
    }
    Ok(ended.into_iter().map(|row| row.session_id).collect())
}
