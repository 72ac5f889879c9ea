//! What each fuzz target does with its input. The engine's tests replay the corpus through the same functions.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use engine::transport::gate::{Gate, MAX_PENDING, Step};
use engine::transport::{
    Class, Demux, IceCredentials, Identity, RemoteParameters, StunVerdict, Transport, classify, find_ufrag,
};

/// The cookie for which the seeds of `gate` are made.
const COOKIE: [u8; 20] = [3; 20];

fn from() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
}

/// A path with fixed credentials, for which the seeds of `stun` are made, that has an address and expects DTLS.
fn transport() -> (Transport, Instant) {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Arc::new(Identity::generate().expect("a certificate can be made")));
    #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
    let now = Instant::now();
    let ours = IceCredentials { ufrag: "ourufrag".to_owned(), pwd: "ourpasswordourpasswordou".to_owned() };
    let mut transport = Transport::new(Arc::clone(identity), ours, now);
    let remote = RemoteParameters { ufrag: "them".to_owned(), pwd: "p".repeat(24), fingerprint: [0; 32] };
    transport.set_remote(remote).expect("the first parameters are taken");
    (transport, now)
}

/// The input as datagrams, each behind its length in two bytes.
fn datagrams(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_at_checked(2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]])).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        data = rest;
        Some(datagram)
    })
}

/// Classes and ufrags of single datagrams.
pub fn classify_target(data: &[u8]) {
    let class = classify(data);
    let ufrag = find_ufrag(data);
    let mut demux = Demux::new();
    if let Some(ufrag) = ufrag {
        demux.insert(ufrag, 1);
        assert_eq!(demux.find_stun(data), Some(1));
    }
    assert!(class != Class::Stun || data.len() >= 20);
}

/// The gate by itself: memory is bounded, and what passes is one whole record.
pub fn gate_target(data: &[u8]) {
    let mut gate = Gate::new(COOKIE);
    for (number, datagram) in datagrams(data).enumerate() {
        gate.handle_datagram(datagram);
        assert!(gate.held_bytes() <= MAX_PENDING + 8 * 61);
        while let Some(step) = gate.poll(gate.passed() == 5) {
            let records = match step {
                Step::Verify(record) | Step::Record(record) => vec![record],
                Step::Hello { first, second, .. } => vec![first, second],
            };
            for record in records {
                let length = usize::from(u16::from_be_bytes([record[11], record[12]]));
                assert_eq!(record.len(), 13 + length);
            }
        }
        if number == 40 {
            gate.connect();
        }
    }
}

/// A whole path: STUN, the DTLS crate behind the gate, SRTP without keys.
pub fn path_target(data: &[u8]) {
    let (mut transport, now) = transport();
    for datagram in datagrams(data) {
        match classify(datagram) {
            Class::Stun => {
                transport.handle_stun(now, from(), datagram);
            }
            Class::Dtls => transport.handle_dtls(now, datagram),
            Class::Rtp => assert!(transport.unprotect_rtp(datagram).is_err()),
            Class::Rtcp => assert!(transport.unprotect_rtcp(datagram).is_err()),
            Class::Junk => {}
        }
        while transport.poll_transmit().is_some() {}
    }
    assert!(!transport.is_connected());
}

/// One STUN message for a known ufrag.
pub fn stun_target(data: &[u8]) {
    let (mut transport, now) = transport();
    if let StunVerdict::Bound { .. } = transport.handle_stun(now, from(), data) {
        assert_eq!(find_ufrag(data), Some("ourufrag"));
        assert!(transport.poll_transmit().is_some());
    }
}
