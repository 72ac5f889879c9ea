//! The relay with the configuration that `anteroom turn-config` writes, against a real coturn: who gets through, where to, and how much.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "real sockets carry real time; a test may unwrap")]

mod call;
mod client;
mod relay;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use client::{Carrier, Relayed};
use relay::{Relay, here};

/// Peers that no allocation may reach: each reserved block, each way to spell an address of the inside, and the world at large.
const FORBIDDEN: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.254",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "8.8.8.8",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "ff02::1",
    "2606:4700:4700::1111",
];

#[test]
fn asvs_17_1_1_the_relay_reaches_no_reserved_address() {
    let relay = Relay::start(100);
    let media = UdpSocket::bind((here(), 0)).unwrap();
    let inside = UdpSocket::bind("127.0.0.1:0").unwrap();
    inside.set_nonblocking(true).unwrap();
    let mut tried = 0;
    for v6 in [false, true] {
        let Some(address) = relay.address(v6) else { continue };
        let mut person = Relayed::new(Carrier::udp(address), relay.credentials("mallory"));
        assert_eq!(person.allocate(v6), 0);
        for (channel, peer) in (0x4000..).zip(FORBIDDEN) {
            let ip: IpAddr = peer.parse().unwrap();
            if ip == here() {
                continue;
            }
            let port = if ip == IpAddr::from([127, 0, 0, 1]) { inside.local_addr().unwrap().port() } else { 80 };
            let peer = SocketAddr::new(ip, port);
            // 443: an allocation of the other family, which is no way there either.
            let refused = if ip.is_ipv4() == v6 { 443 } else { 403 };
            assert_eq!(person.permit(peer), refused, "permission for {peer}");
            assert_eq!(person.bind_channel(channel, peer), refused, "channel to {peer}");
            person.send(peer, b"is anybody there?");
            tried += 1;
        }
        if !v6 {
            let allowed = media.local_addr().unwrap();
            assert_eq!(person.permit(allowed), 0, "the media node");
            person.send(allowed, b"media");
            let mut buffer = [0; 64];
            assert_eq!(media.recv(&mut buffer).unwrap(), 5, "what was sent before it has been handled, too");
            assert!(inside.recv(&mut buffer).is_err(), "something reached the inside of the relay's machine");
        }
    }
    assert!(tried >= FORBIDDEN.len());
}

#[test]
fn asvs_17_1_2_one_person_who_allocates_without_end_does_not_take_the_relay_from_others() {
    let relay = Relay::start(100);
    let address = relay.address(false).unwrap();
    let mut hoard = Vec::new();
    let refused = loop {
        // Fresh credentials each time, as the server gives them: they are one person's all the same.
        let credentials = relay.credentials_until("mallory", 3600 + hoard.len() as u64);
        let mut one = Relayed::new(Carrier::udp(address), credentials);
        match one.allocate(false) {
            0 => hoard.push(one),
            code => break code,
        }
        assert!(hoard.len() < 50, "no quota holds");
    };
    assert_eq!(refused, 486, "allocation quota reached");
    assert_eq!(hoard.len(), 12);
    let media = UdpSocket::bind((here(), 0)).unwrap();
    for name in ["alice", "bob", "carol"] {
        let mut other = Relayed::new(Carrier::udp(address), relay.credentials(name));
        assert_eq!(other.allocate(false), 0, "{name}");
        let to = media.local_addr().unwrap();
        assert_eq!(other.permit(to), 0);
        other.send(to, name.as_bytes());
        let mut buffer = [0; 64];
        let length = media.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], name.as_bytes());
    }
}

#[test]
fn credentials_that_are_wrong_or_over_open_nothing() {
    let relay = Relay::start(100);
    let address = relay.address(false).unwrap();
    let mut forged = relay.credentials("alice");
    forged.password.replace_range(..1, "!");
    assert_eq!(Relayed::new(Carrier::udp(address), forged).allocate(false), 401);
    let mut borrowed = relay.credentials("alice");
    borrowed.username = relay.credentials("bob").username;
    assert_eq!(Relayed::new(Carrier::udp(address), borrowed).allocate(false), 401);
    let over = relay.credentials_until("alice", 0);
    assert_eq!(Relayed::new(Carrier::udp(address), over).allocate(false), 401);
}

#[test]
fn a_call_goes_through_the_relay_over_udp() {
    let relay = Relay::start(100);
    call::hold(|| Relayed::new(Carrier::udp(relay.address(false).unwrap()), relay.credentials("patient")));
}

#[test]
fn a_call_goes_through_the_relay_over_tcp() {
    let relay = Relay::start(100);
    call::hold(|| Relayed::new(Carrier::tcp(relay.address(false).unwrap()), relay.credentials("patient")));
}

#[test]
fn a_call_goes_through_the_relay_over_tls() {
    let relay = Relay::start(100);
    let (address, trusted) = relay.tls();
    call::hold(|| Relayed::new(Carrier::tls(address, relay::NAME, trusted), relay.credentials("patient")));
}
