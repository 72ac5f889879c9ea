//! Validate, which only reads the token, and spending it without a browser's key; both leave their mark in the audit chain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::auth::extract::SessionToken;
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::{ParticipantId, VisitId};
use crate::join::context::Context;
use crate::join::session::New;
use crate::join::{Handle, RedeemError, Shown, Token, claim, is_code, open_jwt, store};
use crate::organization::{self, Organization};
use crate::participant::{self, Participant, Role};
use crate::problem::{Code, Problem};
use crate::visit::{self, Visit};

/// What the holder of a good link may know.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// For which visit.
    pub visit: Visit,
    /// For whom.
    pub person: Participant,
    /// With whom.
    pub clinician: Option<Participant>,
    /// Where.
    pub practice: Organization,
}

/// What redeeming gives.
#[derive(Clone, Debug)]
pub struct Redeemed {
    /// What validate would have said.
    pub invitation: Invitation,
    /// The session, which nobody else has.
    pub session: SessionToken,
    /// Until when it holds.
    pub expires_at: Timestamp,
    /// Whose seat it is.
    pub participant: ParticipantId,
}

/// A refusal, and the practice to call where the link was a real one.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub error: RedeemError,
    /// Whom to call.
    pub practice: Option<Organization>,
}

impl Refused {
    /// For whatever names no token.
    pub const INVALID: Self = Self { error: RedeemError::Invalid, practice: None };
}

/// What the caller typed or followed.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// A JWT.
    Jwt(&'a str),
    /// A short code.
    Code(&'a str),
}

/// Finds out which organisation to look in. Every way ends in a lookup by hash, so that a code that cannot be one, a code that
/// is none and a JWT that does not verify take the same path.
///
/// # Errors
/// The database's own failures.
pub async fn identify(app: &App, credential: Credential<'_>) -> Result<Option<Shown>> {
    let (text, shown) = match credential {
        Credential::Jwt(text) => (text, open_jwt(&app.keys, text)),
        Credential::Code(text) => (text, None),
    };
    if let Some(shown) = shown {
        return Ok(Some(shown));
    }
    let hash = app.keys.lookup_hash(text);
    let org = db::find_org_by_code(&app.db, &hash).await?;
    Ok(org.filter(|_| is_code(text)).map(|org| Shown { org, by: Handle::Code(hash) }))
}

/// Says whether the token would redeem now. The token stays as it is.
///
/// # Errors
/// The database's own failures.
pub async fn validate(app: &App, shown: &Shown) -> Result<std::result::Result<Invitation, Refused>> {
    let now = app.now();
    let actor = Actor::Anonymous { org: shown.org };
    let Some(token) = db::scoped(&app.db, shown.org, async |tx| store::find(tx, shown.by).await).await? else {
        return Ok(Err(Refused::INVALID));
    };
    db::audited(&app.db, shown.org, &actor, async |tx| {
        let event = event(EventType::TokenValidated, &token);
        match token.check(now) {
            Ok(()) => Ok((Ok(invitation(tx, &token).await?), vec![event])),
            Err(error) => {
                let practice = organization::find(tx, shown.org).await?;
                Ok((Err(Refused { error, practice }), vec![event.failed(error.code().as_str())]))
            }
        }
    })
    .await
}

/// Refuses whoever was wrong too often, and says so once a minute to the practice whose link they show now, if it is one.
///
/// # Errors
/// `RATE_LIMITED`; the database's own failures.
pub async fn slow_down(app: &App, from: std::net::IpAddr, credential: Credential<'_>) -> Result<()> {
    let (Credential::Jwt(text) | Credential::Code(text)) = credential;
    let now = app.now();
    let Err(seconds) = app.misses.check(from, text, now) else { return Ok(()) };
    if app.misses.is_news(from, now)
        && let Some(shown) = identify(app, credential).await?
        && let Some(token) = db::scoped(&app.db, shown.org, async |tx| store::find(tx, shown.by).await).await?
    {
        db::audited(&app.db, shown.org, &Actor::Anonymous { org: shown.org }, async |_| {
            Ok::<_, Error>(((), vec![event(EventType::RateLimited, &token).failed("TOO_MANY_WRONG_CODES")]))
        })
        .await?;
    }
    Err(Problem { retry_after: Some(seconds), ..Code::RateLimited.problem() }.into())
}

/// What may start a visit without a browser's key, as the organisation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Keyless {
    /// Nothing.
    Never,
    /// The signed token, which goes from system to system and is in no message.
    SignedToken,
    /// The signed token, and short codes.
    Any,
}

impl Keyless {
    /// As in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "NEVER",
            Self::SignedToken => "SIGNED_TOKEN",
            Self::Any => "ANY",
        }
    }

    const fn allows(self, handle: Handle) -> bool {
        matches!((self, handle), (Self::Any, _) | (Self::SignedToken, Handle::Jwt { .. }))
    }
}

/// Spends the token without a browser's key, where the organisation allows it, and gives its participant a session; whatever session
/// they had before ends. For systems that start a visit by their own server. A refusal is audited as well.
///
/// # Errors
/// `KEY_REQUIRED`; the database's own failures. Then nothing is spent.
pub async fn spend(app: &App, shown: &Shown, context: &Context) -> Result<std::result::Result<Redeemed, Refused>> {
    let now = app.now();
    let actor = Actor::Anonymous { org: shown.org };
    // A stranger's handle leaves no trace and takes no lock.
    if db::scoped(&app.db, shown.org, async |tx| store::find(tx, shown.by).await).await?.is_none() {
        return Ok(Err(Refused::INVALID));
    }
    let outcome = db::audited(&app.db, shown.org, &actor, async |tx| {
        if !organization::settings(tx, shown.org).await?.keyless_start.allows(shown.by) {
            return Err(Code::KeyRequired.into());
        }
        let Some(token) = store::spend(tx, shown.by, context, now).await? else {
            return refuse(tx, shown, now).await;
        };
        let invitation = invitation(tx, &token).await?;
        let session = SessionToken::random(shown.org);
        let new = New {
            session: session.session,
            secret_hash: &session.secret_hash(),
            org: shown.org,
            visit: token.visit,
            participant: token.participant,
            token: token.id,
            key: None,
            context,
        };
        let (expires_at, events) = claim::issue(tx, new, &invitation.visit, now).await?;
        Ok((Ok(Redeemed { invitation, session, expires_at, participant: token.participant }), events))
    })
    .await?;
    app.metrics.note_redeem(outcome.is_ok());
    if let Ok(redeemed) = &outcome
        && let Some(room) = app.live.find(redeemed.invitation.visit.id)
    {
        room.supersede(redeemed.participant).await;
    }
    Ok(outcome)
}

/// Starts a visit by its link, without a browser's key (row 5): the link is spent, and its session begins. Guesses are slowed down, and a
/// link of another visit is one that nobody knows.
///
/// # Errors
/// `TOKEN_INVALID` and the other refusals of a link, `KEY_REQUIRED`, `RATE_LIMITED`.
pub async fn start(
    app: &App,
    from: std::net::IpAddr,
    visit: VisitId,
    credential: Credential<'_>,
    context: &Context,
) -> Result<Redeemed> {
    let (Credential::Jwt(text) | Credential::Code(text)) = credential;
    let now = app.now();
    slow_down(app, from, credential).await?;
    let shown = match identify(app, credential).await? {
        Some(shown) => {
            let token = db::scoped(&app.db, shown.org, async |tx| store::find(tx, shown.by).await).await?;
            token.filter(|token| token.visit == visit).map(|_| shown)
        }
        None => None,
    };
    let refused = match shown {
        Some(shown) => match spend(app, &shown, context).await? {
            Ok(redeemed) => return Ok(redeemed),
            Err(refused) => refused,
        },
        None => Refused::INVALID,
    };
    if refused.error == RedeemError::Invalid {
        app.misses.note(from, text, now);
    }
    Err(refused.error.problem(refused.practice.as_ref()).into())
}

/// Reads why the token could not be spent.
async fn refuse(
    tx: &mut Tx,
    shown: &Shown,
    now: Timestamp,
) -> Result<(std::result::Result<Redeemed, Refused>, Vec<Draft>)> {
    let token = store::find(tx, shown.by).await?.ok_or_else(|| Error::Inside("a token vanished".to_owned()))?;
    let error = token.refusal(now);
    let practice = organization::find(tx, shown.org).await?;
    let event = event(EventType::TokenRedeemed, &token).failed(error.code().as_str());
    Ok((Err(Refused { error, practice }), vec![event]))
}

pub(super) async fn invitation(tx: &mut Tx, token: &Token) -> Result<Invitation> {
    let visit = visit::store::get(tx, token.visit).await?;
    let people = participant::store::of_visits(tx, &[token.visit.as_uuid()]).await?;
    let person = people.iter().find(|person| person.id == token.participant).cloned();
    Ok(Invitation {
        practice: organization::get(tx, visit.org).await?,
        person: person.ok_or_else(|| Error::Inside("a token's participant is not there".to_owned()))?,
        clinician: people.into_iter().find(|person| person.role == Role::Clinician),
        visit,
    })
}

pub(super) fn event(event_type: EventType, token: &Token) -> Draft {
    Draft::new(event_type).visit(token.visit).subject("token", token.id.as_uuid())
}
