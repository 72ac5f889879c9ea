//! A small OpenID provider inside the development server, so that development signs in by the same code as a clinic does. Whoever opens
//! its page is whoever they click on: it exists in the development profile alone, and its key lives in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Form, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::auth::StaffRole;
use crate::body::Params;
use crate::clock::Timestamp;
use crate::config::{Demo, Profile, PublicAddress};
use crate::error::{Error, Result};
use crate::identity::config::IdentityConfig;
use crate::identity::http::CALLBACK;
use crate::problem::Code;

/// Where it is found.
const PATH: &str = "/dev/issuer";

/// The audience of its access tokens.
const AUDIENCE: &str = "anteroom-api";

/// How long a code may be exchanged.
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// How long its tokens hold.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// Codes that wait at a time; a new one beyond this pushes all others out.
const MOST_CODES: usize = 256;

/// The provider of the development profile.
pub struct Issuer {
    url: String,
    key: EncodingKey,
    jwk: Value,
    codes: Mutex<HashMap<String, Granted>>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a code stands for.
#[derive(Debug)]
struct Granted {
    sub: String,
    role: StaffRole,
    name: String,
    asked: Asked,
    has_mfa: bool,
    at: Timestamp,
}

/// What the page was opened with, and what its links carry on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    code_challenge: String,
}

impl Asked {
    /// Only what a client of ours could have sent: nothing here needs escaping in a page or an address.
    fn is_ours(&self, public: &PublicAddress, config: &IdentityConfig) -> bool {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= 256 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        self.client_id == config.client_id
            && self.redirect_uri == format!("{}{CALLBACK}", public.origin)
            && [&self.client_id, &self.state, &self.nonce, &self.code_challenge].into_iter().all(|text| plain(text))
    }
}

impl Issuer {
    /// Sets the sign-in of the development profile up, where no other provider is named: the issuer, and the settings that lead to it.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn for_development(
        profile: Profile,
        demo: Option<&Demo>,
        identity: &mut IdentityConfig,
        public: &PublicAddress,
    ) -> Result<Option<Self>> {
        let Some(demo) = demo.filter(|_| profile == Profile::Development && identity.issuer.is_none()) else {
            return Ok(None);
        };
        let broken = |_| Error::Keys("no key for the development issuer".to_owned());
        let signing = SigningKey::generate_from_rng(&mut rand::rng());
        let der = signing.to_pkcs8_der().map_err(broken)?;
        let point = signing.verifying_key().to_sec1_point(false);
        let part = |part: Option<&[u8]>| URL_SAFE_NO_PAD.encode(part.unwrap_or_default());
        let (x, y) = (part(point.x().map(|x| x.as_slice())), part(point.y().map(|y| y.as_slice())));
        let kid = Uuid::new_v4().to_string();
        let url = format!("{}{PATH}", public.origin);
        identity.issuer = Some(url.clone());
        identity.organization = Some(demo.org);
        identity.organization_claim = None;
        identity.audience = Some(AUDIENCE.to_owned());
        Ok(Some(Self {
            url,
            key: EncodingKey::from_ec_der(der.as_bytes()),
            jwk: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": kid}),
            codes: Mutex::default(),
        }))
    }

    fn sign(&self, typ: &str, claims: &Value) -> Result<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = self.jwk["kid"].as_str().map(ToOwned::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| Error::Keys("signing failed".to_owned()))
    }

    fn grant(&self, granted: Granted) -> String {
        let code = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MOST_CODES {
            codes.clear();
        }
        codes.insert(code.clone(), granted);
        code
    }

    fn redeem(&self, code: &str, now: Timestamp) -> Option<Granted> {
        let granted = self.codes.lock().unwrap_or_else(PoisonError::into_inner).remove(code)?;
        (now < granted.at + CODE_LIFETIME).then_some(granted)
    }
}

fn issuer(app: &App) -> Result<&Issuer> {
    app.issuer.as_ref().ok_or_else(|| Code::NotFound.into())
}

/// `GET /dev/issuer/.well-known/openid-configuration`.
///
/// # Errors
/// `NOT_FOUND` outside development.
pub async fn discovery(State(app): State<App>) -> Result<Json<Value>> {
    let url = &issuer(&app)?.url;
    Ok(Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "end_session_endpoint": format!("{url}/logout"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    })))
}

/// `GET /dev/issuer/jwks`.
///
/// # Errors
/// `NOT_FOUND` outside development.
pub async fn jwks(State(app): State<App>) -> Result<Json<Value>> {
    Ok(Json(json!({"keys": [issuer(&app)?.jwk]})))
}

/// The parts of an authorization request that count here.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct AuthorizeQuery {
    #[serde(flatten)]
    asked: Asked,
    response_type: String,
    code_challenge_method: String,
}

/// `GET /dev/issuer/authorize`: the page with the demo people.
///
/// # Errors
/// `NOT_FOUND` outside development; `MALFORMED` for a request that is not ours.
pub async fn authorize(State(app): State<App>, Params(query): Params<AuthorizeQuery>) -> Result<Response> {
    let asked = query.asked;
    issuer(&app)?;
    let is_known = query.response_type == "code" && query.code_challenge_method == "S256";
    if !is_known || !asked.is_ours(&app.public, &app.config.identity) {
        return Err(Code::Malformed.into());
    }
    let Asked { client_id, redirect_uri, state, nonce, code_challenge } = &asked;
    let redirect_uri = percent_encoding::utf8_percent_encode(redirect_uri, percent_encoding::NON_ALPHANUMERIC);
    let carried = format!(
        "client_id={client_id}&amp;redirect_uri={redirect_uri}&amp;state={state}&amp;nonce={nonce}&amp;code_challenge={code_challenge}"
    );
    let people: String = app.config.demo.iter().flat_map(|demo| &demo.users).map(|user| {
        let (sub, role, name) = (escape(&user.sub), user.role.as_str(), escape(&user.name));
        format!(
            "<li><a data-testid=\"person-{sub}\" href=\"{PATH}/choose?sub={sub}&amp;mfa=true&amp;{carried}\">{name} ({role})</a> \
             <a data-testid=\"person-{sub}-password-only\" href=\"{PATH}/choose?sub={sub}&amp;mfa=false&amp;{carried}\">without a second factor</a></li>"
        )
    }).collect();
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Development sign-in</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><main><h1>Who are you today?</h1>\
         <p>This page stands in for your clinic's sign-in service. It exists in development only.</p><ul>{people}</ul></main></body></html>"
    );
    Ok(([(header::CACHE_CONTROL, "no-store")], Html(page)).into_response())
}

/// Whom somebody clicked on.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ChooseQuery {
    sub: String,
    mfa: String,
    #[serde(flatten)]
    asked: Asked,
}

/// `GET /dev/issuer/choose`: back to the client with a code.
///
/// # Errors
/// `NOT_FOUND` outside development and for nobody; `MALFORMED` for a request that is not ours.
pub async fn choose(State(app): State<App>, Params(query): Params<ChooseQuery>) -> Result<Response> {
    let issuer = issuer(&app)?;
    if !query.asked.is_ours(&app.public, &app.config.identity) {
        return Err(Code::Malformed.into());
    }
    let user = app.config.demo.iter().flat_map(|demo| &demo.users).find(|user| user.sub == query.sub);
    let user = user.ok_or_else(|| Error::from(Code::NotFound))?;
    let back = format!("{}?state={}", query.asked.redirect_uri, query.asked.state);
    let code = issuer.grant(Granted {
        sub: user.sub.clone(),
        role: user.role,
        name: user.name.clone(),
        asked: query.asked,
        has_mfa: query.mfa == "true",
        at: app.now(),
    });
    see_other(&format!("{back}&code={code}"))
}

/// A token request (RFC 6749 section 4.1.3 with RFC 7636).
#[derive(Debug, Deserialize)]
pub struct TokenForm {
    grant_type: String,
    code: Redacted<String>,
    redirect_uri: String,
    code_verifier: Redacted<String>,
}

/// `POST /dev/issuer/token`: a code becomes tokens, once.
///
/// # Errors
/// `NOT_FOUND` outside development.
pub async fn token(State(app): State<App>, Form(form): Form<TokenForm>) -> Result<Response> {
    let issuer = issuer(&app)?;
    let now = app.now();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form.code_verifier.reveal()));
    let granted = issuer.redeem(form.code.reveal(), now).filter(|granted| {
        form.grant_type == "authorization_code"
            && granted.asked.redirect_uri == form.redirect_uri
            && granted.asked.code_challenge == challenge
    });
    let Some(granted) = granted else {
        return Ok((StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response());
    };
    let iat = now.unix_timestamp();
    let exp = (now + TOKEN_LIFETIME).unix_timestamp();
    let amr = if granted.has_mfa { json!(["pwd", "otp", "mfa"]) } else { json!(["pwd"]) };
    let mut claims = json!({
        "iss": issuer.url, "sub": granted.sub, "iat": iat, "nbf": iat, "exp": exp, "auth_time": granted.at.unix_timestamp(),
        "amr": amr, "roles": [granted.role], "name": granted.name, "sid": Uuid::new_v4(), "jti": Uuid::new_v4(),
        "aud": AUDIENCE,
    });
    let access_token = issuer.sign("at+jwt", &claims)?;
    claims["aud"] = granted.asked.client_id.into();
    claims["nonce"] = granted.asked.nonce.into();
    let id_token = issuer.sign("JWT", &claims)?;
    let body = json!({"access_token": access_token, "id_token": id_token, "token_type": "Bearer",
        "expires_in": TOKEN_LIFETIME.as_secs()});
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Where to go after signing out.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct LogoutQuery {
    post_logout_redirect_uri: Option<String>,
}

/// `GET /dev/issuer/logout`: nothing is remembered here that could be ended.
///
/// # Errors
/// `NOT_FOUND` outside development.
pub async fn logout(State(app): State<App>, Params(query): Params<LogoutQuery>) -> Result<Response> {
    issuer(&app)?;
    let asked = query.post_logout_redirect_uri.unwrap_or_default();
    let own = format!("{}/", app.public.origin);
    see_other(if asked.starts_with(&own) { &asked } else { &own })
}

fn see_other(url: &str) -> Result<Response> {
    let location = HeaderValue::from_str(url).map_err(|_| Error::from(Code::Malformed))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
