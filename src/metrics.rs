//! `/metrics`: the figures of all roles on an address of their own, which browsers never see.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;
use signaling::server::Gate;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wire::settings;

use crate::Error;

/// Settings of the process as a whole: table `[process]` of the file.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProcessConfig {
    /// Where `/metrics` is served, without a password. Nowhere unless set; give it a loopback or a private address.
    pub(crate) metrics: Option<SocketAddr>,
}

impl ProcessConfig {
    /// The file, then `ANTEROOM_METRICS`.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Error> {
        Ok(settings::load("process", &["metrics"], file, settings::env)?)
    }
}

/// Whose figures are shown.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) signaling: signaling::Metrics,
    pub(crate) sfu: sfu::Metrics,
    pub(crate) recorder: recorder::Metrics,
}

impl Sources {
    fn render(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let build = format!(
            "# HELP anteroom_build The running version.\n# TYPE anteroom_build info\nanteroom_build_info{{version=\"{version}\"}} 1\n"
        );
        [build, self.signaling.render(), self.sfu.render(), self.recorder.render(), "# EOF\n".to_owned()].concat()
    }
}

/// Serves until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, sources: Sources) {
    let gate = Gate::for_scrapers(sources.signaling.clone());
    let router = Router::new().route("/metrics", get(show)).with_state(sources);
    signaling::server::serve(listener, router, &gate, CancellationToken::new()).await;
}

async fn show(State(sources): State<Sources>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], sources.render())
}
