//! A browser's end of one path, and a link with virtual time between the two, for the tests of this folder.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::ConfigBuilder;
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_srtp::config::Config;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;
use sha2::{Digest, Sha256};

use super::*;

pub(super) const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
pub(super) const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// One-way delay of the link.
const DELAY: Duration = Duration::from_millis(5);
/// How soon the browser repeats a flight.
const BROWSER_REPEAT: Duration = Duration::from_millis(50);

pub(super) fn browser_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 40_000))
}

fn server_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7_000))
}

/// The clock of a test begins somewhere; only differences matter.
#[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
pub(super) fn begin() -> Instant {
    Instant::now()
}

struct UseCandidate;

impl Setter for UseCandidate {
    fn add_to(&self, message: &mut Message) -> Result<(), rtc_shared::error::Error> {
        message.add(ATTR_USE_CANDIDATE, &[]);
        Ok(())
    }
}

pub(super) fn crypto() -> Arc<dyn RTCCryptoProvider> {
    rtc_crypto::default_provider().unwrap()
}

/// A binding request as a controlling browser sends it.
pub(super) fn binding_request(ours: &IceCredentials, nominate: bool) -> Vec<u8> {
    let crypto = crypto();
    let mut message = Message::new();
    let mut parts: Vec<Box<dyn Setter>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(TransactionId::new()),
        Box::new(TextAttribute::new(ATTR_USERNAME, format!("{}:them", ours.ufrag))),
    ];
    if nominate {
        parts.push(Box::new(UseCandidate));
    }
    message.build(&parts).unwrap();
    let integrity = MessageIntegrity::new_raw_integrity_with_provider(ours.pwd.as_bytes(), crypto.crypto());
    integrity.add_to(&mut message).unwrap();
    FINGERPRINT.add_to(&mut message).unwrap();
    message.raw
}

/// The DTLS client and SRTP contexts of a browser.
pub(super) struct Browser {
    endpoint: Endpoint,
    pub(super) fingerprint: [u8; 32],
    pub(super) srtp: Option<(Context, Context)>,
    pub(super) failed: bool,
}

impl Browser {
    fn new(profiles: Vec<SrtpProtectionProfile>, now: Instant) -> Self {
        let crypto = crypto();
        let certificate = Certificate::generate_self_signed(vec!["browser".to_owned()], crypto.crypto()).unwrap();
        let fingerprint = Sha256::digest(certificate.certificate[0].as_ref()).into();
        let config = ConfigBuilder::default()
            .with_crypto_provider(crypto)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles)
            .with_cipher_suites(vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256])
            .with_insecure_skip_verify(true)
            .with_flight_interval(BROWSER_REPEAT)
            .build(true, Some(server_address()))
            .unwrap();
        let mut endpoint = Endpoint::new(browser_address(), TransportProtocol::UDP, None);
        endpoint.connect(now, server_address(), Arc::new(config), None).unwrap();
        Self { endpoint, fingerprint, srtp: None, failed: false }
    }

    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        match self.endpoint.read(now, server_address(), None, BytesMut::from(bytes)) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.export(),
                        EndpointEvent::PeerClosed => self.failed = true,
                        _ => {}
                    }
                }
            }
            Err(_) => self.failed = true,
        }
    }

    fn export(&mut self) {
        let state = self.endpoint.get_connection_state(server_address()).unwrap();
        let profile = if state.srtp_protection_profile() == GCM {
            ProtectionProfile::AeadAes128Gcm
        } else {
            ProtectionProfile::Aes128CmHmacSha1_80
        };
        let mut config = Config { profile, ..Default::default() };
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], config.keying_material_len()).unwrap();
        config.set_session_keys_from_keying_material(material.as_ref(), true).unwrap();
        let (keys, crypto) = (config.keys, crypto());
        let out = Context::new(&keys.local_master_key, &keys.local_master_salt, profile, None, None, crypto.crypto());
        let inward =
            Context::new(&keys.remote_master_key, &keys.remote_master_salt, profile, None, None, crypto.crypto());
        self.srtp = Some((out.unwrap(), inward.unwrap()));
    }

    pub(super) fn profile_is_gcm(&self) -> bool {
        self.endpoint.get_connection_state(server_address()).unwrap().srtp_protection_profile() == GCM
    }

    pub(super) fn protect(&mut self, plain: &[u8]) -> Vec<u8> {
        self.srtp.as_mut().unwrap().0.encrypt_rtp(plain).unwrap().to_vec()
    }

    pub(super) fn protect_rtcp(&mut self, plain: &[u8]) -> Vec<u8> {
        self.srtp.as_mut().unwrap().0.encrypt_rtcp(plain).unwrap().to_vec()
    }

    pub(super) fn say_goodbye(&mut self, now: Instant) -> Vec<Bytes> {
        self.endpoint.stop(now, server_address());
        std::iter::from_fn(|| self.endpoint.poll_transmit()).map(|transmit| transmit.message.freeze()).collect()
    }
}

/// A Transport and a browser with a link between them.
pub(super) struct Pair {
    pub(super) transport: Transport,
    pub(super) credentials: IceCredentials,
    pub(super) browser: Browser,
    pub(super) now: Instant,
    pub(super) begin: Instant,
    /// When, whether to the server, what.
    wire: VecDeque<(Instant, bool, Bytes)>,
    /// Every DTLS datagram so far, in order, with its direction.
    pub(super) sent: Vec<(bool, Bytes)>,
    /// Which of these get lost.
    pub(super) lost: Vec<usize>,
    /// Asked for each datagram as well.
    pub(super) loses: fn(bool, &[u8]) -> bool,
    pub(super) events: Vec<TransportEvent>,
}

impl Pair {
    /// One packet of ours by itself.
    pub(super) fn protect(&mut self, plain: &[u8]) -> Result<Vec<u8>, DropReason> {
        let mut packet = plain.to_vec();
        self.transport.protect_rtp(&mut packet, 0).map(|()| packet)
    }

    /// Both ends, STUN done, the ClientHello on its way.
    pub(super) fn new(profiles: Vec<SrtpProtectionProfile>) -> Self {
        Self::with_fingerprint(profiles, None)
    }

    pub(super) fn with_fingerprint(profiles: Vec<SrtpProtectionProfile>, wrong: Option<[u8; 32]>) -> Self {
        let now = begin();
        let identity = Arc::new(Identity::generate().unwrap());
        let credentials = IceCredentials::generate(&mut StdRng::seed_from_u64(1), 0);
        let mut transport = Transport::new(identity, credentials.clone(), now);
        let browser = Browser::new(profiles, now);
        let fingerprint = wrong.unwrap_or(browser.fingerprint);
        transport.set_remote(RemoteParameters { ufrag: "them".to_owned(), pwd: "p".repeat(24), fingerprint }).unwrap();
        let verdict = transport.handle_stun(now, browser_address(), &binding_request(&credentials, true));
        assert_eq!(verdict, StunVerdict::Bound { nominated: true });
        assert!(transport.poll_transmit().is_some());
        Self {
            transport,
            credentials,
            browser,
            now,
            begin: now,
            wire: VecDeque::new(),
            sent: Vec::new(),
            lost: Vec::new(),
            loses: |_, _| false,
            events: Vec::new(),
        }
    }

    /// Runs until both ends have keys or the time is up; calls `step` between.
    pub(super) fn run_with(&mut self, time: Duration, mut step: impl FnMut(&mut Self)) {
        let end = self.now + time;
        loop {
            self.collect();
            if self.transport.is_connected() && self.browser.srtp.is_some() {
                return;
            }
            step(self);
            self.collect();
            let next = [self.wire.front().map(|(at, ..)| *at), self.transport.poll_timeout(), self.browser_timeout()];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
                let Some((_, to_server, bytes)) = self.wire.pop_front() else { break };
                if to_server {
                    self.transport.handle_dtls(self.now, &bytes);
                } else if classify(&bytes) == Class::Dtls {
                    self.browser.handle(self.now, &bytes);
                }
            }
            self.transport.handle_timeout(self.now);
            if self.browser_timeout().is_some_and(|at| at <= self.now)
                && self.browser.endpoint.handle_timeout(server_address(), self.now).is_err()
            {
                self.browser.failed = true;
            }
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_with(time, |_| {});
    }

    /// A pair with keys at both ends.
    pub(super) fn connected() -> Self {
        Self::connected_by(vec![CM, GCM])
    }

    pub(super) fn connected_by(profiles: Vec<SrtpProtectionProfile>) -> Self {
        let mut pair = Self::new(profiles);
        pair.run(Duration::from_secs(1));
        assert!(pair.is_connected());
        pair
    }

    pub(super) fn is_connected(&self) -> bool {
        self.transport.is_connected() && self.browser.srtp.is_some()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.transport.counters().dropped(reason)
    }

    fn browser_timeout(&self) -> Option<Instant> {
        if self.browser.failed { None } else { self.browser.endpoint.poll_timeout(&server_address()) }
    }

    pub(super) fn collect(&mut self) {
        while let Some(transmit) = self.browser.endpoint.poll_transmit() {
            self.post(true, transmit.message.freeze());
        }
        while let Some((_, bytes)) = self.transport.poll_transmit() {
            self.post(false, bytes);
        }
        while let Some(event) = self.transport.poll_event() {
            self.events.push(event);
        }
    }

    fn post(&mut self, to_server: bool, bytes: Bytes) {
        let lost = self.lost.contains(&self.sent.len()) || (self.loses)(to_server, &bytes);
        self.sent.push((to_server, bytes.clone()));
        if !lost {
            self.wire.push_back((self.now + DELAY, to_server, bytes));
        }
    }
}

/// An RTP packet without extensions.
pub(super) fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 1, 0]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// An empty receiver report.
pub(super) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet
}

/// A DTLS record.
pub(super) fn record(kind: u8, epoch: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 254, 253];
    record.extend_from_slice(&epoch.to_be_bytes());
    record.extend_from_slice(&[0, 0]);
    record.extend_from_slice(&number.to_be_bytes());
    record.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// A fragment of a handshake message, with its header.
pub(super) fn fragment(kind: u8, length: usize, sequence: u16, offset: usize, body: &[u8]) -> Vec<u8> {
    let u24 = |value: usize| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
    let mut fragment = vec![kind];
    fragment.extend_from_slice(&u24(length));
    fragment.extend_from_slice(&sequence.to_be_bytes());
    fragment.extend_from_slice(&u24(offset));
    fragment.extend_from_slice(&u24(body.len()));
    fragment.extend_from_slice(body);
    fragment
}
