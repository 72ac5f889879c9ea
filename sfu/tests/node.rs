//! The node as its neighbours see it: commands in, replies out, junk on the port, and an end in order.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use sfu::{Sfu, SfuConfig};
use tokio_util::sync::CancellationToken;
use wire::control::{Command, Door, Manner, Reason, Reply};
use wire::tap_link::TapExchange;
use wire::{ParticipantId, PeerId, RecordingId, Redacted, RoomId};

fn loopback() -> SfuConfig {
    SfuConfig { media_udp_port: 0, addresses: vec![Ipv4Addr::LOCALHOST.into()], shards: 2, ..SfuConfig::default() }
}

#[tokio::test]
async fn commands_are_answered_and_stopping_is_prompt() {
    let node = Sfu::bind(loopback()).unwrap();
    let ports: Vec<_> = node.announced().iter().map(|addresses| addresses[0]).collect();
    let metrics = node.metrics();
    let (signaling, end) = wire::link::in_process();
    let stop = CancellationToken::new();
    let running = tokio::spawn(node.run(end, TapExchange::default(), stop.clone()));
    let asker = signaling.requester();

    let junk = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in &ports {
        for length in 0..200_u8 {
            junk.send_to(&vec![length; usize::from(length)], port).unwrap();
        }
    }
    for _ in 0..40 {
        let room = RoomId::random();
        assert_eq!(asker.request(Command::OpenRoom { room }).await, Ok(Reply::Done));
        let peer = PeerId::random();
        let add = Command::AddPeer {
            room,
            peer,
            participant: ParticipantId::random(),
            door: Door::Waiting,
            manner: Manner::Native,
        };
        assert_eq!(asker.request(add).await, Ok(Reply::Done));
        let offer = Command::Offer { room, peer, sdp: Redacted::new("no sdp".to_owned()) };
        assert_eq!(asker.request(offer).await.unwrap_err().reason, Reason::BadOffer);
        let stranger = Command::Admit { room, peer: PeerId::random() };
        assert_eq!(asker.request(stranger).await.unwrap_err().reason, Reason::UnknownPeer);
    }
    let room = RoomId::random();
    let tap = Command::StartTap { room, recording: RecordingId::random(), is_cut: false };
    assert_eq!(asker.request(tap).await.unwrap_err().reason, Reason::UnknownRoom);

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), running).await.expect("stops within two seconds").unwrap().unwrap();
    let refused = asker.request(Command::OpenRoom { room }).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unavailable);
    assert!(metrics.render().contains("sfu_rooms"));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = Sfu::bind(SfuConfig { shards: 1, ..loopback() }).unwrap();
    let taken = first.announced()[0][0].port();
    let error = Sfu::bind(SfuConfig { media_udp_port: taken, shards: 1, ..loopback() }).unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
