//! The Tap: only while everybody inside consents, and then everything that was published.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Input;
use load::client::ClientConfig;
use proptest::prelude::*;
use wire::control::{Codec, Command, Door, Event, Reason, Source, TapEnd};
use wire::tap::{NodeMicros, TapFrame};
use wire::{ParticipantId, RecordingId, Redacted, TrackId};

use crate::world::{EPOCH, World};

const SECOND: Duration = Duration::from_secs(1);

fn consented(seed: u8) -> (World, RecordingId) {
    let mut world = World::two_party(seed);
    world.connect();
    for seat in 0..2 {
        let participant = world.seats[seat].participant;
        world.consent(participant, true);
    }
    (world, RecordingId::random())
}

fn ends(world: &World) -> Vec<TapEnd> {
    let of = |frame: &TapFrame| if let TapFrame::Ended { reason, .. } = frame { Some(*reason) } else { None };
    world.tap_frames.iter().filter_map(|(_, frame)| of(frame)).collect()
}

#[test]
fn without_everybodys_consent_there_is_no_tap() {
    let mut world = World::two_party(1);
    world.connect();
    let recording = RecordingId::random();
    assert_eq!(world.start_tap(recording).unwrap_err().reason, Reason::ConsentMissing);
    let first = world.seats[0].participant;
    world.consent(first, true);
    assert_eq!(world.start_tap(recording).unwrap_err().reason, Reason::ConsentMissing);
    world.run(SECOND);
    assert!(world.tap_frames.is_empty());
    let second = world.seats[1].participant;
    world.consent(second, true);
    world.start_tap(recording).unwrap();
    assert_eq!(world.start_tap(RecordingId::random()).unwrap_err().reason, Reason::TapBusy);
}

#[test]
fn frames_are_the_publishers_own_packets() {
    let (mut world, recording) = consented(2);
    world.loss = 0.05;
    world.delay = Duration::from_millis(10);
    let begin = world.now;
    world.start_tap(recording).unwrap();
    world.run(4 * SECOND);
    let room = world.room;
    world.command(Command::StopTap { room, recording }).unwrap();
    let stopped = world.tap_frames.len();
    world.run(SECOND);
    assert_eq!(world.tap_frames.len(), stopped, "nothing after the end");
    let frames: Vec<TapFrame> = world.tap_frames.iter().map(|(_, frame)| frame.clone()).collect();
    assert!(matches!(frames.first(), Some(TapFrame::Started { .. })));
    assert!(matches!(frames.last(), Some(TapFrame::Ended { reason: TapEnd::Stopped, .. })));
    let mut tracks = BTreeMap::new();
    let mut packets: BTreeMap<_, BTreeMap<u16, usize>> = BTreeMap::new();
    let (mut reports, mut last_at) = (0, NodeMicros(EPOCH));
    for frame in &frames {
        match frame {
            TapFrame::Track { track, participant, source, codec, .. } => {
                assert!(tracks.insert(*track, (*participant, *source)).is_none());
                assert_eq!(*codec, if *source == Source::Microphone { Codec::Opus } else { Codec::Vp8 });
            }
            TapFrame::Rtp { track, at, packet } => {
                assert!(tracks.contains_key(track), "the Track comes before its packets");
                assert!(*at >= last_at);
                last_at = *at;
                let sequence = u16::from_be_bytes([packet[2], packet[3]]);
                let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
                let (participant, source) = tracks[track];
                let seat = world.seats.iter().find(|seat| seat.participant == participant).unwrap();
                let kind = match source {
                    Source::Microphone | Source::ScreenSound => load::client::sdp::SectionKind::Audio,
                    Source::Camera | Source::Screen => load::client::sdp::SectionKind::Video,
                };
                assert_eq!(Some(ssrc), seat.client.ssrc(kind));
                assert_eq!(packet[1] & 0x7f, if source == Source::Microphone { 111 } else { 96 });
                *packets.entry(*track).or_default().entry(sequence).or_default() += 1;
            }
            TapFrame::SenderReport { track, ntp, .. } => {
                assert!(tracks.contains_key(track) && *ntp > 0);
                reports += 1;
            }
            TapFrame::Started { .. }
            | TapFrame::TrackEnded { .. }
            | TapFrame::Gap { .. }
            | TapFrame::Note { .. }
            | TapFrame::Ended { .. } => {}
        }
    }
    assert_eq!(tracks.len(), 4);
    assert!(reports >= 8, "{reports} sender reports");
    assert!(last_at.0 > EPOCH + u64::try_from((world.now - begin).as_micros()).unwrap() - 2_000_000);
    for (track, sequences) in packets {
        assert!(sequences.values().all(|times| *times == 1), "a packet twice");
        if tracks[&track].1 == Source::Camera {
            let (low, high) = (*sequences.keys().next().unwrap(), *sequences.keys().next_back().unwrap());
            let missing = usize::from(high - low) + 1 - sequences.len();
            assert!(missing <= 2, "{missing} of {} missing after repair", sequences.len());
        }
    }
    let flowing = world.events.iter().filter(|e| matches!(e, Event::TapFlowing { .. })).count();
    assert_eq!(flowing, 1);
}

#[test]
fn withdrawal_ends_the_tap_before_the_reply() {
    let (mut world, recording) = consented(3);
    world.start_tap(recording).unwrap();
    world.run(SECOND);
    let who = world.seats[1].participant;
    world.consent(who, false);
    assert_eq!(ends(&world), [TapEnd::ConsentLost]);
    let frames = world.tap_frames.len();
    world.run(SECOND);
    assert_eq!(world.tap_frames.len(), frames);
    assert_eq!(world.counters().taps, 0);
}

#[test]
fn somebody_without_consent_who_is_admitted_ends_the_tap() {
    let (mut world, recording) = consented(4);
    let newcomer = world.join(ParticipantId::random(), Door::Waiting, ClientConfig::default());
    world.start_tap(recording).unwrap();
    world.run(SECOND);
    let participant = world.seats[newcomer].participant;
    let heard = |world: &World| {
        world.tap_frames.iter().any(|(_, f)| matches!(f, TapFrame::Track { participant: p, .. } if *p == participant))
    };
    assert!(ends(&world).is_empty(), "who waits is not asked");
    world.admit(newcomer).unwrap();
    assert_eq!(ends(&world), [TapEnd::ConsentLost]);
    world.run(SECOND);
    assert!(!heard(&world));
    world.consent(participant, true);
    world.start_tap(RecordingId::random()).unwrap();
    world.run(SECOND);
    assert!(heard(&world));
}

#[test]
fn a_muted_source_leaves_the_tap_and_a_recorder_that_is_gone_ends_it() {
    let (mut world, recording) = consented(5);
    world.start_tap(recording).unwrap();
    world.run(SECOND);
    let (room, peer) = (world.room, world.seats[0].peer);
    world.command(Command::Mute { room, peer, source: Source::Microphone, muted: true }).unwrap();
    let ended = world.tap_frames.iter().filter(|(_, f)| matches!(f, TapFrame::TrackEnded { .. })).count();
    assert_eq!(ended, 1);
    world.input(Input::TapClosed { recording });
    assert_eq!(ends(&world), [TapEnd::RecorderGone]);
    world.start_tap(RecordingId::random()).unwrap();
    world.command(Command::CloseRoom { room }).unwrap();
    assert_eq!(ends(&world), [TapEnd::RecorderGone, TapEnd::RoomClosed]);
}

#[derive(Clone, Debug)]
enum Step {
    Consent(prop::sample::Index, bool),
    Join(bool),
    Admit(prop::sample::Index),
    SendBack(prop::sample::Index),
    Leave(prop::sample::Index),
    Start,
    Stop,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = any::<prop::sample::Index>;
    prop_oneof![
        5 => (who(), prop::bool::weighted(0.8)).prop_map(|(who, yes)| Step::Consent(who, yes)),
        2 => any::<bool>().prop_map(Step::Join),
        3 => who().prop_map(Step::Admit),
        2 => who().prop_map(Step::SendBack),
        1 => who().prop_map(Step::Leave),
        4 => Just(Step::Start),
        1 => Just(Step::Stop),
        5 => (5u64..150).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// After each step: a Tap runs only if everybody inside consents, and every frame is of somebody who was inside then.
    #[test]
    fn no_frame_without_everybodys_consent(steps in prop::collection::vec(step(), 5..40), seed: u8) {
        let mut world = World::two_party(seed);
        let mut consents: BTreeMap<ParticipantId, bool> = BTreeMap::new();
        let mut running: Option<RecordingId> = None;
        for step in steps {
            let seats = world.seats.len();
            let frames = world.tap_frames.len();
            match step {
                Step::Consent(who, yes) => {
                    let participant = world.seats[who.index(seats)].participant;
                    consents.insert(participant, yes);
                    world.consent(participant, yes);
                }
                Step::Join(waiting) if seats < 5 => {
                    let door = if waiting { Door::Waiting } else { Door::Admitted };
                    world.join(ParticipantId::random(), door, ClientConfig::default());
                }
                Step::Join(_) => {}
                Step::Admit(who) => drop(world.admit(who.index(seats))),
                Step::SendBack(who) => drop(world.send_back(who.index(seats))),
                Step::Leave(who) => world.remove(who.index(seats)),
                Step::Start => {
                    let recording = RecordingId::random();
                    if world.start_tap(recording).is_ok() {
                        running = Some(recording);
                    }
                }
                Step::Stop => {
                    if let Some(recording) = running {
                        let room = world.room;
                        world.command(Command::StopTap { room, recording }).unwrap();
                    }
                }
                Step::Wait(millis) => world.run(Duration::from_millis(millis)),
            }
            let inside: Vec<ParticipantId> = world
                .seats
                .iter()
                .filter(|seat| world.doors.get(&seat.peer) == Some(&Door::Admitted))
                .map(|seat| seat.participant)
                .collect();
            let all_consent = inside.iter().all(|who| consents.get(who) == Some(&true));
            prop_assert!(world.counters().taps == 0 || all_consent, "a tap runs without consent");
            let fresh = &world.tap_frames[frames..];
            if !all_consent {
                let media = fresh.iter().any(|(_, frame)| matches!(frame, TapFrame::Rtp { .. } | TapFrame::Track { .. }));
                prop_assert!(!media, "frames without consent");
            }
            for (_, frame) in fresh {
                if let TapFrame::Rtp { packet, .. } = frame {
                    let seat = usize::from(*packet.last().unwrap());
                    prop_assert!(inside.contains(&world.seats[seat].participant), "a frame of somebody outside");
                }
            }
        }
    }
}

/// The first packet of a keyframe, behind the header, its extension and the payload descriptor.
fn is_vp8_keyframe(packet: &[u8]) -> bool {
    let words = if packet[0] & 0x10 != 0 { 1 + usize::from(u16::from_be_bytes([packet[14], packet[15]])) } else { 0 };
    let payload = &packet[12 + 4 * words..];
    load::client::vp8::Payload::read(payload).is_some_and(|read| read.starts_keyframe)
}

#[test]
fn a_capture_that_is_cut_has_a_keyframe_shortly_before_each_mark() {
    let (mut world, recording) = consented(7);
    world.run(SECOND);
    world.start_cut_tap(recording, true).unwrap();
    world.run(17 * SECOND);
    let mut keyframes: BTreeMap<TrackId, Vec<u64>> = BTreeMap::new();
    let mut zero = 0;
    for (_, frame) in &world.tap_frames {
        match frame {
            TapFrame::Started { at, .. } => zero = at.0,
            TapFrame::Track { track, source: Source::Camera, .. } => drop(keyframes.insert(*track, Vec::new())),
            TapFrame::Rtp { track, at, packet } if is_vp8_keyframe(packet) => {
                if let Some(keyframes) = keyframes.get_mut(track) {
                    keyframes.push((at.0 - zero) / 1000);
                }
            }
            _ => {}
        }
    }
    assert_eq!(keyframes.len(), 2);
    for at in keyframes.values() {
        for mark in [5_000, 10_000, 15_000] {
            assert!(at.iter().any(|at| (mark - 350..mark).contains(at)), "none at {mark}: {at:?}");
        }
        assert!(at.len() <= 5, "and no more than is needed: {at:?}");
    }
}

#[test]
fn a_note_has_its_place_among_the_media() {
    let (mut world, recording) = consented(8);
    let room = world.room;
    let note = |text: &str| Command::Note { room, recording, note: Redacted::new(text.to_owned()) };
    world.command(note("before there is a tap")).unwrap();
    world.start_tap(recording).unwrap();
    world.run(SECOND);
    world.command(note("one")).unwrap();
    world.run(SECOND);
    world.command(note("two")).unwrap();
    let noted: Vec<_> = world
        .tap_frames
        .iter()
        .enumerate()
        .filter_map(|(index, (_, frame))| match frame {
            TapFrame::Note { note, .. } => Some((index, note.reveal().clone())),
            _ => None,
        })
        .collect();
    assert_eq!(noted.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let between = &world.tap_frames[noted[0].0..noted[1].0];
    assert!(between.iter().filter(|(_, frame)| matches!(frame, TapFrame::Rtp { .. })).count() > 50);
}
