//! The real router and the real database role, with practices to write for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use serde_json::Value;
use signaling::App;
use signaling::auth::StaffRole;
use signaling::auth::keys::{AccessGrant, Keys};
use signaling::clock::Clock;
use signaling::config::SignalingConfig;
use signaling::db::Db;
use signaling::ids::OrgId;
use signaling::organization::{self, Organization};
use test_postgres::TestDatabase;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use vault::LocalKeys;
use wire::Redacted;

use crate::Error;

/// A practice and the token of its front desk.
pub(crate) struct Practice {
    pub(crate) id: OrgId,
    pub(crate) token: String,
}

/// One server over a database.
pub(crate) struct House {
    pub(crate) app: App,
    router: Router,
    pub(crate) practices: Vec<Practice>,
    /// Links that wait to be redeemed.
    pub(crate) links: Mutex<Vec<String>>,
}

impl House {
    /// Opens a server with `connections` connections and makes `practices` practices.
    pub(crate) async fn open(database: &TestDatabase, practices: usize, connections: usize) -> Result<Self, Error> {
        let config = SignalingConfig {
            database_url: Redacted::new(database.app_url.clone()),
            database_connections: u32::try_from(connections)?,
            data_keys: Some(Arc::new(LocalKeys::ephemeral()?)),
            ..SignalingConfig::default()
        };
        let clock = Clock::system();
        let db = Db::connect(&config, clock.clone()).await?;
        let (link, _end) = wire::link::in_process();
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let app = signaling::build(config, Keys::ephemeral()?, db, clock, &link, address, CancellationToken::new())?;
        let mut made = Vec::new();
        for number in 0..practices {
            let id = OrgId::random();
            let practice = Organization { id, name: format!("Practice {number}"), phone: "+1 555 0100".to_owned() };
            organization::create(&app.db, &practice).await?;
            let grant = AccessGrant {
                org: id,
                sub: "front-desk",
                role: StaffRole::Scheduler,
                name: None,
                lifetime: Duration::from_secs(24 * 3600),
            };
            made.push(Practice { id, token: app.keys.mint_access(grant, app.now())? });
        }
        Ok(Self { router: signaling::router::router(app.clone()), app, practices: made, links: Mutex::default() })
    }

    /// The practice of the `number`th act.
    pub(crate) fn practice(&self, number: usize) -> &Practice {
        &self.practices[number % self.practices.len()]
    }

    /// Sends a request through the whole router and reads its answer to the end.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(header::HeaderName, String)],
        body: &Value,
    ) -> Result<(StatusCode, header::HeaderMap, Value), Error> {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_string()))?).await?;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await?;
        Ok((parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    pub(crate) async fn close(&self) {
        self.app.db.close().await;
    }
}
