//! `/auth/*`: to the provider and back, signing out, and the provider's own word that somebody is signed out.

use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::rejection::FormRejection};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreJwsSigningAlgorithm};
use openidconnect::{
    AuthenticationContextClass, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, LogoutRequest, Nonce, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, RedirectUrl, Scope,
    TokenResponse,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::Redacted;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::auth::extract::{self, STAFF_COOKIE, set_cookie};
use crate::auth::keys::SKEW;
use crate::body::Params;
use crate::db;
use crate::error::{Error, Result};
use crate::identity::login::{self, LOGIN_COOKIE, Pending, Secrets};
use crate::identity::provider::{Known, Provider};
use crate::identity::revoke::{self, Target};
use crate::identity::session::{self, ID_TOKEN_PURPOSE, Origin};
use crate::identity::{Claims, jwt, person};
use crate::ids::OrgId;
use crate::problem::Code;

/// The path that the provider sends people back to; it must be registered there.
pub const CALLBACK: &str = "/auth/callback";

/// Names the claim of a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How old a logout token may be, whatever its `exp`.
const LOGOUT_WITHIN: i64 = 10 * 60;

/// Makes keyed hashes of the provider's names.
const SID: &[u8] = b"anteroom provider session v1\0";
const SUB: &[u8] = b"anteroom provider subject v1\0";

/// The library's client for a provider that was discovered.
type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

fn client(app: &App, provider: &Provider, known: &Known) -> Result<Client> {
    let config = provider.config();
    let secret = config.client_secret.as_ref().map(|secret| ClientSecret::new(secret.reveal().clone()));
    let back = RedirectUrl::new(format!("{}{CALLBACK}", app.public.origin));
    let back = back.map_err(|_| Error::Inside("our own address is no URL".to_owned()))?;
    let client_id = ClientId::new(config.client_id.clone());
    Ok(CoreClient::from_provider_metadata(known.metadata.clone(), client_id, secret).set_redirect_uri(back))
}

fn provider(app: &App) -> Result<&Provider> {
    app.provider.as_ref().ok_or_else(|| Code::NotFound.with("No sign-in service is set up here.").into())
}

/// How one can sign in here.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Ways {
    /// `/auth/login` leads somewhere.
    provider: bool,
}

/// `GET /auth/ways`: what the sign-in page offers.
pub async fn ways(State(app): State<App>) -> Json<Ways> {
    Json(Ways { provider: app.provider.is_some() })
}

/// What a sign-in may be told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoginQuery {
    /// The page to come back to.
    return_to: Option<String>,
    /// How long ago, in seconds, the person may have shown who they are: asks them anew where it was longer.
    max_age: Option<u32>,
}

/// `GET /auth/login`: sends the browser to the provider.
///
/// # Errors
/// `NOT_FOUND` without a provider; `UNAVAILABLE` while it does not answer.
pub async fn login(State(app): State<App>, Params(query): Params<LoginQuery>) -> Result<Response> {
    let provider = provider(&app)?;
    let known = provider.get(app.now()).await?;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let config = provider.config();
    let client = client(&app, provider, &known)?;
    let (url, state, nonce) = {
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .set_pkce_challenge(challenge)
            .add_scopes(config.scopes.iter().cloned().map(Scope::new));
        for acr in &config.acr_values {
            request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
        }
        if let Some(age) = query.max_age {
            request = request.set_max_age(std::time::Duration::from_secs(age.into()));
        }
        request.url()
    };
    let secrets = Secrets { state: state.secret(), nonce: nonce.secret(), verifier: verifier.secret() };
    let pending = Pending::new(&secrets, query.return_to.as_deref(), query.max_age, app.now());
    go_to(url.as_str(), [pending.to_cookie(&app.keys)?])
}

/// What the provider sends back in the address. Others of its parameters are of no use here.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CallbackQuery {
    code: Option<Redacted<String>>,
    state: Option<String>,
}

/// `GET /auth/callback`: the way back. A person reads this answer, so whatever fails leads to the sign-in page with a word in its address.
///
/// # Errors
/// The database's own failures.
pub async fn callback(
    State(app): State<App>,
    headers: HeaderMap,
    Params(query): Params<CallbackQuery>,
) -> Result<Response> {
    let provider = provider(&app)?;
    let state = query.state.unwrap_or_default();
    let pending =
        extract::cookie(&headers, LOGIN_COOKIE).and_then(|value| Pending::read(&app.keys, value, &state, app.now()));
    let Some(pending) = pending else { return failed("EXPIRED") };
    let Some(code) = query.code else { return failed("REFUSED") };
    match Box::pin(finish(&app, provider, &pending, code)).await? {
        Ok(cookie) => go_to(&pending.return_to, [cookie, login::clear()?]),
        Err(refusal) => {
            tracing::info!(reason = refusal.0, "somebody could not be signed in");
            if let Some(org) = provider.config().organization {
                note_refused(&app, org, refusal.0).await?;
            }
            failed(refusal.0)
        }
    }
}

/// Why a sign-in came to nothing: a word for the page, the log and the audit event.
#[derive(Clone, Copy, Debug)]
struct Refusal(&'static str);

/// Exchanges the code and opens a session.
async fn finish(
    app: &App,
    provider: &Provider,
    pending: &Pending,
    code: Redacted<String>,
) -> Result<std::result::Result<HeaderValue, Refusal>> {
    let now = app.now();
    let known = provider.get(now).await?;
    let client = client(app, provider, &known)?;
    let request = client
        .exchange_code(AuthorizationCode::new(code.reveal().clone()))
        .map_err(|_| Error::Inside("the provider has no token endpoint".to_owned()))?
        .set_pkce_verifier(PkceCodeVerifier::new(pending.verifier.clone()));
    let Ok(tokens) = request.request_async(provider.client()).await else { return Ok(Err(Refusal("CODE_REFUSED"))) };
    let Some(id_token) = tokens.id_token() else { return Ok(Err(Refusal("NO_ID_TOKEN"))) };
    let text = id_token.to_string();
    // First by the same rules as every other token, which also fetches a rotated key; then by the library's, which know the nonce.
    let claims = match provider.check(&text, (&provider.config().client_id, ID_TYPES), now).await? {
        Ok(claims) => claims,
        Err(refused) => {
            tracing::info!(%refused, "an ID token was refused");
            return Ok(Err(Refusal("ID_TOKEN_REFUSED")));
        }
    };
    let known = provider.get(now).await?;
    let client = self::client(app, provider, &known)?;
    let skewed = chrono::DateTime::from_timestamp((now - SKEW).unix_timestamp(), 0).unwrap_or_default();
    let verifier = client.id_token_verifier().set_allowed_algs(algorithms(provider)).set_time_fn(move || skewed);
    if id_token.claims(&verifier, &Nonce::new(pending.nonce.clone())).is_err() {
        return Ok(Err(Refusal("ID_TOKEN_REFUSED")));
    }
    let person = match person(provider.config(), &claims) {
        Ok(person) => person,
        Err(unknown) => {
            tracing::info!(%unknown, "the sign-in service vouches for somebody who is nobody here");
            return Ok(Err(Refusal("UNKNOWN_PERSON")));
        }
    };
    if let Some(age) = pending.max_age {
        let is_recent = person.auth_at.is_some_and(|at| now <= at + std::time::Duration::from_secs(age.into()) + SKEW);
        if !is_recent {
            return Ok(Err(Refusal("NOT_FRESH")));
        }
    }
    let origin = Origin {
        provider_sid: word(&claims, "sid").map(|sid| app.keys.tag(SID, sid.as_bytes())),
        provider_sub: word(&claims, "sub").map(|sub| app.keys.tag(SUB, sub.as_bytes())),
        id_token: (text.len() <= 8192).then_some(Redacted::new(text)),
        ..Origin::default()
    };
    match session::open(app, person, origin).await {
        Ok(cookie) => Ok(Ok(cookie)),
        Err(Error::Refused(_)) => Ok(Err(Refusal("UNKNOWN_ORGANIZATION"))),
        Err(error) => Err(error),
    }
}

async fn note_refused(app: &App, org: OrgId, reason: &'static str) -> Result<()> {
    let actor = Actor::Anonymous { org };
    let noted = db::audited(&app.db, org, &actor, async |tx| {
        if crate::organization::find(tx, org).await?.is_none() {
            return Err(Error::from(Code::NotFound));
        }
        Ok(((), vec![Draft::new(EventType::Login).failed(reason)]))
    });
    match noted.await {
        Err(Error::Refused(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a page goes after signing out here.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedOut {
    /// The provider's page that ends its own session too; none where it has none.
    pub end_session_url: Option<String>,
}

/// `POST /auth/logout`: ends the session here, its sockets included, and says where the provider ends its own.
///
/// # Errors
/// The database's own failures.
pub async fn logout(State(app): State<App>, headers: HeaderMap) -> Result<Response> {
    let hint = match extract::staff(&app, &headers).await? {
        Some(staff) => {
            let sealed = revoke::sign_out(&app, &staff).await?;
            let session = staff.credential.session();
            sealed.zip(session).and_then(|(sealed, session)| {
                let open = app.keys.unseal(ID_TOKEN_PURPOSE, session.as_uuid().as_bytes(), &sealed).ok()?;
                String::from_utf8(open).ok()
            })
        }
        None => None,
    };
    let view = SignedOut { end_session_url: end_session_url(&app, hint).await };
    let cookie = set_cookie(STAFF_COOKIE, None, app.now())?;
    Ok(([(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(view))
        .into_response())
}

/// A sign-out here never waits for, or fails because of, a provider that is away.
async fn end_session_url(app: &App, hint: Option<String>) -> Option<String> {
    let provider = app.provider.as_ref()?;
    let hint = hint?;
    let known = provider.get(app.now()).await.ok()?;
    let endpoint = known.metadata.additional_metadata().end_session_endpoint.clone()?;
    let back = PostLogoutRedirectUrl::new(format!("{}{}", app.public.origin, login::HOME)).ok()?;
    let hint: openidconnect::core::CoreIdToken = hint.parse().ok()?;
    let request = LogoutRequest::from(endpoint)
        .set_id_token_hint(&hint)
        .set_client_id(ClientId::new(provider.config().client_id.clone()))
        .set_post_logout_redirect_uri(back);
    Some(request.http_get_url().to_string())
}

/// What a provider posts when somebody is signed out there.
#[derive(Debug, Deserialize)]
pub struct LogoutForm {
    logout_token: Redacted<String>,
}

/// `POST /auth/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0): ends every session that the token means.
///
/// # Errors
/// `MALFORMED` for a token that is not believed; `UNAVAILABLE` while the provider's keys cannot be had.
pub async fn backchannel_logout(
    State(app): State<App>,
    form: std::result::Result<Form<LogoutForm>, FormRejection>,
) -> Result<Response> {
    let provider = provider(&app)?;
    let Form(form) = form.map_err(|_| Error::from(Code::Malformed))?;
    let now = app.now();
    let checked =
        provider.check(form.logout_token.reveal(), (&provider.config().client_id, jwt::LOGOUT_TYPES), now).await?;
    let claims = checked.map_err(|refused| {
        tracing::info!(%refused, "a logout token was refused");
        Error::from(Code::Malformed)
    })?;
    let key = logout_key(&app, &claims).ok_or_else(|| Error::from(Code::Malformed))?;
    for org in revoke::organizations_of(&app.db, &key).await? {
        revoke::revoke(&app, &Actor::System { org }, Target::Provider(&key), "PROVIDER_LOGOUT").await?;
    }
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response())
}

/// What a logout token means: the session if it names one, else the person. `None` when it is no such token.
fn logout_key(app: &App, claims: &Claims) -> Option<[u8; 32]> {
    let is_logout = claims.get("events").and_then(Value::as_object)?.get(LOGOUT_EVENT).is_some_and(Value::is_object);
    let now = app.now().unix_timestamp();
    let is_recent =
        claims.get("iat").and_then(Value::as_i64).is_some_and(|iat| now.saturating_sub(iat) <= LOGOUT_WITHIN);
    // An ID token has a nonce: section 2.4 forbids one here, so that the two are never taken for each other.
    if !is_logout || !is_recent || claims.contains_key("nonce") || word(claims, "jti").is_none() {
        return None;
    }
    match (word(claims, "sid"), word(claims, "sub")) {
        (Some(sid), _) => Some(app.keys.tag(SID, sid.as_bytes())),
        (None, Some(sub)) => Some(app.keys.tag(SUB, sub.as_bytes())),
        (None, None) => None,
    }
}

/// `typ` of ID tokens.
const ID_TYPES: &[Option<&str>] = &[Some("jwt"), None];

fn word<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str().filter(|word| !word.is_empty() && word.len() <= 512)
}

fn algorithms(provider: &Provider) -> Vec<CoreJwsSigningAlgorithm> {
    provider
        .config()
        .algorithms
        .iter()
        .filter_map(|name| serde_json::from_value(Value::String(name.clone())).ok())
        .collect()
}

/// Everything failed leads here; the page has words for it.
fn failed(reason: &'static str) -> Result<Response> {
    go_to(&format!("{}?signIn={reason}", login::HOME), [login::clear()?])
}

fn go_to<const N: usize>(url: &str, cookies: [HeaderValue; N]) -> Result<Response> {
    let location = HeaderValue::from_str(url).map_err(|_| Error::Inside("an address is not header-safe".to_owned()))?;
    let mut response = (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
    )
        .into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
