//! Sessions of people who have signed in: a row in the database, a cookie that names it, and two limits by this server's clock.

use axum::http::HeaderValue;
use time::Duration;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::extract::{STAFF_COOKIE, SessionToken, set_cookie};
use crate::auth::{Actor, Assurance, Credential, Staff, StaffRole};
use crate::clock::Timestamp;
use crate::config::Profile;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::identity::Person;
use crate::ids::{OrgId, SessionId, VisitId};
use crate::problem::Code;

/// How old the last sign of life may be before it is written anew: a row is not written at every request.
const TOUCH_EVERY: Duration = Duration::seconds(60);

/// Binds a sealed ID token to its use.
pub(crate) const ID_TOKEN_PURPOSE: &[u8] = b"anteroom id token v1\0";

/// Where a session comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The `jti` of a token of ours.
    pub token_id: Option<String>,
    /// When that ends, and with it the session.
    pub expires_at: Option<Timestamp>,
    /// Keyed hash of the provider's name for its session.
    pub provider_sid: Option<[u8; 32]>,
    /// Keyed hash of the provider's name for the person.
    pub provider_sub: Option<[u8; 32]>,
    /// The ID token, by which the provider's session can be ended later.
    pub id_token: Option<Redacted<String>>,
}

/// Opens a session, audited, and gives its cookie.
///
/// # Errors
/// `UNAUTHENTICATED` when the organisation is not here; the database's own failures.
pub async fn open(app: &App, person: Person, origin: Origin) -> Result<HeaderValue> {
    let now = app.now();
    let identity = &app.config.identity;
    let token = SessionToken::random(person.org);
    let limit = now + identity.session_limit;
    let expires_at = origin.expires_at.map_or(limit, |at| at.min(limit));
    let idle_expires_at = (now + identity.session_idle).min(expires_at);
    let id_token = match &origin.id_token {
        Some(text) => {
            Some(app.keys.seal(ID_TOKEN_PURPOSE, token.session.as_uuid().as_bytes(), text.reveal().as_bytes())?)
        }
        None => None,
    };
    let staff = Staff {
        org: person.org,
        sub: person.sub,
        role: person.role,
        name: person.name,
        expires_at,
        assurance: Assurance::NotAsked,
        credential: Credential::Session(token.session),
        opened: Vec::new(),
    };
    let name = staff.name.as_ref().map(Redacted::reveal);
    let actor = Actor::Staff(staff.clone());
    let secret_hash = token.secret_hash();
    db::audited(&app.db, person.org, &actor, async |tx| {
        // A well-signed token for a practice that does not exist here signs nobody in.
        if crate::organization::find(tx, person.org).await?.is_none() {
            return Err(Error::from(Code::Unauthenticated));
        }
        sqlx::query!(
            "INSERT INTO staff_session (session_id, org_id, sub, role, display_name, secret_hash, issued_at, last_seen_at,
                 idle_expires_at, expires_at, has_mfa, auth_at, token_id, provider_sid, provider_sub, sealed_id_token)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            token.session.as_uuid(),
            person.org.as_uuid(),
            staff.sub,
            staff.role.as_str(),
            name,
            secret_hash.as_slice(),
            now,
            idle_expires_at,
            expires_at,
            person.has_mfa,
            person.auth_at,
            origin.token_id,
            origin.provider_sid.as_ref().map(<[u8; 32]>::as_slice),
            origin.provider_sub.as_ref().map(<[u8; 32]>::as_slice),
            id_token,
        )
        .execute(&mut *tx)
        .await?;
        Ok::<_, Error>(((), vec![Draft::new(EventType::Login).subject("session", token.session.as_uuid())]))
    })
    .await?;
    set_cookie(STAFF_COOKIE, Some((&token.to_cookie_value(), expires_at)), now)
}

/// The holder of a session cookie whose secret fits, within both limits. A sign of life is noted, unless the page asked by itself.
///
/// # Errors
/// The database's own failures.
pub async fn find(app: &App, token: &SessionToken, is_background: bool) -> Result<Option<Staff>> {
    let now = app.now();
    let found = db::scoped(&app.db, token.org, async |tx| find_live(tx, token, app.config.profile, now).await).await?;
    let Some((staff, last_seen)) = found else { return Ok(None) };
    if !is_background && now - last_seen >= TOUCH_EVERY {
        touch(app, token.org, token.session).await?;
    }
    Ok(Some(staff))
}

async fn find_live(
    tx: &mut Tx,
    token: &SessionToken,
    profile: Profile,
    now: Timestamp,
) -> Result<Option<(Staff, Timestamp)>> {
    let secret_hash = token.secret_hash();
    let row = sqlx::query!(
        r#"SELECT s.sub, s.role, s.display_name, s.last_seen_at, s.expires_at, s.has_mfa, s.auth_at, o.require_mfa,
               ARRAY(SELECT g.visit_id FROM break_glass g
                     WHERE g.org_id = s.org_id AND g.sub = s.sub AND g.granted_at <= $3 AND g.expires_at > $3) AS "opened!"
           FROM staff_session s JOIN organization o USING (org_id)
           WHERE s.session_id = $1 AND s.secret_hash = $2 AND s.revoked_at IS NULL
             AND s.idle_expires_at > $3 AND s.expires_at > $3"#,
        token.session.as_uuid(),
        secret_hash.as_slice(),
        now,
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let staff = Staff {
        org: token.org,
        sub: row.sub,
        role: StaffRole::parse(&row.role).ok_or_else(|| Error::Inside("a session's role is unknown".to_owned()))?,
        name: row.display_name.map(Redacted::new),
        expires_at: row.expires_at,
        assurance: Assurance::of(row.has_mfa, row.auth_at, is_asked(row.require_mfa, profile), now),
        credential: Credential::Session(token.session),
        opened: row.opened.into_iter().map(VisitId::from_uuid).collect(),
    };
    Ok(Some((staff, row.last_seen_at)))
}

/// Notes that a session is in use. One that is over stays over.
///
/// # Errors
/// The database's own failures.
pub async fn touch(app: &App, org: OrgId, session: SessionId) -> Result<()> {
    let now = app.now();
    let idle = now + app.config.identity.session_idle;
    db::measured(&app.db, org, async |tx| {
        sqlx::query!(
            "UPDATE staff_session SET last_seen_at = $3, idle_expires_at = LEAST($4, expires_at)
             WHERE org_id = $1 AND session_id = $2 AND revoked_at IS NULL AND idle_expires_at > $3",
            org.as_uuid(),
            session.as_uuid(),
            now,
            idle,
        )
        .execute(tx)
        .await?;
        Ok(())
    })
    .await
}

/// What the database knows of the holder of a bearer.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether a second factor is asked for.
    pub is_mfa_asked: bool,
    /// Visits that they may read for now.
    pub opened: Vec<VisitId>,
}

/// Whether a bearer still holds: `None` when its organisation is not here, or when it or its holder was revoked since `issued_at`.
///
/// # Errors
/// The database's own failures.
pub async fn standing(
    app: &App,
    org: OrgId,
    (sub, token_id): (&str, Option<&str>),
    issued_at: Timestamp,
) -> Result<Option<Standing>> {
    let now = app.now();
    let row = db::scoped(&app.db, org, async |tx| {
        let row = sqlx::query!(
            r#"SELECT o.require_mfa,
                   EXISTS (SELECT FROM revocation r WHERE r.org_id = $1
                       AND ((r.kind = 'SUB' AND r.key = $2 AND r.at >= $4) OR (r.kind = 'TOKEN' AND r.key = $3))) AS "revoked!",
                   ARRAY(SELECT g.visit_id FROM break_glass g
                       WHERE g.org_id = $1 AND g.sub = $2 AND g.granted_at <= $5 AND g.expires_at > $5) AS "opened!"
               FROM organization o WHERE o.org_id = $1"#,
            org.as_uuid(),
            sub,
            token_id,
            issued_at,
            now,
        )
        .fetch_optional(tx)
        .await?;
        Ok::<_, Error>(row)
    })
    .await?;
    Ok(row.filter(|row| !row.revoked).map(|row| Standing {
        is_mfa_asked: is_asked(row.require_mfa, app.config.profile),
        opened: row.opened.into_iter().map(VisitId::from_uuid).collect(),
    }))
}

fn is_asked(of_organization: Option<bool>, profile: Profile) -> bool {
    of_organization.unwrap_or(profile == Profile::Production)
}

/// Whether what a staff member came in by still holds: asked again and again while a socket of theirs is open.
///
/// # Errors
/// The database's own failures.
pub async fn still_holds(app: &App, staff: &Staff) -> Result<bool> {
    let now = app.now();
    match &staff.credential {
        Credential::Session(session) => {
            // A live visit is a use of the session.
            touch(app, staff.org, *session).await?;
            let live = db::scoped(&app.db, staff.org, async |tx| {
                let live = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT FROM staff_session WHERE session_id = $1 AND revoked_at IS NULL
                           AND idle_expires_at > $2) AS "live!""#,
                    session.as_uuid(),
                    now,
                )
                .fetch_one(tx)
                .await?;
                Ok::<_, Error>(live)
            });
            live.await
        }
        Credential::Token { id, issued_at } => {
            Ok(standing(app, staff.org, (&staff.sub, id.as_deref()), *issued_at).await?.is_some())
        }
    }
}
