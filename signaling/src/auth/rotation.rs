//! The signing key is replaced while the server runs: the chore that takes the next one up, and the act of `anteroom signing-key rotate`.

use std::time::Duration;

use signing::Rotated;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::auth::keys::Keys;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// The longest wait after the key could not be read, several times over.
const SLOWEST: Duration = Duration::from_secs(60);

/// Looks for the next key until the role stops.
pub async fn run(app: App) {
    let usual = app.config.signing.refresh;
    let mut wait = usual;
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = match app.keys.refresh().await {
            Ok(None) => usual,
            Ok(Some(Rotated { old, new })) => {
                tracing::info!(%old, %new, "the signing key was replaced");
                usual
            }
            Err(error) => {
                tracing::warn!(%error, "the signing key could not be looked at; the current one goes on");
                (wait * 2).min(SLOWEST)
            }
        };
    }
}

/// Replaces the signing key and says so in the organisation's audit chain. Servers that run take it up by themselves; what the old key
/// signed goes on verifying.
///
/// # Errors
/// When the key lives in AWS KMS, or cannot be written; the database's own failures, after which the key has been replaced all the same.
pub async fn rotate(db: &Db, keys: &Keys, org: OrgId) -> Result<Rotated> {
    let rotated = keys.rotate()?;
    db::audited(db, org, &Actor::System { org }, async |_| {
        Ok::<_, Error>(((), vec![Draft::new(EventType::KeyRotated).because("SIGNING_KEY")]))
    })
    .await?;
    Ok(rotated)
}
