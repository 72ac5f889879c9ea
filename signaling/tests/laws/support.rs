//! The router around a real database and a clock that is turned by hand; requests are handed to it without a socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use proof::{BrowserKey, Expected, Fresh};
use serde_json::{Value, json};
use signaling::App;
use signaling::auth::StaffRole;
use signaling::auth::keys::{AccessGrant, Keys};
use signaling::clock::{Clock, Timestamp};
use signaling::config::{Demo, DemoUser, Profile, SignalingConfig};
use signaling::db::Db;
use signaling::identity::config::IdentityConfig;
use signaling::ids::OrgId;
use signaling::notice::config::NoticeConfig;
use signaling::organization::{self, Organization};
use signaling::telemetry::export::TracingConfig;
use test_postgres::TestDatabase;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use wire::Redacted;
use wire::control::Reply;

/// When every test begins.
pub(crate) const START: Timestamp = datetime!(2026-11-21 10:00 UTC);

/// One service with two practices.
pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) router: Router,
    pub(crate) clock: Clock,
    pub(crate) database: TestDatabase,
    pub(crate) ours: OrgId,
    pub(crate) theirs: OrgId,
    /// The key behind each session cookie.
    keys: Mutex<HashMap<String, BrowserKey>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        self.json().get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The `name=value` of the cookie that the answer sets.
    pub(crate) fn cookie(&self) -> Option<String> {
        let line = self.headers.get(header::SET_COOKIE)?.to_str().ok()?;
        line.split(';').next().map(ToOwned::to_owned)
    }
}

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Nobody,
    Bearer(String),
    Cookie(String),
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_as(Profile::Production).await
    }

    pub(crate) async fn open_as(profile: Profile) -> Self {
        Self::open_with(profile, |_| ()).await
    }

    /// In development messages go to the outbox; `change` may want something else.
    pub(crate) async fn open_with(profile: Profile, change: impl FnOnce(&mut SignalingConfig)) -> Self {
        Self::open_at(profile, |config, _| change(config), SocketAddr::from(([127, 0, 0, 1], 8080))).await
    }

    /// In production, with a way to sign in that may need to know our practice.
    pub(crate) async fn open_signing_in(identity: impl FnOnce(OrgId) -> IdentityConfig) -> Self {
        let change = |config: &mut SignalingConfig, org| config.identity = identity(org);
        Self::open_at(Profile::Production, change, SocketAddr::from(([127, 0, 0, 1], 8080))).await
    }

    /// On a real socket too: the built-in provider is asked over HTTP.
    pub(crate) async fn open_listening(profile: Profile) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = Self::open_at(profile, |_, _| (), listener.local_addr().unwrap()).await;
        let router = house.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        house
    }

    async fn open_at(profile: Profile, change: impl FnOnce(&mut SignalingConfig, OrgId), address: SocketAddr) -> Self {
        let database = TestDatabase::fresh().await;
        let url = database.app_url.clone();
        Self::open_over(profile, (database, url), change, address).await
    }

    /// The same over another way to the database.
    pub(crate) async fn open_over(
        profile: Profile,
        (database, url): (TestDatabase, String),
        change: impl FnOnce(&mut SignalingConfig, OrgId),
        address: SocketAddr,
    ) -> Self {
        let (ours, theirs) = (OrgId::random(), OrgId::random());
        let demo = Demo {
            org: ours,
            users: vec![DemoUser { sub: "demo".to_owned(), role: StaffRole::Clinician, name: "Dr. Demo".to_owned() }],
        };
        let notices = match profile {
            Profile::Development => NoticeConfig::outbox(),
            Profile::Production => NoticeConfig::default(),
        };
        let mut config = SignalingConfig {
            profile,
            notices,
            database_url: Redacted::new(url),
            database_connections: 12,
            data_keys: Some(std::sync::Arc::new(vault::LocalKeys::ephemeral().unwrap())),
            demo: (profile == Profile::Development).then_some(demo),
            tracing: TracingConfig { callers: vec!["203.0.113.0/24".parse().unwrap()], ..TracingConfig::default() },
            ..SignalingConfig::default()
        };
        change(&mut config, ours);
        let clock = Clock::by_hand(START);
        let db = Db::connect(&config, clock.clone()).await.unwrap();
        for (id, name) in [(ours, "Our practice"), (theirs, "Their practice")] {
            let practice = Organization { id, name: name.to_owned(), phone: "+1 555 0100".to_owned() };
            organization::create(&db, &practice).await.unwrap();
        }
        let (link, end) = wire::link::in_process();
        tokio::spawn(async move {
            let (mut requests, _events) = end.split();
            while let Some(request) = requests.recv().await {
                request.reply.answer(Ok(Reply::Done));
            }
        });
        let keys = Keys::ephemeral().unwrap();
        let app = signaling::build(config, keys, db, clock.clone(), &link, address, CancellationToken::new()).unwrap();
        let router = signaling::router::router(app.clone());
        Self { router, app, clock, database, ours, theirs, keys: Mutex::default() }
    }

    pub(crate) fn bearer_in(&self, org: OrgId, sub: &str, role: StaffRole) -> By {
        let grant = AccessGrant { org, sub, role, name: None, lifetime: Duration::from_secs(24 * 3600) };
        By::Bearer(self.app.keys.mint_access(grant, self.clock.now()).unwrap())
    }

    pub(crate) fn bearer(&self, sub: &str, role: StaffRole) -> By {
        self.bearer_in(self.ours, sub, role)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, 1 << 20).await.unwrap().to_vec() }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, by: &By, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        match by {
            By::Nobody => {}
            By::Bearer(token) => request = request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            By::Cookie(cookie) => {
                request = request.header(header::COOKIE, cookie).header("x-anteroom", "1");
                if let Some(proof) = self.proof(cookie, method, path) {
                    request = request.header("dpop", proof);
                }
            }
        }
        let body = match body {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, by: &By, body: Value) -> Answer {
        self.ask("POST", path, by, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str, by: &By) -> Answer {
        self.ask("GET", path, by, None).await
    }

    /// A visit of `dr-a` that begins at `at`.
    pub(crate) async fn visit_at(&self, at: Timestamp) -> String {
        let by = self.bearer("front-desk", StaffRole::Scheduler);
        let body = json!({"patientId": "p-1", "clinicianId": "dr-a", "patientName": "Ada Rivera",
            "clinicianName": "Dr. Maria Alvarez", "scheduledAt": at.format(&Rfc3339).unwrap(), "duration": 30});
        let made = self.post("/api/visits", &by, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.json());
        made.json()["visitId"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn visit(&self) -> String {
        self.visit_at(START).await
    }

    /// A fresh link of a role, as the protocol shows it.
    pub(crate) async fn link(&self, visit: &str, role: &str) -> Value {
        let by = self.bearer("front-desk", StaffRole::Scheduler);
        let links = self.post(&format!("/api/visits/{visit}/links"), &by, json!({"roles": [role]})).await;
        assert_eq!(links.status, StatusCode::OK, "{:?}", links.json());
        links.json()[role].clone()
    }

    pub(crate) async fn code(&self, visit: &str, role: &str) -> String {
        self.link(visit, role).await["shortCode"].as_str().unwrap().to_owned()
    }

    /// Claims the link with a fresh key and confirms the claim: the claim's answer with its cookie, or whatever refused.
    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        let claimed = self.claim(&BrowserKey::random(), json!({"shortCode": code})).await;
        let Some(cookie) = claimed.cookie() else { return claimed };
        let confirmed = self.confirm(&cookie).await;
        if confirmed.status == StatusCode::OK { claimed } else { confirmed }
    }

    /// Claims a link, `{shortCode}` or `{token}`, with a key, which goes with the answer's cookie from then on.
    pub(crate) async fn claim(&self, key: &BrowserKey, link: Value) -> Answer {
        let text = link.get("shortCode").or(link.get("token")).and_then(Value::as_str).unwrap_or_default().to_owned();
        let now = self.clock.now().unix_timestamp();
        let fresh = Fresh::Around(now);
        let expected = Expected { method: "POST", path: "/api/token/redeem", fresh, secret: Some(&text) };
        let mut body = link;
        body["mode"] = json!("redeem");
        body["publicKey"] = json!(key.public());
        body["proof"] = json!(key.prove(&expected, now));
        let claimed = self.post("/api/token/redeem", &By::Nobody, body).await;
        if let Some(cookie) = claimed.cookie() {
            self.keys.lock().unwrap().insert(cookie, key.clone());
        }
        claimed
    }

    /// Confirms the claim of a cookie by its key.
    pub(crate) async fn confirm(&self, cookie: &str) -> Answer {
        self.ask("POST", "/api/token/confirm", &By::Cookie(cookie.to_owned()), None).await
    }

    /// From now on the cookie is shown without its key, as a thief would.
    pub(crate) fn lose_key(&self, cookie: &str) -> Option<BrowserKey> {
        self.keys.lock().unwrap().remove(cookie)
    }

    fn proof(&self, cookie: &str, method: &str, path: &str) -> Option<String> {
        let keys = self.keys.lock().unwrap();
        let now = self.clock.now().unix_timestamp();
        let path = path.split('?').next().unwrap_or(path);
        let expected = Expected { method, path, fresh: Fresh::Around(now), secret: None };
        keys.get(cookie).map(|key| key.prove(&expected, now))
    }

    pub(crate) async fn validate(&self, code: &str) -> Answer {
        self.post("/api/token/redeem", &By::Nobody, json!({"shortCode": code})).await
    }
}
