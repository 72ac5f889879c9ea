//! Traces by OTLP (http/protobuf), to a collector that the operator names; to nobody otherwise. Spans leave with their names, ids and
//! times: what is logged inside them stays in the log.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ipnet::IpNet;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use wire::{Redacted, settings};

use crate::address::networks;
use crate::error::{Error, Result};
use crate::tls::certificate::provider;

/// How long the collector has for each delivery.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// How long what is left has at the end of the process.
const LAST_SEND: Duration = Duration::from_secs(2);

/// The longest answer of a collector that is read, in bytes.
const MOST_ANSWERED: usize = 64 * 1024;

/// Our own spans; those of libraries may quote what strangers sent.
const OURS: [&str; 5] = ["anteroom", "signaling", "sfu", "recorder", "vault"];

/// Settings of traces: table `[tracing]` of the file, variables `ANTEROOM_TRACING_<FIELD>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracingConfig {
    /// Where traces go by OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`. Default nowhere: nothing is traced.
    pub endpoint: Option<String>,
    /// The value of the `Authorization` header that the collector asks for. Default none.
    pub authorization: Option<Redacted<String>>,
    /// Which share of the traces that begin here is kept, 0 to 1. Default 1.
    pub share: f64,
    /// Callers whose `traceparent` is continued: addresses or networks of your own services, comma-separated in the environment. What
    /// anybody else sends is not read. Default none.
    #[serde(deserialize_with = "networks")]
    pub callers: Vec<IpNet>,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self { endpoint: None, authorization: None, share: 1.0, callers: Vec::new() }
    }
}

impl TracingConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &["endpoint", "authorization", "share", "callers"];

    /// Defaults, then the file, then the environment. Only the long names count.
    ///
    /// # Errors
    /// When a value does not fit its field.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let env = |name: &str| name.starts_with("ANTEROOM_TRACING_").then(|| env(name)).flatten();
        let config: Self =
            settings::load("tracing", Self::FIELDS, file, env).map_err(|error| Error::Settings(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Says which setting cannot be used.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub fn validate(&self) -> Result<()> {
        let refuse = |text: &str| Err(Error::Settings(text.to_owned()));
        if !(0.0..=1.0).contains(&self.share) {
            return refuse("`share` of [tracing] must be from 0 to 1");
        }
        match self.endpoint.as_deref().map(|endpoint| endpoint.parse::<axum::http::Uri>()) {
            None => Ok(()),
            Some(Ok(uri)) if uri.scheme_str() == Some("https") => Ok(()),
            Some(Ok(uri))
                if uri.scheme_str() == Some("http")
                    && uri.authority().is_some_and(|host| crate::config::is_loopback_name(host.as_str())) =>
            {
                Ok(())
            }
            Some(_) => refuse("`endpoint` of [tracing] must be https, or http to a collector on this machine"),
        }
    }
}

/// What takes spans to the collector.
pub struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Makes what the settings ask for: `None` unless a collector is named. Deliveries run in this runtime.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(config: &TracingConfig, runtime: Handle) -> Result<Option<Self>> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let failed = |error: &dyn fmt::Display| Error::Settings(format!("[tracing]: {error}"));
        let mut headers = HashMap::new();
        if let Some(authorization) = &config.authorization {
            headers.insert("authorization".to_owned(), authorization.reveal().clone());
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Courier::new(runtime).map_err(|error| failed(&error))?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(SEND_WITHIN)
            .with_headers(headers)
            .build()
            .map_err(|error| failed(&error))?;
        // Nothing that the machine or its variables would add: no host name, no user.
        let resource = Resource::builder_empty()
            .with_service_name("anteroom")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.share))))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("anteroom");
        Ok(Some(Self { provider, tracer }))
    }

    /// Takes our own spans, not the events inside them.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|meta| {
                let root = meta.target().split("::").next().unwrap_or_default();
                meta.is_span() && *meta.level() <= tracing::Level::INFO && OURS.contains(&root)
            }))
    }

    /// Sends what is there now; blocks, so not from a task.
    ///
    /// # Errors
    /// When the collector did not take it.
    pub fn flush(&self) -> std::result::Result<(), String> {
        self.provider.force_flush().map_err(|error| error.to_string())
    }

    /// Sends what is left. The runtime must still be there; blocks, so not from a task.
    pub fn close(&self) {
        // A collector that is away has been said already.
        drop(self.provider.shutdown_with_timeout(LAST_SEND));
    }
}

/// Carries bytes to the collector. The SDK asks from a thread of its own, the connection lives in our runtime.
struct Courier {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    /// Said once, until it works again.
    is_failing: AtomicBool,
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Courier")
    }
}

impl Courier {
    fn new(runtime: Handle) -> std::result::Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime, is_failing: AtomicBool::new(false) })
    }

    fn note(&self, trouble: Option<&str>) {
        let was_failing = self.is_failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(trouble) if !was_failing => tracing::warn!(trouble, "traces cannot be delivered"),
            None if was_failing => tracing::info!("traces are delivered again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new));
        let exchange = async move {
            let (head, body) = answer.await.map_err(|_| "the collector cannot be reached")?.into_parts();
            let body = Limited::new(body, MOST_ANSWERED).collect().await.map_err(|_| "its answer cannot be read")?;
            Ok::<_, &'static str>(Response::from_parts(head, body.to_bytes()))
        };
        // Whoever asks has no runtime: its clock is looked up inside ours.
        let carried = self.runtime.spawn(async move { tokio::time::timeout(SEND_WITHIN, exchange).await }).await;
        let answered = match carried {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err("the collector takes too long"),
            Err(_) => Err("the process ends"),
        };
        match &answered {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(_) => self.note(Some("the collector refuses them")),
            Err(trouble) => self.note(Some(trouble)),
        }
        Ok(answered?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_02_traces_are_off_unless_a_collector_is_named_and_go_nowhere_unencrypted() {
        let off = TracingConfig::load(None, |_| None).unwrap();
        assert!(off.endpoint.is_none());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(Exporter::open(&off, runtime.handle().clone()).unwrap().is_none());
        for (endpoint, is_good) in [
            ("https://collector.example.org/v1/traces", true),
            ("http://127.0.0.1:4318/v1/traces", true),
            ("http://collector.example.org:4318/v1/traces", false),
            ("collector", false),
        ] {
            let env = |name: &str| (name == "ANTEROOM_TRACING_ENDPOINT").then(|| endpoint.to_owned());
            assert_eq!(TracingConfig::load(None, env).is_ok(), is_good, "{endpoint}");
        }
    }
}
