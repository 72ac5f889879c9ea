//! The queue over a real PostgreSQL and a real receiver, on a clock by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use test_postgres::TestDatabase;
use time::macros::datetime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::Redacted;

use super::chore::{self, LEASE, Verdict, judge};
use super::deliver::{Answered, Attempt, Client, Failure};
use super::networks::Networks;
use super::sign::Secret;
use super::store::{self, Delivery, Due};
use super::target::{self, Place};
use super::{Event, wait_after};
use crate::app::App;
use crate::auth::keys::Keys;
use crate::clock::{Clock, Timestamp};
use crate::config::SignalingConfig;
use crate::db::{self, Db};
use crate::ids::OrgId;
use crate::organization::{self, Organization};

const START: Timestamp = datetime!(2026-11-21 10:00 UTC);

/// What a receiver was sent.
#[derive(Clone, Debug)]
struct Heard {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
    path: String,
}

/// A real HTTP server that answers what it is told to.
#[derive(Clone)]
struct Receiver {
    at: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<Vec<(u16, &'static str)>>>,
}

impl Receiver {
    /// Answers these in order, each with a header such as `location: /`, then 200.
    async fn start(answers: &[(u16, &'static str)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let receiver = Self::new(listener.local_addr().unwrap(), answers);
        let router = receiver.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }

    fn new(at: SocketAddr, answers: &[(u16, &'static str)]) -> Self {
        let answers = answers.iter().rev().copied().collect();
        Self { at, heard: Arc::default(), answers: Arc::new(Mutex::new(answers)) }
    }

    fn router(&self) -> Router {
        let receiver = self.clone();
        Router::new().fallback(async move |request: Request| receiver.hear(request).await)
    }

    async fn hear(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let text = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(
            (parts.method.as_str(), text(&parts.headers, "content-type").as_str()),
            ("POST", "application/json")
        );
        let heard = Heard {
            id: text(&parts.headers, "webhook-id"),
            timestamp: text(&parts.headers, "webhook-timestamp").parse().unwrap(),
            signature: text(&parts.headers, "webhook-signature"),
            body: String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap(),
            path: parts.uri.to_string(),
        };
        self.heard.lock().unwrap().push(heard);
        let (status, header) = self.answers.lock().unwrap().pop().unwrap_or((200, ""));
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header.split_once(": ") {
            response = response.header(name, value);
        }
        response.body(Body::from("thanks")).unwrap()
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }
}

/// The role over a database of its own, with one practice.
struct House {
    app: App,
    clock: Clock,
    client: Client,
    org: OrgId,
    _database: TestDatabase,
}

impl House {
    async fn open() -> Self {
        let database = TestDatabase::fresh().await;
        let config =
            SignalingConfig { database_url: Redacted::new(database.app_url.clone()), ..SignalingConfig::default() };
        let clock = Clock::by_hand(START);
        let db = Db::connect(&config, clock.clone()).await.unwrap();
        let (link, _end) = wire::link::in_process();
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let keys = Keys::ephemeral().unwrap();
        let app = crate::build(config, keys, db, clock.clone(), &link, address, CancellationToken::new()).unwrap();
        let org = practice(&app).await;
        let client = Client::new(loopback());
        Self { app, clock, client, org, _database: database }
    }

    async fn target(&self, url: &str) -> (Due, Secret) {
        let made = target::add(&self.app.db, &self.app.keys, self.org, url).await.unwrap();
        (Due { org: self.org, target: made.id }, Secret::parse(made.secret.reveal()).unwrap())
    }

    async fn event(&self, body: &str) -> Uuid {
        let event = Event { id: Uuid::new_v4(), body: body.to_owned() };
        let now = self.app.now();
        db::measured(&self.app.db, self.org, async |tx| store::enqueue(tx, self.org, &event, now).await).await.unwrap();
        event.id
    }

    async fn due(&self) -> Vec<Due> {
        store::find_due(self.app.db.pool(), self.app.now()).await.unwrap()
    }

    async fn waiting(&self) -> i64 {
        store::count_waiting(self.app.db.pool()).await.unwrap()
    }

    /// Delivers what is due now.
    async fn deliver(&self) {
        for due in self.due().await {
            chore::deliver(&self.app, &self.client, due).await.unwrap();
        }
    }

    fn pass(&self, span: Duration) {
        self.clock.set(self.app.now() + span);
    }
}

async fn practice(app: &App) -> OrgId {
    let id = OrgId::random();
    let practice = Organization { id, name: "Practice".to_owned(), phone: "+1 555 0100".to_owned() };
    organization::create(&app.db, &practice).await.unwrap();
    id
}

fn loopback() -> Networks {
    Networks::parse(&["127.0.0.0/8".to_owned()]).unwrap()
}

fn attempt(id: &str) -> Attempt<'_> {
    Attempt { id, timestamp: 0, signature: "v1,", body: "{}" }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test]
async fn a_receiver_that_refuses_twice_hears_the_same_signed_event_until_it_takes_it() {
    let house = House::open().await;
    let receiver = Receiver::start(&[(500, ""), (400, "")]).await;
    let (_, secret) = house.target(&receiver.url("/hooks?x=1")).await;
    let id = house.event(r#"{"a":1}"#).await.to_string();
    house.deliver().await;
    assert_eq!((receiver.heard().len(), house.due().await.len(), house.waiting().await), (1, 0, 1));
    house.pass(seconds(4));
    house.deliver().await;
    assert_eq!(receiver.heard().len(), 1, "five seconds have to pass");
    house.pass(seconds(1));
    house.deliver().await;
    assert_eq!(receiver.heard().len(), 2);
    house.pass(seconds(14));
    house.deliver().await;
    assert_eq!(receiver.heard().len(), 2, "then fifteen");
    house.pass(seconds(1));
    house.deliver().await;
    assert_eq!(house.waiting().await, 0);
    house.pass(seconds(100_000));
    house.deliver().await;
    let heard = receiver.heard();
    assert_eq!(heard.iter().map(|h| h.timestamp - START.unix_timestamp()).collect::<Vec<_>>(), [0, 5, 20]);
    for heard in heard {
        assert_eq!(
            (heard.id.as_str(), heard.body.as_str(), heard.path.as_str()),
            (id.as_str(), r#"{"a":1}"#, "/hooks?x=1")
        );
        let at = Timestamp::from_unix_timestamp(heard.timestamp).unwrap();
        assert_eq!(heard.signature, secret.sign(&heard.id, at, &heard.body));
        assert_ne!(heard.signature, Secret::random().sign(&heard.id, at, &heard.body));
    }
}

#[tokio::test]
async fn what_was_sent_and_not_marked_is_sent_again_under_the_same_id() {
    let house = House::open().await;
    let receiver = Receiver::start(&[]).await;
    let (due, _) = house.target(&receiver.url("/")).await;
    let id = house.event("{}").await.to_string();
    // A process that dies right after it sent.
    let now = house.app.now();
    let claimed = db::measured(&house.app.db, house.org, async |tx| store::claim(tx, due, now, LEASE).await).await;
    let batch = claimed.unwrap().unwrap();
    assert_eq!(batch.deliveries.len(), 1);
    house.client.send(&Place::parse(&batch.url).unwrap(), attempt(&id)).await.unwrap();
    // Another one does not take it meanwhile, and does afterwards.
    house.pass(LEASE - seconds(1));
    house.deliver().await;
    assert_eq!(receiver.heard().len(), 1);
    house.pass(seconds(1));
    house.deliver().await;
    house.deliver().await;
    let ids: Vec<String> = receiver.heard().into_iter().map(|heard| heard.id).collect();
    assert_eq!((ids, house.waiting().await), (vec![id.clone(), id], 0));
}

#[tokio::test]
async fn an_event_is_queued_once_for_each_target_in_order_and_for_no_other_organisation() {
    let house = House::open().await;
    let (one, two) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
    house.target(&one.url("/")).await;
    house.target(&two.url("/")).await;
    let stranger = Receiver::start(&[]).await;
    let other = practice(&house.app).await;
    target::add(&house.app.db, &house.app.keys, other, &stranger.url("/")).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(house.event(&format!("{{\"n\":{n}}}")).await.to_string());
    }
    // Written again, as after a commit whose end was not heard of.
    let again = Event { id: ids[0].parse().unwrap(), body: "{}".to_owned() };
    let put = db::measured(&house.app.db, house.org, async |tx| store::enqueue(tx, house.org, &again, START).await);
    assert_eq!(put.await.unwrap(), 0);
    house.deliver().await;
    for receiver in [&one, &two] {
        assert_eq!(receiver.heard().into_iter().map(|heard| heard.id).collect::<Vec<_>>(), ids);
    }
    assert!(stranger.heard().is_empty());
    // What one organisation has, the other one neither sees nor takes.
    let due = Due { org: other, target: Uuid::new_v4() };
    house.event("{}").await;
    let due = Due { target: house.due().await[0].target, ..due };
    let claimed = db::measured(&house.app.db, other, async |tx| store::claim(tx, due, START, LEASE).await).await;
    assert!(claimed.unwrap().is_none());
    assert_eq!(target::list(&house.app.db, other).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_is_away_keeps_its_events_and_nobody_elses() {
    let house = House::open().await;
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", gone.local_addr().unwrap());
    drop(gone);
    let (away, _) = house.target(&url).await;
    let receiver = Receiver::start(&[(404, "")]).await;
    house.target(&receiver.url("/")).await;
    for _ in 0..3 {
        house.event("{}").await;
    }
    house.deliver().await;
    assert_eq!((receiver.heard().len(), house.waiting().await), (3, 4), "one bad event does not stop the others");
    house.pass(seconds(5));
    house.deliver().await;
    assert_eq!((receiver.heard().len(), house.waiting().await), (4, 3));
    let now = house.app.now() + seconds(3600);
    let claimed = db::measured(&house.app.db, house.org, async |tx| store::claim(tx, away, now, LEASE).await).await;
    let attempts: Vec<i32> = claimed.unwrap().unwrap().deliveries.iter().map(|d| d.attempts).collect();
    assert_eq!(attempts, [3, 1, 1], "what was not tried has lost no attempt");
}

#[tokio::test]
async fn events_are_given_up_after_days_and_forgotten_after_more() {
    let house = House::open().await;
    let receiver = Receiver::start(&[(500, ""), (410, "")]).await;
    let (due, _) = house.target(&receiver.url("/")).await;
    house.event("{}").await;
    house.deliver().await;
    house.pass(house.app.config.webhook_give_up);
    house.deliver().await;
    assert_eq!((receiver.heard().len(), house.waiting().await), (2, 0));
    let listed = target::list(&house.app.db, house.org).await.unwrap();
    assert_eq!((listed[0].waiting, listed[0].given_up), (0, 1));
    chore::forget_old(&house.app).await;
    assert_eq!(target::list(&house.app.db, house.org).await.unwrap()[0].given_up, 1);
    house.pass(house.app.config.webhook_kept + seconds(1));
    house.event("{}").await;
    chore::forget_old(&house.app).await;
    let listed = target::list(&house.app.db, house.org).await.unwrap();
    assert_eq!((listed[0].waiting, listed[0].given_up), (1, 0), "what waits is not forgotten");
    target::remove(&house.app.db, house.org, due.target).await.unwrap();
    house.deliver().await;
    house.event("{}").await;
    assert_eq!((receiver.heard().len(), house.waiting().await), (2, 0), "a removed target hears nothing");
    assert!(target::remove(&house.app.db, house.org, Uuid::new_v4()).await.is_err());
}

#[tokio::test]
async fn nothing_is_sent_into_private_networks_or_followed_elsewhere() {
    let receiver = Receiver::start(&[(302, "location: /elsewhere")]).await;
    let port = receiver.at.port();
    let closed = Client::new(Networks::default());
    for url in
        [format!("http://127.0.0.1:{port}/"), format!("https://localhost:{port}/"), format!("http://[::1]:{port}/")]
    {
        assert_eq!(closed.send(&Place::parse(&url).unwrap(), attempt("1")).await, Err(Failure::Forbidden), "{url}");
    }
    assert!(receiver.heard().is_empty());
    let place = Place::parse(&receiver.url("/hooks")).unwrap();
    let answered = Client::new(loopback()).send(&place, attempt("1")).await.unwrap();
    assert_eq!((answered.status, receiver.heard().len()), (302, 1));
    // A public address is no place for plain http; it is refused before anything is sent.
    let place = Place::parse("http://192.88.98.1/").unwrap();
    assert_eq!(closed.send(&place, attempt("1")).await, Err(Failure::Plain));
    let place = Place::parse("https://nowhere.invalid/").unwrap();
    assert_eq!(closed.send(&place, attempt("1")).await, Err(Failure::Unresolved));
}

#[tokio::test]
async fn https_needs_a_certificate_for_the_name_by_a_trusted_authority() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let receiver = Receiver::new(listener.local_addr().unwrap(), &[]);
    let router = receiver.router();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trusting = Client::trusting(loopback(), roots);
    let port = receiver.at.port();
    let named = Place::parse(&format!("https://localhost:{port}/hooks")).unwrap();
    let numbered = Place::parse(&format!("https://127.0.0.1:{port}/hooks")).unwrap();
    assert_eq!(trusting.send(&numbered, attempt("1")).await, Err(Failure::Tls), "the certificate is for a name");
    let doubting = Client::trusting(loopback(), RootCertStore::empty());
    assert_eq!(doubting.send(&named, attempt("1")).await, Err(Failure::Tls), "nobody trusted has signed it");
    assert!(receiver.heard().is_empty());
    assert_eq!(trusting.send(&named, attempt("1")).await.unwrap().status, StatusCode::OK.as_u16());
    assert_eq!(receiver.heard()[0].path, "/hooks");
}

#[test]
fn an_answer_is_judged_by_its_status_and_the_age_of_the_event() {
    let config = SignalingConfig::default();
    let delivery =
        |attempts| Delivery { event_id: Uuid::nil(), seq: 1, attempts, body: "{}".to_owned(), created_at: START };
    let answer = |status, retry_after: Option<u64>| Ok(Answered { status, retry_after: retry_after.map(seconds) });
    let again = |after, is_away| Verdict::Again { after: seconds(after), is_away };
    for (result, verdict) in [
        (answer(200, None), Verdict::Delivered),
        (answer(204, None), Verdict::Delivered),
        (answer(302, None), again(5, false)),
        (answer(404, None), again(5, false)),
        (answer(410, None), Verdict::GivenUp),
        (answer(429, Some(60)), again(60, true)),
        (answer(503, Some(1)), again(5, true)),
        (Err(Failure::Slow), again(5, true)),
    ] {
        assert_eq!(judge(&config, &delivery(1), result, START), verdict, "{result:?}");
    }
    assert_eq!(judge(&config, &delivery(3), answer(500, None), START), again(45, true));
    assert_eq!(judge(&config, &delivery(50), answer(500, None), START), again(3600, true));
    let late = START + config.webhook_give_up - seconds(3600);
    assert_eq!(judge(&config, &delivery(50), answer(500, None), late), again(3600, true));
    assert_eq!(judge(&config, &delivery(50), answer(500, None), late + seconds(1)), Verdict::GivenUp);
    assert_eq!(wait_after(0, seconds(5)), seconds(5));
}
