//! The port against ordinary sockets of the standard library.

use std::net::UdpSocket;
use std::time::UNIX_EPOCH;

use super::receive::on_loop_clock;
use super::*;

fn clocks() -> (Instant, SystemTime) {
    #[allow(clippy::disallowed_methods, reason = "real sockets carry real time")]
    (Instant::now(), SystemTime::now())
}

fn receive_all(port: &mut UdpPort, wanted: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut got = Vec::new();
    while got.len() < wanted {
        port.wait(-1, Duration::from_secs(5));
        let (now, wall) = clocks();
        let count = port.receive(now, wall, |datagram| {
            assert!(datagram.at <= now);
            got.push((datagram.from, datagram.bytes.to_vec()));
        });
        assert!(count > 0, "nothing came within five seconds");
    }
    got
}

#[test]
fn batches_cross_both_ways_over_ipv4() {
    let mut port = UdpPort::bind(0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for number in 0..100_u8 {
        peer.send_to(&[number; 20], ("127.0.0.1", port.port())).unwrap();
    }
    let got = receive_all(&mut port, 100);
    assert!(got.iter().all(|(from, _)| *from == peer.local_addr().unwrap()));
    assert_eq!(got.last().unwrap().1, vec![99; 20]);

    // Runs of one size, a shorter end, another size and a lone one: all arrive as the datagrams they were.
    let to = peer.local_addr().unwrap();
    let sizes = [1100, 1100, 1100, 400, 80, 80, 1200, 1, 1300, 1300];
    let mut outgoing = Outgoing::default();
    for (size, fill) in sizes.iter().zip(0_u8..) {
        outgoing.push(to.into(), &vec![fill; *size]);
    }
    port.send(&outgoing);
    let mut buffer = [0; 2048];
    for (size, fill) in sizes.iter().zip(0_u8..) {
        let length = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], vec![fill; *size]);
    }
    assert_eq!(port.counters.sent, 10);
}

#[test]
fn more_than_one_batch_goes_out_in_order() {
    let mut port = UdpPort::bind(0).unwrap();
    let peers: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut outgoing = Outgoing::default();
    for number in 0..300_u16 {
        let peer = &peers[usize::from(number) % 3];
        outgoing.push(peer.local_addr().unwrap().into(), &number.to_be_bytes());
    }
    port.send(&outgoing);
    for (index, peer) in peers.iter().enumerate() {
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 8];
        for turn in 0..100 {
            peer.recv(&mut buffer).unwrap();
            assert_eq!(usize::from(u16::from_be_bytes([buffer[0], buffer[1]])), turn * 3 + index);
        }
    }
}

#[test]
fn ipv6_peers_keep_their_address() {
    let mut port = UdpPort::bind(0).unwrap();
    let Ok(peer) = UdpSocket::bind("[::1]:0") else {
        assert!(!port.speaks_v6(), "a dual-stack port on a machine without IPv6 loopback");
        return;
    };
    peer.send_to(b"six", ("::1", port.port())).unwrap();
    let got = receive_all(&mut port, 1);
    assert_eq!(got[0].0, peer.local_addr().unwrap());
    let mut outgoing = Outgoing::default();
    outgoing.push(got[0].0.into(), b"back");
    port.send(&outgoing);
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn an_oversized_datagram_is_counted_and_dropped() {
    let mut port = UdpPort::bind(0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.send_to(&[1; 4000], ("127.0.0.1", port.port())).unwrap();
    peer.send_to(&[2; 10], ("127.0.0.1", port.port())).unwrap();
    let got = receive_all(&mut port, 1);
    assert_eq!(got[0].1, vec![2; 10]);
    assert_eq!(port.counters.truncated, 1);
}

#[test]
fn an_unreachable_destination_does_not_stop_the_others() {
    let mut port = UdpPort::bind(0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere: SocketAddr = "255.255.255.255:9".parse().unwrap();
    let mut outgoing = Outgoing::default();
    outgoing.push(nowhere.into(), b"x");
    outgoing.push(peer.local_addr().unwrap().into(), b"y");
    port.send(&outgoing);
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 1);
    assert_eq!(port.counters.send_dropped, 1);
}

#[test]
fn a_wall_clock_that_was_set_back_does_not_move_arrivals() {
    let (now, wall) = clocks();
    let epoch = wall.duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(on_loop_clock(epoch + Duration::from_secs(300), now, epoch), now);
    assert_eq!(on_loop_clock(epoch - Duration::from_secs(300), now, epoch), now);
    assert_eq!(on_loop_clock(epoch - Duration::from_millis(3), now, epoch), now - Duration::from_millis(3));
}
