//! A call of two, of whom one has no way to the media node but the relay.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use load::client::{Client, ClientConfig, ClientEvent};
use sfu::{Sfu, SfuConfig};
use tokio_util::sync::CancellationToken;
use wire::control::{Command, Door, Manner, Reply};
use wire::link::Requester;
use wire::tap_link::TapExchange;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

use crate::client::Relayed;
use crate::relay::here;

const PATIENCE: Duration = Duration::from_secs(20);
/// Packets that must come each way: two seconds of voice.
const ENOUGH: u32 = 100;

/// Holds the call until enough came on both sides.
pub(crate) fn hold(make: impl FnOnce() -> Relayed) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = SfuConfig { media_udp_port: 0, addresses: vec![here().into()], ..SfuConfig::default() };
    let node = Sfu::bind(config).unwrap();
    let media = node.announced()[0][0];
    let (signaling, end) = wire::link::in_process();
    let stop = CancellationToken::new();
    let running = runtime.spawn(node.run(end, TapExchange::default(), stop.clone()));
    let (asker, room) = (signaling.requester(), RoomId::random());
    let [far, near] = runtime.block_on(async {
        asker.request(Command::OpenRoom { room }).await.unwrap();
        [join(&asker, room, 1).await, join(&asker, room, 2).await]
    });
    let done = Arc::new(AtomicBool::new(false));
    let heard: [Arc<AtomicU32>; 2] = Default::default();
    let mut relayed = make();
    assert_eq!(relayed.allocate(false), 0);
    assert_eq!(relayed.permit(media), 0);
    let (stopped, count) = (Arc::clone(&done), Arc::clone(&heard[0]));
    let far = std::thread::spawn(move || {
        let mut way = relayed;
        drive(far, &stopped, &count, |bytes, way: &mut Relayed| way.send(media, bytes), Relayed::receive, &mut way);
    });
    let (stopped, count) = (Arc::clone(&done), Arc::clone(&heard[1]));
    let near = std::thread::spawn(move || {
        let mut socket = UdpSocket::bind((here(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let receive = |socket: &mut UdpSocket| {
            let mut buffer = [0; 2048];
            socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).into_iter().collect()
        };
        let send = |bytes: &[u8], socket: &mut UdpSocket| drop(socket.send_to(bytes, media));
        drive(near, &stopped, &count, send, receive, &mut socket);
    });
    let begin = Instant::now();
    while heard.iter().any(|heard| heard.load(Ordering::Relaxed) < ENOUGH) {
        assert!(begin.elapsed() < PATIENCE, "heard {heard:?} packets");
        assert!(!far.is_finished() && !near.is_finished(), "a caller ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    done.store(true, Ordering::Relaxed);
    far.join().unwrap();
    near.join().unwrap();
    stop.cancel();
    runtime.block_on(running).unwrap().unwrap();
}

async fn join(asker: &Requester, room: RoomId, seed: u64) -> Client {
    let (participant, peer) = (ParticipantId::random(), PeerId::random());
    let mut client = Client::new(ClientConfig { seed, ..ClientConfig::default() }, Instant::now()).unwrap();
    asker
        .request(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner: Manner::Native })
        .await
        .unwrap();
    let offer = Command::Offer { room, peer, sdp: Redacted::new(client.offer()) };
    let Ok(Reply::Answer { sdp, .. }) = asker.request(offer).await else { panic!("no answer") };
    client.set_answer(sdp.reveal(), Instant::now()).unwrap();
    client
}

fn drive<W>(
    mut client: Client,
    stop: &AtomicBool,
    heard: &AtomicU32,
    send: impl Fn(&[u8], &mut W),
    receive: impl Fn(&mut W) -> Vec<Vec<u8>>,
    way: &mut W,
) {
    let started = Instant::now();
    let (mut connected, mut frames) = (false, 0_u32);
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        client.handle_timeout(now);
        let due = u32::try_from(now.duration_since(started).as_millis() / 20).unwrap_or(u32::MAX);
        while connected && frames < due {
            frames += 1;
            client.send_audio(now, &[0xfc; 80], 30);
        }
        while let Some((_, bytes)) = client.poll_transmit() {
            send(&bytes, way);
        }
        for bytes in receive(way) {
            client.handle_datagram(Instant::now(), SocketAddr::from(([127, 0, 0, 1], 1)), &bytes);
        }
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Connected => connected = true,
                ClientEvent::Rtp(_) => drop(heard.fetch_add(1, Ordering::Relaxed)),
                ClientEvent::Failed => panic!("the call failed"),
                _ => {}
            }
        }
    }
}
