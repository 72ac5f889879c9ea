//! The HTTP and WebSocket calls of one run.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, SET_COOKIE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use proof::{BrowserKey, Expected, Fresh};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use wire::Redacted;

use crate::run::RunError;

/// Longer bodies are not read.
const MAX_BODY: usize = 1024 * 1024;

/// A WebSocket to the server.
pub(in crate::run) type Socket = WebSocketStream<TcpStream>;

/// What opens a seat: the session's secret and its key.
pub(in crate::run) struct Pass {
    cookie: Redacted<String>,
    key: BrowserKey,
}

impl Pass {
    /// The first message to the server, for the nonce of its challenge.
    pub(in crate::run) fn hello(&self, nonce: &str) -> Value {
        let seat = Expected { method: "GET", path: "/ws", fresh: Fresh::Nonce(nonce), secret: None };
        let proof = self.key.prove(&seat, OffsetDateTime::now_utc().unix_timestamp());
        json!({"type": "hello", "protocol": 1, "proof": proof})
    }
}

/// Where the server is and who asks.
pub(in crate::run) struct Api {
    /// `host:port`.
    authority: String,
    token: Redacted<String>,
    /// A clinician's token plans visits of that clinician only.
    clinician: Option<String>,
}

/// An answer's status, session cookie and body.
struct Answer {
    status: StatusCode,
    cookie: Option<String>,
    body: Value,
}

impl Api {
    pub(in crate::run) fn new(url: &str, token: Redacted<String>) -> Result<Self, RunError> {
        let authority = url.strip_prefix("http://").ok_or(RunError::Url)?.trim_end_matches('/');
        if authority.is_empty() || authority.contains('/') {
            return Err(RunError::Url);
        }
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let clinician = clinician_of(token.reveal());
        Ok(Self { authority, token, clinician })
    }

    /// Whether the server is there.
    pub(in crate::run) async fn check(&self) -> Result<(), RunError> {
        let answer = self.call(Method::GET, "/healthz", None).await?;
        expect(&answer, "health").map(|_| ())
    }

    /// Plans a visit that begins now, and makes both links: `(visit id, [clinician's token, patient's token])`.
    pub(in crate::run) async fn plan(&self, number: usize) -> Result<(String, [String; 2]), RunError> {
        let now = OffsetDateTime::now_utc();
        // Nobody has two visits at the same time; a run that was broken off may have left its own behind.
        let clinician = || format!("load-clinician-{number}-{}", now.unix_timestamp());
        let begins = now.format(&Rfc3339).map_err(|_| RunError::Protocol("no time"))?;
        let wanted = json!({
            "patientId": format!("load-patient-{number}"),
            "clinicianId": self.clinician.clone().unwrap_or_else(clinician),
            "scheduledAt": begins,
            "duration": 30,
        });
        let answer = self.call(Method::POST, "/api/visits", Some(wanted)).await?;
        let body = expect(&answer, "a visit")?;
        let visit = text(body, "/visitId")?;
        let roles = json!({"roles": ["patient", "clinician"]});
        let answer = self.call(Method::POST, &format!("/api/visits/{visit}/links"), Some(roles)).await?;
        let links = expect(&answer, "links")?;
        Ok((visit, [text(links, "/clinician/token")?, text(links, "/patient/token")?]))
    }

    /// Claims a link with a fresh key; the cookie is `name=value`, and the WebSocket spends the link.
    pub(in crate::run) async fn claim(&self, token: &str) -> Result<Pass, RunError> {
        let key = BrowserKey::random();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let expected =
            Expected { method: "POST", path: "/api/token/redeem", fresh: Fresh::Around(now), secret: Some(token) };
        let proof = key.prove(&expected, now);
        let body = json!({"token": token, "mode": "redeem", "publicKey": key.public(), "proof": proof});
        let answer = self.call(Method::POST, "/api/token/redeem", Some(body)).await?;
        expect(&answer, "a link's redemption")?;
        let cookie = answer.cookie.map(Redacted::new).ok_or(RunError::Protocol("no session cookie"))?;
        Ok(Pass { cookie, key })
    }

    /// Ends a visit, so that the next run does not find it waiting.
    pub(in crate::run) async fn end(&self, visit: &str) -> Result<(), RunError> {
        self.call(Method::POST, &format!("/api/visits/{visit}/end"), Some(json!({}))).await.map(|_| ())
    }

    /// Opens the WebSocket of a session.
    pub(in crate::run) async fn open(&self, pass: &Pass) -> Result<Socket, RunError> {
        let failed = |error: &dyn std::fmt::Display| RunError::Connection(error.to_string());
        let mut request =
            format!("ws://{}/ws", self.authority).into_client_request().map_err(|error| failed(&error))?;
        let cookie = HeaderValue::from_str(pass.cookie.reveal()).map_err(|error| failed(&error))?;
        request.headers_mut().insert("Cookie", cookie);
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("anteroom.v1"));
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(|error| failed(&error))?;
        Ok(socket)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, RunError> {
        let failed = |error: hyper::Error| RunError::Connection(error.to_string());
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let driver = tokio::spawn(connection);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(CONTENT_TYPE, "application/json")
            .header("X-Anteroom", "1")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| RunError::Connection(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let cookies = response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies.filter_map(|value| value.split(';').next()).next().map(str::to_owned);
        let body = http_body_util::Limited::new(response.into_body(), MAX_BODY);
        let bytes = body.collect().await.map_err(|error| RunError::Connection(error.to_string()))?.to_bytes();
        driver.abort();
        Ok(Answer { status, cookie, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }
}

fn expect<'a>(answer: &'a Answer, what: &'static str) -> Result<&'a Value, RunError> {
    if answer.status.is_success() {
        return Ok(&answer.body);
    }
    let code = answer.body.get("code").and_then(Value::as_str).unwrap_or("").to_owned();
    Err(RunError::Refused { what, status: answer.status.as_u16(), code })
}

/// The subject of a clinician's token. Read, not verified: the server does that.
fn clinician_of(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let is_clinician = claims.get("role").and_then(Value::as_str) == Some("clinician");
    claims.get("sub").and_then(Value::as_str).filter(|_| is_clinician).map(str::to_owned)
}

fn text(body: &Value, pointer: &str) -> Result<String, RunError> {
    let text = body.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).ok_or(RunError::Protocol("a field is missing"))
}
