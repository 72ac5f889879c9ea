//! The media node alone, behind the line protocol: everybody who offers is admitted at once. For comparisons and for groups.
//!
//! `bench-node [ADDRESS]` prints `ready line://ADDRESS` when it listens.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use bench_kit::line::{self, Ask, Say};
use sfu::{Sfu, SfuConfig};
use tokio_util::sync::CancellationToken;
use wire::control::{Command, Door, Manner, Reply};
use wire::link::Requester;
use wire::tap_link::TapExchange;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (signaling, end) = wire::link::in_process();
    let requester = signaling.requester();
    let config = SfuConfig {
        media_udp_port: 0,
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()],
        announce_loopback: true,
        ..SfuConfig::default()
    };
    let sfu = Sfu::bind(config)?;
    runtime.spawn(sfu.run(end, TapExchange::default(), CancellationToken::new()));
    runtime.spawn(async move {
        let mut signaling = signaling;
        // Nobody is told; but events that nobody takes would hold commands up.
        while signaling.next_event().await.is_some() {}
    });
    writeln!(std::io::stdout(), "ready line://{}", listener.local_addr()?)?;
    let mut rooms = Rooms { requester, rooms: HashMap::new(), peers: HashMap::new() };
    line::serve(&listener, |ask| runtime.block_on(rooms.handle(ask)))?;
    Ok(())
}

struct Rooms {
    requester: Requester,
    rooms: HashMap<u64, (RoomId, usize)>,
    peers: HashMap<(u64, u64), (RoomId, PeerId)>,
}

impl Rooms {
    async fn handle(&mut self, ask: Ask) -> Say {
        let result = match ask {
            Ask::Offer { room, peer, sdp } => self.offer(room, peer, sdp).await,
            Ask::Leave { room, peer } => self.leave(room, peer).await,
        };
        result.unwrap_or_else(Say::Error)
    }

    async fn offer(&mut self, number: u64, peer: u64, sdp: String) -> Result<Say, String> {
        let (room, seat) = match self.peers.get(&(number, peer)) {
            Some(known) => *known,
            None => self.seat(number, peer).await?,
        };
        match self.ask(Command::Offer { room, peer: seat, sdp: Redacted::new(sdp) }).await? {
            Reply::Answer { sdp, .. } => Ok(Say::Answer(sdp.reveal().clone())),
            Reply::Done | Reply::Tap { .. } => Err("no answer".to_owned()),
        }
    }

    async fn seat(&mut self, number: u64, peer: u64) -> Result<(RoomId, PeerId), String> {
        let room = match self.rooms.get(&number) {
            Some((room, _)) => *room,
            None => {
                let room = RoomId::random();
                self.ask(Command::OpenRoom { room }).await?;
                self.rooms.insert(number, (room, 0));
                room
            }
        };
        let seat = PeerId::random();
        let participant = ParticipantId::random();
        self.ask(Command::AddPeer { room, peer: seat, participant, door: Door::Admitted, manner: Manner::Native })
            .await?;
        self.peers.insert((number, peer), (room, seat));
        if let Some((_, people)) = self.rooms.get_mut(&number) {
            *people += 1;
        }
        Ok((room, seat))
    }

    async fn leave(&mut self, number: u64, peer: u64) -> Result<Say, String> {
        let Some((room, seat)) = self.peers.remove(&(number, peer)) else { return Ok(Say::Ok) };
        self.ask(Command::Remove { room, peer: seat }).await?;
        let Some((_, people)) = self.rooms.get_mut(&number) else { return Ok(Say::Ok) };
        *people -= 1;
        if *people == 0 {
            self.rooms.remove(&number);
            self.ask(Command::CloseRoom { room }).await?;
        }
        Ok(Say::Ok)
    }

    async fn ask(&self, command: Command) -> Result<Reply, String> {
        self.requester.request(command).await.map_err(|refusal| refusal.to_string())
    }
}
