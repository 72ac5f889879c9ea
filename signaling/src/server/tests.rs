use std::net::{IpAddr, Ipv4Addr};

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

/// How long anything may take that should happen at once.
const SOON: Duration = Duration::from_secs(10);

/// In place of the thirty seconds.
const LIMIT: Duration = Duration::from_millis(400);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A running server whose only page waits until it is let go.
struct House {
    address: SocketAddr,
    metrics: Metrics,
    page: Arc<Notify>,
    asked: Arc<Notify>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl House {
    async fn open(config: SignalingConfig) -> Self {
        let gate = Gate { spares_shared: false, ..Gate::new(&config) };
        Self::open_with(config.metrics.clone(), gate).await
    }

    async fn open_with(metrics: Metrics, gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (page, asked, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()), CancellationToken::new());
        let (opened, heard) = (Arc::clone(&page), Arc::clone(&asked));
        let show = async move || {
            heard.notify_one();
            opened.notified().await;
            "here"
        };
        let (gate, told) = (Gate { head_within: LIMIT, ..gate }, stop.clone());
        let server = tokio::spawn(async move {
            serve(listener, Router::new().route("/", get(show)), &gate, told).await;
        });
        Self { address, metrics, page, asked, stop, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Asks for the page on a kept connection and reads all of it.
    async fn is_served(&self, stream: &mut TcpStream) -> bool {
        self.page.notify_one();
        let mut text = Vec::new();
        if stream.write_all(REQUEST).await.is_err() {
            return false;
        }
        while !text.ends_with(b"here") {
            match stream.read_buf(&mut text).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        self.asked.notified().await;
        true
    }

    fn refused(&self, bound: &str) -> bool {
        let line = format!("signaling_connections_refused_total{{what=\"connection\",bound=\"{bound}\"}} 1");
        self.metrics.render().lines().any(|l| l == line)
    }
}

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    drop(stream.read_to_end(&mut rest).await);
    assert_eq!(String::from_utf8_lossy(&rest), "", "closed without an answer");
}

#[tokio::test]
async fn a_head_that_is_never_finished_is_not_waited_for() {
    let house = House::open(SignalingConfig::default()).await;
    let from = Instant::now();
    let mut half = house.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.unwrap();
    let mut silent = house.connect().await;
    for stream in [&mut half, &mut silent] {
        timeout(SOON, closed(stream)).await.unwrap();
        assert!(from.elapsed() >= LIMIT, "{:?}", from.elapsed());
    }
}

#[tokio::test]
async fn a_head_that_comes_letter_by_letter_has_no_longer() {
    let house = House::open(SignalingConfig::default()).await;
    let (mut read, mut write) = house.connect().await.into_split();
    let drip = tokio::spawn(async move {
        write.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(LIMIT / 8).await;
        }
    });
    let mut rest = Vec::new();
    // What it sends after the end is answered by a reset.
    drop(timeout(SOON, read.read_to_end(&mut rest)).await.expect("each letter must not begin the time anew"));
    timeout(SOON, drip).await.unwrap().unwrap();
}

#[tokio::test]
async fn others_are_served_while_a_slow_one_is_waited_for() {
    let house = House::open(SignalingConfig::default()).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = house.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
        slow.push(stream);
    }
    assert!(house.is_served(&mut house.connect().await).await);
    for stream in &mut slow {
        timeout(SOON, closed(stream)).await.unwrap();
    }
}

#[tokio::test]
async fn a_head_has_a_longest_length() {
    let house = House::open(SignalingConfig::default()).await;
    let mut stream = house.connect().await;
    let line = format!("x-long: {}\r\n", "a".repeat(4096));
    let head = ["GET / HTTP/1.1\r\nhost: localhost\r\n", &line.repeat(2 * MAX_HEAD / 4096), "\r\n"].concat();
    // The server may close before it has taken all of it.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = Vec::new();
    drop(timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    house.page.notify_one();
    assert!(timeout(LIMIT / 4, house.asked.notified()).await.is_err(), "the page was not asked for");
}

#[tokio::test]
async fn a_request_may_take_longer_than_its_head_and_a_kept_connection_may_not_be_quiet_for_ever() {
    let house = House::open(SignalingConfig::default()).await;
    let mut kept = house.connect().await;
    assert!(house.is_served(&mut kept).await);
    kept.write_all(REQUEST).await.unwrap();
    house.asked.notified().await;
    tokio::time::sleep(2 * LIMIT).await;
    let from = Instant::now();
    house.page.notify_one();
    let mut text = Vec::new();
    while !text.ends_with(b"here") {
        assert!(kept.read_buf(&mut text).await.unwrap() > 0, "closed before the answer");
    }
    timeout(SOON, closed(&mut kept)).await.unwrap();
    assert!(from.elapsed() >= LIMIT, "{:?}", from.elapsed());
}

#[tokio::test]
async fn one_too_many_is_closed_and_counted_and_a_place_is_free_again() {
    let config = SignalingConfig { connections_per_address: 2, ..SignalingConfig::default() };
    let house = House::open(config).await;
    let (mut first, mut second) = (house.connect().await, house.connect().await);
    assert!(house.is_served(&mut first).await && house.is_served(&mut second).await);
    assert!(!house.refused("address"));
    let mut third = house.connect().await;
    timeout(SOON, closed(&mut third)).await.unwrap();
    assert!(house.refused("address"));
    assert!(house.is_served(&mut first).await, "those who are in stay in");
    drop(second);
    // The server learns of the end in its own time.
    let again = async { while !house.is_served(&mut house.connect().await).await {} };
    timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn a_proxy_has_as_many_as_there_are() {
    let config = SignalingConfig {
        connections: 4,
        connections_per_address: 1,
        trusted_proxies: vec![IpAddr::from(Ipv4Addr::LOCALHOST).into()],
        ..SignalingConfig::default()
    };
    let house = House::open_with(config.metrics.clone(), Gate::new(&config)).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = house.connect().await;
        assert!(house.is_served(&mut stream).await);
        open.push(stream);
    }
    timeout(SOON, closed(&mut house.connect().await)).await.unwrap();
    assert!(house.refused("all"));
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_the_stop_and_nobody_new_gets_in() {
    let house = House::open(SignalingConfig::default()).await;
    let mut quiet = house.connect().await;
    assert!(house.is_served(&mut quiet).await);
    let mut busy = house.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    house.asked.notified().await;

    house.stop.cancel();
    timeout(SOON, closed(&mut quiet)).await.expect("a kept connection without a request ends at once");
    assert!(TcpStream::connect(house.address).await.is_err());
    assert!(!house.server.is_finished());
    house.page.notify_one();
    let mut text = Vec::new();
    timeout(SOON, busy.read_to_end(&mut text)).await.unwrap().unwrap();
    assert!(text.ends_with(b"here"));
    timeout(SOON, house.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn h_21_whoever_comes_unencrypted_from_elsewhere_gets_the_other_service() {
    let config =
        SignalingConfig { trusted_proxies: vec!["192.0.2.0/28".parse().unwrap()], ..SignalingConfig::default() };
    let answering = |text: &'static str| Router::new().route("/", get(async move || text));
    let (people, elsewhere) = (answering("people"), answering("elsewhere"));
    let gate = Gate::new(&config).with_unprotected(Some(elsewhere));
    for (peer, expected) in [
        ("127.0.0.1:1", "people"),
        ("192.0.2.9:1", "people"),
        ("[::ffff:192.0.2.9]:1", "people"),
        ("192.0.2.77:1", "elsewhere"),
        ("[2001:db8::1]:1", "elsewhere"),
    ] {
        let mut service = gate.service_for(peer.parse().unwrap(), &people).clone();
        let answer = service.call(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 99).await.unwrap();
        assert_eq!(body, expected, "{peer}");
    }
}
