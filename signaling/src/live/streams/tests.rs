//! Numbers: given once, kept while a connection lasts, greater after it.

use super::*;
use wire::TrackId;
use wire::control::Codec;

fn track(who: ParticipantId, source: Source, kbits: &[u32]) -> PublishedTrack {
    let sizes = (1..).map(|n| Some((320 * n, 180 * n))).take(kbits.len()).collect();
    PublishedTrack {
        participant: who,
        source,
        track: TrackId::random(),
        codec: Codec::Vp8,
        kbits: kbits.to_vec(),
        sizes,
    }
}

fn sends(most: &[u32]) -> Vec<Announced> {
    most.iter().map(|&most_kbits| Announced { most_kbits, framerate: 0 }).collect()
}

#[test]
fn an_announced_camera_keeps_its_numbers_until_its_connection_ends() {
    let (mut streams, mut numbers) = (Streams::default(), Numbers::default());
    let who = ParticipantId::random();
    let place = (who, Source::Camera);
    let first = streams.announce(&mut numbers, place, SocketId(1), &sends(&[600]));
    streams.publish(&mut numbers, vec![track(who, Source::Camera, &[500])]);
    assert_eq!(streams.iter().count(), 1);
    assert_eq!(streams.rates(), [(first[0].stream, 500)]);
    assert!(streams.announce(&mut numbers, place, SocketId(1), &[]).is_empty());
    assert_eq!(streams.iter().count(), 0, "the Track may still be there, but the camera is off");
    assert_eq!(streams.announce(&mut numbers, place, SocketId(1), &sends(&[600])), first);
    let again = streams.announce(&mut numbers, place, SocketId(2), &sends(&[600]));
    assert!(again[0].stream > first[0].group && again[0].group > first[0].group);
    assert!(streams.announce(&mut numbers, place, SocketId(3), &[]).is_empty());
    assert!(!streams.is_announced(who, Source::Camera), "what the last connection sent does not go on");
}

#[test]
fn encodings_that_are_off_are_not_offered_and_every_bound_is_truthful() {
    let (mut streams, mut numbers) = (Streams::default(), Numbers::default());
    let (a, b, c) = (ParticipantId::random(), ParticipantId::random(), ParticipantId::random());
    streams.announce(&mut numbers, (a, Source::Camera), SocketId(1), &sends(&[0]));
    streams.announce(&mut numbers, (b, Source::Camera), SocketId(2), &sends(&[300, 0, 1200]));
    streams.publish(
        &mut numbers,
        vec![
            track(a, Source::Camera, &[]),
            track(b, Source::Camera, &[250, 0, 1000]),
            track(c, Source::Screen, &[0, 400, 0]),
            track(c, Source::Microphone, &[40]),
        ],
    );
    let shown: Vec<_> = streams.iter().map(|(_, _, streams)| streams).collect();
    let bounds = |n: usize| shown[n].iter().map(|s| (s.layer, s.most_kbits)).collect::<Vec<_>>();
    assert_eq!(shown.len(), 3);
    assert_eq!(bounds(0), [(0, ALONE_KBITS)]);
    assert_eq!(bounds(1), [(0, 300), (2, 1200)]);
    assert_eq!(shown[1].iter().map(|s| s.size).collect::<Vec<_>>(), [Some((320, 180)), Some((960, 540))]);
    assert_eq!(bounds(2), [(1, 600)], "a native client announces nothing: what flows is offered");
    streams.publish(&mut numbers, Vec::new());
    assert_eq!(streams.iter().count(), 0);
    assert!(streams.is_announced(b, Source::Camera), "a Track that comes back has the same numbers");
}
