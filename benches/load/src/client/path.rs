//! ICE controlling agent against a lite server, DTLS client, SRTP.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ConfigBuilder, VerifyPeerCertificateFn};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as RtcError;
use rtc_srtp::config::{Config, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;
use sha2::{Digest, Sha256};

use super::ClientError;
use super::sdp::{Answer, Credentials};

/// Between checks until the first answer.
const FIRST_CHECKS: Duration = Duration::from_millis(50);
/// Between checks afterwards: they keep consent.
const CHECKS: Duration = Duration::from_secs(2);
/// A server that does not answer for this long has gone.
const CONSENT_TIME: Duration = Duration::from_secs(30);
/// When a DTLS flight is first repeated; the pause doubles.
const FIRST_REPEAT: Duration = Duration::from_millis(50);
const MAX_REPEATS: u32 = 9;
/// Request ids that may still be answered. The oldest is forgotten.
const OUTSTANDING: usize = 8;

/// The crate files associations by address; ours is only one.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Keys of `Answer::fixed_keys`, both ways; `benches/floor` has the same.
const FIXED_KEY: [u8; 16] = [0x41; 16];
const FIXED_SALT: [u8; 12] = [0x53; 12];

/// Where the server is and how STUN to it is signed.
struct Remote {
    candidate: SocketAddr,
    username: String,
    pwd: String,
    fingerprint: [u8; 32],
}

enum Dtls {
    Idle,
    Handshaking,
    Connected,
    Ended,
}

pub(super) struct Path {
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: String,
    without_gcm: bool,
    remote: Option<Remote>,
    /// Ours: checks of the server are signed with it.
    pwd: String,
    outstanding: VecDeque<TransactionId>,
    next_check: Option<Instant>,
    heard: Instant,
    dtls: Dtls,
    endpoint: Endpoint,
    last_flight: Vec<Vec<u8>>,
    repeat_at: Option<Instant>,
    repeats: u32,
    /// To send, to receive.
    srtp: Option<(Context, Context)>,
    failure: bool,
    /// Neither STUN nor DTLS is spoken.
    fixed: bool,
    /// The caller drains after each call.
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Path {
    pub(super) fn new(without_gcm: bool, now: Instant) -> Result<Self, ClientError> {
        let crypto = rtc_crypto::default_provider().map_err(|error| ClientError::Dtls(error.to_string()))?;
        let certificate = Certificate::generate_self_signed(vec!["client".to_owned()], crypto.crypto())
            .map_err(|error| ClientError::Dtls(error.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| ClientError::Dtls("no certificate".to_owned()))?;
        let mut fingerprint = String::with_capacity(95);
        for byte in Sha256::digest(der.as_ref()) {
            let colon = if fingerprint.is_empty() { "" } else { ":" };
            // Writing to a String cannot fail.
            let _ = write!(fingerprint, "{colon}{byte:02X}");
        }
        Ok(Self {
            crypto,
            certificate,
            fingerprint,
            without_gcm,
            remote: None,
            pwd: String::new(),
            outstanding: VecDeque::new(),
            next_check: None,
            heard: now,
            dtls: Dtls::Idle,
            endpoint: Endpoint::new(SERVER, TransportProtocol::UDP, None),
            last_flight: Vec::new(),
            repeat_at: None,
            repeats: 0,
            srtp: None,
            failure: false,
            fixed: false,
            transmits: VecDeque::new(),
        })
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    pub(super) const fn is_failed(&self) -> bool {
        matches!(self.dtls, Dtls::Ended)
    }

    /// True once, when the connection ended by the other side.
    pub(super) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failure)
    }

    /// Begins to check. A later answer changes something only if it brings other credentials: an ICE restart, which DTLS outlives.
    pub(super) fn start(&mut self, ours: &Credentials, answer: &Answer, now: Instant) {
        if self.remote.as_ref().is_some_and(|remote| remote.pwd == answer.pwd) {
            return;
        }
        self.outstanding.clear();
        self.fixed = answer.fixed_keys;
        ours.pwd.clone_into(&mut self.pwd);
        self.remote = Some(Remote {
            candidate: answer.candidate,
            username: format!("{}:{}", answer.ufrag, ours.ufrag),
            pwd: answer.pwd.clone(),
            fingerprint: answer.fingerprint,
        });
        self.heard = now;
        if self.fixed {
            let keys = (&FIXED_KEY[..], &FIXED_SALT[..]);
            self.srtp = self.protect(ProtectionProfile::AeadAes128Gcm, keys, keys);
            self.dtls = Dtls::Connected;
            return;
        }
        self.check_now(now);
    }

    pub(super) fn check_now(&mut self, now: Instant) {
        let Some(remote) = self.remote.as_ref().filter(|_| !self.is_failed()) else { return };
        let id = TransactionId::new();
        let Ok(request) = self.request(remote, id) else { return };
        let to = remote.candidate;
        self.transmits.push_back((to, request));
        if self.outstanding.len() >= OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(id);
        self.next_check = Some(now + if matches!(self.dtls, Dtls::Idle) { FIRST_CHECKS } else { CHECKS });
    }

    /// Handles STUN or DTLS.
    pub(super) fn handle(&mut self, now: Instant, bytes: &[u8]) {
        match bytes.first() {
            Some(0..=3) => self.handle_stun(now, bytes),
            Some(20..=63) if !self.is_failed() => {
                let result = self.endpoint.read(now, SERVER, None, BytesMut::from(bytes));
                self.collect(now);
                match result {
                    Ok(events) => {
                        for event in events {
                            match event {
                                EndpointEvent::HandshakeComplete => self.export(),
                                EndpointEvent::PeerClosed => self.fail(),
                                _ => {}
                            }
                        }
                    }
                    Err(_) => self.fail(),
                }
            }
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.is_failed() || self.remote.is_none() {
            return;
        }
        if self.fixed {
            return;
        }
        if now >= self.heard + CONSENT_TIME {
            self.fail();
            return;
        }
        if self.next_check.is_some_and(|at| now >= at) {
            self.check_now(now);
        }
        if self.repeat_at.is_some_and(|at| now >= at) {
            self.repeats += 1;
            for datagram in self.last_flight.clone() {
                self.transmit(datagram);
            }
            self.repeat_at = (self.repeats < MAX_REPEATS).then(|| now + FIRST_REPEAT * 2u32.pow(self.repeats));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_failed() || self.fixed {
            return None;
        }
        let consent = self.remote.as_ref().map(|_| self.heard + CONSENT_TIME);
        [self.next_check, self.repeat_at, consent].into_iter().flatten().min()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    pub(super) fn close(&mut self, now: Instant) {
        if self.is_failed() {
            return;
        }
        self.endpoint.stop(now, SERVER);
        self.collect(now);
        self.end();
    }

    pub(super) fn send_rtp(&mut self, plain: &[u8]) {
        if let Some((out, _)) = &mut self.srtp
            && let Ok(packet) = out.encrypt_rtp(plain)
        {
            self.transmit(packet.to_vec());
        }
    }

    pub(super) fn send_rtcp(&mut self, plain: &[u8]) {
        if let Some((out, _)) = &mut self.srtp
            && let Ok(packet) = out.encrypt_rtcp(plain)
        {
            self.transmit(packet.to_vec());
        }
    }

    pub(super) fn decrypt_rtp(&mut self, bytes: &[u8]) -> Option<BytesMut> {
        self.srtp.as_mut()?.1.decrypt_rtp(bytes).ok()
    }

    pub(super) fn decrypt_rtcp(&mut self, bytes: &[u8]) -> Option<BytesMut> {
        self.srtp.as_mut()?.1.decrypt_rtcp(bytes).ok()
    }

    fn transmit(&mut self, bytes: Vec<u8>) {
        if let Some(remote) = &self.remote {
            self.transmits.push_back((remote.candidate, bytes));
        }
    }

    fn request(&self, remote: &Remote, id: TransactionId) -> Result<Vec<u8>, RtcError> {
        let mut message = Message::new();
        message.build(&[Box::new(BINDING_REQUEST), Box::new(id)])?;
        message.add(ATTR_USERNAME, remote.username.as_bytes());
        message.add(ATTR_PRIORITY, &0x6e00_1effu32.to_be_bytes());
        message.add(ATTR_ICE_CONTROLLING, &[1; 8]);
        message.add(ATTR_USE_CANDIDATE, &[]);
        MessageIntegrity::new_raw_integrity_with_provider(remote.pwd.as_bytes(), self.crypto.crypto())
            .add_to(&mut message)?;
        FINGERPRINT.add_to(&mut message)?;
        Ok(message.raw)
    }

    fn handle_stun(&mut self, now: Instant, bytes: &[u8]) {
        let Some(remote) = self.remote.as_ref().filter(|_| !self.is_failed()) else { return };
        let mut message = Message::new();
        if message.unmarshal_binary(bytes).is_err() {
            return;
        }
        if message.typ == BINDING_REQUEST {
            // A lite server sends none; others want their own checks answered before they believe in the path.
            if let Some(answer) = self.answer_check(&mut message, remote) {
                let to = remote.candidate;
                self.transmits.push_back((to, answer));
            }
            return;
        }
        if message.typ != BINDING_SUCCESS
            || !self.outstanding.contains(&message.transaction_id)
            || FINGERPRINT.check(&message).is_err()
            || MessageIntegrity::check(&mut message, remote.pwd.as_bytes(), self.crypto.crypto()).is_err()
        {
            return;
        }
        self.heard = now;
        if matches!(self.dtls, Dtls::Idle) {
            self.next_check = Some(now + CHECKS);
            match self.connect(now) {
                Ok(()) => self.dtls = Dtls::Handshaking,
                Err(_) => self.fail(),
            }
            self.collect(now);
        }
    }

    fn answer_check(&self, request: &mut Message, remote: &Remote) -> Option<Vec<u8>> {
        FINGERPRINT.check(request).ok()?;
        MessageIntegrity::check(request, self.pwd.as_bytes(), self.crypto.crypto()).ok()?;
        let mapped = XorMappedAddress { ip: remote.candidate.ip(), port: remote.candidate.port() };
        let mut message = Message::new();
        message.build(&[Box::new(BINDING_SUCCESS), Box::new(request.transaction_id), Box::new(mapped)]).ok()?;
        let integrity = MessageIntegrity::new_raw_integrity_with_provider(self.pwd.as_bytes(), self.crypto.crypto());
        integrity.add_to(&mut message).ok()?;
        FINGERPRINT.add_to(&mut message).ok()?;
        Some(message.raw)
    }

    fn connect(&mut self, now: Instant) -> Result<(), RtcError> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let expected = remote.fingerprint;
        let verify: VerifyPeerCertificateFn = Arc::new(move |certificates, _| {
            let matches = certificates.first().is_some_and(|der| Sha256::digest(der)[..] == expected);
            if matches { Ok(()) } else { Err(RtcError::ErrNoMatchingCertificateFingerprint) }
        });
        let mut profiles = vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];
        if !self.without_gcm {
            // Chromium's order: a server has to prefer GCM by itself.
            profiles.push(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm);
        }
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.crypto))
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(profiles)
            .with_cipher_suites(vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256])
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(verify))
            .build(true, Some(SERVER))?;
        self.endpoint.connect(now, SERVER, Arc::new(config), None)
    }

    /// Sends what the crate wants to send, and keeps a copy of a flight for repeating.
    fn collect(&mut self, now: Instant) {
        let mut flight = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let datagram = transmit.message.to_vec();
            if matches!(datagram.first(), Some(20 | 22)) {
                flight.push(datagram.clone());
            }
            self.transmit(datagram);
        }
        if !flight.is_empty() && self.srtp.is_none() {
            self.last_flight = flight;
            self.repeats = 0;
            self.repeat_at = Some(now + FIRST_REPEAT);
        }
    }

    fn export(&mut self) {
        match self.contexts() {
            Some(contexts) => {
                self.srtp = Some(contexts);
                self.dtls = Dtls::Connected;
                self.repeat_at = None;
            }
            None => self.fail(),
        }
    }

    fn contexts(&self) -> Option<(Context, Context)> {
        let state = self.endpoint.get_connection_state(SERVER)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            _ => return None,
        };
        let mut config = Config { profile, ..Default::default() };
        let length = config.keying_material_len();
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], length).ok()?;
        config.set_session_keys_from_keying_material(material.as_ref(), true).ok()?;
        let keys = &config.keys;
        self.protect(
            profile,
            (&keys.local_master_key, &keys.local_master_salt),
            (&keys.remote_master_key, &keys.remote_master_salt),
        )
    }

    fn protect(
        &self,
        profile: ProtectionProfile,
        (local_key, local_salt): (&[u8], &[u8]),
        (remote_key, remote_salt): (&[u8], &[u8]),
    ) -> Option<(Context, Context)> {
        let crypto = self.crypto.crypto();
        let out = Context::new(local_key, local_salt, profile, None, None, crypto).ok()?;
        let windows = (Some(srtp_replay_protection(1024)), Some(srtcp_replay_protection(64)));
        Some((out, Context::new(remote_key, remote_salt, profile, windows.0, windows.1, crypto).ok()?))
    }

    fn fail(&mut self) {
        if !self.is_failed() {
            self.failure = true;
            self.end();
        }
    }

    fn end(&mut self) {
        self.dtls = Dtls::Ended;
        self.srtp = None;
        self.next_check = None;
        self.repeat_at = None;
    }
}
