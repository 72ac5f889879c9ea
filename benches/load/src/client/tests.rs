//! What the client does by itself; that it talks to a server is tested beside the server's path.

use super::*;

#[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
fn begin() -> Instant {
    Instant::now()
}

#[test]
fn an_offer_has_the_sections_asked_for_and_grows_by_slots() {
    let config = ClientConfig { extra_video: 1, ..ClientConfig::default() };
    let mut client = Client::new(config, begin()).unwrap();
    let offer = client.offer();
    assert!(offer.contains("a=group:BUNDLE 0 1 2\r\n"));
    assert_eq!(offer.matches("m=audio ").count(), 1);
    assert_eq!(offer.matches("m=video ").count(), 2);
    assert_eq!(offer.matches("a=sendrecv").count(), 2);
    assert_eq!(offer.matches("a=recvonly").count(), 1);
    assert_eq!(offer.matches("a=ssrc-group:FID ").count(), 1);
    client.set_slots(2, 2);
    assert!(client.offer().contains("a=group:BUNDLE 0 1 2 3\r\n"));
    assert_eq!(client.offer().matches("m=audio ").count(), 2);
}

fn receiver() -> Receiver {
    Receiver::new("1".into(), SectionKind::Video, 6, Some(7))
}

fn packet(ssrc: u32, sequence: u16, payload: &[u8]) -> receive::Packet {
    receive::Packet {
        ssrc,
        payload_type: 96,
        sequence,
        timestamp: 0,
        marker: false,
        payload: Bytes::copy_from_slice(payload),
    }
}

#[test]
fn a_gap_is_asked_for_and_closed_by_rtx() {
    let now = begin();
    let mut receiver = receiver();
    for sequence in [65_534, 65_535, 3] {
        assert!(receiver.handle(now, packet(6, sequence, b"x")).is_some());
    }
    assert_eq!(receiver.poll_nacks(now), [0, 1, 2]);
    assert!(receiver.poll_nacks(now).is_empty());
    let arrival = receiver.handle(now, packet(7, 900, &[0, 1, b'y'])).unwrap();
    assert!(arrival.recovered);
    assert_eq!((arrival.sequence & 0xffff, &arrival.packet.payload[..]), (1, &b"y"[..]));
    assert!(receiver.handle(now, packet(6, 1, b"y")).is_none());
    assert_eq!(receiver.poll_nacks(now + Duration::from_millis(50)), [0, 2]);
    assert!(receiver.poll_nacks(now + Duration::from_secs(2)).is_empty());
    assert_eq!((receiver.stats.received, receiver.stats.recovered, receiver.stats.lost), (4, 1, 2));
}
