//! The forwarder that one would write on str0m: RTP mode, one thread, one UDP socket for all peers, ICE-lite, everything else as str0m
//! does it by default (NACK, RTX, reports, transport-wide feedback). Two participants in each room.
//!
//! `bench-str0m [ADDRESS] [--segments]` prints `ready line://ADDRESS` when it listens.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bench_kit::line::{self, Ask, Say};
use bench_kit::socket::{BATCH, Inbox, Outbox, Port};
use rustc_hash::FxHashMap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// The longest sleep: how late a new participant is noticed.
const LONGEST: Duration = Duration::from_millis(5);
/// Batches read before time gets its turn.
const BATCHES: usize = 4;

type Question = (Ask, SyncSender<Say>);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let segments = arguments.iter().any(|argument| argument == "--segments");
    arguments.retain(|argument| argument != "--segments");
    let listener = TcpListener::bind(arguments.first().map_or("127.0.0.1:0", String::as_str))?;
    let mut port = Port::bind("127.0.0.1:0".parse()?)?;
    port.segments = segments;
    let (questions, asked) = sync_channel::<Question>(64);
    std::thread::Builder::new().name("shard-0".to_owned()).spawn(move || Forwarder::new(port, asked).run())?;
    println!("ready line://{}", listener.local_addr()?);
    line::serve(&listener, |ask| {
        let (reply, answer) = sync_channel(1);
        let gone = || Say::Error("the forwarder is gone".to_owned());
        if questions.send((ask, reply)).is_err() {
            return gone();
        }
        answer.recv().unwrap_or_else(|_| gone())
    })?;
    Ok(())
}

struct Peer {
    rtc: Rtc,
    /// Its room and its number there.
    place: (u64, u64),
    mids: HashMap<bool, Mid>,
    due: Option<Instant>,
}

struct Forwarder {
    port: Port,
    asked: Receiver<Question>,
    peers: Vec<Option<Peer>>,
    places: HashMap<(u64, u64), usize>,
    addresses: FxHashMap<SocketAddr, usize>,
    due: BTreeSet<(Instant, usize)>,
    outbox: Outbox,
}

impl Forwarder {
    fn new(port: Port, asked: Receiver<Question>) -> Self {
        Self {
            port,
            asked,
            peers: Vec::new(),
            places: HashMap::new(),
            addresses: FxHashMap::default(),
            due: BTreeSet::new(),
            outbox: Outbox::default(),
        }
    }

    fn run(&mut self) {
        let mut inbox = Inbox::default();
        let mut datagrams: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        loop {
            let now = Instant::now();
            let left = self.due.first().map_or(LONGEST, |(at, _)| at.saturating_duration_since(now).min(LONGEST));
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            // An interrupted wait is a short one.
            let _ = poll(&mut [PollFd::new(&self.port, PollFlags::IN)], Some(&timeout));
            while let Ok((ask, reply)) = self.asked.try_recv() {
                let say = self.handle_ask(ask).unwrap_or_else(|error| Say::Error(error.to_string()));
                // The asker may have gone.
                let _ = reply.send(say);
            }
            for _ in 0..BATCHES {
                let mut used = 0;
                let count = self.port.receive(&mut inbox, |got| {
                    if datagrams.len() <= used {
                        datagrams.push((got.from, Vec::with_capacity(2048)));
                    }
                    let (from, bytes) = &mut datagrams[used];
                    *from = got.from;
                    bytes.clear();
                    bytes.extend_from_slice(got.bytes);
                    used += 1;
                });
                let now = Instant::now();
                for (from, bytes) in &datagrams[..used] {
                    self.handle_datagram(now, *from, bytes);
                }
                self.port.send(&mut self.outbox);
                if count < BATCH {
                    break;
                }
            }
            let now = Instant::now();
            while let Some((_, index)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
                self.input(index, now, Input::Timeout(now));
            }
            self.port.send(&mut self.outbox);
        }
    }

    fn handle_ask(&mut self, ask: Ask) -> Result<Say, Box<dyn Error>> {
        match ask {
            Ask::Offer { room, peer, sdp } => {
                let now = Instant::now();
                let mut rtc = Rtc::builder().set_rtp_mode(true).set_ice_lite(true).build(now);
                rtc.add_local_candidate(Candidate::host(self.port.local(), "udp")?);
                let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(&sdp)?)?;
                let index = self.peers.len();
                self.peers.push(Some(Peer { rtc, place: (room, peer), mids: HashMap::new(), due: None }));
                self.places.insert((room, peer), index);
                self.drain(index, now);
                Ok(Say::Answer(answer.to_sdp_string()))
            }
            Ask::Leave { room, peer } => {
                if let Some(index) = self.places.remove(&(room, peer)) {
                    if let Some(at) = self.peers[index].take().and_then(|peer| peer.due) {
                        self.due.remove(&(at, index));
                    }
                    self.addresses.retain(|_, owner| *owner != index);
                }
                Ok(Say::Ok)
            }
        }
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.port.local(), bytes) else { return };
        let input = Input::Receive(now, receive);
        let known = self.addresses.get(&from).copied();
        let accepts = |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| peer.rtc.accepts(&input));
        let Some(index) = known.or_else(|| self.peers.iter().position(accepts)) else { return };
        if known.is_none() {
            self.addresses.insert(from, index);
        }
        self.input(index, now, input);
    }

    fn input(&mut self, index: usize, now: Instant, input: Input<'_>) {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return };
        // A peer that fails is left to itself: the generator sees its loss.
        let _ = peer.rtc.handle_input(input);
        self.drain(index, now);
    }

    /// Everything that a peer has to say, to the network and to the other one of its room.
    fn drain(&mut self, index: usize, now: Instant) {
        let mut changed = vec![index];
        while let Some(index) = changed.pop() {
            loop {
                let Some(Some(peer)) = self.peers.get_mut(index) else { break };
                match peer.rtc.poll_output() {
                    Ok(Output::Transmit(transmit)) => self.outbox.push(transmit.destination, None, &transmit.contents),
                    Ok(Output::Timeout(at)) => {
                        if peer.due != Some(at) {
                            if let Some(before) = peer.due.replace(at) {
                                self.due.remove(&(before, index));
                            }
                            self.due.insert((at, index));
                        }
                        break;
                    }
                    Ok(Output::Event(event)) => {
                        if let Some(other) = self.handle_event(index, now, event)
                            && !changed.contains(&other)
                        {
                            changed.push(other);
                        }
                    }
                    Err(_) => {
                        if let Some(at) = peer.due.take() {
                            self.due.remove(&(at, index));
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Hands media and keyframe requests to the other one, who then has something to say.
    fn handle_event(&mut self, index: usize, now: Instant, event: Event) -> Option<usize> {
        let peer = self.peers.get_mut(index)?.as_mut()?;
        let other = *self.places.get(&(peer.place.0, peer.place.1 ^ 1))?;
        match event {
            Event::MediaAdded(media) => {
                peer.mids.insert(media.kind == MediaKind::Video, media.mid);
                None
            }
            Event::RtpPacket(packet) => {
                let mid = peer.rtc.direct_api().stream_rx(&packet.header.ssrc)?.mid();
                let is_video = peer.mids.get(&true) == Some(&mid);
                self.forward(other, is_video, now, packet)?;
                Some(other)
            }
            Event::KeyframeRequest(_) => {
                let peer = self.peers.get_mut(other)?.as_mut()?;
                let mid = *peer.mids.get(&true)?;
                let mut api = peer.rtc.direct_api();
                api.stream_rx_by_mid(mid, None)?.request_keyframe(KeyframeRequestKind::Pli);
                Some(other)
            }
            _ => None,
        }
    }

    fn forward(&mut self, other: usize, is_video: bool, now: Instant, packet: RtpPacket) -> Option<()> {
        let peer = self.peers.get_mut(other)?.as_mut()?;
        let mid = *peer.mids.get(&is_video)?;
        let header = packet.header;
        let write = RtpWrite::new(header.payload_type, packet.seq_no, header.timestamp, now, packet.payload)
            .marker(header.marker)
            .ext_vals(header.ext_vals)
            .nackable(is_video);
        peer.rtc.direct_api().stream_tx_by_mid(mid, None)?.write_rtp(write);
        Some(())
    }
}
