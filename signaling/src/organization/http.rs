//! `GET` and `PATCH /api/v1/telehealth/organization/settings`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::Body;
use crate::db;
use crate::error::{Error, Result};
use crate::organization::settings::{self, Settings, SettingsPatch};

/// The settings of the caller's organisation.
///
/// # Errors
/// `FORBIDDEN`.
pub async fn get_settings(State(app): State<App>, Caller(actor): Caller) -> Result<Response> {
    actor.require(Permission::ManageOrganization)?;
    let settings = db::scoped(&app.db, actor.org(), async |tx| settings::get(tx, actor.org()).await).await?;
    Ok(show(settings))
}

/// Changes what the body names. One audit event for each setting that changed.
///
/// # Errors
/// `FORBIDDEN`, `INVALID`.
pub async fn patch_settings(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(patch): Body<SettingsPatch>,
) -> Result<Response> {
    actor.require(Permission::ManageOrganization)?;
    let org = actor.org();
    let settings = db::audited(&app.db, org, &actor, async |tx| {
        settings::lock(tx, org).await?;
        let mut settings = settings::get(tx, org).await?;
        let changed = patch.apply(&mut settings);
        settings.validate()?;
        settings::put(tx, org, &settings).await?;
        let event = |name| {
            let event = Draft::new(EventType::ConfigChanged).subject("organization", org.as_uuid());
            event.fact("setting", Fact::Word(name))
        };
        if changed.is_empty() {
            return Err(Changing::Same(Box::new(settings)));
        }
        Ok((settings, changed.into_iter().map(event).collect()))
    })
    .await;
    match settings {
        Ok(settings) => Ok(show(settings)),
        Err(Changing::Same(settings)) => Ok(show(*settings)),
        Err(Changing::Failed(error)) => Err(error),
    }
}

/// Why nothing was changed.
enum Changing {
    Same(Box<Settings>),
    Failed(Error),
}

impl From<Error> for Changing {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn show(settings: Settings) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(settings)).into_response()
}
