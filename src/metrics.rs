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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sfu::{Sfu, SfuConfig};
    use yaml_rust2::{Yaml, YamlLoader};

    use super::*;

    const ALERTS: &str = include_str!("../deploy/alerts.yml");
    const DASHBOARD: &str = include_str!("../deploy/grafana.json");

    /// All series that a fresh process shows.
    fn shown() -> BTreeSet<String> {
        let sfu = Sfu::bind(SfuConfig {
            media_udp_port: 0,
            media_tcp: false,
            announce_loopback: true,
            ..SfuConfig::default()
        });
        let sources = Sources {
            signaling: signaling::Metrics::default(),
            sfu: sfu.unwrap().metrics(),
            recorder: recorder::Metrics::default(),
        };
        let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        sources.render().lines().filter(|line| !line.starts_with('#')).map(name).collect()
    }

    /// The series that a query asks for: every word of it that begins as ours do.
    fn asked(query: &str) -> Vec<&str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_ours =
            |word: &&str| ["signaling_", "sfu_", "recorder_", "anteroom_"].iter().any(|own| word.starts_with(own));
        query.split(|c| !is_part(c)).filter(is_ours).collect()
    }

    fn queries_of_alerts() -> Vec<(String, String)> {
        let file = YamlLoader::load_from_str(ALERTS).unwrap();
        let rules = file[0]["groups"][0]["rules"].as_vec().unwrap();
        let text = |value: &Yaml| value.as_str().unwrap().to_owned();
        let checked = |rule: &Yaml| {
            assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
            assert!(
                !text(&rule["annotations"]["summary"]).is_empty()
                    && !text(&rule["annotations"]["description"]).is_empty()
            );
            (text(&rule["alert"]), text(&rule["expr"]))
        };
        rules.iter().map(checked).collect()
    }

    #[test]
    fn every_series_of_an_alarm_or_the_dashboard_is_there_from_the_start() {
        let shown = shown();
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let mut queries = queries_of_alerts();
        queries.extend(targets.map(|target| ("dashboard".to_owned(), target["expr"].as_str().unwrap().to_owned())));
        assert!(queries.len() > 25, "{queries:?}");
        for (place, query) in queries {
            let series = asked(&query);
            assert!(!series.is_empty(), "{place}: {query}");
            for name in series {
                assert!(shown.contains(name), "{place} asks for {name}, which is not among {shown:?}");
            }
        }
    }

    #[test]
    fn the_alarms_that_were_asked_for_have_their_thresholds() {
        let queries = queries_of_alerts();
        let of =
            |name: &str| queries.iter().find(|(alert, _)| alert == name).unwrap_or_else(|| panic!("{name}")).1.as_str();
        assert!(of("TokenFailures").contains("[5m]") && of("TokenFailures").ends_with("> 10"));
        assert!(of("JoinsSlow").contains("0.95") && of("JoinsSlow").ends_with("> 2"));
        assert!(of("ManyWaiting").ends_with("> 10"));
        assert!(of("AuditChainBroken").contains("broken") && of("WebhookSignatureFailures").contains("signature"));
        assert!(of("BackupOld").ends_with("24 * 60 * 60"));
    }

    #[test]
    fn names_have_the_process_as_their_prefix() {
        for name in shown() {
            let roles = ["signaling_", "sfu_", "recorder_", "anteroom_"];
            assert!(roles.iter().any(|role| name.starts_with(role)), "{name}");
        }
    }
}
