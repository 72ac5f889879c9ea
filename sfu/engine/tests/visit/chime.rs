//! Peers in the Chime manner: all voices on one line, each picture where signaling assigned it, shares beside their person.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use load::client::ClientConfig;
use proptest::prelude::*;
use wire::control::{Assignment, Command, Door, Event, Level, Manner, PublishedTrack, Rights, Source, View};
use wire::{ParticipantId, TrackId};

use crate::world::{Link, World};

const SECOND: Duration = Duration::from_secs(1);

/// Microphone, camera, and so many lines for others.
fn client(videos: usize) -> ClientConfig {
    ClientConfig { extra_video: videos, ..ClientConfig::default() }
}

fn attend(world: &mut World, door: Door) -> usize {
    world.join_as(Manner::Chime, ParticipantId::random(), door, client(2))
}

/// Two who were admitted and connected, the camera of the second assigned to a line of the first; and which Track that is.
fn one_sees_the_other(seed: u8) -> (World, Option<TrackId>) {
    let mut world = World::new(seed);
    attend(&mut world, Door::Admitted);
    attend(&mut world, Door::Admitted);
    world.connect();
    world.run(SECOND);
    let face = track(&world, 1, Source::Camera);
    assign(&mut world, 0, vec![line("2", face)]);
    (world, face)
}

fn share(world: &mut World, of: usize) -> usize {
    let participant = world.seats[of].participant;
    world.join_as(Manner::ChimeShare, participant, Door::Admitted, client(0))
}

/// What signaling was told last.
fn published(world: &World) -> Vec<PublishedTrack> {
    let told = world.events.iter().rev().find_map(|event| match event {
        Event::Published { tracks, .. } => Some(tracks.clone()),
        _ => None,
    });
    told.unwrap_or_default()
}

fn track(world: &World, seat: usize, source: Source) -> Option<TrackId> {
    let who = world.seats[seat].participant;
    published(world).iter().find(|told| told.participant == who && told.source == source).map(|told| told.track)
}

fn line(mid: &str, track: Option<TrackId>) -> Assignment {
    Assignment { mid: mid.to_owned(), track, at_most: None, target_kbits: None, priority: 0 }
}

fn assign(world: &mut World, seat: usize, lines: Vec<Assignment>) {
    let (room, peer) = (world.room, world.seats[seat].peer);
    world.command(Command::Assign { room, peer, lines }).unwrap();
}

fn set_rights(world: &mut World, seat: usize, rights: Rights) {
    let (room, participant) = (world.room, world.seats[seat].participant);
    world.command(Command::SetRights { room, participant, rights }).unwrap();
}

/// Packets on each of these lines of a seat during the next second, and the seats that sent them.
fn listen(world: &mut World, seat: usize, mids: &[&str]) -> Vec<(usize, Vec<u8>)> {
    let before = world.seats[seat].received.len();
    world.run(SECOND);
    let of = |mid: &&str| {
        let new = world.seats[seat].received[before..].iter().filter(|packet| *packet.mid == **mid);
        let new: Vec<_> = new.collect();
        let mut senders: Vec<u8> = new.iter().filter_map(|packet| packet.payload.last().copied()).collect();
        senders.sort_unstable();
        senders.dedup();
        (new.len(), senders)
    };
    mids.iter().map(of).collect()
}

fn is_flowing(heard: &(usize, Vec<u8>), from: usize) -> bool {
    heard.0 > 20 && heard.1 == [u8::try_from(from).unwrap()]
}

fn is_unbroken(world: &World, seat: usize, mid: &str) -> bool {
    let packets = world.seats[seat].packets(mid);
    let (Some(first), Some(last)) = (packets.keys().next(), packets.keys().next_back()) else { return true };
    usize::try_from(last - first).unwrap() + 1 == packets.len()
        && packets.values().map(|packet| packet.timestamp).is_sorted_by(|a, b| b.wrapping_sub(*a) < 1 << 31)
}

#[test]
fn two_hear_each_other_as_it_came_and_see_what_is_assigned() {
    let mut world = World::new(1);
    attend(&mut world, Door::Admitted);
    attend(&mut world, Door::Admitted);
    world.connect();
    for (seat, other) in [(0, 1), (1, 0)] {
        let heard = listen(&mut world, seat, &["0", "1", "2", "3"]);
        assert!(is_flowing(&heard[0], other), "{heard:?}");
        assert!(heard[1..].iter().all(|line| line.0 == 0), "no picture comes unasked: {heard:?}");
    }
    let face = track(&world, 1, Source::Camera);
    assert!(face.is_some());
    assign(&mut world, 0, vec![line("3", face)]);
    let heard = listen(&mut world, 0, &["0", "1", "2", "3"]);
    assert!(is_flowing(&heard[0], 1) && heard[3].0 > 20, "{heard:?}");
    assert!(world.seats[0].whole_frames("3") > 20, "it begins with a whole picture");
    assert_eq!((heard[1].0, heard[2].0), (0, 0));
    // On another line it goes on there; on none, nowhere.
    assign(&mut world, 0, vec![line("2", face), line("3", None)]);
    let heard = listen(&mut world, 0, &["2", "3"]);
    assert!(heard[0].0 > 20 && heard[1].0 == 0, "{heard:?}");
    assign(&mut world, 0, Vec::new());
    let heard = listen(&mut world, 0, &["0", "2", "3"]);
    assert!(is_flowing(&heard[0], 1) && heard[1].0 == 0 && heard[2].0 == 0, "{heard:?}");
    // One's own picture, and nobody's, are nothing. Of one track on two lines the first counts.
    let own = track(&world, 0, Source::Camera);
    assign(&mut world, 0, vec![line("2", own), line("3", Some(TrackId::random()))]);
    assert_eq!(listen(&mut world, 0, &["2", "3"]).iter().map(|line| line.0).sum::<usize>(), 0);
    assign(&mut world, 0, vec![line("3", face), line("2", face)]);
    let heard = listen(&mut world, 0, &["2", "3"]);
    assert_eq!(heard.iter().filter(|line| line.0 > 20).count(), 1, "{heard:?}");
    for mid in ["0", "2", "3"] {
        assert!(is_unbroken(&world, 0, mid), "{mid}");
    }
    let wanted = world.events.iter().any(|event| matches!(event, Event::SlotsWanted { .. }));
    assert!(!wanted, "this client knows by itself how many lines it needs");
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

/// The offer of a client whose camera is off: the line stays.
fn without_camera(seat: usize, offer: String) -> String {
    if seat != 1 {
        return offer;
    }
    let (before, camera) = offer.split_once("a=mid:1\r\n").unwrap();
    format!("{before}a=mid:1\r\n{}", camera.replacen("a=sendrecv", "a=inactive", 1))
}

#[test]
fn a_camera_goes_off_and_on_five_times_and_is_the_same_each_time() {
    let (mut world, face) = one_sees_the_other(12);
    let first = world.negotiate(1);
    let fixed = |answer: &str| -> Vec<String> {
        let is_fixed = |line: &&str| line.starts_with("a=ice-") || line.starts_with("a=fingerprint");
        answer.lines().filter(is_fixed).map(str::to_owned).collect()
    };
    for _ in 0..5 {
        world.edit_offer = without_camera;
        let off = world.negotiate(1);
        assert_eq!((fixed(&off), track(&world, 1, Source::Camera)), (fixed(&first), None));
        let heard = listen(&mut world, 0, &["0", "2"]);
        assert!(is_flowing(&heard[0], 1) && heard[1].0 == 0, "{heard:?}");
        world.edit_offer = |_, offer| offer;
        let on = world.negotiate(1);
        let same = |answer: &str| answer.lines().filter(|line| !line.starts_with("o=")).collect::<String>();
        assert_eq!((same(&on), track(&world, 1, Source::Camera)), (same(&first), face));
        let heard = listen(&mut world, 0, &["0", "2"]);
        assert!(is_flowing(&heard[0], 1) && heard[1].0 > 20, "{heard:?}");
    }
    assert!(is_unbroken(&world, 0, "2") && is_unbroken(&world, 0, "0"));
    let connected = world.events.iter().filter(|event| matches!(event, Event::PeerConnected { .. })).count();
    assert_eq!(connected, 2, "nobody connected again");
}

#[test]
fn who_waits_gets_nothing_and_is_not_told_of() {
    let mut world = World::new(2);
    attend(&mut world, Door::Admitted);
    attend(&mut world, Door::Waiting);
    world.connect();
    world.run(SECOND);
    assert!(published(&world).iter().all(|told| told.participant == world.seats[0].participant));
    let face = track(&world, 0, Source::Camera);
    // Assigned before the door opens: it holds from then on.
    assign(&mut world, 1, vec![line("2", face)]);
    world.run(SECOND);
    assert!(world.seats.iter().all(|seat| seat.received.is_empty()));
    world.admit(1).unwrap();
    let heard = listen(&mut world, 1, &["0", "2"]);
    assert!(is_flowing(&heard[0], 0) && heard[1].0 > 20, "{heard:?}");
    let back = track(&world, 1, Source::Camera);
    assign(&mut world, 0, vec![line("2", back)]);
    assert!(listen(&mut world, 0, &["2"])[0].0 > 20);
    // Out and in again: the assignment is still there.
    world.send_back(1).unwrap();
    assert_eq!(track(&world, 1, Source::Camera), None);
    world.run(SECOND / 10);
    let heard = (listen(&mut world, 0, &["0", "2"]), listen(&mut world, 1, &["0", "2"]));
    assert!(heard.0.iter().chain(&heard.1).all(|line| line.0 == 0), "{heard:?}");
    world.admit(1).unwrap();
    let heard = (listen(&mut world, 0, &["0", "2"]), listen(&mut world, 1, &["0", "2"]));
    assert!(heard.0.iter().chain(&heard.1).all(|line| line.0 > 20), "{heard:?}");
    assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
}

#[test]
fn when_all_others_but_one_left_the_voice_goes_on_by_itself() {
    let mut world = World::new(3);
    for _ in 0..3 {
        attend(&mut world, Door::Admitted);
    }
    world.connect();
    world.run(SECOND);
    let seen: Vec<_> = [1, 2].iter().map(|seat| track(&world, *seat, Source::Camera)).collect();
    assign(&mut world, 0, vec![line("2", seen[0]), line("3", seen[1])]);
    let heard = listen(&mut world, 0, &["2", "3"]);
    assert!(heard.iter().all(|line| line.0 > 20), "{heard:?}");
    world.remove(2);
    world.run(SECOND / 10);
    let heard = listen(&mut world, 0, &["0", "2", "3"]);
    assert!(is_flowing(&heard[0], 1) && heard[1].0 > 20 && heard[2].0 == 0, "{heard:?}");
    let heard = listen(&mut world, 1, &["0"]);
    assert!(is_flowing(&heard[0], 0), "{heard:?}");
    world.remove(1);
    world.run(SECOND / 10);
    assert!(listen(&mut world, 0, &["0", "2", "3"]).iter().all(|line| line.0 == 0), "alone it is quiet");
    assert!(is_unbroken(&world, 0, "0"));
}

#[test]
fn a_share_lives_beside_its_person_who_is_never_sent_it() {
    let mut world = World::new(4);
    attend(&mut world, Door::Admitted);
    let native = ClientConfig { extra_video: 1, extra_audio: 1, ..ClientConfig::default() };
    world.join(ParticipantId::random(), Door::Admitted, native);
    world.connect();
    world.run(SECOND);
    let content = share(&mut world, 0);
    world.connect();
    world.run(SECOND);
    let (screen, sound) = (track(&world, 0, Source::Screen), track(&world, 0, Source::ScreenSound));
    assert!(screen.is_some() && sound.is_some() && track(&world, 0, Source::Camera).is_some(), "both connections live");
    // To a native client it is that person's screen, in a slot as ever.
    let carried = world.events.iter().any(|event| {
        let Event::SlotChanged { peer, carries: Some(carries), .. } = event else { return false };
        *peer == world.seats[1].peer && carries.source == Source::Screen && Some(carries.track) == screen
    });
    assert!(carried);
    let heard = listen(&mut world, 1, &["0", "1", "2", "3"]);
    assert!(heard.iter().all(|line| line.0 > 20), "voice, face, screen and its sound: {heard:?}");
    // The one who shares hears the other alone, and does not see the own screen even when asked to.
    assign(&mut world, 0, vec![line("2", screen)]);
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(is_flowing(&heard[0], 1) && heard[1].0 == 0, "{heard:?}");
    let heard = listen(&mut world, content, &["0", "1"]);
    assert!(heard.iter().all(|line| line.0 == 0), "what shares receives nothing: {heard:?}");
    world.remove(content);
    assert_eq!(track(&world, 0, Source::Screen), None);
    let heard = (listen(&mut world, 0, &["0"]), listen(&mut world, 1, &["0", "1"]));
    assert!(heard.0.iter().chain(&heard.1).all(|line| line.0 > 20), "{heard:?}");
}

#[test]
fn a_second_share_takes_the_place_of_the_first_and_of_nothing_else() {
    let mut world = World::new(5);
    attend(&mut world, Door::Admitted);
    attend(&mut world, Door::Admitted);
    share(&mut world, 0);
    world.connect();
    world.run(SECOND);
    let first = track(&world, 0, Source::Screen);
    share(&mut world, 0);
    world.run(2 * SECOND);
    let second = track(&world, 0, Source::Screen);
    assert!(second.is_some() && second != first);
    assert_eq!(published(&world).iter().filter(|told| told.source == Source::Screen).count(), 1);
    assert!(track(&world, 0, Source::Microphone).is_some());
    assign(&mut world, 1, vec![line("2", second)]);
    assert!(listen(&mut world, 1, &["2"])[0].0 > 20);
    // The person comes back by another connection: the share stays.
    let participant = world.seats[0].participant;
    world.join_as(Manner::Chime, participant, Door::Admitted, client(2));
    world.run(2 * SECOND);
    assert_eq!(track(&world, 0, Source::Screen), second);
    assert!(listen(&mut world, 1, &["2"])[0].0 > 20);
}

#[test]
fn rights_hold_for_every_packet_and_for_what_is_told() {
    let (mut world, _) = one_sees_the_other(6);
    assert!(listen(&mut world, 0, &["0", "2"]).iter().all(|line| line.0 > 20));
    let all = Rights::default();
    // No camera: neither sent nor told of. The voice goes on.
    set_rights(&mut world, 1, Rights { sends_video: false, ..all });
    assert_eq!(track(&world, 1, Source::Camera), None);
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(heard[0].0 > 20 && heard[1].0 == 0, "{heard:?}");
    assert!(world.counters().held_by_rights > 10);
    set_rights(&mut world, 1, Rights { sends_audio: false, ..all });
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(heard[0].0 == 0 && heard[1].0 > 20, "what was taken is given back: {heard:?}");
    set_rights(&mut world, 1, all);
    set_rights(&mut world, 0, Rights { receives_video: false, ..all });
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(heard[0].0 > 20 && heard[1].0 == 0, "{heard:?}");
    set_rights(&mut world, 0, Rights { receives_audio: false, ..all });
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(heard[0].0 == 0 && heard[1].0 > 20, "{heard:?}");
    // They belong to the person: a new connection has them, and so has a share.
    set_rights(&mut world, 1, Rights { sends_video: false, sends_content: false, ..all });
    set_rights(&mut world, 0, all);
    let participant = world.seats[1].participant;
    let again = world.join_as(Manner::Chime, participant, Door::Admitted, client(2));
    let content = share(&mut world, 1);
    world.run(2 * SECOND);
    for source in [Source::Camera, Source::Screen, Source::ScreenSound] {
        assert_eq!(track(&world, again, source), None, "{source:?}");
    }
    assert!(track(&world, again, Source::Microphone).is_some());
    assert!(world.seats[content].client.is_connected(), "it is the media that is held, not the connection");
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(is_flowing(&heard[0], again) && heard[1].0 == 0, "{heard:?}");
}

#[test]
fn a_hidden_tile_is_sent_nothing_and_keeps_its_line() {
    let (mut world, _) = one_sees_the_other(7);
    assert!(listen(&mut world, 0, &["2"])[0].0 > 20);
    let (room, peer) = (world.room, world.seats[0].peer);
    let view = |view| Command::View { room, peer, mid: "2".to_owned(), view };
    world.command(view(View::Hidden)).unwrap();
    world.run(SECOND / 2);
    let heard = listen(&mut world, 0, &["0", "2"]);
    assert!(heard[0].0 > 20 && heard[1].0 == 0, "{heard:?}");
    world.command(view(View::Full)).unwrap();
    assert!(listen(&mut world, 0, &["2"])[0].0 > 20);
    assert!(is_unbroken(&world, 0, "2"));
}

#[test]
fn a_target_is_what_the_publisher_is_told() {
    let (mut world, face) = one_sees_the_other(11);
    world.run(5 * SECOND);
    assert!(world.seats[1].making > 500_000, "{}", world.seats[1].making);
    assign(&mut world, 0, vec![Assignment { target_kbits: Some(200), ..line("2", face) }]);
    world.run(5 * SECOND);
    assert!(world.seats[1].making < 220_000, "{}", world.seats[1].making);
    assign(&mut world, 0, vec![line("2", face)]);
    world.run(10 * SECOND);
    assert!(world.seats[1].making > 500_000, "{}", world.seats[1].making);
}

#[test]
fn on_a_narrow_way_the_line_with_the_higher_priority_is_served() {
    for (first, second) in [("2", "3"), ("3", "2")] {
        let mut world = World::new(8);
        for _ in 0..3 {
            attend(&mut world, Door::Admitted);
        }
        world.seats[0].down = Link::kbits(450, 200);
        world.delay = Duration::from_millis(20);
        for seat in 1..3 {
            world.seats[seat].encoder = None;
            world.seats[seat].frames = (4000, 1200);
        }
        world.connect();
        world.run(SECOND);
        let faces: Vec<_> = [1, 2].iter().map(|seat| track(&world, *seat, Source::Camera)).collect();
        let ranked = |mid: &str, track, priority| Assignment { priority, ..line(mid, track) };
        let priority = |mid: &str| if mid == first { u32::MAX } else { u32::MAX - 1 };
        assign(&mut world, 0, vec![ranked("2", faces[0], priority("2")), ranked("3", faces[1], priority("3"))]);
        // They see one another, so that neither shrinks for the poor one alone.
        assign(&mut world, 1, vec![line("2", faces[1])]);
        assign(&mut world, 2, vec![line("2", faces[0])]);
        world.run(20 * SECOND);
        let mut counts = [0, 0];
        for _ in 0..5 {
            let heard = listen(&mut world, 0, &[first, second]);
            counts[0] += heard[0].0;
            counts[1] += heard[1].0;
        }
        assert!(counts[0] > 60 && counts[1] < counts[0] / 4, "first {first}: {counts:?}");
    }
}

#[test]
fn who_publishes_and_who_is_heard_is_told_where_somebody_needs_it() {
    let mut world = World::two_party(9);
    world.connect();
    world.run(2 * SECOND);
    let is_told = |event: &Event| matches!(event, Event::Published { .. } | Event::Levels { .. });
    assert!(!world.events.iter().any(is_told), "not among native clients");
    attend(&mut world, Door::Admitted);
    world.connect();
    world.run(SECOND);
    world.events.clear();
    world.run(12 * SECOND);
    let (mut rates, mut levels) = (Vec::new(), Vec::new());
    for event in &world.events {
        match event {
            Event::Published { tracks, .. } => rates.push(tracks.clone()),
            Event::Levels { levels: told, .. } => levels.push(told.clone()),
            _ => {}
        }
    }
    assert_eq!(rates.len(), 3, "every four seconds");
    let camera = rates[2].iter().find(|told| told.source == Source::Camera).unwrap();
    assert!(camera.kbits.len() == 1 && (50..2000).contains(&camera.kbits[0]), "{camera:?}");
    assert_eq!(camera.sizes.len(), 1);
    let people: Vec<_> = rates[2].iter().map(|told| (told.participant, told.source)).collect();
    let right: Vec<_> = world
        .seats
        .iter()
        .flat_map(|seat| [(seat.participant, Source::Microphone), (seat.participant, Source::Camera)])
        .collect();
    assert_eq!(people, right, "in the order in which they came");
    assert!((50..=61).contains(&levels.len()), "five a second: {}", levels.len());
    assert!(
        levels.iter().all(|told| told.len() == 3 && told.iter().all(|Level { below, .. }| (38..44).contains(below)))
    );
    for seat in &mut world.seats {
        seat.is_sending = false;
    }
    world.run(2 * SECOND);
    world.events.clear();
    world.run(2 * SECOND);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Levels { .. })), "silence is told once");
}

#[test]
fn both_faces_in_one_room_see_and_hear_each_other() {
    let mut world = World::new(10);
    attend(&mut world, Door::Admitted);
    world.join(ParticipantId::random(), Door::Admitted, ClientConfig::default());
    world.connect();
    world.run(SECOND);
    let face = track(&world, 1, Source::Camera);
    assign(&mut world, 0, vec![line("2", face)]);
    let heard = (listen(&mut world, 0, &["0", "2"]), listen(&mut world, 1, &["0", "1"]));
    assert!(heard.0.iter().chain(&heard.1).all(|line| line.0 > 20), "{heard:?}");
    assert!(is_flowing(&heard.0[0], 1) && is_flowing(&heard.1[0], 0), "{heard:?}");
    // The same person by the other face takes the first one's place.
    let participant = world.seats[0].participant;
    let again = world.join(participant, Door::Admitted, ClientConfig::default());
    world.run(2 * SECOND);
    let heard = (listen(&mut world, again, &["0", "1"]), listen(&mut world, 1, &["0", "1"]));
    assert!(heard.0.iter().chain(&heard.1).all(|line| line.0 > 20), "{heard:?}");
    world.events.clear();
    world.run(5 * SECOND);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Published { .. })), "nobody needs it any more");
}

#[derive(Clone, Debug)]
enum Step {
    Join { waits: bool },
    Share(prop::sample::Index),
    Reconnect(prop::sample::Index),
    Leave(prop::sample::Index),
    Admit(prop::sample::Index),
    SendBack(prop::sample::Index),
    Rights(prop::sample::Index, u8),
    Assign(prop::sample::Index, prop::sample::Index, prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = any::<prop::sample::Index>;
    prop_oneof![
        3 => any::<bool>().prop_map(|waits| Step::Join { waits }),
        2 => who().prop_map(Step::Share),
        1 => who().prop_map(Step::Reconnect),
        1 => who().prop_map(Step::Leave),
        2 => who().prop_map(Step::Admit),
        2 => who().prop_map(Step::SendBack),
        4 => (who(), any::<u8>()).prop_map(|(who, bits)| Step::Rights(who, bits)),
        6 => (who(), who(), who()).prop_map(|(who, first, second)| Step::Assign(who, first, second)),
        6 => (5u64..250).prop_map(Step::Wait),
    ]
}

/// What was commanded, to judge by it what came.
#[derive(Default)]
struct Model {
    rights: BTreeMap<ParticipantId, Rights>,
    /// Whose a Track is, and what: of all that were ever told.
    tracks: BTreeMap<TrackId, (ParticipantId, Source)>,
    /// By seat and line.
    assigned: BTreeMap<(usize, String), TrackId>,
    shares: BTreeSet<usize>,
    read: Vec<usize>,
}

impl Model {
    fn may(&self, from: ParticipantId, to: ParticipantId, source: Source) -> bool {
        let of = |who| self.rights.get(&who).copied().unwrap_or_default();
        let (from_rights, to_rights) = (of(from), of(to));
        let may = match source {
            Source::Microphone => from_rights.sends_audio && to_rights.receives_audio,
            Source::Camera => from_rights.sends_video && to_rights.receives_video,
            Source::Screen | Source::ScreenSound => from_rights.sends_content && to_rights.receives_content,
        };
        may && from != to
    }

    /// Each packet that came since the last step was allowed by what held since the last step.
    fn judge(&mut self, world: &World) {
        for event in &world.events {
            if let Event::Published { tracks, .. } = event {
                self.tracks.extend(tracks.iter().map(|told| (told.track, (told.participant, told.source))));
            }
        }
        self.read.resize(world.seats.len(), 0);
        for (index, seat) in world.seats.iter().enumerate() {
            for packet in &seat.received[self.read[index]..] {
                assert!(!self.shares.contains(&index), "what shares receives nothing");
                let (from, source) = if *packet.mid == *"0" {
                    let from = usize::from(*packet.payload.last().unwrap());
                    let is_share = self.shares.contains(&from);
                    let source = if is_share { Source::ScreenSound } else { Source::Microphone };
                    (world.seats[from].participant, source)
                } else {
                    let track = self.assigned.get(&(index, packet.mid.to_string()));
                    self.tracks[track.expect("nothing comes on a line to which nothing is assigned")]
                };
                assert!(self.may(from, seat.participant, source), "{source:?} on {} of seat {index}", packet.mid);
            }
            self.read[index] = seat.received.len();
        }
    }
}

/// Whoever sends has told Tracks, whatever became of them.
fn play(world: &mut World, steps: &[Step]) -> Model {
    let mut model = Model::default();
    attend(world, Door::Admitted);
    for step in steps {
        // Who left does not come back in its seat.
        let here: Vec<usize> = (0..world.seats.len())
            .filter(|seat| world.doors.get(&world.seats[*seat].peer).is_some_and(|door| *door != Door::Removed))
            .collect();
        let mains: Vec<usize> = here.iter().copied().filter(|seat| !model.shares.contains(seat)).collect();
        let is_full = world.seats.len() >= 7;
        match step {
            Step::Join { waits } if !is_full => {
                attend(world, if *waits { Door::Waiting } else { Door::Admitted });
            }
            Step::Share(who) if !is_full && !mains.is_empty() => {
                let share = share(world, *who.get(&mains));
                model.shares.insert(share);
            }
            Step::Reconnect(who) if !is_full && !mains.is_empty() => {
                let participant = world.seats[*who.get(&mains)].participant;
                world.join_as(Manner::Chime, participant, Door::Admitted, client(2));
            }
            Step::Leave(who) if here.len() > 1 => world.remove(*who.get(&here)),
            Step::Admit(who) if !here.is_empty() => drop(world.admit(*who.get(&here))),
            Step::SendBack(who) if !here.is_empty() => drop(world.send_back(*who.get(&here))),
            Step::Rights(who, bits) if !here.is_empty() => {
                let bit = |place: u8| bits >> place & 1 != 0;
                let rights = Rights {
                    sends_audio: bit(0),
                    receives_audio: bit(1),
                    sends_video: bit(2),
                    receives_video: bit(3),
                    sends_content: bit(4),
                    receives_content: bit(5),
                };
                let seat = *who.get(&here);
                // What the command lets begin may come within it: nothing was on its way before.
                model.judge(world);
                set_rights(world, seat, rights);
                model.rights.insert(world.seats[seat].participant, rights);
            }
            Step::Assign(who, first, second) if !mains.is_empty() && !model.tracks.is_empty() => {
                let seat = *who.get(&mains);
                let known: Vec<TrackId> = model.tracks.keys().copied().collect();
                let chosen = [("2", *first.get(&known)), ("3", *second.get(&known))];
                model.judge(world);
                assign(world, seat, chosen.iter().map(|(mid, track)| line(mid, Some(*track))).collect());
                model.assigned.extend(chosen.map(|(mid, track)| ((seat, mid.to_owned()), track)));
            }
            Step::Wait(millis) => world.run(Duration::from_millis(*millis)),
            _ => {}
        }
        model.judge(world);
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_packet_comes_that_door_rights_or_assignment_forbid(
        seed in any::<u8>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(seed);
        let mut model = play(&mut world, &steps);
        world.run(SECOND);
        model.judge(&world);
        prop_assert!(world.trespasses.is_empty(), "{:?}", world.trespasses);
        prop_assert_eq!(world.counters().room_panics, 0);
    }
}
