//! DTLS 1.2 of one Peer, server side: `rtc-dtls` behind our gate, with our own repeats of the last flight and our own deadline.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_crypto::{CryptoError, RTCCrypto, RTCCryptoProvider, RTCRandom};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{
    ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig, VerifyPeerCertificateFn,
};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as RtcError;
use rtc_srtp::config::{Config, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc_srtp::protection_profile::ProtectionProfile;
use sha2::{Digest, Sha256};
use wire::control::Lost;

use super::gate::{Gate, Step};
use super::hello::Cookie;
use super::srtp::SrtpKeys;
use crate::Error;

/// From the first DTLS datagram to the end of patience.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(15);
/// When the certificate flight is first sent again; the pause doubles each time. A browser repeats its own after 50 ms to 1 s.
const FIRST_REPEAT: Duration = Duration::from_millis(60);
/// How often the certificate flight is repeated by time, and any flight because the client asks by repeating its own.
const MAX_REPEATS: u32 = 8;
/// A client that repeats a flight does so in several datagrams: they are answered once.
const REPEAT_SPACING: Duration = Duration::from_millis(20);

/// The crate files its associations by address. Ours has one only, and the real address may change under it.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The certificate of this process and what is made from it once.
pub struct Identity {
    certificate: Certificate,
    fingerprint: String,
    crypto: Arc<dyn RTCCryptoProvider>,
}

impl Identity {
    /// Makes a fresh ECDSA P-256 key and a self-signed certificate.
    ///
    /// # Errors
    /// When the crypto provider cannot.
    pub fn generate() -> Result<Self, Error> {
        let failed = |text: String| Error::Identity(text);
        let crypto = rtc_crypto::default_provider().map_err(|error| failed(error.to_string()))?;
        let certificate = Certificate::generate_self_signed(vec!["anteroom".to_owned()], crypto.crypto())
            .map_err(|error| failed(error.to_string()))?;
        let der = certificate.certificate.first().ok_or_else(|| failed("no certificate".to_owned()))?;
        let mut fingerprint = String::with_capacity(95);
        for byte in Sha256::digest(der.as_ref()) {
            if !fingerprint.is_empty() {
                fingerprint.push(':');
            }
            // Writing to a String cannot fail.
            let _ = write!(fingerprint, "{byte:02X}");
        }
        Ok(Self { certificate, fingerprint, crypto })
    }

    /// SHA-256 of the certificate as `a=fingerprint` wants it: `AA:BB:…`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn crypto(&self) -> &Arc<dyn RTCCryptoProvider> {
        &self.crypto
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// The crypto of this process, but the crate draws the cookie that our gate has already verified. A cookie is the only thing of 20
/// bytes that `rtc-dtls` draws at random (`flight0.rs`); were that to change, no handshake would complete, and tests would say so.
struct WithCookie {
    crypto: Arc<dyn RTCCryptoProvider>,
    cookie: Cookie,
}

impl RTCCryptoProvider for WithCookie {
    fn name(&self) -> &'static str {
        self.crypto.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self.crypto.crypto()
    }

    fn random(&self) -> &dyn RTCRandom {
        self
    }
}

impl RTCRandom for WithCookie {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        if output.len() == self.cookie.len() {
            output.copy_from_slice(&self.cookie);
            return Ok(());
        }
        self.crypto.random().fill(output)
    }
}

/// What became of the handshake.
pub(super) enum Outcome {
    Connected(Box<SrtpKeys>),
    Lost(Lost),
}

enum State {
    /// Nothing arrived yet.
    Idle,
    Handshaking {
        deadline: Instant,
    },
    Connected,
    Ended,
}

/// One association.
pub(super) struct Dtls {
    identity: Arc<Identity>,
    /// SHA-256 of the certificate that the offer announced.
    expected: [u8; 32],
    /// Set by the certificate check, so that no other path leads to keys.
    proven: Arc<AtomicBool>,
    cookie: Cookie,
    gate: Gate,
    endpoint: Endpoint,
    state: State,
    /// Copies of the datagrams of our last flight. At most four: three is the most that the crate makes of one.
    last_flight: Vec<Bytes>,
    last_sent: Option<Instant>,
    repeat_at: Option<Instant>,
    repeats: u32,
    answered_repeats: u32,
    /// Drained after each call.
    outgoing: Vec<Bytes>,
    dropped: u64,
}

impl Dtls {
    pub(super) fn new(identity: Arc<Identity>, expected: [u8; 32]) -> Result<Self, Error> {
        let mut cookie = Cookie::default();
        identity.crypto.random().fill(&mut cookie).map_err(|error| Error::Identity(error.to_string()))?;
        Ok(Self {
            identity,
            expected,
            cookie,
            proven: Arc::new(AtomicBool::new(false)),
            gate: Gate::new(cookie),
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, None),
            state: State::Idle,
            last_flight: Vec::new(),
            last_sent: None,
            repeat_at: None,
            repeats: 0,
            answered_repeats: 0,
            outgoing: Vec::new(),
            dropped: 0,
        })
    }

    pub(super) const fn expected(&self) -> &[u8; 32] {
        &self.expected
    }

    /// Records that the gate dropped so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.gate.held_bytes()
    }

    /// What to send now, in order.
    pub(super) fn take_outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.outgoing)
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) -> Option<Outcome> {
        if let State::Idle = self.state {
            self.state = State::Handshaking { deadline: now + HANDSHAKE_TIME };
        }
        let seen = self.gate.handle_datagram(bytes);
        self.dropped += u64::from(seen.dropped);
        if seen.repeated {
            self.answer_repeat(now);
        }
        while let Some(step) = self.gate.poll(self.can_decrypt()) {
            let record = match step {
                Step::Verify(request) => {
                    self.outgoing.push(request.freeze());
                    continue;
                }
                Step::Hello { first, second, gcm } => {
                    if self.introduce(now, first, gcm).is_err() {
                        return Some(self.fail(now, Lost::Dtls));
                    }
                    second
                }
                Step::Record(record) => record,
            };
            if let Some(outcome) = self.feed(now, record) {
                return Some(outcome);
            }
        }
        None
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Outcome> {
        if let State::Handshaking { deadline } = self.state
            && now >= deadline
        {
            return Some(self.fail(now, Lost::Dtls));
        }
        if self.repeat_at.is_some_and(|at| now >= at) {
            self.repeats += 1;
            self.outgoing.extend(self.last_flight.iter().cloned());
            self.last_sent = Some(now);
            self.repeat_at = (self.repeats < MAX_REPEATS).then(|| now + FIRST_REPEAT * 2u32.pow(self.repeats));
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match self.state {
            State::Handshaking { deadline } => Some(deadline),
            State::Idle | State::Connected | State::Ended => None,
        };
        deadline.into_iter().chain(self.repeat_at).min()
    }

    /// Ends the association and says goodbye.
    pub(super) fn close(&mut self, now: Instant) {
        if let State::Ended = self.state {
            return;
        }
        self.state = State::Ended;
        self.gate.close();
        self.repeat_at = None;
        self.last_flight = Vec::new();
        self.endpoint.stop(now, PEER);
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.outgoing.push(transmit.message.freeze());
        }
    }

    /// Shows the crate the first ClientHello; its HelloVerifyRequest has long been answered.
    fn introduce(&mut self, now: Instant, first: BytesMut, gcm: bool) -> Result<(), RtcError> {
        // The crate takes the client's first match, so it is offered one profile only.
        self.endpoint.set_server_config(Some(Arc::new(self.config(gcm)?)));
        self.endpoint.read(now, PEER, None, first)?;
        while self.endpoint.poll_transmit().is_some() {}
        Ok(())
    }

    fn feed(&mut self, now: Instant, record: BytesMut) -> Option<Outcome> {
        let result = self.endpoint.read(now, PEER, None, record);
        self.collect(now);
        let events = match result {
            Ok(events) => events,
            Err(RtcError::ErrNoMatchingCertificateFingerprint) => return Some(self.fail(now, Lost::Fingerprint)),
            Err(_) => return Some(self.fail(now, Lost::Dtls)),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    let Some(keys) = self.export_keys() else { return Some(self.fail(now, Lost::Dtls)) };
                    self.state = State::Connected;
                    self.gate.connect();
                    self.repeat_at = None;
                    return Some(Outcome::Connected(Box::new(keys)));
                }
                EndpointEvent::PeerClosed => return Some(self.fail(now, Lost::Dtls)),
                // No data channel: what comes is not ours.
                _ => self.dropped += 1,
            }
        }
        None
    }

    /// Takes what the crate wants to send, and keeps a copy of a flight.
    fn collect(&mut self, now: Instant) {
        let mut flight = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let datagram = transmit.message.freeze();
            if matches!(datagram.first(), Some(20 | 22)) {
                flight.push(datagram.clone());
            }
            self.outgoing.push(datagram);
        }
        if flight.is_empty() {
            return;
        }
        self.last_flight = flight;
        self.last_sent = Some(now);
        self.repeats = 0;
        self.answered_repeats = 0;
        // Only the certificate flight is repeated by time: before it the client asks again, after it we are connected.
        self.repeat_at = (self.gate.passed() == 2).then(|| now + FIRST_REPEAT);
    }

    fn answer_repeat(&mut self, now: Instant) {
        let too_soon = self.last_sent.is_some_and(|sent| now < sent + REPEAT_SPACING);
        if too_soon || self.answered_repeats >= MAX_REPEATS {
            return;
        }
        self.answered_repeats += 1;
        self.last_sent = Some(now);
        self.outgoing.extend(self.last_flight.iter().cloned());
    }

    fn can_decrypt(&self) -> bool {
        let state = self.endpoint.get_connection_state(PEER);
        state.and_then(|state| state.cipher_suite()).is_some_and(|suite| suite.is_initialized())
    }

    fn export_keys(&self) -> Option<SrtpKeys> {
        if !self.proven.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.endpoint.get_connection_state(PEER)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            _ => return None,
        };
        let mut config = Config { profile, ..Default::default() };
        let length = config.keying_material_len();
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], length).ok()?;
        config.set_session_keys_from_keying_material(material.as_ref(), state.is_client()).ok()?;
        Some(SrtpKeys { config, crypto: Arc::clone(&self.identity.crypto) })
    }

    fn fail(&mut self, now: Instant, lost: Lost) -> Outcome {
        self.close(now);
        Outcome::Lost(lost)
    }

    fn config(&self, gcm: bool) -> Result<HandshakeConfig, RtcError> {
        let profile = if gcm {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm
        } else {
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80
        };
        let (expected, proven) = (self.expected, Arc::clone(&self.proven));
        let verify: VerifyPeerCertificateFn = Arc::new(move |certificates, _| {
            let matches = certificates.first().is_some_and(|der| Sha256::digest(der)[..] == expected);
            proven.store(matches, Ordering::Relaxed);
            if matches { Ok(()) } else { Err(RtcError::ErrNoMatchingCertificateFingerprint) }
        });
        ConfigBuilder::default()
            .with_crypto_provider(Arc::new(WithCookie {
                crypto: Arc::clone(&self.identity.crypto),
                cookie: self.cookie,
            }))
            .with_certificates(vec![self.identity.certificate.clone()])
            .with_srtp_protection_profiles(vec![profile])
            .with_cipher_suites(vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Turns off the validation of certificate chains, which a self-signed one cannot pass; ours is `verify`.
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_verify_peer_certificate(Some(verify))
            .build(false, Some(PEER))
    }
}
