//! Tokens of programs: opaque, named, with an end, for a few permissions of one organisation. What only a person may answer for no token
//! can be made for.

pub mod http;
pub mod store;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use time::serde::rfc3339;
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::SessionToken;
use crate::auth::{Actor, Permission, Service, service_may};
use crate::clock::Timestamp;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::problem::Code;

/// How a token begins, so that scanners for leaked secrets know it.
pub const PREFIX: &str = "ats_";

/// Tokens that one organisation may have in use at a time.
const MOST: i64 = 50;

/// How long a token may hold.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// How old the noted last use may be.
const NOTE_EVERY: Duration = Duration::from_secs(3600);

/// What a scheduler gets unless somebody asks for less.
pub const SCHEDULER: &[Permission] = &[
    Permission::CreateVisit,
    Permission::ListVisits,
    Permission::ReadVisit,
    Permission::UpdateVisit,
    Permission::CancelVisit,
    Permission::IssueLinks,
    Permission::ResendLink,
    Permission::NotifyPatient,
    Permission::ReadLicences,
    Permission::ReadProviderStatus,
    Permission::ReadRules,
];

/// A token as lists show it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ServiceToken")]
pub struct TokenView {
    /// Its id, as audit events have it.
    #[schemars(with = "wire::ids::VisitId")]
    pub token_id: Uuid,
    /// What its maker called it.
    pub name: String,
    /// What it may do.
    pub permissions: Vec<String>,
    /// Since when.
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: Timestamp,
    /// Until when.
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub expires_at: Timestamp,
    /// When it was last used, to the hour.
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub last_used_at: Option<Timestamp>,
    /// Since when it is refused.
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub revoked_at: Option<Timestamp>,
}

/// A new token, the one time that it is shown.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What requests carry as bearer.
    pub token: Redacted<String>,
    /// The rest of it.
    pub view: TokenView,
}

/// What a token is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// 1 to 100 characters.
    pub name: String,
    /// By their names.
    pub permissions: Vec<String>,
    /// How long it holds, a year and a day at most.
    pub lifetime: Duration,
}

impl Wanted {
    /// Refuses what no program may be allowed.
    ///
    /// # Errors
    /// `INVALID`, in words.
    fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Code::Invalid.with(text).into());
        if self.name.is_empty() || self.name.chars().count() > 100 || self.name.chars().any(char::is_control) {
            return refuse("Give the token a name of 1 to 100 characters.".to_owned());
        }
        if self.lifetime.is_zero() || self.lifetime > LONGEST {
            return refuse("A token holds for 1 to 366 days.".to_owned());
        }
        if self.permissions.is_empty() || self.permissions.len() > Permission::ALL.len() {
            return refuse("Name the permissions that the token is for.".to_owned());
        }
        for name in &self.permissions {
            match Permission::parse(name) {
                Some(permission) if service_may(permission) => {}
                Some(_) => return refuse("A permission is a person's alone: no token is made for it.".to_owned()),
                None => return refuse("A permission is unknown.".to_owned()),
            }
        }
        Ok(())
    }
}

/// Makes a token for the actor's organisation, audited.
///
/// # Errors
/// `INVALID`; `NOT_FOUND` when the organisation is not there; the database's own failures.
pub async fn create(db: &Db, actor: &Actor, wanted: &Wanted) -> Result<NewToken> {
    wanted.check()?;
    let (now, org) = (db.clock().now(), actor.org());
    let secret = SessionToken::random(org);
    let expires_at = now + wanted.lifetime;
    let view = db::audited(db, org, actor, async |tx| {
        if crate::organization::find(tx, org).await?.is_none() {
            return Err(Code::NotFound.with("There is no such organisation.").into());
        }
        if store::count_in_use(tx, org, now).await? >= MOST {
            return Err(Code::Invalid.with("There are 50 tokens in use: revoke one first.").into());
        }
        let view = store::insert(tx, &secret, (wanted, &actor.id()), (now, expires_at)).await?;
        Ok::<_, Error>((view, vec![changed("SERVICE_TOKEN_CREATED", secret.session.as_uuid())]))
    })
    .await?;
    Ok(NewToken { token: Redacted::new(format!("{PREFIX}{}", secret.to_cookie_value())), view })
}

/// All tokens of an organisation, oldest first.
///
/// # Errors
/// The database's own failures.
pub async fn list(db: &Db, org: OrgId) -> Result<Vec<TokenView>> {
    db::scoped(db, org, async |tx| store::list(tx, org).await).await
}

/// Refuses a token from now on, audited. One that was revoked before stays as it was.
///
/// # Errors
/// `NOT_FOUND`; the database's own failures.
pub async fn revoke(db: &Db, actor: &Actor, id: Uuid) -> Result<TokenView> {
    let (now, org) = (db.clock().now(), actor.org());
    db::audited(db, org, actor, async |tx| {
        let view = store::revoke(tx, org, id, now).await?;
        let view = view.ok_or_else(|| Error::from(Code::NotFound.with("There is no such token.")))?;
        Ok::<_, Error>((view, vec![changed("SERVICE_TOKEN_REVOKED", id)]))
    })
    .await
}

/// The program that a token is of, if it holds.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn find(app: &App, token: &str) -> Result<Option<Service>> {
    let Some(token) = token.strip_prefix(PREFIX).and_then(SessionToken::parse) else { return Ok(None) };
    let now = app.now();
    let found = db::scoped(&app.db, token.org, async |tx| store::find_live(tx, &token, now).await).await?;
    let Some(found) = found else { return Ok(None) };
    if found.last_used_at.is_none_or(|at| now - at >= NOTE_EVERY) {
        db::measured(&app.db, token.org, async |tx| store::note_use(tx, &token, now).await).await?;
    }
    let grants = found.permissions.iter().filter_map(|name| Permission::parse(name)).collect();
    Ok(Some(Service { org: token.org, id: token.session.as_uuid().to_string(), grants }))
}

fn changed(reason: &'static str, id: Uuid) -> Draft {
    Draft::new(EventType::ConfigChanged).because(reason).subject("service_token", id)
}
