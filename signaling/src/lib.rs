//! Signaling: visits, people, links, consents and live rooms; it touches no media. `run` starts it.
//!
//! A slice is `name.rs` (types and rules), `name/http.rs` (routes and bodies) and `name/store.rs` (SQL): [`visit`], [`participant`],
//! [`join`], [`consent`], [`audit`]. Around them: [`router`] lists every route, [`auth`] turns a request into an Actor,
//! [`db`] is the only way into PostgreSQL, [`problem`] the only place that knows status codes.

pub mod action_face;
pub mod address;
pub mod app;
pub mod audit;
pub mod auth;
pub mod billing;
pub mod body;
pub mod break_glass;
pub mod chime;
pub mod clinical;
pub mod clock;
pub mod config;
pub mod consent;
pub mod db;
pub mod drain;
pub mod error;
pub mod health;
pub mod ice;
pub mod idempotency;
pub mod identity;
pub mod ids;
pub mod join;
pub mod licence;
pub mod limit;
pub mod live;
pub mod location;
pub mod metrics;
pub mod notice;
pub mod organization;
pub mod pages;
pub mod participant;
pub mod phi;
pub mod problem;
pub mod quality;
pub mod recording;
pub mod route;
pub mod router;
pub mod schema;
pub mod server;
pub mod service_token;
pub mod sign_in;
pub mod state;
pub mod superset;
pub mod telehealth;
pub mod telemetry;
pub mod tls;
pub mod visit;
pub mod waiting_room;
pub mod webhook;
pub(crate) mod words;
pub mod ws;

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wire::link::SignalingEnd;

pub use crate::app::App;
pub use crate::config::SignalingConfig;
pub use crate::drain::Stop;
pub use crate::error::{Error, Result};
pub use crate::metrics::Metrics;

use crate::auth::keys::Keys;
use crate::clock::Clock;
use crate::config::{Profile, PublicAddress};
use crate::db::Db;

/// Runs the role until told to stop: migrates if it may, checks the database role, binds `config.http`, says on `ready` where it
/// listens, and serves. Told to drain, it begins nothing new and ends with the last visit, at the latest after
/// `config.drain_limit`. After the stop, requests under way have `config.stop_grace` to finish.
///
/// # Errors
/// When it cannot start; after that, only when the listener fails.
pub async fn run(
    config: SignalingConfig,
    keys: Keys,
    link: SignalingEnd,
    ready: oneshot::Sender<SocketAddr>,
    stop: impl Into<Stop>,
) -> Result<()> {
    let stop = stop.into();
    config.validate()?;
    if let Some(owner) = &config.migration_url {
        Db::migrate(owner).await?;
    }
    let clock = Clock::system();
    let db = Db::connect(&config, clock.clone()).await?;
    let listener = TcpListener::bind(config.http).await?;
    let address = listener.local_addr()?;
    let tls = tls::Tls::open(&config.tls, &config.metrics, &clock)?;
    let redirect = match config.tls.http_redirect {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    let app = build(config, keys, db, clock, &link, address, stop.now.clone())?;
    serve(app, link, Listeners { people: listener, redirect, tls }, ready, stop).await
}

/// Puts the App together around an open database; `address` is where HTTP listens.
///
/// # Errors
/// When `public_url` cannot be used.
pub fn build(
    mut config: SignalingConfig,
    keys: Keys,
    db: Db,
    clock: Clock,
    link: &SignalingEnd,
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<App> {
    let relay = ice::Relay::from_config(&config)?;
    let public = match &config.public_url {
        Some(url) => PublicAddress::parse(url)?,
        None => PublicAddress::localhost(address.port()),
    };
    let issuer =
        identity::issuer::Issuer::for_development(config.profile, config.demo.as_ref(), &mut config.identity, &public)?;
    let metrics = config.metrics.clone();
    let carriers = notice::carrier::Carriers::open(&config.notices)?;
    let certificates = notice::hook::aws::Certificates::new(&config.webhook_networks)?;
    let data_keys = config.data_keys.clone().or_else(|| config.vault.as_ref().map(|vault| vault.keys.clone()));
    let phi = phi::Fields::new(data_keys, &config.phi);
    let chime_rate = chime::rate::Rate::new(config.chime_rate, config.chime_burst);
    let sockets = server::places::Places::new(config.websockets, config.websockets_per_address);
    Ok(App::new(app::Parts {
        provider: identity::provider::Provider::new(&config.identity)?,
        issuer,
        sign_outs: tokio::sync::Notify::new(),
        sfu: link.requester(),
        live: live::Directory::new(link.requester(), metrics.clone()),
        config,
        public,
        relay,
        db,
        keys,
        phi,
        clock,
        misses: limit::Misses::default(),
        chime_rate,
        chime_strangers: chime::rate::strangers(),
        sockets,
        orders: tokio::sync::Notify::new(),
        views: audit::memo::Memo::default(),
        denials: audit::memo::Memo::default(),
        samples: quality::Samples::new(metrics.clone()),
        happenings: chime::notifications::writer::Happenings::new(metrics.clone()),
        carriers,
        certificates,
        metrics,
        stop,
    }))
}

/// Where people come from.
struct Listeners {
    people: TcpListener,
    /// Plain HTTP that leads to the encrypted address.
    redirect: Option<TcpListener>,
    tls: Option<(tls::Tls, tls::Keeper)>,
}

async fn serve(
    app: App,
    link: SignalingEnd,
    listeners: Listeners,
    ready: oneshot::Sender<SocketAddr>,
    drain: Stop,
) -> Result<()> {
    let stop = drain.now.clone();
    let address = listeners.people.local_addr()?;
    let grace = app.config.stop_grace;
    // The link lives as long as the pump: when it is dropped, the media node knows that signaling is gone.
    let pump = tokio::spawn(live::sfu::pump(link, app.live.clone(), stop.clone()));
    let jobs = tokio::spawn(recording::watch_jobs(app.clone()));
    let drainer = tokio::spawn(drain::run(app.clone(), drain));
    let samples = tokio::spawn(quality::writer::run(app.clone()));
    let meetings = tokio::spawn(chime::lifetime::run(app.clone()));
    let happenings = tokio::spawn(chime::notifications::writer::run(app.clone()));
    let webhooks = tokio::spawn(webhook::chore::run(app.clone()));
    let notices = tokio::spawn(notice::chore::run(app.clone()));
    let data_keys = tokio::spawn(phi::rewrap::run(app.clone()));
    let visits = tokio::spawn(visit::chore::run(app.clone()));
    let pipelines = tokio::spawn(chime::pipelines::chore::run(app.clone()));
    let anchors = tokio::spawn(audit::anchoring::run(app.clone()));
    let replay = tokio::spawn(audit::replay::run(app.clone()));
    let consents = tokio::spawn(consent::chore::run(app.clone()));
    let rotation = tokio::spawn(auth::rotation::run(app.clone()));
    let (tls, keeper) = listeners.tls.unzip();
    let keeper = tokio::spawn(keep_certificate(keeper, stop.clone()));
    let elsewhere = tls::redirect::router(&app.public);
    let redirect = tokio::spawn(redirect(listeners.redirect, elsewhere.clone(), app.clone()));
    let must_be_protected = app.config.profile == Profile::Production && tls.is_none();
    let watch = tokio::spawn(health::watch::run(app.clone()));
    let gate = server::Gate::new(&app.config).with_tls(tls).with_unprotected(must_be_protected.then_some(elsewhere));
    let server = server::serve(listeners.people, router::router(app.clone()), &gate, stop.clone());
    tracing::info!(%address, "signaling listens");
    // Nobody may be waiting for the news; that is their choice.
    let _ = ready.send(address);
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = server => tracing::info!("signaling drained and stopped"),
        () = drained => tracing::warn!("signaling stopped with requests still under way"),
    }
    for task in [
        pump, jobs, samples, meetings, drainer, happenings, webhooks, notices, pipelines, anchors, replay, consents,
        data_keys, rotation, visits, keeper, redirect, watch,
    ] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task of signaling failed");
        }
    }
    app.db.close().await;
    Ok(())
}

async fn keep_certificate(keeper: Option<tls::Keeper>, stop: CancellationToken) {
    if let Some(keeper) = keeper {
        keeper.run(stop).await;
    }
}

/// Answers plain HTTP, if there is an address for it. Its connections have bounds of their own, as wide as those of people.
async fn redirect(listener: Option<TcpListener>, router: axum::Router, app: App) {
    if let Some(listener) = listener {
        server::serve(listener, router, &server::Gate::new(&app.config), app.stop.clone()).await;
    }
}
