//! The log and the traces of the whole test process, at their most talkative, for whoever looks for what must not be in them.

use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use signaling::telemetry::export::{Exporter, TracingConfig};
use tokio::net::TcpListener;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::sink::Sink;

static SINK: OnceLock<Sink> = OnceLock::new();
static COLLECTOR: OnceLock<Collector> = OnceLock::new();

/// Takes what is exported, over real HTTP.
struct Collector {
    exporter: Exporter,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// On a thread of its own: it outlives the runtime of the test that came first.
    fn open() -> Self {
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&taken);
        let take = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers.get(header::CONTENT_TYPE).unwrap(), "application/x-protobuf");
            kept.lock().unwrap().extend_from_slice(&body);
            StatusCode::OK
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = Some(format!("http://{}/v1/traces", listener.local_addr().unwrap()));
        let config = TracingConfig { endpoint, ..TracingConfig::default() };
        let exporter = Exporter::open(&config, runtime.handle().clone()).unwrap().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                axum::serve(listener, Router::new().route("/v1/traces", post(take))).await
            })
        });
        Self { exporter, taken }
    }
}

/// Begins to listen, for the whole process: a subscriber of one thread loses call sites that another test reached first without one.
/// What the other tests log is heard as well.
pub(crate) fn listen() {
    SINK.get_or_init(|| {
        let sink = Sink::default();
        let collector = COLLECTOR.get_or_init(Collector::open);
        let lines = fmt::layer().with_ansi(false).with_writer(sink.clone()).with_filter(LevelFilter::TRACE);
        let subscriber = tracing_subscriber::registry().with(lines).with(collector.exporter.layer());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        sink
    });
}

/// Everything that was logged since.
pub(crate) fn heard() -> String {
    SINK.get().expect("somebody listens").text()
}

/// Everything that was exported since, protobuf.
pub(crate) async fn traced() -> Vec<u8> {
    let collector = COLLECTOR.get().expect("somebody listens");
    tokio::task::spawn_blocking(|| collector.exporter.flush()).await.unwrap().unwrap();
    collector.taken.lock().unwrap().clone()
}
