//! Ways to the node over real sockets: TCP alone, several addresses, IPv6, and another address in the middle of a call.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "real sockets carry real time; a test may unwrap")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use load::client::{Client, ClientConfig, ClientEvent};
use sfu::{Address, Metrics, Sfu, SfuConfig};
use tokio_util::sync::CancellationToken;
use wire::control::{Command, Door, Manner, Reply};
use wire::link::{Requester, SignalingEnd};
use wire::tap_link::TapExchange;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

const PATIENCE: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(5);

struct Node {
    signaling: SignalingEnd,
    metrics: Metrics,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), sfu::Error>>,
}

impl Node {
    fn start(addresses: Vec<Address>, shards: usize) -> Self {
        let config = SfuConfig { media_udp_port: 0, addresses, shards, ..SfuConfig::default() };
        let node = Sfu::bind(config).expect("a free port");
        let (signaling, end) = wire::link::in_process();
        let (metrics, udp, tcp) = (node.metrics(), node.announced().concat(), node.announced_tcp().to_vec());
        let stop = CancellationToken::new();
        let running = tokio::spawn(node.run(end, TapExchange::default(), stop.clone()));
        Self { signaling, metrics, udp, tcp, stop, running }
    }

    async fn room(&self) -> (Requester, RoomId) {
        let (asker, room) = (self.signaling.requester(), RoomId::random());
        asker.request(Command::OpenRoom { room }).await.expect("a room");
        (asker, room)
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("in time").unwrap().expect("an end in order");
    }
}

/// How a caller reaches the node.
enum Way {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, held: Vec<u8>, is_checked: bool },
}

impl Way {
    /// Connected, so that only what comes from the very address that was asked is heard.
    fn udp(to: SocketAddr) -> Self {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        Self::Udp(socket)
    }

    fn tcp(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("the port is open");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TURN)).unwrap();
        Self::Tcp { stream, held: Vec::new(), is_checked: false }
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            // A node that went away meanwhile is the next receive's news.
            Self::Udp(socket) => drop(socket.send(bytes)),
            Self::Tcp { stream, is_checked, .. } => {
                // As browsers do: nothing goes over a new connection before its first check.
                *is_checked |= bytes.first().is_some_and(|first| *first < 4);
                if !*is_checked {
                    return;
                }
                let frame = [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
                stream.write_all(&frame).expect("the connection stands");
            }
        }
    }

    fn receive(&mut self, mut handle: impl FnMut(&[u8])) {
        let mut buffer = [0; 4096];
        match self {
            Self::Udp(socket) => {
                while let Ok(length) = socket.recv(&mut buffer) {
                    handle(&buffer[..length]);
                }
            }
            Self::Tcp { stream, held, .. } => {
                match stream.read(&mut buffer) {
                    Ok(0) => panic!("the node closed the connection"),
                    Ok(length) => held.extend_from_slice(&buffer[..length]),
                    Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
                }
                while let Some((header, tail)) = held.split_first_chunk::<2>() {
                    let length = usize::from(u16::from_be_bytes(*header));
                    let Some(frame) = tail.get(..length) else { return };
                    handle(frame);
                    held.drain(..length + 2);
                }
            }
        }
    }
}

/// What a caller is told, and what it tells: each packet of the other one by the moment at which it came.
struct Caller {
    orders: mpsc::Sender<Option<Way>>,
    heard: tokio::sync::mpsc::UnboundedReceiver<Instant>,
    thread: JoinHandle<()>,
}

impl Caller {
    async fn join(asker: &Requester, room: RoomId, way: Way, seed: u64) -> Self {
        let (participant, peer) = (ParticipantId::random(), PeerId::random());
        let mut client = Client::new(ClientConfig { seed, ..ClientConfig::default() }, Instant::now()).unwrap();
        asker
            .request(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner: Manner::Native })
            .await
            .expect("room");
        let offer = Command::Offer { room, peer, sdp: Redacted::new(client.offer()) };
        let Ok(Reply::Answer { sdp, .. }) = asker.request(offer).await else { panic!("no answer") };
        client.set_answer(sdp.reveal(), Instant::now()).unwrap();
        let (orders, taken) = mpsc::channel();
        #[allow(clippy::disallowed_methods, reason = "a test of a few seconds")]
        let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || drive(client, way, &taken, &tell));
        Self { orders, heard, thread }
    }

    /// Waits for a packet that came after this moment.
    async fn hears_after(&mut self, moment: Instant) -> Duration {
        let search = async {
            loop {
                let at = self.heard.recv().await.expect("the caller lives");
                if at > moment {
                    return at - moment;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("media comes")
    }

    fn hang_up(self) {
        let _ = self.orders.send(None);
        self.thread.join().expect("the caller ends well");
    }
}

fn drive(
    mut client: Client,
    mut way: Way,
    orders: &mpsc::Receiver<Option<Way>>,
    heard: &tokio::sync::mpsc::UnboundedSender<Instant>,
) {
    let started = Instant::now();
    let (mut connected, mut frames) = (false, 0_u32);
    loop {
        match orders.try_recv() {
            Ok(Some(other)) => way = other,
            Ok(None) | Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) => {}
        }
        let now = Instant::now();
        client.handle_timeout(now);
        let due = u32::try_from(now.duration_since(started).as_millis() / 20).unwrap_or(u32::MAX);
        while connected && frames < due {
            frames += 1;
            client.send_audio(now, &[0xfc; 80], 30);
        }
        while let Some((_, bytes)) = client.poll_transmit() {
            way.send(&bytes);
        }
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        way.receive(|bytes| client.handle_datagram(Instant::now(), from, bytes));
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Connected => connected = true,
                ClientEvent::Rtp(_) => drop(heard.send(Instant::now())),
                ClientEvent::Failed => panic!("the call failed"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn two_people_meet_over_tcp_alone_on_whichever_shard() {
    let node = Node::start(vec![Ipv4Addr::LOCALHOST.into()], 3);
    assert_eq!(node.tcp.len(), 1, "one port for all shards");
    for turn in 0..3 {
        let (asker, room) = node.room().await;
        let mut both = Vec::new();
        for seed in 0..2 {
            both.push(Caller::join(&asker, room, Way::tcp(node.tcp[0]), turn * 2 + seed).await);
        }
        for caller in &mut both {
            caller.hears_after(Instant::now()).await;
        }
        both.into_iter().for_each(Caller::hang_up);
    }
    assert!(node.metrics.render().contains("sfu_tcp_refused_total 0"));
    node.end().await;
}

#[tokio::test]
async fn somebody_over_tcp_hears_somebody_over_udp_and_back() {
    let node = Node::start(vec![Ipv4Addr::LOCALHOST.into()], 1);
    let (asker, room) = node.room().await;
    let mut near = Caller::join(&asker, room, Way::udp(node.udp[0]), 1).await;
    let mut far = Caller::join(&asker, room, Way::tcp(node.tcp[0]), 2).await;
    let now = Instant::now();
    near.hears_after(now).await;
    far.hears_after(now).await;
    // The proxy cut the connection: the browser opens another one, and the next check moves the call there.
    let cut = Instant::now();
    far.orders.send(Some(Way::tcp(node.tcp[0]))).unwrap();
    let (there, back) = (far.hears_after(cut + TURN * 4).await, near.hears_after(cut + TURN * 4).await);
    assert!(there.max(back) < Duration::from_secs(4), "{there:?}, {back:?}");
    near.hang_up();
    far.hang_up();
    node.end().await;
}

#[tokio::test]
async fn another_port_in_the_middle_of_a_call_has_media_back_within_a_check() {
    let node = Node::start(vec![Ipv4Addr::LOCALHOST.into()], 1);
    let (asker, room) = node.room().await;
    let mut moving = Caller::join(&asker, room, Way::udp(node.udp[0]), 3).await;
    let mut staying = Caller::join(&asker, room, Way::udp(node.udp[0]), 4).await;
    staying.hears_after(Instant::now()).await;
    moving.hears_after(Instant::now()).await;
    let moved = Instant::now();
    moving.orders.send(Some(Way::udp(node.udp[0]))).unwrap();
    // What was under way comes for a moment.
    let settled = moved + TURN * 10;
    let (there, back) = (moving.hears_after(settled).await, staying.hears_after(settled).await);
    assert!(there.max(back) < Duration::from_secs(3), "the client checks every two seconds: {there:?}, {back:?}");
    moving.hang_up();
    staying.hang_up();
    node.end().await;
}

#[tokio::test]
async fn answers_leave_from_the_address_that_was_asked() {
    let six = UdpSocket::bind("[::1]:0").is_ok();
    let mut addresses: Vec<Address> = vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()];
    if six {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    let node = Node::start(addresses, 1);
    let (asker, room) = node.room().await;
    // Each socket is connected: what comes from another address than it asked is not heard.
    let mut all = Vec::new();
    for (seed, to) in (10..).zip(&node.udp) {
        all.push(Caller::join(&asker, room, Way::udp(*to), seed).await);
    }
    for (seed, to) in (20..).zip(&node.tcp) {
        all.push(Caller::join(&asker, room, Way::tcp(*to), seed).await);
    }
    assert_eq!(all.len(), if six { 6 } else { 4 });
    for caller in &mut all {
        caller.hears_after(Instant::now()).await;
    }
    all.into_iter().for_each(Caller::hang_up);
    node.end().await;
}

#[test]
fn strangers_on_the_tcp_port_are_shown_out() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(async { Node::start(vec![Ipv4Addr::LOCALHOST.into()], 1) });
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0, 30, 22, 254, 253, 0, 0, 0, 0, 0, 0, 0]] {
        let mut stream = TcpStream::connect(node.tcp[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(words).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let end = stream.read(&mut [0; 16]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    }
    runtime.block_on(node.end());
}

#[test]
fn a_private_address_that_is_not_ours_is_refused_in_words() {
    let address: Address = "203.0.113.5=203.0.113.6".parse().unwrap();
    let config = SfuConfig { media_udp_port: 0, addresses: vec![address], ..SfuConfig::default() };
    assert!(Sfu::bind(config).unwrap_err().to_string().contains("203.0.113.6"));
    let mapped: Address = "203.0.113.5=127.0.0.1".parse().unwrap();
    let both = vec![mapped, Ipv4Addr::LOCALHOST.into(), mapped];
    let node = Sfu::bind(SfuConfig { media_udp_port: 0, addresses: both, ..SfuConfig::default() }).unwrap();
    let told: Vec<String> = node.announced()[0].iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(told, ["203.0.113.5", "127.0.0.1"]);
    assert_eq!(node.announced_tcp().len(), 2);
    let without = SfuConfig { media_udp_port: 0, media_tcp: false, addresses: vec![mapped], ..SfuConfig::default() };
    assert!(Sfu::bind(without).unwrap().announced_tcp().is_empty());
}
