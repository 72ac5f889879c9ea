//! What one Room's failure means for the others.

use wire::control::{Door, Manner};
use wire::{ParticipantId, PeerId};

use super::*;

struct Bench {
    engine: Engine,
    now: Instant,
    outputs: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let addresses = vec!["192.0.2.1:5000".parse().unwrap()];
        let config = EngineConfig {
            addresses,
            tcp_addresses: Vec::new(),
            shard: 0,
            limits: Limits::default(),
            seed: [1; 32],
            epoch: (now, NodeMicros(0)),
        };
        Self { engine: Engine::new(config).unwrap(), now, outputs: Vec::new() }
    }

    fn input(&mut self, input: Input<'_>) -> Option<Instant> {
        self.engine.handle_input(self.now, input);
        loop {
            match self.engine.poll_output() {
                Output::Wait(until) => return until,
                output => self.outputs.push(output),
            }
        }
    }

    fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.input(Input::Command { ticket: 7, command });
        let at = self.outputs.iter().position(|output| matches!(output, Output::Reply { .. })).unwrap();
        let Output::Reply { ticket: 7, result } = self.outputs.remove(at) else { unreachable!("the only ticket") };
        result
    }

    fn room(&mut self, room: RoomId) -> &mut Room {
        let place = self.engine.find_place(room).unwrap();
        &mut self.engine.rooms[place]
    }

    fn open(&mut self) -> RoomId {
        let room = RoomId::random();
        self.command(Command::OpenRoom { room }).unwrap();
        let (peer, participant) = (PeerId::random(), ParticipantId::random());
        self.command(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner: Manner::Native })
            .unwrap();
        self.command(Command::SetConsent { room, participant, consented: true }).unwrap();
        room
    }
}

#[test]
fn a_panic_inside_one_room_ends_that_room_alone() {
    let mut bench = Bench::new();
    let (bad, good) = (bench.open(), bench.open());
    let recording = RecordingId::random();
    bench.command(Command::StartTap { room: bad, recording, is_cut: false }).unwrap();
    bench.outputs.clear();
    bench.room(bad).explodes = true;
    bench.now += Duration::from_secs(1);
    let wait = bench.input(Input::Timeout);
    assert!(wait.is_some(), "the other room still has work");
    let events: Vec<_> = bench
        .outputs
        .iter()
        .filter_map(|o| if let Output::Event(event) = o { Some(event.clone()) } else { None })
        .collect();
    let ended = Event::TapEnded { room: bad, recording, reason: TapEnd::RoomClosed };
    assert_eq!(events, [ended, Event::RoomFailed { room: bad }]);
    let counters = *bench.engine.counters();
    assert_eq!((counters.room_panics, counters.rooms, counters.peers, counters.taps), (1, 1, 1, 0));
    let (peer, participant) = (PeerId::random(), ParticipantId::random());
    let add = |room| Command::AddPeer { room, peer, participant, door: Door::Waiting, manner: Manner::Native };
    assert_eq!(bench.command(add(bad)).unwrap_err().reason, Reason::UnknownRoom);
    assert_eq!(bench.command(add(good)), Ok(Reply::Done));
    // Its people come back into a new Room of the same name.
    bench.command(Command::OpenRoom { room: bad }).unwrap();
    assert_eq!(bench.command(add(bad)), Ok(Reply::Done));
}

#[test]
fn a_command_that_fails_inside_is_still_answered() {
    let mut bench = Bench::new();
    let room = bench.open();
    bench.room(room).explodes_at_commands = true;
    let peer = PeerId::random();
    let refusal = bench.command(Command::Admit { room, peer }).unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert!(bench.outputs.iter().any(|o| matches!(o, Output::Event(Event::RoomFailed { .. }))));
}

#[test]
fn commands_about_nothing_are_refused_or_without_effect() {
    let mut bench = Bench::new();
    let (room, peer) = (RoomId::random(), PeerId::random());
    assert_eq!(bench.command(Command::CloseRoom { room }), Ok(Reply::Done));
    assert_eq!(bench.command(Command::Remove { room, peer }), Ok(Reply::Done));
    assert_eq!(bench.command(Command::Admit { room, peer }).unwrap_err().reason, Reason::UnknownRoom);
    assert_eq!(bench.input(Input::Timeout), None, "nothing to wait for");
    let room = bench.open();
    assert_eq!(bench.command(Command::Admit { room, peer }).unwrap_err().reason, Reason::UnknownPeer);
    assert_eq!(bench.command(Command::Remove { room, peer }), Ok(Reply::Done));
}

#[test]
fn a_room_holds_so_many_peers_and_no_more() {
    let mut bench = Bench::new();
    let room = bench.open();
    let results: Vec<_> = (0..wire::control::MAX_PEERS_PER_ROOM)
        .map(|_| {
            let (peer, participant) = (PeerId::random(), ParticipantId::random());
            bench.command(Command::AddPeer { room, peer, participant, door: Door::Waiting, manner: Manner::Native })
        })
        .collect();
    let (last, rest) = results.split_last().unwrap();
    assert!(rest.iter().all(Result::is_ok));
    assert_eq!(last.as_ref().unwrap_err().reason, Reason::Capacity);
    assert_eq!(bench.engine.counters().refused_by_limit, 1);
}
