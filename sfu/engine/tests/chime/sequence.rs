//! Sequences of offers on one connection and over reconnections.

use std::time::{Duration, Instant};

use engine::{Engine, EngineConfig, Input, Limits, Output};
use proptest::prelude::*;
use wire::control::{Command, Door, Manner, Refusal, Reply, SendingLine};
use wire::tap::NodeMicros;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

use crate::offer::{CAMERA_AND_REMOTE, Camera, Client, FIRST, REMOTE_STOPPED, SIMULCAST};
use crate::rules::{Memory, check};

struct Bench {
    engine: Engine,
    now: Instant,
    room: RoomId,
    participant: ParticipantId,
}

impl Bench {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let config = EngineConfig {
            addresses: vec!["192.0.2.1:5000".parse().unwrap()],
            tcp_addresses: vec!["192.0.2.1:5000".parse().unwrap()],
            shard: 0,
            // A sequence takes less time than the handshake may, which never comes here.
            limits: Limits { offers: 100_000, ..Limits::default() },
            seed: [3; 32],
            epoch: (now, NodeMicros(0)),
        };
        let (room, participant) = (RoomId::random(), ParticipantId::random());
        let mut bench = Self { engine: Engine::new(config).unwrap(), now, room, participant };
        bench.command(Command::OpenRoom { room }).unwrap();
        bench
    }

    fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.now += Duration::from_millis(20);
        self.engine.handle_input(self.now, Input::Command { ticket: 1, command });
        let mut result = None;
        loop {
            match self.engine.poll_output() {
                Output::Wait(_) => return result.expect("each command is answered"),
                Output::Reply { result: found, .. } => result = Some(found),
                _ => {}
            }
        }
    }

    fn connect(&mut self, manner: Manner) -> PeerId {
        let (room, participant, peer) = (self.room, self.participant, PeerId::random());
        self.command(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner }).unwrap();
        peer
    }

    fn offer(&mut self, peer: PeerId, text: &str) -> (String, Vec<SendingLine>) {
        let sdp = Redacted::new(text.to_owned());
        let reply = self.command(Command::Offer { room: self.room, peer, sdp }).unwrap();
        let Reply::Answer { sdp, sending } = reply else { panic!("an offer is answered by an answer") };
        (sdp.into_revealed(), sending)
    }
}

#[test]
fn the_captured_offers_are_answered_by_the_rules() {
    let mut bench = Bench::new();
    let peer = bench.connect(Manner::Chime);
    let mut memory = Memory::default();
    // The client that was captured had been answered without names of layers, so it offers none later.
    for text in [FIRST, CAMERA_AND_REMOTE, REMOTE_STOPPED, FIRST] {
        let (answer, sending) = bench.offer(peer, text);
        check(&mut memory, text, &answer, &sending);
    }
    let peer = bench.connect(Manner::Chime);
    let (answer, sending) = bench.offer(peer, SIMULCAST);
    check(&mut Memory::default(), SIMULCAST, &answer, &sending);
    assert!(answer.contains("a=simulcast:recv ~low;mid;~hi\r\n"));
}

#[test]
fn an_offer_with_25_videos_and_as_many_stopped_lines_is_read() {
    let mut bench = Bench::new();
    let peer = bench.connect(Manner::Chime);
    let mut client = Client::new();
    client.camera = Camera::Simulcast;
    let mut memory = Memory::default();
    (0..50).for_each(|_| client.add_remote());
    (0..25).for_each(|which| client.stop_remote(which));
    let text = client.offer();
    assert!(text.len() > 200_000, "{}", text.len());
    let (answer, sending) = bench.offer(peer, &text);
    check(&mut memory, &text, &answer, &sending);
    assert_eq!(sending.len(), 27, "voices, the camera's own line, and 25 videos");
}

#[test]
fn assigning_is_for_clients_that_ask_for_it_and_has_a_bound() {
    let mut bench = Bench::new();
    let (room, native) = (bench.room, bench.connect(Manner::Native));
    assert!(bench.command(Command::Assign { room, peer: native, lines: Vec::new() }).is_err());
    let peer = bench.connect(Manner::Chime);
    assert_eq!(bench.command(Command::Assign { room, peer, lines: Vec::new() }), Ok(Reply::Done));
    let line =
        wire::control::Assignment { mid: "2".to_owned(), track: None, at_most: None, target_kbits: None, priority: 0 };
    let many = vec![line; wire::control::MAX_ASSIGNMENTS + 1];
    assert!(bench.command(Command::Assign { room, peer, lines: many }).is_err());
    let peer = PeerId::random();
    assert!(bench.command(Command::Assign { room, peer, lines: Vec::new() }).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Camera(bool),
    RemoteAdded,
    RemoteRemoved(usize),
    Again,
    /// Content is shared for a while, by a connection of its own.
    Share,
    /// A new connection, perhaps with simulcast, and with the camera and all videos from the start.
    Reconnect(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Camera),
        4 => Just(Step::RemoteAdded),
        3 => (0usize..8).prop_map(Step::RemoteRemoved),
        1 => Just(Step::Again),
        1 => Just(Step::Share),
        1 => any::<bool>().prop_map(Step::Reconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_answer_of_every_sequence_obeys_the_rules(
        has_layers in any::<bool>(),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let mut bench = Bench::new();
        let mut on = if has_layers { Camera::Simulcast } else { Camera::One };
        let mut peer = bench.connect(Manner::Chime);
        let (mut client, mut memory) = (Client::new(), Memory::default());
        for step in std::iter::once(Step::Again).chain(steps) {
            match step {
                Step::Camera(is_on) => client.camera = if is_on { on } else { Camera::Off },
                Step::RemoteAdded => client.add_remote(),
                Step::RemoteRemoved(which) => client.stop_remote(which),
                Step::Again => {}
                Step::Share => {
                    let share = bench.connect(Manner::ChimeShare);
                    let mut content = Client::new();
                    content.camera = on;
                    let text = content.offer();
                    let (answer, sending) = bench.offer(share, &text);
                    check(&mut Memory::default(), &text, &answer, &sending);
                }
                Step::Reconnect(layers) => {
                    on = if layers { Camera::Simulcast } else { Camera::One };
                    peer = bench.connect(Manner::Chime);
                    (client, memory) = (Client::new(), Memory::default());
                    client.camera = on;
                }
            }
            let text = client.offer();
            let (answer, sending) = bench.offer(peer, &text);
            check(&mut memory, &text, &answer, &sending);
            client.note_answer(&answer);
            if client.camera == Camera::Simulcast {
                assert!(text.contains("sdes:rtp-stream-id") && text.contains("sdes:repaired-rtp-stream-id"));
            }
        }
    }
}
