//! A call over real sockets: the door, the media, the tap, and an end in order.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "real sockets carry real time; a test may unwrap")]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use load::client::{Client, ClientConfig, ClientEvent, ClientStats};
use sfu::{Sfu, SfuConfig};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::control::{Command, Door, Event, Manner, Reason, Reply, TapEnd};
use wire::link::{Requester, SignalingEnd};
use wire::tap::TapFrame;
use wire::tap_link::TapExchange;
use wire::{ParticipantId, PeerId, RecordingId, Redacted, RoomId};

const PATIENCE: Duration = Duration::from_secs(10);

struct Node {
    signaling: SignalingEnd,
    taps: TapExchange,
    stop: CancellationToken,
    running: JoinHandle<Result<(), sfu::Error>>,
}

impl Node {
    fn start() -> Self {
        let config =
            SfuConfig { media_udp_port: 0, addresses: vec![Ipv4Addr::LOCALHOST.into()], ..SfuConfig::default() };
        let node = Sfu::bind(config).expect("a free port");
        let (signaling, end) = wire::link::in_process();
        let (taps, stop) = (TapExchange::default(), CancellationToken::new());
        let running = tokio::spawn(node.run(end, taps.clone(), stop.clone()));
        Self { signaling, taps, stop, running }
    }

    async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let search = async {
            loop {
                let event = self.signaling.next_event().await.expect("the node lives");
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the event comes")
    }
}

/// A client on its own thread and socket that talks and films until told to stop.
struct Caller {
    participant: ParticipantId,
    peer: PeerId,
    stop: Arc<AtomicBool>,
    received: mpsc::Receiver<()>,
    thread: std::thread::JoinHandle<ClientStats>,
}

impl Caller {
    async fn join(asker: &Requester, room: RoomId, door: Door, seed: u64) -> Self {
        let (participant, peer) = (ParticipantId::random(), PeerId::random());
        let mut client =
            Client::new(ClientConfig { seed, ..ClientConfig::default() }, Instant::now()).expect("a client");
        asker
            .request(Command::AddPeer { room, peer, participant, door, manner: Manner::Native })
            .await
            .expect("room for a peer");
        let offer = Command::Offer { room, peer, sdp: Redacted::new(client.offer()) };
        let Ok(Reply::Answer { sdp, .. }) = asker.request(offer).await else { panic!("no answer") };
        client.set_answer(sdp.reveal(), Instant::now()).expect("a usable answer");
        let stop = Arc::new(AtomicBool::new(false));
        // One word is enough: it says that media came.
        let (heard, received) = mpsc::channel(1);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || drive(client, &stopped, &heard));
        Self { participant, peer, stop, received, thread }
    }

    fn hang_up(self) -> ClientStats {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the caller's thread ends well")
    }
}

fn drive(mut client: Client, stop: &AtomicBool, heard: &mpsc::Sender<()>) -> ClientStats {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let started = Instant::now();
    let (mut connected, mut frames) = (false, 0_u32);
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        client.handle_timeout(now);
        // Voice every 20 ms, a frame of five packets every 40.
        let due = u32::try_from(now.duration_since(started).as_millis() / 20).unwrap_or(u32::MAX);
        while connected && frames < due {
            frames += 1;
            client.send_audio(now, &[0xfc; 80], 30);
            if frames % 2 == 0 {
                client.send_video_frame(now, &[7; 5000], frames % 50 == 0);
            }
        }
        while let Some((to, bytes)) = client.poll_transmit() {
            socket.send_to(&bytes, to).expect("loopback takes it");
        }
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            client.handle_datagram(Instant::now(), from, &buffer[..length]);
        }
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Connected => connected = true,
                ClientEvent::Rtp(_) => drop(heard.try_send(())),
                ClientEvent::KeyframeRequested { .. } => client.send_video_frame(Instant::now(), &[9; 9000], true),
                ClientEvent::Limited { .. } => {}
                ClientEvent::Failed => panic!("the call failed"),
            }
        }
    }
    client.stats()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_over_real_sockets() {
    let mut node = Node::start();
    let asker = node.signaling.requester();
    let (room, recording) = (RoomId::random(), RecordingId::random());
    asker.request(Command::OpenRoom { room }).await.unwrap();
    let clinician = Caller::join(&asker, room, Door::Admitted, 1).await;
    let mut patient = Caller::join(&asker, room, Door::Waiting, 2).await;
    // Whoever is faster connects first.
    let mut expected = vec![clinician.peer, patient.peer];
    while !expected.is_empty() {
        if let Event::PeerConnected { peer, .. } =
            node.event(|event| matches!(event, Event::PeerConnected { .. })).await
        {
            expected.retain(|other| *other != peer);
        }
    }

    // Two people send, one of them waits: a second of that must bring nothing to anybody.
    assert!(tokio::time::timeout(Duration::from_secs(1), patient.received.recv()).await.is_err());

    asker.request(Command::Admit { room, peer: patient.peer }).await.unwrap();
    let admitted = Instant::now();
    tokio::time::timeout(PATIENCE, patient.received.recv()).await.expect("media flows").expect("the caller lives");
    println_figure("admit to first packet", admitted.elapsed());

    // Nobody has consented: no tap.
    let start = Command::StartTap { room, recording, is_cut: false };
    assert_eq!(asker.request(start.clone()).await.unwrap_err().reason, Reason::ConsentMissing);
    for participant in [clinician.participant, patient.participant] {
        asker.request(Command::SetConsent { room, participant, consented: true }).await.unwrap();
    }
    let Ok(Reply::Tap { token }) = asker.request(start).await else { panic!("the tap opens") };
    let mut frames = node.taps.dial(&token).unwrap();
    node.event(|event| matches!(event, Event::TapFlowing { .. })).await;

    // The tap has four tracks; then one person withdraws, and it ends.
    let (mut tracks, mut packets) = (0, 0);
    while tracks < 4 || packets < 800 {
        match tokio::time::timeout(PATIENCE, frames.recv()).await.expect("frames flow").expect("the tap is open") {
            TapFrame::Track { .. } => tracks += 1,
            TapFrame::Rtp { .. } => packets += 1,
            _ => {}
        }
    }
    let withdraw = Command::SetConsent { room, participant: patient.participant, consented: false };
    asker.request(withdraw).await.unwrap();
    let mut last = None;
    while let Some(frame) = frames.recv().await {
        last = Some(frame);
    }
    assert!(matches!(last, Some(TapFrame::Ended { reason: TapEnd::ConsentLost, .. })), "{last:?}");

    let (clinician, patient) = (clinician.hang_up(), patient.hang_up());
    for stats in [&clinician, &patient] {
        assert!(stats.rtp_received > 100, "{stats:?}");
        assert_eq!((stats.undecryptable, stats.unknown_ssrc), (0, 0));
        assert!(stats.twcc_reports > 10 && stats.sender_reports > 0 && stats.report_blocks > 0, "{stats:?}");
    }
    node.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), node.running).await.expect("stops in time").unwrap().unwrap();
}

#[allow(clippy::print_stdout, reason = "a figure for whoever reads the test's output")]
fn println_figure(name: &str, took: Duration) {
    println!("{name}: {:.1} ms", took.as_secs_f64() * 1e3);
}
