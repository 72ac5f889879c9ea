//! A provider that a test can make behave or misbehave: real HTTP on loopback, keys that rotate, tokens with anything in them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};
use signaling::clock::Timestamp;
use signaling::identity::config::IdentityConfig;
use signaling::ids::OrgId;
use tokio::net::TcpListener;

/// The audience of its access tokens.
pub(crate) const AUDIENCE: &str = "anteroom-api";

#[derive(Clone)]
pub(crate) struct Provider(Arc<Parts>);

struct Parts {
    url: String,
    keys: Mutex<Vec<Key>>,
    asked: AtomicUsize,
    /// What the token endpoint gives next.
    id_token: Mutex<Option<String>>,
    exchanged: Mutex<Vec<HashMap<String, String>>>,
}

struct Key {
    kid: String,
    signing: EncodingKey,
    jwk: Value,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self(Arc::new(Parts {
            url,
            keys: Mutex::default(),
            asked: AtomicUsize::new(0),
            id_token: Mutex::default(),
            exchanged: Mutex::default(),
        }));
        provider.rotate("first");
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub(crate) fn config(&self, org: OrgId) -> IdentityConfig {
        IdentityConfig {
            issuer: Some(self.0.url.clone()),
            audience: Some(AUDIENCE.to_owned()),
            organization: Some(org),
            ..IdentityConfig::default()
        }
    }

    /// Puts a new key in the place of all others.
    pub(crate) fn rotate(&self, kid: &str) {
        let secret = SigningKey::generate_from_rng(&mut rand::rng());
        let point = secret.verifying_key().to_sec1_point(false);
        let (x, y) = (URL_SAFE_NO_PAD.encode(point.x().unwrap()), URL_SAFE_NO_PAD.encode(point.y().unwrap()));
        let signing = EncodingKey::from_ec_der(secret.to_pkcs8_der().unwrap().as_bytes());
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": kid});
        *self.0.keys.lock().unwrap() = vec![Key { kid: kid.to_owned(), signing, jwk }];
    }

    /// How often its keys were fetched.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Signs anything by the newest key, under that key's name or another.
    pub(crate) fn sign(&self, typ: &str, claims: &Value, kid: Option<&str>) -> String {
        let keys = self.0.keys.lock().unwrap();
        let key = keys.last().unwrap();
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(kid.unwrap_or(&key.kid).to_owned());
        encode(&header, claims, &key.signing).unwrap()
    }

    /// Claims of a person who signed in at `now` with a second factor.
    pub(crate) fn claims(&self, sub: &str, role: &str, now: Timestamp) -> Value {
        let at = now.unix_timestamp();
        json!({"iss": self.0.url, "aud": AUDIENCE, "sub": sub, "roles": [role], "name": "Dr. Test", "amr": ["pwd", "mfa"],
            "iat": at, "nbf": at, "exp": at + 3600, "auth_time": at, "jti": format!("jti-{sub}"), "sid": format!("sid-{sub}")})
    }

    pub(crate) fn access(&self, sub: &str, role: &str, now: Timestamp) -> String {
        self.sign("at+jwt", &self.claims(sub, role, now), None)
    }

    /// The next code is exchanged for this.
    pub(crate) fn give(&self, id_token: String) {
        *self.0.id_token.lock().unwrap() = Some(id_token);
    }

    /// What was sent to the token endpoint.
    pub(crate) fn exchanged(&self) -> Vec<HashMap<String, String>> {
        self.0.exchanged.lock().unwrap().clone()
    }
}

async fn discovery(State(Provider(parts)): State<Provider>) -> Json<Value> {
    let url = &parts.url;
    Json(json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"), "end_session_endpoint": format!("{url}/logout"), "response_types_supported": ["code"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn jwks(State(Provider(parts)): State<Provider>) -> Json<Value> {
    parts.asked.fetch_add(1, Ordering::SeqCst);
    let keys: Vec<Value> = parts.keys.lock().unwrap().iter().map(|key| key.jwk.clone()).collect();
    Json(json!({ "keys": keys }))
}

async fn token(State(Provider(parts)): State<Provider>, Form(form): Form<HashMap<String, String>>) -> Response {
    parts.exchanged.lock().unwrap().push(form);
    match parts.id_token.lock().unwrap().take() {
        Some(id_token) => {
            Json(json!({"access_token": "x", "token_type": "Bearer", "id_token": id_token})).into_response()
        }
        None => (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response(),
    }
}
