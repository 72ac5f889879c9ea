//! What somebody who was let in may send: floods of media and reports, keys and all. Others must not notice.

use load::client::sdp::SectionKind;
use wire::RecordingId;
use wire::Redacted;
use wire::control::{Command, Reason, Reply};
use wire::tap::TapFrame;

use crate::net::{Net, SECOND};

/// Side 0 is in a Room with 1 and 2, who only talk; 3 and 4 are in another.
fn two_rooms() -> Net {
    let mut net = Net::new();
    net.open_room(0);
    net.join(1, true, |offer| offer);
    net.join(1, false, |offer| offer);
    net.join(1, false, |offer| offer);
    net.open_room(2);
    net.run(2 * SECOND, |_| {});
    assert!(net.sides.iter().all(|side| side.client.is_connected()));
    net
}

/// What each side sent so far.
fn sent(net: &Net) -> Vec<u64> {
    net.sides.iter().map(|side| side.client.stats().rtp_sent).collect()
}

/// In two seconds everybody was received by everybody else in the Room, but for 1 %; of side 0 the voice, when it is not flooding.
fn assert_others(net: &Net, begin: (&[u64], &[u64]), with_flooder: bool) {
    assert!(net.lost.is_empty());
    assert_eq!(net.engine.counters().room_panics, 0);
    let (sent_before, received_before) = begin;
    let sent: Vec<u64> = sent(net).iter().zip(sent_before).map(|(now, before)| now - before).collect();
    let received: Vec<u64> = net.received().iter().zip(received_before).map(|(now, before)| now - before).collect();
    assert!(sent[1..3].iter().all(|sent| *sent > 90) && sent[3..].iter().all(|sent| *sent > 380), "{sent:?}");
    let expects = |received: u64, sent: u64| assert!(received as f64 > sent as f64 * 0.99, "{received} of {sent}");
    expects(received[0], sent[1] + sent[2]);
    let flooder = if with_flooder { 100 } else { 0 };
    expects(received[1], sent[2] + flooder);
    expects(received[2], sent[1] + flooder);
    expects(received[3], sent[4]);
    expects(received[4], sent[3]);
    assert!(net.sides.iter().all(|side| !side.failed && side.client.stats().undecryptable == 0));
}

/// 30,000 packets a second, far more than anybody may send.
fn flood_media(net: &mut Net) {
    let now = net.now;
    for _ in 0..5 {
        net.sides[0].client.send_video_frame(now, &[3; 6_600], false);
    }
}

#[test]
fn asvs_17_2_5_a_media_flood_of_a_participant_stops_nobody_elses_media() {
    let mut net = two_rooms();
    let begin = (sent(&net), net.received());
    let before = *net.engine.counters();
    net.run(2 * SECOND, flood_media);
    let after = *net.engine.counters();
    let flooded = sent(&net)[0] - begin.0[0];
    assert!(flooded > 50_000, "{flooded} packets are no flood");
    // Dropped before anything was decrypted, all but what one Peer may send: 12 Mbit/s for two seconds and a second at once.
    let accepted = after.rtp_in - before.rtp_in - 1_000;
    assert!(accepted < 4_500, "{accepted} of {flooded} accepted");
    assert!(after.limited_media - before.limited_media > flooded * 9 / 10);
    // Nobody is sent more of it than that.
    assert!(net.sides[3].client.stats().rtp_received - begin.1[3] <= 420);
    let to_neighbour = net.received()[1] - begin.1[1];
    assert!(to_neighbour < 5_500, "{to_neighbour}");
    assert_others(&net, (&begin.0, &begin.1), false);
    // When it ends, the flooder is heard again.
    net.run(2 * SECOND, |_| {});
    let begin = (sent(&net), net.received());
    net.run(2 * SECOND, |_| {});
    assert_others(&net, (&begin.0, &begin.1), true);
}

#[test]
fn asvs_17_2_7_a_recording_survives_the_flood_of_a_participant() {
    let mut net = Net::new();
    net.open_room(3);
    let recording = RecordingId::random();
    let started = net.command(Command::StartTap { room: net.room, recording, is_cut: false });
    assert!(matches!(started, Some(Ok(Reply::Tap { .. }))));
    net.run(3 * SECOND, |_| {});
    let counts = |net: &Net| {
        let mut counts = std::collections::BTreeMap::new();
        for frame in &net.tapped {
            if let TapFrame::Rtp { track, .. } = frame {
                *counts.entry(*track).or_insert(0u64) += 1;
            }
        }
        counts
    };
    let before = counts(&net);
    assert_eq!(before.len(), 6, "three voices and three pictures");
    net.run(2 * SECOND, flood_media);
    assert!(!net.tapped.iter().any(|frame| matches!(frame, TapFrame::Ended { .. } | TapFrame::TrackEnded { .. })));
    let mut during: Vec<u64> = counts(&net).iter().map(|(track, count)| count - before[track]).collect();
    during.sort_unstable();
    // Voices of the two others, 100 packets each, and their pictures, 300 each; the flooder's share is what is left.
    assert!(during.iter().filter(|count| (98..=102).contains(*count)).count() >= 2, "{during:?}");
    assert!(during.iter().filter(|count| (296..=306).contains(*count)).count() >= 2, "{during:?}");
    assert!(during.iter().sum::<u64>() < 5_500, "{during:?}");
    net.command(Command::StopTap { room: net.room, recording });
    assert!(matches!(net.tapped.last(), Some(TapFrame::Ended { .. })));
}

/// One RTCP packet: format or count, type, body.
fn rtcp(format: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | format, kind];
    packet.extend_from_slice(&((body.len() / 4) as u16).to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

/// Feedback about a stream of ours.
fn feedback(format: u8, kind: u8, media: u32, items: &[u8]) -> Vec<u8> {
    rtcp(format, kind, &[&1u32.to_be_bytes(), &media.to_be_bytes(), items].concat())
}

#[test]
fn storms_of_repairs_keyframe_wishes_and_reports_are_cut_short() {
    let mut net = two_rooms();
    let slots: Vec<u32> = net.sides[3].slots.iter().copied().collect();
    assert!(slots.len() >= 2, "a voice and a picture");
    let begin = (sent(&net), net.received());
    let before = *net.engine.counters();
    let mut next = 0u16;
    net.run(2 * SECOND, |net| {
        for media in &slots {
            next = next.wrapping_add(1);
            let numbers: Vec<u8> = (0..200u16)
                .flat_map(|item| (next.wrapping_add(item.wrapping_mul(17))).to_be_bytes().into_iter().chain([255, 255]))
                .collect();
            let client = &mut net.sides[3].client;
            client.send_raw_rtcp(&feedback(1, 205, *media, &numbers));
            client.send_raw_rtcp(&feedback(1, 206, *media, &[]).repeat(100));
            client.send_raw_rtcp(&feedback(4, 206, 0, &[&media.to_be_bytes()[..], &[1, 0, 0, 0]].concat().repeat(100)));
            client.send_raw_rtcp(&rtcp(31, 201, &[[0; 4].as_slice(), &[7; 31 * 24]].concat()));
        }
    });
    let after = *net.engine.counters();
    let since = |read: fn(&engine::Counters) -> u64| read(&after) - read(&before);
    assert!(since(|c| c.limited_reports) > 12_000, "of 16,000: {}", since(|c| c.limited_reports));
    assert!(since(|c| c.limited_repairs) > 0 && since(|c| c.nacks_received) < 7_000);
    assert!(since(|c| c.limited_keyframes) > 0);
    // A few keyframes in a second, however often they are asked for.
    assert!(since(|c| c.keyframes_asked) < 20, "{}", since(|c| c.keyframes_asked));
    assert!(since(|c| c.retransmitted) < 6_000, "{}", since(|c| c.retransmitted));
    assert_others(&net, (&begin.0, &begin.1), true);
}

#[test]
fn more_streams_than_one_peer_may_have_are_counted_and_dropped() {
    let mut net = two_rooms();
    let begin = (sent(&net), net.received());
    let mut ssrc = 1_000_000u32;
    net.run(SECOND, |net| {
        ssrc += 1;
        let packet = [&[0x80, 96, 0, 1, 0, 0, 0, 1][..], &ssrc.to_be_bytes(), &[9; 40]].concat();
        net.sides[0].client.send_raw_rtp(&packet);
    });
    let counters = net.engine.counters();
    assert!(counters.limited_streams > 600, "{}", counters.limited_streams);
    net.run(SECOND, |_| {});
    assert_others(&net, (&begin.0, &begin.1), true);
}

#[test]
fn a_flood_of_checks_is_answered_a_hundred_times_a_second_and_keeps_the_call() {
    let mut net = two_rooms();
    let begin = (sent(&net), net.received());
    let before = *net.engine.counters();
    net.run(2 * SECOND, |net| {
        let now = net.now;
        for _ in 0..5 {
            net.sides[0].client.check_now(now);
        }
    });
    let limited = net.engine.counters().limited_checks - before.limited_checks;
    assert!(limited > 1_000, "{limited}");
    assert_others(&net, (&begin.0, &begin.1), true);
}

#[test]
fn offers_are_refused_after_sixty_at_once_and_taken_again_a_moment_later() {
    let mut net = two_rooms();
    let (room, peer) = (net.room, net.sides[3].peer);
    let offer = |net: &mut Net| {
        let sdp = Redacted::new(net.sides[3].client.offer());
        net.command(Command::Offer { room, peer, sdp }).unwrap()
    };
    let answered = (0..500).take_while(|_| offer(&mut net).is_ok()).count();
    assert!((50..=60).contains(&answered), "{answered}");
    assert_eq!(offer(&mut net).unwrap_err().reason, Reason::Capacity);
    assert_eq!(net.engine.counters().limited_offers, 2);
    let begin = (sent(&net), net.received());
    net.run(2 * SECOND, |_| {});
    assert!(offer(&mut net).is_ok());
    assert_others(&net, (&begin.0, &begin.1), true);
    assert!(net.sides[3].client.ssrc(SectionKind::Audio).is_some());
}
